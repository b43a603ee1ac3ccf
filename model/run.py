"""Checks the models of the shared-memory protocol with Spin; `make model` runs it, the test command its quick part.

    python3 model/run.py             every configuration and every mutant (about an hour on two CPUs)
    python3 model/run.py quick       the smallest ones (a minute)
    python3 model/run.py mutants     what must fail
    python3 model/run.py NAME …      these
    python3 model/run.py full --write   also writes results.md beside this file, from the last result of each run with this model

A configuration must end without an error, a mutant (one measure taken away) with one. Needs spin and a C compiler, nothing else.
A counterexample is left as out/model/NAME/trail.txt, the result as out/model/NAME/result.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "out" / "model"
EXHAUSTIVE, BITSTATE = "exhaustive", "bitstate"


@dataclass(frozen=True)
class Run:
    """One verification: flags of the model, how states are kept, and what it is about."""

    name: str
    flags: str
    what: str
    mode: str = EXHAUSTIVE
    model: str = "ringline"
    quick: bool = False
    fails: bool = False

    @property
    def defines(self) -> list[str]:
        return [f"-D{flag}" for flag in self.flags.split()]


def configuration(name: str, flags: str, what: str, **more: str | bool) -> Run:
    return Run(name, flags, what, **more)  # type: ignore[arg-type]


def mutant(name: str, flags: str, what: str, **more: str | bool) -> Run:
    return Run(name, flags, what, fails=True, **more)  # type: ignore[arg-type]


CONFIGURATIONS = (
    configuration(
        "writer dies", "CHS=2 CRASHES=1 VICTIMS=1", "one channel, block, the writer killed anywhere", quick=True
    ),
    configuration(
        "reader dies", "CHS=2 CRASHES=1 VICTIMS=4", "one channel, block, the reader killed anywhere", quick=True
    ),
    configuration(
        "drop, both die", "CHS=2 CRASHES=2 VICTIMS=5 POL1=OLDEST", "one channel, drop_oldest (latest), two kills"
    ),
    configuration("block, both die", "CHS=2 CRASHES=2 VICTIMS=5", "one channel, block, two kills"),
    configuration(
        "hoarder",
        "CHS=2 CRASHES=1 VICTIMS=5 HOLD2 NBW=2 MSGS=3",
        "a reader that holds two messages and releases in any order; heap full",
    ),
    configuration(
        "host dies",
        "CHS=2 CRASHES=1 HCRASHES=1 VICTIMS=5",
        "one kill, and the host killed in any step of the reclaim or of its start",
    ),
    configuration("host dies, drop", "CHS=2 CRASHES=1 HCRASHES=1 VICTIMS=5 POL1=OLDEST", "the same with drop_oldest"),
    configuration(
        "deadline",
        "CHS=2 CRASHES=1 VICTIMS=5 POL1=DEADLINE MSGS=3",
        "messages expire before, while and after they are taken",
    ),
    configuration("drop newest", "CHS=2 CRASHES=1 VICTIMS=5 POL1=NEWEST MSGS=3", "new messages are refused"),
    configuration(
        "capacity 2", "CHS=2 CAP=2 NBW=3 MSGS=3 CRASHES=1 VICTIMS=5 POL1=OLDEST", "two slots, three blocks, drop_oldest"
    ),
    configuration("second block", "CHS=2 SECOND NBW=4 CRASHES=1 VICTIMS=5", "messages of two blocks, block"),
    configuration(
        "second block, drop",
        "CHS=2 SECOND NBW=4 CRASHES=1 VICTIMS=5 POL1=OLDEST",
        "messages of two blocks, drop_oldest",
    ),
    configuration(
        "fence", "CHS=2 STOPS=1 VICTIMS=5", "a node is stopped anywhere, fenced, goes on or is killed", quick=True
    ),
    configuration("fence, drop", "CHS=2 STOPS=1 VICTIMS=5 POL1=OLDEST", "the same with drop_oldest"),
    configuration(
        "flush",
        "CHS=5 FLUSHES=1 NBW=2 NBF=1",
        "W→F→R2, F flushed at any moment; nothing older is delivered afterwards",
        mode=BITSTATE,
    ),
    configuration("chain", "CHS=5 CRASHES=1 NBW=2 NBF=1", "W→F→R2, forward or own block, one kill", mode=BITSTATE),
    configuration(
        "chain, drop", "CHS=5 CRASHES=1 POL2=OLDEST", "the same, the last channel drop_oldest", mode=BITSTATE
    ),
    configuration(
        "fan-out", "CHS=3 CRASHES=1 POL1=OLDEST", "W→{F, R1}, block and drop_oldest in one commit", mode=BITSTATE
    ),
    configuration(
        "everything",
        "CHS=7 CRASHES=1 HCRASHES=1 FLUSHES=1 POL1=OLDEST POL2=OLDEST SECOND NBW=4 NBF=2",
        "fan-out, forward, flush, two blocks, node and host killed",
        mode=BITSTATE,
    ),
    configuration(
        "need",
        "WAITERS=2",
        "two threads of a node wait for blocks, a sleeping neighbour helps",
        model="need",
        quick=True,
    ),
    configuration("need, large", "WAITERS=2 LARGE", "the same, each needs two blocks' room", model="need", quick=True),
)
MUTANTS = (
    mutant("no gate in a reclaim", "M_GATE CHS=2 CRASHES=1 VICTIMS=4", "H5 missing"),
    mutant("no intention to drop", "M_INTENT CHS=2 CRASHES=1 VICTIMS=1 POL1=OLDEST", "D2 missing"),
    mutant("no repair of the slot", "M_REPAIR CHS=2 CRASHES=1 VICTIMS=1", "H4 missing"),
    mutant("no ring after a reclaim", "M_RINGALL CHS=2 CRASHES=1 VICTIMS=5", "H8 missing"),
    mutant("no swap of tail", "M_CAS CHS=2 POL1=OLDEST", "D3 and N3 plain stores"),
    mutant("head before bits", "M_HEADFIRST CHS=2", "C5 before C4", quick=True),
    mutant("no recheck", "M_RECHECK CHS=2", "W2 missing"),
    mutant("release is a load and a store", "M_RELEASE CHS=3 NBW=1", "R1 not one instruction"),
    mutant("sequence not moved by the sleeper", "M_W1 CHS=2 MSGS=3", "W1 sets flags only"),
    mutant("forward releases first", "M_FORWARD CHS=5 NBW=1", "R1 of the input before C4"),
    mutant("descriptor after w0", "M_SLOT SECOND CHS=2 NBW=4 CRASHES=1 VICTIMS=1", "w0 not last in C3"),
    mutant("reclaim on suspicion", "M_SUSPECT CHS=2 STOPS=1 VICTIMS=4", "reclaim before the lock dropped"),
    mutant("fence looks, then acts", "M_FENCE CHS=2 STOPS=1 VICTIMS=1", "fence not one swap", quick=True),
    mutant("flush without generation", "M_STAMP CHS=5 FLUSHES=1 MSGS=1 NBW=1", "only the marks of a flush"),
    mutant(
        "queue dropped, not collected",
        "M_COLLECT CHS=2 CRASHES=1 VICTIMS=4",
        "bits that were set after the collection stay",
        quick=True,
    ),
    mutant(
        "need cleared by the first", "M_SHARED WAITERS=2", "one bit for all waiters of a node", model="need", quick=True
    ),
    mutant(
        "need seen before the sleep only",
        "M_BEFORE WAITERS=2",
        "helpers look at `needs` before W1",
        model="need",
        quick=True,
    ),
    mutant(
        "second waiter does not ring",
        "M_ONCE WAITERS=2",
        "rings only when the bit was not set",
        model="need",
        quick=True,
    ),
    mutant(
        "need not repeated",
        "M_REPEAT WAITERS=2 LARGE",
        "a waiter that got too little does not ask again",
        model="need",
        quick=True,
    ),
)
ALL = (*CONFIGURATIONS, *MUTANTS)


@dataclass(frozen=True)
class Result:
    """What Spin said. `complete`: every reachable state was seen (bitstate never claims that)."""

    run: Run
    errors: int
    states: float
    depth: int
    memory_mb: float
    seconds: float
    complete: bool
    stopped: bool
    why: str
    limit: str = ""
    """What it was given: seconds and MB."""

    @property
    def good(self) -> bool:
        return (self.errors > 0) is self.run.fails

    def line(self) -> str:
        verdict = "ok" if self.good else "WRONG"
        end = self.why or ("complete" if self.complete else "stopped by its limit")
        return f"{verdict:5} {self.run.name:34} {self.states:>14,.0f} states, depth {self.depth:>6,} {self.memory_mb:>6,.0f} MB {self.seconds:>5.0f} s  {end}"


def folder_of(run: Run) -> Path:
    return OUT / re.sub(r"\W+", "-", run.name)


def fingerprint(run: Run) -> str:
    """Tell one model and one way to run it from another."""
    return hashlib.sha256((HERE / f"{run.model}.pml").read_bytes() + f"{run.flags} {run.mode}".encode()).hexdigest()


def keep(result: Result) -> None:
    """Leave a result for a page that is written later."""
    values = {name: value for name, value in asdict(result).items() if name != "run"}
    text = json.dumps({"fingerprint": fingerprint(result.run), **values})
    (folder_of(result.run) / "result.json").write_text(text)


def kept(run: Run) -> Result | None:
    """Return the last result of a run, if the model and the flags are still the same."""
    try:
        values = json.loads((folder_of(run) / "result.json").read_text())
    except FileNotFoundError:
        return None
    return Result(run, **values) if values.pop("fingerprint") == fingerprint(run) else None


def check(run: Run, limit_s: int, memory_mb: int) -> Result:
    """Verify one run in a folder of its own; raises `CalledProcessError` when the model does not compile."""
    folder = folder_of(run)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(HERE / f"{run.model}.pml", folder / "model.pml")
    subprocess.run(["spin", "-a", *run.defines, "model.pml"], cwd=folder, check=True, capture_output=True, text=True)
    storage = "-DBITSTATE" if run.mode == BITSTATE else "-DCOLLAPSE"
    options = [
        "-O0" if run.fails or run.quick else "-O2",
        "-w",
        "-DSAFETY",
        "-DNOREDUCE",
        storage,
        "-DVECTORSZ=2048",
        f"-DMEMLIM={memory_mb}",
    ]
    subprocess.run([shutil.which("gcc") or "cc", *options, "-o", "pan", "pan.c"], cwd=folder, check=True)
    hashes = ["-w33", "-k3"] if run.mode == BITSTATE else ["-w24"]
    began = time.monotonic()
    with (folder / "pan.out").open("w+") as output:
        arguments = ["./pan", "-m1000000", *hashes]
        with subprocess.Popen(arguments, cwd=folder, stdout=output, stderr=subprocess.STDOUT) as pan:
            try:
                pan.wait(limit_s)
            except subprocess.TimeoutExpired:
                pan.send_signal(signal.SIGINT)  # it prints what it has seen
        output.seek(0)
        result = read(run, output.read(), time.monotonic() - began, f"{limit_s} s, {memory_mb:,} MB")
    if result.errors:
        with (folder / "trail.txt").open("w") as trail:
            subprocess.run(["spin", "-t", "-p", *run.defines, "model.pml"], cwd=folder, stdout=trail, check=False)
    keep(result)
    return result


def read(run: Run, text: str, seconds: float, limit: str = "") -> Result:
    """Read what a verifier printed."""

    def number(pattern: str) -> float:
        found = re.findall(pattern, text)
        return float(found[-1]) if found else 0.0

    why = re.search(r"^pan:1: (.*)", text, re.MULTILINE)
    errors = re.search(r"errors: (\d+)", text)
    if errors is None and why is None and "States=" not in text:
        raise SystemExit(f"{run.name}: the verifier said\n{text[-2000:]}")
    stopped = any(sign in text for sign in ("Search not completed", "Interrupted")) or "errors:" not in text
    return Result(
        run,
        int(errors[1]) if errors else int(why is not None),
        number(r"([0-9.e+]+) states, stored") or number(r"States= *([0-9.e+]+)"),
        int(number(r"depth reached ([0-9]+)") or number(r"Depth= *([0-9]+)")),
        number(r"([0-9.]+)\ttotal actual memory usage") or number(r"Memory= *([0-9.]+)"),
        seconds,
        complete=not stopped and run.mode == EXHAUSTIVE,
        stopped=stopped,
        why=why[1].partition(" (at depth")[0] if why else "",
        limit=limit,
    )


def table(results: list[Result]) -> str:
    """Write the results as a page."""
    lines = [
        "# What the models were checked with",
        "",
        "Written by `python3 model/run.py full --write` from the last result of each run with this very model. Memory is sequentially consistent, no partial-order reduction.",
        "",
        "| configuration | about | flags | states | depth | memory | time | seen |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.run.name} | {r.run.what} | `{r.run.flags}` | {r.states:,.0f} | {r.depth:,} | {r.memory_mb:,.0f} MB | {r.seconds:.0f} s | {seen(r)} |"
        for r in results
        if not r.run.fails
    ]
    lines += ["", "| mutant | taken away | found after | what fails |", "|---|---|---|---|"]
    lines += [
        f"| {r.run.name} | {r.run.what} | {r.states:,.0f} states | {'`' + r.why + '`' if r.good else 'NOTHING'} |"
        for r in results
        if r.run.fails
    ]
    missing = [run.name for run in ALL if run not in [r.run for r in results]]
    if missing:
        lines += ["", "Without a result with this model: " + ", ".join(f"`{name}`" for name in missing) + "."]
    return "\n".join(lines) + "\n"


def seen(result: Result) -> str:
    if result.errors:
        return f"ERROR: {result.why}"
    if result.complete:
        return "every state"
    how = "by hashes" if result.run.mode == BITSTATE else "a part"
    return f"{how}: limit reached ({result.limit})" if result.stopped else how


def chosen(names: list[str]) -> list[Run]:
    """Return the runs that these words name; raises `SystemExit` for an unknown one."""
    runs: list[Run] = []
    for name in names or ["full"]:
        sets = {"full": ALL, "quick": [r for r in ALL if r.quick], "mutants": MUTANTS, "configurations": CONFIGURATIONS}
        found = sets.get(name, [run for run in ALL if run.name == name])
        if not found:
            raise SystemExit(f"there is no run '{name}'; there are: {', '.join(run.name for run in ALL)}")
        runs += found
    return runs


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="quick, full, mutants, configurations, or names of runs")
    parser.add_argument("--write", action="store_true", help="write results.md")
    parser.add_argument("--limit", type=int, default=600, metavar="SECONDS", help="for each run (default 600)")
    parser.add_argument("--memory", type=int, default=4000, metavar="MB", help="for each run (default 4000)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default 1)")
    options = parser.parse_args(arguments)
    if not shutil.which("spin"):
        print(
            "The models need Spin: install it (Debian and Ubuntu call it spin), or see https://spinroot.com.",
            file=sys.stderr,
        )
        return 2
    results: list[Result] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for result in pool.map(lambda run: check(run, options.limit, options.memory), chosen(options.names)):
            print(result.line(), flush=True)
            results.append(result)
    if options.write:
        last = [kept(run) for run in ALL]
        (HERE / "results.md").write_text(table([result for result in last if result is not None]))
    wrong = [result.run.name for result in results if not result.good]
    print(
        f"{len(results)} runs, {sum(r.states for r in results):,.0f} states: "
        + (f"WRONG: {', '.join(wrong)}" if wrong else "all as they must be")
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
