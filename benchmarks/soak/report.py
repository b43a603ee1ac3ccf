"""What the soak found, as plain values: the verdict on each promise, and the figures behind it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.soak.faults import Fault
from benchmarks.soak.graph import LOSSES, ONE_TO_ONE
from benchmarks.soak.listeners import Listener
from benchmarks.soak.nodes import WRONG
from benchmarks.soak.samples import Course, course
from ringline.graph.session_plan import SessionPlan
from ringline.host.exits import ExitRecord
from ringline.names import HOST
from ringline.shm import ChannelStats

MEMORY_GROWTH: Final = 0.05
"""So much more (or less) memory between the first and the last part of a soak still counts as flat."""


COUNT_GROWTH: Final = 2
"""So many more descriptors or threads still count as flat: at any moment one may be opening, or its node be replaced."""
LATENCY_GROWTH: Final = 0.10
"""So much more at p99 in the last part than in the first, beyond what a timer of the same process is late, still counts as flat."""
CALM_MESSAGES: Final = 50
"""A window with fewer messages of calm has no 99th percentile."""
TIMER: Final = "timer"
"""The name of the yardstick among the outputs of the windows."""
NEVER_COMMITTED: Final = {"newest", "timeout"}
"""Drops of a message before it was in the channel; its `message_count` does not have them."""


@dataclass(frozen=True)
class Verdict:
    """One promise: whether it was kept (None: this machine can't tell), and what was seen."""

    promise: str
    kept: bool | None
    seen: str


def channels(
    plan: SessionPlan, stats: Mapping[str, ChannelStats], listeners: Mapping[str, Listener]
) -> list[dict[str, Any]]:
    """Give a row for each channel: messages committed, dropped by reason, and what became of those that were taken."""
    passed = {name: _sent_by(plan, stats, name) for name in ONE_TO_ONE}
    rows = []
    for channel in plan.layout.channels:
        if channel.producer == HOST:
            continue  # a source of a type that is not in the box could have had inputs
        counted = stats[channel.name]
        drops = {reason: count for reason, count in counted.dropped.items() if count}
        taken = counted.message_count - counted.current_occupancy
        taken -= sum(count for reason, count in drops.items() if reason not in NEVER_COMMITTED)
        used = listeners[channel.consumer_port].received if channel.consumer == HOST else passed[channel.consumer]
        rows.append(
            {
                "channel": channel.name,
                "overflow": channel.overflow,
                "consumer": channel.consumer,
                "committed": counted.message_count,
                "dropped": drops,
                "forbidden": sorted(set(drops) - LOSSES[channel.overflow]),
                "taken": taken,
                "lost_in_reader": taken - used,
            }
        )
    return rows


def _sent_by(plan: SessionPlan, stats: Mapping[str, ChannelStats], node: str) -> int:
    """Messages that a node committed: to the channel that got most, since each of a fan-out gets them all or drops."""
    return max(
        stats[c.name].message_count + stats[c.name].dropped["newest"]
        for c in plan.layout.channels
        if c.producer == node
    )


def verdicts(
    *,
    rows: Sequence[Mapping[str, Any]],
    listeners: Mapping[str, Listener],
    faults: Sequence[Fault],
    crashes: Sequence[ExitRecord],
    expected: Mapping[str, int],
    left: Sequence[str],
    courses: Mapping[str, Course],
) -> list[Verdict]:
    """Hold what was seen against what Ringline promises."""
    wrong = [text for listener in listeners.values() for text in listener.wrong]
    wrong += [
        f"{crash.node_id}: {crash.message}" for crash in crashes if WRONG in f"{crash.message} {crash.stderr_tail}"
    ]
    received = sum(listener.received for listener in listeners.values())
    stuck = [f"{fault.kind} of {fault.victim} at {fault.at_s:g} s" for fault in faults if fault.recovered_s is None]
    found = {name: sum(crash.node_id == name for crash in crashes) for name in expected}
    odd = [f"{name} {found[name]} instead of {expected[name]}" for name in expected if found[name] != expected[name]]
    forbidden = [f"{row['channel']}: {', '.join(row['forbidden'])}" for row in rows if row["forbidden"]]
    lost = [row for row in rows if row["lost_in_reader"] > _allowed(row, expected, faults) or row["lost_in_reader"] < 0]
    return [
        Verdict(
            "every message is whole, in order and delivered once", not wrong, _seen(wrong, f"{received:,} received")
        ),
        Verdict("after each fault every output flows again", not stuck, _seen(stuck, f"{len(faults)} faults")),
        Verdict(
            "no node ends but those that a fault ended", not odd, _seen(odd, f"{len(crashes)} ended, all restarted")
        ),
        Verdict(
            "channels drop only for the reasons that their policy has", not forbidden, _seen(forbidden, "none else")
        ),
        Verdict(
            "a message that was taken is lost only with its reader",
            not lost,
            _seen([f"{row['channel']}: {row['lost_in_reader']}" for row in lost], f"{_total(rows)} in all"),
        ),
        *(_flat(name, found) for name, found in courses.items()),
        Verdict("nothing is left behind", not left, _seen(left, "no process, no file, no directory")),
    ]


def _total(rows: Sequence[Mapping[str, Any]]) -> int:
    return sum(int(row["lost_in_reader"]) for row in rows)


def _allowed(row: Mapping[str, Any], expected: Mapping[str, int], faults: Sequence[Fault]) -> int:
    """One message for each death of the reader, and one for each flush, which may break off its work."""
    flushes = sum(fault.kind == "flush" for fault in faults)
    return expected.get(row["consumer"], 0) + flushes


def _seen(bad: Sequence[str], good: str) -> str:
    return "; ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "") if bad else good


def _flat(name: str, course: Course) -> Verdict:
    """Memory may move by a few per cent (of small amounts: by a megabyte), counts by two."""
    if name.endswith("_mb"):
        kept = abs(course.growth) <= MEMORY_GROWTH or abs(course.last - course.first) <= 1
        return Verdict(f"{name} is flat", kept, f"{course.first:g} → {course.last:g} MB ({course.growth:+.1%})")
    return Verdict(
        f"{name} are flat", abs(course.last - course.first) <= COUNT_GROWTH, f"{course.first:g} → {course.last:g}"
    )


def steadiness(windows: Sequence[Mapping[str, Any]], warm_up_s: float) -> list[Verdict]:
    """Say of each output whether its p99 between faults stayed what it was."""
    found = latencies(windows, warm_up_s)
    return [_steady(name, latency, found[TIMER]) for name, latency in found.items() if name != TIMER]


def _steady(output: str, latency: Course, timer: Course) -> Verdict:
    """A p99 is no more exact than the machine: what a timer is late at p99 is allowed beside the share.

    Where it grew by more, but the timer's delay grew in proportion at least as much, it is the machine that changed.
    """
    late = max(timer.first, timer.last)
    kept: bool | None = latency.last <= latency.first * (1 + LATENCY_GROWTH) + late
    if not kept and timer.growth >= latency.growth:
        kept = None
    seen = f"{latency.first:.1f} → {latency.last:.1f} ms ({latency.growth:+.0%}); a timer was {timer.first:.1f} → {timer.last:.1f} ms late"
    return Verdict(f"p99 of {output} between faults is flat", kept, seen)


def latencies(windows: Sequence[Mapping[str, Any]], warm_up_s: float) -> dict[str, Course]:
    """Give the course of each output's p99 between faults in ms, and of the timer's; an output without calm windows has none."""
    found: dict[str, list[float]] = {}
    for window in windows:
        if window["at_s"] > warm_up_s and window["calm_n"] >= CALM_MESSAGES:
            found.setdefault(window["output"], []).append(window["calm_p99_ms"])
    return {name: course(values) for name, values in found.items()} if TIMER in found else {}


def recoveries(faults: Sequence[Fault]) -> dict[str, dict[str, Any]]:
    """Give, by kind of fault, how often it was done and how long recovery took, in s."""
    kinds = dict.fromkeys(fault.kind for fault in faults)
    table: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        times = [fault.recovered_s for fault in faults if fault.kind == kind and fault.recovered_s is not None]
        count = sum(fault.kind == kind for fault in faults)
        table[kind] = {
            "count": count,
            "p50_s": round(statistics.median(times), 3) if times else None,
            "max_s": round(max(times), 3) if times else None,
        }
    return table


def as_json(value: Any) -> Any:
    """Give dataclasses as plain mappings, for the report."""
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
