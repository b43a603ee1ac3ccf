"""A node author's own counters and gauges (`self.metrics`), carried to the host by METRICS events.

Kept deliberately small: numbers by name; the host adds the session's and node's labels.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

from ringline.errors import NodeError

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,60}", re.ASCII)
MOST_NAMES: Final = 100
"""Names per node: a METRICS event must fit a control message, and a scrape must stay readable."""


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add `amount`, which must not be negative."""
        if amount < 0:
            raise NodeError(f"a counter can't shrink by {-amount:g}; use a gauge")
        self.value += amount


class Gauge:
    """A number that goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        self.value = float(value)


_Number = TypeVar("_Number", Counter, Gauge)


class NodeMetrics:
    """The numbers of one node, by name; a name is either a counter or a gauge."""

    def __init__(self) -> None:
        self._numbers: dict[str, Counter | Gauge] = {}

    def counter(self, name: str) -> Counter:
        """Give the counter of this name, made at its first use. NodeError for a bad name or one that is a gauge."""
        return self._number(name, Counter)

    def gauge(self, name: str) -> Gauge:
        """Give the gauge of this name, made at its first use. NodeError for a bad name or one that is a counter."""
        return self._number(name, Gauge)

    def _number(self, name: str, kind: type[_Number]) -> _Number:
        found = self._numbers.get(name)
        if found is None:
            if not _NAME.fullmatch(name):
                raise NodeError(f"metric {name!a} must be made of a-z, 0-9 and '_', begin with a letter, at most 61")
            if len(self._numbers) >= MOST_NAMES:
                raise NodeError(f"metric '{name}' is one too many: a node has at most {MOST_NAMES}")
            found = self._numbers[name] = kind()
        if not isinstance(found, kind):
            raise NodeError(f"metric '{name}' is already a {type(found).__name__.lower()}")
        return found

    def snapshot(self) -> dict[str, dict[str, float]]:
        """Copy all numbers: ``{"counters": {name: value}, "gauges": {name: value}}``."""
        numbers = list(self._numbers.items())
        return {
            "counters": {name: number.value for name, number in numbers if isinstance(number, Counter)},
            "gauges": {name: number.value for name, number in numbers if isinstance(number, Gauge)},
        }
