"""What the operator knows: a cache that watch events fill, and a queue of the pipelines that want a look.

Events may come late, twice or out of order: an older resource version never replaces a newer one, and the queue holds
each pipeline once, whatever happened to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ringline_operator.decide import World
from ringline_operator.decide.world import Denial
from ringline_operator.template import Template, read_template
from ringline_operator.views import LABEL_PIPELINE, PipelineView, PodView, SessionView, pod_view, session_view

Key = tuple[str, str]
"""Namespace and pipeline name: what is reconciled together."""


class WorkQueue:
    """Keys in the order in which they came, each at most once; a key that is worked on comes again afterwards."""

    def __init__(self) -> None:
        self._waiting: dict[Key, None] = {}
        self._busy: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._some = asyncio.Condition()
        self._wakers: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key) -> None:
        """Ask for a look at `key`."""
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = None
            self._wake()

    def add_after(self, key: Key, delay: float) -> None:
        """Ask for a look after `delay` seconds; the earlier of two requests counts."""
        loop = asyncio.get_running_loop()
        known = self._timers.get(key)
        due = loop.time() + delay
        if known is not None and not known.cancelled() and known.when() <= due and known.when() > loop.time():
            return
        if known is not None:
            known.cancel()
        self._timers[key] = loop.call_later(delay, self.add, key)

    def _wake(self) -> None:
        task = asyncio.ensure_future(self._notify())
        self._wakers.add(task)
        task.add_done_callback(self._wakers.discard)

    async def _notify(self) -> None:
        async with self._some:
            self._some.notify()

    async def take(self) -> Key:
        """Wait for a key and mark it busy."""
        async with self._some:
            while not self._waiting:
                await self._some.wait()
            key = next(iter(self._waiting))
            del self._waiting[key]
            self._busy.add(key)
            return key

    def done(self, key: Key) -> None:
        """Say that the look is over."""
        self._busy.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Cancel all timers."""
        for timer in self._timers.values():
            timer.cancel()


@dataclass
class Group:
    """One pipeline with all that belongs to it, by object name."""

    pipeline: PipelineView | None = None
    template: Template | None = None
    sessions: dict[str, SessionView] = field(default_factory=dict)
    pods: dict[str, PodView] = field(default_factory=dict)
    denials: dict[str, Denial] = field(default_factory=dict)
    reports: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """What gateways said last, by pod uid."""


class Cache:
    """All groups. `note_*` take an event's type (DELETED or not) and its object."""

    def __init__(self, queue: WorkQueue) -> None:
        self.groups: dict[Key, Group] = {}
        self._queue = queue
        self._versions: dict[tuple[str, str, str], tuple[str, int]] = {}

    def world(self, key: Key) -> World:
        """Return the picture of one pipeline."""
        group = self.groups.get(key, Group())
        return World(
            group.pipeline,
            tuple(group.sessions.values()),
            tuple(group.pods.values()),
            dict(group.denials),
            dict(group.reports),
        )

    def note_pipeline(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Take in a `MediaPipeline`."""
        key = (body["metadata"]["namespace"], body["metadata"]["name"])
        if not self._newer("MediaPipeline", event, body):
            return
        group = self.groups.setdefault(key, Group())
        if event == "DELETED":
            group.pipeline = group.template = None
        else:
            group.template = read_template(body, group.template)
            group.pipeline = group.template.view(body)
        self._changed(key)

    def note_session(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Take in a `MediaSession`."""
        key = (body["metadata"]["namespace"], body["spec"]["pipelineRef"]["name"])
        if not self._newer("MediaSession", event, body):
            return
        sessions = self.groups.setdefault(key, Group()).sessions
        if event == "DELETED":
            gone = sessions.pop(body["metadata"]["name"], None)
            if gone is not None:
                self.groups[key].denials.pop(gone.uid, None)
        else:
            sessions[body["metadata"]["name"]] = session_view(body)
        self._changed(key)

    def note_pod(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Take in a session's pod."""
        key = (body["metadata"]["namespace"], body["metadata"].get("labels", {}).get(LABEL_PIPELINE, ""))
        if not self._newer("Pod", event, body):
            return
        group = self.groups.setdefault(key, Group())
        if event == "DELETED":
            group.pods.pop(body["metadata"]["name"], None)
            group.reports.pop(body["metadata"]["uid"], None)
        else:
            group.pods[body["metadata"]["name"]] = pod_view(body)
        self._changed(key)

    def _newer(self, kind: str, event: str | None, body: Mapping[str, Any]) -> bool:
        meta = body["metadata"]
        where = (kind, meta["namespace"], meta["name"])
        uid, version = meta["uid"], int(meta["resourceVersion"])
        known = self._versions.get(where)
        if known is not None and version < known[1]:
            return False
        if event == "DELETED":
            self._versions.pop(where, None)
            return known is None or known[0] == uid
        self._versions[where] = (uid, version)
        return True

    def _changed(self, key: Key) -> None:
        group = self.groups[key]
        if group.pipeline is None and not group.sessions and not group.pods:
            del self.groups[key]
        else:
            self._queue.add(key)
