"""Carries decisions out. Every action may be repeated: what is done already is left as it is.

What the API server answers goes into the cache at once, so that the next decision sees it before the watch does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
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
)
from ringline_operator.decide.world import Denial
from ringline_operator.kube import ApiError, Kube
from ringline_operator.lease import Lease
from ringline_operator.observe import Cache, Group, Key
from ringline_operator.settings import OperatorSettings
from ringline_operator.specs.labels import owner
from ringline_operator.specs.networkpolicy import network_policy
from ringline_operator.specs.pod import ANNOTATION_PARAMETERS, KEEP, PodIdentity, PodMould, PodSettings, pod_mould
from ringline_operator.specs.session import replica_session
from ringline_operator.tell import Teller
from ringline_operator.template import Template
from ringline_operator.views import LABEL_CLAIMED, LABEL_PIPELINE, LABEL_SESSION, SessionView

log = logging.getLogger(__name__)

DENIED_PAUSE_SECONDS: Final = 10.0
"""Between two tries of a pod that quota or admission refused: bounded load, quick enough once the reason is gone."""


class NotLeader(Exception):
    """The lease was lost: this process may not act any more."""


class Overtaken(Exception):
    """What was decided no longer fits to what is there, which is known by now: what follows from it must not be done."""


class Actor:
    """Executes actions for one operator. `became` hears of each status that was written."""

    def __init__(
        self, kube: Kube, cache: Cache, lease: Lease, settings: OperatorSettings, *, teller: Teller,
        became: Callable[[SessionView, Mapping[str, Any]], None] = lambda *_: None,
    ) -> None:  # fmt: skip
        self._kube = kube
        self._became = became
        self._teller = teller
        self._cache = cache
        self._lease = lease
        self._settings = settings
        self._policies: dict[Key, Template] = {}
        self._policing = asyncio.Lock()
        self._moulds: dict[Key, tuple[Template, PodMould]] = {}

    async def act(self, key: Key, action: Action) -> None:
        """Carry one action out. Raises `NotLeader`, and `ApiError` for a failure that another look must repair."""
        if not self._lease.held:
            raise NotLeader
        match action:
            case CreateSession():
                await self._create_session(key, action)
            case DeleteSession():
                log.info("deleting a session", extra={"session": action.name, "reason": action.reason})
                await self._delete("MediaSession", key, action)
            case CreatePod():
                await self._create_pod(key, action)
            case DeletePod():
                await self._delete("Pod", key, action)
            case ClaimPod():
                await self._claim(key, action)
            case PatchSession():
                await self._patch_session(key, action)
            case PatchPipeline():
                await self._patch_pipeline(key, action)
            case LabelSession():
                await self._label(key, action)
            case EmitEvent():
                self._teller.tell(key[0], action)

    async def _delete(self, kind: str, key: Key, action: DeleteSession | DeletePod) -> None:
        await self._kube.delete(kind, key[0], action.name, action.uid)
        self._cache.note_leaving(kind, key, action.name, action.uid)

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
            if made["spec"]["pipelineRef"]["name"] != key[1]:
                self._cache.note_foreign(key, action.name)
                return
        self._cache.note_session(None, made)

    async def _create_pod(self, key: Key, action: CreatePod) -> None:
        group = self._group(key)
        mould = self._mould(key, group)
        if mould is None:
            return
        await self._network_policy(key, group)
        who = PodIdentity(action.session, action.session_uid, action.attempt, action.claimed, action.parameters)
        try:
            made = await self._kube.create("Pod", key[0], mould.pod(who))
        except ApiError as error:
            await self._refused(key, action, error)
            return
        self._cache.note_denial(key, action.session_uid, None)
        self._cache.note_pod(None, made)
        self._tell(key, action, "Created", f"pod {made['metadata']['name']} was created")

    def _mould(self, key: Key, group: Group) -> PodMould | None:
        """Return what a pipeline's pods are made from; worked out once for each template."""
        template = group.template
        if template is None or template.resource is None or template.plan is None:
            return None
        known = self._moulds.get(key)
        if known is None or known[0] is not template:
            images = PodSettings(self._settings.image, self._settings.fixed_user)
            self._forget_what_is_gone()
            known = self._moulds[key] = template, pod_mould(template.resource, template.plan, images)
        return known[1]

    def _forget_what_is_gone(self) -> None:
        for key in self._moulds.keys() - self._cache.groups.keys():
            del self._moulds[key]
            self._policies.pop(key, None)

    async def _refused(self, key: Key, action: CreatePod, error: ApiError) -> None:
        if error.passing or (error.status == 409 and not error.exists):
            raise error
        if error.exists:
            name = f"{action.session}-{action.attempt}"
            if await self._look_again("Pod", key[0], name, pipeline=key[1]):
                return
            error = ApiError(409, "NameTaken", f"pod {name} is not of this pipeline: delete it, or use another name")
        denial = Denial(error.reason, error.message, time.time() + DENIED_PAUSE_SECONDS)
        self._cache.note_denial(key, action.session_uid, denial)
        notice = EmitEvent("MediaSession", action.session, action.session_uid, "Warning", "PodRefused", error.message)
        self._teller.tell(key[0], notice)

    async def _network_policy(self, key: Key, group: Group) -> None:
        if not self._settings.network_policies or group.pipeline is None or group.template is None:
            return
        template = group.template
        # The first of many pods makes it, the others wait: no pod is without.
        async with self._policing:
            if self._policies.get(key) is template:
                return
            body = network_policy(group.pipeline, template, self._settings.monitoring_namespace)
            await self._kube.apply("NetworkPolicy", key[0], body["metadata"]["name"], body)
            self._policies[key] = template

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
            await self._repair("Pod", key[0], action.pod, error)
            log.info("a pod went to another claim", extra={"pod": action.pod, "session": action.session})
            raise Overtaken from None
        self._cache.note_pod(None, taken)
        self._tell(key, action, "Claimed", f"took the ready pod {action.pod} of {action.from_session}")

    def _tell(self, key: Key, action: CreatePod | ClaimPod, reason: str, message: str) -> None:
        what = EmitEvent("MediaSession", action.session, action.session_uid, "Normal", reason, message)
        self._teller.tell(key[0], what)

    async def _label(self, key: Key, action: LabelSession) -> None:
        body = {"metadata": {"uid": action.uid, "labels": dict(action.labels)}}
        try:
            written = await self._kube.patch("MediaSession", key[0], action.name, body)
        except ApiError as error:
            await self._repair("MediaSession", key[0], action.name, error)
        else:
            self._cache.note_session(None, written)

    async def _repair(self, kind: str, namespace: str, name: str, error: ApiError) -> None:
        """Take a refusal for news: the object is gone, or not the one that we thought it was. Raises any other."""
        if error.status == 409:
            await self._look_again(kind, namespace, name)
        elif error.status == 404:
            self._cache.forget(kind, namespace, name)
        else:
            raise error

    async def _look_again(self, kind: str, namespace: str, name: str, *, pipeline: str = "") -> bool:
        """Take in an object as it is now; return False for one that does not belong to `pipeline`, which is left out."""
        try:
            found = await self._kube.get(kind, namespace, name)
        except ApiError as error:
            if error.status != 404:
                raise
            self._cache.forget(kind, namespace, name)
            return True
        if pipeline and (found["metadata"].get("labels") or {}).get(LABEL_PIPELINE) != pipeline:
            return False
        self._cache.note(kind, None, found)
        return True

    async def _patch_session(self, key: Key, action: PatchSession) -> None:
        known = self._group(key).sessions.get(action.name)
        if known is None or known.uid != action.uid or dict(known.status) == dict(action.status):
            return
        dropped = {name: None for name in known.status if name not in action.status}
        body = {"metadata": {"uid": action.uid}, "status": {**action.status, **dropped}}
        if await self._write_status("MediaSession", key, action.name, body):
            self._became(known, action.status)

    async def _patch_pipeline(self, key: Key, action: PatchPipeline) -> None:
        known = self._group(key).pipeline
        if known is None or (known.manifest.get("status") or {}) == action.status:
            return
        await self._write_status(
            "MediaPipeline", key, key[1], {"metadata": {"uid": known.uid}, "status": action.status}
        )

    async def _write_status(self, kind: str, key: Key, name: str, body: dict[str, Any]) -> bool:
        try:
            written = await self._kube.patch(kind, key[0], name, body, sub="status")
        except ApiError as error:
            await self._repair(kind, key[0], name, error)
            return False
        self._cache.note(kind, None, written)
        return True
