"""A small session in one process: the host and the nodes each with an `Arena` of their own, as real processes have.

Record locks belong to a process, so who lives and who died is tested with real processes (`test_death.py`).
"""

from __future__ import annotations

import struct
from pathlib import Path

from ringline.graph.layout import ArenaLayout, ChannelPlan, Overflow, arena_layout, offsets
from ringline.names import HOST
from ringline.shm import Arena, ChannelStats, Lease, NodeStats, Reader, Writer

MIB = 1 << 20


def channel(
    name: str,
    producer: str = HOST,
    consumer: str = "node",
    capacity: int = 4,
    overflow: Overflow = "block",
    block_timeout_ms: int = 0,
    deadline_ms: int = 0,
) -> ChannelPlan:
    """Describe a channel; its index is given by `layout_of`."""
    return ChannelPlan(0, name, producer, "out", consumer, "in", capacity, overflow, block_timeout_ms, deadline_ms)


def layout_of(*channels: ChannelPlan, message: int = 64 << 10, shm: int = 64 * MIB) -> ArenaLayout:
    """Lay out a session with these channels and the nodes that they name."""
    nodes = dict.fromkeys(name for c in channels for name in (c.producer, c.consumer) if name != HOST)
    indexed = [ChannelPlan(i, *(getattr(c, f) for f in FIELDS)) for i, c in enumerate(channels)]
    return arena_layout([*nodes, HOST], indexed, max_message_bytes=message, shm_bytes=shm)


FIELDS = (
    "name",
    "producer",
    "producer_port",
    "consumer",
    "consumer_port",
    "capacity",
    "overflow",
    "block_timeout_ms",
    "deadline_ms",
)


class Scene:
    """A directory, a layout, and who is attached."""

    def __init__(self, directory: Path, *channels: ChannelPlan, message: int = 64 << 10, shm: int = 64 * MIB) -> None:
        directory.mkdir(mode=0o700)
        self.directory = directory
        self.layout = layout_of(*channels, message=message, shm=shm)
        self.host = Arena.create(directory, self.layout)
        self._arenas: dict[str, Arena] = {HOST: self.host}
        self._ends: dict[tuple[str, ...], Writer | Reader] = {}

    def arena(self, node: str) -> Arena:
        if node not in self._arenas:
            self._arenas[node] = Arena.attach(self.directory, node, timeout_s=1)
        return self._arenas[node]

    def writer(self, *names: str) -> Writer:
        if ("w", *names) not in self._ends:
            self._ends["w", *names] = self.arena(self._plan(names[0]).producer).writer(names)
        end = self._ends["w", *names]
        assert isinstance(end, Writer)
        return end

    def reader(self, name: str) -> Reader:
        if ("r", name) not in self._ends:
            self._ends["r", name] = self.arena(self._plan(name).consumer).reader(name)
        end = self._ends["r", name]
        assert isinstance(end, Reader)
        return end

    def leave(self, node: str) -> None:
        """Detach a node without a word, as its death would."""
        self._ends = {key: end for key, end in self._ends.items() if self._owner(key) != node}
        self._arenas.pop(node).close()

    def close(self) -> None:
        self._ends.clear()
        for arena in self._arenas.values():
            arena.close()

    def channel_stats(self, name: str) -> ChannelStats:
        return self.host.channel_stats()[name]

    def node_stats(self, name: str) -> NodeStats:
        return self.host.node_stats()[name]

    def dropped(self, name: str) -> dict[str, int]:
        return {reason: count for reason, count in self.channel_stats(name).dropped.items() if count}

    def _plan(self, name: str) -> ChannelPlan:
        return next(c for c in self.layout.channels if c.name == name)

    def _owner(self, key: tuple[str, ...]) -> str:
        plan = self._plan(key[1])
        return plan.producer if key[0] == "w" else plan.consumer


def put(writer: Writer, text: str | bytes) -> bool:
    """Send a short message."""
    return writer.send(text.encode() if isinstance(text, str) else text, 0, b"", 0)


def get(reader: Reader) -> Lease:
    """Take a message that must be there."""
    lease = reader.next()
    assert lease is not None
    return lease


def drain(reader: Reader) -> list[str]:
    """Take, read and release all that is queued."""
    texts = []
    while (lease := reader.next()) is not None:
        texts.append(bytes(lease).decode())
        lease.release()
    return texts


def references(directory: Path, layout: ArenaLayout) -> list[int]:
    """Read the reference word of every block straight from the file."""
    data = (directory / "arena").read_bytes()
    words: list[int] = []
    for heap, table in zip(layout.nodes, offsets(layout).tables, strict=True):
        words += [struct.unpack_from("<Q", data, table + 64 * block)[0] for block in range(heap.blocks)]
    return words


def blocks_in_use(directory: Path, layout: ArenaLayout) -> int:
    """Count the blocks that a channel refers to, queued or held."""
    return sum(word != 0 for word in references(directory, layout))
