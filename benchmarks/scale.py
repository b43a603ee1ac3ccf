"""The operator with many sessions: ``python -m benchmarks.scale [--sessions 1000] [--json FILE]``.

It needs a cluster by KUBECONFIG (docs/scale.md). Pods are simulated; API server, watches, the operator and all
that it sends are real. Latencies are between answers of the API server to this program: they hold what kubectl would see.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import kopf
from rich.console import Console

from benchmarks import machine
from benchmarks.bare import BareClient
from benchmarks.rows import SCHEMA, Bar, Row, show
from benchmarks.simulated import (
    NAMESPACE,
    OperatorProcess,
    Watch,
    cluster,
    cpu_seconds,
    kubectl,
    made,
    pipeline,
    ready_replicas,
    session,
)
from ringline_operator.kube import Kube

IDLE_S = 30.0
LOST_PODS = 10
BARE_SESSIONS = 200
CLAIMS: Final = ((1, 20), (10, 5), (50, 2))
"""Claims at once, and rounds."""
STEPS: Final = ("bare", "fill", "idle", "restart", "churn", "claims")


class Scale:
    """One run; each step adds rows."""

    def __init__(
        self, kube: Kube, info: kopf.ConnectionInfo, operator: OperatorProcess, sessions: int, churn_s: float
    ) -> None:
        self._kube = kube
        self._info = info
        self._operator = operator
        self._sessions = sessions
        self._churn_s = churn_s
        self._limit = 0.0
        self.rows: list[Row] = []

    async def run(self, steps: Sequence[str]) -> None:
        """Take `steps` in their order."""
        known = {
            "bare": self._bare, "fill": self._fill, "idle": self._idle, "restart": self._restart, "churn": self._churn,
            "claims": self._claims,
        }  # fmt: skip
        for step in steps:
            if step != "bare" and not self._operator.runs:
                self._operator.start()
            await known[step]()
        self._memory("after all")

    def _add(self, name: str, unit: str, *values: float, bar: Bar | None = None, note: str = "") -> None:
        self.rows.append(Row(name, unit, values, bar, note))
        print(f"  {name}: {', '.join(f'{value:.4g}' for value in sorted(values)[-3:])} {unit} {note}", file=sys.stderr)

    def _memory(self, when: str) -> None:
        figures = self._operator.figures()
        limit = Bar(256, "operator ≤ 256 MiB", "max")
        self._add(f"memory, {when}", "MB", figures["rss_mib"], bar=limit, note=f"peak {figures['peak_mib']:.0f}")

    async def _bare(self) -> None:
        """What the API server, the scheduler and the simulated node allow, whoever asks them."""
        client, before = BareClient(self._kube, self._info), cpu_seconds()
        seconds = await client.fill(BARE_SESSIONS)
        self._limit = seconds / BARE_SESSIONS
        self._add("bare client: one session", "ms", 1e3 * self._limit, note=f"{BARE_SESSIONS} sessions")
        self._control_plane("bare client", before, BARE_SESSIONS)
        for at_once, rounds in CLAIMS:
            delays = await client.claim(at_once, 1 if at_once == 50 else rounds)
            self._add(f"bare client: claim, {at_once} at once", "ms", *(1e3 * delay for delay in delays))

    def _control_plane(self, who: str, before: dict[str, float], sessions: int) -> None:
        for name, seconds in cpu_seconds().items():
            self._add(f"{who}: CPU of {name} for each session", "ms", 1e3 * (seconds - before[name]) / sessions)

    async def _fill(self) -> None:
        before = cpu_seconds()
        await made(self._kube, pipeline("many", self._sessions))
        seconds = await ready_replicas(self._kube, "many", self._sessions)
        counts, cpu = await self._operator.requests(), self._operator.figures()["cpu_s"]
        sent = sum(value for name, value in counts.items() if name.isupper())
        self._add(f"{self._sessions} sessions, apply to all ready", "s", seconds)
        if self._limit:
            self._add("against the bare client", "1", seconds / self._sessions / self._limit)
        self._add("CPU of the operator for each session", "ms", 1e3 * cpu / self._sessions, note="its start counts")
        self._control_plane("operator", before, self._sessions)
        self._add("requests for each session made", "1", sent / self._sessions)
        looks = counts.get("count", 0)
        self._add(
            "one look at the pipeline", "ms", 1e3 * counts.get("sum", 0) / max(1, looks), note=f"{looks:.0f} looks"
        )

    async def _at_rest(self) -> None:
        """Wait until the last Events are told: they are written behind the work."""
        told = -1.0
        while told != (told := (await self._operator.requests()).get("POST", 0.0)):  # noqa: ASYNC110  (a figure, not a service)
            await asyncio.sleep(3)

    async def _idle(self) -> None:
        await self._at_rest()
        before, cpu = await self._operator.requests(), self._operator.figures()["cpu_s"]
        await asyncio.sleep(IDLE_S)
        after = await self._operator.requests()
        self._memory("idle")
        news = {name: after[name] - before[name] for name in after if name.isupper()}
        # What remains is the lease: one GET and one PUT in 4 seconds, however many sessions there are.
        lease = news["PUT"]
        extra = sum(news.values()) - 2 * lease
        self._add("requests of idle sessions", "1", max(0, extra), bar=Bar(0, "idle sessions cost nothing", "max"),
                  note=f"in {IDLE_S:.0f} s; the lease {2 * lease:.0f}")  # fmt: skip
        self._add("CPU while idle", "%", 100 * (self._operator.figures()["cpu_s"] - cpu) / IDLE_S)

    async def _restart(self) -> None:
        self._operator.stop()
        pods = kubectl("get", "pods", "-n", NAMESPACE, "-o", "name").split()[:LOST_PODS]
        await asyncio.to_thread(kubectl, "delete", "-n", NAMESPACE, "--wait=true", *pods)
        begun = time.monotonic()
        self._operator.start()
        lost = [name.removeprefix("pod/").rpartition("-")[0] for name in pods]
        await self._again(lost)
        bar = Bar(10, "1,000 sessions known, start to converged", "max")
        self._add("start to converged", "s", time.monotonic() - begun, bar=bar,
                  note=f"{len(lost)} pods had been lost meanwhile; the interpreter's start counts")  # fmt: skip
        self._memory("after the restart")

    async def _again(self, names: list[str]) -> None:
        """Wait for the next attempt of these sessions to be ready."""
        waiting = set(names)
        while waiting:
            for name in list(waiting):
                status = (await self._kube.get("MediaSession", NAMESPACE, name)).get("status") or {}
                if status.get("attempt") == 1 and status.get("phase") == "Running":
                    waiting.discard(name)
            await asyncio.sleep(0.05)

    async def _churn(self) -> None:
        """Twenty sessions a second are made beside those that are there; each tenth is deleted again."""
        await made(self._kube, pipeline("churn", 0))
        watch = Watch(self._info)
        await watch.start()
        await watch.caught_up()
        begun, created = time.monotonic(), {}
        for index in range(round(20 * self._churn_s)):
            await asyncio.sleep(max(0.0, begun + index / 20 - time.monotonic()))
            created[f"churn-{index}"] = await made(self._kube, session(f"churn-{index}", "churn"))
            if index % 10 == 9:
                found = await self._kube.get("MediaSession", NAMESPACE, f"churn-{index - 9}")
                await self._kube.delete("MediaSession", NAMESPACE, f"churn-{index - 9}", found["metadata"]["uid"])
        await self._seen(created, watch.pods)
        await watch.stop()
        delays = [watch.pods[name] - moment for name, moment in created.items() if name in watch.pods]
        self._add("creation to pod, 20 a second", "ms", *(max(0.0, 1e3 * delay) for delay in delays),
                  bar=Bar(2000, "creation to pod ≤ 2 s", "p99"))  # fmt: skip

    async def _seen(self, wanted: dict[str, float], seen: dict[str, float], timeout_s: float = 60) -> None:
        end = time.monotonic() + timeout_s
        while wanted.keys() - seen.keys() and time.monotonic() < end:  # noqa: ASYNC110  (a figure, not a service)
            await asyncio.sleep(0.05)

    async def _claims(self) -> None:
        await made(self._kube, pipeline("pool", 60))
        await ready_replicas(self._kube, "pool", 60)
        watch = Watch(self._info)
        await watch.start()
        await watch.caught_up()
        for at_once, rounds in CLAIMS:
            delays: list[float] = []
            for turn in range(rounds):
                names = [f"claim-{at_once}-{turn}-{index}" for index in range(at_once)]
                moments = await asyncio.gather(*(made(self._kube, session(name, "pool")) for name in names))
                created = dict(zip(names, moments, strict=True))
                await self._seen(created, watch.ready)
                delays += [watch.ready[name] - moment for name, moment in created.items() if name in watch.ready]
                await ready_replicas(self._kube, "pool", 60)
            missing = at_once * rounds - len(delays)
            self._add(f"claim to Ready, {at_once} at once", "ms", *(max(0.0, 1e3 * delay) for delay in delays),
                      bar=Bar(500, "agent-sandbox: 64 ms p50, 500 ms p99", "p99"),
                      note=f"{missing} not ready" if missing else "")  # fmt: skip
        await watch.stop()


async def measure(sessions: int, churn_s: float, steps: Sequence[str], log: Path) -> list[Row]:
    """Run the steps on an empty namespace."""
    async with cluster() as (kube, info):
        operator = OperatorProcess(log)
        scale = Scale(kube, info, operator, sessions, churn_s)
        try:
            await scale.run(steps)
        finally:
            operator.stop()
            show("scale", scale.rows, Console())
        return scale.rows


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--churn-seconds", type=float, default=25.0)
    parser.add_argument("--steps", default=",".join(STEPS), help=f"some of {', '.join(STEPS)}, in this order")
    parser.add_argument("--json", metavar="FILE", help="write the report there")
    parser.add_argument("--log", type=Path, default=Path(tempfile.gettempdir()) / "ringline-scale-operator.log")
    chosen = parser.parse_args()
    steps = [step for step in STEPS if step in chosen.steps.split(",")]
    begun = time.monotonic()
    rows = asyncio.run(measure(chosen.sessions, chosen.churn_seconds, steps, chosen.log))
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "machine": machine.facts(),
        "seconds": round(time.monotonic() - begun, 1),
        "kubernetes": json.loads(subprocess.check_output(["kubectl", "version", "-o", "json"]))["serverVersion"][
            "gitVersion"
        ],
        "benchmarks": [{"name": "scale", "sessions": chosen.sessions, "rows": [row.as_json() for row in rows]}],
    }
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
