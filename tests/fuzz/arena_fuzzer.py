"""Mutates an arena's file and uses it: the program that `test_arena_fuzz.py` runs, for a crash ends the process.

Run as ``python -m tests.fuzz.arena_fuzzer DIRECTORY TARGET SEED COUNT`` from the repository's root. Before each mutation its
description goes to the file `last`, so that a dead fuzzer's last act is known. Prints a JSON object of outcomes.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from types import FrameType

from ringline.errors import ShmError
from ringline.graph.layout import CHANNEL_INFO_BYTES, HEADER_BYTES, NODE_INFO_BYTES, Overflow
from ringline.names import ARENA_FILE, HOST
from ringline.shm import Arena, ArenaView, Lease
from tests.conformance import raw
from tests.conformance.scene import channel, layout_of

MESSAGE = 4096
NAME, U32, U64 = "name", "<I", "<Q"
HEADER_FIELDS = (
    (0, 8, NAME),
    *((at, 4, U32) for at in (8, 12, 24, 28)),
    *((at, 8, U64) for at in (16, 32, 40, 48, 56)),
)
NODE_FIELDS = ((0, 56, NAME), (56, 8, U64), (64, 8, U64), (72, 8, U64), (80, 4, U32), (84, 4, U32))
CHANNEL_FIELDS = (
    (0, 192, NAME),
    (192, 8, U64),
    *((at, 4, U32) for at in (200, 204, 208, 212, 216)),
    (224, 8, U64),
    (232, 8, U64),
)
POLICIES: tuple[Overflow, ...] = ("block", "drop_oldest", "drop_newest", "latest", "deadline")
Field = tuple[int, int, str]
Mutation = tuple[int, bytes]


class Hung(Exception):
    """A call that should not wait did."""


def alarm(number: int, frame: FrameType | None) -> None:
    raise Hung


class Fuzzer:
    """One arena. `run` applies a mutation, uses the arena, and puts the bytes back."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory, self.chance, self.outcomes = directory, random.Random(seed), Counter[str]()
        self.layout = layout_of(
            *(
                channel(f"c{i}", HOST, "node", 1 if policy == "latest" else 3, policy, deadline_ms=60_000)
                for i, policy in enumerate(POLICIES)
            ),
            channel("back", "node", HOST),
            message=MESSAGE,
        )
        Arena.create(directory, self.layout).close()
        self.raw = raw.Raw(directory, self.layout)
        self.file = os.open(directory / ARENA_FILE, os.O_RDWR)
        self.last = os.open(directory / "last", os.O_WRONLY | os.O_CREAT, 0o600)
        self.good = os.pread(self.file, self.raw.places.heaps[0], 0)

    def value(self, old: int, bits: int) -> int:
        """A number that a check may forget: borders, neighbours of the right one, a flipped bit, anything."""
        borders = [
            0,
            1,
            63,
            64,
            4095,
            4096,
            65535,
            65536,
            1 << 31,
            (1 << 32) - 1,
            1 << 32,
            (1 << 63) - 1,
            (1 << 64) - 1,
        ]
        near = [old + d for d in (-4096, -64, -1, 1, 64, 4096)] + [old * 2, old // 2, len(self.good)]
        other = [old ^ 1 << self.chance.randrange(bits), self.chance.getrandbits(bits)]
        return self.chance.choice([*borders, *near, *other, *other]) & (1 << bits) - 1

    def field(self, base: int, field: Field) -> Mutation:
        at, size, kind = field
        old = os.pread(self.file, size, base + at)
        if kind is NAME:
            data = bytearray(old)
            data[self.chance.randrange(size)] = self.chance.choice(
                [0, 0x20, 0x2F, 0x7F, 0xFF, self.chance.randrange(256)]
            )
            return base + at, bytes(data)
        number = int(struct.unpack(kind, old)[0])
        return base + at, struct.pack(kind, self.value(number, size * 8))

    def bit(self, start: int, end: int) -> Mutation:
        at = self.chance.randrange(start, end)
        return at, bytes([os.pread(self.file, 1, at)[0] ^ 1 << self.chance.randrange(8)])

    def word(self, at: int) -> Mutation:
        return at, struct.pack("<Q", self.value(self.raw.peek(at), 64))

    def apply(self, mutation: Mutation) -> None:
        at, data = mutation
        os.pwrite(self.last, f"{at}: {data.hex()}".ljust(500).encode(), 0)
        os.pwrite(self.file, data, at)

    def restore(self) -> None:
        os.pwrite(self.file, self.good, 0)


def table_fields(fuzzer: Fuzzer) -> Iterator[tuple[int, Field]]:
    """Every field of the header and the tables, for ever."""
    nodes, channels = len(fuzzer.layout.nodes), len(fuzzer.layout.channels)
    bases = [(0, HEADER_FIELDS)]
    bases += [(HEADER_BYTES + i * NODE_INFO_BYTES, NODE_FIELDS) for i in range(nodes)]
    after = HEADER_BYTES + nodes * NODE_INFO_BYTES
    bases += [(after + i * CHANNEL_INFO_BYTES, CHANNEL_FIELDS) for i in range(channels)]
    return cycle([(base, field) for base, fields in bases for field in fields])


def attach(fuzzer: Fuzzer, count: int) -> None:
    """Open a mutated arena for reading and as a node, and use what opened."""
    fields = table_fields(fuzzer)
    places = fuzzer.raw.places
    for turn in range(count):
        for _ in range(1 + turn % 3):
            kind = turn % 4
            if kind < 2:
                fuzzer.apply(fuzzer.field(*next(fields)))
            else:
                fuzzer.apply(fuzzer.bit(0, HEADER_BYTES if kind == 2 else places.rings[0]))
        try:
            use_view(fuzzer.directory)
            use_node(fuzzer)
            fuzzer.outcomes["accepted"] += 1
        except ShmError as error:
            fuzzer.outcomes[type(error).__name__] += 1
        except Hung:
            fuzzer.outcomes["waits for a gate"] += 1
        fuzzer.restore()


def use_view(directory: Path) -> None:
    with ArenaView.open(directory) as view:
        view.channel_stats()
        view.node_stats()


def use_node(fuzzer: Fuzzer) -> None:
    with Arena.attach(fuzzer.directory, "node", timeout_s=0) as arena:
        arena.node_stats()
        arena.channel_stats()
        writer, reader = arena.writer(["back"]), arena.reader("c0")
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            writer.try_send(b"to whom it concerns", 0, b"meta" * 200, 0)
            reader.next()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def spots(fuzzer: Fuzzer) -> list[Callable[[], Mutation]]:
    """Kinds of mutation of what changes while messages flow: words of channels, descriptors, block tables, any bit."""
    places, names, pick = fuzzer.raw.places, [c.name for c in fuzzer.layout.channels], fuzzer.chance.choice

    def of_channel() -> Mutation:
        words = [raw.HEAD, raw.TAIL, raw.DROP, raw.DROP_SECOND, raw.MARK, raw.END]
        return fuzzer.word(fuzzer.raw.channel(pick(names), pick(words)))

    def of_slot() -> Mutation:
        return fuzzer.word(fuzzer.raw.slot(pick(names), fuzzer.chance.randrange(4), 8 * fuzzer.chance.randrange(8)))

    def of_block() -> Mutation:
        return fuzzer.word(fuzzer.raw.block(fuzzer.chance.randrange(24), pick([raw.REFS, raw.OFFSET, raw.SIZE])))

    return [of_channel, of_slot, of_slot, of_block, lambda: fuzzer.bit(places.channel_words, places.heaps[0])]


def following(fuzzer: Fuzzer, count: int) -> None:
    """Send and read while a neighbour writes. A payload is right, or at least from a heap and no longer than a message."""
    kinds = spots(fuzzer)
    while count > 0:
        with Arena.adopt(fuzzer.directory, timeout_s=0) as host:
            count -= flow(fuzzer, host, kinds)
        fuzzer.restore()


def flow(fuzzer: Fuzzer, host: Arena, kinds: list[Callable[[], Mutation]]) -> int:
    """Go on until something is refused; returns the number of mutations."""
    with Arena.attach(fuzzer.directory, "node", timeout_s=0) as node:
        names = [c.name for c in fuzzer.layout.channels if c.producer == HOST]
        writers = [host.writer([name]) for name in names[:3]] + [host.writer(names[3:])]
        readers = [node.reader(name) for name in names]
        held: list[Lease] = []
        for turn in range(1, 60):
            fuzzer.apply(fuzzer.chance.choice(kinds)())
            signal.setitimer(signal.ITIMER_REAL, 2)
            try:
                for writer in writers:
                    writer.try_send(fuzzer.chance.randbytes(turn * 7 % 300), turn, bytes(turn * 13 % 700), turn)
                for reader in readers:
                    take(fuzzer, reader.next(), held)
                if turn % 7 == 0:
                    host.flush(["node"], [names[turn % len(names)]])
                host.channel_stats()
            except ShmError as error:
                fuzzer.outcomes[type(error).__name__] += 1
                return turn
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    return 60


def take(fuzzer: Fuzzer, lease: Lease | None, held: list[Lease]) -> None:
    if lease is not None:
        fuzzer.outcomes["messages"] += 1
        assert fuzzer.raw.places.heaps[0] <= lease.address <= fuzzer.layout.size_bytes - lease.nbytes
        assert len(bytes(lease)) == lease.nbytes
        assert len(lease.meta) <= 65536
        held.append(lease)
        if len(held) > 5:
            held.pop(fuzzer.chance.randrange(5)).release()


def reclaim(fuzzer: Fuzzer, count: int) -> None:
    """Let the host clean up after a node whose words say anything."""
    kinds = spots(fuzzer)
    with Arena.adopt(fuzzer.directory, timeout_s=0) as host:
        fuzzer.good = os.pread(fuzzer.file, len(fuzzer.good), 0)
        for turn in range(count):
            with Arena.attach(fuzzer.directory, "node", timeout_s=0) as node:
                node.writer(["back"]).try_send(b"x" * (turn % 99), 0, bytes(turn % 900), 0)
            for _ in range(1 + turn % 4):
                fuzzer.apply(fuzzer.chance.choice(kinds)())
            fuzzer.outcomes[f"reclaimed {host.reclaim('node', keep_queue=turn % 2 == 0)}"] += 1
            fuzzer.restore()


TARGETS = {"attach": attach, "next": following, "reclaim": reclaim}


def main() -> None:
    directory, target, seed, count = sys.argv[1:]
    signal.signal(signal.SIGALRM, alarm)
    fuzzer = Fuzzer(Path(directory), int(seed))
    TARGETS[target](fuzzer, int(count))
    print(json.dumps(fuzzer.outcomes))


if __name__ == "__main__":
    main()
