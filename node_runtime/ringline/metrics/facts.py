"""What the metrics need to know of a session beside shared memory; made by the host, plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ringline.shm import ChannelStats, NodeStats


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node: counts since the session began; `pss_bytes` and `rss_bytes` of its present process.

    `counters` and `gauges` are its author's own (`self.metrics`), of the present process too.
    """

    up: bool
    restarts: int = 0
    exits: Mapping[str, int] = field(default_factory=dict)
    health_failures: Mapping[str, int] = field(default_factory=dict)
    pss_bytes: int = 0
    rss_bytes: int = 0
    cpu_s: float = 0.0
    counters: Mapping[str, float] = field(default_factory=dict)
    gauges: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """A session: its state's word, size of its arena, its nodes."""

    session_id: str
    state: str
    arena_bytes: int
    nodes: Mapping[str, NodeFacts]


class Source(Protocol):
    """Who can be asked for a session's figures, from any thread, at any time of its life."""

    def facts(self) -> SessionFacts: ...
    def channel_stats(self) -> Mapping[str, ChannelStats]: ...
    def node_stats(self) -> Mapping[str, NodeStats]: ...
