"""The gateway's parts with a scripted container at the other end: zygotes' line, launcher, parameters, drain."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ringline import Pipeline, RuntimeConfig, __version__
from ringline.control import frames
from ringline.errors import ResourceLimitError
from ringline.graph.handover import parameters_digest
from ringline.graph.plan import SessionPlan
from ringline.host.exits import ExitRecord
from ringline.host.gateway_drain import drain
from ringline.host.gateway_launcher import MAX_STARTS, GatewayLauncher
from ringline.host.gateway_parameters import Parameters
from ringline.host.gateway_zygotes import PodZygotes, compatible
from ringline.names import GATEWAY_SOCKET, PLAN_FILE, TOKEN_FILE
from ringline.node.procfs import Use

PATIENCE_S = 10.0


class Line:
    """The gateway's zygotes and what they tell."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.events: list[dict[str, Any]] = []
        self.drains = 0
        self.zygotes = PodZygotes(
            directory,
            "secret",
            ["a", "b"],
            lambda event, _: self.events.append(event),
            on_drain=self._drained,
            restarts_nodes=True,
        )

    def _drained(self) -> asyncio.Future[None]:
        self.drains += 1
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    @asynccontextmanager
    async def container(self, name: str, **changes: Any) -> AsyncIterator[Container]:
        reader, writer = await asyncio.open_unix_connection(self.directory / GATEWAY_SOCKET)
        container = Container(reader, writer)
        container.say(**{"ev": "hello", "node": name, "token": "secret", "version": __version__} | changes)
        try:
            yield container
        finally:
            writer.close()
            await writer.wait_closed()

    async def until(self, count: int) -> None:
        await self.seen(lambda: len(self.events) >= count)

    async def seen(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.005)


class Container:
    """One scripted zygote."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = frames.Decoder()
        self._heard: list[dict[str, Any]] = []

    def say(self, **header: Any) -> None:
        self._writer.write(frames.encode(header))

    async def hear(self) -> dict[str, Any] | None:
        async with asyncio.timeout(PATIENCE_S):
            while not self._heard:
                data = await self._reader.read(1 << 16)
                if not data:
                    return None
                self._heard += [header for header, _ in self._decoder.feed(data)]
        return self._heard.pop(0)

    async def orders(self, count: int) -> list[str]:
        return [str((await self.hear() or {}).get("op")) for _ in range(count)]


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    line = Line(tmp_path)
    await line.zygotes.start()
    yield line
    await line.zygotes.close()


async def test_orders_wait_for_a_container_that_comes_later(line: Line) -> None:
    line.zygotes.spawn("a", 1, {"X": "1"}, None)
    line.zygotes.ready("a", 1)
    async with line.container("a") as container:
        assert await container.hear() == {"op": "welcome", "restarts_nodes": True}
        assert await container.hear() == {"op": "spawn", "epoch": 1, "env": {"X": "1"}}
        assert await container.hear() == {"op": "ready", "epoch": 1}
        line.zygotes.signal("a", 1, 15)
        assert await container.hear() == {"op": "signal", "epoch": 1, "signal": 15, "group": True}


async def test_all_are_present_when_the_last_has_said_hello(line: Line) -> None:
    present = asyncio.ensure_future(line.zygotes.present())
    async with line.container("a") as first:
        await first.hear()
        assert line.zygotes.absent() == ["b"]
        assert not present.done()
        async with line.container("b"):
            await asyncio.wait_for(present, PATIENCE_S)


async def test_an_exit_is_passed_on_once_however_often_it_is_told(line: Line) -> None:
    line.zygotes.spawn("a", 1, {}, None)
    report = {"ev": "exit", "node": "a", "epoch": 1, "code": 3}
    for _ in range(2):
        async with line.container("a") as container:
            container.say(**report)
            await container.orders(2)
        await line.until(1)
    assert line.events == [report]


async def test_a_connection_that_breaks_is_the_end_of_its_node(line: Line) -> None:
    line.zygotes.spawn("b", 2, {}, None)
    async with line.container("b") as container:
        await container.orders(2)
    await line.until(1)
    (event,) = line.events
    assert (event["ev"], event["node"], event["epoch"], event["code"], event["final"]) == ("exit", "b", 2, 137, True)


def usage(**changes: Any) -> dict[str, Any]:
    return {"ev": "usage", "node": "a", "epoch": 1, "pss": 100, "rss": 200, "cpu_s": 0.5} | changes


async def test_what_a_container_tells_of_its_node_s_use_holds_until_its_end(line: Line) -> None:
    line.zygotes.spawn("a", 1, {}, None)
    assert line.zygotes.use("a", 1) == Use()
    async with line.container("a") as container:
        container.say(**usage())
        container.say(**usage(pss=110))
        await line.seen(lambda: line.zygotes.use("a", 1) == Use(110, 200, 0.5))
        assert line.zygotes.use("a", 2) == Use()
        container.say(ev="exit", node="a", epoch=1, code=0)
        await line.until(1)
        assert line.zygotes.use("a", 1) == Use()
    assert [event["ev"] for event in line.events] == ["exit"]


@pytest.mark.parametrize("damaged", [{"pss": "much"}, {"rss": None}, {"cpu_s": []}])
async def test_a_container_that_measures_nonsense_is_hung_up_on(line: Line, damaged: dict[str, Any]) -> None:
    async with line.container("a") as container:
        container.say(**usage(**damaged))
        assert await container.hear() == {"op": "welcome", "restarts_nodes": True}
        assert await container.hear() is None
    assert line.zygotes.use("a", 1) == Use()


async def test_a_container_that_was_told_to_leave_may_go(line: Line) -> None:
    line.zygotes.spawn("b", 1, {}, None)
    async with line.container("b") as container:
        await container.orders(2)
        line.zygotes.leave("b", 3, {"reason": "Error"})
        line.zygotes.leave("b", 0, None)
        assert await container.hear() == {"op": "leave", "code": 3, "record": {"reason": "Error"}}
    async with line.container("b") as again:
        assert await again.orders(2) == ["welcome", "leave"]
    assert line.events == []


async def test_containers_that_never_came_are_dismissed(line: Line) -> None:
    line.zygotes.spawn("a", 1, {}, None)
    line.zygotes.dismiss(1)
    assert [(event["node"], event["code"]) for event in line.events] == [("a", 1), ("b", 1)]
    async with line.container("b") as container:
        assert await container.orders(2) == ["welcome", "leave"]


@pytest.mark.parametrize(
    "hello", [{"token": "wrong"}, {"token": ""}, {"token": None}, {"node": "stranger"}, {"node": None}, {"node": ["a"]}]
)
async def test_strangers_hear_nothing(line: Line, hello: dict[str, Any]) -> None:
    async with line.container("a", **hello) as container:
        assert await container.hear() is None
    assert line.zygotes.absent() == ["a", "b"]


async def test_who_speaks_no_frames_is_hung_up_on(line: Line) -> None:
    reader, writer = await asyncio.open_unix_connection(line.directory / GATEWAY_SOCKET)
    writer.write(b"\xff" * 100)
    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    writer.close()


async def test_an_image_of_another_version_is_refused_and_both_are_named(line: Line) -> None:
    line.zygotes.spawn("a", 1, {}, None)
    async with line.container("a", version="9.9.0"):
        await line.until(1)
    (event,) = line.events
    assert event["ev"] == "spawn_failed"
    assert "9.9.0" in event["error"]
    assert __version__ in event["error"]


@pytest.mark.parametrize(
    ("theirs", "ours", "fits"),
    [
        ("0.2.0", "0.2.7", True), ("0.1.9", "0.2.0", True), ("0.3.0", "0.2.0", False), ("0.0.1", "0.2.0", False),
        ("1.0.0", "0.9.0", False), ("", "0.1.0", False), ("x.y", "0.1.0", False), ("0.1.0rc1", "0.1.0", True),
    ],
)  # fmt: skip
def test_this_and_the_previous_minor_version_fit(theirs: str, ours: str, fits: bool) -> None:
    assert compatible(theirs, ours) is fits


async def test_drain_asks_the_gateway_and_waits(line: Line) -> None:
    (line.directory / TOKEN_FILE).write_text("secret")
    environ = {"RINGLINE_SESSION_ID": "s", "RINGLINE_NODE": "gateway", "RINGLINE_SESSION_DIR": str(line.directory)}
    assert await asyncio.to_thread(drain, environ) == 0
    assert line.drains == 1


def test_drain_without_a_gateway_holds_nothing_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environ = {"RINGLINE_SESSION_ID": "s", "RINGLINE_NODE": "gateway", "RINGLINE_SESSION_DIR": str(tmp_path)}
    assert drain(environ) == 0
    assert "nothing to drain" in capsys.readouterr().err


# -- launcher ------------------------------------------------------------------------------------------------------


def plan(**settings: Any) -> SessionPlan:
    return Pipeline("p").add_node("gain", "a").plan(RuntimeConfig(**{"max_message_size": 1 << 16} | settings))


@pytest.fixture
def directory(shm_root: Path) -> Iterator[Path]:
    before = os.umask(0o022)
    yield shm_root / "launcher"
    os.umask(before)


def launcher(directory: Path) -> GatewayLauncher:
    return GatewayLauncher(directory, lambda *_: pytest.fail("no zygotes are needed"))


def record(node: str, **changes: Any) -> ExitRecord:
    values = {"epoch": 1, "pid": 7, "exit_code": 0, "signal": None, "reason": "Completed", "message": "m"}
    fields: dict[str, Any] = {"session_id": "s", "node_id": node, "expected": True, "stderr_tail": ("x",), **values}
    return ExitRecord(**(fields | changes))


async def test_the_first_gateway_makes_everything(directory: Path) -> None:
    first = launcher(directory)
    arena = await first.arena(plan())
    assert (first.past, first.starts, first.failure()) == (None, 1, None)
    assert (directory / PLAN_FILE).read_bytes() == plan().node_config()
    assert len(first.token) == 64
    assert arena.epoch_of("a") == 1
    await first.release()
    assert not directory.exists()


async def test_the_next_gateway_adopts_the_arena_and_the_token(directory: Path) -> None:
    first = launcher(directory)
    arena = await first.arena(plan())
    first.keep_exit(record("a"))
    first.keep_exit(record("b", expected=False, reason="Killed", exit_code=137, signal="SIGKILL"))
    inode = (directory / "arena").stat().st_ino
    arena.close()
    second = launcher(directory)
    await second.arena(plan())
    assert (second.token, second.starts) == (first.token, 2)
    assert (directory / "arena").stat().st_ino == inode
    assert second.past is not None
    assert dict(second.past.finished) == {"a": record("a", finished_at=second.past.finished["a"].finished_at)}
    await second.release()


async def test_a_session_that_had_failed_stays_failed(directory: Path) -> None:
    first = launcher(directory)
    (await first.arena(plan())).close()
    first.keep_failure({"node": "a", "reason": "Killed"})
    second = launcher(directory)
    await second.arena(plan())
    assert second.failure() == {"node": "a", "reason": "Killed"}
    await second.release()


async def test_gateways_are_counted(directory: Path) -> None:
    for number in range(1, MAX_STARTS + 2):
        gateway = launcher(directory)
        arena = await gateway.arena(plan())
        failure = gateway.failure()
        assert (failure is None) == (number <= MAX_STARTS)
        if number <= MAX_STARTS:
            arena.close()
    assert failure is not None
    assert failure["reason"] == "GatewayFailed"
    await gateway.release()


async def test_memory_that_does_not_fit_is_refused_and_the_token_is_there_all_the_same(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ResourceLimitError("no room")

    monkeypatch.setattr("ringline.host.directory.check_space", full)
    gateway = launcher(directory)
    with pytest.raises(ResourceLimitError):
        await gateway.arena(plan())
    assert gateway.token == (directory / TOKEN_FILE).read_text()
    (directory / "starts").unlink()
    for path in directory.glob("*"):
        path.unlink() if path.is_file() else path.rmdir()
    directory.rmdir()


# -- parameters ----------------------------------------------------------------------------------------------------


class FakeGateway:
    """What parameters need of a gateway."""

    def __init__(self) -> None:
        self.phase = "Running"
        self.delivered: str | None = None
        self.given: list[dict[str, Any]] = []
        self.now: tuple[int, ...] = (1, 1)

    def epochs(self) -> tuple[int, ...]:
        return self.now

    async def deliver(self, values: dict[str, Any]) -> list[str]:
        self.given.append(values)
        return ["node 'b' refused"]


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


def parameters(gateway: FakeGateway, file: Path) -> Parameters:
    return Parameters(gateway, file)  # type: ignore[arg-type]


async def test_parameters_are_given_once_until_they_change(gateway: FakeGateway, tmp_path: Path) -> None:
    file = tmp_path / "parameters.json"
    watch = parameters(gateway, file)
    for values in ({"a": 1}, {"a": 22}):
        file.write_text(json.dumps(values))
        for _ in range(3):
            await watch._look()
        assert gateway.delivered == parameters_digest(values)
    assert gateway.given == [{"a": 1}, {"a": 22}]


async def test_a_restarted_node_gets_them_again(gateway: FakeGateway, tmp_path: Path) -> None:
    file = tmp_path / "parameters.json"
    file.write_text('{"a": 1}')
    watch = parameters(gateway, file)
    await watch._look()
    gateway.now = (2, 0)
    await watch._look()
    assert len(gateway.given) == 1, "not while it starts"
    gateway.now = (2, 1)
    await watch._look()
    assert len(gateway.given) == 2


@pytest.mark.parametrize("text", ['{"a": ', "[1]", "3"])
async def test_half_a_file_is_read_again(gateway: FakeGateway, tmp_path: Path, text: str) -> None:
    file = tmp_path / "parameters.json"
    file.write_text(text)
    watch = parameters(gateway, file)
    await watch._look()
    assert (gateway.given, gateway.delivered) == ([], None)
    file.write_text('{"whole": true}')
    await watch._look()
    assert gateway.given == [{"whole": True}]


@pytest.mark.parametrize("text", ["", "{}", None])
async def test_no_parameters_are_delivered_too(gateway: FakeGateway, tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "parameters.json"
    if text is not None:
        file.write_text(text)
    await parameters(gateway, file)._look()
    assert (gateway.given, gateway.delivered) == ([], parameters_digest({}))


async def test_a_session_that_does_not_run_gets_none(gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.phase = "Starting"
    await parameters(gateway, tmp_path / "none")._look()
    assert gateway.delivered is None
