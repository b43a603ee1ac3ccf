"""Events come late, twice, in a wrong order or not at all, and objects come back under their old names."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringline_operator.decide.world import Denial
from ringline_operator.kube import Kube
from ringline_operator.observe import Cache, Group, WorkQueue
from ringline_operator.relist import relist
from ringline_operator.settings import OperatorSettings
from tests.operator.fake_api import FakeApi
from tests.operator.test_convergence import KEY, Process, claim, make_ready, pipeline, shape, unclaimed

Event = tuple[str, str, dict[str, Any]]


def past() -> FakeApi:
    """An API server in which names were used, freed and used again."""
    api = FakeApi()
    api.put_object("MediaPipeline", "default", pipeline())
    for turn in range(3):
        session = api.put_object("MediaSession", "default", claim("call"))
        owner = {"kind": "MediaSession", "name": "call", "uid": session["metadata"]["uid"]}
        meta = {"name": "call-0", "labels": {"ringline.dev/pipeline": "voice"}, "ownerReferences": [owner]}
        api.put_object("Pod", "default", {"metadata": meta, "spec": {}})
        make_ready(api)
        api._store("MediaSession", "default", {**session, "status": {"phase": "Running", "attempt": turn}})
        if turn < 2:
            api.remove("MediaSession", "default", "call")
    api.put_object("MediaSession", "default", claim("gone"))
    api.remove("MediaSession", "default", "gone")
    return api


PAST = past()


def told(events: list[Event]) -> Cache:
    cache = Cache(WorkQueue())
    for kind, event, body in events:
        cache.note(kind, event, body)
    return cache


def picture(cache: Cache) -> dict[Any, Any]:
    return {key: (group.pipeline, group.sessions, group.pods) for key, group in cache.groups.items()}


def listed(cache: Cache, api: FakeApi) -> Cache:
    for kind in ("MediaPipeline", "MediaSession", "Pod"):
        bodies = api.of(kind)
        for body in bodies:
            cache.note(kind, None, body)
        cache.replace(kind, "", {body["metadata"]["uid"] for body in bodies}, api._version)
    return cache


ORDERLY = picture(told(PAST.history))


@settings(max_examples=60)
@given(st.permutations(range(len(PAST.history))), st.lists(st.integers(0, len(PAST.history) - 1), max_size=10))
def test_in_any_order_and_told_twice_events_end_in_the_same_picture(order: list[int], twice: list[int]) -> None:
    assert picture(told([PAST.history[index] for index in (*order, *twice)])) == ORDERLY


@settings(max_examples=60)
@given(st.lists(st.integers(0, len(PAST.history) - 1), max_size=30))
def test_whatever_was_missed_the_next_list_repairs_it(heard: list[int]) -> None:
    assert picture(listed(told([PAST.history[index] for index in heard]), PAST)) == ORDERLY


def test_a_list_that_is_older_than_an_event_takes_nothing_away() -> None:
    api = past()
    cache = told(api.history)
    version = api._version
    body = api.put_object("MediaSession", "default", claim("new"))
    cache.note("MediaSession", "ADDED", body)
    cache.replace("MediaSession", "default", set(), version)
    assert list(cache.groups[KEY].sessions) == ["new"]


def test_a_list_of_one_namespace_says_nothing_of_others() -> None:
    cache = told(PAST.history)
    cache.replace("MediaSession", "elsewhere", set(), PAST._version)
    assert picture(cache) == ORDERLY


async def test_an_event_that_tells_nothing_new_asks_for_no_look() -> None:
    queue = WorkQueue()
    cache = Cache(queue)
    for kind, event, body in PAST.history:
        cache.note(kind, event, body)
    queue.done(await queue.take())
    for kind, event, body in PAST.history:
        cache.note(kind, event, body)
    assert len(queue) == 0


def test_what_belongs_to_nothing_any_more_is_forgotten() -> None:
    api = FakeApi()
    api.put_object("MediaPipeline", "default", pipeline())
    api.remove("MediaPipeline", "default", "voice")
    assert told(api.history).groups == {}


class Paged(FakeApi):
    """Answers lists in pages of two."""

    async def pages(self, kind: str, namespace: str = "", selector: str = "") -> Any:
        assert (selector == "") is (kind != "Pod")
        bodies = self.of(kind)
        for start in range(0, max(1, len(bodies)), 2):
            yield bodies[start : start + 2], self._version


async def test_a_whole_list_comes_page_by_page() -> None:
    api = Paged()
    for name in ("a", "b", "c", "d", "e"):
        api.put_object("MediaSession", "default", claim(name))
    cache = told([("MediaSession", "ADDED", {**api.of("MediaSession")[0], "metadata": {
        "name": "missed", "namespace": "default", "uid": "long gone", "resourceVersion": "1"}})])  # fmt: skip
    await relist(cast("Kube", api), cache, OperatorSettings(namespaces="default"))
    assert sorted(cache.groups[KEY].sessions) == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("seed", range(6))
async def test_an_operator_that_hears_badly_ends_where_one_that_hears_well_does(seed: int) -> None:
    async def story(*, badly: bool) -> Any:
        chance, api = random.Random(seed), FakeApi()
        process = Process(api)
        api.put_object("MediaPipeline", "default", pipeline())
        for turn in range(14):
            if turn == 5:
                api.put_object("MediaSession", "default", claim("call"))
            if turn == 9:
                for pod in unclaimed(api)[:1]:
                    api.remove("Pod", "default", pod)
            news = [item for item in api.history if item[0] != "Event"]
            if badly:
                news = chance.choices(news, k=len(news) // 2)
            for kind, event, body in news:
                process.cache.note(kind, event, body)
            await process.look()
            make_ready(api)
        await process.settle()
        return shape(api)

    pods, phases = await story(badly=True)
    well_pods, well_phases = await story(badly=False)
    assert len(pods) == len(set(pods)) == len(well_pods)
    assert [phase for _, phase in phases] == [phase for _, phase in well_phases]


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["delete", "make", "look", "bury"]), max_size=14))
def test_a_name_deleted_and_used_again_gets_a_pod_of_its_own(story: list[str]) -> None:
    async def play() -> None:
        api = FakeApi()
        api.graceful = True
        api.put_object("MediaPipeline", "default", pipeline(replicas=0))
        process = Process(api)
        for step in (*story, "delete", "make"):
            match step:
                case "delete":
                    api.remove("MediaSession", "default", "call")
                case "make" if ("MediaSession", "default", "call") not in api.objects:
                    api.put_object("MediaSession", "default", claim("call"))
                case "bury":
                    api.bury()
                case _:
                    process.relist()
                    await process.look()
        for _ in range(3):
            await process.settle()
            api.bury()
        await process.settle()
        (session,) = api.of("MediaSession")
        (pod,) = api.of("Pod")
        assert pod["metadata"]["ownerReferences"][0]["uid"] == session["metadata"]["uid"]
        assert session["status"]["phase"] == "Running"

    asyncio.run(play())


async def test_the_queue_holds_each_pipeline_once_and_again_after_work() -> None:
    queue = WorkQueue()
    for _ in range(3):
        queue.add(KEY)
    assert await queue.take() == KEY
    queue.add(KEY)
    assert len(queue) == 0, "it is worked on"
    queue.done(KEY)
    assert len(queue) == 1
    assert Group().sessions == {}


async def test_the_earlier_of_two_requests_for_a_later_look_counts() -> None:
    queue = WorkQueue()
    queue.add_after(KEY, 30)
    queue.add_after(KEY, 0.01)
    queue.add_after(KEY, 60)
    assert await queue.take() == KEY
    queue.close()


def test_a_pod_that_is_refused_when_all_is_gone_already_leaves_nothing_in_memory() -> None:
    cache = Cache(WorkQueue())
    cache.note_denial(KEY, "uid", Denial("Forbidden", "the namespace is being terminated", 0.0))
    assert not cache.groups
    cache.note_denial(KEY, "uid", None)
    assert not cache.groups
