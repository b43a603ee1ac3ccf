"""iceoryx2: shared memory without copies. With events a second service wakes the receiver; without, it polls."""

from __future__ import annotations

import ctypes
import importlib.util
import tempfile
import uuid
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from benchmarks.peers.base import Array, Side, Transport


class IceoryxTransport(Transport):
    name = "iceoryx2 (events)"
    package = "iceoryx2"
    in_place = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._tag = uuid.uuid4().hex[:12]
        self._folder = f"{tempfile.gettempdir()}/ringline-bench-{self._tag}"

    @staticmethod
    def installed() -> bool:
        return importlib.util.find_spec("iceoryx2") is not None

    def open(self, side: Side) -> None:
        import iceoryx2

        iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
        self._client = side == "client"
        settings = iceoryx2.config.default()
        # Its files get a name and a folder of their own, so that what it leaves behind can be found.
        settings.global_cfg.prefix = iceoryx2.FileName.new(f"{self._tag}_")
        settings.global_cfg.root_path = iceoryx2.Path.new(self._folder)
        self._node: Any = iceoryx2.NodeBuilder.new().config(settings).create(iceoryx2.ServiceType.Ipc)
        out, into = ("there", "back") if side == "client" else ("back", "there")
        published, event_out = self._services(iceoryx2, out)
        subscribed, event_in = self._services(iceoryx2, into)
        self._publisher = (
            published.publisher_builder()
            .initial_max_slice_len(self.largest)
            .max_loaned_samples(2)
            .backpressure_strategy(iceoryx2.BackpressureStrategy.RetryUntilDelivered)
            .create()
        )
        self._subscriber = subscribed.subscriber_builder().create()
        self._notifier = event_out.notifier_builder().create()
        self._listener = event_in.listener_builder().create()
        self._sample: Any = None

    def _services(self, iceoryx2: Any, direction: str) -> tuple[Any, Any]:
        name = iceoryx2.ServiceName.new(f"ringline-benchmark/{self._tag}/{direction}")
        data = (
            self._node.service_builder(name)
            .publish_subscribe(iceoryx2.Slice[ctypes.c_uint8])
            .enable_safe_overflow(False)
            .subscriber_max_buffer_size(self.depth)
            .subscriber_max_borrowed_samples(2)
            .max_publishers(1)
            .max_subscribers(1)
            .payload_alignment(iceoryx2.Alignment.new(64))
            .open_or_create()
        )
        return data, self._node.service_builder(name).event().open_or_create()

    def send(self, array: Array) -> None:
        sample = self._publisher.loan_slice_uninit(array.size)
        ctypes.memmove(sample.payload_ptr, array.ctypes.data, array.size)
        sample.assume_init().send()
        if not self.busy:
            self._notifier.notify()

    def send_in_place(self, size: int, head: bytes) -> None:
        sample = self._publisher.loan_slice_uninit(size)
        ctypes.memmove(sample.payload_ptr, head, len(head))
        sample.assume_init().send()
        if not self.busy:
            self._notifier.notify()

    def receive(self) -> Any:
        sample = self._subscriber.receive()
        while sample is None:
            if not self.busy:
                self._listener.blocking_wait()
            sample = self._subscriber.receive()
        self._sample = sample
        return np.frombuffer(sample.payload().as_memory_view(), np.uint8)  # its items are numbers only so

    def release(self) -> None:
        self._sample.delete()
        self._sample = None

    def close(self) -> None:
        for port in (self._publisher, self._subscriber, self._notifier, self._listener):
            port.delete()
        del self._node, self._publisher, self._subscriber, self._notifier, self._listener
        if self._client:
            rmtree(self._folder, ignore_errors=True)
            for left in Path("/dev/shm").glob(f"{self._tag}_*"):
                left.unlink()


class BusyIceoryxTransport(IceoryxTransport):
    """Its quickest way, for whoever has a CPU to spare for each receiver."""

    name = "iceoryx2 (busy polling)"
    busy = True
