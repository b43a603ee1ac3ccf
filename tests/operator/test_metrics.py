"""What the operator says of itself: sessions by phase, the pool, who leads, how long a session took to be ready."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ringline_operator.metrics import PHASES, OperatorMetrics
from ringline_operator.observe import Cache, Group, WorkQueue
from ringline_operator.views import PipelineView, PodView, SessionView

HERE = {"namespace": "default", "pipeline": "voice"}


def metrics_of(group: Group) -> OperatorMetrics:
    cache = Cache(WorkQueue())
    cache.groups["default", "voice"] = group
    return OperatorMetrics(cache, WorkQueue())


def value(metrics: OperatorMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def view(**changes: Any) -> PipelineView:
    return PipelineView("default", "voice", "owner", 1, "aaaaaa", **changes)


def session(phase: str, *, owner: str | None = "owner", **status: Any) -> SessionView:
    return SessionView("voice-a", "uid-a", 100.0, owner_uid=owner, phase=phase, status=status)


def test_every_phase_is_there_also_with_nothing_in_it() -> None:
    metrics = metrics_of(Group(view(), sessions={"a": session("Running"), "b": session("")}))
    found = {phase: value(metrics, "ringline_operator_sessions", **HERE, phase=phase) for phase in PHASES}
    assert found == {phase: float(phase in ("Running", "Pending")) for phase in PHASES}


def test_a_free_session_is_one_that_a_claim_could_take() -> None:
    pods = {
        name: PodView(name, name, "1", name, "owner", 0.0, phase="Running", ready=ready, claimed=claimed)
        for name, ready, claimed in (("free", True, False), ("taken", True, True), ("starting", False, False))
    }
    assert value(metrics_of(Group(view(), pods=pods)), "ringline_operator_sessions_unclaimed", **HERE) == 1


@pytest.mark.parametrize(("suspend", "wanted"), [(False, 3.0), (True, 0.0)])
def test_a_suspended_pipeline_wants_no_session(suspend: bool, wanted: float) -> None:
    group = Group(view(replicas=3, suspend=suspend))
    assert value(metrics_of(group), "ringline_operator_sessions_wanted", **HERE) == wanted


def test_sessions_of_a_deleted_pipeline_are_counted_but_nothing_is_wanted() -> None:
    metrics = metrics_of(Group(None, sessions={"call": session("Running", owner=None)}))
    assert value(metrics, "ringline_operator_sessions", **HERE, phase="Running") == 1
    assert value(metrics, "ringline_operator_sessions_wanted", **HERE) is None


def test_who_holds_the_lease_says_so() -> None:
    metrics = metrics_of(Group())
    assert value(metrics, "ringline_operator_leader") == 0
    metrics.leads = lambda: True
    assert value(metrics, "ringline_operator_leader") == 1


def ready_after(before: SessionView, status: dict[str, Any]) -> dict[str, float | None]:
    metrics = metrics_of(Group())
    metrics.became_ready(before, status, 107.0)
    return {
        kind: value(metrics, "ringline_operator_session_ready_seconds_sum", claimed=kind) for kind in ("true", "false")
    }


def test_the_first_readiness_is_timed_from_the_creation() -> None:
    assert ready_after(session("Starting"), {"readyTime": "now"}) == {"true": None, "false": 7.0}
    assert ready_after(session("Starting", owner=None), {"readyTime": "now"}) == {"true": 7.0, "false": None}


@pytest.mark.parametrize(
    ("before", "status"),
    [
        (session("Running", readyTime="before"), {"readyTime": "before"}),
        (session("Starting"), {"phase": "Starting"}),
        (session("Starting"), {"readyTime": "now", "attempt": 1}),
    ],
    ids=["ready already", "not ready", "a later attempt"],
)
def test_nothing_else_is_timed(before: SessionView, status: dict[str, Any]) -> None:
    assert ready_after(before, status) == {"true": None, "false": None}


@pytest.mark.parametrize("urgent", [True, False])
def test_what_a_call_waits_for_is_timed_apart_from_the_rest(urgent: bool) -> None:
    metrics = metrics_of(Group())
    metrics.acted(0.25, urgent=urgent)
    label = str(urgent).lower()
    assert value(metrics, "ringline_operator_act_seconds_sum", urgent=label) == 0.25
    assert value(metrics, "ringline_operator_act_seconds_count", urgent=str(not urgent).lower()) is None


def test_events_that_nobody_will_read_are_counted() -> None:
    metrics = metrics_of(Group())
    metrics.unwritten = lambda: 3
    assert value(metrics, "ringline_operator_events_dropped_total") == 3


def test_a_scrape_is_answered_until_the_operator_ends() -> None:
    metrics = metrics_of(Group(view()))
    metrics.reconciled(0.02)
    metrics.serve(0)
    port = metrics._server[0].server_port
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        names = {family.name for family in text_string_to_metric_families(answer.read().decode())}
    metrics.close()
    assert names >= {
        family.name for family in text_string_to_metric_families(generate_latest(metrics.registry).decode())
    }
    assert "ringline_operator_reconcile_seconds" in names
