"""A real Prometheus scrapes a real session and the operator; every query of the dashboards is put to it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.test_dashboards import BOARDS, alert_queries, board_queries
from tests.e2e.kubectl import Namespace
from tests.e2e.scenes import flowing, running_pod, session_of, wait_for_flow
from tests.helpers.pod import free_ports

SILENT = re.compile(r"_exits_total|_health_failures_total|_dropped|_custom_(total|value)|ready_seconds|act_seconds")
"""Series that begin with what they count: a healthy session has none of them yet, and Prometheus may have come too late for
the first."""


@contextmanager
def forwarded(namespace: Namespace, pod: str, port: int) -> Iterator[int]:
    """Forward a free local port to one of a pod while entered."""
    command = [
        "kubectl",
        "--namespace",
        namespace.name,
        "port-forward",
        f"pod/{pod}",
        f":{port}",
        "--address",
        "127.0.0.1",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            match = re.search(r"127\.0\.0\.1:(\d+) ", process.stdout.readline())
            assert match, "kubectl forwards nothing"
            yield int(match[1])
        finally:
            process.terminate()


class Prometheus:
    """A server that scrapes every second."""

    def __init__(self, folder: Path, targets: dict[int, dict[str, str]]) -> None:
        (self.port,) = free_ports(1)
        static = [{"targets": [f"127.0.0.1:{port}"], "labels": labels} for port, labels in targets.items()]
        jobs = [{"job_name": "ringline", "scrape_interval": "1s", "static_configs": static}]
        (folder / "prometheus.yaml").write_text(yaml.safe_dump({"scrape_configs": jobs}))
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={folder}/prometheus.yaml",
                    f"--storage.tsdb.path={folder}/data",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Put an instant query; gives its samples, none while nobody answers."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return list(json.load(answer)["data"]["result"])
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{query}: {error.read().decode()}") from None
        except OSError:
            return []

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def concrete(query: str) -> str:
    """Give a dashboard's variables the values that take in everything."""
    return re.sub(r"\$(namespace|pipeline|session)\b", ".*", query.replace("$__rate_interval", "10s"))


@pytest.fixture(scope="module")
def prometheus(
    namespace: Namespace, operator: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed")
    namespace.apply(flowing("watched"))
    namespace.wait("a running session", lambda: session_of(namespace, "watched"))
    pod = running_pod(namespace, "watched")
    wait_for_flow(namespace, pod)
    leader = operator.list("pods")[0]["metadata"]["name"]
    with ExitStack() as stack:
        gateway = stack.enter_context(forwarded(namespace, pod, 9090))
        own = stack.enter_context(forwarded(operator, leader, 9091))
        labels = {"namespace": namespace.name, "pod": pod, "pipeline": "watched"}
        server = Prometheus(tmp_path_factory.mktemp("prometheus"), {gateway: labels, own: {"pod": leader}})
        stack.callback(server.close)
        namespace.wait("two targets to be up", lambda: len(server.ask("up == 1")) == 2)
        namespace.wait("a rate", lambda: server.ask("rate(ringline_node_cpu_seconds_total[10s]) > 0"))
        yield server
    namespace.delete("mediapipeline", "watched")


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_the_queries_of_a_dashboard_are_answered(namespace: Namespace, prometheus: Prometheus, board: Path) -> None:
    queries = {where: (query, concrete(query)) for where, query in board_queries(board)}
    assert queries
    answered = {where for where, (_, plain) in queries.items() if prometheus.ask(plain)}
    for where, (query, plain) in queries.items():
        if where not in answered and not SILENT.search(query):
            namespace.wait(f"an answer to {where}: {plain}", lambda plain=plain: prometheus.ask(plain), timeout_s=30)  # type: ignore[misc]


def test_no_alert_fires_for_a_healthy_session(prometheus: Prometheus) -> None:
    firing = [name for name, query in alert_queries() if prometheus.ask(query)]
    assert firing == []


def test_the_memory_of_each_node_is_known(prometheus: Prometheus) -> None:
    sizes = {item["metric"]["node"]: float(item["value"][1]) for item in prometheus.ask("ringline_node_memory_bytes")}
    assert sizes.keys() == {"tone", "gain_1", "meter"}
    assert all(size > 1 << 20 for size in sizes.values())
