"""A process of its own for tests of death: attaches as a node and does what its argument says, then holds still.

Run as ``python actor.py DIRECTORY NODE ACTION``; prints one line when it is where the test wants it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from ringline.shm import Arena, Lease, Reader, Writer


def hold(arena: Arena, reader: Reader, writer: Writer) -> None:
    """Take three messages and keep them."""
    held: list[Lease] = []
    while len(held) < 3:
        arena.wait()
        lease = reader.next()
        if lease is not None:
            held.append(lease)
    say("holding")
    time.sleep(3600)


def attached(arena: Arena, reader: Reader, writer: Writer) -> None:
    """Do nothing."""
    say("attached")
    time.sleep(3600)


def send_forever(arena: Arena, reader: Reader, writer: Writer) -> None:
    """Commit until fenced or killed; exits with 70 when fenced, as a node does."""
    from ringline.errors import Fenced

    say("sending")
    try:
        while True:
            writer.send(b"x", 0, b"", 0)
    except Fenced:
        os._exit(70)


def loan(arena: Arena, reader: Reader, writer: Writer) -> None:
    """Hold half-written loans."""
    loans = [writer.loan(1000) for _ in range(5)]
    memoryview(loans[0])[:500] = b"h" * 500
    say("loaned")
    time.sleep(3600)


def fork(arena: Arena, reader: Reader, writer: Writer) -> None:
    """Leave a child that outlives this process."""
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    say("forked")
    time.sleep(3600)


def say(word: str) -> None:
    print(word, flush=True)


ACTIONS = {action.__name__: action for action in (hold, attached, send_forever, loan, fork)}

if __name__ == "__main__":
    with Arena.attach(Path(sys.argv[1]), sys.argv[2]) as mine:
        ACTIONS[sys.argv[3]](mine, mine.reader("a"), mine.writer(["b"]))
