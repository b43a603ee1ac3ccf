"""`ringline doctor`: the judgement of invented machines, and both outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringline.cli import doctor
from ringline.cli.doctor import propose_processes, run_checks
from ringline.cli.machine import Machine
from ringline.cli.shapes import CheckShape
from tests.helpers.cli import Cli

GIB = 1 << 30
MIB = 1 << 20
GOOD = Machine(
    system="Linux",
    kernel="6.1.0-18-amd64",
    python=(3, 12, 1),
    implementation="CPython",
    gil=True,
    shm_path=Path("/dev/shm"),
    shm_type="tmpfs",
    shm_bytes=4 * GIB,
    shm_free_bytes=4 * GIB,
    open_files=1024,
    locked_bytes=8 * MIB,
    processes=4096,
    cores=8,
    cpu_quota=None,
    memory_available_bytes=16 * GIB,
    cgroup_memory_left_bytes=None,
    extension_error=None,
    ptrace_scope=1,
)


def judged(**changes: Any) -> dict[str, CheckShape]:
    return {check["name"]: check for check in run_checks(replace(GOOD, **changes))}


def test_a_good_machine_is_ok_throughout() -> None:
    assert {check["state"] for check in judged().values()} == {"ok"}
    assert {check["advice"] for check in judged().values()} == {""}


@pytest.mark.parametrize(
    ("changes", "name", "state", "advice"),
    [
        ({"system": "Darwin"}, "kernel", "fail", "container"),
        ({"kernel": "4.15.0"}, "kernel", "warn", "older"),
        ({"kernel": "5"}, "kernel", "ok", ""),
        ({"python": (3, 10, 9)}, "python", "fail", "3.11"),
        ({"implementation": "PyPy"}, "python", "fail", "CPython"),
        ({"gil": False}, "python", "ok", ""),
        ({"extension_error": "no such file"}, "C extension", "fail", "compiler"),
        ({"shm_bytes": None, "shm_free_bytes": None}, "shared memory", "fail", "RINGLINE_SHM_DIR"),
        ({"shm_free_bytes": 10 * MIB}, "shared memory", "fail", "--shm-size"),
        ({"shm_free_bytes": 100 * MIB}, "shared memory", "warn", "shm_segment_size"),
        ({"shm_type": "ext4"}, "shared memory", "warn", "tmpfs"),
        ({"open_files": 100}, "open files", "fail", "ulimit -n"),
        ({"open_files": 512}, "open files", "warn", "ulimit -n"),
        ({"open_files": None}, "open files", "ok", ""),
        ({"processes": 16}, "processes", "fail", "pids.max"),
        ({"processes": 100}, "processes", "warn", "pids.max"),
        ({"cores": 1}, "cores", "warn", "two or more"),
        ({"cpu_quota": 1.5}, "cores", "warn", "cgroup"),
        ({"memory_available_bytes": None}, "memory", "warn", "max_processes_per_session"),
        ({"cgroup_memory_left_bytes": 300 * MIB}, "memory", "warn", "free some"),
        ({"ptrace_scope": 2}, "ptrace", "warn", "sysctl"),
        ({"ptrace_scope": None}, "ptrace", "ok", ""),
        ({"locked_bytes": None}, "locked memory", "ok", ""),
    ],
)
def test_what_is_wrong_is_judged_and_the_remedy_named(
    changes: dict[str, Any], name: str, state: str, advice: str
) -> None:
    check = judged(**changes)[name]
    assert check["state"] == state
    assert advice in check["advice"]
    assert bool(check["advice"]) == (state != "ok")


def test_a_memory_limit_of_the_cgroup_is_named_as_such() -> None:
    assert judged(cgroup_memory_left_bytes=2 * GIB)["memory"]["found"] == "2.0 GiB left in this cgroup"


def test_missing_libraries_are_a_warning_but_not_those_of_every_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "missing", lambda extra: ["something"])
    found = judged()
    assert found["extra multiprocess"]["state"] == "fail"
    assert found["extra voice"]["state"] == "warn"
    assert found["extra voice"]["advice"] == "pip install 'ringline[voice]'"


@pytest.mark.parametrize(
    ("memory", "node", "proposal"),
    [
        (None, 200 * MIB, 10),
        (16 * GIB, 200 * MIB, 32),
        (1256 * MIB, 200 * MIB, 5),
        (1256 * MIB, 500 * MIB, 2),
        (100 * MIB, 200 * MIB, 1),
    ],
)
def test_the_proposed_limit_follows_from_free_memory(memory: int | None, node: int, proposal: int) -> None:
    assert propose_processes(replace(GOOD, memory_available_bytes=memory), node) == proposal


def test_the_table_shows_checks_and_the_proposal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "look", lambda: replace(GOOD, open_files=512))
    outcome = cli("doctor", "--node-memory", 1000)
    assert outcome.code == 0
    assert "ulimit -n 4096" in outcome.out
    assert "max_processes_per_session: 16 would fit, with 1000 MiB for each node" in outcome.out


def test_a_failed_check_is_exit_code_1(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "look", lambda: replace(GOOD, extension_error="gone"))
    outcome = cli("doctor", "--json")
    assert outcome.code == 1
    assert outcome.json["ok"] is False
    assert [check["name"] for check in outcome.json["checks"] if check["state"] == "fail"] == ["C extension"]
    assert outcome.json["proposed_max_processes_per_session"] == 32
