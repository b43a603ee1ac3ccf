"""What a pod's gateway tells Prometheus of nodes whose processes it can't see."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.pod import Pod
from tests.integration.sessions import chain, config, session_id


def figures(pod: Pod, name: str) -> dict[str, float]:
    """Give a metric of the nodes, by node."""
    families = text_string_to_metric_families(pod.get("/metrics")[1])
    samples = (sample for family in families for sample in family.samples if sample.name == name)
    return {sample.labels["node"]: sample.value for sample in samples}


def test_memory_and_time_are_those_of_the_nodes_in_their_containers(tmp_path: Path, shm_root: Path) -> None:
    plan = chain("t_upper", "t_upper").plan(config())
    with Pod(tmp_path / "files", shm_root / session_id(), plan) as pod:
        pod.until_ready()
        pod.until(lambda: all(figures(pod, "ringline_node_memory_bytes").values()), "both measured")
        memory, resident = (figures(pod, f"ringline_node_{word}_bytes") for word in ("memory", "resident"))
        assert memory.keys() == resident.keys() == {"a", "b"}
        assert all(1 << 20 < memory[node] <= resident[node] for node in memory)
        seconds = figures(pod, "ringline_node_cpu_seconds_total")
        assert seconds.keys() == memory.keys()
        assert max(seconds.values()) < 60  # the start of a forked node may take less than the kernel's tick
        os.kill(pod.node_pid("b"), signal.SIGKILL)
        pod.until(lambda: figures(pod, "ringline_node_up")["b"] == 0, "the end of b")
        assert figures(pod, "ringline_node_memory_bytes")["b"] == 0
