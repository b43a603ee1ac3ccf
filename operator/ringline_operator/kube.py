"""The API server: the only module that talks HTTP to it.

Requests are plain mappings; a refusal is an `ApiError` that carries status, reason and Retry-After. Credentials come
from kopf's login handlers, so that the watches and the requests always agree.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import aiohttp
import kopf

from ringline.names import API_VERSION

TIMEOUT: Final = aiohttp.ClientTimeout(total=10, sock_connect=5)
"""An API server that does not answer within this is one that fails; a leader's lease outlives one such request."""
FAILING_PAUSE_S: Final = 0.25
LONGEST_RETRY_AFTER_S: Final = 30.0
PAGE: Final = 100
"""Objects in one answer to a list."""
FOLDERS: Final = {
    "MediaPipeline": f"/apis/{API_VERSION}/namespaces/{{}}/mediapipelines",
    "MediaSession": f"/apis/{API_VERSION}/namespaces/{{}}/mediasessions",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Event": "/api/v1/namespaces/{}/events",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
}
PLAIN: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}
"""Lists would come compressed: that costs the API server and us more CPU time than it saves on a cluster's network."""
MERGE: Final = "application/merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
MANAGER: Final = "ringline-operator"


class ApiError(Exception):
    """A request that the API server refused, or that never reached it (status 0)."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    @property
    def passing(self) -> bool:
        """Say whether the same request may succeed a little later."""
        return (self.status in {0, 429} or self.status >= 500) and not self.of_webhook

    @property
    def exists(self) -> bool:
        """Say whether an object could not be made because one of its name is there; other conflicts pass."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def of_webhook(self) -> bool:
        """Say whether an admission webhook could not be asked: a 500, but of this kind of object only."""
        return self.status == 500 and "failed calling webhook" in self.message


def path(kind: str, namespace: str, name: str = "", sub: str = "") -> str:
    """Return the path of a kind's folder, of one object, or of its subresource."""
    return "/".join(part for part in (FOLDERS[kind].format(namespace), name, sub) if part)


class Gate:
    """Keeps a failing API server from being hammered: while it fails, requests go one after the other, 4 a second.

    A Retry-After holds all of them. `now` is a monotonic clock in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._next = 0.0
        self._held = 0.0
        """Until when a Retry-After holds; what was sent before it and succeeds does not end it."""
        self._well = asyncio.Event()
        self._well.set()

    @property
    def failing(self) -> bool:
        """Say whether the last request failed so that the next may fail as well."""
        return not self._well.is_set()

    async def enter(self) -> None:
        """Wait for one's turn; none while all is well, and no longer than it is not."""
        if self.failing:
            self._next = max(self._next, self._now())
            turn, self._next = self._next, self._next + FAILING_PAUSE_S
            await self._pause(turn - self._now())

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._well.wait()

    def note(self, error: ApiError | None) -> None:
        """Take in how a request ended."""
        if error is not None and error.passing:
            self._well.clear()
            pause = min(error.retry_after or 0.0, LONGEST_RETRY_AFTER_S)
            self._held = max(self._held, self._now() + pause)
            self._next = max(self._next, self._now() + max(FAILING_PAUSE_S, pause))
        elif self._now() >= self._held:
            # Whoever waits for a turn goes on now: one broken connection must not cost ten others seconds.
            self._next = 0.0
            self._well.set()


class Kube:
    """A connection to the API server; `async with` it. `renew` returns fresh credentials after a 401.

    `connections`: requests that may be under way at once; the others wait for one of them to end.
    A request is sent once: whoever sent it looks at the world anew before the next try.
    """

    def __init__(
        self, info: kopf.ConnectionInfo, renew: Callable[[], kopf.ConnectionInfo | None] | None = None,
        connections: int = 32,
    ) -> None:  # fmt: skip
        self._info = info
        self._connections = connections
        self._renew = renew
        self._session: aiohttp.ClientSession | None = None
        self.gate = Gate()
        self.requests: Counter[str] = Counter()
        """Requests sent, by method."""

    async def __aenter__(self) -> Kube:
        self._session = _session(self._info, self._connections)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def use(self, info: kopf.ConnectionInfo) -> None:
        """Go on with other credentials: a token or a certificate was renewed."""
        if info == self._info:
            return
        former, self._info, self._session = self._session, info, _session(info, self._connections)
        if former is not None:
            await former.close()

    async def create(self, kind: str, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object; an `ApiError` 409 means that one of its name exists."""
        return await self.request("POST", path(kind, namespace), body)

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        """Read one object."""
        return await self.request("GET", path(kind, namespace, name))

    async def pages(
        self, kind: str, namespace: str = "", selector: str = ""
    ) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
        """Read all objects of a kind, page by page, each with the resource version that the whole list stands for.

        Without a namespace those of all. Items of a list carry neither `kind` nor `apiVersion`: both are added.
        """
        where = path(kind, namespace) if namespace else FOLDERS[kind].replace("/namespaces/{}", "")
        query = {"limit": str(PAGE), **({"labelSelector": selector} if selector else {})}
        version = 0
        while True:
            page = await self.request("GET", where, query=query)
            meta = page["metadata"]
            version = version or int(meta["resourceVersion"])
            yield [{"apiVersion": page["apiVersion"], "kind": kind, **item} for item in page["items"]], version
            if not meta.get("continue"):
                return
            query["continue"] = meta["continue"]

    async def patch(
        self, kind: str, namespace: str, name: str, body: Mapping[str, Any], *, sub: str = ""
    ) -> dict[str, Any]:
        """Merge `body` into an object; a `resourceVersion` in it makes a stale patch a 409."""
        return await self.request("PATCH", path(kind, namespace, name, sub), body, content=MERGE)

    async def put(self, kind: str, namespace: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an object; stale resource versions are a 409."""
        return await self.request("PUT", path(kind, namespace, name), body)

    async def apply(self, kind: str, namespace: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Apply our fields of an object on the server's side, creating it if need be."""
        query = {"fieldManager": MANAGER, "force": "true"}
        return await self.request("PATCH", path(kind, namespace, name), body, content=APPLY, query=query)

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete exactly the object with this uid; one that is gone, or another of its name, is no error."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        try:
            await self.request("DELETE", path(kind, namespace, name), options)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def request(
        self,
        method: str,
        where: str,
        body: Mapping[str, Any] | None = None,
        *,
        content: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send one request. Raises `ApiError`; after a 401 it is sent again with fresh credentials, if there are any."""
        await self.gate.enter()
        try:
            answer = await self._once(method, where, body, content, query)
        except ApiError as error:
            if error.status == 401 and await self._renewed():
                return await self._once(method, where, body, content, query)
            self.gate.note(error)
            raise
        self.gate.note(None)
        return answer

    async def _renewed(self) -> bool:
        info = self._renew() if self._renew is not None else None
        if info is None or info == self._info:
            return False
        await self.use(info)
        return True

    async def _once(
        self, method: str, where: str, body: Mapping[str, Any] | None, content: str, query: Mapping[str, str] | None
    ) -> dict[str, Any]:
        assert self._session is not None, "use `async with Kube(...)`"
        self.requests[method] += 1
        headers = {**PLAIN, "Content-Type": content, **self._info.as_http_headers()}
        data = None if body is None else json.dumps(body)
        try:
            async with self._session.request(
                method, self._info.server + where, data=data, headers=headers, params=query
            ) as answer:
                text = await answer.text()
                if answer.status >= 400:
                    raise _refusal(answer.status, text, answer.headers.get("Retry-After"))
                return json.loads(text)  # type: ignore[no-any-return]
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiError(0, type(error).__name__, str(error) or "no answer") from error


def _session(info: kopf.ConnectionInfo, connections: int) -> aiohttp.ClientSession:
    tls = info.as_ssl_context() if info.server.startswith("https") else False
    connector = aiohttp.TCPConnector(ssl=tls, limit=connections)
    return aiohttp.ClientSession(connector=connector, timeout=TIMEOUT, proxy=info.proxy_url, trust_env=info.trust_env)


def _refusal(status: int, text: str, retry_after: str | None) -> ApiError:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = {}
    delay = float(retry_after) if retry_after and retry_after.isdigit() else None
    return ApiError(status, answer.get("reason") or "Refused", answer.get("message") or text[:200], delay)
