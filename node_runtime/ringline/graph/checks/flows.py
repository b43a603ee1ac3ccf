"""Overflow policies: times and capacities that fit the policy they stand beside."""

from __future__ import annotations

from collections.abc import Iterator

from ringline.errors import Problem
from ringline.graph.draft import Draft
from ringline.graph.model import FlowSpec


def check_flows(draft: Draft) -> Iterator[Problem]:
    """Latest holds one message, Deadline needs its time, and no policy takes another one's time."""
    for place, flow in draft.flows():
        yield from _check_flow(place, flow)


def _check_flow(place: str, flow: FlowSpec) -> Iterator[Problem]:
    if flow.overflow == "Latest" and flow.capacity not in (None, 1):
        yield Problem(f"{place}.capacity", f"overflow Latest holds 1 message, not {flow.capacity}; leave capacity out")
    if flow.overflow == "Deadline" and flow.deadline_milliseconds is None:
        yield Problem(f"{place}.overflow", "Deadline needs deadlineMilliseconds; add it")
    if flow.deadline_milliseconds is not None and flow.overflow != "Deadline":
        yield Problem(
            f"{place}.deadlineMilliseconds", "has a meaning only with `overflow: Deadline`; add that or remove it"
        )
    if flow.block_timeout_milliseconds is not None and flow.overflow not in (None, "Block"):
        yield Problem(
            f"{place}.blockTimeoutMilliseconds",
            f"has no meaning with `overflow: {flow.overflow}`; use Block or remove it",
        )
