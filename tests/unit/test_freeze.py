"""A frozen process stands still, with all of its threads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.helpers.freeze import freeze, frozen, thread_states

BUSY = """
import threading
def count():
    while True:
        print("tick", flush=True)
for _ in range(3):
    threading.Thread(target=count, daemon=True).start()
count()
"""


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    """A process of four threads, none of which ever pauses."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.DEVNULL) as process:
        while len(thread_states(process.pid)) < 4:
            pass
        yield process
        process.kill()


def test_every_thread_stands_still_when_freeze_returns(busy: subprocess.Popen[bytes]) -> None:
    freeze(busy.pid)
    assert thread_states(busy.pid) == ["T"] * 4


def test_a_process_is_frozen_only_inside_the_block(busy: subprocess.Popen[bytes]) -> None:
    with frozen(busy.pid):
        assert thread_states(busy.pid) == ["T"] * 4
    while "T" in thread_states(busy.pid):
        pass


def test_a_process_that_has_ended_cannot_be_frozen(busy: subprocess.Popen[bytes]) -> None:
    busy.kill()
    with pytest.raises(ProcessLookupError):
        freeze(busy.pid)
