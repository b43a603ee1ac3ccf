"""Soak a session: ``python -m benchmarks.soak [--minutes 30] [--json FILE] [--page docs/soak.md]`` from the top of the repository.

``--again FILE --page docs/soak.md`` judges and draws the latencies of an earlier run once more, from what it wrote with ``--json``.
Exit code 0 if no promise was broken, 1 if one was, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.sessions import ROOT, alive, config
from benchmarks.soak import page, report, samples
from benchmarks.soak.faults import FAULTS, Faults
from benchmarks.soak.graph import MANIFEST, ONE_TO_ONE, OUTPUTS, SOURCES
from benchmarks.soak.listeners import Calm, Listener, Timer
from ringline import Pipeline, Session
from ringline.host import procfs
from ringline.host.exits import ExitRecord

SAID = {True: "ok ", False: "NOT", None: "?  "}
WARM_UP = 0.1
"""This share of the soak does not count as its first part: caches fill, pages are touched for the first time."""


class Soak:
    """One run: a session, its listeners, its faults and what was seen."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.seconds: float = options.minutes * 60
        self.options = options
        self.crashes: list[ExitRecord] = []
        self.samples: list[samples.Sample] = []
        self.windows: list[dict[str, Any]] = []
        self.began = 0.0
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.session = Session(
            f"soak-{os.getpid()}",
            Pipeline.load(MANIFEST),
            config=config(),
            log_callback=lambda *_: None,
            script=ROOT / "benchmarks" / "soak" / "nodes.py",
        )
        self.session.on_process_crash(self.crashes.append)
        self.load_before = os.getloadavg()[0]
        self.calm = Calm()
        self.listeners = {name: Listener(self.session, name, self.calm) for name in OUTPUTS}
        self.timer = Timer(self.calm)

    async def run(self) -> dict[str, Any]:
        """Soak, and give the report."""
        before = set(procfs.family(os.getpid()))
        try:
            await self.session.initialize()
            await self.session.start()
            self.began = time.monotonic()
            faults = Faults(
                self.session, self.listeners, self.options.faults, self.options.seed, self.options.recovery_limit_s
            )
            await self._while_it_runs(faults)
            counted = await samples.settled(self.session, SOURCES, ONE_TO_ONE)
            rows = report.channels(self.session.plan, counted, self.listeners)
        finally:
            await self.session.cleanup()
        return self._report(faults, rows, self._left(before))

    async def _while_it_runs(self, faults: Faults) -> None:
        listening = [asyncio.create_task(listener.run()) for listener in self.listeners.values()]
        watching = [asyncio.create_task(work) for work in (self._sample(), self._measure(), self.timer.run())]
        striking = asyncio.create_task(self._strike(faults))
        try:
            done, _ = await asyncio.wait({striking, *listening}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            for listener in self.listeners.values():
                listener.stopped = True
            await asyncio.gather(*listening)
        finally:
            for task in (*watching, striking, *listening):
                task.cancel()
            await asyncio.gather(*watching, striking, *listening, return_exceptions=True)
        for task in watching:
            with suppress(asyncio.CancelledError):
                task.result()

    async def _strike(self, faults: Faults) -> None:
        """A fault at each tick of its clock; one that takes longer delays the next."""
        due = self.began
        while (due := due + self.options.every_s) < self.began + self.seconds:
            await asyncio.sleep(due - time.monotonic())
            self.calm.end()
            fault = await faults.strike()
            self.calm.follow()
            self._say(f"{fault.at_s:7.1f} s  {fault.kind:6} {fault.victim:10} recovered in {fault.recovered_s}")
        await asyncio.sleep(self.began + self.seconds - time.monotonic())

    async def _sample(self) -> None:
        while True:
            self.samples.append(await samples.take(self.session, time.monotonic() - self.began))
            await asyncio.sleep(self.options.sample_s)

    async def _measure(self) -> None:
        """Close a window of latencies each minute (of a short soak: each tenth of it)."""
        while True:
            await asyncio.sleep(min(60.0, self.seconds / 10))
            at_s = round(time.monotonic() - self.began, 1)
            sources: dict[str, Listener | Timer] = {**self.listeners, report.TIMER: self.timer}
            for name, source in sources.items():
                self.windows.append({"at_s": at_s, "output": name, **source.window.close()})

    def _left(self, before: set[int]) -> list[str]:
        """Name what the session left behind."""
        left = [f"process {pid}" for pid in alive(sorted(set(procfs.family(os.getpid())) - before))]
        return left + ([f"directory {self.session.directory}"] if self.session.directory.exists() else [])

    def _report(self, faults: Faults, rows: list[dict[str, Any]], left: list[str]) -> dict[str, Any]:
        courses = samples.courses(self.samples, self.seconds * WARM_UP)
        verdicts = report.verdicts(
            rows=rows,
            listeners=self.listeners,
            faults=faults.done,
            crashes=self.crashes,
            expected=faults.expected_crashes,
            left=left,
            courses=courses,
        )
        verdicts += report.steadiness(self.windows, self.seconds * WARM_UP)
        outputs = {
            name: {"received": one.received, "quota_errors": one.quota_errors, "most_held": one.most_held}
            for name, one in self.listeners.items()
        }
        found = {
            "schema": "ringline-soak/1",
            "started": self.started,
            "seconds": self.seconds,
            "every_s": self.options.every_s,
            "seed": self.options.seed,
            "commit": commit(),
            "machine": machine.facts() | {"load_before": self.load_before},
            "verdicts": verdicts,
            "faults": faults.done,
            "recoveries": report.recoveries(faults.done),
            "channels": rows,
            "outputs": outputs,
            "courses": courses,
            "samples": self.samples,
            "windows": self.windows,
        }
        return report.as_json(found)  # type: ignore[no-any-return]

    def _say(self, text: str) -> None:
        if not self.options.quiet:
            print(text, flush=True)


def again(file: Path) -> dict[str, Any]:
    """Read an earlier run's report, and judge its latencies as today."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    steady = report.as_json(report.steadiness(found["windows"], found["seconds"] * WARM_UP))
    judged = {verdict["promise"] for verdict in steady}
    found["verdicts"] = [verdict for verdict in found["verdicts"] if verdict["promise"] not in judged] + steady
    return found


def commit() -> str:
    """Name the commit of this checkout (`-dirty`: and what is not committed); empty where there is no git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=7"]
    with suppress(OSError):
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return ""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description="30 fps video and 100 Hz audio through eight nodes, with a random fault every so often.",
        epilog="Faults: " + "; ".join(f"{name} = {text}" for name, text in FAULTS.items()) + ".",
    )
    made.add_argument("--minutes", type=float, default=30.0, help="how long (default: %(default)g)")
    made.add_argument(
        "--every", dest="every_s", type=float, default=30.0, help="seconds between faults (default: %(default)g)"
    )
    made.add_argument("--faults", type=_kinds, default=list(FAULTS), help="which ones, joined by commas (default: all)")
    made.add_argument(
        "--seed", type=int, default=6, help="decides the order of faults and victims (default: %(default)d)"
    )
    made.add_argument("--sample", dest="sample_s", type=float, default=5.0, help="seconds between two looks at memory")
    made.add_argument(
        "--recovery-limit",
        dest="recovery_limit_s",
        type=float,
        default=25.0,
        help="seconds after which a fault counts as stuck",
    )
    made.add_argument("--json", metavar="FILE", type=Path, help="write all figures there")
    made.add_argument("--page", metavar="FILE", type=Path, help="write the page there, its chart beside it as .svg")
    made.add_argument("--again", metavar="FILE", type=Path, help="run nothing: take an earlier run's --json")
    made.add_argument("--quiet", action="store_true", help="say nothing about single faults")
    return made


def _kinds(text: str) -> list[str]:
    kinds = text.split(",")
    for kind in kinds:
        if kind not in FAULTS:
            raise argparse.ArgumentTypeError(f"there is no fault {kind!r}; choose from {', '.join(FAULTS)}")
    return kinds


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    found = asyncio.run(Soak(options).run()) if options.again is None else again(options.again)
    for verdict in found["verdicts"]:
        print(f"{SAID[verdict['kept']]}  {verdict['promise']}: {verdict['seen']}")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.page is not None:
        page.write(found, options.page)
    return 1 if any(verdict["kept"] is False for verdict in found["verdicts"]) else 0


if __name__ == "__main__":
    # Nodes are killed on purpose here, which the host logs as errors. Not in `main`: it belongs to the whole process.
    logging.getLogger("ringline").setLevel(logging.CRITICAL)
    sys.exit(main())
