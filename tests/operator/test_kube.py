"""Requests to an API server that fails, throttles, forgets who we are, and divides its lists."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import kopf
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from ringline_operator.kube import FAILING_PAUSE_S, ApiError, Gate, Kube, path

Answer = Callable[[web.Request], web.Response]


class Api:
    """A server that answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.tokens: list[str] = []
        self.answers: list[Answer] = []

    async def handle(self, request: web.Request) -> web.Response:
        text = await request.text()
        self.asked.append((request.method, request.path_qs, json.loads(text) if text else None))
        self.tokens.append(request.headers.get("Authorization", ""))
        return self.answers.pop(0)(request) if self.answers else web.json_response({"kind": "Some"})


def refusal(status: int, reason: str, **headers: str) -> Answer:
    return lambda _: web.json_response({"reason": reason, "message": "because"}, status=status, headers=headers)


@pytest_asyncio.fixture
async def api() -> AsyncIterator[tuple[Api, kopf.ConnectionInfo]]:
    found, app = Api(), web.Application()
    app.router.add_route("*", "/{any:.*}", found.handle)
    async with TestServer(app) as server:
        yield found, kopf.ConnectionInfo(server=str(server.make_url("")).rstrip("/"), token="first")


Served = tuple[Api, kopf.ConnectionInfo]


async def test_a_refusal_carries_what_the_server_said(api: Served) -> None:
    found, info = api
    found.answers.append(refusal(429, "TooManyRequests", **{"Retry-After": "7"}))
    async with Kube(info) as kube:
        with pytest.raises(ApiError) as caught:
            await kube.get("Pod", "studio", "a")
    error = caught.value
    assert (error.status, error.reason, error.message, error.retry_after) == (429, "TooManyRequests", "because", 7.0)
    assert error.passing
    assert kube.gate.failing


async def test_no_answer_is_asked_for_in_a_compressed_form(api: Served) -> None:
    found, info = api
    found.answers.append(lambda request: web.json_response({"wanted": request.headers["Accept-Encoding"]}))
    async with Kube(info) as kube:
        assert await kube.get("Pod", "studio", "a") == {"wanted": "identity"}


async def test_after_a_401_the_request_is_sent_again_with_fresh_credentials(api: Served) -> None:
    found, info = api
    found.answers.append(refusal(401, "Unauthorized"))
    async with Kube(info, renew=lambda: replace(info, token="second")) as kube:
        assert await kube.get("Pod", "studio", "a") == {"kind": "Some"}
    assert found.tokens == ["Bearer first", "Bearer second"]


async def test_a_401_without_news_is_an_error_and_not_a_loop(api: Served) -> None:
    found, info = api
    found.answers.append(refusal(401, "Unauthorized"))
    async with Kube(info, renew=lambda: info) as kube:
        with pytest.raises(ApiError, match="401"):
            await kube.get("Pod", "studio", "a")
    assert len(found.asked) == 1


async def test_a_server_that_is_not_there_is_a_passing_failure() -> None:
    async with Kube(kopf.ConnectionInfo(server="http://127.0.0.1:1")) as kube:
        with pytest.raises(ApiError) as caught:
            await kube.get("Pod", "studio", "a")
    assert (caught.value.status, caught.value.passing) == (0, True)


async def test_an_answer_that_is_no_json_is_a_passing_failure(api: Served) -> None:
    found, info = api
    found.answers.append(lambda _: web.Response(text="<html>"))
    async with Kube(info) as kube:
        with pytest.raises(ApiError) as caught:
            await kube.get("Pod", "studio", "a")
    assert caught.value.status == 0


async def test_deleting_names_the_uid_and_what_is_gone_is_no_error(api: Served) -> None:
    found, info = api
    found.answers += [refusal(404, "NotFound"), refusal(409, "Conflict"), refusal(500, "InternalError")]
    async with Kube(info) as kube:
        await kube.delete("Pod", "studio", "a", "uid-1")
        await kube.delete("Pod", "studio", "a", "uid-1")
        with pytest.raises(ApiError, match="500"):
            await kube.delete("Pod", "studio", "a", "uid-1")
    assert found.asked[0][2]["preconditions"] == {"uid": "uid-1"}


async def test_a_long_list_is_read_in_pages(api: Served) -> None:
    found, info = api
    page = {"apiVersion": "v1", "items": [{"metadata": {"name": "a"}}], "metadata": {"resourceVersion": "7"}}
    more = {**page, "metadata": {"resourceVersion": "7", "continue": "next"}}
    found.answers += [lambda _: web.json_response(more), lambda _: web.json_response(page)]
    async with Kube(info, connections=1) as kube:
        pages = [item async for item in kube.pages("Pod", "", "ringline.dev/session")]
    assert [version for _, version in pages] == [7, 7]
    assert pages[0][0] == [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}]
    assert found.asked[0][1].startswith("/api/v1/pods?limit=")
    assert found.asked[1][1].endswith("continue=next")


async def test_writes_go_to_the_right_place_and_are_counted(api: Served) -> None:
    found, info = api
    async with Kube(info) as kube:
        await kube.create("MediaSession", "studio", {"metadata": {"name": "a"}})
        await kube.patch("MediaSession", "studio", "a", {"status": {}}, sub="status")
        await kube.put("Lease", "studio", "l", {})
        await kube.apply("NetworkPolicy", "studio", "n", {})
    sessions = "/apis/ringline.dev/v1alpha1/namespaces/studio/mediasessions"
    assert [where for _, where, _ in found.asked][:2] == [sessions, f"{sessions}/a/status"]
    assert "fieldManager=ringline-operator" in found.asked[3][1]
    assert kube.requests == {"POST": 1, "PATCH": 2, "PUT": 1}


async def test_new_credentials_are_used_from_then_on(api: Served) -> None:
    found, info = api
    async with Kube(info) as kube:
        await kube.get("Pod", "studio", "a")
        await kube.use(replace(info, token="renewed"))
        await kube.use(replace(info, token="renewed"))
        await kube.get("Pod", "studio", "a")
    assert found.tokens == ["Bearer first", "Bearer renewed"]


def test_paths_have_only_the_parts_that_are_given() -> None:
    assert path("Pod", "studio") == "/api/v1/namespaces/studio/pods"
    assert path("Pod", "studio", "a", "status") == "/api/v1/namespaces/studio/pods/a/status"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def watched_gate(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> tuple[Gate, list[float]]:
    """A gate that waits for nobody, and the seconds for which it would have."""
    gate, waited = Gate(clock), []

    async def pause(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(gate, "_pause", pause)
    return gate, waited


async def test_who_waits_for_a_turn_goes_on_as_soon_as_the_server_answers() -> None:
    gate = Gate(Clock())
    gate.note(ApiError(0, "ServerDisconnectedError", "one of many connections broke"))
    waiting = [asyncio.create_task(gate.enter()) for _ in range(4000)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    gate.note(None)
    async with asyncio.timeout(60):  # the last one's turn would come after a quarter of an hour
        await asyncio.gather(*waiting)


async def test_a_refusal_says_the_server_is_well_and_so_does_a_webhook_that_can_not_be_asked() -> None:
    gate = Gate(Clock())
    gate.note(ApiError(500, "InternalError", "Internal error occurred: etcd is slow"))
    assert gate.failing
    gate.note(ApiError(500, "InternalError", 'Internal error occurred: failed calling webhook "a": refused'))
    assert not gate.failing
    assert ApiError(409, "AlreadyExists", "").exists
    assert not ApiError(409, "Conflict", "").exists


async def test_while_the_server_fails_requests_go_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, waited = watched_gate(monkeypatch, Clock())
    await gate.enter()
    assert not waited
    gate.note(ApiError(503, "ServiceUnavailable", "down"))
    for _ in range(8):
        await gate.enter()
    assert waited == pytest.approx([FAILING_PAUSE_S * turn for turn in range(1, 9)])
    assert 1 / FAILING_PAUSE_S <= 5
    gate.note(None)
    await gate.enter()
    assert len(waited) == 8


async def test_a_retry_after_holds_everything_back_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    gate, waited = watched_gate(monkeypatch, clock)
    gate.note(ApiError(429, "TooManyRequests", "slow down", 5))
    await gate.enter()
    gate.note(None)
    assert gate.failing, "what was sent before and succeeds does not end the pause"
    gate.note(ApiError(429, "TooManyRequests", "slow down", 86400))
    await gate.enter()
    assert waited == pytest.approx([5, 30])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, certificate


async def test_a_kubeconfig_with_certificates_inside_it_works(certificates: tuple[Path, Path]) -> None:
    key, certificate = certificates
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate))
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    found, app = Api(), web.Application()
    app.router.add_route("*", "/{any:.*}", found.handle)

    def inside(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    port = runner.addresses[0][1]
    info = kopf.ConnectionInfo(
        server=f"https://127.0.0.1:{port}", ca_data=inside(certificate),
        certificate_data=inside(certificate), private_key_data=inside(key),
    )  # fmt: skip
    async with Kube(info) as kube:
        assert await kube.get("Pod", "studio", "a") == {"kind": "Some"}
    async with Kube(replace(info, certificate_data=None, private_key_data=None)) as kube:
        with pytest.raises(ApiError):
            await kube.get("Pod", "studio", "a")
    await runner.cleanup()
