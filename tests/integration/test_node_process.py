"""A node in its own process, with an arena and a zygote but no supervisor: its life, seen from the wire and the rings."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from ringline.control.messages import Message, MessageType
from ringline.data import RuntimeData
from ringline.graph.pipeline import Pipeline
from ringline.names import ENV_LOG_FORMAT
from ringline.node import exits
from ringline.settings import RuntimeConfig
from tests.helpers.node_host import NodeHost, Zygote

LIFE = str(Path(__file__).parent / "life")
Make = Callable[..., NodeHost]


@pytest.fixture
def make(shm_root: Path) -> Make:
    def make(pipeline: Pipeline, **settings: Any) -> NodeHost:
        return NodeHost(shm_root / "node", pipeline, RuntimeConfig(extra_paths=(LIFE,), **settings))

    return make


def one(node_type: str, **config: Any) -> Pipeline:
    return Pipeline().add_node(node_type, "n", config)


def stderr(host: NodeHost) -> str:
    return host.zygote.logs["stderr"].decode()


async def statuses(host: NodeHost) -> list[str]:
    return [m.payload["status"] for _, m in host.messages if m.type is MessageType.PROGRESS]


@pytest.mark.parametrize("executed", [False, True], ids=["forked", "executed"])
async def test_a_node_lives_from_its_start_to_the_end_of_its_stream(make: Make, executed: bool) -> None:
    argv = [sys.executable, "-m", "ringline.node", "run"] if executed else None
    env = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    async with make(one("l_double")) as host:
        host.spawn("n", argv=argv, env=env)
        await host.event(MessageType.READY)
        await host.server.send("n", Message(MessageType.START))
        for shape in ((3,), (2, 2), (0,)):
            sent = np.full(shape, 1.5, "<f4")
            host.send("n", RuntimeData.tensor(sent))
            got = (await host.receive("n")).as_numpy()
            assert (got.shape, got.dtype, got.tolist()) == (shape, sent.dtype, (sent * 2).tolist())
            del got
        host.end("n")
        assert (await host.event(MessageType.DONE)).payload == {"reason": "end_of_stream"}
        assert (await host.exit_of("n"))["code"] == 0
        with pytest.raises(EOFError):
            await host.receive("n")
        assert await statuses(host) == ["starting", "loading", "connecting", "ready", "running", "stopping"]


async def test_a_message_passes_through_in_the_block_in_which_it_came(make: Make) -> None:
    async with make(one("l_same")) as host:
        await host.start("n")
        host.send("n", np.arange(1000))
        got: Any = await host.receive("n")
        assert got.as_numpy().tolist() == list(range(1000))
        stats = host.arena.channel_stats()
        assert [stats[name].copies for name in ("input_to_n", "n_to_output")] == [1, 0]
        del got


async def test_what_a_node_writes_comes_out_line_by_line(make: Make) -> None:
    async with make(one("l_talks")) as host:
        await host.start("n")
        host.send("n", "12345")
        host.end("n")
        await host.exit_of("n")
        assert host.zygote.logs["stdout"] == b"a line from print\nno newline yet and the end\n"
        assert "WARNING ringline.node.n: a line from the log" in stderr(host)
        assert "INFO library: a line from a library" in stderr(host)
        progress = [m.payload for _, m in host.messages if m.type is MessageType.PROGRESS]
        assert {"status": "loading", "progress": 0.25, "message": "a quarter"} in progress


async def test_logs_are_json_lines_when_asked_for(make: Make) -> None:
    async with make(one("l_talks")) as host:
        await host.start("n", **{ENV_LOG_FORMAT: "json"})
        host.end("n")
        await host.exit_of("n")
        entries = {entry["message"]: entry for entry in map(json.loads, stderr(host).splitlines())}
        entry = entries["a line from the log"]
        labels = ("level", "logger", "session", "node", "epoch", "channel")
        assert [entry[name] for name in labels] == ["warning", "ringline.node.n", "test", "n", 1, "none"]


async def test_an_authors_numbers_reach_the_host(make: Make) -> None:
    async with make(one("l_talks")) as host:
        await host.start("n")
        host.send("n", "12345")
        while not (metrics := await host.event(MessageType.METRICS)).payload["counters"]:
            pass
        assert metrics.payload == {"counters": {"seen": 1.0}, "gauges": {"size": 5.0}}


@pytest.mark.parametrize("where", ["initialize", "warmup", "process", "on_end", "cleanup"])
async def test_an_error_is_told_with_its_last_line_file_and_line(make: Make, where: str) -> None:
    async with make(one("l_fails", where=where)) as host:
        host.spawn("n")
        if where in ("process", "on_end", "cleanup"):
            await host.event(MessageType.READY)
            await host.server.send("n", Message(MessageType.START))
            if where == "process":
                host.send("n", "x")
            host.end("n")
        told = (await host.event(MessageType.ERROR)).payload
        report = await host.exit_of("n")
        assert report["code"] == exits.ERROR
        assert told["error"] == f"ValueError: bad luck in {where}"
        assert told["file"].endswith("life_nodes.py")
        assert told["line"] > 0
        assert told["reason"] == "Error"
        assert f"bad luck in {where}" in told["traceback"]
        assert f"ValueError: bad luck in {where}" in report["tail"][-1] or where == "cleanup"
        assert "Traceback" in stderr(host)
        assert "zygote.py" not in stderr(host)
        assert host.zygote.logs["stdout"].count(b"cleaned up") == 1


async def test_a_port_that_the_class_does_not_have_is_refused_at_the_start(make: Make, tmp_path: Path) -> None:
    (tmp_path / "ported.py").write_text(
        "from ringline import MultiprocessNode, register_node\n"
        "@register_node('l_ported')\n"
        "class Ported(MultiprocessNode):\n"
        "    inputs = {'audio': 'audio'}\n"
    )
    pipeline = Pipeline().add_node("l_same", "a").add_node("l_ported", "n").connect("a", "x", "n", "sound")
    async with make(pipeline) as host:
        host.plan = host.plan
        host.spawn("n", env={"RINGLINE_SCRIPT": _with_guard(tmp_path / "ported.py")})
        told = (await host.event(MessageType.ERROR)).payload
        assert told["error"].endswith("node 'n' has no input port 'sound' (it has: audio)")
        assert told["reason"] == "NodeError"


def _with_guard(script: Path) -> str:
    script.write_text(script.read_text() + "if __name__ == '__main__':\n    raise SystemExit\n")
    return str(script)


async def test_an_initialize_that_takes_too_long_ends_itself_with_its_stack(make: Make) -> None:
    async with make(one("l_hangs", where="initialize"), init_timeout_secs=1) as host:
        host.spawn("n")
        told = (await host.event(MessageType.ERROR)).payload
        report = await host.exit_of("n")
        assert report["code"] == exits.INIT_TIMEOUT
        assert told["reason"] == "InitTimeout"
        assert told["error"] == "Node 'n' failed to initialize within 1s (last progress: 50% half of the model)"
        assert "in initialize" in stderr(host)


async def test_a_blocked_event_loop_is_a_stall(make: Make) -> None:
    async with make(one("l_hangs", where="process"), stall_timeout_secs=0.5) as host:
        await host.start("n")
        host.send("n", "x")
        told = (await host.event(MessageType.ERROR)).payload
        assert told["reason"] == "Stalled"
        assert (await host.exit_of("n"))["code"] == exits.STALLED
        assert "in process" in stderr(host)


async def test_a_plain_process_may_take_its_time_and_health_checks_are_answered(make: Make) -> None:
    async with make(one("l_hangs_sync")) as host:
        await host.start("n")
        assert (await host.request("n", MessageType.HEALTH_CHECK)).payload == {"state": "running", "busy_s": 0.0}
        host.send("n", "x")
        while not (answer := await host.request("n", MessageType.HEALTH_CHECK)).payload["busy_s"]:
            pass
        assert answer.type is MessageType.HEALTH_CHECK_RESPONSE
        assert host.arena.node_stats()["n"].busy_since_ns > 0


async def test_an_abort_leaves_the_stack_of_a_node_that_holds_the_gil(make: Make) -> None:
    async with make(one("l_hangs", where="gil")) as host:
        await host.start("n")
        host.send("n", "x")
        while not host.arena.node_stats()["n"].busy_since_ns:
            await asyncio.sleep(0.01)
        host.zygote.send(op="signal", node="n", epoch=1, signal=signal.SIGABRT, group=True)
        assert (await host.exit_of("n"))["signal"] == "SIGABRT"
        assert "Fatal Python error: Aborted" in stderr(host)
        assert "in process" in stderr(host)


@pytest.mark.parametrize("node_type", ["l_counts", "l_counts_async"])
async def test_a_flush_stops_a_generator_and_nothing_old_comes_after_it(make: Make, node_type: str) -> None:
    async with make(one(node_type)) as host:
        await host.start("n")
        host.send("n", "count")
        await host.receive("n")
        host.arena.flush(["n"], ["input_to_n", "n_to_output"])
        answer = await host.request("n", MessageType.FLUSH)
        assert answer.type is MessageType.FLUSHED
        host.send("n", "new")
        assert (await host.receive("n")).as_text() == "new after 1"


async def test_parameters_are_taken_and_bad_ones_answered(make: Make) -> None:
    async with make(one("l_tunes")) as host:
        await host.start("n")
        assert (await host.request("n", MessageType.CONFIG_UPDATE, {"parameters": {"word": "second"}})).payload["ok"]
        host.send("n", "x")
        assert (await host.receive("n")).as_text() == "second"
        refused = await host.request("n", MessageType.CONFIG_UPDATE, {"parameters": {}})
        assert refused.payload == {"ok": False, "error": "KeyError: 'word'"}


@pytest.mark.parametrize("node_type", ["l_floods", "l_floods_async"])
async def test_a_shutdown_breaks_into_a_send_that_nobody_reads(make: Make, node_type: str) -> None:
    pipeline = (
        Pipeline().add_node(node_type, "n").add_node("l_same", "reader").connect("n", "output", "reader", "input")
    )
    async with make(pipeline) as host:
        await host.start("n")
        while host.arena.channel_stats()["n_to_reader"].current_occupancy < 100:
            await asyncio.sleep(0.01)
        await host.server.send("n", Message(MessageType.SHUTDOWN, {"reason": "parent_initiated"}))
        await host.event(MessageType.SHUTDOWN_ACK)
        assert (await host.exit_of("n"))["code"] == 0
        assert host.zygote.logs["stdout"] == b"cleaned up\n"


@pytest.mark.parametrize("started", [True, False])
async def test_a_shutdown_does_not_wait_for_input_or_start(make: Make, started: bool) -> None:
    async with make(one("l_same")) as host:
        host.spawn("n")
        await host.event(MessageType.READY)
        if started:
            await host.server.send("n", Message(MessageType.START))
        await host.server.send("n", Message(MessageType.SHUTDOWN))
        assert (await host.exit_of("n"))["code"] == 0


async def test_a_shutdown_that_came_while_the_class_was_imported_is_obeyed(make: Make, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    async with make(one("slow_to_import:Slow")) as host:
        host.spawn("n", env={"IMPORT_WAITS_FOR": str(go_on)})
        while "loading" not in await statuses(host):
            await asyncio.sleep(0.01)
        await host.server.send("n", Message(MessageType.SHUTDOWN))
        await host.event(MessageType.SHUTDOWN_ACK)
        go_on.touch()
        assert (await host.exit_of("n"))["code"] == 0


async def test_a_shutdown_breaks_into_initialize(make: Make) -> None:
    async with make(one("l_hangs", where="initialize")) as host:
        host.spawn("n")
        while "50%" not in "".join(f"{m.payload.get('progress', 0):.0%}" for _, m in host.messages):
            await asyncio.sleep(0.01)
        await host.server.send("n", Message(MessageType.SHUTDOWN))
        assert (await host.exit_of("n"))["code"] == 0


async def test_sigterm_ends_a_busy_node_after_its_cleanup(make: Make) -> None:
    async with make(one("l_hangs_sync")) as host:
        await host.start("n")
        host.send("n", "x")
        while not host.arena.node_stats()["n"].busy_since_ns:
            await asyncio.sleep(0.01)
        host.zygote.send(op="signal", node="n", epoch=1, signal=signal.SIGTERM, group=True)
        report = await host.exit_of("n")
        assert (report["code"], report["signal"]) == (143, "SIGTERM")
        assert host.zygote.logs["stdout"] == b"cleaned up\n"


async def test_sigterm_ends_an_idle_async_node(make: Make) -> None:
    async with make(one("l_same")) as host:
        await host.start("n")
        host.zygote.send(op="signal", node="n", epoch=1, signal=signal.SIGTERM, group=True)
        assert (await host.exit_of("n"))["signal"] == "SIGTERM"
        assert "Traceback" not in stderr(host)


async def test_a_fenced_node_leaves_at_its_next_look(make: Make) -> None:
    async with make(one("l_same")) as host:
        await host.start("n")
        assert host.arena.fence("n")
        host.send("n", "x")
        assert (await host.exit_of("n"))["code"] == exits.FENCED


async def test_a_second_incarnation_continues_the_channels(make: Make) -> None:
    async with make(one("l_same")) as host:
        await host.start("n")
        host.send("n", "first")
        assert (await host.receive("n")).as_text() == "first"
        host.zygote.send(op="signal", node="n", epoch=1, signal=signal.SIGKILL, group=True)
        await host.exit_of("n")
        host.send("n", "second")
        while host.arena.lock_held("n"):
            await asyncio.sleep(0.001)
        assert host.arena.reclaim("n", keep_queue=True)
        host.spawn("n", epoch=2)
        await host.event(MessageType.READY)
        await host.server.send("n", Message(MessageType.START))
        assert (await host.receive("n")).as_text() == "second"


async def test_a_declared_cycle_ends_when_nothing_goes_round_any_more(make: Make) -> None:
    pipeline = (
        Pipeline()
        .add_node("l_loops", "loop")
        .add_node("l_same", "back")
        .connect("loop", "round", "back", "input")
        .connect("back", "output", "loop", "again", feedback=True)
        .input("numbers", to="loop.number")
        .output("total", from_="loop.sum")
    )
    async with make(pipeline) as host:
        await host.start("loop", "back")
        for number in (3, 5):
            host.send("loop", str(number))
        host.end("loop")
        assert (await host.receive("loop")).as_text() == str(3 + 2 + 1 + 5 + 4 + 3 + 2 + 1)
        assert [(await host.exit_of(node))["code"] for node in ("loop", "back")] == [0, 0]


async def test_a_forked_node_is_a_process_like_any_other(make: Make) -> None:
    pipeline = Pipeline().add_node("l_tells", "a").add_node("l_tells", "b")
    async with make(pipeline) as host:
        await host.start("a", "b")
        facts = []
        for node in ("a", "b"):
            host.send(node, "x")
            facts.append((await host.receive(node)).as_json())
        assert [(fact["child"], fact["sigpipe"], fact["frozen"]) for fact in facts] == [(0, True, True)] * 2
        assert facts[0]["random"] != facts[1]["random"]
        zygote = psutil.Process(host.zygote.process.pid)
        assert zygote.num_threads() == 1
        assert {child.pid for child in zygote.children()} >= {os.getpgid(child.pid) for child in zygote.children()}


def test_a_process_that_nobody_prepared_can_not_become_a_node(shm_root: Path) -> None:
    (shm_root / "empty").mkdir()
    base = {"RINGLINE_SESSION_ID": "s", "RINGLINE_SESSION_DIR": str(shm_root / "empty"), "RINGLINE_NODE": "n"}
    try:
        with Zygote(shm_root / "empty") as zygote:
            for epoch, env in enumerate(
                (
                    {},
                    {**base, "RINGLINE_EPOCH": "x", "RINGLINE_TOKEN": "t"},
                    {**base, "RINGLINE_EPOCH": "1", "RINGLINE_TOKEN": "t"},
                )
            ):
                zygote.spawn("n", epoch=epoch, env=env)
                assert zygote.until("exit", epoch=epoch)["code"] == exits.ERROR
        words = zygote.logs["stderr"].decode()
        assert "RINGLINE_SESSION_ID is not set" in words
        assert "RINGLINE_EPOCH must be a whole number, not 'x'" in words
        assert "plan.json" in words
    finally:
        for file in (shm_root / "empty").iterdir():
            file.unlink()
        (shm_root / "empty").rmdir()
