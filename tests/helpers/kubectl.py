"""A kubectl for tests: answers from a file of objects, and really forwards ports to a gateway of this machine.

`install` puts it on PATH; `FakeCluster` holds what it knows and what it was asked. It starts some hundred times: it imports little.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest

SCRIPT: Final = """#!{python} -SE
import json, os, sys, time

folder = {folder!r}
with open(folder + "/world.json") as file:
    world = json.load(file)
words = sys.argv[1:]
with open(folder + "/asked", "a") as log:
    log.write(json.dumps(words) + chr(10))

def fail(text):
    print(text, file=sys.stderr)
    sys.exit(1)

def stays():
    with open(folder + "/forwarding", "w") as file:
        file.write(str(os.getpid()))

def pump(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(1)  # what is written is over

def forward():
    import socket, threading
    listener = socket.create_server(("127.0.0.1", 0))
    stays()
    port = listener.getsockname()[1]
    print(f"Forwarding from 127.0.0.1:{{port}} -> 9443", flush=True)
    while True:
        near, _ = listener.accept()
        far = socket.create_connection(("127.0.0.1", world["gateway"]))
        for pair in ((near, far), (far, near)):
            threading.Thread(target=pump, args=pair, daemon=True).start()

if world["hangs"]:
    stays()
    time.sleep(600)
if world["complaint"]:
    fail("E1121 noise" + chr(10) + world["complaint"])
while words and words[0].startswith("--"):
    words = words[2:]
if words[0] == "port-forward":
    if world["gateway"] is None:
        fail("error: unable to forward port because pod is not running. Current status=Pending")
    forward()
elif words[1] == "mediasessions":
    print(chr(10).join(f"mediasession.ringline.dev/{{key.partition('/')[2]}}" for key in world["objects"] if key.startswith("mediasession/")))
elif found := world["objects"].get(words[1]):
    print(json.dumps(found))
"""


class FakeCluster:
    """What the fake kubectl shows. Change it, then `save`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects: dict[str, Any] = {}
        self.gateway: int | None = None
        self.complaint = ""
        self.hangs = False

    def save(self) -> FakeCluster:
        world = {
            "objects": self.objects, "gateway": self.gateway, "complaint": self.complaint, "hangs": self.hangs,
        }  # fmt: skip
        (self.folder / "world.json").write_text(json.dumps(world))
        return self

    def add_session(self, name: str, token: str, *, phase: str = "Running", message: str = "") -> None:
        """Add a session of pipeline `voice`, its pod, and the Secret with the token."""
        conditions = [{"type": "Ready", "status": "False", "reason": "Waiting", "message": message}] if message else []
        self.objects[f"mediasession/{name}"] = {
            "spec": {"pipelineRef": {"name": "voice"}},
            "status": {"phase": phase, "podName": f"{name}-0", "conditions": conditions},
        }
        reference = {"secretKeyRef": {"name": "ingress", "key": "token"}}
        env = [{"name": "RINGLINE_NODE", "value": "gateway"}]
        if token:
            env.append({"name": "RINGLINE_INGRESS_TOKEN", "valueFrom": reference})  # type: ignore[dict-item]
            self.objects["secret/ingress"] = {"data": {"token": base64.b64encode(token.encode()).decode()}}
        self.objects[f"pod/{name}-0"] = {"spec": {"initContainers": [{"name": "gateway", "env": env}]}}

    @property
    def asked(self) -> list[list[str]]:
        """The words of every call so far."""
        log = self.folder / "asked"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def forwarder(self) -> int | None:
        """The process id of the last one that stays: it forwards, or hangs."""
        file = self.folder / "forwarding"
        text = file.read_text() if file.exists() else ""
        return int(text) if text else None


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """Make the fake the only kubectl on PATH, and the only program there."""
    folder.mkdir()
    script = folder / "kubectl"
    script.write_text(SCRIPT.format(python=sys.executable, folder=str(folder)))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return FakeCluster(folder).save()


def ended(process: int) -> bool:
    """Whether a process is no more, or only waits for somebody to read its exit code."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or before it was read
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"
