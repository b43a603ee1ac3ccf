"""The smaller parts of the node side: pipes to lines, the kernel's kill counter, cycles, logs, failures, identity."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline.control import frames
from ringline.data import RuntimeData
from ringline.errors import DataError, NodeError
from ringline.graph.layout import ChannelPlan
from ringline.node.base import MultiprocessNode
from ringline.node.cycle import members
from ringline.node.failure import describe
from ringline.node.identity import Identity
from ringline.node.logs import JsonFormatter
from ringline.node.oom import OomWatch, counter_file, kills
from ringline.node.outputs import check_ports, messages
from ringline.node.pump import CONTINUED, LONGEST_PIECE, MOST_BUFFERED, Outlet, Pump, pipe


class Line:
    """An outlet towards this test, and a pump that feeds it."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.theirs, self.outlet = theirs, Outlet(theirs)
        reader, self.writer = pipe()
        self.pump = Pump(reader, "n", 1, "stderr")
        self.decoder = frames.Decoder()

    def write(self, data: bytes) -> None:
        for at in range(0, len(data), 4096):
            os.write(self.writer, data[at : at + 4096])
            self.pump.pump(self.outlet)

    def received(self) -> list[bytes]:
        got: list[bytes] = []
        while self.outlet.waiting:
            self.outlet.write()
            got += [body for _, body in self.decoder.feed(self.ours.recv(1 << 20))]
        return got

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()
        for descriptor in (self.writer, self.pump.descriptor):
            os.close(descriptor)


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=10))
def test_lines_are_passed_on_whole_however_they_are_written(pieces: list[bytes]) -> None:
    line = Line()
    try:
        for piece in pieces:
            line.write(piece)
        bodies = line.received()
        assert all(body.endswith(b"\n") for body in bodies)
        written = b"".join(pieces)
        assert b"".join(bodies) == written[: written.rfind(b"\n") + 1]
    finally:
        line.close()


def test_a_long_line_is_cut_and_each_piece_but_the_last_is_marked(line: Line) -> None:
    line.write(b"a" * (2 * LONGEST_PIECE + 10) + b"\nb\n")
    got = b"".join(line.received()).splitlines()
    assert got[-1] == b"b"
    assert [piece.endswith(CONTINUED) for piece in got[:-1]] == [True, True, False]
    assert b"".join(got[:-1]).replace(CONTINUED, b"") == b"a" * (2 * LONGEST_PIECE + 10)


def test_the_last_lines_are_kept_and_cut(line: Line) -> None:
    line.write(b"".join(b"%d\n" % number for number in range(50)) + b"z" * 5000 + b"\n")
    assert line.pump.last_lines()[0] == "31"
    assert line.pump.last_lines()[-1] == "z" * 1000
    assert len(line.pump.last_lines()) == 20


def test_a_host_that_does_not_read_costs_bounded_memory_and_is_told_what_is_missing(line: Line) -> None:
    block = (b"x" * 1023 + b"\n") * 4
    for _ in range(2 * MOST_BUFFERED // len(block)):
        line.write(block)
    got = b"".join(line.received())
    assert len(got) <= MOST_BUFFERED
    line.write(b"after\n")
    note, last = b"".join(line.received()).splitlines()
    assert last == b"after"
    assert int(note[1:].split()[0]) + len(got) == 2 * MOST_BUFFERED


def test_events_are_never_dropped(line: Line) -> None:
    while line.outlet._bytes < MOST_BUFFERED:
        line.outlet.log("n", 1, "stderr", b"x" * 60_000 + b"\n")
        line.outlet._bytes += 1 << 20
    line.outlet.event({"ev": "exit"})
    headers = []
    while line.outlet.waiting:
        line.outlet.write()
        headers += [header for header, _ in line.decoder.feed(line.ours.recv(1 << 20))]
    assert headers[-1] == {"ev": "exit"}


@pytest.mark.parametrize(
    ("cgroup", "place", "content"),
    [
        ("0::/a/b\n", "a/b/memory.events", "low 0\noom_kill 3\n"),
        ("0::/of/the/host\n", "memory.events", "oom_kill 3\n"),
        ("4:memory:/x\n0::/\n", "memory/x/memory.oom_control", "under_oom 0\noom_kill 3\n"),
        ("4:cpu,memory:/hidden\n", "memory/memory.oom_control", "oom_kill 3\n"),
    ],
)
def test_the_kill_counter_is_found_in_both_kinds_of_cgroups(
    tmp_path: Path, cgroup: str, place: str, content: str
) -> None:
    (tmp_path / "cgroup").write_text(cgroup)
    file = tmp_path / "fs" / place
    file.parent.mkdir(parents=True)
    file.write_text(content)
    found = counter_file(tmp_path / "cgroup", tmp_path / "fs")
    assert found == file
    watch = OomWatch(found)
    assert watch.killed() is False
    file.write_text("oom_kill 5\n")
    assert [watch.killed(), watch.killed(), watch.killed()] == [True, True, False]
    file.write_text("oom_kill 6\n")
    watch.settle()
    assert watch.killed() is False


def test_an_unreadable_counter_means_unknown(tmp_path: Path) -> None:
    assert counter_file(tmp_path / "none") is None
    (tmp_path / "bad").write_text("oom_kill many\n")
    assert kills(tmp_path / "bad") is None
    assert OomWatch(tmp_path / "gone").killed() is None


def channel(text: str) -> ChannelPlan:
    producer, consumer = text.split(">")
    return ChannelPlan(0, text, producer, "out", consumer, "in", 10)


def test_a_cycles_members_are_those_that_reach_each_other() -> None:
    channels = [channel(text) for text in ("@host>a", "a>b", "b>c", "c>a", "b>d", "e>c", "d>@host")]
    assert members("a", channels) == {"a", "b", "c"}
    assert members("d", channels) == {"d"}


def test_json_records_carry_labels_extras_and_tracebacks() -> None:
    formatter = JsonFormatter({"node": "n"})
    try:
        raise ValueError("no")
    except ValueError:
        record = logging.makeLogRecord(
            {"msg": "%s of %d", "args": ("one", 2), "channel": "c", "exc_info": sys.exc_info()}
        )
    entry = json.loads(formatter.format(record))
    assert (entry["message"], entry["node"], entry["channel"]) == ("one of 2", "n", "c")
    assert entry["traceback"].endswith("ValueError: no")


def test_a_failure_names_the_authors_own_line() -> None:
    node = MultiprocessNode("n")
    with pytest.raises(NodeError) as caught:
        node.process(RuntimeData.text("x"))
    failure = describe(caught.value)
    assert failure.file == __file__
    assert failure.error.startswith("ringline.errors.NodeError: MultiprocessNode defines no process")
    assert failure.payload("Error", "process")["traceback"].startswith("Traceback")


def test_a_huge_traceback_still_fits_a_control_message() -> None:
    failure = describe(ValueError("x" * 100_000))
    payload = failure.payload("Error", "process")
    assert len(payload["traceback"]) < 33_000
    assert len(payload["error"]) == 2000
    assert failure.place == "no file"


def test_the_token_is_not_shown() -> None:
    names = ("SESSION_ID", "SESSION_DIR", "NODE", "TOKEN")
    environ = {f"RINGLINE_{name}": "secret" if name == "TOKEN" else "x" for name in names} | {"RINGLINE_EPOCH": "2"}
    identity = Identity.from_environ(environ)
    assert identity.token == "secret"
    assert "secret" not in repr(identity)
    assert identity.labels == {"session": "x", "node": "x", "epoch": 2}


def test_results_of_every_shape_become_messages() -> None:
    data = RuntimeData.text("d")
    given = [None, data, "plain", {"a": data, "b": ["x", "y"], "c": None, "d": {"k": 1}}, (data, {"e": "z"})]
    shown = [(port, message.payload) for result in given for port, message in messages(result)]
    assert shown == [
        (None, "d"),
        (None, "plain"),
        ("a", "d"),
        ("b", "x"),
        ("b", "y"),
        ("d", {"k": 1}),
        (None, "d"),
        ("e", "z"),
    ]
    with pytest.raises(DataError, match="port names as keys"):
        list(messages({1: data}))


def test_connected_ports_must_be_declared_ones_of_the_same_type() -> None:
    class Typed(MultiprocessNode):
        inputs = {"audio": "audio", "side": "any"}  # noqa: RUF012
        outputs = {"*": "text"}  # noqa: RUF012

    node = Typed("n")
    check_ports(node, {"audio": "any", "side": "video"}, {"whatever": "text"})
    with pytest.raises(NodeError, match=r"no input port 'audo' \(it has: audio, side\)"):
        check_ports(node, {"audo": "audio"}, {})
    with pytest.raises(NodeError, match="output port 'x' of node 'n' is text, its channel is audio"):
        check_ports(node, {}, {"x": "audio"})


def test_preloading_starts_no_thread_and_imports_nothing_of_an_author_or_the_box() -> None:
    look = (
        "import os, sys\n"
        "from ringline.node.preload import preload\n"
        "preload()\n"
        "assert len(os.listdir('/proc/self/task')) == 1\n"
        "assert 'ringline.node.runner' in sys.modules\n"
        "assert not any(name.startswith('ringline.nodes') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", look], check=True)
