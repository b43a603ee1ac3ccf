"""The small parts of a container's first process: its settings, what it prints, its line to the gateway, the node's pulse."""

from __future__ import annotations

import json
import os
import selectors
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringline.control import frames
from ringline.errors import ProcessSpawnError, SettingsError
from ringline.graph.nodeconfig import NodePlan
from ringline.names import GATEWAY_SOCKET, TOKEN_FILE
from ringline.node import interpreter
from ringline.node.pod_link import GatewayLink
from ringline.node.pod_output import ContainerOutput
from ringline.node.pod_settings import PodEnvironment, port
from ringline.node.pulse import Pulse

IDENTITY = {"RINGLINE_SESSION_ID": "call-0", "RINGLINE_NODE": "asr"}


def test_a_pod_has_its_folders_by_default() -> None:
    pod = PodEnvironment.from_environ(IDENTITY)
    assert str(pod.directory) == "/dev/shm/ringline"
    assert str(pod.plan_file) == "/etc/ringline/plan.json"
    assert str(pod.termination_log) == "/dev/termination-log"
    assert pod.labels == {"session": "call-0", "node": "asr"}
    assert pod.log_format == "json"


@pytest.mark.parametrize("name", IDENTITY)
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not set"):
        PodEnvironment.from_environ({key: value for key, value in IDENTITY.items() if key != name})


@pytest.mark.parametrize(("given", "number"), [("", 9101), ("0", 0), ("65535", 65535)])
def test_a_port_is_a_number(given: str, number: int) -> None:
    assert port({"P": given}, "P", 9101) == number


@pytest.mark.parametrize("given", ["-1", "65536", "http", "9.5"])
def test_a_bad_port_is_named(given: str) -> None:
    with pytest.raises(SettingsError, match="P must be a port number"):
        port({"P": given}, "P", 1)


@pytest.fixture
def printed() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def lines(printed: tuple[int, int], output: ContainerOutput) -> list[str]:
    output.write()
    return os.read(printed[0], 1 << 16).decode().splitlines()


def test_text_is_printed_as_it_is(printed: tuple[int, int]) -> None:
    output = ContainerOutput(printed[1], "text", {"node": "a"})
    output.log("a", 1, "stderr", b"one\ntwo\n")
    output.say("info", "done")
    assert lines(printed, output) == ["one", "two", "INFO ringline.zygote: done"]


def test_json_wraps_what_is_no_json_yet(printed: tuple[int, int]) -> None:
    output = ContainerOutput(printed[1], "json", {"node": "a", "session": "s"})
    output.log("a", 3, "stdout", 'plain "text" ü\n{"level": "info", "message": "own"}\n{broken\n'.encode())
    first, second, third = map(json.loads, lines(printed, output))
    assert (first["message"], first["stream"], first["epoch"], first["session"]) == ('plain "text" ü', "stdout", 3, "s")
    assert second == {"level": "info", "message": "own"}
    assert third["message"] == "{broken"


def test_a_container_whose_output_nobody_reads_does_not_block(printed: tuple[int, int]) -> None:
    output = ContainerOutput(printed[1], "text", {})
    for _ in range(300):
        output.log("a", 1, "stdout", b"x" * 60000 + b"\n")
        output.write()
    assert output.waiting
    assert os.read(printed[0], 10) == b"x" * 10


class FakeGateway:
    """The socket that a link dials."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / TOKEN_FILE).write_text("secret")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(directory / GATEWAY_SOCKET))
        self.listener.listen()
        self.decoder = frames.Decoder()

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(5)
        return connection

    def hear(self, connection: socket.socket) -> list[dict[str, Any]]:
        return [header for header, _ in self.decoder.feed(connection.recv(1 << 16))]

    def close(self) -> None:
        self.listener.close()
        (self.directory / GATEWAY_SOCKET).unlink()


@pytest.fixture
def link(tmp_path: Path) -> Iterator[GatewayLink]:
    selector = selectors.DefaultSelector()
    orders: list[dict[str, Any]] = []
    link = GatewayLink(selector, tmp_path, lambda: {"ev": "hello"}, orders.append)
    link.orders = orders  # type: ignore[attr-defined]
    link.selector = selector  # type: ignore[attr-defined]
    yield link
    link.close()
    selector.close()


def turn(link: Any) -> None:
    for key, _ in link.selector.select(1):
        key.data()


def dial(link: GatewayLink) -> None:
    link._due = 0.0
    link.dial()


def test_a_link_waits_for_a_gateway_and_tells_its_token(link: GatewayLink, tmp_path: Path) -> None:
    dial(link)
    assert not link.connected
    assert link.event({"ev": "exit"}) is False
    gateway = FakeGateway(tmp_path)
    dial(link)
    connection = gateway.accept()
    assert gateway.hear(connection) == [{"ev": "hello", "token": "secret"}]
    connection.close()
    gateway.close()


def test_a_link_passes_orders_on_and_dials_again_after_the_end(link: Any, tmp_path: Path) -> None:
    gateway = FakeGateway(tmp_path)
    dial(link)
    connection = gateway.accept()
    connection.sendall(frames.encode({"op": "one"}) + frames.encode({"op": "two"}))
    turn(link)
    assert [order["op"] for order in link.orders] == ["one", "two"]
    connection.close()
    turn(link)
    assert not link.connected
    dial(link)
    gateway.accept().close()
    gateway.close()


def test_a_gateway_that_writes_no_frames_is_hung_up_on(link: Any, tmp_path: Path) -> None:
    gateway = FakeGateway(tmp_path)
    dial(link)
    connection = gateway.accept()
    connection.sendall(b"\xff\xff\xff\xffnonsense")
    turn(link)
    assert not link.connected
    connection.close()
    gateway.close()


def test_a_pulse_is_felt_as_long_as_the_other_end_answers() -> None:
    pulse = Pulse()
    assert pulse.heard() is False
    pulse.ask()
    pulse._theirs.send(pulse._theirs.recv(64))
    assert pulse.heard() is True
    pulse.forked()
    assert pulse.heard() is False
    pulse.ask()
    pulse.close()


def test_this_interpreter_needs_no_command() -> None:
    assert interpreter.command(interpreter.interpreter(NodePlan("a", "gain"))) is None
    assert interpreter.command(Path("/opt/x/bin/python")) == ["/opt/x/bin/python", "-m", "ringline.node", "run"]


def test_an_environment_that_is_missing_in_the_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProcessSpawnError, match="Python executable not found"):
        interpreter.interpreter(NodePlan("a", "gain", venv_path=str(tmp_path / "none")))
