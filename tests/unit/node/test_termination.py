"""Last words of a container: JSON that fits, whatever a node has printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline.node import termination


def report(**changes: Any) -> dict[str, Any]:
    return {"node": "asr", "epoch": 2, "code": 137, "signal": "SIGKILL", "oom": False, "tail": ["one", "two"]} | changes


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "Killed"),
        ({"oom": True}, "OOMKilled"),
        ({"code": 143, "signal": "SIGTERM"}, "Terminated"),
        ({"code": 1, "signal": None}, "Error"),
        ({"code": 0, "signal": None}, "Completed"),
    ],
)
def test_a_container_says_by_itself_why_its_node_ended(changes: dict[str, Any], reason: str) -> None:
    record = termination.record_of(report(**changes))
    assert record["reason"] == reason
    assert record["exitCode"] == report(**changes)["code"]
    assert (record["node"], record["epoch"], record["tail"]) == ("asr", 2, ["one", "two"])


@pytest.mark.parametrize(("containers", "limit"), [(1, 4096), (3, 4096), (4, 3072), (12, 1024), (33, 372), (0, 4096)])
def test_all_containers_of_a_pod_share_twelve_kibibytes(containers: int, limit: int) -> None:
    assert termination.share(containers) == limit


def test_the_last_lines_join_the_message() -> None:
    words = json.loads(termination.fitting({"node": "a", "message": "it failed", "tail": ["x", "y"]}, 4096))
    assert words == {"node": "a", "message": "it failed\nx\ny"}


def test_absent_fields_are_left_out_and_key_fields_come_first() -> None:
    data = termination.fitting({"node": "a", "exitCode": 1, "signal": None, "message": "m", "reason": "Error"}, 4096)
    assert data == b'{"node":"a","exitCode":1,"reason":"Error","message":"m"}'


@given(
    message=st.text(max_size=3000),
    tail=st.lists(st.text(max_size=1000), max_size=20),
    limit=st.integers(min_value=300, max_value=4096),
)
def test_it_always_fits_and_is_always_json(message: str, tail: list[str], limit: int) -> None:
    record = {"node": "n" * 40, "exitCode": 139, "signal": "SIGSEGV", "reason": "SegmentationFault", "message": message}
    data = termination.fitting({**record, "tail": tail}, limit)
    assert len(data) <= limit
    words = json.loads(data)
    assert (words["exitCode"], words["reason"]) == (139, "SegmentationFault")


def test_of_a_long_text_the_beginning_and_the_very_end_are_kept() -> None:
    text = "first sentence " + "x" * 9000 + " the last line"
    words = json.loads(termination.fitting({"message": text}, 1000))["message"]
    assert words.startswith("first sentence")
    lines = json.loads(termination.fitting({"message": "m" * 200, "tail": ["old"] * 300 + ["newest"]}, 1100))["message"]
    assert lines.endswith("newest")


def test_words_replace_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("x" * 500)
    termination.leave_words(file, {"node": "a"}, 4096)
    assert json.loads(file.read_text()) == {"node": "a", "message": ""}


def test_a_place_without_the_file_is_left_alone(tmp_path: Path) -> None:
    termination.leave_words(tmp_path / "none", {"node": "a"}, 4096)
    assert list(tmp_path.iterdir()) == []
