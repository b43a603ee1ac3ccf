"""A cluster through kubectl: apply, read, wait, exec. Any KUBECONFIG will do; nothing here knows which cluster it is."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
WATCHDOG_S = 120.0
"""A wait that lasts this long has failed; it says what was there instead."""


class KubectlError(Exception):
    """kubectl refused; the text is what it said."""


@dataclass(frozen=True)
class Namespace:
    """One namespace of the cluster."""

    name: str

    def run(self, *arguments: str, text: str | None = None, timeout_s: float = WATCHDOG_S) -> str:
        """Run kubectl in this namespace and return what it printed. Raises `KubectlError`."""
        command = ["kubectl", "--namespace", self.name, *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=timeout_s, check=False)
        if done.returncode != 0:
            raise KubectlError(f"{' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Create or change objects."""
        self.run("apply", "-f", "-", text="---\n".join(yaml.safe_dump(dict(item)) for item in manifests))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Read one object; None when there is none."""
        try:
            return json.loads(self.run("get", kind, name, "-o", "json"))  # type: ignore[no-any-return]
        except KubectlError as error:
            if "NotFound" in str(error) or "not found" in str(error):
                return None
            raise

    def list(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Read all objects of a kind."""
        chosen = ("-l", selector) if selector else ()
        return json.loads(self.run("get", kind, "-o", "json", *chosen))["items"]  # type: ignore[no-any-return]

    def delete(self, kind: str, name: str, *, wait: bool = True) -> None:
        """Delete one object."""
        self.run("delete", kind, name, "--ignore-not-found", f"--wait={str(wait).lower()}")

    def execute(self, pod: str, container: str, *command: str, check: bool = True) -> str:
        """Run a command inside a container."""
        try:
            return self.run("exec", pod, "-c", container, "--", *command)
        except KubectlError:
            if check:
                raise
            return ""

    def wait(self, what: str, look: Callable[[], T | None], *, timeout_s: float = WATCHDOG_S) -> T:
        """Look every 0.2 s until something true is seen, and return it. Fails with the namespace's state."""
        end = time.monotonic() + timeout_s
        while True:
            found = look()
            if found:
                return found
            if time.monotonic() > end:
                raise AssertionError(f"waited {timeout_s:.0f} s for {what}; there is:\n{self.describe()}")
            time.sleep(0.2)

    def describe(self) -> str:
        """Return what a person would look at first."""
        parts = [self.run("get", "mediapipelines,mediasessions,pods", "-o", "wide")]
        parts.append(self.run("get", "events", "--sort-by=.lastTimestamp")[-3000:])
        parts.extend(self._log_tail(pod["metadata"]["name"]) for pod in self.list("pods"))
        return "\n".join(parts)

    def _log_tail(self, pod: str) -> str:
        try:
            return self.run("logs", pod, "--all-containers", "--tail=15", "--prefix")
        except KubectlError as error:
            return str(error)


def condition(body: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return one condition of an object's status, or {}."""
    found: Sequence[dict[str, Any]] = (body.get("status") or {}).get("conditions", ())
    return next((item for item in found if item["type"] == kind), {})


def phase(body: Mapping[str, Any] | None) -> str:
    """Return a session's or pod's phase, "" for none."""
    return str(((body or {}).get("status") or {}).get("phase", ""))
