"""The page of the benchmarks: what a report becomes in words, tables and charts."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import page, stream, transfer
from benchmarks.__main__ import BENCHMARKS, GROUPS, chosen, main
from benchmarks.pairs import PLACES
from benchmarks.rows import Bar, Row
from tests.helpers.tree import ROOT

TWO, ONE, _ = PLACES
MACHINE = {
    "cpu": "A Processor",
    "cpus": [0, 1],
    "kernel": "6.1",
    "python": "3.11.7",
    "load_1min": 0.24,
    "packages": {"numpy": "2.4.6", "iceoryx2": None},
}


def report(*, quick: bool = False, **benchmarks: list[Row]) -> dict[str, Any]:
    found = [{"name": name, "rows": [row.as_json() for row in rows]} for name, rows in benchmarks.items()]
    return {"started": "2026-01-31T12:00:00+00:00", "quick": quick, "machine": MACHINE, "benchmarks": found}


def compared(peer: str, size: str, value: float, *, way: str = "round trip", place: str = TWO) -> Row:
    return Row(f"{peer}, {size}", "us", [value], labels={"peer": peer, "size": size, "way": way, "place": place})


LIMITS = [
    Row("memcpy", "us", [1000.0], labels={"limit": "memcpy of 10 MiB"}),
    Row("wake", "us", [50.0], labels={"limit": "futex wake on another CPU"}),
]


def verdict(row: Row, limits: list[Row] | None = None) -> str:
    text = page.text(report(peers=[row], limits=limits or []), ())
    return next(line for line in text.splitlines() if line.startswith(f"| {row.labels.get('verdict', row.name)} "))


def test_the_head_says_what_was_measured_on_what_and_when() -> None:
    head = page.text(report(), ())
    assert head.startswith("# Performance\n")
    assert "python -m benchmarks peers --write docs/performance.md" in head
    assert "2026-01-31: A Processor, 2 virtual CPUs, Linux 6.1, Python 3.11.7, load 0.2 before the start" in head
    assert "numpy 2.4.6." in head
    assert "iceoryx2" not in after_the_command(head)


def after_the_command(text: str) -> str:
    return text.rpartition("```")[2]


def test_the_command_asks_only_for_what_there_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (extras,) = re.findall(r"^pip install -e '\.\[(.*)\]'", page.text(report(), ()), re.MULTILINE)
    assert set(extras.split(",")) <= project["project"]["optional-dependencies"].keys()


def test_a_page_of_few_repetitions_says_so() -> None:
    assert "not how fast anything is" in page.text(report(quick=True), ())
    assert "not how fast anything is" not in page.text(report(), ())


def test_a_limit_that_is_kept_is_called_met() -> None:
    row = Row("a", "us", [80.0], Bar(100.0, "1 x other"), labels={"verdict": "the thing"})
    assert verdict(row) == "| the thing | 80 µs | at most 100 µs: 1 x other | **met**: 0.8 of the limit |"


def test_a_limit_that_is_missed_has_what_the_machine_allows_beside_it() -> None:
    row = Row("a", "us", [1200.0], Bar(1000.0, "1 ms"), labels={"verdict": "10 MiB, one way"})
    assert verdict(row, limits=LIMITS) == (
        "| 10 MiB, one way | 1.2 ms | at most 1 ms | **not reached**: 1.2 times the limit; a memcpy of 10 MiB takes 1 ms here; "
        "a futex wake on another CPU takes 50 µs here |"
    )


def test_what_is_not_copied_is_not_held_to_a_copy() -> None:
    row = Row("a", "us", [12.0], Bar(10.0, "x"), labels={"verdict": "10 MiB, round trip in place"})
    assert "memcpy" not in verdict(row, limits=LIMITS)


def test_throughput_is_to_be_at_least_its_limit() -> None:
    met, missed = (Row("a", "msg/s", [value], Bar(2e6, "2 x other", least=True)) for value in (3e6, 1e6))
    assert verdict(met) == "| a | 3M msg/s | at least 2M msg/s: 2 x other | **met**: 1.5 times the limit |"
    assert verdict(missed) == "| a | 1M msg/s | at least 2M msg/s: 2 x other | **not reached**: 0.5 of the limit |"


def test_another_statistic_than_the_median_is_named() -> None:
    row = Row("a", "ms", [1.0, 9.0], Bar(10.0, "10 ms", "max"))
    assert verdict(row) == "| a | 9 ms (max) | at most 10 ms | **met**: 0.9 of the limit |"


def test_peers_are_shown_as_multiples_of_ringline_for_each_size() -> None:
    rows = [
        compared(page.OURS, "64 B", 2.0),
        compared(page.OURS, "1 MiB", 100.0),
        compared("slow", "64 B", 30.0),
        compared("slow", "1 MiB", 250.0),
        compared("partial", "64 B", 3.0),
    ]
    text = page.text(report(transfer=rows), ())
    assert "| Two CPUs | 64 B | 1 MiB |" in text
    assert f"| {page.OURS} | 2 µs | 100 µs |" in text
    assert "| slow | 15 x | 2.5 x |" in text
    assert "| partial | 1.5 x | - |" in text


def test_each_place_has_a_table_of_its_own() -> None:
    rows = [compared(page.OURS, "64 B", 2.0, place=place) for place in PLACES]
    text = page.text(report(transfer=rows), ())
    assert [line for line in text.splitlines() if line.endswith("| 64 B |")] == [
        "| Two CPUs | 64 B |",
        "| One CPU | 64 B |",
        "| Unpinned | 64 B |",
    ]


def test_what_was_not_measured_has_no_section() -> None:
    text = page.text(report(limits=LIMITS, hop=[Row("a hop", "us", [120.0])]), ())
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## What the machine allows",
        "## A whole node",
    ]
    assert "| a hop | 120 µs | 120 µs | 1 |" in text


def test_a_row_without_values_is_left_out() -> None:
    row = Row("iceoryx2", "us", skipped="not installed", bar=Bar(1.0, "x"))
    assert "iceoryx2" not in after_the_command(page.text(report(transfer=[row]), ()))


def test_the_page_is_written_with_its_charts_beside_it(tmp_path: Path) -> None:
    rows = [
        compared(peer, size, value) for peer, value in ((page.OURS, 2.0), ("other", 9.0)) for size in ("64 B", "1 MiB")
    ]
    rows.append(compared(page.OURS, "64 B", 1.0, way="in place"))
    page.write(report(transfer=rows), tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [
        "performance-in-place.svg",
        "performance-round-trip.svg",
    ]
    for image in (tmp_path / "images").iterdir():
        assert f"](images/{image.name})" in text
        assert ET.fromstring(image.read_text(encoding="utf-8")).tag.endswith("svg")


def test_a_chart_shows_two_cpus_and_names_every_peer(tmp_path: Path) -> None:
    rows = [
        compared(page.OURS, "64 B", 2.0),
        compared("other", "64 B", 9.0),
        compared("lonely", "64 B", 9.0, place=ONE),
    ]
    page.write(report(transfer=rows), tmp_path / "page.md")
    chart = (tmp_path / "images" / "performance-round-trip.svg").read_text(encoding="utf-8")
    assert "64 B, other: 9" in chart
    assert "lonely" not in chart


def test_the_same_report_gives_the_same_page(tmp_path: Path) -> None:
    rows = [compared(page.OURS, "64 B", 2.0), compared("other", "64 B", 9.0)]
    for name in ("a.md", "b.md"):
        page.write(report(transfer=rows, limits=LIMITS), tmp_path / name)
    assert (tmp_path / "a.md").read_bytes() == (tmp_path / "b.md").read_bytes()


# The command.


def test_a_group_stands_for_its_benchmarks() -> None:
    assert chosen(["peers"]) == list(GROUPS["peers"])
    assert chosen(["spawn", "peers"])[:2] == ["spawn", "limits"]
    assert chosen([]) == list(BENCHMARKS)
    assert set(GROUPS["peers"]) <= set(BENCHMARKS)


def test_a_page_can_be_made_of_an_earlier_report(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps(report(limits=LIMITS)), encoding="utf-8")
    assert main(["--read", str(file), "--write", str(tmp_path / "page.md")]) == 0
    assert "futex wake on another CPU | 50 µs" in (tmp_path / "page.md").read_text(encoding="utf-8")


def test_reading_a_report_without_writing_a_page_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--read", "report.json"])
    assert ended.value.code == 2
    assert "say where the page is to be written" in capsys.readouterr().err


# Which comparisons are verdicts.


def times_of(**values: float) -> transfer.Times:
    """Give ours and the peers' times for everything that is compared."""
    return {
        (peer, size, way, where): [values[name]]
        for name, peer in (
            ("ours", transfer.RAW),
            ("events", transfer.EVENTS),
            ("busy", transfer.BUSY),
            ("copies", transfer.COPIES),
        )
        for size in transfer.SIZES
        for way in ("round trip", "in place", "round trip, one way")
        for where in PLACES
    }


def test_transfers_are_held_to_iceoryx2_and_to_copies_of_memory() -> None:
    verdicts = list(transfer.verdicts(times_of(ours=10.0, events=100.0, busy=40.0, copies=20.0)))
    assert [(row.labels["verdict"], row.bar and row.bar.limit) for row in verdicts] == [
        ("64 B, round trip by copy, two CPUs", pytest.approx(10.0)),
        ("64 B, round trip by copy, two CPUs", pytest.approx(12.0)),
        ("64 B, round trip by copy, one CPU", pytest.approx(40.0)),
        ("1 MiB, round trip by copy, two CPUs", pytest.approx(36.0)),
        ("10 MiB, round trip by copy, two CPUs", pytest.approx(100.0)),
        ("10 MiB, round trip by copy, two CPUs", pytest.approx(25.0)),
        ("10 MiB, round trip in place, two CPUs", pytest.approx(5.0)),
        ("10 MiB, one way by copy, two CPUs", 1000.0),
        ("every smaller size in place, two CPUs", pytest.approx(11.0)),
    ]
    assert [row.met for row in verdicts].count(False) == 1


def test_a_peer_that_is_not_installed_is_no_limit() -> None:
    times = {
        key: values
        for key, values in times_of(ours=1.0, events=2.0, busy=3.0, copies=4.0).items()
        if "ice" not in key[0]
    }
    assert next(row.bar.text for row in transfer.verdicts(times) if row.bar) == "1.25 x two memcpys"


def test_streams_are_held_to_multiples_of_peers() -> None:
    rates: stream.Rates = {
        (transfer.RAW, "64 B", TWO): [900.0],
        (transfer.EVENTS, "64 B", TWO): [200.0],
        ("pyzmq ipc", "64 B", TWO): [500.0],
        (transfer.RAW, "1 MiB", TWO): [30.0],
        (transfer.EVENTS, "1 MiB", TWO): [20.0],
    }
    verdicts = list(stream.verdicts(rates))
    assert [(row.bar and row.bar.limit, row.met) for row in verdicts] == [(800.0, True), (1000.0, False), (20.0, True)]


# Rows.


def test_a_bar_from_below_is_met_by_more() -> None:
    bar = Bar(2.0, "two", least=True)
    assert (Row("a", "x", [3.0], bar).met, Row("a", "x", [1.0], bar).met) == (True, False)


def test_a_row_carries_its_labels_into_the_report() -> None:
    assert Row("a", "us", [1.0], labels={"peer": "b"}).as_json()["labels"] == {"peer": "b"}
