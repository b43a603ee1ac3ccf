"""One node of the kill tests, in a process of its own with nothing but `ringline.shm`.

Run as ``python kill_actor.py DIRECTORY ROLE``. Every message carries a number that grows for ever, a checksum of its body and
metadata made from the number. What each channel delivered last lies in the file `oracle`, which outlives a killed reader, so a
duplicate or a reordering across its restarts is seen too. Whatever is wrong is written to the file `bad`.
"""

from __future__ import annotations

import mmap
import os
import random
import struct
import sys
import time
import zlib
from pathlib import Path

from ringline.shm import Arena, Lease, Reader, Writer

STOP = 0
LARGE = 40
HEAD = struct.Struct("<QII")
INPUTS = {"forward": "c0", "left": "c1", "right": "c2", "host": "c3"}
OUTPUTS = {"write": ["c0", "c1"], "forward": ["c2"]}


class Oracle:
    """Words that outlive the processes: word 0 says stop, word 1 + channel the last number that was delivered, word 40 that messages are large."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with (directory / "oracle").open("r+b") as file:
            self._words = mmap.mmap(file.fileno(), 4096)

    def read(self, word: int) -> int:
        return int(struct.unpack_from("<Q", self._words, 8 * word)[0])

    def write(self, word: int, value: int) -> None:
        struct.pack_into("<Q", self._words, 8 * word, value)

    def fail(self, text: str) -> None:
        with (self._directory / "bad").open("a") as file:
            file.write(text + "\n")
        os._exit(99)

    def delivered(self, channel: str, number: int) -> None:
        word = 1 + int(channel[1])
        if number <= self.read(word):
            self.fail(f"{channel}: {number} came after {self.read(word)}")
        self.write(word, number)


def message(chance: random.Random, *, large: bool) -> tuple[bytes, bytes]:
    """Make a payload of up to 3 KB (8 KB) and metadata, sometimes so much that it needs a block of its own."""
    number = time.monotonic_ns()
    body = chance.randbytes(chance.choice([1000, 8000, 8100] if large else [0, 10, 100, 1000, 3000]))
    extra = chance.choice([0, 8, 8, 500, 1200])
    return HEAD.pack(number, zlib.crc32(body), extra) + body, struct.pack("<Q", number) * (extra // 8)


def check(oracle: Oracle, lease: Lease, when: str) -> int:
    """Compare a held message with what its writer put in."""
    data = bytes(lease)
    number, crc, extra = HEAD.unpack_from(data)
    if zlib.crc32(data[HEAD.size :]) != crc or lease.meta != struct.pack("<Q", number) * (extra // 8):
        oracle.fail(f"{lease.channel}: message {number} is damaged when {when}")
    return int(number)


def write(oracle: Oracle, arena: Arena, chance: random.Random) -> None:
    writer = arena.writer(OUTPUTS["write"])
    while not oracle.read(STOP):
        payload, meta = message(chance, large=bool(oracle.read(LARGE)))
        if chance.random() < 0.3:
            loan = writer.loan(len(payload))
            memoryview(loan)[:] = payload
            writer.commit(loan, 0, meta, 0)
        else:
            writer.send(payload, 0, meta, 0)
    writer.end()


def read(oracle: Oracle, arena: Arena, chance: random.Random, role: str) -> None:
    reader = arena.reader(INPUTS[role])
    writer = arena.writer(OUTPUTS[role]) if role in OUTPUTS else None
    held: list[Lease] = []
    while not reader.ended or held:
        if len(held) < 3 and not (held and chance.random() < 0.3):
            take(oracle, arena, reader, held)
        if held and (len(held) == 3 or reader.ended or chance.random() < 0.5):
            give(oracle, writer, held.pop(chance.randrange(len(held)) if writer is None else 0), chance)
    if writer is not None:
        writer.end()


def take(oracle: Oracle, arena: Arena, reader: Reader, held: list[Lease]) -> None:
    lease = reader.next()
    if lease is None:
        if not held and not reader.ended:
            arena.wait()
        return
    oracle.delivered(lease.channel, check(oracle, lease, "taken"))
    held.append(lease)


def give(oracle: Oracle, writer: Writer | None, lease: Lease, chance: random.Random) -> None:
    """Release a message, after passing it on (the same block, or a copy) if this is the forwarder."""
    check(oracle, lease, "released")
    if writer is not None and chance.random() < 0.7:
        writer.forward(lease, 0, lease.meta, 0)
    elif writer is not None:
        writer.send(bytes(lease), 0, lease.meta, 0)
    lease.release()


def main(directory: Path, role: str) -> None:
    oracle, chance = Oracle(directory), random.Random()
    with Arena.attach(directory, role, timeout_s=30) as arena:
        if role == "write":
            write(oracle, arena, chance)
        else:
            read(oracle, arena, chance, role)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
