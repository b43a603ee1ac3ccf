"""Statistics as JSON and as tables."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from ringline.cli.console import console, human_bytes, human_seconds, table
from ringline.cli.shapes import ChannelShape
from ringline.cli.stats import Rates, channel_shape, channel_table, drops_text, end_of, node_shape, node_table, quantile
from ringline.shm import LatencyHistogram


def stats(**changes: Any) -> Any:
    values = {
        "name": "a_to_b",
        "producer": "a",
        "consumer": "b",
        "message_count": 10,
        "bytes_transferred": 9600,
        "current_occupancy": 2,
        "capacity": 100,
        "dropped": {"overwritten": 3, "timeout": 0},
        "blocked_seconds": 0.25,
    }
    return SimpleNamespace(**(values | changes))


def text_of(*renderables: object, capsys: pytest.CaptureFixture[str]) -> str:
    for each in renderables:
        console().print(each)
    return capsys.readouterr().out


def test_a_ring_s_statistics_become_the_documented_object() -> None:
    assert channel_shape(stats()) == ChannelShape(
        producer="a",
        consumer="b",
        messages=10,
        bytes=9600,
        occupancy=2,
        capacity=100,
        dropped={"overwritten": 3},
        blocked_seconds=0.25,
    )


def test_a_node_s_status_becomes_the_documented_object() -> None:
    last = SimpleNamespace(exit_code=137, reason="OOMKilled")
    status: Any = SimpleNamespace(
        state="failed", pid=None, epoch=2, restarts=1, progress=1.0, message="gone", last_exit=last
    )
    assert node_shape(status)["exit_code"] == 137
    assert node_shape(status)["reason"] == "OOMKilled"
    status.last_exit = None
    assert (node_shape(status)["exit_code"], node_shape(status)["reason"]) == (None, None)


def test_rates_need_two_readings() -> None:
    rates = Rates()
    first = {"x": channel_shape(stats())}
    assert rates.of(first, now=1.0) == {"x": (0.0, 0.0)}
    later = {"x": channel_shape(stats(message_count=30, bytes_transferred=19600))}
    assert rates.of(later, now=3.0) == {"x": (10.0, 5000.0)}


def test_a_channel_that_appears_or_begins_again_has_no_negative_rate() -> None:
    rates = Rates()
    rates.of({"x": channel_shape(stats())}, now=1.0)
    found = rates.of(
        {"x": channel_shape(stats(message_count=0, bytes_transferred=0)), "y": channel_shape(stats())}, now=2.0
    )
    assert found == {"x": (0.0, 0.0), "y": (0.0, 0.0)}


def test_two_readings_at_one_time_divide_by_nothing() -> None:
    rates = Rates()
    rates.of({"x": channel_shape(stats())}, now=1.0)
    assert rates.of({"x": channel_shape(stats(message_count=99))}, now=1.0) == {"x": (0.0, 0.0)}


def test_the_channel_table_shows_drops_and_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    text = text_of(channel_table({"a_to_b": channel_shape(stats())}, title="channels"), capsys=capsys)
    for part in ("channels", "a_to_b", "10", "9.4 KiB", "2/100", "3 overwritten", "250 ms"):
        assert part in text
    assert "msg/s" not in text


def test_a_live_table_shows_rates_too(capsys: pytest.CaptureFixture[str]) -> None:
    shapes = {"a_to_b": channel_shape(stats())}
    text = text_of(channel_table(shapes, {"a_to_b": (50.0, 48000.0)}), capsys=capsys)
    assert "msg/s" in text
    assert "46.9 KiB" in text


def test_the_node_table_shows_state_and_progress(capsys: pytest.CaptureFixture[str]) -> None:
    status: Any = SimpleNamespace(
        state="loading", pid=7, epoch=1, restarts=0, progress=0.4, message="model", last_exit=None
    )
    text = text_of(node_table({"asr": node_shape(status)}), capsys=capsys)
    for part in ("asr", "loading", "40%", "7", "model"):
        assert part in text


def test_no_drop_is_a_dash() -> None:
    assert drops_text(channel_shape(stats(dropped={}))) == "-"


def test_the_host_s_end_is_the_application() -> None:
    assert (end_of("@host"), end_of("asr")) == ("application", "asr")


def test_markup_and_brackets_in_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert "[bold]x[/]" in text_of(table(("what",), [("[bold]x[/]",)]), capsys=capsys)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (960, "960 B"), (1024, "1.0 KiB"), (10 << 20, "10.0 MiB"), (5 << 40, "5120.0 GiB")]
)
def test_bytes_have_a_unit(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0 µs"), (0.0000123, "12.3 µs"), (0.34, "340 ms"), (2.5, "2.5 s"), (61, "61 s")]
)
def test_times_have_a_unit(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


@pytest.mark.parametrize(
    ("counts", "share", "bound"),
    [
        ((), 0.5, None),
        ((0, 0, 4), 0.5, 4e-6),
        ((1, 1, 2), 0.5, 2e-6),
        ((99, 0, 0, 1), 0.99, 1e-6),
        ((0,) * 31 + (1,), 0.5, math.inf),
    ],
)
def test_a_quantile_is_the_bound_of_its_bucket(counts: tuple[int, ...], share: float, bound: float | None) -> None:
    padded = counts + (0,) * (32 - len(counts))
    assert quantile(LatencyHistogram(padded, 0.0, sum(counts)), share) == bound
