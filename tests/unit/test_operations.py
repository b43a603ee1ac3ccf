"""The single operations of the agents' benchmark: each is there, and was measured."""

from __future__ import annotations

from benchmarks.operations import operations, timed
from docs.agents_claims import claims
from tests.unit.test_agents_page import report, row_of


def test_each_operation_is_measured_and_answers_its_claim() -> None:
    rows = operations(2)
    names = [row["operation"] for row in rows]
    assert len(set(names)) == len(names) == 11
    assert all(row["us"] >= 0 for row in rows)
    told = claims({**report(), "operations": rows})
    for claim, parts in (("one operation, threads", 2), ("one operation, processes", 3), ("zero-copy", 3)):
        answer = row_of(told, claim)[-1]
        assert "–" not in answer
        assert len(answer.replace(";", ",").split(", ")) >= parts


def test_the_median_of_several_loops_is_told() -> None:
    calls: list[int] = []
    assert timed(lambda: calls.append(1), 3) >= 0
    assert len(calls) == 21
