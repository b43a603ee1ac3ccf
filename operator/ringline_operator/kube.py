"""The API server: the only module that talks HTTP to it.

Requests are plain mappings; a refusal is an `ApiError` that carries status, reason and Retry-After. Credentials come
from kopf's login handlers, so that the watches and the requests always agree.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp
import kopf

from ringline.names import API_VERSION

log = logging.getLogger(__name__)

TOKEN_FILE: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105
ATTEMPTS: Final = 5
TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=5)
FOLDERS: Final = {
    "MediaPipeline": f"/apis/{API_VERSION}/namespaces/{{}}/mediapipelines",
    "MediaSession": f"/apis/{API_VERSION}/namespaces/{{}}/mediasessions",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Event": "/api/v1/namespaces/{}/events",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
}
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
        return self.status in {0, 429} or self.status >= 500


def path(kind: str, namespace: str, name: str = "", sub: str = "") -> str:
    """Return the path of a kind's folder, of one object, or of its subresource."""
    return "/".join(part for part in (FOLDERS[kind].format(namespace), name, sub) if part)


class Kube:
    """A connection to the API server; `async with` it."""

    def __init__(self, info: kopf.ConnectionInfo, *, pause: float = 0.2) -> None:
        self._info = info
        self._pause = pause
        self._session: aiohttp.ClientSession | None = None
        self.requests = 0

    async def __aenter__(self) -> Kube:
        connector = aiohttp.TCPConnector(ssl=_tls(self._info), limit=32)
        auth = None
        if self._info.username and self._info.password:
            auth = aiohttp.BasicAuth(self._info.username, self._info.password)
        self._session = aiohttp.ClientSession(connector=connector, auth=auth, timeout=TIMEOUT)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def create(self, kind: str, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object; an `ApiError` 409 means that one of its name exists."""
        return await self.request("POST", path(kind, namespace), body)

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        """Read one object."""
        return await self.request("GET", path(kind, namespace, name))

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
        """Send one request; passing failures are tried again with doubling pauses, or as Retry-After asks."""
        pause = self._pause
        for attempt in range(ATTEMPTS):
            try:
                return await self._once(method, where, body, content, query)
            except ApiError as error:
                if not error.passing or attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(error.retry_after or pause)
                pause *= 2
        raise AssertionError("the loop returns or raises")

    async def _once(
        self, method: str, where: str, body: Mapping[str, Any] | None, content: str, query: Mapping[str, str] | None
    ) -> dict[str, Any]:
        assert self._session is not None, "use `async with Kube(...)`"
        self.requests += 1
        headers = {"Content-Type": content, "Accept": "application/json", **self._authorization()}
        data = None if body is None else json.dumps(body)
        try:
            async with self._session.request(
                method, self._info.server + where, data=data, headers=headers, params=query
            ) as answer:
                text = await answer.text()
                if answer.status >= 400:
                    raise _refusal(answer.status, text, answer.headers.get("Retry-After"))
                return json.loads(text)  # type: ignore[no-any-return]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(0, type(error).__name__, str(error) or "no answer") from error

    def _authorization(self) -> dict[str, str]:
        """Read the token anew each time: the kubelet renews a service account's."""
        token = self._info.token
        if token and self._info.scheme in (None, "Bearer"):
            try:
                token = Path(TOKEN_FILE).read_text(encoding="ascii").strip()
            except OSError:
                pass
        return {"Authorization": f"{self._info.scheme or 'Bearer'} {token}"} if token else {}


def _refusal(status: int, text: str, retry_after: str | None) -> ApiError:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = {}
    delay = float(retry_after) if retry_after and retry_after.isdigit() else None
    return ApiError(status, answer.get("reason") or "Refused", answer.get("message") or text[:200], delay)


def _tls(info: kopf.ConnectionInfo) -> ssl.SSLContext | bool:
    if not info.server.startswith("https"):
        return False
    data = info.ca_data
    context = ssl.create_default_context(
        cafile=str(info.ca_path) if info.ca_path else None,
        cadata=None if data is None else _pem(data),
    )
    if info.certificate_path and info.private_key_path:
        context.load_cert_chain(str(info.certificate_path), str(info.private_key_path))
    if info.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _pem(data: str | bytes) -> str:
    import base64

    text = data.decode() if isinstance(data, bytes) else data
    return text if text.startswith("-----") else base64.b64decode(text).decode()
