"""The limit for the scale benchmark: a client that decides nothing and sends only what must be sent.

For each session it makes the session, makes the pod, and writes the status once the pod is Ready; for each claim it hands
a pod over and writes the status. No operator can need less of the API server, and the scheduler and the simulated node do
the same for both: what this client needs is what this machine's API server allows.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import kopf

from benchmarks.following import follow
from benchmarks.simulated import BARE, pipeline, session
from ringline.names import API_VERSION
from ringline_operator.kube import Kube
from ringline_operator.specs.pod import PodIdentity, PodMould, PodSettings, pod_mould
from ringline_operator.status import running_status
from ringline_operator.template import read_template
from ringline_operator.views import LABEL_CLAIMED, LABEL_SESSION, PodView, pod_view, session_view

AT_ONCE: Final = 8
"""Requests under way, as many as the operator sends for replicas."""


class BareClient:
    """Makes and claims sessions in a namespace that no operator watches."""

    def __init__(self, kube: Kube, info: kopf.ConnectionInfo) -> None:
        self._kube = kube
        self._info = info
        self._hands = asyncio.Semaphore(AT_ONCE)
        self._mould = _mould()
        self._sessions: dict[str, dict[str, Any]] = {}
        self._pods: dict[str, PodView] = {}
        self._written: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def fill(self, count: int) -> float:
        """Make so many sessions; return the seconds until the last one's status says that it is ready."""
        follower = asyncio.create_task(self._follow())
        begun = time.monotonic()
        names = [f"bare-{index}" for index in range(count)]
        try:
            await asyncio.gather(*(self._make(name) for name in names))
            while len(self._written) < count:  # noqa: ASYNC110  (a figure, not a service)
                await asyncio.sleep(0.01)
            return time.monotonic() - begun
        finally:
            follower.cancel()
            await asyncio.gather(follower, *self._tasks, return_exceptions=True)

    async def claim(self, at_once: int, rounds: int) -> list[float]:
        """Hand pods to claims, so many at once; return the seconds that each took, from its creation to its status."""
        delays: list[float] = []
        free = [pod for pod in self._pods.values() if not pod.claimed]
        for turn in range(rounds):
            taken, free = free[:at_once], free[at_once:]
            names = (f"bare-claim-{at_once}-{turn}-{index}" for index in range(at_once))
            delays += await asyncio.gather(*(self._claim(name, pod) for name, pod in zip(names, taken, strict=True)))
        self._pods = {pod.name: pod for pod in free}
        return delays

    async def _make(self, name: str) -> None:
        async with self._hands:
            made = self._sessions[name] = await self._kube.create("MediaSession", BARE, session(name, "bare", BARE))
            who = PodIdentity(name, made["metadata"]["uid"], 0)
            await self._kube.create("Pod", BARE, {**self._mould.pod(who)})

    async def _follow(self) -> None:
        async for kind, body in follow(self._info, f"/api/v1/namespaces/{BARE}/pods"):
            pod = pod_view(body)
            if kind != "DELETED" and pod.ready and pod.name not in self._pods:
                self._pods[pod.name] = pod
                task = asyncio.create_task(self._note(pod))
                self._tasks.add(task)

    async def _note(self, pod: PodView) -> None:
        async with self._hands:
            await self._write(self._sessions[pod.session], pod)
            self._written[pod.session] = time.monotonic()

    async def _claim(self, name: str, pod: PodView) -> float:
        made = await self._kube.create("MediaSession", BARE, session(name, "bare", BARE))
        begun = time.monotonic()
        labels = {LABEL_CLAIMED: "true", LABEL_SESSION: name}
        owner = {"apiVersion": API_VERSION, "kind": "MediaSession", "name": name, "uid": made["metadata"]["uid"]}
        meta = {"labels": labels, "ownerReferences": [owner]}
        await self._kube.patch("Pod", BARE, pod.name, {"metadata": meta})
        await self._write(made, pod)
        return time.monotonic() - begun

    async def _write(self, made: dict[str, Any], pod: PodView) -> None:
        status = running_status(session_view(made), pod, time.time())
        await self._kube.patch("MediaSession", BARE, made["metadata"]["name"], {"status": status}, sub="status")


def _mould() -> PodMould:
    body = pipeline("bare", 0)
    meta = {**body["metadata"], "namespace": BARE, "uid": "none", "generation": 1}
    template = read_template({**body, "metadata": meta}, None)
    assert template.resource is not None, template.problems
    assert template.plan is not None
    return pod_mould(template.resource, template.plan, PodSettings("ringline/simulated:1"))
