"""The operator is killed before and after each of its API calls, and started again with an empty memory.

Whatever the place, the end is the same as without the kill: one pod per session, nothing orphaned, nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from ringline_operator.act import Actor
from ringline_operator.kube import ApiError, Kube
from ringline_operator.lease import Lease
from ringline_operator.metrics import OperatorMetrics
from ringline_operator.observe import Cache, WorkQueue
from ringline_operator.poll import Poller
from ringline_operator.reconcile import Reconciler
from ringline_operator.settings import OperatorSettings
from ringline_operator.tell import Teller
from tests.operator.fake_api import FakeApi, Killed

KEY = ("default", "voice")
SPEC = {
    "replicas": 2,
    "nodes": [{"name": "vad", "type": "energy_vad"}, {"name": "meter", "type": "level_meter"}],
    "channels": [{"from": "vad.speech", "to": "meter.audio"}],
}


class HeldLease:
    held = True


def pipeline(**changes: Any) -> dict[str, Any]:
    spec = {**SPEC, **changes}
    return {"apiVersion": "ringline.dev/v1alpha1", "kind": "MediaPipeline", "metadata": {"name": "voice"}, "spec": spec}


def claim(name: str) -> dict[str, Any]:
    spec = {"pipelineRef": {"name": "voice"}, "parameters": {"greeting": "Hello"}}
    return {"apiVersion": "ringline.dev/v1alpha1", "kind": "MediaSession", "metadata": {"name": name}, "spec": spec}


class Process:
    """One life of the operator over a fake API server: everything it knows is gone with it."""

    def __init__(self, api: FakeApi, lease: Lease | None = None, *, policies: bool = False) -> None:
        self.api = api
        api.dead = False
        self.queue = WorkQueue()
        self.cache = Cache(self.queue)
        settings = OperatorSettings(network_policies=policies)
        lease = lease or cast("Lease", HeldLease())
        self.teller = Teller(cast("Kube", api))
        actor = Actor(cast("Kube", api), self.cache, lease, settings, teller=self.teller)
        self.loop = Reconciler(
            self.cache, self.queue, actor, lease=lease, poller=Poller(self.cache, self.queue), settings=settings,
            metrics=OperatorMetrics(self.cache, self.queue), relist=self._nothing,
            summary_pause=0.0,
        )  # fmt: skip

    async def _nothing(self) -> None:
        pass

    def relist(self) -> None:
        for kind in ("MediaPipeline", "MediaSession", "Pod"):
            bodies = self.api.of(kind)
            for body in bodies:
                self.cache.note(kind, None, body)
            self.cache.replace(kind, "", {body["metadata"]["uid"] for body in bodies}, self.api._version)

    async def look(self) -> None:
        """Look, and wait until all that follows from it is carried out."""
        self.loop.look(KEY)
        await self.loop.hands.idle()
        await self.teller.flush()

    async def settle(self, rounds: int = 12) -> None:
        for _ in range(rounds):
            self.relist()
            before = self.api._version
            await self.look()
            make_ready(self.api)
            if self.api._version == before:
                return
        raise AssertionError("the operator does not come to rest")


def make_ready(api: FakeApi) -> None:
    """The kubelet's part: every pod becomes ready."""
    for pod in api.of("Pod"):
        if "status" not in pod:
            condition = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Ready")]
            api._store("Pod", "default", {**pod, "status": {"phase": "Running", "conditions": condition}})


def shape(api: FakeApi) -> Any:
    """What matters of the end: which sessions there are, in which phase, and who owns which pod."""
    sessions = {item["metadata"]["uid"]: item for item in api.of("MediaSession")}
    pods = sorted(
        (
            item["metadata"]["labels"]["ringline.dev/claimed"],
            sessions[item["metadata"]["ownerReferences"][0]["uid"]]["metadata"]["name"],
        )
        for item in api.of("Pod")
    )
    phases = sorted((item["metadata"]["name"], item["status"]["phase"]) for item in sessions.values())
    return pods, phases


def unclaimed(api: FakeApi) -> list[str]:
    pods = [item["metadata"] for item in api.of("Pod")]
    return [meta["name"] for meta in pods if meta["labels"]["ringline.dev/claimed"] == "false"]


async def story(api: FakeApi) -> None:
    """Made, scaled, claimed, a pod lost: with kills in between the operator is simply started again."""
    steps: list[Callable[[], object]] = [
        lambda: api.put_object("MediaPipeline", "default", pipeline()),
        lambda: api.put_object("MediaSession", "default", claim("call")),
        lambda: api.remove("Pod", "default", unclaimed(api)[0]),
    ]
    for step in steps:
        step()
        process = Process(api)
        while True:
            try:
                await process.settle()
                break
            except Killed:
                process = Process(api)


async def plain_story() -> tuple[FakeApi, Any]:
    api = FakeApi()
    await story(api)
    return api, shape(api)


async def test_the_story_without_a_kill_ends_as_expected() -> None:
    api, (pods, phases) = await plain_story()
    assert len(pods) == 3
    assert [owner for claimed, owner in pods if claimed == "true"] == ["call"]
    assert {phase for _, phase in phases} == {"Running"}
    assert api.calls > 10


@pytest.mark.parametrize("moment", ["die_before", "die_after"])
async def test_killed_at_any_call_the_operator_ends_where_it_would_have(moment: str) -> None:
    api, expected = await plain_story()
    for call in range(1, api.calls + 1):
        wounded = FakeApi()
        setattr(wounded, moment, call)
        await story(wounded)
        pods, phases = shape(wounded)
        assert len(pods) == len(set(pods)), f"a session has two pods after a kill at call {call}"
        assert (len(pods), [p[1] for p in phases]) == (len(expected[0]), [p[1] for p in expected[1]]), f"call {call}"


async def test_a_quota_shows_in_the_status_and_in_an_event_and_is_not_hammered() -> None:
    api = FakeApi()
    api.put_object("MediaPipeline", "default", pipeline(replicas=1))
    api.refuse["Pod"] = ApiError(403, "Forbidden", "exceeded quota: small")
    process = Process(api)
    process.relist()
    for _ in range(4):
        await process.look()
    (session,) = api.of("MediaSession")
    ready = next(item for item in session["status"]["conditions"] if item["type"] == "Ready")
    assert (ready["status"], ready["reason"], ready["message"]) == ("False", "Forbidden", "exceeded quota: small")
    assert [item["reason"] for item in api.of("Event")] == ["PodRefused"]
    assert api.calls < 15


async def test_two_claims_for_one_pod_give_it_to_exactly_one() -> None:
    api = FakeApi()
    api.put_object("MediaPipeline", "default", pipeline(replicas=1))
    await Process(api).settle()
    api.put_object("MediaSession", "default", claim("one"))
    api.put_object("MediaSession", "default", claim("two"))
    first, second = Process(api), Process(api)
    first.relist()
    second.relist()
    await first.look()
    await second.look()
    await Process(api).settle()
    owners = [item["metadata"]["ownerReferences"][0]["name"] for item in api.of("Pod")]
    assert sorted(owners)[:2] == ["one", "two"]
    assert len(owners) == len(set(owners))


@pytest.mark.parametrize("late", [False, True], ids=["in order", "the end told last"])
async def test_a_claim_made_again_under_its_name_gets_a_pod_of_its_own(*, late: bool) -> None:
    api = FakeApi()
    api.graceful = True
    api.put_object("MediaPipeline", "default", pipeline(replicas=0))
    api.put_object("MediaSession", "default", claim("call"))
    process = Process(api)
    await process.settle()
    told = len(api.history)
    api.remove("MediaSession", "default", "call")
    again = api.put_object("MediaSession", "default", claim("call"))["metadata"]["uid"]
    news = api.history[told:]
    for kind, event, body in sorted(news, key=lambda item: item[1] == "DELETED") if late else news:
        process.cache.note(kind, event, body)
    await process.look()
    assert [pod["metadata"]["name"] for pod in api.of("Pod")] == ["call-0"], "the former one still ends"
    (session,) = api.of("MediaSession")
    assert {item["reason"] for item in session["status"]["conditions"] if item["status"] == "False"} >= {"NameTaken"}
    api.bury()
    await process.settle()
    (pod,) = api.of("Pod")
    assert pod["metadata"]["ownerReferences"][0]["uid"] == again
    assert [item["status"]["phase"] for item in api.of("MediaSession")] == ["Running"]


async def test_a_refused_pipeline_says_why_in_its_status() -> None:
    api = FakeApi()
    api.put_object("MediaPipeline", "default", pipeline(channels=[{"from": "vad.speech", "to": "meter.audo"}]))
    await Process(api).settle()
    (found,) = api.of("MediaPipeline")
    accepted = found["status"]["conditions"][0]
    assert (accepted["type"], accepted["status"]) == ("Accepted", "False")
    assert "node 'meter' has no input port 'audo'" in accepted["message"]
    assert not api.of("MediaSession")


async def test_old_events_do_not_replace_newer_ones() -> None:
    api = FakeApi()
    old = api.put_object("MediaPipeline", "default", pipeline(replicas=1))
    cache = Cache(WorkQueue())
    newer = {**old, "metadata": {**old["metadata"], "resourceVersion": "999"}, "spec": {**SPEC, "replicas": 7}}
    cache.note_pipeline("MODIFIED", newer)
    cache.note_pipeline("MODIFIED", old)
    found = cache.groups[KEY].pipeline
    assert found is not None
    assert found.replicas == 7
