"""A session's directory in shared memory: claimed by one live host, reclaimed when its owner is dead.

`<base>/ringline-<uid>/<session id>` with mode 0700, base being /dev/shm or RINGLINE_SHM_DIR. It holds the arena, the lock
file, the plan and the sockets. Life and death are read from the record locks in the lock file, never from process ids.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from ringline.errors import ResourceLimitError, SessionError, SessionExistsError, SettingsError
from ringline.names import CONTROL_SOCKET, ENV_SHM_DIR, LOCK_FILE, session_id_problem
from ringline.shm import home, locks

_T = TypeVar("_T")

LONGEST_SOCKET_PATH: Final = 107
"""`sun_path` of a Unix socket, its closing zero not counted."""
JANITOR_PATIENCE_S: Final = 10.0
"""How long to wait for the zygote of a dead host that is still cleaning the same directory."""

# A process never sees its own record locks as held, so its own live directories are listed here.
_mine: set[Path] = set()
_mine_lock = threading.Lock()


def base_directory(environ: Mapping[str, str]) -> Path:
    """Give the folder of all session directories of this user, which exists while there are sessions.

    Raises `SettingsError` if the folder's base does not exist, `SessionError` if somebody else owns the folder.
    """
    base = Path(environ.get(ENV_SHM_DIR) or "/dev/shm").absolute()  # noqa: S108  (a private folder inside, checked below)
    if not base.is_dir():
        raise SettingsError(f"{ENV_SHM_DIR}: there is no folder {base}; it must be an existing one, best a tmpfs")
    folder = base / home.home_name()
    with contextlib.suppress(FileNotFoundError):
        home.check_private(folder, folder.lstat())
    return folder


def directory_of(session_id: str, environ: Mapping[str, str]) -> Path:
    """Where the session's directory is or would be; refuses bad ids and paths too long for a socket."""
    problem = session_id_problem(session_id)
    if problem:
        raise SessionError(f"session id {problem}")
    directory = base_directory(environ) / session_id
    if len(os.fsencode(directory / CONTROL_SOCKET)) > LONGEST_SOCKET_PATH:
        raise SettingsError(
            f"{directory}/{CONTROL_SOCKET} is too long for a socket (at most {LONGEST_SOCKET_PATH} bytes); "
            f"use a shorter session id or {ENV_SHM_DIR}"
        )
    return directory


def claim(directory: Path, populate: Callable[[Path], _T]) -> _T:
    """Make the directory, replacing a dead one, and `populate` it; both under the claim lock of the base folder.

    `populate` must take the host's lock (Arena.create does), so that from then on others see a live owner.
    If it raises, the directory is removed again. Blocks; call it off the event loop. Raises `SessionExistsError`.
    """
    with _mine_lock:
        if directory in _mine:
            raise _exists(directory)
        _mine.add(directory)
    try:
        with home.opened(directory.parent):
            _clear_stale(directory)
            directory.mkdir(mode=0o700)
            return _populated(directory, populate)
    except BaseException:
        home.remove_if_empty(directory.parent)
        _mine.discard(directory)
        raise


def release(directory: Path) -> None:
    """Remove the directory of an ended session; call it after the arena is closed. Idempotent."""
    home.remove(directory)
    _mine.discard(directory)


def _populated(directory: Path, populate: Callable[[Path], _T]) -> _T:
    try:
        return populate(directory)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _clear_stale(directory: Path) -> None:
    """Remove what a dead host left; wait for its zygote if that is still at work; refuse a live one."""
    deadline = time.monotonic() + JANITOR_PATIENCE_S
    while directory.exists():
        if not (directory / LOCK_FILE).exists():
            # Killed between mkdir and the lock file: under the claim lock nobody else can be there now.
            shutil.rmtree(directory, ignore_errors=True)
            return
        if locks.host_alive(directory):
            raise _exists(directory)
        if not locks.zygote_alive(directory):
            shutil.rmtree(directory, ignore_errors=True)
            return
        if time.monotonic() > deadline:
            raise _exists(directory, "its host is dead but its zygote is still cleaning up; try again shortly")
        time.sleep(0.02)


def _exists(directory: Path, detail: str = "end it first or choose another id") -> SessionExistsError:
    return SessionExistsError(f"session '{directory.name}' is alive on this machine ({directory}): {detail}")


def check_space(directory: Path, needed_bytes: int) -> None:
    """Refuse an arena that does not fit, before anything is made."""
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    if free < needed_bytes:
        raise ResourceLimitError(
            f"{directory} has {free} bytes free but the session's shared memory needs {needed_bytes}; "
            "free some, enlarge /dev/shm, or lower shm_segment_size or max_message_size"
        )
