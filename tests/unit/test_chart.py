"""Charts of the documentation: every value has its mark in the right place, and the text is well-formed SVG."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from benchmarks.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, bar_chart, line_chart, number

SVG = "{http://www.w3.org/2000/svg}"
FLOOR = HEIGHT - BOTTOM


def marks(text: str, kind: str) -> list[ET.Element]:
    return list(ET.fromstring(text).iter(SVG + kind))


def words(text: str) -> list[str]:
    return [element.text or "" for element in marks(text, "text")]


def test_each_point_of_a_line_has_a_dot_in_proportion() -> None:
    drawn = line_chart("Speed", "agents", "steps/s", {"a": [(0, 0), (50, 50), (100, 100)]})
    dots = [(float(dot.get("cx", 0)), float(dot.get("cy", 0))) for dot in marks(drawn, "circle")]
    assert dots == [
        (LEFT, FLOOR),
        ((LEFT + WIDTH - RIGHT) / 2, (FLOOR + TOP) / 2),
        (WIDTH - RIGHT, TOP),
    ]


def test_points_are_joined_from_left_to_right() -> None:
    (line,) = marks(line_chart("t", "x", "y", {"a": [(3, 1), (1, 2), (2, 3)]}), "polyline")
    across = [float(pair.split(",")[0]) for pair in line.get("points", "").split()]
    assert across == sorted(across)


def test_a_logarithmic_axis_gives_each_power_of_ten_the_same_room() -> None:
    drawn = line_chart("t", "x", "y", {"a": [(1, 1), (10, 10), (100, 100)]}, log_x=True, log_y=True)
    low, middle, high = (float(dot.get("cy", 0)) for dot in marks(drawn, "circle"))
    assert low - middle == pytest.approx(middle - high, abs=0.2)


@pytest.mark.parametrize("log", [{"log_x": True}, {"log_y": True}])
def test_a_logarithmic_axis_refuses_zero(log: dict[str, bool]) -> None:
    with pytest.raises(ValueError, match="a logarithmic axis can't show 0"):
        line_chart("t", "x", "y", {"a": [(0, 0), (1, 1)]}, **log)  # type: ignore[arg-type]


def test_title_axes_legend_and_note_are_written() -> None:
    drawn = line_chart("Steps & more", "agents", "steps/s", {"hybrid <1>": [(1, 2)]}, note="two cores")
    assert {"Steps & more", "agents", "steps/s", "hybrid <1>", "two cores", "1"} <= set(words(drawn))


def test_a_limit_is_a_dashed_line_with_its_name() -> None:
    drawn = line_chart("t", "x", "y", {"a": [(1, 10)]}, bar=(20, "at most"))
    (limit,) = [line for line in marks(drawn, "line") if line.get("stroke-dasharray")]
    assert float(limit.get("y1", 0)) < float(marks(drawn, "circle")[0].get("cy", 0))
    assert "at most" in words(drawn)


def test_bars_stand_on_the_floor_and_tell_their_value() -> None:
    drawn = bar_chart("t", "MB", {"10 agents": {"a": 1, "b": 2}, "20 agents": {"b": 4}})
    bars = [bar for bar in marks(drawn, "rect") if bar.find(SVG + "title") is not None]
    heights = [float(bar.get("height", 0)) for bar in bars]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2)
    assert heights[2] == pytest.approx(4 * heights[0], abs=0.2)
    assert all(float(bar.get("y", 0)) + float(bar.get("height", 0)) == pytest.approx(FLOOR, abs=0.2) for bar in bars)
    assert [bar.findtext(SVG + "title") for bar in bars] == ["10 agents, a: 1", "10 agents, b: 2", "20 agents, b: 4"]


def test_a_series_has_the_same_colour_in_each_group() -> None:
    drawn = bar_chart("t", "MB", {"one": {"b": 2}, "two": {"a": 1, "b": 4}})
    colours = {
        (bar.findtext(SVG + "title") or "").split(",")[1]: bar.get("fill")
        for bar in marks(drawn, "rect")
        if bar.find(SVG + "title") is not None
    }
    assert len(colours) == 3
    fills = [bar.get("fill") for bar in marks(drawn, "rect") if "b:" in (bar.findtext(SVG + "title") or "")]
    assert len(set(fills)) == 1


def test_a_chart_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="has no points"):
        line_chart("t", "x", "y", {"a": []})
    with pytest.raises(ValueError, match="has no bars"):
        bar_chart("t", "y", {})


@pytest.mark.parametrize("highest", [0.0, 0.003, 0.7, 1.0, 9.99, 10.0, 43.0, 1e6])
def test_ticks_are_few_and_reach_the_highest_value(highest: float) -> None:
    drawn = line_chart("t", "x", "y", {"a": [(1, highest)]})
    ticks = [line for line in marks(drawn, "line") if not line.get("stroke-dasharray")]
    assert 2 <= len(ticks) <= 7
    (dot,) = marks(drawn, "circle")
    assert min(float(tick.get("y1", 0)) for tick in ticks) <= float(dot.get("cy", 0)) + 0.2


def test_the_same_figures_give_the_same_text() -> None:
    groups = {"one": {"a": 1.5, "b": 2.5}}
    assert bar_chart("t", "y", groups) == bar_chart("t", "y", groups)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (0.5, "0.5"),
        (12.345, "12.3"),
        (999, "999"),
        (1500, "1500"),
        (20_000, "20k"),
        (3e6, "3M"),
        (0.001, "0.001"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
