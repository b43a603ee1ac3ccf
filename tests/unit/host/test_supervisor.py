"""One session's engine: whatever goes wrong, everybody hears why and everything is given back."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ringline import RuntimeData
from ringline.control.messages import MessageType
from ringline.errors import ArenaError, ProcessCrashed, ProcessSpawnError, SessionClosedError, SessionError
from ringline.graph.plan import SessionPlan
from ringline.graph.session_plan import SessionPolicy
from ringline.host.exits import ExitRecord
from ringline.host.launch import Launch
from ringline.host.launcher import Past
from ringline.host.status import Progress
from ringline.host.supervisor import Supervisor
from ringline.shm import Arena
from tests.unit.host.crews import FakeControl, FakeZygotes, planned


class FakeLauncher:
    """A real arena in a plain folder, and a zygote that starts nothing."""

    token = "secret"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.past: Past | None = None
        self.zygote = FakeZygotes()
        self.steps: list[str] = []
        self.fails_at: dict[str, Exception] = {}
        self.memory: Arena | None = None

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.fails_at:
            raise self.fails_at[name]

    def check(self, plan: SessionPlan) -> None:
        self._step("check")

    async def arena(self, plan: SessionPlan) -> Arena:
        self._step("arena")
        self.memory = Arena.create(self.directory, plan.layout)
        return self.memory

    def zygotes(self, *_: object) -> FakeZygotes:
        return self.zygote

    def launch(self, session_id: str) -> Launch:
        return Launch(session_id, self.directory, self.token, None, dict.fromkeys("ab", Path("python")))

    async def release(self) -> None:
        self._step("release")
        if self.memory is not None:
            self.memory.close()


class Scene:
    """A supervisor whose nodes the test plays."""

    def __init__(self, directory: Path, plan: SessionPlan) -> None:
        self.launcher = FakeLauncher(directory)
        self.crashes: list[ExitRecord] = []
        self.progress: list[Progress] = []
        self.supervisor = Supervisor(
            "s1", plan, launcher=self.launcher, on_log=lambda *_: None, on_crash=self.crashes.append
        )
        self.plan = plan

    @property
    def zygote(self) -> FakeZygotes:
        return self.launcher.zygote

    def event(self, kind: str, name: str, **fields: Any) -> None:
        self.supervisor._crew.zygote_event({"ev": kind, "node": name, "epoch": 1, **fields}, b"")

    def dies(self, name: str) -> None:
        self.event("exit", name, pid=1, code=137, signal="SIGKILL", oom=False)

    async def started(self) -> Scene:
        initializing = asyncio.create_task(self.supervisor.initialize(self.progress.append))
        while len(self.zygote.spawned) < 2:
            await asyncio.sleep(0.001)
        for name in "ab":
            self.supervisor._crew.members[name].ready.set_result(None)
        await initializing
        await self.supervisor.start()
        return self

    def obeys(self) -> None:
        """From now on let every signal end its node."""

        def signalled(node: str, epoch: int, number: int) -> None:
            self.zygote.signals.append((node, epoch, number))
            self.event("exit", node, pid=1, code=128 + number, signal=signal.Signals(number).name)

        self.zygote.signal = signalled  # type: ignore[method-assign]


@pytest.fixture
async def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Scene]]:
    monkeypatch.setattr("ringline.host.supervisor.ControlServer", FakeControl)
    for name in (
        "supervisor.LOADING_GRACE_S",
        "crew.LAST_WORDS_S",
        "shutdown.TERM_PATIENCE_S",
        "shutdown.KILL_PATIENCE_S",
    ):
        monkeypatch.setattr(f"ringline.host.{name}", 0.01)
    made: list[Scene] = []

    def build(**options: Any) -> Scene:
        made.append(Scene(tmp_path, planned("a", "b", cleanup_grace_period_secs=0.02, **options)))
        made[-1].obeys()
        return made[-1]

    yield build
    for scene in made:
        await scene.supervisor.close()


Make = Callable[..., Scene]


async def test_it_goes_through_its_states_and_gives_everything_back(make: Make) -> None:
    scene = make()
    states = [scene.supervisor.state]
    await scene.started()
    states.append(scene.supervisor.state)
    await scene.supervisor.close()
    states.append(scene.supervisor.state)
    assert states == ["new", "running", "closed"]
    assert scene.launcher.steps == ["check", "arena", "release"]
    assert scene.zygote.steps[0] == "start"
    assert scene.zygote.steps[-1] == "close"
    with pytest.raises(SessionClosedError, match="session 's1' has ended"):
        await scene.supervisor.ended
    assert {node.state for node in scene.supervisor.status().nodes.values()} <= {"stopped", "failed"}


async def test_nodes_are_drained_then_told_then_signalled(make: Make) -> None:
    scene = await make().started()
    control: Any = scene.supervisor._control
    await scene.supervisor.close()
    assert control.kinds("a") == [MessageType.START, MessageType.STOP, MessageType.SHUTDOWN]
    assert {number for _, _, number in scene.zygote.signals} == {signal.SIGTERM}


@pytest.mark.parametrize("times", [2, 3])
async def test_closing_again_or_at_once_does_no_harm(make: Make, times: int) -> None:
    scene = await make().started()
    await asyncio.gather(*(scene.supervisor.close() for _ in range(times)))
    await scene.supervisor.close()
    assert scene.supervisor.state == "closed"
    assert scene.crashes == []


async def test_before_its_start_it_has_nothing_to_send_or_show(make: Make) -> None:
    scene = make()
    with pytest.raises(SessionError, match="session 's1' is not initialized"):
        scene.supervisor.end(scene.plan.input_channel("in"))
    with pytest.raises(SessionClosedError, match="session 's1' has no shared memory any more"):
        scene.supervisor.channel_stats()
    await scene.supervisor.close()
    assert scene.supervisor.state == "closed"


@pytest.mark.parametrize(
    ("step", "error", "released"),
    [
        ("check", ProcessSpawnError("Python executable not found: 'x'"), ["check", "release"]),
        ("arena", ArenaError("no space"), ["check", "arena", "release"]),
    ],
)
async def test_what_fails_before_any_spawn_spawns_nothing(
    make: Make, step: str, error: Exception, released: list[str]
) -> None:
    scene = make()
    scene.launcher.fails_at[step] = error
    with pytest.raises(type(error)):
        await scene.supervisor.initialize(None)
    await scene.supervisor.close()
    assert scene.launcher.steps == released
    assert scene.zygote.spawned == []


async def test_a_zygote_that_does_not_start_leaves_no_memory(make: Make) -> None:
    scene = make()
    scene.zygote.fails_at["start"] = ProcessSpawnError("the session's zygote said nothing for 30s")
    with pytest.raises(ProcessSpawnError, match="said nothing"):
        await scene.supervisor.initialize(None)
    await scene.supervisor.close()
    assert scene.launcher.steps[-1] == "release"


async def test_a_node_that_can_not_be_spawned_fails_the_start(make: Make) -> None:
    scene = make()
    initializing = asyncio.create_task(scene.supervisor.initialize(scene.progress.append))
    while not scene.zygote.spawned:
        await asyncio.sleep(0.001)
    scene.event("spawn_failed", "b", error="fork failed")
    with pytest.raises(ProcessSpawnError, match="node 'b' could not be started: fork failed"):
        await initializing
    await scene.supervisor.close()
    assert ("a", 1, signal.SIGTERM) in scene.zygote.signals
    assert scene.progress[-1].status == "failed"


async def test_a_crash_is_what_every_operation_raises_from_then_on(make: Make) -> None:
    scene = await make().started()
    supervisor, plan = scene.supervisor, scene.plan
    receiving = asyncio.create_task(supervisor.receive(plan.output_channel("out"), None))
    await asyncio.sleep(0)
    scene.dies("a")
    text = "Node 'a' exited with code 137"
    operations: list[Callable[[], Any]] = [
        lambda: receiving,
        lambda: supervisor.ended,
        lambda: supervisor.send(plan.input_channel("in"), RuntimeData.text("x"), None),
        lambda: supervisor.flush("a"),
        lambda: supervisor.parameters("a", {}),
        supervisor.start,
    ]
    for operation in operations:
        with pytest.raises(ProcessCrashed, match=text):
            await operation()
    assert supervisor.state == "failed"
    assert text in supervisor.status().message
    assert [record.node_id for record in scene.crashes] == ["a"]


async def test_the_first_of_two_failures_is_the_sessions(make: Make) -> None:
    scene = await make().started()
    scene.dies("a")
    scene.dies("b")
    with pytest.raises(ProcessCrashed):
        await scene.supervisor.ended
    first = scene.supervisor.status().message
    scene.supervisor._fail(SessionError("later"))
    assert scene.supervisor.status().message == first


@pytest.mark.parametrize("step", ["zygote", "crew"])
async def test_a_step_of_the_end_that_fails_does_not_stop_the_others(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    scene = await make().started()

    async def fail() -> None:
        raise RuntimeError("a step that fails")

    with caplog.at_level(logging.ERROR), monkeypatch.context() as patch:
        if step == "zygote":
            scene.zygote.fails_at["close"] = RuntimeError("a step that fails")
        else:
            patch.setattr(scene.supervisor._crew, "close", fail)
        await scene.supervisor.close()
    scene.zygote.fails_at.clear()
    assert "a step that fails" in caplog.text
    assert (scene.supervisor.state, scene.launcher.steps[-1]) == ("closed", "release")


async def test_a_session_may_have_only_so_much_time(make: Make) -> None:
    scene = make(policy=SessionPolicy(active_deadline_seconds=1))
    await scene.started()
    deadline = scene.supervisor._deadline
    assert deadline is not None
    deadline._run()
    deadline.cancel()
    with pytest.raises(SessionError, match=r"session 's1' ran for activeDeadlineSeconds \(1s\)"):
        await scene.supervisor.ended


async def test_hurry_skips_the_grace(make: Make) -> None:
    scene = make()
    object.__setattr__(scene.plan.runtime, "cleanup_grace_period_secs", 3600.0)
    await scene.started()
    closing = asyncio.create_task(scene.supervisor.close())
    await asyncio.sleep(0)
    scene.supervisor.hurry()
    await closing
    assert {node for node, _, _ in scene.zygote.signals} == {"a", "b"}


async def test_facts_and_figures_of_nodes_without_a_process_are_zero(make: Make) -> None:
    scene = await make().started()
    facts = scene.supervisor.facts()
    assert (facts.session_id, facts.state, set(facts.nodes)) == ("s1", "running", {"a", "b"})
    assert facts.nodes["a"].up
    assert (facts.nodes["a"].rss_bytes, facts.nodes["a"].cpu_s) == (0, 0.0)
    assert scene.supervisor.metrics().process_count == 0
    assert set(scene.supervisor.channel_stats()) == {channel.name for channel in scene.plan.channels}
    assert set(scene.supervisor.node_stats()) >= {"a", "b"}
