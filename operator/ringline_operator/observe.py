"""What the operator knows: a cache that watch events and lists fill; each change puts its pipeline into the queue.

Events may come late, twice or out of order: an older resource version never replaces a newer one, an object that was
deleted does not come back, and what was missed comes with the next list.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from ringline_operator.decide import World
from ringline_operator.decide.world import Denial
from ringline_operator.queue import Key, WorkQueue
from ringline_operator.template import Template, read_template
from ringline_operator.views import LABEL_PIPELINE, PipelineView, PodView, SessionView, pod_view, session_view

__all__ = ["Cache", "Group", "Key", "WorkQueue"]


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
    owned: dict[str, tuple[PodView, ...]] = field(default_factory=dict)
    """The pods of each session, newest attempt first, by the session's uid."""
    foreign: set[str] = field(default_factory=set)
    """Names that this pipeline would have given to sessions, and others have: until the next whole list."""
    touched: set[str] = field(default_factory=set)
    """Uids of the sessions of which there is news since the last look."""

    def put_pod(self, pod: PodView) -> None:
        """Take in a pod, whoever owned it before."""
        self.take_pod(pod.name)
        self.pods[pod.name] = pod
        others = (*self.owned.get(pod.owner_uid, ()), pod)
        self.owned[pod.owner_uid] = tuple(sorted(others, key=lambda item: -item.attempt))
        self.touched.add(pod.owner_uid)

    def take_pod(self, name: str) -> PodView | None:
        """Forget a pod."""
        gone = self.pods.pop(name, None)
        if gone is not None:
            left = tuple(item for item in self.owned[gone.owner_uid] if item.name != name)
            if left:
                self.owned[gone.owner_uid] = left
            else:
                del self.owned[gone.owner_uid]
            self.touched.add(gone.owner_uid)
        return gone


@dataclass(frozen=True, slots=True)
class Known:
    """The last that was seen of an object."""

    uid: str
    version: int
    key: Key


class Seen:
    """Judges whether an event is news: events come late, twice, out of order, and of objects that are gone."""

    def __init__(self) -> None:
        self.last: dict[tuple[str, str, str], Known] = {}
        self._dead: set[str] = set()
        self._long_dead: set[str] = set()

    def is_news(self, kind: str, event: str | None, key: Key, body: Mapping[str, Any]) -> bool:
        """Remember the object, and say whether it tells something new."""
        meta = body["metadata"]
        where = (kind, key[0], meta["name"])
        uid, version = meta["uid"], int(meta["resourceVersion"])
        known = self.last.get(where)
        if event == "DELETED":
            self._dead.add(uid)
            if known is None or known.uid != uid:
                return False
            del self.last[where]
            return True
        if uid in self._dead or uid in self._long_dead or (known is not None and version <= known.version):
            return False
        if known is not None and known.uid != uid:
            self._dead.add(known.uid)
        self.last[where] = Known(uid, version, key)
        return True

    def age(self) -> None:
        """Forget the oldest once there are many: no event of theirs is on its way any more."""
        if len(self._dead) > 1000:
            self._dead, self._long_dead = set(), self._dead


class Cache:
    """All groups. `note_*` take an event's type (DELETED or not) and its object."""

    def __init__(self, queue: WorkQueue) -> None:
        self.groups: dict[Key, Group] = {}
        self._queue = queue
        self._seen = Seen()

    def world(self, key: Key, under_way: Mapping[str, str] = MappingProxyType({})) -> World:
        """Return the picture of one pipeline, with what is new in it since the last time.

        `under_way`: sessions that are being acted on, each with the pod that is promised to it.
        """
        group = self.groups.get(key, Group())
        touched, group.touched = frozenset(group.touched), set()
        return World(
            group.pipeline, tuple(group.sessions.values()), tuple(group.pods.values()), group.denials, group.reports,
            under_way=under_way, touched=touched, owned=group.owned, foreign=frozenset(group.foreign),
        )  # fmt: skip

    def note(self, kind: str, event: str | None, body: Mapping[str, Any]) -> None:
        """Take in an object of a kind."""
        {"MediaPipeline": self.note_pipeline, "MediaSession": self.note_session, "Pod": self.note_pod}[kind](
            event, body
        )

    def note_pipeline(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Take in a `MediaPipeline`."""
        key = (body["metadata"]["namespace"], body["metadata"]["name"])
        if self._is_news("MediaPipeline", event, key, body):
            group = self.groups.setdefault(key, Group())
            group.template = read_template(body, group.template)
            group.pipeline = group.template.view(body)
            self._queue.add(key)

    def note_session(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Take in a `MediaSession`."""
        key = (body["metadata"]["namespace"], body["spec"]["pipelineRef"]["name"])
        if self._is_news("MediaSession", event, key, body):
            group = self.groups.setdefault(key, Group())
            group.sessions[body["metadata"]["name"]] = session_view(body)
            group.touched.add(body["metadata"]["uid"])
            self._queue.add(key)

    def note_pod(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Take in a session's pod."""
        key = (body["metadata"]["namespace"], (body["metadata"].get("labels") or {}).get(LABEL_PIPELINE, ""))
        if self._is_news("Pod", event, key, body):
            self.groups.setdefault(key, Group()).put_pod(pod_view(body))
            self._queue.add(key)

    def note_denial(self, key: Key, session_uid: str, denial: Denial | None) -> None:
        """Take in that a session's pod was refused, or no longer is; not of a pipeline that is gone meanwhile."""
        group = self.groups.get(key)
        if group is None:
            return
        former = group.denials.pop(session_uid, None)
        if denial is not None:
            group.denials[session_uid] = denial
        if denial is not former:
            group.touched.add(session_uid)
            self._queue.add(key)

    def note_foreign(self, key: Key, name: str) -> None:
        """Take in that a session of this name is another pipeline's."""
        if key in self.groups:
            self.groups[key].foreign.add(name)
            self._queue.add(key)

    def note_report(self, key: Key, pod: PodView, report: Mapping[str, Any]) -> None:
        """Take in what the gateway of a pod says."""
        group = self.groups.get(key)
        if group is not None and pod.name in group.pods and group.reports.get(pod.uid) != report:
            group.reports[pod.uid] = report
            group.touched.add(group.pods[pod.name].owner_uid)
            self._queue.add(key)

    def note_leaving(self, kind: str, key: Key, name: str, uid: str) -> None:
        """Take in that we have deleted an object: its end is on the way, and it needs no second request."""
        group = self.groups.get(key)
        if group is None:
            return
        if kind == "MediaSession" and name in group.sessions and group.sessions[name].uid == uid:
            group.sessions[name] = replace(group.sessions[name], deleting=True)
            group.touched.add(uid)
        elif kind == "Pod" and name in group.pods and group.pods[name].uid == uid:
            group.put_pod(replace(group.pods[name], deleting=True))

    def forget(self, kind: str, namespace: str, name: str) -> None:
        """Take in that an object is gone, found out by asking for it."""
        known = self._seen.last.pop((kind, namespace, name), None)
        if known is not None:
            self._drop(kind, known.key, name)

    def replace(self, kind: str, namespace: str, listed: Collection[str], version: int) -> None:
        """Forget what a whole list did not contain: `listed` uids, at resource version `version`.

        `namespace` is what was listed, empty for all. Deletions that were missed are found this way.
        """
        gone = [
            where
            for where, known in self._seen.last.items()
            if where[0] == kind and namespace in ("", where[1]) and known.uid not in listed and known.version <= version
        ]
        for where in gone:
            self.forget(*where)
        if kind == "MediaSession":
            for group in self.groups.values():
                group.foreign.clear()
        self._seen.age()

    def _is_news(self, kind: str, event: str | None, key: Key, body: Mapping[str, Any]) -> bool:
        """Say whether the object is to be taken in; what it replaces, or what was deleted, is dropped here."""
        name = body["metadata"]["name"]
        former = self._seen.last.get((kind, key[0], name))
        if not self._seen.is_news(kind, event, key, body):
            return False
        if former is not None and (event == "DELETED" or former.uid != body["metadata"]["uid"]):
            self._drop(kind, former.key, name)
        return event != "DELETED"

    def _drop(self, kind: str, key: Key, name: str) -> None:
        group = self.groups.get(key)
        if group is None:
            return
        if kind == "MediaPipeline":
            group.pipeline = group.template = None
        elif kind == "MediaSession":
            gone = group.sessions.pop(name, None)
            group.denials.pop(gone.uid if gone else "", None)
            group.touched.discard(gone.uid if gone else "")
        else:
            pod = group.take_pod(name)
            group.reports.pop(pod.uid if pod else "", None)
        if group.pipeline is None and not group.sessions and not group.pods:
            del self.groups[key]
        self._queue.add(key)
