"""Shared memory between the processes of a session: arena, heaps, rings, leases.

Who calls it: `node.runner` attaches one `Arena` per process and gives each port its `Writer` or `Reader`; the host
creates the arena, reclaims what dead nodes held, and flushes; `ringline top` looks through an `ArenaView`. The work is
done in C (`_core`, sources in `csrc/`); `docs/shared-memory.md` explains the steps and why they are safe. Programs without a
pipeline use `plan`, `host` and `join` (`docs/shm.md`).
"""

from __future__ import annotations

from ringline.names import HOST
from ringline.shm._core import Lease, Loan, Reader, Writer
from ringline.shm.alone import Channel, has_host, host, join, plan
from ringline.shm.arena import Arena
from ringline.shm.locks import LockHold, hold_zygote_lock, host_alive, zygote_alive
from ringline.shm.recovery import reclaim_dead
from ringline.shm.stats import ArenaView, ChannelStats, LatencyHistogram, NodeStats

__all__ = [
    "HOST",
    "Arena",
    "ArenaView",
    "Channel",
    "ChannelStats",
    "LatencyHistogram",
    "Lease",
    "Loan",
    "LockHold",
    "NodeStats",
    "Reader",
    "Writer",
    "has_host",
    "hold_zygote_lock",
    "host",
    "host_alive",
    "join",
    "plan",
    "reclaim_dead",
    "zygote_alive",
]
