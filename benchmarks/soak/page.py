"""The soak's report as a page of the documentation, with a small chart beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.soak.faults import FAULTS
from benchmarks.soak.report import TIMER
from benchmarks.soak.samples import QUANTITIES

HEAD: Final = """# Soak

Made by `make soak` (`python -m benchmarks.soak --page docs/soak.md`): 30 pictures of 640 × 480 and 100 blocks of sound a second through eight nodes
([the graph](../benchmarks/soak/pipeline.yaml), in which every overflow policy occurs), one fault every {every:g} s, for {minutes:g} minutes. Every node and the application check each message: it
must be whole, later than the one before, and the one that it says it is. `--minutes` and `--every` change the length, `--seed` the order of faults.

Run of {started}{commit}, {cpus} CPUs ({cpu}), Linux {kernel}, Python {python}, load {before:.1f} before the start and {load:.1f} at the end{shared}.
"""
SHARED: Final = ": other work shared the machine, so times say less than counts"
LATENCY: Final = """From the source's clock to the application, windows of a minute (of a short run: a tenth of it). Faults are in them, save in the column *between faults*: from five seconds after one was over until the next.
The timer is no output: it says how late the application itself was, which was to wake 50 times a second in the same windows.
"""
KEPT: Final = {True: "yes", False: "**no**", None: "can't be told: the machine slowed down by more"}
WIDTH, PANEL, LEFT = 760, 90, 150
COLOURS: Final = ("#1f6f8b", "#99582a", "#4f772d", "#6a4c93", "#b23a48")


def write(found: Mapping[str, Any], path: Path) -> None:
    """Write the page, and the chart with the same name and the ending .svg."""
    chart = path.with_suffix(".svg")
    chart.write_text(svg(found), encoding="utf-8")
    path.write_text(markdown(found, chart.name), encoding="utf-8")


def markdown(found: Mapping[str, Any], chart: str) -> str:
    """Give the page as Markdown."""
    facts = found["machine"]
    shared = max(facts["load_before"], facts["load_1min"]) > len(facts["cpus"])
    head = HEAD.format(
        every=found["every_s"],
        minutes=found["seconds"] / 60,
        started=found["started"],
        cpus=len(facts["cpus"]),
        cpu=facts["cpu"],
        kernel=facts["kernel"],
        python=facts["python"],
        before=facts["load_before"],
        load=facts["load_1min"],
        commit=f" (commit {found['commit']})" if found["commit"] else "",
        shared=SHARED if shared else "",
    )
    parts = [
        head,
        "## What was promised, and what was seen\n",
        _table(
            ("promise", "kept", "seen"),
            [(v["promise"], KEPT[v["kept"]], v["seen"]) for v in found["verdicts"]],
        ),
        f"![memory, arena, descriptors and faults over time]({chart})\n",
        "## Faults\n",
        "Recovery is counted from the end of the fault (of a killed node: from the moment its successor runs) to a fresh message at every output.\n",
        _table(
            ("fault", "times", "recovery p50", "at most"),
            [
                (FAULTS[kind], row["count"], _seconds(row["p50_s"]), _seconds(row["max_s"]))
                for kind, row in found["recoveries"].items()
            ],
        ),
        "## Messages\n",
        "`lost with the reader` are messages that a node had taken when it died, or whose work a flush broke off.\n",
        _table(
            ("channel", "policy", "committed", "dropped", "lost with the reader"),
            [_channel(row) for row in found["channels"]],
        ),
        "## Latency at the outputs\n",
        LATENCY,
        _table(
            (
                "output",
                "p50, first and last window",
                "p99, median window",
                "p99, worst window",
                "p99 between faults, median window",
            ),
            _latencies(found["windows"]),
        ),
        "## Memory, descriptors, threads\n",
        "Medians of the first and the last fifth after a warm-up of a tenth, and the extremes in between (a node that is being replaced counts for less).\n",
        _table(
            ("quantity", "first", "last", "least", "most"),
            [
                (QUANTITIES[name], *(f"{row[key]:g}" for key in ("first", "last", "least", "most")))
                for name, row in found["courses"].items()
            ],
        ),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |\n" for line in lines)


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"


def _channel(row: Mapping[str, Any]) -> tuple[str, ...]:
    drops = ", ".join(f"{reason} {count:,}" for reason, count in row["dropped"].items()) or "none"
    return (row["channel"], row["overflow"], f"{row['committed']:,}", drops, str(row["lost_in_reader"]))


def _latencies(windows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for output in dict.fromkeys(window["output"] for window in windows):
        own = [window for window in windows if window["output"] == output and window["n"]]
        if own:
            tails = sorted(window["p99_ms"] for window in own)
            calm = sorted(window["calm_p99_ms"] for window in own if window["calm_n"]) or [0.0]
            ends = f"{own[0]['p50_ms']:.2f} ms, {own[-1]['p50_ms']:.2f} ms"
            name = "(a timer's delay)" if output == TIMER else output
            rows.append((name, ends, f"{_middle(tails):.1f} ms", f"{tails[-1]:.0f} ms", f"{_middle(calm):.1f} ms"))
    return rows


def _middle(values: Sequence[float]) -> float:
    return values[len(values) // 2]


def svg(found: Mapping[str, Any]) -> str:
    """Draw one panel for each quantity, with a tick where a fault was."""
    samples, seconds = found["samples"], max(1.0, found["seconds"])
    names = [name for name in QUANTITIES if name != "processes"]
    height = PANEL * len(names) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, name in enumerate(names):
        parts += _panel(samples, seconds, name, number * PANEL + 10, COLOURS[number])
    bottom = height - 20
    for fault in found["faults"]:
        x = _x(fault["at_s"], seconds)
        parts.append(
            f'<line x1="{x}" x2="{x}" y1="{bottom - 6}" y2="{bottom}" stroke="#b23a48"><title>{fault["kind"]} {fault["victim"]}</title></line>'
        )
    parts.append(
        f'<text x="{LEFT}" y="{height - 6}">0</text><text x="{WIDTH - 10}" y="{height - 6}" text-anchor="end">{seconds / 60:g} min; red: faults</text>'
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(samples: Sequence[Mapping[str, Any]], seconds: float, name: str, top: int, colour: str) -> list[str]:
    values = [float(sample[name]) for sample in samples] or [0.0]
    most, low = max(*values, 1e-9), top + PANEL - 20
    points = " ".join(
        f"{_x(sample['at_s'], seconds)},{low - (PANEL - 30) * float(sample[name]) / most:.1f}" for sample in samples
    )
    return [
        f'<text x="6" y="{top + 14}">{QUANTITIES[name].partition(" of ")[0]}</text>',
        f'<text x="6" y="{top + 30}" fill="#555555">{name}: {min(values):g} … {max(values):g}</text>',
        f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{low}" y2="{low}" stroke="#cccccc"/>',
        f'<polyline fill="none" stroke="{colour}" points="{points}"/>',
    ]


def _x(at_s: float, seconds: float) -> str:
    return f"{LEFT + (WIDTH - 10 - LEFT) * min(1.0, at_s / seconds):.1f}"
