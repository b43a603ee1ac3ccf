"""The operator as one object: cache, queue, lease, workers, metrics; begun when there are credentials."""

from __future__ import annotations

import time
from typing import Final

import kopf

from ringline_operator.act import Actor
from ringline_operator.credentials import credentials
from ringline_operator.kube import Kube
from ringline_operator.lease import Lease
from ringline_operator.metrics import OperatorMetrics
from ringline_operator.observe import Cache, WorkQueue
from ringline_operator.poll import Poller
from ringline_operator.reconcile import Reconciler
from ringline_operator.relist import relist
from ringline_operator.settings import OperatorSettings
from ringline_operator.tell import Teller

CALM: Final = 8
"""Connections for lists and Events, beside one for each hand."""


class Operator:
    """Owns everything that runs beside kopf's watches."""

    def __init__(self, settings: OperatorSettings) -> None:
        self.settings = settings
        self.queue = WorkQueue()
        self.cache = Cache(self.queue)
        self.metrics = OperatorMetrics(self.cache, self.queue)
        self.poller = Poller(self.cache, self.queue, settings.poll_seconds)
        self._connections: tuple[Kube, ...] = ()
        self._lease: Lease | None = None
        self._reconciler: Reconciler | None = None
        self._teller: Teller | None = None

    async def start(self, info: kopf.ConnectionInfo) -> None:
        """Begin with these credentials; a second call brings renewed ones."""
        if self._connections:
            for kube in self._connections:
                await kube.use(info)
            return
        # The lease has a connection of its own: what holds up the others must not cost the lead.
        kube, steady = self._connections = (self._kube(info, CALM + 2 * self.settings.workers), self._kube(info, 2))
        for connection in self._connections:
            await connection.__aenter__()
        lease = self._lease = Lease(steady, self.settings)
        self.metrics.leads = lambda: lease.held
        self.metrics.requests = lambda: kube.requests + steady.requests
        teller = self._teller = Teller(kube, busy=lambda: kube.gate.failing or reconciler.hands.waiting > 0)
        self.metrics.unwritten = lambda: teller.dropped
        actor = Actor(
            kube, self.cache, lease, self.settings, teller=teller,
            became=lambda session, status: self.metrics.became_ready(session, status, time.time()),
        )  # fmt: skip
        reconciler = self._reconciler = Reconciler(
            self.cache, self.queue, actor,
            lease=lease, poller=self.poller, settings=self.settings, metrics=self.metrics,
            relist=lambda: relist(kube, self.cache, self.settings),
        )  # fmt: skip
        if self.settings.metrics_port:
            self.metrics.serve(self.settings.metrics_port)
        lease.start()
        teller.start()
        reconciler.start()

    def _kube(self, info: kopf.ConnectionInfo, connections: int) -> Kube:
        return Kube(info, renew=lambda: credentials(kopf.OperatorSettings()), connections=connections)

    async def stop(self) -> None:
        """End in the reverse order: no action after the lease is given back."""
        if self._reconciler is not None:
            await self._reconciler.stop()
        if self._teller is not None:
            await self._teller.stop()
        await self.poller.close()
        if self._lease is not None:
            await self._lease.stop()
        for kube in self._connections:
            await kube.__aexit__()
        self.metrics.close()
