"""The lease by which one of several operators acts.

A holder believes in its lease only as long as its own clock says that the last renewal is younger than the lease: one
that was frozen finds, before its next action, that time has passed, and does not act. Others judge by their own clocks
too how long it has been silent, so that the clocks of machines need not agree.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ringline_operator.kube import ApiError, Kube
from ringline_operator.settings import OperatorSettings

log = logging.getLogger(__name__)


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Lease:
    """Takes, renews and gives back one Lease object. `now` is a monotonic clock in seconds."""

    def __init__(self, kube: Kube, settings: OperatorSettings, now: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._settings = settings
        self._now = now
        self._until = 0.0
        self._seen: tuple[str, str] | None = None
        self._seen_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self.taken = asyncio.Event()
        self.begun = asyncio.Event()
        """Set each time this process begins to act, also after a short loss; whoever takes note of it clears it."""

    @property
    def held(self) -> bool:
        """Say whether this process may act at this moment."""
        return self._now() < self._until

    def start(self) -> None:
        """Begin to take and renew in the background."""
        self._task = asyncio.create_task(self._keep(), name="ringline-lease")

    async def stop(self) -> None:
        """Stop renewing and give the lease back, so that the next one need not wait."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.held:
            self._until = 0.0
            self.taken.clear()
            try:
                await self._give_back()
            except ApiError as error:
                log.warning("the lease could not be given back", extra={"error": str(error)})

    async def _keep(self) -> None:
        while True:
            try:
                await self.renew()
            except ApiError as error:
                log.warning("the lease could not be renewed", extra={"error": str(error)})
            except Exception:
                log.exception("the lease could not be renewed")
            if not self.held:
                self.taken.clear()
            await asyncio.sleep(self._settings.renew_seconds)

    async def renew(self) -> bool:
        """Take or renew once; return whether the lease is held."""
        begun = self._now()
        try:
            found = await self._kube.get("Lease", self._settings.lease_namespace, self._settings.lease_name)
        except ApiError as error:
            if error.status != 404:
                raise
            return await self._create(begun)
        spec = found.get("spec") or {}
        if spec.get("holderIdentity") not in ("", None, self._settings.identity) and not self._stale(spec):
            self._lose(spec["holderIdentity"])
            return False
        return await self._take(found, begun)

    def _stale(self, spec: dict[str, Any]) -> bool:
        """Judge by our own clock how long the holder has not renewed: clocks of machines differ."""
        renewal = (str(spec.get("holderIdentity")), str(spec.get("renewTime")))
        if renewal != self._seen:
            self._seen, self._seen_at = renewal, self._now()
        return self._now() - self._seen_at > float(spec.get("leaseDurationSeconds") or 0)

    def _lose(self, holder: str) -> None:
        if self.taken.is_set():
            log.warning("the lease was taken by another operator", extra={"holder": holder})
        self._until = 0.0
        self.taken.clear()

    def _won(self, begun: float) -> bool:
        if not self.held:
            self.begun.set()
        self._until = begun + self._settings.lease_seconds
        if not self.taken.is_set():
            log.info("this operator holds the lease", extra={"identity": self._settings.identity})
        self.taken.set()
        return True

    def _spec(self) -> dict[str, Any]:
        now = _micro_time()
        return {
            "holderIdentity": self._settings.identity,
            "leaseDurationSeconds": round(self._settings.lease_seconds),
            "renewTime": now,
            "acquireTime": now,
        }

    async def _create(self, begun: float) -> bool:
        name = {"name": self._settings.lease_name}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": name, "spec": self._spec()}
        try:
            await self._kube.create("Lease", self._settings.lease_namespace, body)
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return self._won(begun)

    async def _take(self, found: dict[str, Any], begun: float) -> bool:
        spec = self._spec()
        if (found.get("spec") or {}).get("holderIdentity") == self._settings.identity:
            spec["acquireTime"] = found["spec"].get("acquireTime", spec["acquireTime"])
        try:
            await self._replace(found, spec)
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return self._won(begun)

    async def _give_back(self) -> None:
        found = await self._kube.get("Lease", self._settings.lease_namespace, self._settings.lease_name)
        spec = found.get("spec") or {}
        if spec.get("holderIdentity") == self._settings.identity:
            await self._replace(found, {**spec, "holderIdentity": "", "leaseDurationSeconds": 1})

    async def _replace(self, found: dict[str, Any], spec: dict[str, Any]) -> None:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": found["metadata"]["name"], "resourceVersion": found["metadata"]["resourceVersion"]},
            "spec": spec,
        }
        await self._kube.put("Lease", self._settings.lease_namespace, self._settings.lease_name, body)
