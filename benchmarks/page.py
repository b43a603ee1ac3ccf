"""The page of a report: verdicts, tables of ratios and charts, as `docs/performance.md` has them.

Called by `__main__` with the report that was just measured (``--write``), or with an earlier one (``--read``). The same report
always gives the same page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.chart import bar_chart, number
from benchmarks.pairs import PLACES

Report = dict[str, Any]
Figures = dict[str, Any]
"""A row of the report."""

OURS: Final = "ringline (raw bytes)"
_COPIES: Final = "two memcpys"
_COMMAND: Final = "python -m benchmarks peers --write docs/performance.md"


def write(report: Report, path: Path) -> None:
    """Write the page, and its charts in `images` beside it."""
    charts = dict(_charts(report))
    if charts:
        (path.parent / "images").mkdir(exist_ok=True)
    for name, drawing in charts.items():
        (path.parent / "images" / name).write_text(drawing, encoding="utf-8")
    path.write_text(text(report, charts), encoding="utf-8")


def text(report: Report, charts: Iterable[str]) -> str:
    """Give the page; `charts` are the names of the images that there are."""
    parts = [_head(report), _verdicts(report), _limits(report)]
    parts += [_comparison(report, about, charts) for about in _COMPARISONS]
    parts += [_plain(report, *about) for about in _PLAIN]
    return "\n\n".join(part for part in parts if part) + "\n"


def _rows(report: Report, name: str = "") -> list[Figures]:
    found = [item for item in report["benchmarks"] if name in ("", item["name"])]
    return [row for item in found for row in item["rows"] if row["n"]]


# Head.


def _head(report: Report) -> str:
    machine = report["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
    quick = "\n\n**Few repetitions (`--quick`): these figures show that the benchmarks run, not how fast anything is.**"
    return f"""# Performance

How quickly messages pass between Python processes: Ringline beside what else the package index has, in interleaved rounds of one run. This page was made by

```bash notest
pip install -e '.[all]' iceoryx2 loky
{_COMMAND}
```

on {report["started"][:10]}: {machine["cpu"]}, {len(machine["cpus"])} virtual CPUs, Linux {machine["kernel"]}, Python {machine["python"]}, load {machine["load_1min"]:.1f} before the start;
{packages}. Times are medians unless it says otherwise. Compare within one table: another machine, or this one at another moment, gives other
figures, and ratios that differ less than those. [How it is measured](../benchmarks/README.md).{quick if report["quick"] else ""}"""


# Verdicts.


def _verdicts(report: Report) -> str:
    lines = [_verdict(row, report) for row in _rows(report) if row["bar"]]
    if not lines:
        return ""
    head = ["## What was to be reached", "", "| what | measured | limit | verdict |", "|---|---|---|---|"]
    return "\n".join([*head, *lines])


def _verdict(row: Figures, report: Report) -> str:
    bar, unit = row["bar"], row["unit"]
    value, limit = row[bar["statistic"]], bar["limit"]
    sign = "at least" if bar["least"] else "at most"
    statistic = "" if bar["statistic"] == "p50" else f" ({bar['statistic']})"
    what = row["labels"].get("verdict") or row["name"]
    given = _figure(limit, unit)
    source = "" if bar["text"].replace("us", "µs") == given else f": {bar['text']}"
    return f"| {what} | {_figure(value, unit)}{statistic} | {sign} {given}{source} | {_words(row, value / limit, report)} |"


def _words(row: Figures, share: float, report: Report) -> str:
    """Say how a figure stands to its limit; one that misses it has what the machine allows beside it."""
    distance = f"{number(share)} times the limit" if share >= 1 else f"{number(share)} of the limit"
    return f"**met**: {distance}" if row["met"] else f"**not reached**: {distance}{_beside(row, report)}"


def _beside(row: Figures, report: Report) -> str:
    if row["unit"] not in ("us", "ms"):
        return ""
    about = f"{row['name']} {row['labels'].get('verdict', '')}"
    sizes = [size for size in ("10 MiB", "1 MiB") if size in about and "in place" not in about][:1]
    wanted = [f"memcpy of {size}" for size in sizes] + ["futex wake on another CPU"]
    limits = {found["labels"].get("limit"): found for found in _rows(report, "limits")}
    told = [f"{name} takes {_figure(limits[name]['p50'], limits[name]['unit'])}" for name in wanted if name in limits]
    return "".join(f"; a {text} here" for text in told)


def _figure(value: float, unit: str) -> str:
    if unit == "us":
        return f"{number(value)} µs" if value < 1000 else f"{number(value / 1000)} ms"
    if unit == "x":
        return f"{number(value)} times"
    return f"{number(value)} {unit}"


# What the machine allows.


def _limits(report: Report) -> str:
    rows = [row for row in _rows(report) if "limit" in row["labels"]]
    if not rows:
        return ""
    lines = [
        f"| {row['labels']['limit']} | {_figure(row['p50'], row['unit'])} | {_figure(row['p90'], row['unit'])} |"
        for row in rows
    ]
    intro = "Measured in the same run. Nothing that copies, wakes or touches a fresh page can be quicker."
    return "\n".join(["## What the machine allows", "", intro, "", "| | median | p90 |", "|---|---|---|", *lines])


# Beside peers.

_COMPARISONS: Final = (
    (
        "Round trip by copy",
        "round trip",
        "transfer",
        "Both sides write the whole payload. Ringline's time, and how many times as long each other way takes.",
    ),
    (
        "Round trip in place",
        "in place",
        "transfer",
        "Both sides write a few bytes into a block that is not copied. Ringline's time, and how many times as long each other way takes.",
    ),
    (
        "Stream",
        "stream",
        "stream",
        "One way, as fast as it goes, nothing lost. Ringline's messages per second, and what share of that each other way reaches.",
    ),
)


def _comparison(report: Report, about: tuple[str, str, str, str], charts: Iterable[str]) -> str:
    title, way, name, intro = about
    rows = [row for row in _rows(report, name) if row["labels"].get("way") == way and "peer" in row["labels"]]
    parts = [
        table for place in PLACES if (table := _ratios([row for row in rows if row["labels"]["place"] == place], place))
    ]
    if not parts:
        return ""
    image = _image(way)
    shown = [f"![{title} on two CPUs, by size](images/{image})"] if image in charts else []
    return "\n\n".join([f"## {title}", intro, *shown, *parts])


def _ratios(rows: Sequence[Figures], place: str) -> str:
    """Make a table of one place: Ringline's own figures, and what the others are in comparison."""
    ours = {row["labels"]["size"]: row for row in rows if row["labels"]["peer"] == OURS}
    if not ours:
        return ""
    sizes = list(ours)
    lines = [f"| {place[0].upper()}{place[1:]} | {' | '.join(sizes)} |", "|---|" + "---|" * len(sizes)]
    lines.append(f"| {OURS} | {' | '.join(_figure(ours[size]['p50'], ours[size]['unit']) for size in sizes)} |")
    for peer in dict.fromkeys(row["labels"]["peer"] for row in rows):
        if peer == OURS:
            continue
        its = {row["labels"]["size"]: row["p50"] for row in rows if row["labels"]["peer"] == peer}
        cells = (f"{number(its[size] / ours[size]['p50'])} x" if size in its else "-" for size in sizes)
        lines.append(f"| {peer} | {' | '.join(cells)} |")
    return "\n".join(lines)


# The rest, as measured.

_PLAIN: Final = (
    (
        "Through several nodes",
        ("relay",),
        "A session's application sends an array of 10 MiB and receives it again: what copies is one send, whatever the number of nodes and readers.",
    ),
    ("A full channel", ("backpressure",), "A sender waits for room; the reader keeps each of four messages for 40 ms."),
    (
        "Waiting",
        ("waiting",),
        "CPU of nodes that have little or nothing to do, all threads of the process counted, and of receivers of other ways at the same pace.",
    ),
    (
        "The first message",
        ("cold",),
        "The first round trip between two new processes, by the median of the later ones at the same pace.",
    ),
    ("A reader that is killed", ("recovery",), "It held all blocks of a writer."),
    (
        "A whole node",
        ("cost", "hop"),
        "What the runner, decoding, statistics and encoding take beyond the calls that move a block, and how late a block of sound is for each node on its way.",
    ),
)


def _plain(report: Report, title: str, names: Sequence[str], intro: str) -> str:
    rows = [row for name in names for row in _rows(report, name)]
    if not rows:
        return ""
    lines = [
        f"| {row['name']} | {_figure(row['p50'], row['unit'])} | {_figure(row['p90'], row['unit'])} | {row['n']} |"
        for row in rows
    ]
    return "\n".join([f"## {title}", "", intro, "", "| | median | p90 | values |", "|---|---|---|---|", *lines])


# Charts.


def _image(way: str) -> str:
    return f"performance-{way.replace(' ', '-')}.svg"


def _charts(report: Report) -> Iterator[tuple[str, str]]:
    """Draw each comparison on two CPUs; both axes of time and of size span decades."""
    for title, way, name, _ in _COMPARISONS:
        groups: dict[str, dict[str, float]] = {}
        for row in _rows(report, name):
            labels = row["labels"]
            if labels.get("way") == way and labels.get("place") == PLACES[0]:
                groups.setdefault(labels["size"], {})[labels["peer"]] = row["p50"]
        if groups:
            unit = "messages per second" if way == "stream" else "µs"
            yield _image(way), bar_chart(f"{title}, two CPUs", f"{unit} (logarithmic)", groups, log_y=True)
