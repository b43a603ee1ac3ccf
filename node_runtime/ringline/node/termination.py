"""The last words of a container: its exit record as a termination message, which Kubernetes keeps in the pod's status.

Written by the zygote of a node's container and by the gateway. A message may have 4 KiB, all of a pod together 12 KiB; what is
longer is cut by the kubelet in the middle of the JSON, so the fields that may be long come last and are shortened here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

DEFAULT_PATH: Final = "/dev/termination-log"
LONGEST: Final = 4096
LONGEST_OF_POD: Final = 12 << 10


def share(containers: int) -> int:
    """Bytes of each container's message in a pod of so many."""
    return min(LONGEST, LONGEST_OF_POD // max(1, containers))


def record_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Make the record from a zygote's own exit report: what the container can say when the gateway said nothing."""
    code, signal, oom = report.get("code", -1), report.get("signal"), report.get("oom")
    if oom:
        reason = "OOMKilled"
    else:
        reason = "Killed" if signal == "SIGKILL" else "Terminated" if signal == "SIGTERM" else "Error"
    return {
        "node": report.get("node"),
        "exitCode": code,
        "signal": signal,
        "reason": "Completed" if code == 0 else reason,
        "epoch": report.get("epoch"),
        "finishedAt": now(),
        "message": "",
        "tail": list(report.get("tail") or ()),
    }


def now() -> str:
    """Write the present time as Kubernetes does."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def fitting(record: Mapping[str, Any], limit: int) -> bytes:
    """Give the record as JSON of at most `limit` bytes: the last lines join the message, whose end is what is kept."""
    fields = {name: value for name, value in record.items() if value is not None and name not in ("message", "tail")}
    text = "\n".join(part for part in (str(record.get("message") or ""), *record.get("tail", ())) if part)
    head, tail = text[: limit // 3], text[limit // 3 :]
    while True:
        data = json.dumps(fields | {"message": head + tail}, separators=(",", ":")).encode()
        if len(data) <= limit or not (head or tail):
            return data
        # The first sentence says most, then the last lines: what goes is the middle.
        excess = max(1, (len(data) - limit) // 6)
        tail = tail[excess:]
        if not tail:
            head = head[:-excess] if len(head) > excess else ""


def leave_words(path: Path, record: Mapping[str, Any], limit: int) -> None:
    """Write the message. A container without the file (a test, a plain process) has nothing to write to."""
    try:
        with path.open("r+b") as file:
            file.truncate()
            file.write(fitting(record, limit))
    except OSError:
        pass
