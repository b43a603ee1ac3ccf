"""The API server by HTTP, through `kubectl proxy`: for measurements, in which kubectl's own start would be most of the time."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.e2e.kubectl import WATCHDOG_S

SESSIONS = "/apis/ringline.dev/v1alpha1/namespaces/{namespace}/mediasessions"


@dataclass(frozen=True)
class Api:
    """A proxy that runs; its port speaks plain HTTP with the user's rights."""

    port: int

    def create(self, path: str, body: dict[str, Any]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WATCHDOG_S)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == 201, text
        finally:
            connection.close()

    @contextmanager
    def watching(self, path: str, see: Callable[[dict[str, Any], float], None]) -> Iterator[None]:
        """Call `see(object, time.time())` for every change while entered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WATCHDOG_S)
        # Version 0: from what the server knows now, whatever its own storage is ahead.
        connection.request("GET", f"{path}?watch=1&resourceVersion=0")
        answer = connection.getresponse()
        assert answer.status == 200, answer.read().decode()

        def read() -> None:
            try:
                while line := answer.readline():
                    see(json.loads(line)["object"], time.time())
            except (OSError, ValueError, AttributeError, http.client.HTTPException):
                pass  # closed below

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            if connection.sock is not None:
                connection.sock.shutdown(2)
            reader.join()
            answer.close()
            connection.close()


@contextmanager
def proxied() -> Iterator[Api]:
    """Run `kubectl proxy` while entered."""
    command = ["kubectl", "proxy", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Api(int(process.stdout.readline().rpartition(":")[2]))
        finally:
            process.terminate()
