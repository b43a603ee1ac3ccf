"""What several end-to-end tests set up and look at: a pipeline in which data flows by itself, claims, and the flow."""

from __future__ import annotations

from typing import Any

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


def life(pod: dict[str, Any]) -> tuple[str, list[tuple[str, str, int]]]:
    """Return what changes when a pod, or one of its containers, is another one."""
    states = [*pod["status"]["initContainerStatuses"], *pod["status"]["containerStatuses"]]
    return pod["metadata"]["uid"], [(item["name"], item["containerID"], item["restartCount"]) for item in states]


def life_of(namespace: Namespace, pod: str) -> tuple[str, list[tuple[str, str, int]]]:
    """Return the life of a pod that must be there."""
    found = namespace.get("pod", pod)
    assert found is not None, f"pod {pod} is gone"
    return life(found)
