"""A session's pod without Kubernetes: gateway and containers as plain processes, doing and surviving what a pod must."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from ringline import Pipeline
from ringline.graph.handover import parameters_digest
from ringline.names import TOKEN_FILE
from tests.helpers.freeze import freeze, frozen
from tests.helpers.pod import TOKEN, Pod
from tests.helpers.websocket import client
from tests.integration.sessions import chain, config, session_id

TALK = "/v1/inputs/a/outputs/b"
Start = Callable[..., Pod]


@pytest.fixture
def start(tmp_path: Path, shm_root: Path) -> Iterator[Start]:
    """Start pods; all are ended after the test."""
    with ExitStack() as stack:

        def begin(pipeline: Pipeline, crash: str = "TerminateSession", **settings: Any) -> Pod:
            pipeline.spec.session.on_node_crash = crash  # type: ignore[assignment]
            name = session_id()
            plan = pipeline.plan(config(**settings))
            return stack.enter_context(Pod(tmp_path / name, shm_root / name, plan))

        yield begin


def echoes() -> Pipeline:
    return chain("t_echo", "t_upper")


async def say(pod: Pod, text: str) -> str:
    async with client(pod.ingress_port, TALK, TOKEN) as talk:
        return await talk.text(text)


async def test_a_pod_works_and_ends_with_its_input(start: Start) -> None:
    pod = start(echoes())
    pod.until_ready()
    assert [node["state"] for node in pod.status()["nodes"]] == ["Running", "Running"]
    async with client(pod.ingress_port, TALK, TOKEN) as talk:
        assert await talk.text("hello") == "HELLO"
        await talk.say(op="end")
        await talk.until("end")
    pod.until(lambda: pod.status()["phase"] == "Succeeded")
    assert [pod.containers[name].wait() for name in ("a", "b")] == [0, 0]
    pod.terminate()
    assert pod.gateway.process.returncode == 0
    assert pod.gateway.words["reason"] == "Completed"
    assert not pod.directory.exists()


async def test_the_probes_say_what_the_kubelet_may_know(start: Start) -> None:
    pod = start(chain("t_reports", "t_upper"))
    pod.until(lambda: pod.get("/livez")[0] == 200)
    port = pod.probe_ports[0]
    pod.until(lambda: pod.get("/livez", port)[0] == 200)
    pod.until_ready()
    pod.until(lambda: pod.get("/readyz", port)[0] == 200)
    assert [pod.get(path, port)[0] for path in ("/startupz", "/else")] == [200, 404]
    assert pod.get("/metrics")[1].count("ringline_channel_messages_total{") == 3
    assert [pod.get(path)[0] for path in ("/livez", "/readyz", "/status", "/else")] == [200, 200, 200, 404]


async def test_a_killed_node_ends_the_session_and_every_container_says_why(start: Start) -> None:
    pod = start(echoes())
    pod.until_ready()
    assert await say(pod, "first") == "FIRST"
    os.kill(pod.node_pid("b"), signal.SIGKILL)
    assert pod.containers["b"].wait() == 137
    assert pod.containers["a"].wait() == 0
    words = pod.containers["b"].words
    assert (words["node"], words["exitCode"], words["signal"], words["reason"]) == ("b", 137, "SIGKILL", "Killed")
    status = pod.status()
    assert (status["phase"], status["reason"]) == ("Failed", "Killed")
    assert status["nodes"][1]["lastExit"]["exitCode"] == 137
    assert pod.get("/readyz")[0] == 503
    pod.terminate()
    assert pod.gateway.process.returncode == 1
    assert pod.gateway.words["node"] == "b"


async def test_a_killed_node_comes_back_in_the_same_container(start: Start) -> None:
    pod = start(echoes(), "RestartNode")
    pod.until_ready()
    first = pod.node_pid("a")
    async with client(pod.ingress_port, TALK, TOKEN) as talk:
        assert await talk.text("before") == "BEFORE"
        os.kill(first, signal.SIGKILL)
        pod.until(lambda: pod.node("a").get("epoch") == 2 and pod.node("a")["state"] == "Running")
        assert pod.get("/readyz")[0] == 503, "for three seconds the operator is to ask"
        assert await talk.text("after") == "AFTER"
    node = pod.node("a")
    assert (node["restarts"], node["lastExit"]["reason"]) == (1, "Killed")
    pod.until_ready()
    assert pod.containers["a"].process.poll() is None


async def test_a_killed_gateway_is_followed_by_one_that_adopts_the_session(start: Start) -> None:
    pod = start(echoes())
    pod.until_ready()
    assert await say(pod, "one") == "ONE"
    nodes = [pod.node_pid(name) for name in ("a", "b")]
    arena = (pod.directory / "arena").stat().st_ino
    pod.gateway.kill()
    assert pod.gateway.wait() == -signal.SIGKILL
    assert pod.get("/livez", pod.probe_ports[0])[0] == 200
    pod.gateway.restart()
    pod.until(lambda: pod.status().get("phase") == "Running")
    assert (pod.get("/readyz")[0], pod.status()["reason"]) == (503, "GatewayRestarted")
    pod.until_ready()
    assert await say(pod, "two") == "TWO"
    assert [pod.node_pid(name) for name in ("a", "b")] == nodes
    assert (pod.directory / "arena").stat().st_ino == arena
    pod.terminate()
    assert [each.process.returncode for each in pod.containers.values()] == [0, 0, 0]


async def test_a_node_that_died_while_there_was_no_gateway_is_restarted_by_the_next(start: Start) -> None:
    pod = start(echoes(), "RestartNode")
    pod.until_ready()
    pod.gateway.kill()
    pod.gateway.wait()
    os.kill(pod.node_pid("b"), signal.SIGKILL)
    pod.until(lambda: pod.get("/readyz", pod.probe_ports[1])[0] == 503)
    pod.gateway.restart()
    pod.until(lambda: pod.node("b").get("epoch") == 2 and pod.status()["phase"] == "Running")
    assert await say(pod, "again") == "AGAIN"


async def test_too_many_gateways_fail_the_session(start: Start) -> None:
    pod = start(echoes())
    for _ in range(4):
        pod.until(lambda: pod.status().get("phase") == "Running")
        pod.gateway.kill()
        pod.gateway.wait()
        pod.gateway.restart()
    # 0: its node was ended in order; 1: it called so late that the session had been given up
    assert {pod.containers[name].wait() for name in ("a", "b")} <= {0, 1}
    status = pod.status()
    assert (status["phase"], status["reason"]) == ("Failed", "GatewayFailed")
    pod.terminate()
    assert (pod.gateway.process.returncode, pod.gateway.words["reason"]) == (1, "GatewayFailed")


async def test_a_frozen_node_is_killed_by_its_health_checks_and_restarted(start: Start) -> None:
    pod = start(echoes(), "RestartNode", health_check_interval=0.3, health_check_timeout=1.0)
    pod.until_ready()
    freeze(pod.node_pid("a"))
    pod.until(lambda: pod.node("a").get("epoch") == 2 and pod.node("a")["state"] == "Running")
    assert pod.node("a")["lastExit"]["reason"] == "Unhealthy"
    assert await say(pod, "thawed") == "THAWED"


async def test_the_kubelet_hears_of_a_frozen_node_and_its_term_ends_it(start: Start) -> None:
    pod = start(echoes(), health_check_interval=1000)
    pod.until_ready()
    pod.until(lambda: pod.get("/readyz", pod.probe_ports[0])[0] == 200)  # its container hears of it a little later
    freeze(pod.node_pid("a"))
    assert pod.get("/livez", pod.probe_ports[0]) == (503, "the node does not answer\n")
    pod.containers["a"].kill(signal.SIGTERM)
    assert pod.containers["a"].wait() in (134, 137)
    pod.until(lambda: pod.status()["phase"] == "Failed")
    assert pod.status()["reason"] == "Unhealthy"
    assert pod.containers["b"].wait() == 0


async def test_a_node_that_stops_is_not_ready_and_nothing_else_happens_to_it(start: Start) -> None:
    pod = start(echoes(), health_check_interval=1000)
    pod.until_ready()
    port = pod.probe_ports[0]
    pod.until(lambda: pod.get("/readyz", port)[0] == 200)
    freeze(pod.node_pid("a"))
    pod.until(lambda: pod.get("/readyz", port) == (503, "the node does not answer\n"))
    os.kill(pod.node_pid("a"), signal.SIGCONT)
    pod.until(lambda: pod.get("/readyz", port)[0] == 200)
    assert await say(pod, "thawed") == "THAWED"
    assert pod.node("a")["epoch"] == 1


async def test_a_container_that_is_lost_takes_its_session_along(start: Start) -> None:
    pod = start(echoes(), "RestartNode")
    pod.until_ready()
    pod.containers["a"].kill()
    pod.until(lambda: pod.status()["phase"] == "Failed")
    assert pod.status()["nodes"][0]["lastExit"]["exitCode"] == 137
    assert pod.containers["b"].wait() == 0


async def test_a_pod_that_is_deleted_drains_first(start: Start) -> None:
    pod = start(echoes())
    pod.until_ready()
    async with client(pod.ingress_port, TALK, TOKEN) as talk:
        assert await talk.text("bye") == "BYE"
        await asyncio.to_thread(pod.terminate)  # the client goes on meanwhile, or its farewell would be waited for
    assert [each.process.returncode for each in pod.containers.values()] == [0, 0, 0]
    assert {each.words["reason"] for each in pod.containers.values()} <= {"Shutdown", "Completed"}


async def test_a_gateway_that_comes_back_knows_what_had_ended_in_order(start: Start) -> None:
    pod = start(chain("t_upper", "t_many", b={"count": 200, "pause_s": 0.02}), health_check_interval=1000)
    pod.until_ready()
    async with client(pod.ingress_port, TALK, TOKEN) as talk:
        assert await talk.text("q") == "Q0"
        with frozen(pod.node_pid("b")):  # else it may end before there is a gateway that hears how
            await talk.say(op="end")
            assert pod.containers["a"].wait() == 0
            pod.gateway.kill()
            pod.gateway.wait()
            pod.gateway.restart()
            pod.until(pod.status)
    pod.until(lambda: pod.status().get("phase") in ("Running", "Succeeded"))
    assert (pod.node("a")["state"], pod.node("a")["lastExit"]["reason"]) == ("Stopped", "Completed")
    assert pod.containers["b"].wait() == 0
    pod.until(lambda: pod.status()["phase"] == "Succeeded")


async def test_a_session_that_had_failed_is_not_revived_by_the_next_gateway(start: Start) -> None:
    pod = start(echoes())
    pod.until_ready()
    os.kill(pod.node_pid("b"), signal.SIGKILL)
    pod.until(lambda: pod.status()["phase"] == "Failed")
    pod.gateway.kill()
    pod.gateway.wait()
    pod.gateway.restart()
    pod.until(lambda: pod.status().get("phase") == "Failed")
    assert pod.status()["reason"] == "Killed"
    pod.terminate()
    assert (pod.gateway.process.returncode, pod.gateway.words["node"]) == (1, "b")


async def test_a_client_hears_why_its_session_failed(start: Start) -> None:
    pod = start(echoes())
    pod.until_ready()
    async with client(pod.ingress_port, TALK, TOKEN) as talk:
        assert await talk.text("x") == "X"
        os.kill(pod.node_pid("b"), signal.SIGKILL)
        header, _ = await talk.until("error")
    assert "Node 'b' exited with code 137" in header["error"]


async def test_a_pod_that_is_deleted_while_it_starts_ends_at_once(start: Start) -> None:
    pod = start(echoes())
    pod.until((pod.directory / "gateway").exists)
    pod.terminate()
    assert {each.process.returncode for each in pod.containers.values()} <= {0, 143}


async def test_a_node_without_a_gateway_ends_itself_after_the_grace_period(start: Start) -> None:
    pod = start(echoes(), cleanup_grace_period_secs=0.5)
    pod.until_ready()
    pod.gateway.kill()
    pod.gateway.wait()
    pod.containers["a"].kill(signal.SIGTERM)
    assert pod.containers["a"].wait() == 143
    assert pod.containers["a"].words["reason"] == "Terminated"


async def test_parameters_reach_the_nodes_when_the_file_changes(start: Start) -> None:
    pod = start(chain("t_reports", "t_echo"))
    pod.until_ready()
    values = {"word": "second"}
    pod.set_parameters(values)
    pod.until(lambda: pod.status()["parametersDelivered"] == parameters_digest(values))
    async with client(pod.ingress_port, TALK, TOKEN) as talk:
        assert json.loads(await talk.text("x"))["word"] == "second"
        await talk.say(op="parameters", node="a", values={"word": "third"})
        assert (await talk.until("parameters"))[0]["ok"] is True
        assert json.loads(await talk.text("x"))["word"] == "third"
        await talk.say(op="flush")
        await talk.until("flushed")
        assert json.loads(await talk.text("x"))["flushes"] == 1


async def test_a_node_that_can_not_start_fails_the_pod_with_its_own_words(start: Start) -> None:
    pipeline = chain("t_echo", "t_upper")
    pipeline.spec.nodes[1].type = "no_such_type"
    pod = start(pipeline)
    assert pod.containers["b"].wait() == 1
    assert pod.containers["a"].wait() == 0
    assert "no_such_type" in pod.containers["b"].words["message"]
    status = pod.status()
    assert status["phase"] == "Failed"
    assert "no_such_type" in status["message"]


async def test_secrets_are_in_no_log_no_message_and_no_argument(start: Start) -> None:
    pod = start(echoes())
    pod.until_ready()
    control = (pod.directory / TOKEN_FILE).read_text()
    lines = [" ".join(psutil.Process(each.process.pid).cmdline()) for each in pod.containers.values()]
    status, metrics = pod.get("/status")[1], pod.get("/metrics")[1]
    await say(pod, "x")
    pod.terminate()
    shown = "\n".join(
        [*lines, status, metrics, *(each.printed + each.words_file.read_text() for each in pod.containers.values())]
    )
    assert control not in shown
    assert TOKEN not in shown


async def test_the_directory_is_for_the_pod_s_user_and_group_only(start: Start) -> None:
    pod = start(echoes())
    pod.until_ready()
    assert pod.directory.stat().st_mode & 0o777 == 0o770
    modes = {path.name: path.stat().st_mode & 0o777 for path in pod.directory.iterdir()}
    assert modes["arena"] == 0o660
    assert modes[TOKEN_FILE] == 0o640
    assert all(mode & 0o007 == 0 for mode in modes.values())


async def test_the_containers_print_their_nodes_lines_as_json(start: Start) -> None:
    pod = start(echoes())
    pod.until_ready()
    os.kill(pod.node_pid("a"), signal.SIGABRT)
    assert pod.containers["a"].wait() == 134
    entries = [json.loads(line) for line in pod.containers["a"].printed.splitlines()]
    assert any("Fatal Python error: Aborted" in entry["message"] for entry in entries)
    assert {entry["session"] for entry in entries} == {"pod-0"}
    assert pod.containers["a"].words["reason"] == "Aborted"


def test_a_program_outside_a_pod_says_what_it_misses() -> None:
    import subprocess

    environ = {key: value for key, value in os.environ.items() if not key.startswith("RINGLINE_")}
    for part, word in (("node", "pod"), ("host", "gateway")):
        command = [sys.executable, "-m", f"ringline.{part}", word]
        ports = {"RINGLINE_PROBE_PORT": "0", "RINGLINE_GATEWAY_PORT": "0"}
        done = subprocess.run(command, env=environ | ports, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "RINGLINE_SESSION_ID is not set" in done.stderr
