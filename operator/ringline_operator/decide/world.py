"""The picture that decisions are made from, and what they give back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from ringline_operator.actions import Action
from ringline_operator.views import PipelineView, PodView, SessionView

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Without vowels and look-alikes, as in Kubernetes' own generated names."""


@dataclass(frozen=True)
class Denial:
    """The API server refused to make a session's pod (quota, admission): shown in its status, tried again later."""

    reason: str
    message: str
    retry_at: float


@dataclass(frozen=True)
class World:
    """A pipeline (None when it is gone), its sessions and its pods. `denials` are by session uid."""

    pipeline: PipelineView | None
    sessions: tuple[SessionView, ...] = ()
    pods: tuple[PodView, ...] = ()
    denials: Mapping[str, Denial] = field(default_factory=dict)
    reports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What gateways said last of their nodes, by pod uid."""
    under_way: Mapping[str, str] = field(default_factory=dict)
    """Sessions by name that are being acted on at this moment, each with the pod that is promised to it, or ''."""
    touched: frozenset[str] | None = None
    """Uids of the sessions of which there is news since the look before; None = not known, compare."""
    foreign: frozenset[str] = frozenset()
    """Names of this pipeline's kind that sessions of others have."""
    owned: Mapping[str, tuple[PodView, ...]] | None = None
    """`pod_by_owner`, where somebody keeps it."""

    @cached_property
    def pod_by_owner(self) -> Mapping[str, tuple[PodView, ...]]:
        """Pods by the uid of the session that owns them, newest attempt first."""
        if self.owned is not None:
            return self.owned
        found: dict[str, list[PodView]] = {}
        for pod in self.pods:
            found.setdefault(pod.owner_uid, []).append(pod)
        return {uid: tuple(sorted(pods, key=lambda pod: -pod.attempt)) for uid, pods in found.items()}

    def pod_of(self, session: SessionView) -> PodView | None:
        """Return the pod of the session's present attempt; a claimed pod keeps the name it was born with."""
        owned = self.pod_by_owner.get(session.uid, ())
        own = next((pod for pod in owned if pod.name == pod_name(session)), None)
        if own is not None or session.attempt > 0:
            return own
        return next((pod for pod in owned if pod.claimed and pod.session != "" and not is_born_by(pod, session)), None)

    def report_of(self, session: SessionView) -> Mapping[str, Any] | None:
        """Return what the gateway of the session's newest pod said last."""
        pods = self.pod_by_owner.get(session.uid)
        return self.reports.get(pods[0].uid) if pods else None

    @cached_property
    def pod_by_name(self) -> dict[str, PodView]:
        """All pods by name."""
        return {pod.name: pod for pod in self.pods}

    @cached_property
    def emptied(self) -> frozenset[str]:
        """Replicas whose pod a claim has taken: a pod's name tells from which session it came."""
        taken = {birth_name(pod): pod.owner_uid for pod in self.pods if pod.claimed}
        if not taken:
            return frozenset()
        born = (item for item in self.sessions if item.name in taken and not item.is_claim)
        return frozenset(s.name for s in born if s.uid != taken[s.name] and s.uid not in self.pod_by_owner)

    @cached_property
    def promised(self) -> frozenset[str]:
        """Pods that a claim is being given."""
        return frozenset(pod for pod in self.under_way.values() if pod)


def pod_name(session: SessionView) -> str:
    """Return the name of the pod that a session's present attempt makes."""
    return f"{session.name}-{session.attempt}"


def birth_name(pod: PodView) -> str:
    """Return the session for which a pod was made."""
    return birth(pod.name)


def birth(pod: str) -> str:
    """Return the session for which the pod of this name was made."""
    return pod.rpartition("-")[0]


def is_born_by(pod: PodView, session: SessionView) -> bool:
    """Say whether the pod was made for this session, not claimed by it."""
    return birth_name(pod) == session.name


@dataclass(frozen=True, slots=True)
class Rest:
    """What a session looked like when there was nothing to do for it; `due`: when that changes by itself."""

    session: SessionView
    pods: tuple[PodView, ...]
    report: Mapping[str, Any] | None
    denial: Denial | None
    due: float | None


@dataclass
class Memory:
    """A shortcut from look to look: sessions at rest are not thought about again. Without it the actions are the same."""

    pipeline: PipelineView | None = None
    rest: dict[str, Rest] = field(default_factory=dict)

    def begin(self, world: World) -> None:
        """Forget what no longer holds: everything after a change of the pipeline, and sessions that are gone."""
        if world.pipeline != self.pipeline:
            self.pipeline = world.pipeline
            self.rest.clear()
        elif len(self.rest) > 2 * len(world.sessions) + 16:
            alive = {session.uid for session in world.sessions}
            self.rest = {uid: rest for uid, rest in self.rest.items() if uid in alive}

    def resting(self, world: World, session: SessionView, now: float) -> Rest | None:
        """Return the note on a session that is exactly as it was when there was nothing to do."""
        rest = self.rest.get(session.uid)
        if rest is None or rest.session is not session or (rest.due is not None and now >= rest.due):
            return None
        if world.touched is not None and session.uid not in world.touched:
            return rest
        same = rest.report is world.report_of(session) and rest.denial is world.denials.get(session.uid)
        return rest if same and rest.pods == world.pod_by_owner.get(session.uid, ()) else None


@dataclass
class Decision:
    """Actions in the order in which they are to be carried out; `requeue_after` in seconds, None = on the next event."""

    actions: list[Action] = field(default_factory=list)
    requeue_after: float | None = None

    def add(self, *actions: Action) -> None:
        """Append actions."""
        self.actions.extend(actions)

    def again_in(self, delay: float) -> None:
        """Look again after `delay` seconds at the latest."""
        delay = max(delay, 0.05)
        self.requeue_after = delay if self.requeue_after is None else min(self.requeue_after, delay)


@lru_cache(maxsize=8192)
def suffix(uid: str, index: int) -> str:
    """Return five letters that belong to this pipeline and this index: the same after every restart of the operator."""
    digest = int.from_bytes(hashlib.sha256(f"{uid}/{index}".encode()).digest()[:8], "big")
    letters = []
    for _ in range(5):
        digest, at = divmod(digest, len(SUFFIX_ALPHABET))
        letters.append(SUFFIX_ALPHABET[at])
    return "".join(letters)
