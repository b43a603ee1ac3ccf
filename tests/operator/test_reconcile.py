"""The loop around the decisions: what fails is tried later and holds nothing else up; what is under way is left alone."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringline_operator import reconcile
from ringline_operator.actions import ClaimPod
from ringline_operator.decide import World, decide
from ringline_operator.decide.world import suffix
from ringline_operator.kube import ApiError
from ringline_operator.lease import Lease
from ringline_operator.observe import Cache, Group, WorkQueue
from tests.operator.fake_api import FakeApi
from tests.operator.pictures import START
from tests.operator.test_claims_and_pods import running
from tests.operator.test_convergence import KEY, Process, claim, make_ready, pipeline, unclaimed


class Leading:
    """A lease that is never lost, for the loop's own tasks."""

    held = True

    def __init__(self) -> None:
        self.taken, self.begun = asyncio.Event(), asyncio.Event()
        self.taken.set()


class Picky(FakeApi):
    """Refuses the statuses of one session as wrong."""

    refused = ""
    tries = 0

    async def patch(self, kind: str, namespace: str, name: str, body: Any, *, sub: str = "") -> dict[str, Any]:
        if name == self.refused:
            self.tries += 1
            raise ApiError(422, "Invalid", "no such status")
        return await super().patch(kind, namespace, name, body, sub=sub)


async def until(found: Any) -> None:
    async with asyncio.timeout(60):
        while not found():
            await asyncio.sleep(0.005)


def watched(process: Process) -> None:
    """Hand over what a watch would have told since the last time."""
    for kind, event, body in process.api.history:
        if kind in ("MediaPipeline", "MediaSession", "Pod"):
            process.cache.note(kind, event, body)


async def test_the_loop_makes_what_is_asked_for_and_comes_to_rest() -> None:
    api = FakeApi()
    process = Process(api, cast("Lease", Leading()))
    process.loop.start()
    api.put_object("MediaPipeline", "default", pipeline(replicas=20))

    def all_run() -> bool:
        make_ready(api)
        watched(process)
        return [item.get("status", {}).get("phase") for item in api.of("MediaSession")] == ["Running"] * 20

    await until(all_run)
    await until(lambda: not process.loop.hands.under_way(KEY) and not len(process.queue))
    calls = api.calls
    process.queue.add(KEY)
    await until(lambda: not len(process.queue))
    await process.loop.hands.idle()
    await process.loop.stop()
    assert api.calls <= calls + 1, "at rest it asks for nothing but the pipeline's last status"


async def test_everything_is_listed_again_when_a_lost_lease_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Leading()
    process = Process(FakeApi(), cast("Lease", lease))
    lists = 0

    async def count() -> None:
        nonlocal lists
        lists += 1

    monkeypatch.setattr(process.loop, "_relist", count)
    process.loop.start()
    await until(lambda: lists == 1)
    await asyncio.sleep(0.02)
    assert lists == 1, "nothing else is a reason but the end of the period"
    lease.begun.set()
    await until(lambda: lists == 2)
    await process.loop.stop()


class Slow(FakeApi):
    """Takes its time for a network policy, and may refuse it."""

    async def apply(self, kind: str, namespace: str, name: str, body: Any) -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return await super().apply(kind, namespace, name, body)


async def test_the_first_pod_of_a_pipeline_waits_for_its_network_policy_and_so_do_the_others() -> None:
    api = Slow()
    api.put_object("MediaPipeline", "default", pipeline(replicas=6))
    process = Process(api, policies=True)
    await process.settle()
    made = [kind for kind, event, _ in api.history if event == "ADDED" and kind in ("NetworkPolicy", "Pod")]
    assert made == ["NetworkPolicy", *["Pod"] * 6]
    assert [kind for kind, _, _ in api.history].count("NetworkPolicy") == 1, "once is enough for all"


async def test_where_the_policy_is_refused_there_is_no_pod(clock: list[float]) -> None:
    api = Slow()
    api.put_object("MediaPipeline", "default", pipeline(replicas=2))
    api.refuse["NetworkPolicy"] = ApiError(403, "Forbidden", "no")
    process = Process(api, policies=True)
    process.relist()
    for _ in range(3):
        await process.look()
    assert not api.of("Pod")
    api.refuse = {}
    clock[0] += 60
    await process.settle()
    assert len(api.of("Pod")) == 2


async def test_a_session_that_cannot_be_written_does_not_hold_up_the_others() -> None:
    api = Picky()
    api.put_object("MediaPipeline", "default", pipeline(replicas=0))
    for name in ("bad", "good"):
        api.put_object("MediaSession", "default", claim(name))
    api.refused = "bad"
    process = Process(api)
    for _ in range(6):
        process.relist()
        await process.look()
        make_ready(api)
    phases = {item["metadata"]["name"]: item.get("status", {}).get("phase") for item in api.of("MediaSession")}
    assert phases == {"bad": None, "good": "Running"}
    assert api.tries == 1, "its pause is its own: the looks for others do not try again"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Now, for the pauses of the loop: tests move it."""
    now = [1000.0]
    monkeypatch.setattr(reconcile, "time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    return now


async def test_what_was_refused_is_tried_again_after_its_pause_and_then_forgotten(clock: list[float]) -> None:
    api = Picky()
    api.put_object("MediaPipeline", "default", pipeline(replicas=0))
    api.put_object("MediaSession", "default", claim("bad"))
    api.refused = "bad"
    process = Process(api)
    for tries in (1, 2, 3):
        for _ in range(3):
            process.relist()
            await process.look()
        assert api.tries == tries
        clock[0] += 31
    assert list(process.loop._failures) == [KEY]
    api.refused = ""
    process.relist()
    await process.look()
    assert not process.loop._failures


async def test_what_is_never_refused_again_is_forgotten_with_its_session(clock: list[float]) -> None:
    process = Process(FakeApi())
    gone = ("PatchSession", "call", "uid")
    process.cache.groups[KEY] = Group()
    process.loop._later(KEY, gone, ApiError(422, "Invalid", "no"))
    process.loop._forget_what_is_gone()
    assert gone in process.loop._failures[KEY]
    clock[0] += 120
    process.loop._forget_what_is_gone()
    assert not process.loop._failures
    process.queue.close()


async def test_a_claim_whose_pod_was_taken_by_another_is_not_called_ready() -> None:
    api = FakeApi()
    api.put_object("MediaPipeline", "default", pipeline(replicas=1))
    process = Process(api)
    await process.settle()
    api.put_object("MediaSession", "default", claim("call"))
    process.relist()
    (pod,) = api.of("Pod")
    api._store("Pod", "default", pod)  # somebody wrote it since
    await process.look()
    (call,) = (item for item in api.of("MediaSession") if item["metadata"]["name"] == "call")
    assert "status" not in call
    assert len(process.queue) == 1, "it is looked at again"
    await process.settle()
    (call,) = (item for item in api.of("MediaSession") if item["metadata"]["name"] == "call")
    assert call["status"]["phase"] == "Running"


async def test_a_webhook_that_can_not_be_asked_is_the_matter_of_its_pods_only() -> None:
    api = FakeApi()
    api.put_object("MediaPipeline", "default", pipeline(replicas=1))
    message = 'Internal error occurred: failed calling webhook "guard.example.com": connection refused'
    api.refuse["Pod"] = ApiError(500, "InternalError", message)
    process = Process(api)
    process.relist()
    for _ in range(3):
        await process.look()
    (session,) = api.of("MediaSession")
    ready = next(item for item in session["status"]["conditions"] if item["type"] == "Ready")
    assert (ready["reason"], ready["message"]) == ("InternalError", message)
    assert not process.loop._failures, "the API server is well"


async def test_names_that_another_pipeline_has_are_passed_over() -> None:
    api = FakeApi()
    made = api.put_object("MediaPipeline", "default", pipeline(replicas=2))
    other = claim(f"voice-{suffix(made['metadata']['uid'], 0)}")
    other["spec"]["pipelineRef"]["name"] = "video"
    api.put_object("MediaSession", "default", other)
    process = Process(api)
    process.relist()
    for _ in range(4):
        await process.look()
    assert len(unclaimed(api)) == 2
    assert process.cache.groups[KEY].foreign == {other["metadata"]["name"]}
    process.relist()
    assert not process.cache.groups[KEY].foreign, "a whole list says anew who has which name"


async def test_a_strange_pod_of_the_same_name_is_named_and_left_alone() -> None:
    api = FakeApi()
    api.put_object("MediaPipeline", "default", pipeline(replicas=0))
    api.put_object("MediaSession", "default", claim("call"))
    strange = api.put_object("Pod", "default", {"metadata": {"name": "call-0"}, "spec": {}})
    process = Process(api)
    for kind in ("MediaPipeline", "MediaSession"):
        for body in api.of(kind):
            process.cache.note(kind, None, body)
    for _ in range(5):
        await process.look()
    (session,) = api.of("MediaSession")
    ready = next(item for item in session["status"]["conditions"] if item["type"] == "Ready")
    assert (ready["reason"], "pod call-0" in ready["message"]) == ("NameTaken", True)
    assert api.of("Pod") == [strange]
    assert list(process.cache.groups) == [KEY], "it is none of ours"
    assert api.calls < 12, "it is asked for in a while, not in a loop"


async def test_a_conflict_over_a_quota_passes(clock: list[float]) -> None:
    api = FakeApi()
    api.put_object("MediaPipeline", "default", pipeline(replicas=1))
    api.refuse["Pod"] = ApiError(409, "Conflict", "Operation cannot be fulfilled on resourcequotas")
    process = Process(api)
    process.relist()
    await process.look()
    await process.look()
    assert not process.cache.groups[KEY].denials
    api.refuse = {}
    clock[0] += 1
    await process.settle()
    assert len(api.of("Pod")) == 1


async def test_failures_that_come_together_count_as_one_and_the_pause_doubles(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    process = Process(FakeApi())
    pauses: list[float] = []
    monkeypatch.setattr(process.queue, "add_after", lambda _, pause: pauses.append(pause))
    error = ApiError(503, "ServiceUnavailable", "down")
    for _ in range(8):
        for _ in range(3):
            process.loop._later(KEY, reconcile.API, error)
        clock[0] += 31
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]


async def test_an_api_server_that_names_a_pause_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(FakeApi())
    pauses: list[float] = []
    monkeypatch.setattr(process.queue, "add_after", lambda _, pause: pauses.append(pause))
    process.loop._later(KEY, reconcile.API, ApiError(429, "TooManyRequests", "slow down", retry_after=7))
    assert pauses == [7]


async def test_the_pipelines_status_is_written_at_most_twice_a_second() -> None:
    api = FakeApi()
    api.put_object("MediaPipeline", "default", pipeline(replicas=1))
    process = Process(api)
    process.loop._summary_pause = 3600.0
    await process.settle()
    written = [body for kind, _, body in api.history if kind == "MediaPipeline" and "status" in body]
    assert len(written) == 1
    process.relist()
    assert process.loop.look(KEY).requeue_after is not None, "it is written when its time comes"
    await process.loop.hands.idle()
    process.queue.close()


async def test_a_look_at_nothing_forgets_nothing_and_asks_for_nothing() -> None:
    process = Process(FakeApi())
    await process.look()
    assert process.api.calls == 0


async def test_after_a_look_a_pipeline_rests() -> None:
    queue = WorkQueue()
    queue.add(KEY)
    queue.done(await queue.take(), rest=0.01)
    queue.add(KEY)
    assert len(queue) == 0, "it rests"
    assert await asyncio.wait_for(queue.take(), 60) == KEY
    queue.close()


@pytest.mark.parametrize(("took", "rest"), [(0.0, 0.0), (0.001, 0.006), (0.005, 0.02), (0.05, 0.1)])
def test_the_rest_is_short_for_a_claim_and_long_enough_for_others(took: float, rest: float) -> None:
    assert reconcile.rest_after(took) == pytest.approx(rest)


async def test_a_queue_that_is_closed_wakes_nobody() -> None:
    queue = WorkQueue()
    queue.add(KEY)
    queue.done(await queue.take(), rest=0.01)
    queue.add(KEY)
    queue.close()
    await asyncio.sleep(0.03)
    assert len(queue) == 0


def test_a_claim_that_is_being_served_is_left_alone_and_its_pod_given_to_nobody_else() -> None:
    cluster = running(2)
    first, second = cluster.claim("one"), cluster.claim("two")
    taken = {
        action.session: action for action in decide(cluster.world(), START).actions if isinstance(action, ClaimPod)
    }
    promised = taken[first.name].pod
    world = World(
        cluster.pipeline,
        tuple(cluster.sessions.values()),
        tuple(cluster.pods.values()),
        under_way={first.name: promised},
    )
    again = [action for action in decide(world, START).actions if isinstance(action, ClaimPod)]
    assert [action.session for action in again] == [second.name]
    assert again[0].pod != promised


def test_the_replica_of_a_promised_pod_is_replaced_at_once_and_not_deleted_twice() -> None:
    cluster = running(2)
    claimed = cluster.claim("one")
    name = next(iter(cluster.pods))
    world = World(
        cluster.pipeline, tuple(cluster.sessions.values()), tuple(cluster.pods.values()), under_way={claimed.name: name}
    )
    actions = decide(world, START).actions
    assert [type(action).__name__ for action in actions] == ["CreateSession"]


async def test_news_of_a_session_under_way_are_judged_once_it_is_free() -> None:
    api = FakeApi()
    api.put_object("MediaPipeline", "default", pipeline(replicas=1))
    process = Process(api)
    await process.settle()
    (name,) = (item["metadata"]["name"] for item in api.of("MediaSession"))
    api.remove("Pod", "default", unclaimed(api)[0])
    process.loop.hands._busy[KEY] = {name: ""}
    process.relist()
    await process.look()
    assert not api.of("Pod"), "somebody is at it"
    process.loop.hands._busy.clear()
    await process.look()
    await process.settle()
    assert len(api.of("Pod")) == 1


async def test_what_we_deleted_needs_no_second_request() -> None:
    api = FakeApi()
    api.put_object("MediaPipeline", "default", pipeline(replicas=2))
    process = Process(api)
    await process.settle()
    (known,) = api.of("MediaPipeline")
    meta = {**known["metadata"], "generation": 2}
    api._store("MediaPipeline", "default", {**known, "metadata": meta, "spec": pipeline(replicas=0)["spec"]})
    process.relist()
    for _ in range(3):
        await process.look()
    deleted = [event for kind, event, _ in api.history if (kind, event) == ("MediaSession", "DELETED")]
    assert len(deleted) == 2
    gone = {view.deleting for view in process.cache.groups[KEY].sessions.values()}
    assert gone == {True}, "their end was noted before any watch told it"


def test_the_pods_of_each_session_are_kept_as_they_come_and_go() -> None:
    api = FakeApi()
    session = api.put_object("MediaSession", "default", claim("call"))
    cache = Cache(WorkQueue())
    owner = {"kind": "MediaSession", "name": "call", "uid": session["metadata"]["uid"]}
    for attempt in (0, 1):
        meta = {
            "name": f"call-{attempt}", "labels": {"ringline.dev/pipeline": "voice"}, "ownerReferences": [owner],
            "annotations": {"ringline.dev/attempt": str(attempt)},
        }  # fmt: skip
        api.put_object("Pod", "default", {"metadata": meta, "spec": {}})
    for kind, event, body in api.history:
        cache.note(kind, event, body)
    owned = cache.groups[KEY].owned[session["metadata"]["uid"]]
    assert [pod.name for pod in owned] == ["call-1", "call-0"], "the newest attempt first"
    for name in ("call-1", "call-0"):
        api.remove("Pod", "default", name)
    for kind, event, body in api.history:
        cache.note(kind, event, body)
    assert not cache.groups[KEY].owned
