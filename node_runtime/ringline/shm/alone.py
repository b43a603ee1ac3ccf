"""Shared memory for programs of your own, without pipeline, session or zygote. Called by whoever imports `ringline.shm`.

One program is the *host*: it makes the arena, may write and read like the others, reclaims what dead ones held, and removes
everything at its end. The others join by a name of the plan. They need nothing in common but the directory and that name.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringline.errors import ArenaError
from ringline.graph.layout import ArenaLayout, ChannelPlan, Overflow, arena_layout
from ringline.names import ARENA_FILE, HOST, LOCK_FILE
from ringline.shm import home
from ringline.shm.arena import Arena, create_held
from ringline.shm.locks import host_alive

_POLL_S: Final = 0.02
"""Joining is rare and may look again this often; nothing else here polls."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One direction between two programs: `writer` and `reader` are their names, `HOST` that of the host.

    `capacity` in messages. `overflow`: block, drop_oldest, drop_newest, latest (capacity 1) or deadline, which never delivers
    what is older than `deadline_ms`. `block_timeout_ms` limits how long a blocking writer other than the host waits.
    """

    name: str
    writer: str
    reader: str
    capacity: int = 16
    overflow: Overflow = "block"
    block_timeout_ms: int = 0
    deadline_ms: int = 0


def plan(channels: Iterable[Channel], *, max_message_bytes: int = 1 << 20, shm_bytes: int = 256 << 20) -> ArenaLayout:
    """Divide an arena among the programs that `channels` name; each that writes gets room for two of the largest messages.

    Raises `ResourceLimitError` when that is more than `shm_bytes`, or for more than 32 programs or 64 channels; `ArenaError` for two
    channels of one name and for one from a program to itself.
    """
    listed = list(channels)
    names = [channel.name for channel in listed]
    for channel in listed:
        if names.count(channel.name) > 1:
            raise ArenaError(f"there are two channels '{channel.name}'; give each a name of its own")
        if channel.writer == channel.reader:
            raise ArenaError(f"channel '{channel.name}' joins '{channel.writer}' to itself; use two programs")
        if channel.overflow == "latest" and channel.capacity not in (
            1,
            Channel.__dataclass_fields__["capacity"].default,
        ):
            raise ArenaError(
                f"channel '{channel.name}': latest holds 1 message, not {channel.capacity}; leave capacity out"
            )
    programs = dict.fromkeys(name for channel in listed for name in (channel.writer, channel.reader) if name != HOST)
    planned = [_channel(index, channel) for index, channel in enumerate(listed)]
    return arena_layout([*programs, HOST], planned, max_message_bytes=max_message_bytes, shm_bytes=shm_bytes)


def _channel(index: int, channel: Channel) -> ChannelPlan:
    capacity = 1 if channel.overflow == "latest" else channel.capacity
    ends = (channel.writer, "out", channel.reader, "in")
    times = (channel.block_timeout_ms, channel.deadline_ms)
    return ChannelPlan(index, channel.name, *ends, capacity, channel.overflow, *times)


@contextlib.contextmanager
def host(directory: Path, layout: ArenaLayout) -> Iterator[Arena]:
    """Be the host: make `directory` (mode 0700; best below /dev/shm) with an arena in it, and remove both at the end.

    What a host that was killed left there is removed first. Raises `ArenaError` while another host lives, or when the
    directory holds anything that is not an arena's, and what `Arena.create` raises.
    """
    directory = directory.resolve()
    with home.opened(directory, private=False):  # two that begin at once, or one that ends meanwhile, take turns
        _clear(directory)
        try:
            arena = create_held(Arena, directory, layout)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
    try:
        yield arena
    finally:
        with contextlib.suppress(OSError), home.opened(directory, private=False):
            shutil.rmtree(directory, ignore_errors=True)
        arena.close()


def _clear(directory: Path) -> None:
    if has_host(directory):
        raise ArenaError(f"{directory} has a live host; end it, or choose another directory")
    found = list(directory.iterdir())
    for path in found:
        if path.name not in (ARENA_FILE, LOCK_FILE) and not path.name.startswith("bell."):
            raise ArenaError(f"{directory} holds '{path.name}', which is not an arena's; choose a directory of its own")
    for path in found:
        path.unlink()


def join(directory: Path, name: str, *, timeout_s: float = 10.0) -> Arena:
    """Join as the program `name`; waits at most `timeout_s` for the host, and for an earlier program of this name to be reclaimed.

    Raises `ArenaError` that says what was missing. Close the arena, or use it in a ``with`` statement.
    """
    until = time.monotonic() + timeout_s
    while True:
        late = time.monotonic() >= until
        if has_host(directory):
            try:
                return Arena.attach(directory, name, timeout_s=max(0.0, min(1.0, until - time.monotonic())))
            except ArenaError:
                if late or _unknown(directory, name):
                    raise
        elif late:
            raise ArenaError(
                f"no host came to {directory} within {timeout_s:g} s; start it, or give the directory that it has"
            )
        time.sleep(_POLL_S)


def has_host(directory: Path) -> bool:
    """Say whether a live host owns the directory: what a joined program asks when nothing has come for a while."""
    return (directory / LOCK_FILE).exists() and host_alive(directory)


def _unknown(directory: Path, name: str) -> bool:
    """Say whether the arena is there and has no such program, so that waiting is in vain."""
    from ringline.shm.stats import ArenaView

    try:
        with ArenaView.open(directory) as view:
            return name not in view.node_stats()
    except ArenaError:
        return False
