"""Figures from /proc, of real processes and of files that look like it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ringline.host import procfs
from ringline.host.usage import usage


def test_our_own_memory_is_plausible() -> None:
    found = procfs.memory(os.getpid())
    assert 0 < found.anonymous <= found.rss
    assert 0 < found.pss <= found.rss
    assert procfs.cpu_seconds(os.getpid()) > 0


def test_a_process_that_has_gone_reads_as_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert procfs.memory(child.pid) == procfs.Memory()
    assert procfs.cpu_seconds(child.pid) == 0.0
    assert procfs.family(child.pid) == [child.pid]


def test_children_and_grandchildren_belong_to_the_family() -> None:
    script = "import subprocess,sys; p=subprocess.Popen(['sleep','60']); print(p.pid, flush=True); p.wait()"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    grandchild = int(child.stdout.readline())
    try:
        assert {child.pid, grandchild} <= set(procfs.family(os.getpid()))
    finally:
        os.kill(grandchild, 9)
        child.wait()
        child.stdout.close()


def test_lines_in_kilobytes_are_read_as_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "42"
    folder.mkdir()
    (folder / "smaps_rollup").write_text("header\nRss:  100 kB\nPss: 60 kB\nOdd: x\n")
    (folder / "status").write_text("Name:\tpython\nRssAnon:\t   50 kB\n")
    assert procfs.memory(42, tmp_path) == procfs.Memory(pss=60 * 1024, rss=100 * 1024, anonymous=50 * 1024)


def test_what_a_process_uses_is_measured_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "42"
    folder.mkdir()
    (folder / "smaps_rollup").write_text("header\nRss:  100 kB\nPss: 60 kB\n")
    ticks = os.sysconf("SC_CLK_TCK")
    (folder / "stat").write_text(f"42 (a) b) {' '.join('0' * 11)} {ticks} {2 * ticks} 0 0")
    assert procfs.use(42, tmp_path) == procfs.Use(60 * 1024, 100 * 1024, 3.0)
    assert procfs.use(None) == procfs.Use()


def test_open_descriptors_are_counted(tmp_path: Path) -> None:
    before = procfs.open_descriptors()
    with (tmp_path / "file").open("w"):
        assert procfs.open_descriptors() == before + 1


def test_usage_sums_up_the_living() -> None:
    found = usage({"a": os.getpid(), "b": None}, 3 << 20)
    assert found.process_count == 1
    assert found.arena_mb == 3.0
    assert found.memory_mb == found.nodes["a"].memory_mb > 0
    assert found.nodes["b"].pid is None
