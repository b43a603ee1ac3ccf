"""The nodes of a session from spawn to end: starts that fail, crashes, restarts, kills and late news."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ringline.control.messages import Message, MessageType
from ringline.errors import (
    ControlError,
    InitTimeout,
    NodeInitError,
    NodeLoadError,
    ProcessCrashed,
    ProcessSpawnError,
    SessionError,
    UnknownNodeTypeError,
)
from ringline.graph.session_plan import SessionPolicy
from ringline.host import crew as crews
from ringline.host.exits import Circumstances, exit_record
from ringline.host.handle import NodeHandle
from ringline.host.launcher import Past
from ringline.host.member import ZygoteProcess
from ringline.host.terms import Terms
from tests.unit.host.crews import Scene, planned

RESTARTS = SessionPolicy(on_node_crash="RestartNode", max_restarts=2, backoff_seconds=0)
Make = Callable[..., Scene]


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    for name in ("LAST_WORDS_S", "OWN_REPORT_S", "STACKS_S"):
        monkeypatch.setattr(crews, name, 0.01)
    made: list[Scene] = []

    def build(*names: str, terms: Terms | None = None, **options: Any) -> Scene:
        made.append(Scene(planned(*(names or ("a", "b")), **options), terms))
        return made[-1]

    yield build
    for scene in made:
        await scene.crew.close()


# -- start -------------------------------------------------------------------------------------------------------------


async def test_all_nodes_are_spawned_with_what_they_need_and_then_let_go(make: Make) -> None:
    scene = make()
    scene.launch()
    assert scene.zygotes.spawned == [("a", 1), ("b", 1)]
    assert {environ["RINGLINE_NODE"] for environ in scene.zygotes.environments} == {"a", "b"}
    assert all(environ["RINGLINE_TOKEN"] == "secret" for environ in scene.zygotes.environments)
    assert [(shown.node_id, shown.status) for shown in scene.progress] == [("a", "starting"), ("b", "starting")]
    for name in "ab":
        scene.came_up(name)
    await scene.crew.all_ready()
    assert scene.states() == {"a": "ready", "b": "ready"}
    await scene.crew.start()
    assert scene.states() == {"a": "running", "b": "running"}
    assert scene.control.sent == [("a", MessageType.START), ("b", MessageType.START)]
    assert scene.member("a").status().pid == 4711


async def test_without_processes_there_is_nothing_to_ask(make: Make) -> None:
    scene = make()
    with pytest.raises(SessionError, match="session 's1' has no processes yet"):
        _ = scene.crew.links
    scene.event("exit", "a", epoch=0, code=1)
    scene.say("a", MessageType.READY)
    assert not scene.member("a").ready.done()


async def test_a_node_that_can_not_be_spawned_fails_the_start(make: Make) -> None:
    scene = make()
    scene.launch()
    scene.event("spawn_failed", "b", error="fork failed: Resource temporarily unavailable")
    with pytest.raises(ProcessSpawnError, match="node 'b' could not be started: fork failed: Resource temporarily"):
        await scene.crew.all_ready()
    assert scene.states()["b"] == "failed"
    assert not scene.member("b").alive
    assert scene.progress[-1].status == "failed"
    assert scene.failures == []


@pytest.mark.parametrize(
    ("code", "told", "error", "text"),
    [
        (0, {}, NodeInitError, "Node 'a' exited with code 0 before it was ready"),
        (3, {}, NodeInitError, "Node 'a' exited with code 3 before it was ready"),
        (1, {"error": "ValueError: no model"}, NodeInitError, "Node 'a' failed to initialize: ValueError: no model"),
        (1, {"error": "ringline.errors.UnknownNodeTypeError: no"}, UnknownNodeTypeError, "node 'a': no"),
        (1, {"error": "ringline.errors.NodeLoadError: x"}, NodeLoadError, "node 'a': x"),
        (71, {}, InitTimeout, "Node 'a' failed to initialize within 60s"),
        (1, {"reason": "InitTimeout"}, InitTimeout, "Node 'a' failed to initialize within 60s"),
        (137, {}, ProcessCrashed, "Node 'a' exited with code 137"),
        (139, {}, ProcessCrashed, "Node 'a' exited with code 139"),
    ],
)
async def test_each_failed_start_is_the_documented_error(
    make: Make, code: int, told: dict[str, Any], error: type[Exception], text: str
) -> None:
    scene = make()
    scene.launch()
    scene.came_up("b")
    if told:
        scene.say("a", MessageType.ERROR, told)
    scene.dies("a", code, "SIGSEGV" if code == 139 else "SIGKILL")
    with pytest.raises(error) as caught:
        await scene.crew.all_ready()
    assert str(caught.value).startswith(text)
    assert [record.phase for record in scene.exits] == ["initialize"]
    assert scene.states()["a"] == "failed"
    assert scene.crashes == []


async def test_words_that_come_after_the_exit_still_count(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "LAST_WORDS_S", 60.0)
    scene = make("a")
    scene.launch()
    scene.dies("a", 1)
    await asyncio.sleep(0)
    assert scene.exits == []
    scene.say("a", MessageType.ERROR, {"error": "OSError: no camera"})
    with pytest.raises(NodeInitError, match="OSError: no camera"):
        await scene.crew.all_ready()


async def test_one_that_never_says_a_word_is_timed_out_with_what_is_known(make: Make) -> None:
    scene = make(init_timeout_secs=0.02)
    scene.launch()
    scene.came_up("a")
    scene.say("b", MessageType.PROGRESS, {"status": "loading", "progress": 0.4, "message": "reading"})
    scene.event("log", "b", stream="stderr", body=b"downloading\n")
    with pytest.raises(InitTimeout) as caught:
        await scene.crew.all_ready()
    assert "Node 'b' failed to initialize within 0.02s (last progress: loading 40%: reading)" in str(caught.value)
    assert "    downloading" in str(caught.value)
    assert scene.states() == {"a": "ready", "b": "failed"}


async def test_a_node_that_has_not_dialed_yet_is_told_when_it_has(make: Make) -> None:
    scene = make("a")
    scene.launch()
    scene.came_up("a")
    scene.control.away.add("a")
    starting = asyncio.create_task(scene.crew.start())
    await scene.until(lambda: scene.control.tries >= 1)
    scene.control.away.clear()
    await starting
    assert scene.control.kinds("a") == [MessageType.START]


async def test_one_that_dies_before_it_was_told_is_begun_with_when_it_is_back(make: Make) -> None:
    scene = make("a", policy=RESTARTS)
    scene.launch()
    scene.came_up("a")
    await scene.crew.all_ready()
    scene.control.away.add("a")
    starting = asyncio.create_task(scene.crew.start())
    await scene.until(lambda: scene.control.tries >= 1)
    scene.dies("a")
    await scene.until(lambda: ("a", 2) in scene.zygotes.spawned)
    await starting
    assert scene.control.sent == []
    scene.control.away.clear()
    scene.came_up("a")
    await scene.until(lambda: scene.states()["a"] == "running")
    assert scene.control.kinds("a") == [MessageType.START]
    assert (scene.member("a").epoch, scene.failures) == (2, [])


async def test_one_that_never_dials_is_an_error(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "DIAL_PATIENCE_S", -1.0)
    scene = make("a")
    scene.launch()
    scene.control.away.add("a")
    with pytest.raises(ControlError, match="node 'a' is not connected; its START was not sent"):
        await scene.crew.start()


# -- news --------------------------------------------------------------------------------------------------------------


async def test_only_steps_of_a_start_are_shown_as_progress(make: Make) -> None:
    scene = make("a")
    scene.launch()
    for status in ("loading", "connecting", "ready", "running", "stopping"):
        scene.say("a", MessageType.PROGRESS, {"status": status})
    assert [shown.status for shown in scene.progress] == ["starting", "loading", "connecting", "ready"]
    assert scene.states()["a"] == "stopping"


async def test_lines_are_handed_on_one_by_one_and_errors_kept(make: Make) -> None:
    scene = make("a")
    scene.launch()
    scene.event("log", "a", stream="stdout", body=b"hello\n\xff\n")
    scene.event("log", "a", body=b"one\ntwo\n")
    assert scene.lines == [
        ("a", "stdout", "hello"),
        ("a", "stdout", "�"),
        ("a", "stderr", "one"),
        ("a", "stderr", "two"),
    ]
    assert list(scene.member("a").tail) == ["one", "two"]


@pytest.mark.parametrize("event", [{"ev": "exit", "node": "stranger", "epoch": 1}, {"ev": "exit"}, {"ev": "dance"}, {}])
async def test_news_of_nobody_changes_nothing(make: Make, event: dict[str, Any]) -> None:
    scene = await make().running()
    scene.crew.zygote_event(event, b"")
    scene.say("stranger", MessageType.ERROR, {"error": "x"})
    await asyncio.sleep(0)
    assert scene.states() == {"a": "running", "b": "running"}
    assert (scene.exits, scene.failures) == ([], [])


@pytest.mark.parametrize("kind", ["exit", "spawned", "spawn_failed", "log", "unheard_of"])
@pytest.mark.parametrize("epoch", [0, 2])
async def test_news_of_another_incarnation_is_ignored(make: Make, kind: str, epoch: int) -> None:
    scene = await make("a").running()
    scene.event(kind, "a", epoch=epoch, pid=1, code=137, signal="SIGKILL", body=b"late\n", error="late")
    await asyncio.sleep(0)
    assert (scene.member("a").pid, scene.lines, scene.exits, scene.failures) == (4711, [], [], [])


# -- ends and crashes --------------------------------------------------------------------------------------------------


async def test_the_session_has_ended_when_its_last_node_has(make: Make) -> None:
    scene = await make().running()
    for name in "ab":
        assert scene.ends == 0
        scene.say(name, MessageType.DONE)
        scene.dies(name, 0)
        await scene.until(lambda name=name: scene.member(name).finished)
    await scene.until(lambda: scene.ends)
    assert scene.states() == {"a": "stopped", "b": "stopped"}
    assert (scene.ends, scene.crashes, scene.failures) == (1, [], [])


async def test_leaving_with_code_zero_too_early_is_a_crash(make: Make) -> None:
    scene = await make().running()
    scene.dies("a", 0)
    await scene.until(lambda: scene.failures)
    assert scene.crashes[0].reason == "ExitedEarly"
    assert "it left with code 0 although its inputs had not ended" in str(scene.failures[0])


async def test_a_node_whose_last_word_was_lost_is_done_when_its_outputs_have_ended(make: Make) -> None:
    scene = await make().running()
    scene.arena.ended.add("a_to_b")
    scene.dies("a", 0)
    await scene.until(lambda: scene.member("a").finished)
    assert (scene.exits[0].reason, scene.crashes, scene.failures) == ("Completed", [], [])


async def test_an_end_that_the_arena_shows_is_none_with_another_code(make: Make) -> None:
    scene = await make().running()
    scene.arena.ended.add("a_to_b")
    scene.dies("a", 3)
    await scene.until(lambda: scene.failures)
    assert scene.crashes[0].exit_code == 3


@pytest.mark.parametrize(("left", "reason"), [(0, "Completed"), (2, "ExitedEarly")])
async def test_a_node_without_outputs_is_done_when_its_ended_inputs_are_empty(
    make: Make, left: int, reason: str
) -> None:
    scene = await make().running()
    member = scene.member("b")
    member.plan = dataclasses.replace(member.plan, outputs={})
    scene.arena.ended.add("a_to_b")
    scene.arena.queued["a_to_b"] = left
    scene.dies("b", 0)
    await scene.until(lambda: scene.exits)
    assert scene.exits[0].reason == reason


async def test_two_crashes_at_once_are_both_told(make: Make) -> None:
    scene = await make().running()
    scene.dies("a")
    scene.dies("b", 139, "SIGSEGV")
    await scene.until(lambda: len(scene.failures) == 2)
    assert {record.node_id: record.reason for record in scene.crashes} == {"a": "Killed", "b": "SegmentationFault"}
    assert {type(error) for error in scene.failures} == {ProcessCrashed}
    assert scene.member("a").exits == {"Killed": 1}


@pytest.mark.parametrize("over", ["stopping", "given up"])
async def test_what_ends_on_order_is_no_crash(make: Make, over: str) -> None:
    scene = await make("a", policy=RESTARTS).running()
    if over == "stopping":
        scene.member("a").stopping = True
    else:
        scene.crew.give_up(SessionError("enough"))
    scene.dies("a", 143, "SIGTERM")
    await scene.until(lambda: scene.exits)
    await asyncio.sleep(0)
    assert (scene.crashes, scene.failures, scene.zygotes.spawned) == ([], [], [("a", 1)])


async def test_a_lost_zygote_takes_every_node_along(make: Make) -> None:
    scene = await make().running()
    scene.crew.zygote_lost("the session's zygote is gone (it closed its socket)")
    assert scene.states() == {"a": "failed", "b": "failed"}
    assert [member.alive for member in scene.crew.members.values()] == [False, False]
    [error] = scene.failures
    assert str(error) == "session 's1': the session's zygote is gone (it closed its socket); its nodes died with it"


# -- restarts ----------------------------------------------------------------------------------------------------------


async def came_back(scene: Scene, name: str, epoch: int) -> None:
    await scene.until(lambda: (name, epoch) in scene.zygotes.spawned)
    scene.came_up(name)
    await scene.until(lambda: scene.control.kinds(name).count(MessageType.START) == epoch)


async def test_a_crashed_node_comes_back_in_its_next_epoch(make: Make) -> None:
    scene = await make(policy=RESTARTS).running()
    scene.arena.held["a"], scene.arena.busy_neighbours["a"] = 2, 2
    scene.dies("a")
    await scene.until(lambda: scene.states()["a"] == "restarting")
    await came_back(scene, "a", 2)
    status = scene.member("a").status()
    assert (status.epoch, status.restarts, status.last_exit and status.last_exit.epoch) == (2, 1, 1)
    assert scene.zygotes.spawned == [("a", 1), ("b", 1), ("a", 2)]
    assert (len(scene.crashes), scene.failures) == (1, [])


async def test_both_of_two_that_die_at_once_come_back(make: Make) -> None:
    scene = await make(policy=RESTARTS).running()
    scene.dies("a")
    scene.dies("b")
    await came_back(scene, "a", 2)
    await came_back(scene, "b", 2)
    assert scene.failures == []


async def test_when_restarts_are_used_up_the_session_fails(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    scene = await make("a", policy=RESTARTS).running()
    for epoch in (2, 3):
        scene.dies("a")
        await came_back(scene, "a", epoch)
    with caplog.at_level(logging.ERROR):
        scene.dies("a")
        await scene.until(lambda: scene.failures)
    assert "restarts of node a are used up" in caplog.text
    assert isinstance(scene.failures[0], ProcessCrashed)
    assert (len(scene.crashes), scene.member("a").history.restarts) == (3, 2)


async def test_a_crash_while_it_comes_back_counts_too(make: Make) -> None:
    scene = await make("a", policy=RESTARTS).running()
    scene.dies("a")
    await scene.until(lambda: ("a", 2) in scene.zygotes.spawned)
    scene.dies("a", 1)
    await came_back_after_two(scene)
    assert [record.phase for record in scene.crashes] == ["running", "initialize"]
    assert scene.failures == []


async def came_back_after_two(scene: Scene) -> None:
    await scene.until(lambda: ("a", 3) in scene.zygotes.spawned)
    scene.came_up("a")
    await scene.until(lambda: scene.control.kinds("a").count(MessageType.START) == 2)


async def test_a_place_that_is_gone_for_good_is_not_filled_again(make: Make) -> None:
    scene = await make("a", policy=RESTARTS).running()
    scene.dies("a", final=True)
    await scene.until(lambda: scene.failures)
    assert scene.zygotes.spawned == [("a", 1)]


async def test_what_can_not_be_reclaimed_ends_the_session(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "LOCK_PATIENCE_S", 0.01)
    scene = await make("a", policy=RESTARTS).running()
    scene.arena.held["a"] = 1 << 30
    scene.dies("a")
    await scene.until(lambda: scene.failures)
    assert "what node 'a' held could not be reclaimed after its end" in str(scene.failures[0])


async def test_a_restart_that_can_not_be_spawned_ends_the_session(make: Make) -> None:
    scene = await make("a", policy=RESTARTS).running()
    scene.dies("a")
    await scene.until(lambda: ("a", 2) in scene.zygotes.spawned)
    scene.event("spawn_failed", "a", error="no such program")
    await scene.until(lambda: scene.failures)
    assert str(scene.failures[0]) == "node 'a' could not be started: no such program"


async def test_a_restart_that_is_not_ready_in_time_is_killed(make: Make) -> None:
    scene = make("a", policy=RESTARTS, init_timeout_secs=0.02)
    await scene.running()
    scene.dies("a")
    await scene.until(lambda: scene.zygotes.signals)
    assert scene.zygotes.signals == [("a", 2, signal.SIGKILL)]
    assert scene.member("a").kill_reason == "InitTimeout"
    assert scene.arena.fenced == []


async def test_giving_up_stops_pending_restarts_and_every_wait(make: Make) -> None:
    scene = await make(policy=RESTARTS).running()
    scene.arena.held["a"] = 1 << 30
    scene.dies("a")
    await scene.until(lambda: scene.states()["a"] == "restarting")
    scene.crew.give_up(SessionError("enough"))
    scene.arena.held.clear()
    await scene.crew.close()
    assert ("a", 2) not in scene.zygotes.spawned


# -- kills -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("busy", "reason"), [(True, "Stalled"), (False, "Unhealthy")])
async def test_one_that_does_not_answer_is_fenced_shown_and_killed(make: Make, busy: bool, reason: str) -> None:
    scene = await make().running()
    scene.busy = {"a"} if busy else set()
    scene.crew.unhealthy(scene.member("a"))
    assert (scene.arena.fenced, scene.zygotes.signals) == (["a"], [("a", 1, signal.SIGABRT)])
    await scene.until(lambda: len(scene.zygotes.signals) == 2)
    assert scene.zygotes.signals[1] == ("a", 1, signal.SIGKILL)
    scene.dies("a")
    await scene.until(lambda: scene.crashes)
    assert scene.crashes[0].reason == reason


async def test_failed_health_checks_lead_there(make: Make) -> None:
    scene = make("a", health_check_interval=0.01, health_check_timeout=0.01)
    await scene.running()
    await scene.until(lambda: scene.zygotes.signals)
    assert scene.member("a").kill_reason == "Unhealthy"
    scene.dies("a", 134, "SIGABRT")
    await scene.until(lambda: scene.crashes)
    status = scene.member("a").status()
    assert (status.healthy, status.health_failures >= 2) == (False, True)


async def test_too_much_memory_is_a_kill_of_its_own(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringline.host.health.MEMORY_PERIOD_S", 0.001)
    monkeypatch.setattr("ringline.host.procfs.family", lambda pid: [pid, pid + 1])
    monkeypatch.setattr("ringline.host.procfs.anonymous", lambda pid: 600)
    scene = await make("a", memory=1000).running()
    await scene.until(lambda: scene.zygotes.signals)
    assert scene.zygotes.signals[0] == ("a", 1, signal.SIGKILL)
    scene.dies("a")
    await scene.until(lambda: scene.crashes)
    assert scene.crashes[0].reason == "MemoryLimit"
    assert "it used more memory than its limit allows" in str(scene.failures[0])


async def test_the_first_reason_for_a_kill_stays(make: Make) -> None:
    scene = await make("a").running()
    scene.crew.kill(scene.member("a"), "MemoryLimit")
    scene.crew.kill(scene.member("a"), "Unhealthy")
    assert scene.member("a").kill_reason == "MemoryLimit"


async def test_a_dead_node_is_neither_fenced_nor_blamed(make: Make) -> None:
    scene = await make("a").running()
    scene.dies("a")
    await scene.until(lambda: scene.exits)
    scene.crew.kill(scene.member("a"), "MemoryLimit")
    assert (scene.arena.fenced, scene.zygotes.signals, scene.member("a").kill_reason) == ([], [], "")


# -- after a host that died --------------------------------------------------------------------------------------------


async def test_a_session_is_taken_over_where_its_host_left_it(make: Make) -> None:
    scene = make("a", "b", "c", "d")
    scene.arena.epochs["b"] = 3
    scene.arena.attached, scene.arena.fenced = {"b", "c"}, ["c"]
    done = exit_record({"node": "a", "code": 0}, Circumstances("s1", done=True))
    scene.launch(Past({"a": done}))
    assert scene.zygotes.spawned == [("b", 3), ("c", 1), ("d", 1)]
    assert scene.control.expected == [("b", 3), ("c", 1), ("d", 1)]
    assert scene.states() == {"a": "stopped", "b": "ready", "c": "ready", "d": "starting"}
    assert scene.member("b").status().restarts == 2
    assert (scene.zygotes.signals, scene.member("c").kill_reason) == ([("c", 1, signal.SIGKILL)], "Fenced")
    assert scene.member("a").finished


# -- what an owner may have done differently ---------------------------------------------------------------------------


async def test_a_node_is_renewed_on_request_without_using_up_its_restarts(make: Make) -> None:
    began: list[tuple[str, int]] = []
    terms = Terms(began=lambda node, epoch: began.append((node, epoch)))
    scene = await make(policy=SessionPolicy(on_node_crash="RestartNode", max_restarts=0), terms=terms).running()
    for epoch in (2, 3):
        scene.crew.renew("a", "Recycled")
        assert scene.zygotes.signals[-1] == ("a", epoch - 1, signal.SIGKILL)
        scene.dies("a")
        while scene.zygotes.spawned[-1] != ("a", epoch):
            await asyncio.sleep(0.001)
        scene.came_up("a")
        while began[-1] != ("a", epoch):
            await asyncio.sleep(0.001)
    assert began == [("a", 1), ("b", 1), ("a", 2), ("a", 3)]
    assert [record.reason for record in scene.exits] == ["Recycled", "Recycled"]
    assert scene.failures == []


async def test_an_order_for_a_node_that_is_dead_is_not_kept_for_its_successor(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = await make(policy=SessionPolicy(on_node_crash="RestartNode", max_restarts=1)).running()
    reclaim, really = asyncio.Event(), scene.crew.reclaimed

    async def reclaimed(node: str) -> bool:
        return await reclaim.wait() and await really(node)

    monkeypatch.setattr(scene.crew, "reclaimed", reclaimed)
    scene.dies("a")
    await scene.until(lambda: scene.states()["a"] == "restarting")
    scene.crew.renew("a", "Recycled")  # it comes back anyway
    reclaim.set()
    await scene.until(lambda: scene.zygotes.spawned[-1] == ("a", 2))
    scene.came_up("a")
    assert ("a", 1, signal.SIGKILL) not in scene.zygotes.signals
    scene.dies("a")
    await scene.until(lambda: scene.failures)
    assert scene.member("a").status().restarts == 1


async def test_an_owner_makes_the_handles_and_may_do_without_checks(make: Make) -> None:
    made: list[NodeHandle] = []

    def handle(process: ZygoteProcess, on_message: Callable[[Message], None]) -> NodeHandle:
        made.append(NodeHandle(process, Told(), on_message=on_message))
        return made[-1]

    class Told:
        async def send(self, message: Message) -> None:
            assert message.type is MessageType.START

    scene = await make("a", terms=Terms(handle=handle, checked=False)).running()
    assert scene.member("a").handle is made[0]
    assert not [task for task in asyncio.all_tasks() if "health" in task.get_name()]


async def test_what_a_node_counts_itself_is_kept_as_far_as_it_has_the_form(make: Make) -> None:
    scene = await make("a").running()
    scene.say("a", MessageType.METRICS, {"counters": {"steps": 3, "odd": "x", "bad": float("nan")}, "gauges": [1]})
    assert scene.member("a").numbers == {"counters": {"steps": 3.0}, "gauges": {}}
