"""A session's pod without Kubernetes: the main programs of its containers as plain processes around one folder.

What the kubelet would do (downwardAPI files, environment, termination logs, SIGTERM to all) is done here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from random import SystemRandom
from typing import Any, Self

from ringline import names
from ringline.graph.handover import session_document
from ringline.graph.plan import SessionPlan

PATIENCE_S = 60.0
TOKEN = "canary-token"


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, below those that the kernel gives to whoever asks for any: else the next connection takes one."""
    lowest_of_kernel = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    while len(found) < count:
        port = SystemRandom().randrange(10240, lowest_of_kernel)
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            if port not in found:
                found.append(port)
    return found


class Container:
    """One container: its main program, its output, its termination log."""

    def __init__(self, name: str, command: list[str], environ: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.command = command
        self.log = folder / f"{name}.log"
        self.words_file = folder / f"{name}.termination"
        self.words_file.touch()
        self.environ = {**environ, names.ENV_TERMINATION_LOG: str(self.words_file)}
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command, env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def restart(self) -> None:
        """What the kubelet does with a sidecar that died."""
        self.process = self._start()

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    @property
    def words(self) -> dict[str, Any]:
        text = self.words_file.read_text()
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    @property
    def printed(self) -> str:
        return self.log.read_text()


class Pod:
    """Starts the containers of a plan; `with` ends them whatever happens."""

    def __init__(self, folder: Path, shm: Path, plan: SessionPlan, extra_path: str = "") -> None:
        self.plan = plan
        self.folder = folder
        self.shm = shm
        self.directory = shm / "ringline"
        self.mounted = folder / "etc"
        self._extra_path = extra_path
        self.containers: dict[str, Container] = {}
        self.status_port, self.ingress_port, *self.probe_ports = free_ports(2 + len(plan.nodes))

    def __enter__(self) -> Self:
        self.shm.mkdir()
        self.mounted.mkdir(parents=True)
        (self.mounted / names.PLAN_FILE).write_bytes(self.plan.node_config())
        self.set_parameters({})
        for index, node in enumerate(self.plan.nodes):
            self._container(node.name, "node", {names.ENV_PROBE_PORT: str(self.probe_ports[index])})
        self._container("gateway", "host", {names.ENV_SESSION: session_document(self.plan)})
        return self

    def _container(self, name: str, part: str, own: Mapping[str, str]) -> None:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("RINGLINE_")}
        environ |= {
            names.ENV_SESSION_ID: "pod-0",
            names.ENV_SESSION_DIR: str(self.directory),
            names.ENV_NODE: name,
            names.ENV_PLAN_DIR: str(self.mounted),
            names.ENV_LOG_FORMAT: "json",
            names.ENV_GATEWAY_PORT: str(self.status_port),
            names.ENV_INGRESS_PORT: str(self.ingress_port),
            **({names.ENV_INGRESS_TOKEN: TOKEN} if name == "gateway" else {}),
            "PYTHONPATH": os.pathsep.join(
                part for part in (str(Path(names.__file__).parents[1]), self._extra_path) if part
            ),
            **own,
        }
        argument = "gateway" if part == "host" else "pod"
        self.containers[name] = Container(
            name, [sys.executable, "-m", f"ringline.{part}", argument], environ, self.folder
        )

    def __exit__(self, *_: object) -> None:
        for container in self.containers.values():
            if container.process.poll() is None:
                container.kill(signal.SIGCONT)
                container.kill()
            container.process.wait()
        shutil.rmtree(self.shm, ignore_errors=True)

    @property
    def gateway(self) -> Container:
        return self.containers["gateway"]

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Renew the file as the kubelet does: the old one or the new one is there, never half of it."""
        draft = self.mounted / "draft"
        draft.write_text(json.dumps(values))
        draft.rename(self.mounted / names.PARAMETERS_FILE)

    def get(self, path: str, port: int | None = None) -> tuple[int, str]:
        """Ask the gateway, or a probe port; status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.status_port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def status(self) -> dict[str, Any]:
        code, text = self.get("/status")
        found: dict[str, Any] = json.loads(text) if code == 200 else {}
        return found

    def node(self, name: str) -> dict[str, Any]:
        return next((node for node in self.status().get("nodes", []) if node["name"] == name), {})

    def until(self, condition: Callable[[], object], what: str = "it") -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {name}\n{each.printed}" for name, each in self.containers.items())
                raise AssertionError(f"{what} did not happen; {self.status()}\n{logs}")
            time.sleep(0.02)

    def until_ready(self) -> None:
        self.until(lambda: self.get("/readyz")[0] == 200, "ready")

    def node_pid(self, name: str) -> int:
        """The node's process: the child of its container's first process."""
        parent = self.containers[name].process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return int(children[0])

    def terminate(self) -> None:
        """End the pod as the kubelet does: SIGTERM to all nodes and the preStop hook at once, then the sidecar."""
        for name, container in self.containers.items():
            if name != "gateway":
                container.kill(signal.SIGTERM)
        drain = [sys.executable, "-m", "ringline.host", "drain"]
        subprocess.run(drain, env=self.gateway.environ, check=True, timeout=PATIENCE_S)
        for name, container in self.containers.items():
            if name != "gateway":
                container.wait()
        self.gateway.kill(signal.SIGTERM)
        self.gateway.wait()
