"""What a node's container prints: its node's lines on the container's own stdout, as they are or as JSON lines.

Owned by the zygote in a pod. Never blocks: what the container runtime does not take in time is dropped and counted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ringline.node.pump import Outlet


class _Stdout:
    """A descriptor with the one verb of a socket that `Outlet` uses."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    def send(self, data: memoryview) -> int:
        return os.write(self._descriptor, data)


class ContainerOutput(Outlet):
    """Takes the lines of the container's node. `log_format`: ``json`` wraps each line that is not JSON already."""

    def __init__(self, descriptor: int, log_format: str, labels: Mapping[str, Any]) -> None:
        super().__init__(_Stdout(descriptor))
        self.descriptor = descriptor
        self._labels = dict(labels)
        self._json = log_format == "json"

    def say(self, level: str, message: str) -> None:
        """Add a line of the zygote's own."""
        entry = {"level": level, "logger": "ringline.zygote", "message": message}
        self._queue(self._entry(entry) if self._json else f"{level.upper()} ringline.zygote: {message}\n".encode())

    def _log(self, key: tuple[str, int, str], lines: bytes) -> None:
        _, epoch, stream = key
        if not self._json:
            self._queue(lines)
            return
        for line in lines.splitlines():
            if line.startswith(b'{"') and line.endswith(b"}"):
                self._queue(line + b"\n")
            else:
                text = line.decode(errors="replace")
                self._queue(self._entry({"stream": stream, "message": text, "epoch": epoch}))

    def _entry(self, fields: Mapping[str, Any]) -> bytes:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S%z")
        return json.dumps({"time": now, **fields, **self._labels}, ensure_ascii=False).encode() + b"\n"
