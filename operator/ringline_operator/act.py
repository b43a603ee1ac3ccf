"""Carries decisions out. Every action may be repeated: what is done already is left as it is.

What the API server answers goes into the cache at once, so that the next decision sees it before the watch does.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from ringline_operator.actions import (
    Action,
    ClaimPod,
    CreatePod,
    CreateSession,
    DeletePod,
    DeleteSession,
    EmitEvent,
    LabelSession,
    PatchPipeline,
    PatchSession,
    subject,
)
from ringline_operator.decide.world import Denial
from ringline_operator.kube import ApiError, Kube
from ringline_operator.lease import Lease
from ringline_operator.observe import Cache, Group, Key
from ringline_operator.settings import OperatorSettings
from ringline_operator.specs.events import event
from ringline_operator.specs.labels import owner
from ringline_operator.specs.networkpolicy import network_policy
from ringline_operator.specs.pod import ANNOTATION_PARAMETERS, KEEP, PodIdentity, PodSettings, session_pod
from ringline_operator.specs.session import replica_session
from ringline_operator.views import LABEL_CLAIMED, LABEL_PIPELINE, LABEL_SESSION

log = logging.getLogger(__name__)

SIDE_BY_SIDE: Final = 16
"""Sessions of one pipeline that are acted on at once: an API server answers in milliseconds, but one after the other."""
DENIED_PAUSE_SECONDS: Final = 10.0
"""Between two tries of a pod that quota or admission refused: bounded load, quick enough once the reason is gone."""


class NotLeader(Exception):
    """The lease was lost: this process may not act any more."""


class Actor:
    """Executes actions for one operator."""

    def __init__(self, kube: Kube, cache: Cache, lease: Lease, settings: OperatorSettings) -> None:
        self._kube = kube
        self._cache = cache
        self._lease = lease
        self._settings = settings
        self._policies: dict[Key, str] = {}

    async def run(self, key: Key, actions: Sequence[Action]) -> None:
        """Carry `actions` out: those about one session in their order, sessions side by side.

        Raises `ApiError` for a failure that another look must repair, after what was under way has ended.
        """
        chains: dict[str, list[Action]] = {}
        for action in actions:
            chains.setdefault(subject(action), []).append(action)
        work = deque(chains.values())
        hands = [self._carry_out(key, work) for _ in range(min(SIDE_BY_SIDE, len(work)))]
        ends = await asyncio.gather(*hands, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _carry_out(self, key: Key, work: deque[list[Action]]) -> None:
        while work:
            try:
                for action in work.popleft():
                    if not self._lease.held:
                        raise NotLeader
                    await self._act(key, action)
            except BaseException:
                # The others end what they have begun; what is left is decided anew.
                work.clear()
                raise

    async def _act(self, key: Key, action: Action) -> None:
        match action:
            case CreateSession():
                await self._create_session(key, action)
            case DeleteSession():
                log.info("deleting a session", extra={"session": action.name, "reason": action.reason})
                await self._kube.delete("MediaSession", key[0], action.name, action.uid)
            case CreatePod():
                await self._create_pod(key, action)
            case DeletePod():
                await self._kube.delete("Pod", key[0], action.name, action.uid)
            case ClaimPod():
                await self._claim(key, action)
            case PatchSession():
                await self._patch_session(key, action)
            case PatchPipeline():
                await self._patch_pipeline(key, action)
            case LabelSession():
                await self._label(key, action)
            case EmitEvent():
                await self._emit(key, action)

    def _group(self, key: Key) -> Group:
        return self._cache.groups.get(key, Group())

    async def _create_session(self, key: Key, action: CreateSession) -> None:
        group = self._group(key)
        if group.pipeline is None:
            return
        body = replica_session(group.pipeline, action.name)
        try:
            made = await self._kube.create("MediaSession", key[0], body)
        except ApiError as error:
            if error.status != 409:
                raise
            made = await self._kube.get("MediaSession", key[0], action.name)
            if made["metadata"].get("labels", {}).get(LABEL_PIPELINE) != key[1]:
                log.warning("the name of a replica is taken", extra={"namespace": key[0], "session": action.name})
        self._cache.note_session(None, made)

    async def _create_pod(self, key: Key, action: CreatePod) -> None:
        group = self._group(key)
        if group.template is None or group.template.resource is None or group.template.plan is None:
            return
        await self._network_policy(key, group)
        who = PodIdentity(action.session, action.session_uid, action.attempt, action.claimed, action.parameters)
        images = PodSettings(self._settings.image, self._settings.fixed_user)
        body = session_pod(group.template.resource, group.template.plan, who, images)
        try:
            made = await self._kube.create("Pod", key[0], body)
        except ApiError as error:
            await self._refused(key, action, error)
            return
        group.denials.pop(action.session_uid, None)
        self._cache.note_pod(None, made)
        await self._tell(key, action, "Created", f"pod {made['metadata']['name']} was created")

    async def _refused(self, key: Key, action: CreatePod, error: ApiError) -> None:
        if error.status == 409:
            await self._look_again(key, f"{action.session}-{action.attempt}")
        elif error.passing:
            raise error
        else:
            denial = Denial(error.reason, error.message, time.time() + DENIED_PAUSE_SECONDS)
            self._group(key).denials[action.session_uid] = denial
            notice = EmitEvent(
                "MediaSession", action.session, action.session_uid, "Warning", "PodRefused", error.message
            )
            await self._emit(key, notice)

    async def _network_policy(self, key: Key, group: Group) -> None:
        if not self._settings.network_policies or group.pipeline is None or group.template is None:
            return
        body = network_policy(group.pipeline, group.template, self._settings.monitoring_namespace)
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        if self._policies.get(key) == digest:
            return
        await self._kube.apply("NetworkPolicy", key[0], body["metadata"]["name"], body)
        self._policies[key] = digest

    async def _claim(self, key: Key, action: ClaimPod) -> None:
        body = {
            "metadata": {
                "uid": action.pod_uid,
                "resourceVersion": action.resource_version,
                "labels": {LABEL_CLAIMED: "true", LABEL_SESSION: action.session},
                "annotations": {ANNOTATION_PARAMETERS: json.dumps(dict(action.parameters), sort_keys=True), **KEEP},
                "ownerReferences": [owner("MediaSession", action.session, action.session_uid)],
            }
        }
        try:
            taken = await self._kube.patch("Pod", key[0], action.pod, body)
        except ApiError as error:
            if error.status in (404, 409):
                log.info("a pod went to another claim", extra={"pod": action.pod, "session": action.session})
                await self._look_again(key, action.pod)
                return
            raise
        self._cache.note_pod(None, taken)
        await self._tell(key, action, "Claimed", f"took the ready pod {action.pod} of {action.from_session}")

    async def _tell(self, key: Key, action: CreatePod | ClaimPod, reason: str, message: str) -> None:
        await self._emit(key, EmitEvent("MediaSession", action.session, action.session_uid, "Normal", reason, message))

    async def _label(self, key: Key, action: LabelSession) -> None:
        body = {"metadata": {"uid": action.uid, "labels": dict(action.labels)}}
        try:
            self._cache.note_session(None, await self._kube.patch("MediaSession", key[0], action.name, body))
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def _look_again(self, key: Key, pod: str) -> None:
        try:
            self._cache.note_pod(None, await self._kube.get("Pod", key[0], pod))
        except ApiError as error:
            if error.status != 404:
                raise
            self._cache.forget("Pod", key[0], pod)

    async def _patch_session(self, key: Key, action: PatchSession) -> None:
        known = self._group(key).sessions.get(action.name)
        if known is None or known.uid != action.uid or dict(known.status) == dict(action.status):
            return
        dropped = {name: None for name in known.status if name not in action.status}
        body = {"metadata": {"uid": action.uid}, "status": {**action.status, **dropped}}
        await self._write_status("MediaSession", key, action.name, body)

    async def _patch_pipeline(self, key: Key, action: PatchPipeline) -> None:
        known = self._group(key).pipeline
        if known is None or (known.manifest.get("status") or {}) == action.status:
            return
        await self._write_status(
            "MediaPipeline", key, key[1], {"metadata": {"uid": known.uid}, "status": action.status}
        )

    async def _write_status(self, kind: str, key: Key, name: str, body: dict[str, Any]) -> None:
        try:
            written = await self._kube.patch(kind, key[0], name, body, sub="status")
        except ApiError as error:
            if error.status == 404:
                self._cache.forget(kind, key[0], name)
            elif error.status != 409:
                raise
            return
        self._cache.note(kind, None, written)

    async def _emit(self, key: Key, action: EmitEvent) -> None:
        """Tell, or do not: an Event that can't be written changes nothing else."""
        body = event(key[0], action, time.time())
        try:
            try:
                await self._kube.create("Event", key[0], body)
            except ApiError as error:
                if error.status != 409:
                    raise
                change = {"lastTimestamp": body["lastTimestamp"]}
                await self._kube.patch("Event", key[0], body["metadata"]["name"], change)
        except ApiError as error:
            log.debug("an event could not be written", extra={"event": body["metadata"]["name"], "error": str(error)})
