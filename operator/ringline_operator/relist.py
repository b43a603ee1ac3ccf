"""Reads everything that the operator cares for: at its start, when it takes over, and once in a resync period.

The watches tell what changes; a list tells what is, and so repairs whatever a watch missed.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringline_operator.kube import Kube
from ringline_operator.observe import Cache
from ringline_operator.settings import OperatorSettings
from ringline_operator.views import LABEL_SESSION

KINDS: Final = {"MediaPipeline": "", "MediaSession": "", "Pod": LABEL_SESSION}


async def relist(kube: Kube, cache: Cache, settings: OperatorSettings) -> None:
    """Bring the cache to what the API server holds now. Raises `ApiError`."""
    places = [(kind, namespace) for kind in KINDS for namespace in settings.watched or ("",)]
    for end in await asyncio.gather(*(_list(kube, cache, *place) for place in places), return_exceptions=True):
        if isinstance(end, BaseException):
            raise end


async def _list(kube: Kube, cache: Cache, kind: str, namespace: str) -> None:
    listed: set[str] = set()
    version = 0
    async for items, version in kube.pages(kind, namespace, KINDS[kind]):  # noqa: B007
        for item in items:
            listed.add(item["metadata"]["uid"])
            cache.note(kind, None, item)
    cache.replace(kind, namespace, listed, version)
