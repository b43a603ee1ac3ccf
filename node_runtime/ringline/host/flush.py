"""Flush: drop what is queued for a node and everything downstream, and interrupt work in flight there.

The order matters: first the marks and generations in shared memory, which are exact, then the commands that make running
generators stop. Whatever was queued or is still being produced for the old marks is dropped by its reader and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from ringline.control.messages import Message, MessageType
from ringline.graph.plan import SessionPlan
from ringline.host.member import Member
from ringline.names import HOST
from ringline.shm import Arena

ANSWER_PATIENCE_S = 2.0
"""A node answers when its `on_flush` has run; the flush itself has long taken effect."""


def covered(node: str, plan: SessionPlan) -> tuple[list[str], list[str]]:
    """Give the nodes from `node` downstream, and the channels that a flush of it covers.

    Those are the input channels of `node` and every channel that leaves a covered node; a join's other inputs stay.
    """
    nodes, queue = [node], [node]
    while queue:
        producer = queue.pop()
        for channel in plan.channels:
            if channel.producer == producer and channel.consumer not in (*nodes, HOST):
                nodes.append(channel.consumer)
                queue.append(channel.consumer)
    channels = [c.name for c in plan.channels if c.consumer == node or c.producer in nodes]
    return nodes, channels


async def flush(node: str, plan: SessionPlan, arena: Arena, members: Mapping[str, Member]) -> None:
    """Flush one node and what follows it; returns when every covered node that lives has answered."""
    nodes, channels = covered(node, plan)
    arena.flush(nodes, channels)
    await asyncio.gather(*(_tell(members[name]) for name in nodes))


async def _tell(member: Member) -> None:
    handle = member.handle
    if handle is None or not handle.is_alive:
        return
    # A node that dies or hangs meanwhile is the supervisor's business; its queue is flushed all the same.
    with contextlib.suppress(TimeoutError, RuntimeError):
        await handle.request(Message(MessageType.FLUSH, {}), ANSWER_PATIENCE_S)
