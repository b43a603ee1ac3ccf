"""A real arena and its model side by side: each operation is done on both, and both must answer alike.

Nodes die by closing their arena: the lock drops, leases and loans are void, and shared memory stays as a kill would leave
it. For a death inside a step the words of that step are put back to what they were before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from ringline.errors import ArenaError, ChannelFullError
from ringline.graph.layout import INLINE_METADATA_BYTES, ChannelPlan, Overflow
from ringline.names import HOST
from ringline.shm import Arena, ChannelStats, Lease, Loan, Reader, Writer
from tests.conformance import raw
from tests.conformance.model import Block, Channel, Message, Model
from tests.conformance.scene import channel, layout_of

NODES = ("left", "mid", "right")
ENDS = ((HOST, "left"), (HOST, "right"), ("left", "mid"), ("left", "right"), ("mid", "right"), ("right", HOST))
"""A fan-out of the host and one of `left`, a join in `right`, pass-through everywhere."""
CHANNELS = tuple(f"c{i}" for i in range(len(ENDS)))
COMMIT_STEPS, DROP_STEPS = ("C1", "C3", "C4", "C5"), ("D2", "D3", "D4")
MESSAGE = 65536
MOST_HELD = 3


def plans(policies: Sequence[tuple[Overflow, int]]) -> list[ChannelPlan]:
    return [
        channel(name, producer, consumer, 1 if policy == "latest" else capacity, policy, deadline_ms=600_000)
        for name, (producer, consumer), (policy, capacity) in zip(CHANNELS, ENDS, policies, strict=True)
    ]


@dataclass
class Side:
    """One attached process."""

    arena: Arena
    writer: Writer
    readers: dict[str, Reader]
    loans: list[tuple[Loan, Block]] = field(default_factory=list)
    held: list[tuple[str, Lease, Message]] = field(default_factory=list)


class World:
    """`small_heap`: three blocks per heap, and every message fills one."""

    def __init__(self, directory: Path, channels: Sequence[ChannelPlan], *, small_heap: bool = False) -> None:
        directory.mkdir(mode=0o700)
        self.directory, self.small_heap, self._count = directory, small_heap, 0
        self.layout = layout_of(*channels, message=MESSAGE)
        self.model = Model({c.name: Channel(c) for c in self.layout.channels}, 3 if small_heap else None)
        self.sides: dict[str, Side] = {}
        host = Arena.create(directory, self.layout)
        self.raw = raw.Raw(directory, self.layout)
        self._attached(host)
        for node in [heap.node for heap in self.layout.nodes if heap.node != HOST]:
            self.start(node)

    @property
    def host(self) -> Arena:
        return self.sides[HOST].arena

    def start(self, node: str) -> None:
        """Start an incarnation, which must wait for its predecessor's reclaim."""
        if node in self.sides:
            return
        if self.raw.peek(self.raw.node(node, raw.LIFE)) & 1:
            with pytest.raises(ArenaError, match="was not reclaimed"):
                Arena.attach(self.directory, node, timeout_s=0)
            return
        self._attached(Arena.attach(self.directory, node, timeout_s=0))

    def _attached(self, arena: Arena) -> None:
        node = arena.node
        self.model.epoch[node] = self.model.epoch[node] or 1
        self.model.stamp[node] = None
        assert arena.epoch == self.model.epoch[node]
        readers = {c.plan.name: arena.reader(c.plan.name) for c in self.model.inputs(node)}
        self.sides[node] = Side(arena, arena.writer([c.plan.name for c in self.model.outputs(node)]), readers)

    # ---- messages ----

    def _body(self, size: int) -> bytes:
        self._count += 1
        length = MESSAGE if self.small_heap else size
        return (self._count.to_bytes(4, "little") * (length // 4 + 1))[:length]

    def _meta(self, size: int) -> bytes:
        return self._body(size)[: min(size, INLINE_METADATA_BYTES) if self.small_heap else size]

    def send(self, node: str, size: int, meta_size: int) -> bool | None:
        """Copy a message to all outputs of a node."""
        side = self.sides.get(node)
        if side is None:
            return None
        payload, meta = self._body(size), self._meta(meta_size)
        if self._refused(node, side):
            return None
        sent = self._without_waiting(side.writer, side.writer.try_send(payload, size, meta, -size))
        assert sent is self.model.send(node, payload, meta)
        return sent

    def _refused(self, node: str, side: Side) -> bool:
        """Nothing follows the end of a stream."""
        if not any(c.ended for c in self.model.outputs(node)):
            return False
        with pytest.raises(ArenaError, match="was ended"):
            side.writer.try_send(b"", 0, b"", 0)
        return True

    @staticmethod
    def _without_waiting(writer: Writer, answer: bool | None) -> bool | None:
        if answer is None:
            writer.cancel()
        return answer

    def loan(self, node: str, size: int) -> None:
        side = self.sides.get(node)
        if side is None or len(side.loans) >= MOST_HELD or self._refused(node, side):
            return
        body = self._body(size)
        expected = self.model.loan(node, len(body))
        if expected is False:
            with pytest.raises(ChannelFullError, match="all are held by readers"):
                side.writer.try_loan(len(body))
            return
        loan = side.writer.try_loan(len(body))
        if loan is None or not isinstance(expected, Block):
            assert loan is None is expected
            side.writer.cancel()
            return
        memoryview(loan)[:] = body
        expected.address = loan.address
        side.loans.append((loan, expected))

    def commit(self, node: str, index: int, meta_size: int) -> None:
        side = self.sides.get(node)
        if side is None or not side.loans or self._refused(node, side):
            return
        loan, block = side.loans[index % len(side.loans)]
        meta, payload = self._meta(meta_size), bytes(memoryview(loan))
        sent = self._without_waiting(side.writer, side.writer.try_commit(loan, 0, meta, 0))
        assert sent is self.model.send(node, payload, meta, loan=block)
        assert loan.spent is (sent is not None)
        if sent is not None:
            side.loans.remove((loan, block))

    def discard(self, node: str, index: int) -> None:
        side = self.sides.get(node)
        if side is not None and side.loans:
            loan, block = side.loans.pop(index % len(side.loans))
            loan.discard()
            self.model.loans.remove(block)

    def take(self, name: str) -> bool:
        node = self.model.channels[name].plan.consumer
        side = self.sides.get(node)
        if side is None or sum(held == name for held, _, _ in side.held) >= MOST_HELD:
            return False
        lease, message = side.readers[name].next(), self.model.next(name)
        if lease is None or message is None:
            assert (lease, message) == (None, None)
            return False
        assert (lease.sequence, lease.channel) == (message.positions[name], name)
        message.block.address = lease.address if message.block.address is None else message.block.address
        assert lease.address == message.block.address
        self._same(lease, message)
        side.held.append((name, lease, message))
        return True

    @staticmethod
    def _same(lease: Lease, message: Message) -> None:
        assert bytes(lease) == message.payload
        assert lease.meta == message.meta

    def release(self, node: str, index: int) -> None:
        side = self.sides.get(node)
        if side is not None and side.held:
            name, lease, message = side.held.pop(index % len(side.held))
            self._same(lease, message)
            lease.release()
            self.model.channels[name].unref(message)

    def forward(self, node: str, index: int, meta_size: int) -> None:
        """Pass a held message on: in the same block, unless that is in one of the channels already."""
        side = self.sides.get(node)
        if side is None or not side.held or self._refused(node, side):
            return
        _, lease, message = side.held[index % len(side.held)]
        meta = self._meta(meta_size)
        sent = self._without_waiting(side.writer, side.writer.try_forward(lease, 0, meta, 0))
        assert sent is self.model.send(node, message.payload, meta, forward=message)

    # ---- the session ----

    def flush(self, nodes: Sequence[str], channels: Sequence[str]) -> None:
        self.host.flush(nodes, channels)
        self.model.flush_all(nodes, channels)

    def stamp(self, node: str) -> None:
        if node in self.sides:
            self.model.stamp[node] = self.sides[node].arena.stamp()
            assert self.model.stamp[node] == self.model.flush[node]

    def end(self, node: str) -> None:
        if node in self.sides:
            self.sides[node].writer.end()
            for ended in self.model.outputs(node):
                ended.ended = True

    def kill(self, node: str, step: str = "", *, lost: bool = True) -> None:
        """Let a node die, inside a step if one is named and it gets there."""
        side = self.sides.get(node)
        if side is None:
            return
        if step in COMMIT_STEPS and not any(c.ended for c in self.model.outputs(node)):
            self._die_in_commit(node, step)
        elif step in DROP_STEPS:
            self._die_in_drop(node, step)
        del self.sides[node]
        for _, block in side.loans:
            self.model.loans.remove(block)
        side.arena.close()
        if node == HOST:
            self._attached_again(Arena.adopt(self.directory, timeout_s=0))

    def _attached_again(self, host: Arena) -> None:
        self.model.reclaim(HOST, keep_queue=True)
        self._attached(host)

    def _busy(self, node: str) -> None:
        self.raw.poke(self.raw.node(node, raw.GATE), self.model.epoch[node] << 32 | raw.BUSY)

    def _die_in_commit(self, node: str, step: str) -> None:
        """C1: only the gate is closed; C3: slots are written; C4: bits are set; C5: the first channel has it."""
        outputs = self.model.outputs(node)
        before = [(c.head, c.bytes, c.copies) for c in outputs]
        if step == "C1" or not self.send(node, 40, 600):
            self._busy(node)
            return
        chosen = [c for c, (head, _, _) in zip(outputs, before, strict=True) if c.head > head]
        for c, (_, size, copies) in zip(outputs, before, strict=True):
            c.copies = copies
            self.raw.poke(self.raw.channel(c.plan.name, raw.COPIES), copies)
            if c in chosen[step == "C5" :]:
                c.bytes = size
                self.raw.poke(self.raw.channel(c.plan.name, raw.BYTES), size)
                self._rewind(c, step)
        self._busy(node)

    def _rewind(self, c: Channel, step: str) -> None:
        name, position = c.plan.name, c.head - 1
        self.raw.poke(self.raw.channel(name, raw.HEAD), position)
        if step == "C3":
            self._clear(name, position)
        self.model.unpublish(c, referenced=step != "C3")

    def _blocks(self, name: str, position: int) -> list[int]:
        words = (self.raw.peek(self.raw.slot(name, position, word)) & raw.NO_BLOCK for word in (raw.W0, raw.STAMP))
        return [block for block in words if block != raw.NO_BLOCK]

    def _clear(self, name: str, position: int) -> None:
        for block in self._blocks(name, position):
            at = self.raw.block(block)
            self.raw.poke(at, self.raw.peek(at) & ~self.raw.bit(name))

    def _die_in_drop(self, node: str, step: str) -> None:
        """D2: the intention is written; D3: the message has left the ring; D4: its bit is cleared."""
        for c in self.model.outputs(node):
            if not c.loses_oldest or not c.queue:
                continue
            name, position = c.plan.name, c.queue[0].positions[c.plan.name]
            tail = self.raw.peek(self.raw.channel(name, raw.TAIL))
            block, *second = self._blocks(name, position)
            self.raw.poke(self.raw.channel(name, raw.DROP_SECOND), second[0] if second else raw.NO_BLOCK)
            self.raw.poke(self.raw.channel(name, raw.DROP), 1 << 63 | (tail & 0x7FFFFFFF) << 32 | block)
            if step != "D2":
                low = (tail + 1) & raw.NO_BLOCK
                self.raw.poke(self.raw.channel(name, raw.TAIL), tail >> 32 << 32 | low)
            if step == "D4":
                self._clear(name, position)
            if step != "D2":
                self.model.lose_oldest(c, referenced=step == "D3")
            self._busy(node)
            return

    def reclaim(self, node: str, *, keep_queue: bool) -> None:
        """Reclaim a dead node; a living one stays, and a second reclaim changes nothing."""
        if node in self.sides:
            assert self.host.reclaim(node, keep_queue=keep_queue) is False
            return
        dead = bool(self.raw.peek(self.raw.node(node, raw.LIFE)) & 1)
        assert self.host.reclaim(node, keep_queue=keep_queue) is True
        if dead:
            self.model.reclaim(node, keep_queue=keep_queue)

    # ---- comparison ----

    def check(self) -> None:
        """Compare every counter, every reference bit and every address."""
        stats = self.host.channel_stats()
        for name, expected in self.model.channels.items():
            self._check_channel(stats[name], expected)
        for node, side in self.sides.items():
            assert self.host.epoch_of(node) == self.model.epoch[node] == side.arena.epoch
            assert side.arena.flush_generation == self.model.flush[node]
        self._check_blocks()

    def _check_channel(self, stats: ChannelStats, expected: Channel) -> None:
        name = expected.plan.name
        tail = self.raw.peek(self.raw.channel(name, raw.TAIL))
        assert (tail >> 32, tail & raw.NO_BLOCK) == (expected.taken & raw.NO_BLOCK, expected.dropped & raw.NO_BLOCK)
        assert expected.head == expected.taken + expected.dropped + len(expected.queue)
        assert (stats.message_count, stats.current_occupancy) == (expected.head, len(expected.queue))
        assert {reason: count for reason, count in stats.dropped.items() if count} == +expected.reasons
        assert (stats.bytes_transferred, stats.copies, stats.ended) == (
            expected.bytes,
            expected.copies,
            expected.ended,
        )
        consumer = self.sides.get(expected.plan.consumer)
        if consumer is not None:
            reader = consumer.readers[name]
            assert reader.ended is (expected.ended and not expected.queue)
            assert reader.held == sum(held == name for held, _, _ in consumer.held)

    def _check_blocks(self) -> None:
        live = self.model.live()
        found = sorted(word for word in self.raw.references() if word)
        assert found == sorted(sum(map(self.raw.bit, block.refs)) for block in live if block.refs)
        spans = sorted((b.address, b.address + max(b.size, 1)) for b in live if b.address is not None)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))

    def close(self) -> None:
        self.raw.close()
        for side in self.sides.values():
            side.arena.close()

    def finish(self) -> None:
        """Let everybody come back, read all and release all: no block may be in use any more."""
        for node in [heap.node for heap in self.layout.nodes if heap.node != HOST]:
            if node not in self.sides:
                self.reclaim(node, keep_queue=True)
                self.start(node)
        for node, side in self.sides.items():
            while side.held:
                self.release(node, 0)
            for name in side.readers:
                while self.take(name):
                    self.release(node, 0)
            while side.loans:
                self.discard(node, 0)
        self.check()
        assert not any(self.raw.references())
