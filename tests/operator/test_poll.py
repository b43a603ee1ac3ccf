"""Gateways of sessions that are not ready are asked for what a pod's own status can't say, and nothing of it hurts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from ringline_operator import poll
from ringline_operator.observe import Cache, Group, WorkQueue
from ringline_operator.poll import LARGEST_ANSWER, Poller
from ringline_operator.views import PodView
from tests.operator.pictures import START
from tests.operator.test_convergence import KEY

POD = PodView("call-0", "uid-p", "1", "call", "uid-s", START, phase="Running", ip="10.0.0.7")


class Asked(Poller):
    """Notes whom it asks, and answers itself."""

    def __init__(self, cache: Cache, queue: WorkQueue, period_s: float = 1.0) -> None:
        super().__init__(cache, queue, period_s)
        self.urls: list[str] = []
        self.answer: Mapping[str, Any] | None = {"nodes": []}

    async def _fetch(self, url: str) -> Mapping[str, Any] | None:
        self.urls.append(url)
        await asyncio.sleep(0)
        return self.answer


def group(cache: Cache, *pods: PodView) -> Group:
    found = cache.groups.setdefault(KEY, Group())
    for pod in pods:
        found.put_pod(pod)
    return found


async def answered(poller: Poller) -> None:
    while poller._asking:
        await asyncio.gather(*poller._asking.values())
        await asyncio.sleep(0)


async def test_who_is_not_ready_is_asked_once_in_a_period_and_its_answer_is_kept() -> None:
    queue = WorkQueue()
    cache = Cache(queue)
    poller = Asked(cache, queue, period_s=3600)
    known = group(cache, POD)
    for _ in range(3):
        assert poller.watch(KEY, known), "there is something to look at again"
        await answered(poller)
    assert poller.urls == ["http://10.0.0.7:9090/status"]
    assert known.reports == {"uid-p": {"nodes": []}}
    assert len(queue) == 1
    await poller.close()


@pytest.mark.parametrize("change", [{"ready": True}, {"phase": "Failed"}, {"deleting": True}, {"ip": ""}], ids=str)
async def test_who_has_nothing_to_tell_is_not_asked(change: dict[str, Any]) -> None:
    queue = WorkQueue()
    cache = Cache(queue)
    poller = Asked(cache, queue)
    assert not poller.watch(KEY, group(cache, replace(POD, **change)))
    assert poller.urls == []
    await poller.close()


async def test_pods_of_the_past_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(poll, "time", SimpleNamespace(monotonic=lambda: now[0]))
    queue = WorkQueue()
    cache = Cache(queue)
    poller = Asked(cache, queue)
    for number in range(200):
        now[0] += 2
        group(cache).take_pod("call-0")
        poller.watch(KEY, group(cache, replace(POD, uid=f"uid-{number}")))
        await answered(poller)
    assert len(poller.urls) == 200
    assert len(poller._asked) < 100
    await poller.close()


async def test_a_report_of_a_pod_that_is_gone_is_dropped() -> None:
    queue = WorkQueue()
    cache = Cache(queue)
    poller = Asked(cache, queue)
    known = group(cache, POD)
    poller.watch(KEY, known)
    known.take_pod(POD.name)
    await answered(poller)
    assert not known.reports
    await poller.close()


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[str]:
    """Answers as its path says."""

    async def handle(request: web.Request) -> web.Response:
        texts = {"good": '{"phase": "Running"}', "list": "[]", "words": "nothing", "long": f'"{"x" * LARGEST_ANSWER}"'}
        name = request.path.strip("/")
        status = 200 if name in texts else 503
        return web.Response(text=texts.get(name, "{}"), content_type="application/json", status=status)

    app = web.Application()
    app.router.add_get("/{any:.*}", handle)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


async def test_only_an_answer_that_makes_sense_counts(gateway: str) -> None:
    queue = WorkQueue()
    poller = Poller(Cache(queue), queue)
    assert await poller._fetch(gateway + "good") == {"phase": "Running"}
    for name in ("list", "words", "long", "busy"):
        assert await poller._fetch(gateway + name) is None
    assert await poller._fetch("http://127.0.0.1:1/status") is None
    await poller.close()
