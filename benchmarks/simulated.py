"""A cluster for the scale benchmark: a simulated node beside the real one, and the operator as a process of its own.

Its kubelet is played here (kwok 0.7 waits up to half a minute between its watches where etcd can't report progress): pods
become Ready as soon as the real scheduler has placed them. Everything that is made is taken away at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import kopf

from benchmarks.following import follow
from ringline.names import API_VERSION
from ringline_operator.kube import MERGE, ApiError, Kube

ROOT: Final = Path(__file__).resolve().parents[1]
NAMESPACE: Final = "e2e-scale"
BARE: Final = "e2e-scale-bare"
"""Where the bare client works: no operator watches it."""
CONTROL_PLANE: Final = ("kube-apiserver", "etcd", "kube-scheduler", "kube-controller-manager")
NODE: Final = "kwok-ringline-scale"
METRICS_PORT: Final = 19491
SILENCE_S: Final = 2.0
"""A watch that has told nothing for so long has told all that was there."""
NODE_OBJECT: Final = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": NODE,
        "annotations": {"node.alpha.kubernetes.io/ttl": "0"},
        "labels": {"kubernetes.io/hostname": NODE, "ringline.dev/scale": "true"},
    },
    "spec": {"taints": [{"key": "ringline.dev/simulated", "value": "scale", "effect": "NoSchedule"}]},
    "status": {
        "allocatable": {"cpu": "1000", "memory": "10Ti", "pods": "5000"},
        "capacity": {"cpu": "1000", "memory": "10Ti", "pods": "5000"},
    },
}
SPEC: Final[dict[str, Any]] = {
    "nodes": [{"name": name, "type": "pass_through"} for name in ("first", "second")],
    "channels": [{"from": "first.output", "to": "second.input"}],
    "runtime": {"shmSize": "8Mi", "maxMessageSize": "256Ki", "channelCapacity": 8},
    "pod": {
        "nodeSelector": {"ringline.dev/scale": "true"},
        "tolerations": [{"key": "ringline.dev/simulated", "operator": "Exists", "effect": "NoSchedule"}],
    },
}


def kubectl(*arguments: str, text: str | None = None, check: bool = True) -> str:
    """Run kubectl and return what it printed."""
    done = subprocess.run(["kubectl", *arguments], input=text, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def pipeline(name: str, replicas: int) -> dict[str, Any]:
    """A pipeline of two nodes whose pods go to the simulated node."""
    meta = {"name": name, "namespace": NAMESPACE}
    body = {"apiVersion": "ringline.dev/v1alpha1", "kind": "MediaPipeline", "metadata": meta}
    return {**body, "spec": {**SPEC, "replicas": replicas}}


def session(name: str, of: str, namespace: str = NAMESPACE) -> dict[str, Any]:
    """A user's session: a claim."""
    meta = {
        "name": name,
        "namespace": namespace,
        "labels": {"ringline.dev/pipeline": of, "ringline.dev/claimed": "true"},
    }
    spec = {"pipelineRef": {"name": of}, "parameters": {"greeting": "Hello"}}
    return {"apiVersion": "ringline.dev/v1alpha1", "kind": "MediaSession", "metadata": meta, "spec": spec}


@asynccontextmanager
async def cluster() -> AsyncIterator[tuple[Kube, kopf.ConnectionInfo]]:
    """The simulated node and an empty namespace; yields a connection to the API server, and how one gets others."""
    if not os.environ.get("KUBECONFIG"):
        raise RuntimeError("the scale benchmark needs a cluster by KUBECONFIG; see docs/scale.md")
    info = kopf.login_with_kubeconfig(settings=kopf.OperatorSettings())
    assert info is not None, "KUBECONFIG names no cluster"
    kubectl("apply", "-f", str(ROOT / "charts" / "ringline" / "files" / "crds"), "--server-side")
    for name in (NAMESPACE, BARE):
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        kubectl("apply", "-f", "-", text=json.dumps(space))
    kubectl("apply", "-f", "-", text=json.dumps(NODE_OBJECT))
    kubelet = Kubelet(info)
    try:
        async with Kube(info) as kube:
            await kubelet.start()
            yield kube, info
    finally:
        await kubelet.stop()
        kubectl("delete", "node", NODE, check=False)
        for name in (NAMESPACE, BARE):
            kubectl("delete", "mediapipelines,mediasessions", "--all", "-n", name, "--wait=false", check=False)
            # Nobody ends the pods of a node that is gone in order, and a thousand of them by name take minutes.
            everything = f"/api/v1/namespaces/{name}/pods?gracePeriodSeconds=0"
            kubectl("delete", "--raw", everything, check=False)
            kubectl("delete", "namespace", name, "--wait=false", check=False)


def cpu_seconds() -> dict[str, float]:
    """Return the CPU seconds that each program of the control plane has used, if they run on this machine."""
    found: dict[str, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = Path((folder / "cmdline").read_bytes().split(b"\0")[0].decode()).name
            if name in CONTROL_PLANE:
                found[name] = found.get(name, 0.0) + _used(folder)
        except (OSError, ValueError):
            continue
    return found


def _used(folder: Path) -> float:
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Kubelet:
    """Plays the simulated node: its pods are Ready as soon as they are placed, and gone as soon as they are deleted."""

    def __init__(self, info: kopf.ConnectionInfo) -> None:
        self._info = info
        self._kube = Kube(info)
        self._started: set[str] = set()
        self._ended: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._hands = asyncio.Semaphore(8)

    async def start(self) -> None:
        """Become Ready, and go on being it."""
        await self._kube.__aenter__()
        await self._beat()
        follow_all = (asyncio.create_task(self._follow(name)) for name in (NAMESPACE, BARE))
        self._tasks = {*follow_all, asyncio.create_task(self._go_on())}

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._kube.__aexit__()

    async def _beat(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {"type": "Ready", "status": "True", "reason": "Simulated", "lastHeartbeatTime": now}
        body = {"status": {"conditions": [ready]}}
        await self._kube.request("PATCH", f"/api/v1/nodes/{NODE}/status", body, content=MERGE)

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(10)
            try:
                await self._beat()
            except ApiError as error:
                print(f"  the simulated node could not report: {error}", file=sys.stderr)

    async def _follow(self, namespace: str) -> None:
        async for kind, pod in follow(self._info, f"/api/v1/namespaces/{namespace}/pods"):
            meta, spec = pod["metadata"], pod["spec"]
            if kind == "DELETED" or spec.get("nodeName") != NODE:
                continue
            if "deletionTimestamp" in meta and meta["uid"] not in self._ended:
                self._ended.add(meta["uid"])
                self._do("DELETE", f"/api/v1/namespaces/{namespace}/pods/{meta['name']}", {"gracePeriodSeconds": 0})
            elif meta["uid"] not in self._started:
                self._started.add(meta["uid"])
                address = f"10.99.{len(self._started) // 250 % 250}.{len(self._started) % 250}"
                body = {"status": running(spec, address)}
                self._do("PATCH", f"/api/v1/namespaces/{namespace}/pods/{meta['name']}/status", body)

    def _do(self, method: str, where: str, body: dict[str, Any]) -> None:
        task = asyncio.create_task(self._send(method, where, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, method: str, where: str, body: dict[str, Any]) -> None:
        async with self._hands:
            try:
                await self._kube.request(
                    method, where, body, content=MERGE if method == "PATCH" else "application/json"
                )
            except ApiError as error:
                if error.status not in (404, 409):
                    print(f"  {method} {where}: {error}", file=sys.stderr)


def running(spec: dict[str, Any], address: str) -> dict[str, Any]:
    """The status of a pod in which everything runs."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    common = {"image": "simulated", "imageID": "", "ready": True, "restartCount": 0, "started": True}
    states = {
        key: [{"name": item["name"], "state": {"running": {"startedAt": now}}, **common} for item in spec.get(of, ())]
        for key, of in (("containerStatuses", "containers"), ("initContainerStatuses", "initContainers"))
    }
    kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds]
    return {"phase": "Running", "podIP": address, "startTime": now, "conditions": conditions, **states}


class OperatorProcess:
    """One operator, run from the checkout, for the benchmark's namespace only."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        """Say whether it was started."""
        return self._process is not None

    def start(self) -> None:
        """Begin."""
        settings = {
            "NAMESPACES": NAMESPACE, "LEASE_NAMESPACE": NAMESPACE, "METRICS_PORT": str(METRICS_PORT),
            "LIVENESS": "http://127.0.0.1:19492/healthz", "IMAGE": "ringline/simulated:1",
        }  # fmt: skip
        environ = {**os.environ, **{f"RINGLINE_OPERATOR_{name}": value for name, value in settings.items()}}
        here = (str(ROOT / "operator"), str(ROOT / "node_runtime"), os.environ.get("PYTHONPATH", ""))
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, here))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ringline_operator"], env=environ, stdout=self._log, stderr=self._log
        )

    def stop(self) -> None:
        """End it as a deployment would."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None

    def figures(self) -> dict[str, float]:
        """Memory in MiB, now and at most, and CPU seconds so far."""
        assert self._process is not None
        pid = self._process.pid
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS", "VmHWM"))}
        cpu = _used(Path(f"/proc/{pid}"))
        return {"rss_mib": int(sizes["VmRSS"]) / 1024, "peak_mib": int(sizes["VmHWM"]) / 1024, "cpu_s": cpu}

    async def requests(self) -> dict[str, float]:
        """Ask how many requests it has sent, by method, and how it spent its looks."""
        reader, writer = await asyncio.open_connection("127.0.0.1", METRICS_PORT)
        writer.write(b"GET /metrics HTTP/1.0\r\nHost: operator\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        found = {}
        for line in text.splitlines():
            if line.startswith("ringline_operator_api_requests_total{"):
                found[line.split('"')[1]] = float(line.rpartition(" ")[2])
            elif line.startswith(
                ("ringline_operator_reconcile_seconds_sum", "ringline_operator_reconcile_seconds_count")
            ):
                found[line.split(" ")[0].rpartition("_")[2]] = float(line.rpartition(" ")[2])
        return found


class Watch:
    """Follows the namespace's sessions and pods, and notes when each was first seen in a state (monotonic seconds)."""

    def __init__(self, info: kopf.ConnectionInfo) -> None:
        self.ready: dict[str, float] = {}
        self.pods: dict[str, float] = {}
        self._info = info
        self._tasks: list[asyncio.Task[None]] = []
        self._heard = 0.0

    async def caught_up(self) -> None:
        """Wait until it has taken in what was there before: a thousand pods are seconds of news, behind which all else waits."""
        while time.monotonic() - self._heard < SILENCE_S:  # noqa: ASYNC110  (a figure, not a service)
            await asyncio.sleep(0.1)

    async def start(self) -> None:
        """Begin to follow."""
        self._heard = time.monotonic()
        folders = (f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/mediasessions", f"/api/v1/namespaces/{NAMESPACE}/pods")
        self._tasks = [asyncio.create_task(self._follow(folder)) for folder in folders]

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, folder: str) -> None:
        async for _, body in follow(self._info, folder):
            self._note(body)

    def _note(self, body: dict[str, Any]) -> None:
        meta, now = body["metadata"], time.monotonic()
        self._heard = now
        if body["kind"] == "Pod":
            self.pods.setdefault(meta["ownerReferences"][0]["name"], now)
            return
        conditions = (body.get("status") or {}).get("conditions", ())
        if any(item["type"] == "Ready" and item["status"] == "True" for item in conditions):
            self.ready.setdefault(meta["name"], now)


async def ready_replicas(kube: Kube, name: str, wanted: int, *, timeout_s: float = 600) -> float:
    """Wait until a pipeline reports so many ready sessions; return the seconds that it took."""
    begun = time.monotonic()
    while True:
        body = await kube.get("MediaPipeline", NAMESPACE, name)
        status = body.get("status") or {}
        if status.get("readyReplicas") == wanted and status.get("replicas") == wanted:
            return time.monotonic() - begun
        if time.monotonic() - begun > timeout_s:
            raise RuntimeError(f"after {timeout_s:.0f} s {status.get('readyReplicas')} of {wanted} sessions are ready")
        await asyncio.sleep(0.1)


async def made(kube: Kube, body: dict[str, Any]) -> float:
    """Create an object and return the moment at which it was there."""
    try:
        await kube.create(body["kind"], NAMESPACE, body)
    except ApiError as error:
        if error.status != 409:
            raise
    return time.monotonic()
