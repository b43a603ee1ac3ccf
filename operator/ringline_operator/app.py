"""kopf's side: where events come in and where the operator begins and ends. Nothing is decided here.

Only event handlers are used: kopf's timers, daemons and change handlers would put finalizers and annotations on
objects, and a session must be deletable while no operator runs.
"""

from __future__ import annotations

import os
from typing import Any

import kopf

from ringline_operator.credentials import credentials
from ringline_operator.forgetful import NoDifferences, NoProgress
from ringline_operator.kube import PAGE
from ringline_operator.operator import Operator
from ringline_operator.settings import operator_settings
from ringline_operator.views import LABEL_SESSION

GROUP, VERSION = "ringline.dev", "v1alpha1"
operator = Operator(operator_settings(os.environ))


@kopf.on.startup()  # type: ignore[misc, unused-ignore]
async def begin(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 360
    # The server sends a bookmark each minute: a stream that is silent for longer has lost its other end.
    settings.watching.inactivity_timeout = 75
    settings.networking.request_timeout = 30
    # Each watch asks at most this often while the API server fails, and never gives up.
    settings.networking.error_backoffs = (1, 2, 4, 8, 10, 10)
    settings.watching.label_selectors["pods"] = LABEL_SESSION
    # A pod is 100 kB of dictionaries: neither a list of a thousand nor the last event of each is to be held at once.
    settings.watching.chunk_size = PAGE
    settings.queueing.idle_timeout = 0.1
    settings.persistence.diffbase_storage = NoDifferences()
    settings.persistence.progress_storage = NoProgress()
    settings.scanning.disabled = True
    settings.execution.max_workers = 1


@kopf.on.login()  # type: ignore[misc, unused-ignore]
async def login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
    info = credentials(settings)
    if info is not None:
        await operator.start(info)
    return info


@kopf.on.cleanup()  # type: ignore[misc, unused-ignore]
async def end(**_: Any) -> None:
    await operator.stop()


@kopf.on.event(GROUP, VERSION, "mediapipelines")  # type: ignore[misc, unused-ignore]
async def pipeline_event(event: kopf.RawEvent, **_: Any) -> None:
    operator.cache.note_pipeline(event["type"], event["object"])


@kopf.on.event(GROUP, VERSION, "mediasessions")  # type: ignore[misc, unused-ignore]
async def session_event(event: kopf.RawEvent, **_: Any) -> None:
    operator.cache.note_session(event["type"], event["object"])


@kopf.on.event("v1", "pods", labels={LABEL_SESSION: kopf.PRESENT})  # type: ignore[misc, unused-ignore]
async def pod_event(event: kopf.RawEvent, **_: Any) -> None:
    operator.cache.note_pod(event["type"], event["object"])
