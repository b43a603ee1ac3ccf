"""Tries the memory order of the protocol: `make litmus` calls it, and a developer who changes an order in the C code.

    python -m tests.litmus [ROUNDS]     each pair of SYNC POINTs ROUNDS times (default two million), here and on an emulated arm64
                                        where a cross compiler and qemu are installed; then threads on one mapping

A run on this machine shows this machine's reorderings only, and an emulator shows its host's. What arm64 may do is argued at each
SYNC POINT in the terms of C11, which the compiler keeps; ThreadSanitizer checks the same terms (`make sanitize`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ringline.graph.layout import ChannelPlan, arena_layout
from ringline.names import HOST
from ringline.shm import Arena
from tests.helpers import variant

HERE = Path(__file__).parent
WARNINGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-pthread", f"-I{variant.SOURCES}")
STORE_THEN_LOAD = "C5-W1"
"""The one pair whose order rests on STLR before LDAR alone: qemu (7.2 was tried) puts no barrier between them on an x86 host, though arm64 does not let them pass each other."""
PURE = ("bell.c", "failpoint.c", "heap.c", "locks.c", "map.c", "reclaim.c", "ring.c")
"""The files of the extension without Python in them: the protocol."""


@dataclass(frozen=True)
class Target:
    """Where programs run: this machine, or an emulated one."""

    name: str
    compiler: str
    flags: tuple[str, ...] = ()
    runner: tuple[str, ...] = ()


def targets() -> tuple[list[Target], str]:
    """Return what programs can be tried on, and a sentence about what can't."""
    here = Target(os.uname().machine, variant.compiler() or "cc")
    cross, emulator = (
        shutil.which("aarch64-linux-gnu-gcc"),
        shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static"),
    )
    if here.name == "aarch64":
        return [here], ""
    if not cross or not emulator:
        return [here], "no emulated arm64: install gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user"
    return [here, Target("aarch64 (qemu)", cross, ("-static", "-DPATIENCE_NS=1000000000u"), (emulator,))], ""


def build(folder: Path, target: Target, name: str, sources: Sequence[Path], *flags: str) -> Path:
    """Compile a program; raises `CalledProcessError` with the compiler's words on stderr."""
    program = folder / f"{name}-{target.compiler.rpartition('/')[2]}"
    command = [target.compiler, *WARNINGS, *target.flags, *flags, "-o", str(program), *map(str, sources)]
    subprocess.run(command, check=True)
    return program


def litmus(folder: Path, target: Target, rounds: int) -> dict[str, tuple[int, int]]:
    """Run every pair; returns rounds and forbidden outcomes by name."""
    program = build(folder, target, "litmus", [HERE / "litmus.c"])
    done = subprocess.run([*target.runner, str(program), str(rounds)], capture_output=True, text=True, check=True)
    rows = (line.split() for line in done.stdout.splitlines())
    return {name: (int(count), int(seen)) for name, count, seen in rows}


def excused(target: Target, outcomes: dict[str, tuple[int, int]]) -> frozenset[str]:
    """Name what an emulator may reorder: one pair, on an x86 host, and only if the same pair with a fence was kept in the same run.

    It hides nothing: this machine's own run has no excuse, and a weaker order in the C code is a plain store there.
    """
    reorders_by_itself = bool(target.runner) and os.uname().machine == "x86_64"
    _, with_fence = outcomes.get(f"{STORE_THEN_LOAD}-fence", (0, 1))
    return frozenset({STORE_THEN_LOAD} if reorders_by_itself and with_fence == 0 else ())


def arena(directory: Path) -> None:
    """Make the arena that the threads attach to; the host leaves it."""
    ends = [("a", "b", "block", 4), ("a", "c", "drop_oldest", 2), ("b", "d", "block", 3)]
    channels = [ChannelPlan(i, f"c{i}", a, "out", b, "in", n, policy) for i, (a, b, policy, n) in enumerate(ends)]  # type: ignore[arg-type]
    directory.mkdir(mode=0o700)
    Arena.create(
        directory, arena_layout(["a", "b", "c", "d", HOST], channels, max_message_bytes=4096, shm_bytes=1 << 20)
    ).close()


def threads(
    folder: Path, target: Target, messages: int, *flags: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the protocol's own functions between threads on one mapping."""
    program = build(folder, target, "threads", [HERE / "threads.c", *(variant.SOURCES / name for name in PURE)], *flags)
    arena(folder / "arena")
    command = [*target.runner, str(program), str(folder / "arena"), str(messages)]
    if flags:  # ThreadSanitizer's shadow memory does not fit every random layout
        command = ["setarch", os.uname().machine, "-R", *command]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    finally:
        shutil.rmtree(folder / "arena")


def main(arguments: list[str]) -> int:
    rounds = int(arguments[0]) if arguments else 2_000_000
    machines, missing = targets()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="rllitmus", dir="/dev/shm") as name:
        for target in machines:
            print(f"== {target.name}", flush=True)
            outcomes = litmus(Path(name), target, rounds)
            excuses = dict.fromkeys(excused(target, outcomes), "reordered (by the emulator: with a fence it is not)")
            excuses |= {pair: "reordered (no order is asked for)" for pair in outcomes if pair.endswith("weak")}
            for pair, (count, seen) in outcomes.items():
                print(f"{pair:12} {count:>10} rounds, {seen} {excuses.get(pair, 'WRONG') if seen else 'reordered'}")
                bad += 0 if pair in excuses else seen
            done = threads(Path(name), target, rounds // 100)
            print(done.stdout + done.stderr, end="", flush=True)
            bad += done.returncode
    if missing:
        print(missing)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
