"""The API server by HTTP, through `kubectl proxy`: for measurements, in which kubectl's own start would be most of the time."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.e2e.kubectl import WATCHDOG_S

PODS = "/api/v1/namespaces/{namespace}/pods"
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
        """Call `see(object, time.time())` for every change while entered; some of them twice, if the watch has to begin anew."""
        watch = _Watch(self.port, path, see)
        try:
            yield
        finally:
            watch.close()


class _Watch:
    """One watch in a thread. The server may end it at any time: what it told so far is told again by the next."""

    def __init__(self, port: int, path: str, see: Callable[[dict[str, Any], float], None]) -> None:
        self._port, self._path, self._see = port, path, see
        self._closed = False
        self._open()
        self._reader = threading.Thread(target=self._follow)
        self._reader.start()

    def _open(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=WATCHDOG_S)
        # Version 0: from what the server knows now, whatever its own storage is ahead.
        self._connection.request("GET", f"{self._path}?watch=1&resourceVersion=0")
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.read().decode()

    def _follow(self) -> None:
        while not self._closed:
            try:
                self._read()
                self._answer.close()
                self._connection.close()
                if not self._closed:
                    time.sleep(0.2)
                    self._open()
            except (OSError, ValueError, AttributeError, AssertionError, http.client.HTTPException):
                time.sleep(0.2)  # closed, or an API server that is away

    def _read(self) -> None:
        while line := self._answer.readline():
            event = json.loads(line)
            if event["type"] == "ERROR":
                return  # its object is a status: the version is too old, say
            if event["type"] != "BOOKMARK":
                self._see(event["object"], time.time())

    def close(self) -> None:
        self._closed = True
        if self._connection.sock is not None:
            with suppress(OSError):
                self._connection.sock.shutdown(2)
        self._reader.join()
        self._answer.close()
        self._connection.close()


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
