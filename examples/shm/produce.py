"""The host: makes the arena, writes pictures in place, reads the answers, and removes everything at the end.

    python examples/shm/produce.py [DIRECTORY] [--count 5]

`consume.py` is the other program. They share the directory and the names in `CHANNELS`, nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from ringline import ChannelFullError
from ringline.shm import HOST, Arena, Channel, Reader, Writer, host, plan, reclaim_dead

DIRECTORY = Path("/dev/shm/ringline-example")
T = TypeVar("T")
SHAPE = (480, 640, 3)
CHANNELS = [
    Channel("pictures", writer=HOST, reader="viewer", capacity=2),
    Channel("answers", writer="viewer", reader=HOST),
]


def send(arena: Arena, writer: Writer, number: int) -> None:
    """Fill a block in place and publish it: the reader sees these bytes, not a copy of them."""
    loan = patiently(arena, lambda: writer.loan(int(np.prod(SHAPE)), timeout_s=0.5))
    picture = np.frombuffer(memoryview(loan), np.uint8).reshape(SHAPE)
    picture[:] = 10 * number
    kind, meta, timestamp = 1, f"picture {number}".encode(), number * 33_000_000
    patiently(arena, lambda: writer.commit(loan, kind, meta, timestamp, timeout_s=0.5))


def patiently(arena: Arena, step: Callable[[], T]) -> T:
    """Wait for room as long as it takes; meanwhile a viewer that was killed gives its blocks back."""
    while True:
        try:
            return step()
        except ChannelFullError:
            reclaim_dead(arena, keep_queues_of=["viewer"])


def answers(reader: Reader) -> list[str]:
    """Take what has been answered so far."""
    texts = []
    while (lease := reader.next()) is not None:
        texts.append(bytes(lease).decode())
        lease.release()
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description="Send pictures to another program through shared memory.")
    parser.add_argument("directory", nargs="?", type=Path, default=DIRECTORY)
    parser.add_argument("--count", type=int, default=5)
    options = parser.parse_args()
    with host(options.directory, plan(CHANNELS, max_message_bytes=1 << 20)) as arena:
        writer, reader = arena.writer(["pictures"]), arena.reader("answers")
        print(f"waiting for consume.py in {options.directory}", flush=True)
        for number in range(options.count):
            send(arena, writer, number)  # waits while two pictures wait for the viewer
        writer.end()
        answered = 0
        while answered < options.count and not reader.ended:
            arena.wait(1.0)
            reclaim_dead(arena, keep_queues_of=["viewer"])
            for text in answers(reader):
                print(text, flush=True)
                answered += 1
    print("done")


if __name__ == "__main__":
    main()
