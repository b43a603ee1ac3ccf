"""The probe port of a node's container: the kubelet asks, the zygote answers, also while its node is absent or loads.

A few lines of HTTP instead of a server: process 1 has one thread, so that it may fork. ``/livez`` and ``/readyz`` may have to
wait for the node's own answer; a question that is not answered in time is a no.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_LONGEST_REQUEST: Final = 8192
_MOST_CLIENTS: Final = 32
_PATIENCE_S: Final = 5.0
_WORDS: Final = {200: b"OK", 404: b"Not Found", 503: b"Service Unavailable"}

Verdict = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Ask:
    """A verdict that the node itself has to give within `patience_s`, else it is a no; `hung`: and the node counts as hung."""

    patience_s: float
    hung: bool


def listen(port: int) -> socket.socket:
    """Listen on every address. Done before anything large is imported: a probe that finds the port waits for its answer."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_MOST_CLIENTS)
    return socket.create_server(("", port), backlog=_MOST_CLIENTS)


class ProbeServer:
    """Answers GET requests. `judge(path)` gives a status and a word, or `Ask`; then `resolve` answers later."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        listener: socket.socket,
        judge: Callable[[str], Verdict | Ask],
    ) -> None:
        self._selector = selector
        self._judge = judge
        self._clients: dict[socket.socket, _Client] = {}
        self._listener = listener
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def detach(self) -> None:
        """Forget the sockets, in a forked child, without touching the parent's."""
        for sock in (self._listener, *self._clients):
            sock.detach()

    @property
    def waiting(self) -> bool:
        """Whether a client waits for the node's answer."""
        return any(client.ask for client in self._clients.values())

    def resolve(self, live: Verdict, ready: Verdict) -> None:
        """Answer those who wait for the node: whether it lives, or whether it is ready."""
        for sock, client in list(self._clients.items()):
            if client.ask is not None:
                self._answer(sock, live if client.ask.hung else ready)

    def tick(self) -> bool:
        """Let go who sends no request, and say no to who waits too long for the node; whether it hangs therefore."""
        now, hung = time.monotonic(), False
        for sock, client in list(self._clients.items()):
            if client.ask is not None and now - client.asked > client.ask.patience_s:
                hung = hung or client.ask.hung
                self._answer(sock, (503, "the node does not answer"))
            elif now - client.since > _PATIENCE_S:
                self._drop(sock)
        return hung

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        if len(self._clients) >= _MOST_CLIENTS:
            sock.close()
            return
        sock.setblocking(False)
        self._clients[sock] = _Client()
        self._selector.register(sock, selectors.EVENT_READ, lambda: self._read(sock))

    def _read(self, sock: socket.socket) -> None:
        client = self._clients[sock]
        try:
            data = sock.recv(_LONGEST_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.request += data
        if not data or len(client.request) > _LONGEST_REQUEST:
            self._drop(sock)
        elif b"\r\n\r\n" in client.request and client.ask is None:
            words = client.request.split(b" ", 2)
            path = words[1].split(b"?")[0].decode(errors="replace") if len(words) == 3 and words[0] == b"GET" else ""
            verdict = self._judge(path)
            if isinstance(verdict, Ask):
                client.ask, client.asked = verdict, time.monotonic()
            else:
                self._answer(sock, verdict)

    def _answer(self, sock: socket.socket, verdict: Verdict) -> None:
        status, word = verdict
        body = word.encode() + b"\n"
        head = b"HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        try:
            sock.send(head % (status, _WORDS.get(status, b""), len(body)) + body)
        except OSError:
            pass  # the kubelet has given up
        self._drop(sock)

    def _drop(self, sock: socket.socket) -> None:
        self._clients.pop(sock, None)
        self._selector.unregister(sock)
        sock.close()


class _Client:
    """One connection: what it has sent, what it asks the node, and since when."""

    def __init__(self) -> None:
        self.request = b""
        self.since = time.monotonic()
        self.ask: Ask | None = None
        self.asked = 0.0
