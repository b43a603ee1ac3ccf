"""The operator as one object: cache, queue, lease, workers, metrics; begun when there are credentials."""

from __future__ import annotations

import kopf

from ringline_operator.act import Actor
from ringline_operator.kube import Kube
from ringline_operator.lease import Lease
from ringline_operator.metrics import OperatorMetrics
from ringline_operator.observe import Cache, WorkQueue
from ringline_operator.poll import Poller
from ringline_operator.reconcile import Reconciler
from ringline_operator.settings import OperatorSettings


class Operator:
    """Owns everything that runs beside kopf's watches."""

    def __init__(self, settings: OperatorSettings) -> None:
        self.settings = settings
        self.queue = WorkQueue()
        self.cache = Cache(self.queue)
        self.metrics = OperatorMetrics(self.cache, self.queue)
        self.poller = Poller(self.cache, self.queue)
        self._kube: Kube | None = None
        self._lease: Lease | None = None
        self._reconciler: Reconciler | None = None

    async def start(self, info: kopf.ConnectionInfo) -> None:
        """Begin with these credentials; a second call (a renewed login) changes nothing."""
        if self._kube is not None:
            return
        self._kube = await Kube(info).__aenter__()
        self._lease = Lease(self._kube, self.settings)
        actor = Actor(self._kube, self.cache, self._lease, self.settings)
        self._reconciler = Reconciler(
            self.cache, self.queue, actor,
            lease=self._lease, poller=self.poller, settings=self.settings, metrics=self.metrics,
        )  # fmt: skip
        if self.settings.metrics_port:
            self.metrics.serve(self.settings.metrics_port)
        self._lease.start()
        self._reconciler.start()

    async def stop(self) -> None:
        """End in the reverse order: no action after the lease is given back."""
        if self._reconciler is not None:
            await self._reconciler.stop()
        await self.poller.close()
        if self._lease is not None:
            await self._lease.stop()
        if self._kube is not None:
            await self._kube.__aexit__()
        self.metrics.close()
