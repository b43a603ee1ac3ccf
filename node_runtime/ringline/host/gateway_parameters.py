"""Parameters on their way down: an annotation of the pod, a file that the kubelet renews, `on_parameters` of every node.

The file is looked at often, since a claim of a warm session waits for it; `parametersDelivered` in the status tells whose it is.
"""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any, Final

from ringline.graph.handover import parameters_digest
from ringline.host.gateway import Gateway

log = logging.getLogger("ringline.host")

PERIOD_S: Final = 0.1
LONGEST: Final = 64 << 10


class Parameters:
    """Delivers the file's JSON object whenever it changes, and again to a node that was restarted."""

    def __init__(self, gateway: Gateway, file: Path) -> None:
        self._gateway = gateway
        self._file = file
        self._seen: object = None
        self._values: dict[str, Any] = {}

    async def watch(self) -> None:
        """Look for ever; run this as a task."""
        while True:
            try:
                await self._look()
            except Exception:
                log.exception("delivering parameters failed")
            await asyncio.sleep(PERIOD_S)

    async def _look(self) -> None:
        if self._gateway.phase != "Running":
            return
        epochs = self._gateway.epochs()
        state = (epochs, self._stamp())
        if state == self._seen or 0 in epochs:
            return
        values = self._read()
        if values is None:
            return
        if values:
            for text in await self._gateway.deliver(values):
                log.warning("parameters: %s", text)
        self._seen = state
        self._gateway.delivered = parameters_digest(values)

    def _stamp(self) -> tuple[int, int, int] | None:
        """Tell one version of the file from the next: the kubelet swaps a symbolic link."""
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self) -> dict[str, Any] | None:
        try:
            data = self._file.read_bytes()[: LONGEST + 1]
        except OSError:
            return {}
        try:
            values = json.loads(data) if data.strip() and len(data) <= LONGEST else {}
        except ValueError:
            return None  # half written, in a plain folder
        return values if isinstance(values, dict) else None
