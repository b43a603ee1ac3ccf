"""Whether a process that died by SIGKILL was killed by the kernel for memory: the cgroup's own counter tells.

Read by the zygote, whose nodes live in its cgroup. Works with cgroup v1 (``memory.oom_control``) and v2
(``memory.events``); where neither can be read the answer is None, not a guess.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")


def counter_file(cgroup: Path = Path("/proc/self/cgroup"), root: Path = _ROOT) -> Path | None:
    """Find the file that counts kills in this process' memory cgroup, or None."""
    try:
        lines = cgroup.read_text().splitlines()
    except OSError:
        return None
    candidates = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            # Inside a container the path is often that of the host machine: then the mount's own root is ours.
            candidates += [root / "memory" / path.lstrip("/"), root / "memory"]
            return _first([folder / "memory.oom_control" for folder in candidates])
        if not controllers:
            candidates += [root / path.lstrip("/"), root]
    return _first([folder / "memory.events" for folder in candidates])


def _first(files: list[Path]) -> Path | None:
    return next((file for file in files if kills(file) is not None), None)


def kills(file: Path | None) -> int | None:
    """Read the number of kills, or None if it can't be read."""
    if file is None:
        return None
    try:
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    except (OSError, ValueError):
        pass
    return None


class OomWatch:
    """Tells the kernel's kills from others, by how the counter grew since the last look."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file or counter_file()
        self._known = kills(self._file)

    def killed(self) -> bool | None:
        """Say whether one more kill happened since the last one that this reported; None if unknown."""
        now = kills(self._file)
        if now is None or self._known is None:
            return None
        if now > self._known:
            self._known += 1
            return True
        return False

    def settle(self) -> None:
        """Forget kills that hit something else, such as a node's own children."""
        self._known = kills(self._file)
