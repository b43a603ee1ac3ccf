"""Reading a METRICS event: a node's own counters and gauges. What a node says is believed only as far as it has the form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ringline.node.counters import MOST_NAMES


def numbers_of(payload: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Give ``{"counters": {name: value}, "gauges": {name: value}}``; what is no number by name is left out."""
    return {kind: _numbers(payload.get(kind)) for kind in ("counters", "gauges")}


def _numbers(found: Any) -> dict[str, float]:
    if not isinstance(found, Mapping):
        return {}
    pairs = [(name, value) for name, value in found.items() if isinstance(name, str) and _is_number(value)]
    return {name: float(value) for name, value in pairs[:MOST_NAMES]}


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
