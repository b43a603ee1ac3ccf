"""What a benchmark reports: rows of percentiles, each with the bar it is held to, as JSON and as text.

Every benchmark yields `Row`s; `__main__` collects them. The shape of the JSON is described in README.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table

SCHEMA: Final = "ringline-benchmarks/1"
Statistic = Literal["p50", "p90", "p99", "max"]


@dataclass(frozen=True)
class Bar:
    """What a row should reach: `statistic` of it at most `limit`, or at least; `text` says where the limit comes from."""

    limit: float
    text: str
    statistic: Statistic = "p50"
    least: bool = False
    """The more the better: throughput, not time."""


@dataclass(frozen=True)
class Row:
    """One figure: `values` in `unit`. A row without values says in `skipped` why there are none and what to do.

    `labels` say what it is about in words that `page` can sort by: peer, size, way, place, or the verdict that it gives.
    """

    name: str
    unit: str
    values: Sequence[float] = ()
    bar: Bar | None = None
    note: str = ""
    skipped: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def at(self, statistic: Statistic) -> float:
        share = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}[statistic]
        return percentile(self.values, share)

    @property
    def met(self) -> bool | None:
        if self.bar is None or not self.values:
            return None
        value = self.at(self.bar.statistic)
        return value >= self.bar.limit if self.bar.least else value <= self.bar.limit

    def as_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {"name": self.name, "unit": self.unit, "n": len(self.values)}
        if self.values:
            row |= {name: round(self.at(name), 3) for name in ("p50", "p90", "p99", "max")}
            row["min"] = round(min(self.values), 3)
        bar = self.bar
        row["bar"] = bar and {
            "limit": round(bar.limit, 3),
            "statistic": bar.statistic,
            "text": bar.text,
            "least": bar.least,
        }
        row["met"] = self.met
        row["note"] = self.note
        row["skipped"] = self.skipped
        row["labels"] = dict(self.labels)
        return row


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: always a value that was measured."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def not_installed(name: str, unit: str, package: str) -> Row:
    return Row(name, unit, skipped=f"not installed; pip install {package}")


def show(title: str, rows: Iterable[Row], console: Console) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("what", overflow="fold")
    for heading in ("unit", "p50", "p90", "p99", "n"):
        table.add_column(heading, justify="left" if heading == "unit" else "right")
    table.add_column("bar", overflow="fold")
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    console.print()


def _cells(row: Row) -> tuple[str, ...]:
    if not row.values:
        return row.name, row.unit, "-", "-", "-", "0", row.skipped
    figures = [f"{row.at(name):,.1f}" for name in ("p50", "p90", "p99")]
    return row.name, row.unit, *figures, str(len(row.values)), _verdict(row)


def _verdict(row: Row) -> str:
    if row.bar is None:
        return row.note
    mark = "[green]met[/]" if row.met else "[red]missed[/]"
    sign = "≥" if row.bar.least else "≤"
    return f"{mark}: {row.bar.statistic} {sign} {row.bar.limit:,.1f} ({row.bar.text})"
