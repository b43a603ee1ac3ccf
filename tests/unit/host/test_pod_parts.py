"""The pure parts of a pod's programs: settings, last words, probes, the status document, parameters, the handed-over plan."""

from __future__ import annotations

import asyncio
import json
import selectors
import socket
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline.errors import SettingsError
from ringline.graph.handover import parameters_digest, session_document, session_plan
from ringline.graph.session_plan import SessionPolicy
from ringline.host.exits import Circumstances, exit_record
from ringline.host.gateway import _node, words_of
from ringline.host.gateway_http import response
from ringline.host.gateway_parameters import LONGEST, Parameters
from ringline.host.status import NodeStatus
from ringline.node import pod_settings, termination
from ringline.node.pod_probe import Ask, ProbeServer, Verdict
from ringline.node.pod_settings import PodEnvironment
from tests.unit.host.crews import planned

json_values = st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8) | st.booleans(), max_size=6)

# -- settings ----------------------------------------------------------------------------------------------------------


def test_a_container_reads_its_environment() -> None:
    pod = PodEnvironment.from_environ({"RINGLINE_SESSION_ID": "s1", "RINGLINE_NODE": "vad"})
    assert (pod.session_id, pod.node, pod.log_format) == ("s1", "vad", "json")
    assert pod.directory == pod_settings.SESSION_FOLDER
    assert pod.plan_file == pod_settings.PLAN_FOLDER / "plan.json"
    assert pod.termination_log == Path(termination.DEFAULT_PATH)
    assert pod.labels == {"session": "s1", "node": "vad"}


@pytest.mark.parametrize("missing", ["RINGLINE_SESSION_ID", "RINGLINE_NODE"])
@pytest.mark.parametrize("empty", [True, False])
def test_outside_of_a_pod_it_says_what_is_missing(missing: str, empty: bool) -> None:
    environ = {"RINGLINE_SESSION_ID": "s1", "RINGLINE_NODE": "vad"}
    environ[missing] = ""
    if not empty:
        del environ[missing]
    with pytest.raises(SettingsError, match=f"{missing} is not set: this program runs in a container"):
        PodEnvironment.from_environ(environ)


@pytest.mark.parametrize(("text", "value"), [("", 9090), ("0", 0), ("65535", 65535), ("80", 80)])
def test_a_port_is_a_number(text: str, value: int) -> None:
    assert pod_settings.port({"PORT": text}, "PORT", 9090) == value


@pytest.mark.parametrize("text", ["65536", "-1", "http", "1.5", " 80", "0x50", "9" * 30])
def test_anything_else_is_no_port(text: str) -> None:
    with pytest.raises(SettingsError, match="PORT must be a port number, not "):
        pod_settings.port({"PORT": text}, "PORT", 9090)


# -- last words --------------------------------------------------------------------------------------------------------


@given(st.text(max_size=3000), st.lists(st.text(max_size=300), max_size=20), st.integers(300, 4096))
def test_last_words_always_fit_and_stay_json(message: str, tail: list[str], limit: int) -> None:
    record = {"node": "a", "exitCode": 1, "signal": None, "reason": "Error", "message": message, "tail": tail}
    data = termination.fitting(record, limit)
    assert len(data) <= limit
    found = json.loads(data)
    assert {name: found[name] for name in ("node", "exitCode", "reason")} == {
        "node": "a",
        "exitCode": 1,
        "reason": "Error",
    }
    assert "signal" not in found
    whole = "\n".join(part for part in (message, *tail) if part)
    if len(json.dumps(whole)) < limit - 100:
        assert found["message"] == whole


@pytest.mark.parametrize(("containers", "most"), [(0, 4096), (1, 4096), (3, 4096), (4, 3072), (12, 1024), (33, 372)])
def test_the_containers_of_a_pod_share_its_room(containers: int, most: int) -> None:
    assert termination.share(containers) == most


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        ({"code": 0}, "Completed"),
        ({"code": 1}, "Error"),
        ({"code": 137, "signal": "SIGKILL"}, "Killed"),
        ({"code": 137, "signal": "SIGKILL", "oom": True}, "OOMKilled"),
        ({"code": 143, "signal": "SIGTERM"}, "Terminated"),
        ({"code": 139, "signal": "SIGSEGV"}, "Error"),
        ({}, "Error"),
    ],
)
def test_a_zygotes_report_has_a_reason(report: dict[str, Any], reason: str) -> None:
    assert termination.record_of(report)["reason"] == reason


def test_words_replace_what_was_there_and_a_missing_file_harms_nobody(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    termination.leave_words(log, {"message": "lost"}, 4096)
    assert not log.exists()
    log.write_text("x" * 500)
    termination.leave_words(log, {"node": "a", "message": "why"}, 4096)
    assert json.loads(log.read_text()) == {"node": "a", "message": "why"}


# -- probes ------------------------------------------------------------------------------------------------------------


class Kubelet:
    """Asks a probe server that judges by a table."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.verdicts: dict[str, Verdict | Ask] = {"/readyz": (200, "ok"), "/livez": Ask(60.0, hung=True)}
        self.server = ProbeServer(self.selector, self.listener, lambda path: self.verdicts.get(path, (404, "no")))
        self.clients: list[socket.socket] = []

    def ask(self, request: bytes) -> socket.socket:
        self.clients.append(socket.create_connection(self.listener.getsockname()))
        self.turn()
        self.clients[-1].sendall(request)
        self.turn()
        return self.clients[-1]

    def turn(self) -> None:
        for key, _ in self.selector.select(0.2):
            key.data()

    def close(self) -> None:
        for sock in [*self.clients, self.listener, *self.server._clients]:
            sock.close()
        self.selector.close()


@pytest.fixture
def kubelet() -> Iterator[Kubelet]:
    kubelet = Kubelet()
    yield kubelet
    kubelet.close()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /readyz HTTP/1.1", b"200 OK"),
        (b"GET /readyz?verbose HTTP/1.1", b"200 OK"),
        (b"GET /other HTTP/1.1", b"404 Not Found"),
        (b"POST /readyz HTTP/1.1", b"404 Not Found"),
        (b"nonsense", b"404 Not Found"),
        (b"GET /\xff HTTP/1.1", b"404 Not Found"),
    ],
)
def test_a_probe_is_answered_at_once(kubelet: Kubelet, request_line: bytes, status: bytes) -> None:
    answer = kubelet.ask(request_line + b"\r\nHost: x\r\n\r\n").recv(4096)
    assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head


def test_what_the_node_must_say_itself_waits_for_it(kubelet: Kubelet) -> None:
    client = kubelet.ask(b"GET /livez HTTP/1.1\r\n\r\n")
    assert kubelet.server.waiting
    assert not kubelet.server.tick()
    kubelet.server.resolve((200, "alive"), (503, "not ready"))
    assert client.recv(4096).endswith(b"\r\n\r\nalive\n")
    assert not kubelet.server.waiting


def test_a_node_that_does_not_answer_is_a_no(kubelet: Kubelet) -> None:
    kubelet.verdicts["/livez"] = Ask(-1.0, hung=True)
    client = kubelet.ask(b"GET /livez HTTP/1.1\r\n\r\n")
    assert kubelet.server.tick()
    answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable")
    assert answer.endswith(b"the node does not answer\n")


@pytest.mark.parametrize("request_bytes", [b"x" * 8193, b""])
def test_a_request_without_an_end_is_dropped(kubelet: Kubelet, request_bytes: bytes) -> None:
    client = kubelet.ask(request_bytes)
    if not request_bytes:
        client.shutdown(socket.SHUT_WR)
    kubelet.turn()
    kubelet.turn()
    assert kubelet.server._clients == {}


def test_half_a_request_waits_for_the_rest_but_not_for_ever(kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch) -> None:
    client = kubelet.ask(b"GET /readyz HT")
    assert not kubelet.server.tick()
    assert len(kubelet.server._clients) == 1
    monkeypatch.setattr("ringline.node.pod_probe._PATIENCE_S", -1.0)
    kubelet.server.tick()
    assert kubelet.server._clients == {}
    assert client.recv(10) == b""


def test_too_many_clients_are_sent_away(kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringline.node.pod_probe._MOST_CLIENTS", 1)
    kubelet.ask(b"GET ")
    client = kubelet.ask(b"")
    assert client.recv(10) == b""
    assert len(kubelet.server._clients) == 1


# -- what a gateway answers and hands on -------------------------------------------------------------------------------


def test_an_http_answer_is_whole() -> None:
    found = response(HTTPStatus.SERVICE_UNAVAILABLE, b"the session is Starting\n")
    assert (found.status_code, found.reason_phrase) == (503, "Service Unavailable")
    assert dict(found.headers.raw_items())["Content-Length"] == "24"
    assert dict(found.headers.raw_items())["Connection"] == "close"


def test_a_nodes_part_of_the_status_document_is_bounded_and_named_as_the_operator_reads_it() -> None:
    record = exit_record(
        {"node": "a", "epoch": 2, "code": 137, "signal": "SIGKILL", "oom": True, "tail": ["x" * 500] * 20},
        Circumstances("s1", progress="running 100%"),
    )
    node = _node("a", NodeStatus("restarting", None, 2, 1, 0.456, "again", last_exit=record))
    assert (node["state"], node["progressPercent"], node["epoch"], node["restarts"]) == ("Restarting", 46, 2, 1)
    assert node["lastExit"]["reason"] == "OOMKilled"
    assert node["lastExit"]["message"].startswith("killed by the kernel's out-of-memory killer")
    assert len(node["lastExit"]["message"]) == 1024
    assert "(last progress: running 100%)" in words_of(record)["message"]
    assert "lastExit" not in _node("a", NodeStatus("running"))


@given(json_values)
def test_a_digest_depends_on_the_values_and_not_on_their_order(values: dict[str, Any]) -> None:
    digest = parameters_digest(values)
    assert digest == parameters_digest(dict(reversed(values.items())))
    assert digest != parameters_digest({**values, "one more": 1})
    assert len(digest) == 16


def test_a_plan_is_handed_over_whole() -> None:
    plan = planned("a", "b", policy=SessionPolicy(on_node_crash="RestartNode", max_restarts=7))
    back = session_plan(plan.node_config(), session_document(plan))
    assert (back.inputs, back.outputs, back.session) == (plan.inputs, plan.outputs, plan.session)
    assert (back.layout, [node.name for node in back.nodes]) == (plan.layout, ["a", "b"])
    assert session_plan(plan.node_config(), "").inputs.keys() == {"a"}


@pytest.mark.parametrize("document", ["{", "[]", '{"session": 7}', '{"session": {"unknown": 1}}', "7"])
def test_a_damaged_document_is_an_error_of_the_settings(document: str) -> None:
    with pytest.raises(SettingsError, match="the session document is damaged"):
        session_plan(planned("a").node_config(), document)


class Delivered:
    """What `Parameters` need of a gateway."""

    def __init__(self) -> None:
        self.phase, self.delivered = "Running", ""
        self.now: tuple[int, ...] = (1, 1)
        self.values: list[dict[str, Any]] = []

    def epochs(self) -> tuple[int, ...]:
        return self.now

    async def deliver(self, values: dict[str, Any]) -> list[str]:
        self.values.append(values)
        return ["node 'b' refused its parameters: ValueError"]


async def test_parameters_are_delivered_when_they_change_and_to_a_node_that_came_back(tmp_path: Path) -> None:
    gateway, file = Delivered(), tmp_path / "parameters.json"
    parameters = Parameters(gateway, file)  # type: ignore[arg-type]
    await parameters._look()
    assert (gateway.values, gateway.delivered) == ([], parameters_digest({}))
    file.write_text('{"voice": "low"}')
    for _ in range(2):
        await parameters._look()
    assert gateway.values == [{"voice": "low"}]
    gateway.now = (1, 0)
    await parameters._look()
    gateway.now = (1, 2)
    await parameters._look()
    assert gateway.values == [{"voice": "low"}] * 2
    assert gateway.delivered == parameters_digest({"voice": "low"})


@pytest.mark.parametrize("text", ['{"half": ', "[1]", '"text"'])
async def test_a_half_written_file_is_read_again_later(tmp_path: Path, text: str) -> None:
    gateway, file = Delivered(), tmp_path / "parameters.json"
    file.write_text(text)
    parameters = Parameters(gateway, file)  # type: ignore[arg-type]
    await parameters._look()
    assert (gateway.values, gateway.delivered) == ([], "")
    gateway.phase = "Draining"
    file.write_text('{"half": 2}')
    await parameters._look()
    assert gateway.values == []


@pytest.mark.parametrize("text", ["", "  \n", '{"a": "' + "x" * LONGEST + '"}'])
async def test_an_empty_or_huge_file_has_no_parameters(tmp_path: Path, text: str) -> None:
    gateway, file = Delivered(), tmp_path / "parameters.json"
    file.write_text(text)
    await asyncio.wait_for(Parameters(gateway, file)._look(), 60)  # type: ignore[arg-type]
    assert (gateway.values, gateway.delivered) == ([], parameters_digest({}))
