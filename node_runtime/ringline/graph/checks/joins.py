"""Joins that wait for ever: sound behind one fan-out whose branches lose nothing, a standstill waiting to happen elsewhere.

A join holds messages until their partners come. Their blocks belong to the heap of a node upstream, and that heap is
bounded; so if a partner never comes, or only after more messages than the heap holds, everything stands still. What a type
says about itself (`one_to_one`, `wait_limit`) is in its catalog entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ringline.errors import Problem
from ringline.graph.catalog import Catalog, find_entry
from ringline.graph.draft import Draft
from ringline.graph.model import FlowSpec, NodeSpec
from ringline.graph.wiring import Edge, Wiring
from ringline.names import HOST

_ENTERS: Final = "one comes from the session input"
Origin = tuple[str, str]
"""A node and the output port; the port is "" where every port sends one message for each that was taken."""


def check_joins(draft: Draft, wiring: Wiring, catalog: Catalog) -> Iterator[Problem]:
    """Find joins without a wait limit whose inputs need not be complete."""
    ways = _Ways(draft, wiring, catalog)
    for place, node in draft.nodes:
        setting = _waits_for_ever(node, find_entry(catalog, node.type) or {})
        inputs = [edge for edge in wiring.edges if edge.consumer == node.name and not edge.feedback]
        if setting and len(inputs) > 1:
            reason = ways.reason(inputs)
            if reason:
                yield Problem(
                    f"{place}.config.{setting}",
                    f"0 lets node '{node.name}' ({node.type}) wait for ever, but {reason}; give the longest wait in milliseconds",
                )


def _waits_for_ever(node: NodeSpec, entry: Mapping[str, Any]) -> str:
    """Name the setting that says how long the node waits, if that is "for ever"; "" for every other node."""
    setting = str(entry.get("wait_limit") or "")
    if not setting:
        return ""
    declared = entry.get("config", {}).get("properties", {}).get(setting, {}).get("default")
    value = (node.config or {}).get(setting, declared)
    return setting if value == 0 and not isinstance(value, bool) else ""


class _Ways:
    """Follows the inputs of a join upstream for as long as each message taken is one message sent."""

    def __init__(self, draft: Draft, wiring: Wiring, catalog: Catalog) -> None:
        self._feeds: dict[str, list[Edge]] = {}
        for edge in wiring.edges:
            self._feeds.setdefault(edge.consumer, []).append(edge)
        self._faithful = {
            node.name: bool((find_entry(catalog, node.type) or {}).get("one_to_one")) for _, node in draft.nodes
        }
        self._types = {node.name: node.type for _, node in draft.nodes}
        self._blocks = draft.pipeline.spec.runtime.enable_backpressure

    def reason(self, inputs: Sequence[Edge]) -> str:
        """Say why a message at one of these inputs may never get its partners; "" if it always does."""
        walked = [self._walk(edge) for edge in inputs]
        common = set.intersection(*(set(origins) for origins, _ in walked))
        if common:
            return ""
        ends = [end for _, end in walked]
        broken = [end for end in ends if not end.startswith(_ENTERS)]
        ends = list(dict.fromkeys(broken or ends))
        ports = " and ".join(f"'{edge.consumer_port}'" for edge in inputs)
        return f"its inputs {ports} need not get one message each: {'; '.join(ends)}"

    def _walk(self, edge: Edge) -> tuple[list[Origin], str]:
        """Give the places that every message of this edge came through, and what ends the way."""
        found: list[Origin] = []
        seen: set[str] = set()
        while True:
            lossy = _loses(edge.flow, blocks=self._blocks)
            if lossy:
                return found, f"{_from_to(edge)} {lossy}"
            node = edge.producer
            if node == HOST:
                return found, f"{_ENTERS} '{edge.end}'"
            if not self._faithful.get(node):
                found.append((node, edge.producer_port))
                return (
                    found,
                    f"node '{node}' ({self._types.get(node, '?')}) need not send one message for each that it gets",
                )
            found.append((node, ""))
            feeds = self._feeds.get(node, [])
            if len(feeds) != 1 or node in seen:
                return found, f"node '{node}' has {len(feeds)} inputs"
            seen.add(node)
            edge = feeds[0]


def _from_to(edge: Edge) -> str:
    producer = f"input '{edge.end}'" if edge.producer == HOST else f"{edge.producer}.{edge.producer_port}"
    return f"the channel from {producer} to {edge.consumer}.{edge.consumer_port}"


def _loses(flow: FlowSpec | None, *, blocks: bool) -> str:
    """Say how a channel drops messages; "" if it waits."""
    if flow is None:
        return "" if blocks else "drops when it is full (enableBackpressure: false)"
    if flow.overflow not in (None, "Block"):
        return f"drops messages (overflow {flow.overflow})"
    if flow.deadline_milliseconds:
        return "drops messages (a deadline)"
    if flow.block_timeout_milliseconds:
        return "drops messages (blockTimeoutMilliseconds)"
    return "" if blocks or flow.overflow == "Block" else "drops when it is full (enableBackpressure: false)"
