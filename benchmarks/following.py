"""A watch of one folder of the API server, for the scale benchmark: it goes on after its stream ends.

`kubectl get --watch` ends silently when the API server drops a client that reads slowly, and then a benchmark waits for
ever; besides, it formats each object anew, on the CPUs that are measured.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import kopf

SILENCE_S = 75
"""Bookmarks come each minute."""


async def follow(info: kopf.ConnectionInfo, folder: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Yield type and object of each event in `folder`, what is there first; for ever."""
    timeout = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_S)
    connector = aiohttp.TCPConnector(ssl=info.as_ssl_context())
    async with aiohttp.ClientSession(info.server, connector=connector, timeout=timeout) as session:
        while True:
            try:
                # A watch from nowhere must ask etcd how far it is, and not every etcd can answer: list, then watch.
                async with session.get(folder, headers=info.as_http_headers()) as answer:
                    found = await answer.json()
                kind, version = found["kind"].removesuffix("List"), found["metadata"]["resourceVersion"]
                for item in found["items"]:
                    yield "ADDED", {"kind": kind, **item}
                while version:
                    query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}
                    async with session.get(folder, params=query, headers=info.as_http_headers()) as answer:
                        async for line in _lines(answer):
                            event = json.loads(line)
                            if event["type"] == "ERROR":
                                version = ""
                                break
                            version = event["object"]["metadata"]["resourceVersion"]
                            if event["type"] != "BOOKMARK":
                                yield event["type"], event["object"]
            except (aiohttp.ClientError, TimeoutError, OSError):
                await asyncio.sleep(0.2)


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    async for part in answer.content.iter_any():
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line
