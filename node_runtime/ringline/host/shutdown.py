"""The orderly end of a session's nodes: drain, SHUTDOWN, SIGTERM, SIGKILL, each with its time.

Drain and cleanup share the grace period; a second request (`hurry`) skips what is left of every wait.
"""

from __future__ import annotations

import asyncio
import logging
import signal as signals
from collections.abc import Sequence
from typing import Final

from ringline.control.messages import Message, MessageType
from ringline.host.handle import TERM_PATIENCE_S
from ringline.host.member import Member

log = logging.getLogger("ringline.host")

DRAIN_SHARE: Final = 0.7
"""Part of the grace period for draining; the rest is for `cleanup` of nodes that did not end by themselves."""
REMIND_S: Final = 0.1
"""Between two tries to reach a node that was still being started when the end came."""
KILL_PATIENCE_S: Final = 5.0
"""A process that outlives SIGKILL so long is in the kernel; the zygote's own end takes care of it."""


async def end_nodes(members: Sequence[Member], *, drain: bool, grace_s: float, hurry: asyncio.Event) -> None:
    """End all nodes; returns when their exits are recorded (or cannot be)."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for member in members:
        member.stopping = True
        if member.alive:
            member.state = "stopping"
    if drain:
        await _tell(members, MessageType.STOP)
        await _gone(members, begin + grace_s * DRAIN_SHARE, hurry)
    unreached = await _tell(members, MessageType.SHUTDOWN)
    for member in unreached:
        if member.process is not None:
            member.process.send_signal(signals.SIGTERM)  # it has not said hello yet: nothing is to be cleaned up
    reminder = loop.create_task(_remind(unreached))
    await _gone(members, begin + grace_s, hurry)
    reminder.cancel()
    await asyncio.gather(reminder, return_exceptions=True)
    if _signal(members, signals.SIGTERM):
        await _gone(members, loop.time() + TERM_PATIENCE_S, hurry)
    if _signal(members, signals.SIGKILL):
        await _gone(members, loop.time() + KILL_PATIENCE_S, None)


async def _tell(members: Sequence[Member], kind: MessageType) -> list[Member]:
    """Send a command to who still lives; gives those that could not be reached."""
    unreached = []
    for member in members:
        if member.alive and member.handle is not None:
            try:
                await member.handle.send_message(Message(kind, {"reason": "parent_initiated"}))
            except Exception as error:
                log.debug("%s to node %s failed: %s", kind.value, member.name, error)
                unreached.append(member)
    return unreached


async def _remind(members: Sequence[Member]) -> None:
    """Tell those that could not be reached as soon as they can be: a signal is lost on a process that is just being made."""
    while members:
        await asyncio.sleep(REMIND_S)
        members = await _tell(members, MessageType.SHUTDOWN)


def _signal(members: Sequence[Member], number: int) -> int:
    """Signal who still lives; how many those are."""
    left = [member for member in members if member.alive and member.process is not None]
    for member in left:
        if number == signals.SIGKILL:
            log.warning("node %s did not end in time: killed", member.name)
        if member.process is not None:
            member.process.send_signal(number)
    return len(left)


async def _gone(members: Sequence[Member], until: float, hurry: asyncio.Event | None) -> None:
    """Wait for the exits of all, at most until the loop's time `until`, or `hurry`."""
    loop = asyncio.get_running_loop()
    waits = [loop.create_task(m.process.wait()) for m in members if m.alive and m.process is not None]
    if not waits:
        return
    everybody = asyncio.ensure_future(asyncio.wait(waits))
    rush = loop.create_task(hurry.wait()) if hurry is not None else None
    watched = [everybody] if rush is None else [everybody, rush]
    try:
        timeout = max(0.0, until - loop.time())
        await asyncio.wait(watched, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leftovers = [*waits, *watched]
        for task in leftovers:
            task.cancel()
        await asyncio.gather(*leftovers, return_exceptions=True)
