"""The probe port: HTTP as the kubelet speaks it, and whatever else comes along."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator

import pytest

from ringline.node import pod_probe
from ringline.node.pod_probe import Ask, ProbeServer, Verdict, listen

NOT_YET, OK = (503, "not yet"), (200, "ok")
VERDICTS: dict[str, Verdict | Ask] = {
    "/readyz": NOT_YET,
    "/startupz": OK,
    "/livez": Ask(10.0, hung=True),
    "/works": Ask(10.0, hung=False),
    "/livez/impatient": Ask(-1.0, hung=True),
    "/works/impatient": Ask(-1.0, hung=False),
}


class Server:
    """A probe server with the test as its loop."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.listener = listen(0)
        self.probe = ProbeServer(self.selector, self.listener, lambda path: VERDICTS.get(path, (404, "none")))
        self.clients: list[socket.socket] = []

    def turn(self, timeout_s: float = 0.05) -> None:
        for key, _ in self.selector.select(timeout_s):
            key.data()

    def client(self, data: bytes = b"") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.listener.getsockname()[1]), timeout=5)
        self.clients.append(client)
        client.sendall(data)
        for _ in range(3):
            self.turn()
        return client

    def get(self, path: str) -> bytes:
        return self.client(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).recv(4096)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    for key in list(server.selector.get_map().values()):
        assert isinstance(key.fileobj, socket.socket)
        key.fileobj.close()
    for client in server.clients:
        client.close()
    server.selector.close()


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/startupz", 200, b"ok"),
        ("/readyz", 503, b"not yet"),
        ("/readyz?verbose=1", 503, b"not yet"),
        ("/x", 404, b"none"),
    ],
)
def test_a_question_gets_its_verdict_and_the_connection_ends(
    server: Server, path: str, status: int, word: bytes
) -> None:
    answer = server.get(path)
    head, body = answer.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Length: %d" % len(body) in head
    assert body == word + b"\n"
    assert server.clients[-1].recv(1) == b""


def test_questions_for_the_node_wait_for_its_answer(server: Server) -> None:
    lives, works = (server.client(f"GET {path} HTTP/1.1\r\n\r\n".encode()) for path in ("/livez", "/works"))
    assert server.probe.waiting
    assert server.probe.tick() is False
    server.probe.resolve((200, "alive"), (503, "but not ready"))
    assert b"alive" in lives.recv(4096)
    assert works.recv(4096).startswith(b"HTTP/1.1 503 ")
    assert not server.probe.waiting


@pytest.mark.parametrize(("path", "hung"), [("/livez/impatient", True), ("/works/impatient", False)])
def test_a_node_that_does_not_answer_in_time_is_a_no(server: Server, path: str, hung: bool) -> None:
    client = server.client(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    assert server.probe.tick() is hung
    assert client.recv(4096).startswith(b"HTTP/1.1 503 ")


def test_a_request_may_come_in_pieces(server: Server) -> None:
    client = server.client(b"GET /star")
    client.sendall(b"tupz HTTP/1.1\r\nUser-Agent: kube-probe\r\n")
    server.turn()
    client.sendall(b"\r\n")
    server.turn()
    assert client.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("request_", [b"POST /startupz HTTP/1.1\r\n\r\n", b"\r\n\r\n", b"\xff\xfe\x00 /livez\r\n\r\n"])
def test_what_is_no_question_finds_nothing(server: Server, request_: bytes) -> None:
    assert server.client(request_).recv(4096).startswith(b"HTTP/1.1 404 ")


def test_a_request_without_an_end_is_cut_off(server: Server) -> None:
    client = server.client(b"x" * 9000)
    server.turn()
    try:
        assert client.recv(4096) == b""
    except ConnectionError:
        pass  # what it had not read yet makes the end a reset


def test_who_says_nothing_is_let_go(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    client = server.client()
    monkeypatch.setattr(pod_probe, "_PATIENCE_S", -1.0)
    server.probe.tick()
    assert client.recv(1) == b""


def test_a_client_that_hangs_up_is_forgotten(server: Server) -> None:
    server.client(b"GET /livez HTTP/1.1\r\n\r\n").close()
    server.turn()
    server.probe.resolve(OK, NOT_YET)
    assert not server.probe.waiting


def test_only_so_many_are_served_at_once(server: Server) -> None:
    held = [server.client() for _ in range(pod_probe._MOST_CLIENTS)]
    assert server.client().recv(1) == b""
    assert len(held) == pod_probe._MOST_CLIENTS
