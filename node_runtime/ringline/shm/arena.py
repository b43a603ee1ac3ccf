"""The `Arena`: creating, attaching and adopting one. The methods that move messages are those of the C base class."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Self, TypeVar

from ringline.errors import ArenaError
from ringline.graph.layout import ArenaLayout
from ringline.names import ARENA_FILE, HOST, LOCK_FILE
from ringline.shm import _core, home
from ringline.shm.packing import pack
from ringline.shm.stats import ChannelStats, NodeStats, channel_stats, node_stats


class Arena(_core.Arena):
    """One process attached to a session's shared memory.

    Belongs to the process that made it: in a forked child every use raises `ArenaError`. All methods may be called
    from any thread; `Reader.next` of one reader by one thread at a time.
    """

    __slots__ = ()

    @classmethod
    def create(cls, directory: Path, layout: ArenaLayout, *, mode: int = 0o600) -> Self:
        """Make the arena of a new session in `directory` and attach to it as its host.

        Every page is allocated and touched, so that no later write can meet a full /dev/shm. Raises
        `ResourceLimitError` that says what is needed and what is free, `ArenaError` when a live host owns the directory
        or an arena lies there; leaves nothing behind then. Two that begin at once in one directory take turns.
        """
        with contextlib.ExitStack() as until:
            try:
                until.enter_context(home.held(directory))
            except OSError as error:
                raise ArenaError(error.errno, f"can't lock the folder {directory}: {error.strerror}") from error
            return create_held(cls, directory, layout, mode)

    @classmethod
    def attach(cls, directory: Path, node: str, *, timeout_s: float = 5.0) -> Self:
        """Attach as `node`, whose previous process must have been reclaimed within `timeout_s`.

        Raises `ArenaError` when the file is not this user's, not an arena, of another version, or does not fit itself;
        when there is no such node; when its process still lives.
        """
        return cls(str(directory), node, None, 0, False, timeout_s)

    @classmethod
    def adopt(cls, directory: Path, *, timeout_s: float = 5.0) -> Self:
        """Attach as the host to an arena whose host died. Its data ports are reclaimed, closed gates opened, all bells rung.

        Afterwards kill `fenced_nodes()`, and `reclaim` every dead node. Raises `ArenaError` while the old host lives.
        """
        return cls(str(directory), HOST, None, 0, True, timeout_s)

    def channel_stats(self) -> dict[str, ChannelStats]:
        """Counters of every channel, by name."""
        return channel_stats(self._channels())

    def node_stats(self) -> dict[str, NodeStats]:
        """Counters of every node, by name."""
        return node_stats(self._nodes())


_ArenaT = TypeVar("_ArenaT", bound=Arena)


def create_held(kind: type[_ArenaT], directory: Path, layout: ArenaLayout, mode: int = 0o600) -> _ArenaT:
    """Do what `Arena.create` does, for a caller that holds the directory: else one would remove the other's FIFOs and locks."""
    table = pack(layout)
    made: list[Path] = []
    try:
        _make_bells(directory, len(layout.nodes), mode, made)
        return kind(str(directory), HOST, table, mode, True, 0.0)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def _make_bells(directory: Path, count: int, mode: int, made: list[Path]) -> None:
    if (directory / ARENA_FILE).exists():
        raise ArenaError(f"{directory} holds an arena already; remove what a dead session left, or adopt it")
    for index in range(count):
        path = directory / f"bell.{index}"
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        try:
            os.mkfifo(path, mode)
        except OSError as error:
            raise ArenaError(error.errno, f"can't make the FIFO {path}: {error.strerror}") from error
        made.append(path)
    lock = directory / LOCK_FILE
    if not lock.exists():
        made.append(lock)
