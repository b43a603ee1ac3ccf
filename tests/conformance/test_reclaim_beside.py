"""A dead reader is reclaimed while its producer commits: what becomes visible during the reclaim is neither lost nor leaked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ringline
from ringline.names import HOST
from tests.conformance import raw
from tests.conformance.conftest import MakeScene
from tests.conformance.scene import Scene, channel, get, put, references

HOST_CODE = """
import sys
from pathlib import Path
from ringline.shm import Arena
with Arena.adopt(Path(sys.argv[1])) as host:
    print("adopted", flush=True)
    while not host.reclaim("sink", keep_queue=sys.argv[2] == "keep"):
        pass
"""


class HalfCommit:
    """The newest message of channel `a`, taken back to the moment before C4: slots written, gate BUSY, no bit, not visible."""

    def __init__(self, scene: Scene) -> None:
        self.words = raw.Raw(scene.directory, scene.layout)
        self.head = self.words.channel("a", raw.HEAD)
        self.position = self.words.peek(self.head) - 1
        slots = [self.words.slot("a", self.position, word) for word in (raw.W0, raw.STAMP)]
        numbers = [self.words.peek(at) & raw.NO_BLOCK for at in slots]
        self.blocks = [self.words.block(number) for number in numbers if number != raw.NO_BLOCK]
        self.gate = self.words.node("source", raw.GATE)
        self.open = self.words.peek(self.gate)
        self.words.poke(self.gate, self.open | raw.BUSY)
        self.words.poke(self.head, self.position)
        for at in self.blocks:
            self.words.poke(at, 0)

    def finish(self) -> None:
        for at in self.blocks:
            self.words.poke(at, self.words.bit("a"))
        self.words.poke(self.head, self.position + 1)
        self.words.poke(self.gate, self.open)
        self.words.close()


@contextmanager
def new_host(directory: Path, queue: str) -> Iterator[subprocess.Popen[str]]:
    """Have a host that reclaims the sink, again and again while the source sits in its commit."""
    environment = {**os.environ, "PYTHONPATH": str(Path(ringline.__file__).parents[1])}
    command = [sys.executable, "-c", HOST_CODE, str(directory), queue]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        try:
            assert host.stdout.readline() == "adopted\n"
            yield host
        finally:
            host.kill()  # if it has not ended


@pytest.mark.parametrize("metadata", [b"", bytes(2000)], ids=["one-block", "two-blocks"])
@pytest.mark.parametrize("queue", ["keep", "drop"])
def test_a_commit_during_the_reclaim_of_its_reader_leaks_nothing(
    make_scene: MakeScene, queue: str, metadata: bytes
) -> None:
    scene = make_scene(channel("a", "source", "sink", 4))
    writer, _ = scene.writer("a"), scene.reader("a")
    put(writer, "first")
    writer.send(b"second", 0, metadata, 0)
    half = HalfCommit(scene)
    scene.leave("sink")
    scene.leave(HOST)
    with new_host(scene.directory, queue) as host:
        time.sleep(0.1)  # it collects the sink's blocks and finds the gate BUSY, several times
        half.finish()
        assert host.wait() == 0
    put(writer, "third")
    reader = scene.reader("a")
    texts = []
    while (lease := reader.next()) is not None:
        texts.append(bytes(lease))
        lease.release()
    assert texts == ([b"first", b"second", b"third"] if queue == "keep" else [b"third"])
    assert [word for word in references(scene.directory, scene.layout) if word] == []


def test_what_the_dead_reader_held_comes_back_too(make_scene: MakeScene) -> None:
    scene = make_scene(channel("a", "source", "sink", 4))
    for text in ("held", "queued", "in the making"):
        put(scene.writer("a"), text)
    get(scene.reader("a"))
    half = HalfCommit(scene)
    scene.leave("sink")
    scene.leave(HOST)
    with new_host(scene.directory, "drop") as host:
        half.finish()
        assert host.wait() == 0
    assert [word for word in references(scene.directory, scene.layout) if word] == []
