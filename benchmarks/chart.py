"""Charts for the documentation: lines over numbers and bars in groups, as one self-contained SVG text each.

The generators of docs pages call it with figures from a report. The same figures always give the same text, so that a page can be
compared with its report; grey axes and text are readable on white and on dark pages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 760
HEIGHT: Final = 380
LEFT, RIGHT, TOP, BOTTOM = 64, 170, 44, 52
COLOURS: Final = (
    "#2f7ed8",
    "#e07b39",
    "#3a9d5d",
    "#b04a9c",
    "#8c6d31",
    "#c0392b",
    "#17a2a2",
    "#7f7f7f",
    "#6254c9",
    "#d4a017",
    "#1b3a57",
)
"""Told apart also by whoever sees red and green alike, as neighbours differ in lightness."""
GREY: Final = "#808080"
Limit = tuple[float, str]
"""A value and what it is called: drawn as a dashed line."""
Points = Sequence[tuple[float, float]]
Scale = Callable[[float], float]


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    series: Mapping[str, Points],
    *,
    log_x: bool = False,
    log_y: bool = False,
    bar: Limit | None = None,
    note: str = "",
) -> str:
    """Draw lines with a dot for each point. Raises `ValueError` where there is nothing to draw, or nothing positive on a log axis."""
    xs = sorted({x for points in series.values() for x, _ in points})
    ys = [y for points in series.values() for _, y in points] + ([bar[0]] if bar else [])
    if not xs:
        raise ValueError(f"chart '{title}' has no points")
    across = _scale(xs, LEFT, WIDTH - RIGHT, log=log_x, from_zero=False)
    up, ticks = _upwards(ys, log=log_y)
    parts = [*_frame(title, y_label, ticks, up), *_limit(bar, up)]
    shown = xs if len(xs) <= 8 else xs[:: math.ceil(len(xs) / 8)]
    parts += [_text(across(x), HEIGHT - BOTTOM + 18, number(x), "middle") for x in shown]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 38, x_label, "middle"))
    for colour, points in zip(_colours(), series.values(), strict=False):
        places = [(across(x), up(y)) for x, y in sorted(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    return _drawing([*parts, *_legend(list(series))], note)


def bar_chart(
    title: str,
    y_label: str,
    groups: Mapping[str, Mapping[str, float]],
    *,
    log_y: bool = False,
    bar: Limit | None = None,
    note: str = "",
) -> str:
    """Draw a bar for each series in each group. Raises `ValueError` as `line_chart` does."""
    names = list(dict.fromkeys(name for values in groups.values() for name in values))
    ys = [y for values in groups.values() for y in values.values()] + ([bar[0]] if bar else [])
    if not names:
        raise ValueError(f"chart '{title}' has no bars")
    up, ticks = _upwards(ys, log=log_y)
    parts = [*_frame(title, y_label, ticks, up), *_limit(bar, up)]
    room = (WIDTH - RIGHT - LEFT) / len(groups)
    width = 0.8 * room / len(names)
    colours = dict(zip(names, _colours(), strict=False))
    for place, (group, values) in enumerate(groups.items()):
        left = LEFT + (place + 0.1) * room
        parts.append(_text(LEFT + (place + 0.5) * room, HEIGHT - BOTTOM + 18, group, "middle"))
        for name, y in values.items():
            x, top = left + names.index(name) * width, up(y)
            height = max(0.0, HEIGHT - BOTTOM - top)
            parts.append(
                f'<rect x="{x:.1f}" y="{top:.1f}" width="{0.92 * width:.1f}" height="{height:.1f}" fill="{colours[name]}">'
                f"<title>{escape(f'{group}, {name}: {number(y)}')}</title></rect>"
            )
    return _drawing([*parts, *_legend(names)], note)


def number(value: float) -> str:
    """Write a number as short as an axis wants it."""
    if value and (abs(value) >= 1e4 or abs(value) < 1e-2):
        for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= limit:
                return f"{value / limit:.3g}{unit}"
        return f"{value:.2g}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _upwards(ys: Sequence[float], *, log: bool) -> tuple[Scale, list[float]]:
    """Give the scale of the y axis and its ticks."""
    ticks = _decades(ys) if log else _steps(max(0.0, *ys))
    return _scale([*ys, *ticks], HEIGHT - BOTTOM, TOP, log=log, from_zero=not log), ticks


def _scale(values: Sequence[float], first: float, last: float, *, log: bool, from_zero: bool) -> Scale:
    if log and min(values) <= 0:
        raise ValueError(f"a logarithmic axis can't show {min(values):g}")

    def mapped(value: float) -> float:
        return math.log10(value) if log else value

    low = 0.0 if from_zero else mapped(min(values))
    span = (mapped(max(values)) - low) or 1.0
    return lambda value: first + (mapped(value) - low) / span * (last - first)


def _steps(highest: float) -> list[float]:
    """Give about five round numbers from zero to the highest value or just above."""
    raw = (highest or 1.0) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    return [step * count for count in range(math.ceil(highest / step - 1e-9) + 1)] if highest else [0.0, 1.0]


def _decades(values: Sequence[float]) -> list[float]:
    if min(values) <= 0:
        raise ValueError(f"a logarithmic axis can't show {min(values):g}")
    return [10.0**power for power in range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)]


def _colours() -> Iterator[str]:
    while True:
        yield from COLOURS


def _text(x: float, y: float, words: str, anchor: str = "start", *, size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{GREY}">{escape(words)}</text>'
    )


def _frame(title: str, y_label: str, ticks: Sequence[float], up: Scale) -> Iterator[str]:
    yield _text(LEFT, 20, title, size=14)
    yield _text(LEFT, TOP - 10, y_label, size=11)
    for tick in ticks:
        y = up(tick)
        yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="{GREY}" stroke-opacity="0.25"/>'
        yield _text(LEFT - 8, y + 4, number(tick), "end")


def _limit(limit: Limit | None, up: Scale) -> Iterator[str]:
    if limit is None:
        return
    y = up(limit[0])
    yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="{GREY}" stroke-dasharray="6 4"/>'
    yield _text(WIDTH - RIGHT + 6, y + 4, limit[1], size=11)


def _legend(names: Sequence[str]) -> Iterator[str]:
    for place, (colour, name) in enumerate(zip(_colours(), names, strict=False)):
        y = HEIGHT - BOTTOM - 18 * (len(names) - place)
        yield f'<rect x="{WIDTH - RIGHT + 12}" y="{y}" width="12" height="12" fill="{colour}"/>'
        yield _text(WIDTH - RIGHT + 30, y + 10, name)


def _drawing(parts: Sequence[str], note: str) -> str:
    body = "\n".join([*parts, *([_text(LEFT, HEIGHT - 2, note, size=10)] if note else [])])
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 6}" font-family="sans-serif" role="img">'
    return f"{head}\n{body}\n</svg>\n"
