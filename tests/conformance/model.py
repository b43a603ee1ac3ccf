"""What the arena should do, in plain Python: queues are lists, a block is a set of channel names.

`world.py` runs each operation here and on a real arena and compares both.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from ringline.graph.layout import INLINE_METADATA_BYTES, ChannelPlan

LOSES_OLDEST = {"drop_oldest", "latest", "deadline"}


@dataclass(eq=False)
class Block:
    owner: str
    size: int
    refs: set[str] = field(default_factory=set)
    address: int | None = None


@dataclass(eq=False)
class Message:
    payload: bytes
    meta: bytes
    block: Block
    second: Block | None
    stamp: int
    positions: dict[str, int] = field(default_factory=dict)

    def blocks(self) -> list[Block]:
        return [self.block] if self.second is None else [self.block, self.second]


@dataclass(eq=False)
class Channel:
    plan: ChannelPlan
    head: int = 0
    mark: int = 0
    taken: int = 0
    dropped: int = 0
    bytes: int = 0
    copies: int = 0
    ended: bool = False
    queue: deque[Message] = field(default_factory=deque)
    reasons: Counter[str] = field(default_factory=Counter)
    unpublished: list[Block] = field(default_factory=list)

    @property
    def loses_oldest(self) -> bool:
        return self.plan.overflow in LOSES_OLDEST

    def oldest_is_flushed(self) -> bool:
        return bool(self.queue) and self.queue[0].positions[self.plan.name] < self.mark

    def has_room(self) -> bool:
        return len(self.queue) < self.plan.capacity or self.oldest_is_flushed()

    def unref(self, message: Message) -> None:
        for block in message.blocks():
            block.refs.discard(self.plan.name)

    def drop_oldest(self, reason: str) -> Message:
        reason = "flushed" if self.oldest_is_flushed() else reason
        message = self.queue.popleft()
        self.dropped += 1
        self.reasons[reason] += 1
        self.unref(message)
        return message


@dataclass
class Model:
    """The whole session. `heap_blocks` limits the blocks of each heap; None means that none is ever full."""

    channels: dict[str, Channel]
    heap_blocks: int | None = None
    flush: Counter[str] = field(default_factory=Counter)
    stamp: dict[str, int | None] = field(default_factory=dict)
    epoch: Counter[str] = field(default_factory=Counter)
    blocks: list[Block] = field(default_factory=list)
    loans: list[Block] = field(default_factory=list)

    def outputs(self, node: str) -> list[Channel]:
        return [c for c in self.channels.values() if c.plan.producer == node]

    def inputs(self, node: str) -> list[Channel]:
        return [c for c in self.channels.values() if c.plan.consumer == node]

    def live(self) -> list[Block]:
        self.blocks = [block for block in self.blocks if block.refs or block in self.loans]
        return self.blocks

    # ---- blocks ----

    def _free_block(self, node: str, size: int) -> Block | None:
        if self.heap_blocks is not None and sum(b.owner == node for b in self.live()) >= self.heap_blocks:
            return None
        return Block(node, size)

    def obtain(self, node: str, size: int) -> Block | bool | None:
        """Give a block; False: the message is dropped for want of one; None: its sender would wait."""
        block = self._free_block(node, size)
        progress = True
        while block is None and progress:
            progress = False
            for channel in self.outputs(node):
                if block is None and channel.loses_oldest and channel.queue:
                    channel.drop_oldest("heap_full")
                    progress = True
                    block = self._free_block(node, size)
        if block is not None:
            return block
        if any(channel.plan.overflow == "block" for channel in self.outputs(node)):
            return None
        for channel in self.outputs(node):
            channel.reasons["heap_full"] += 1
        return False

    def loan(self, node: str, size: int) -> Block | bool | None:
        block = self.obtain(node, size)
        if isinstance(block, Block):
            self.loans.append(block)
            self.blocks.append(block)
        return block

    # ---- messages ----

    def _choose(self, node: str) -> list[Channel] | None:
        """Channels that take a message now; None when a block channel is full."""
        outputs = self.outputs(node)
        if any(c.plan.overflow == "block" and not c.has_room() for c in outputs):
            return None
        return [c for c in outputs if c.plan.overflow != "drop_newest" or c.has_room()]

    def send(
        self, node: str, payload: bytes, meta: bytes, *, loan: Block | None = None, forward: Message | None = None
    ) -> bool | None:
        """Commit a message to all outputs of a node: copied, in a loan, or in the block of a held message."""
        if self._choose(node) is None:
            return None
        block: Block | bool | None = loan or (forward.block if forward else self.obtain(node, len(payload)))
        if not isinstance(block, Block):
            return block
        copied = loan is None and forward is None
        second = Block(node, len(meta)) if len(meta) > INLINE_METADATA_BYTES else None
        chosen = self._choose(node)
        if forward and chosen and block.refs & {c.plan.name for c in chosen}:
            block = self.obtain(node, len(payload))
            if not isinstance(block, Block):
                return block
            copied, chosen = True, self._choose(node)
        assert chosen is not None
        stamp = self.stamp[node]
        self._publish(
            chosen, Message(payload, meta, block, second, self.flush[node] if stamp is None else stamp), copied=copied
        )
        for channel in self.outputs(node):
            channel.reasons["newest"] += channel not in chosen
        if loan is not None:
            self.loans.remove(loan)
        return bool(chosen)

    def _publish(self, chosen: Sequence[Channel], message: Message, *, copied: bool) -> None:
        for channel in chosen:
            while len(channel.queue) >= channel.plan.capacity:
                channel.drop_oldest("overwritten")
        for channel in chosen:
            message.positions[channel.plan.name] = channel.head
            channel.head += 1
            channel.bytes += len(message.payload)
            channel.copies += copied
            channel.queue.append(message)
            for block in message.blocks():
                block.refs.add(channel.plan.name)
        self.blocks += [block for block in message.blocks() if block not in self.blocks]

    def next(self, name: str) -> Message | None:
        channel = self.channels[name]
        while channel.queue:
            message = channel.queue.popleft()
            channel.taken += 1
            if message.positions[name] >= channel.mark and message.stamp >= self.flush[channel.plan.producer]:
                return message
            channel.reasons["flushed"] += 1
            channel.unref(message)
        return None

    def flush_all(self, nodes: Collection[str], channels: Collection[str]) -> None:
        for node in nodes:
            self.flush[node] += 1
        for name in channels:
            self.channels[name].mark = self.channels[name].head

    # ---- death ----

    def unpublish(self, channel: Channel, *, referenced: bool) -> None:
        """Take back the newest message: its writer died before the head moved, perhaps with the bit set."""
        message = channel.queue.pop()
        channel.head -= 1
        if referenced:
            channel.unpublished += message.blocks()
        else:
            channel.unref(message)

    def lose_oldest(self, channel: Channel, *, referenced: bool) -> None:
        """Drop the oldest message for a writer that died before it counted, perhaps before it cleared the bit."""
        message = channel.queue.popleft()
        channel.dropped += 1
        if referenced:
            channel.unpublished += message.blocks()
        else:
            channel.unref(message)

    def reclaim(self, node: str, *, keep_queue: bool) -> None:
        for channel in self.outputs(node):
            for block in channel.unpublished:
                block.refs.discard(channel.plan.name)
            channel.unpublished.clear()
        for channel in self.inputs(node):
            if not keep_queue:
                channel.dropped += len(channel.queue)
                channel.reasons["reader_lost"] += len(channel.queue)
                channel.queue.clear()
            queued = {block for message in channel.queue for block in message.blocks()}
            for block in self.blocks:
                if block not in queued:
                    block.refs.discard(channel.plan.name)
        self.epoch[node] += 1
        self.stamp[node] = None
