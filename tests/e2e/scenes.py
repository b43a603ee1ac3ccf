"""What several end-to-end tests set up and look at: a pipeline in which data flows by itself, claims, and the flow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.api import PODS, SESSIONS, proxied
from tests.e2e.kubectl import KubectlError, Namespace, phase

API = "ringline.dev/v1alpha1"
SCRAPE = (
    "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9090/metrics', timeout=5).read().decode())"
)


def flowing(name: str, **spec: Any) -> dict[str, Any]:
    """A tone that runs for ever through two nodes; one of them has a name that Kubernetes writes otherwise."""
    return {
        "apiVersion": API,
        "kind": "MediaPipeline",
        "metadata": {"name": name},
        "spec": {
            "runtime": {"maxMessageSize": "256Ki"},
            "nodes": [
                {"name": "tone", "type": "tone_source"},
                {"name": "gain_1", "type": "gain", "config": {"gain_db": -6}},
                {"name": "meter", "type": "level_meter"},
            ],
            "channels": [{"from": "tone.audio", "to": "gain_1.audio"}, {"from": "gain_1.audio", "to": "meter.audio"}],
            "outputs": [{"name": "levels", "from": "meter.levels"}],
            **spec,
        },
    }


def claim(name: str, pipeline: str, **parameters: Any) -> dict[str, Any]:
    """A user's MediaSession."""
    spec = {"pipelineRef": {"name": pipeline}, "parameters": parameters}
    return {"apiVersion": API, "kind": "MediaSession", "metadata": {"name": name}, "spec": spec}


def sessions(namespace: Namespace, pipeline: str) -> list[dict[str, Any]]:
    """All sessions of a pipeline, claims too."""
    return namespace.list("mediasessions", f"ringline.dev/pipeline={pipeline}")


def session_of(namespace: Namespace, pipeline: str, wanted: str = "Running") -> dict[str, Any] | None:
    """A session of a pipeline in this phase."""
    return next((item for item in sessions(namespace, pipeline) if phase(item) == wanted), None)


def pods_of(namespace: Namespace, pipeline: str) -> list[dict[str, Any]]:
    """All pods of a pipeline, its claimed ones too."""
    return namespace.list("pods", f"ringline.dev/pipeline={pipeline}")


def running_pod(namespace: Namespace, pipeline: str) -> str:
    """The name of the running session's pod."""
    session = session_of(namespace, pipeline)
    assert session is not None
    return str(session["status"]["podName"])


def messages(namespace: Namespace, pod: str) -> float:
    """How many messages the last node of `flowing` has been given; 0 while its gateway does not answer."""
    try:
        lines = namespace.execute(pod, "gateway", "python", "-c", SCRAPE).splitlines()
    except KubectlError:
        return 0.0
    found = (
        line for line in lines if line.startswith("ringline_channel_messages_total{") and 'consumer="meter"' in line
    )
    return next((float(line.rpartition(" ")[2]) for line in found), 0.0)


def wait_for_flow(namespace: Namespace, pod: str, more_than: float = 10.0) -> float:
    """Wait until data flows; a fault before that would show nothing. Returns the count of messages."""
    return namespace.wait(
        f"messages to flow in {pod}", lambda: count if (count := messages(namespace, pod)) > more_than else None
    )


class Moments:
    """When the kubelet first said something of a pipeline's pod, and when the session's own status did, both by watches."""

    def __init__(self, pipeline: str, pod_says: Callable[[str], bool], session_says: Callable[[str], bool]) -> None:
        self._pipeline = pipeline
        self._says = {"Pod": pod_says, "MediaSession": session_says}
        self.begun = time.time()
        self.seen: dict[str, float] = {}

    def see(self, body: dict[str, Any], now: float) -> None:
        kind, labels = body["kind"], body["metadata"].get("labels") or {}
        if labels.get("ringline.dev/pipeline") == self._pipeline and self._says[kind](str(body.get("status"))):
            self.seen.setdefault(kind, now)

    def figures(self, what: str) -> dict[str, float]:
        """Give both, in seconds since it began."""
        kubelet, session = (round(self.seen[kind] - self.begun, 2) for kind in ("Pod", "MediaSession"))
        return {f"{what} to the kubelet's word": kubelet, f"{what} to the session's status": session}


@contextmanager
def moments(
    namespace: Namespace, pipeline: str, pod_says: Callable[[str], bool], session_says: Callable[[str], bool]
) -> Iterator[Moments]:
    """Follow a pipeline's pods and sessions while entered, and until both have said it; the clock runs from here on."""
    found = Moments(pipeline, pod_says, session_says)
    pods, sessions = (path.format(namespace=namespace.name) for path in (PODS, SESSIONS))
    with proxied() as api, api.watching(pods, found.see), api.watching(sessions, found.see):
        found.begun = time.time()
        yield found
        namespace.wait("both to say it", lambda: len(found.seen) == 2)


def life(pod: dict[str, Any]) -> tuple[str, list[tuple[str, str, int]]]:
    """Return what changes when a pod, or one of its containers, is another one."""
    states = [*pod["status"]["initContainerStatuses"], *pod["status"]["containerStatuses"]]
    return pod["metadata"]["uid"], [(item["name"], item["containerID"], item["restartCount"]) for item in states]


def life_of(namespace: Namespace, pod: str) -> tuple[str, list[tuple[str, str, int]]]:
    """Return the life of a pod that must be there."""
    found = namespace.get("pod", pod)
    assert found is not None, f"pod {pod} is gone"
    return life(found)
