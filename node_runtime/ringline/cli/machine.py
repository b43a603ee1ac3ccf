"""Facts about this machine: what `ringline doctor` judges and `ringline bench` prints beside its figures.

Reading only; `root` and the environment are arguments so that tests can show other machines.
"""

from __future__ import annotations

import importlib
import os
import platform
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ringline.names import ENV_SHM_DIR

_UNLIMITED_BYTES = 1 << 60
"""cgroup v1 writes "no limit" as a number near 2^63."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One reading. Sizes in bytes; None = unknown, or no such limit."""

    system: str
    kernel: str
    python: tuple[int, int, int]
    implementation: str
    gil: bool
    shm_path: Path
    shm_type: str | None
    shm_bytes: int | None
    shm_free_bytes: int | None
    open_files: int | None
    locked_bytes: int | None
    processes: int | None
    cores: int
    cpu_quota: float | None
    memory_available_bytes: int | None
    cgroup_memory_left_bytes: int | None
    extension_error: str | None
    ptrace_scope: int | None

    @property
    def memory_bytes(self) -> int | None:
        """What a session may still take: the smaller of free memory and what the cgroup leaves."""
        known = [n for n in (self.memory_available_bytes, self.cgroup_memory_left_bytes) if n is not None]
        return min(known) if known else None


def look(root: Path = Path("/"), environ: Mapping[str, str] | None = None) -> Machine:
    """Read the facts of this machine."""
    where = Path((os.environ if environ is None else environ).get(ENV_SHM_DIR) or "/dev/shm")  # noqa: S108
    total, free = _space(where)
    return Machine(
        system=platform.system(),
        kernel=platform.release(),
        python=sys.version_info[:3],
        implementation=platform.python_implementation(),
        gil=getattr(sys, "_is_gil_enabled", lambda: True)(),
        shm_path=where,
        shm_type=_file_system(root, where),
        shm_bytes=total,
        shm_free_bytes=free,
        open_files=_limit(resource.RLIMIT_NOFILE),
        locked_bytes=_limit(resource.RLIMIT_MEMLOCK),
        processes=_processes(root),
        cores=len(os.sched_getaffinity(0)),
        cpu_quota=_cpu_quota(root),
        memory_available_bytes=_memory_available(root),
        cgroup_memory_left_bytes=_cgroup_memory_left(root),
        extension_error=_extension_error(),
        ptrace_scope=_number(root / "proc/sys/kernel/yama/ptrace_scope"),
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def _limit(which: int) -> int | None:
    soft, _ = resource.getrlimit(which)
    return None if soft == resource.RLIM_INFINITY else soft


def _space(folder: Path) -> tuple[int | None, int | None]:
    try:
        found = os.statvfs(folder)
    except OSError:
        return None, None
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def _file_system(root: Path, folder: Path) -> str | None:
    """Return the file system type of the longest mount point above `folder`."""
    best, kind = "", None
    for line in (_text(root / "proc/self/mounts") or "").splitlines():
        fields = line.split()
        if len(fields) >= 3 and folder.absolute().is_relative_to(fields[1]) and len(fields[1]) >= len(best):
            best, kind = fields[1], fields[2]
    return kind


def _cgroup(root: Path, controller: str, names: tuple[str, str]) -> Path:
    """Return the file of this process's cgroup: v2's name first, then v1's; the root cgroup when nested ones hide."""
    base = root / "sys/fs/cgroup"
    candidates: list[Path] = []
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            candidates.append(base / path.lstrip("/") / names[0])
        elif controller in controllers.split(","):
            candidates.append(base / controller / path.lstrip("/") / names[1])
    candidates += [base / names[0], base / controller / names[1]]
    return next((file for file in candidates if file.is_file()), candidates[-1])


def _cgroup_memory_left(root: Path) -> int | None:
    limit = _number(_cgroup(root, "memory", ("memory.max", "memory.limit_in_bytes")))
    used = _number(_cgroup(root, "memory", ("memory.current", "memory.usage_in_bytes")))
    if limit is None or limit >= _UNLIMITED_BYTES:
        return None
    return max(0, limit - (used or 0))


def _cpu_quota(root: Path) -> float | None:
    text = _text(_cgroup(root, "cpu", ("cpu.max", "cpu.cfs_quota_us")))
    if text is None or text.startswith(("max", "-1")):
        return None
    words = text.split()
    period = words[1] if len(words) == 2 else _text(_cgroup(root, "cpu", ("cpu.max", "cpu.cfs_period_us")))
    return int(words[0]) / int(period) if period and period.isdigit() and int(period) else None


def _processes(root: Path) -> int | None:
    """Return how many processes may be started: the user's limit (root has none) or the cgroup's, the smaller one."""
    limits = [_number(_cgroup(root, "pids", ("pids.max", "pids.max")))]
    if os.getuid() != 0:
        limits.append(_limit(resource.RLIMIT_NPROC))
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None


def _memory_available(root: Path) -> int | None:
    for line in (_text(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _extension_error() -> str | None:
    try:
        importlib.import_module("ringline.shm._core")
    except ImportError as error:
        return str(error)
    return None
