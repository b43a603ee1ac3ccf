"""`ringline doctor`: does this machine suit Ringline, and what to change.

The checks are pure functions of a `Machine`; `command` reads the machine and prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Final, Literal

import typer

from ringline.cli.console import console, human_bytes, print_json, table
from ringline.cli.extras import EXTRAS, how_to_install, missing
from ringline.cli.machine import Machine, look
from ringline.cli.shapes import CheckShape, DoctorShape
from ringline.names import MAX_NODES

NAME = "doctor"
EXAMPLES = ("ringline doctor --json",)

State = Literal["ok", "warn", "fail"]

MIB: Final = 1 << 20
NODE_BYTES: Final = 200 * MIB
"""Assumed memory of one node when a limit is proposed: Python with numpy and a small model."""
SESSION_SHM_BYTES: Final = 256 * MIB
"""The default ceiling of a session's arena (`shm_segment_size`)."""
LEAST_SHM_BYTES: Final = 64 * MIB
"""Two nodes and the host with the default largest message of 16 MiB need about this."""


def command(
    node_memory_mib: Annotated[
        int, typer.Option("--node-memory", metavar="MIB", min=1, help="Memory to expect of one node.")
    ] = NODE_BYTES // MIB,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check kernel, shared memory, limits, cores and libraries; say what to change."""
    machine = look()
    checks = list(run_checks(machine))
    proposal = propose_processes(machine, node_memory_mib * MIB)
    ok = all(check["state"] != "fail" for check in checks)
    if as_json:
        print_json(DoctorShape(ok=ok, proposed_max_processes_per_session=proposal, checks=checks))
    else:
        _print(checks, proposal, node_memory_mib)
    if not ok:
        raise typer.Exit(1)


def run_checks(machine: Machine) -> Iterator[CheckShape]:
    """Judge every fact, in the order in which they are printed."""
    for check in _CHECKS:
        yield check(machine)
    for extra in EXTRAS:
        yield _extra(extra)


def propose_processes(machine: Machine, node_bytes: int) -> int:
    """Propose `max_processes_per_session`: what free memory holds beside the arena, between 1 and 32."""
    if machine.memory_bytes is None:
        return 10
    arena = min(SESSION_SHM_BYTES, machine.memory_bytes // 2)
    return max(1, min(MAX_NODES, (machine.memory_bytes - arena) // node_bytes))


def _check(name: str, state: State, found: str, advice: str = "") -> CheckShape:
    return CheckShape(name=name, state=state, found=found, advice=advice)


def _kernel(machine: Machine) -> CheckShape:
    found = f"{machine.system} {machine.kernel}"
    if machine.system != "Linux":
        return _check("kernel", "fail", found, "sessions need Linux: use the container")
    major, minor = (int(part) for part in [*machine.kernel.split("-")[0].split("."), "0"][:2])
    if (major, minor) < (4, 18):
        return _check("kernel", "warn", found, "it is older than every kernel tried (4.18 and later)")
    return _check("kernel", "ok", found)


def _python(machine: Machine) -> CheckShape:
    found = f"{machine.implementation} {'.'.join(map(str, machine.python))}"
    if machine.python < (3, 11) or machine.implementation != "CPython":
        return _check("python", "fail", found, "use CPython 3.11 or later")
    return _check("python", "ok", found if machine.gil else f"{found}, without a GIL")


def _extension(machine: Machine) -> CheckShape:
    if machine.extension_error is None:
        return _check("C extension", "ok", "ringline.shm._core loads")
    advice = "install a wheel, or a C compiler and Python's headers, then: pip install --force-reinstall ringline"
    return _check("C extension", "fail", machine.extension_error, advice)


def _shm(machine: Machine) -> CheckShape:
    name, free = "shared memory", machine.shm_free_bytes
    if free is None or machine.shm_bytes is None:
        return _check(name, "fail", f"{machine.shm_path} is missing", "mount a tmpfs there, or set RINGLINE_SHM_DIR")
    found = f"{machine.shm_path}: {human_bytes(free)} free of {human_bytes(machine.shm_bytes)}"
    larger = f"mount -o remount,size=1G {machine.shm_path} (in a container: --shm-size=1g), or lower shm_segment_size"
    if free < LEAST_SHM_BYTES:
        return _check(name, "fail", found, larger)
    if free < SESSION_SHM_BYTES:
        return _check(name, "warn", found, f"one session with default settings may take 256 MiB: {larger}")
    if machine.shm_type not in {"tmpfs", "ramfs", None}:
        advice = "use a tmpfs: this file system writes the media to a disk"
        return _check(name, "warn", f"{found}, {machine.shm_type}", advice)
    return _check(name, "ok", found)


def _open_files(machine: Machine) -> CheckShape:
    return _counted("open files", machine.open_files, 256, 1024, "ulimit -n 4096 (or LimitNOFILE=)")


def _processes(machine: Machine) -> CheckShape:
    return _counted("processes", machine.processes, 32, 256, "ulimit -u 4096, or the cgroup's pids.max")


def _counted(name: str, limit: int | None, least: int, good: int, advice: str) -> CheckShape:
    found = "unlimited" if limit is None else f"at most {limit}"
    if limit is None or limit >= good:
        return _check(name, "ok", found)
    return _check(name, "fail" if limit < least else "warn", found, f"raise it: {advice}")


def _locked(machine: Machine) -> CheckShape:
    found = "unlimited" if machine.locked_bytes is None else f"at most {human_bytes(machine.locked_bytes)}"
    return _check("locked memory", "ok", f"{found} (Ringline locks none)")


def _cores(machine: Machine) -> CheckShape:
    found = f"{machine.cores} usable" + ("" if machine.cpu_quota is None else f", quota {machine.cpu_quota:g}")
    if machine.cores < 2 or (machine.cpu_quota is not None and machine.cpu_quota < 2):
        return _check("cores", "warn", found, "nodes take turns on one core; give the machine or cgroup two or more")
    return _check("cores", "ok", found)


def _memory(machine: Machine) -> CheckShape:
    left = machine.memory_bytes
    if left is None:
        return _check("memory", "warn", "unknown", "set max_processes_per_session by hand")
    cgroup = machine.cgroup_memory_left_bytes
    found = f"{human_bytes(left)} left" + (" in this cgroup" if cgroup is not None and cgroup == left else "")
    if left < SESSION_SHM_BYTES + NODE_BYTES:
        return _check("memory", "warn", found, "a session of default size with one node may not fit; free some")
    return _check("memory", "ok", found)


def _ptrace(machine: Machine) -> CheckShape:
    scope = machine.ptrace_scope
    if scope is not None and scope >= 2:
        advice = "debuggers and py-spy can't look into a node: sysctl kernel.yama.ptrace_scope=1"
        return _check("ptrace", "warn", f"kernel.yama.ptrace_scope = {scope}", advice)
    return _check("ptrace", "ok", "not restricted" if not scope else "own children only")


def _extra(extra: str) -> CheckShape:
    absent = missing(extra)
    if not absent:
        return _check(f"extra {extra}", "ok", "installed")
    state: State = "fail" if extra == "multiprocess" else "warn"
    return _check(f"extra {extra}", state, f"missing: {', '.join(absent)}", how_to_install(extra))


_CHECKS: Final[tuple[Callable[[Machine], CheckShape], ...]] = (
    _kernel,
    _python,
    _extension,
    _shm,
    _open_files,
    _locked,
    _processes,
    _cores,
    _memory,
    _ptrace,
)


def _print(checks: list[CheckShape], proposal: int, node_memory_mib: int) -> None:
    out = console()
    rows = [(check["state"], check["name"], check["found"], check["advice"]) for check in checks]
    out.print(table(("state", "check", "found", "what to change"), rows))
    out.print()
    out.print(f"max_processes_per_session: {proposal} would fit, with {node_memory_mib} MiB for each node")
