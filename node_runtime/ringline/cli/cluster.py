"""The user's own kubectl as a child process: it looks a session up on a cluster and forwards a port to its gateway.

Called by `reach`. The core installation has no Kubernetes client; kubectl has the user's rights, contexts and plugins.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from ringline.errors import SessionError
from ringline.names import ENV_INGRESS_TOKEN

INGRESS_PORT: Final = 9443
PATIENCE_S: Final = 30.0
"""How long kubectl may take to answer, or to open a port."""

_GRACE_S: Final = 2.0
_PR_SET_PDEATHSIG: Final = 1
_FORWARDING: Final = re.compile(rb"^Forwarding from 127\.0\.0\.1:(\d+) ")
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Gateway:
    """A session's pod, and the Secret with its ingress's token."""

    pod: str
    secret: str
    key: str


class Kubectl:
    """kubectl with a namespace and a context; empty means what it is configured to use."""

    def __init__(self, namespace: str = "", context: str = "") -> None:
        chosen = (("--namespace", namespace), ("--context", context))
        self._where = [word for option, value in chosen if value for word in (option, value)]
        self._place = f"namespace {namespace}" if namespace else "kubectl's namespace"

    async def gateway(self, session: str) -> Gateway:
        """Find the gateway of a MediaSession. Raises `SessionError`, which says what is missing and how to get it."""
        body = await self._get("mediasession", session)
        if body is None:
            names = (await self._run("get", "mediasessions", "--output", "name")).decode().split()
            there = ", ".join(name.rpartition("/")[2] for name in names) or "none"
            raise SessionError(f"no MediaSession {session!r} in {self._place} (there: {there})")
        status = body.get("status") or {}
        if status.get("phase") != "Running":
            raise SessionError(_not_running(session, status))
        pod = await self._get("pod", str(status.get("podName")))
        reference = _token_reference(pod or {})
        if reference is None:
            pipeline = body["spec"]["pipelineRef"]["name"]
            raise SessionError(
                f"session {session!r} takes no connections: MediaPipeline {pipeline!r} needs spec.ingress with "
                "enabled: true and a tokenSecretRef (pods made after that have it)"
            )
        return Gateway(str(status["podName"]), str(reference["name"]), str(reference["key"]))

    async def token(self, gateway: Gateway) -> str:
        """Read the token from its Secret. Raises `SessionError` if the user may not, or it isn't there."""
        secret = await self._get("secret", gateway.secret)
        value = ((secret or {}).get("data") or {}).get(gateway.key)
        if not value:
            raise SessionError(
                f"Secret {gateway.secret!r} in {self._place} has no key {gateway.key!r}; set {ENV_INGRESS_TOKEN} instead"
            )
        return base64.b64decode(value).decode().strip()

    @contextlib.asynccontextmanager
    async def forward(self, gateway: Gateway) -> AsyncIterator[int]:
        """Forward a free port of 127.0.0.1 to the gateway while entered. Raises `SessionError` if kubectl can't."""
        words = ("port-forward", f"pod/{gateway.pod}", f":{INGRESS_PORT}", "--address", "127.0.0.1")
        process = await self._start(*words)
        try:
            yield await _forwarded_port(process)
        finally:
            await _end(process)

    async def _get(self, kind: str, name: str) -> dict[str, Any] | None:
        text = await self._run("get", f"{kind}/{name}", "--ignore-not-found", "--output", "json")
        return json.loads(text) if text.strip() else None

    async def _run(self, *words: str) -> bytes:
        process = await self._start(*words)
        try:
            async with asyncio.timeout(PATIENCE_S):
                printed, complaint = await process.communicate()
        except TimeoutError:
            raise SessionError(f"kubectl {words[0]} did not answer within {PATIENCE_S:.0f} s") from None
        finally:
            await _end(process)
        if process.returncode != 0:
            raise SessionError(f"kubectl {' '.join(words[:2])}: {_last_line(complaint)}")
        return printed

    async def _start(self, *words: str) -> Process:
        found = shutil.which("kubectl")
        if found is None:
            raise SessionError(
                "kubectl is not installed (or not on PATH), and sessions on a cluster are reached through it; "
                "or give --url ws://HOST:9443"
            )
        # A session of its own: Ctrl-C on the terminal is for us, who end it when the last message is through.
        return await asyncio.create_subprocess_exec(
            found, *self._where, *words, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True,
            preexec_fn=_tied_to(os.getpid()),
        )  # fmt: skip


def _tied_to(parent: int) -> Callable[[], None]:
    """Return what a child does first: die with us, however we die."""

    def tie() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return tie


async def _forwarded_port(process: Process) -> int:
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for line in process.stdout:
                if match := _FORWARDING.match(line):
                    return int(match[1])
            raise SessionError(f"kubectl port-forward: {_last_line(await process.stderr.read())}")
    except TimeoutError:
        raise SessionError(f"kubectl port-forward opened no port within {PATIENCE_S:.0f} s") from None


async def _end(process: Process) -> None:
    """End kubectl and all that it has started."""
    for number, patience_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, PATIENCE_S)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await process.communicate()
                return


def _not_running(session: str, status: dict[str, Any]) -> str:
    phase = status.get("phase") or "Pending"
    ready: dict[str, Any] = next((item for item in status.get("conditions") or () if item["type"] == "Ready"), {})
    why = ready.get("message") or ready.get("reason")
    text = f"session {session!r} is {phase}, not Running" + (f": {why}" if why else "")
    if phase in ("Succeeded", "Failed"):
        return text
    return f"{text}; wait for it: kubectl wait mediasession/{session} --for condition=Ready"


def _token_reference(pod: dict[str, Any]) -> dict[str, Any] | None:
    """Return the reference to the token in the pod's own words; None if its ingress is off."""
    containers = (pod.get("spec") or {}).get("initContainers") or ()
    for variable in (item for each in containers if each["name"] == "gateway" for item in each.get("env") or ()):
        if variable["name"] == ENV_INGRESS_TOKEN:
            return dict(variable["valueFrom"]["secretKeyRef"])
    return None


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
