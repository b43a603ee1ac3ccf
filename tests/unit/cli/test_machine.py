"""Reading a machine: this one, and invented ones below another root."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from ringline.cli.machine import look


def place(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_this_machine_can_be_read() -> None:
    found = look()
    assert found.system == "Linux"
    assert found.cores >= 1
    assert found.python[:2] >= (3, 11)
    assert found.memory_bytes is not None
    assert found.memory_bytes > 0
    assert found.shm_free_bytes is not None


def test_the_folder_of_the_environment_is_looked_at(tmp_path: Path) -> None:
    found = look(environ={"RINGLINE_SHM_DIR": str(tmp_path)})
    assert found.shm_path == tmp_path
    assert found.shm_bytes == os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize


def test_a_folder_that_is_missing_has_no_size(tmp_path: Path) -> None:
    found = look(environ={"RINGLINE_SHM_DIR": str(tmp_path / "none")})
    assert (found.shm_bytes, found.shm_free_bytes) == (None, None)


def test_limits_of_a_second_generation_cgroup_are_read(tmp_path: Path) -> None:
    place(tmp_path, "proc/self/cgroup", "0::/pod/box\n")
    place(tmp_path, "sys/fs/cgroup/pod/box/memory.max", "1000000\n")
    place(tmp_path, "sys/fs/cgroup/pod/box/memory.current", "400000\n")
    place(tmp_path, "sys/fs/cgroup/pod/box/cpu.max", "150000 100000\n")
    place(tmp_path, "sys/fs/cgroup/pod/box/pids.max", "64\n")
    place(tmp_path, "proc/meminfo", "MemTotal: 9000 kB\nMemAvailable: 5000 kB\n")
    found = look(tmp_path, {})
    assert found.cgroup_memory_left_bytes == 600000
    assert found.memory_available_bytes == 5000 * 1024
    assert found.memory_bytes == 600000
    assert found.cpu_quota == 1.5
    assert found.processes is not None
    assert found.processes <= 64


def test_limits_of_a_first_generation_cgroup_are_read(tmp_path: Path) -> None:
    place(tmp_path, "proc/self/cgroup", "5:cpu,cpuacct:/box\n4:memory:/box\n0::/\n")
    place(tmp_path, "sys/fs/cgroup/memory/box/memory.limit_in_bytes", "2000\n")
    place(tmp_path, "sys/fs/cgroup/memory/box/memory.usage_in_bytes", "500\n")
    place(tmp_path, "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "50000\n")
    place(tmp_path, "sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n")
    found = look(tmp_path, {})
    assert found.cgroup_memory_left_bytes == 1500
    assert found.cpu_quota == 0.5


@pytest.mark.parametrize("limit", ["max", "9223372036854771712"])
def test_no_limit_is_no_number(tmp_path: Path, limit: str) -> None:
    place(tmp_path, "proc/self/cgroup", "0::/\n")
    place(tmp_path, "sys/fs/cgroup/memory.max", limit)
    place(tmp_path, "sys/fs/cgroup/cpu.max", "max 100000")
    found = look(tmp_path, {})
    assert (found.cgroup_memory_left_bytes, found.cpu_quota) == (None, None)


def test_a_machine_that_tells_nothing_is_read_all_the_same(tmp_path: Path) -> None:
    found = look(tmp_path, {})
    assert (found.memory_bytes, found.shm_type, found.ptrace_scope) == (None, None, None)


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    place(tmp_path, "proc/self/mounts", "rootfs / ext4 rw 0 0\nshm /dev/shm tmpfs rw 0 0\nx /dev/sh xfs rw 0 0\n")
    assert look(tmp_path, {}).shm_type == "tmpfs"
    assert look(tmp_path, {"RINGLINE_SHM_DIR": "/somewhere"}).shm_type == "ext4"


def test_the_debugger_s_rule_is_read(tmp_path: Path) -> None:
    place(tmp_path, "proc/sys/kernel/yama/ptrace_scope", "2\n")
    assert look(tmp_path, {}).ptrace_scope == 2


def test_an_extension_that_does_not_load_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> object:
        raise ImportError(f"{name}: undefined symbol")

    monkeypatch.setattr(importlib, "import_module", fail)
    assert look().extension_error == "ringline.shm._core: undefined symbol"
