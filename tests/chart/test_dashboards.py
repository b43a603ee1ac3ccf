"""Dashboards and alerts ask for what the exporters say, and are what their builder builds."""

from __future__ import annotations

import importlib.util
import json
import re
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.generate_metrics import PAGE, page, series
from tests.chart.helm import CHART, needs

BOARDS = sorted((CHART / "dashboards").glob("*.json"))
RULES = CHART / "alerts" / "ringline.rules.yaml"
SERIES = series()
ADDED = {"namespace", "pipeline", "pod", "instance", "job"}
"""Labels that Prometheus and the chart's monitors add to every series."""
NAME = re.compile(r"\b(ringline_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\b(?:by|on|without)\s*\(([^)]*)\)")


def panels(board: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(board.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def board_queries(board: Path) -> Iterator[tuple[str, str]]:
    for panel in panels(board):
        for target in panel["targets"]:
            yield f"{board.stem}: {panel['title']}", target["expr"]


def alert_queries() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


QUERIES = [*alert_queries(), *(query for board in BOARDS for query in board_queries(board))]


def mistakes(query: str) -> list[str]:
    """Return metrics and labels of a query that no exporter has."""
    found, labels = [], set(ADDED)
    for name, matchers in NAME.findall(query):
        if name not in SERIES:
            found.append(name)
            continue
        known = SERIES[name] | ADDED
        labels |= known
        found += [f"{name}{{{label}}}" for label in re.findall(r"(\w+)\s*[!=]~?", matchers) if label not in known]
    grouped = {label.strip() for group in GROUPING.findall(query) for label in group.split(",")}
    return [*found, *sorted(grouped - labels)]


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[where for where, _ in QUERIES])
def test_a_query_asks_for_what_the_exporters_say(where: str, query: str) -> None:
    assert mistakes(query) == [], where


def test_a_misspelt_query_would_be_found() -> None:
    assert mistakes('sum by (nod) (rate(ringline_node_restart_total{session="s"}[5m]))') == [
        "ringline_node_restart_total",
        "nod",
    ]
    assert mistakes('ringline_node_up{knot="a"}') == ["ringline_node_up{knot}"]


def test_every_legend_names_labels_that_its_query_keeps() -> None:
    wrong = []
    for board in BOARDS:
        for panel in panels(board):
            for target in panel["targets"]:
                names = NAME.findall(target["expr"])
                kept = set().union(*(SERIES[name] for name, _ in names))
                wrong += [
                    label for label in re.findall(r"{{(\w+)}}", target.get("legendFormat", "")) if label not in kept
                ]
    assert wrong == []


def test_every_metric_of_a_session_is_shown_somewhere() -> None:
    asked = {name for board in BOARDS for _, query in board_queries(board) for name, _ in NAME.findall(query)}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    whole = {re.sub(r"_(bucket|sum|count)$", "", name) for name in SERIES}
    unshown = {"ringline_node_resident_bytes", "ringline_session_state", "ringline_operator_api_requests_total"}
    of_libraries = {name for name in whole if name.startswith("ringline_pool_")}
    assert whole - shown <= unshown | of_libraries


def test_every_panel_says_what_it_shows_and_in_which_unit() -> None:
    silent = [
        (board.stem, panel["title"])
        for board in BOARDS
        for panel in panels(board)
        if not (panel.get("description") and panel["fieldConfig"]["defaults"].get("unit"))
    ]
    assert silent == []


def test_panels_do_not_overlap() -> None:
    for board in BOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in json.loads(board.read_text())["panels"]:
            place = panel["gridPos"]
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            assert place["x"] + place["w"] <= 24
            assert taken.isdisjoint(cells), (board.stem, panel["title"])
            taken |= cells


def test_the_dashboards_are_what_the_builder_builds() -> None:
    if importlib.util.find_spec("grafana_foundation_sdk") is None:
        pytest.skip("grafana-foundation-sdk is not installed (dependency group `dashboards`)")
    built = runpy.run_path(str(CHART / "dashboards" / "build.py"))["documents"]()
    written = {board.name: board.read_text() for board in BOARDS}
    assert written == built, "run: python charts/ringline/dashboards/build.py"


def test_the_page_of_metrics_is_what_the_exporters_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python3 dev.py generate"


def test_every_alert_fires_for_its_reason_and_only_then() -> None:
    for command in (["check", "rules"], ["test", "rules"]):
        file = RULES if command[0] == "check" else RULES.with_name("ringline.test.yaml")
        done = subprocess.run([needs("promtool"), *command, str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_unit_test() -> None:
    tests = yaml.safe_load(RULES.with_name("ringline.test.yaml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
    silent = {case["alertname"] for test in tests for case in test["alert_rule_test"] if not case.get("exp_alerts")}
    alerts = {name for name, _ in alert_queries()}
    assert fired == silent == alerts


def test_prometheus_can_parse_every_query_of_the_dashboards(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    plain = [query.replace("$__rate_interval", "5m").replace("$namespace", ".*") for _, query in QUERIES]
    rules = [{"record": f"query:number{index}", "expr": query} for index, query in enumerate(plain)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = subprocess.run([needs("promtool"), "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
