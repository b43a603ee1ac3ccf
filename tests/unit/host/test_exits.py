"""Why a process ended: the word, the sentence and the log line."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from ringline.errors import ProcessCrashed
from ringline.host.exits import Circumstances, exit_reason, exit_record, log_exit

KNOWN = Circumstances("s1")


def event(**changes: Any) -> dict[str, Any]:
    return {
        "ev": "exit",
        "node": "tts",
        "epoch": 2,
        "pid": 4711,
        "code": 0,
        "signal": None,
        "oom": None,
        "max_rss_bytes": 1 << 20,
        "user_s": 0.5,
        "sys_s": 0.25,
        "tail": ["one", "two"],
    } | changes


@pytest.mark.parametrize(
    ("code", "signal", "oom", "known", "reason"),
    [
        (0, None, None, Circumstances("s", done=True), "Completed"),
        (0, None, None, KNOWN, "ExitedEarly"),
        (0, None, None, Circumstances("s", stopping=True), "Shutdown"),
        (1, None, None, KNOWN, "Error"),
        (70, None, None, KNOWN, "Fenced"),
        (71, None, None, KNOWN, "InitTimeout"),
        (72, None, None, KNOWN, "Stalled"),
        (137, "SIGKILL", False, KNOWN, "Killed"),
        (137, "SIGKILL", None, KNOWN, "Killed"),
        (137, "SIGKILL", True, KNOWN, "OOMKilled"),
        (137, "SIGKILL", True, Circumstances("s", kill_reason="MemoryLimit"), "MemoryLimit"),
        (134, "SIGABRT", None, Circumstances("s", kill_reason="Unhealthy"), "Unhealthy"),
        (139, "SIGSEGV", None, KNOWN, "SegmentationFault"),
        (135, "SIGBUS", None, KNOWN, "BusError"),
        (143, "SIGTERM", None, KNOWN, "Terminated"),
        (143, "SIGTERM", None, Circumstances("s", stopping=True), "Shutdown"),
        (150, "SIGPOLL", None, KNOWN, "Signaled"),
        (1, None, None, Circumstances("s", told={"reason": "Stalled"}), "Stalled"),
        (1, None, None, Circumstances("s", told={"error": "ValueError: no"}), "Error"),
    ],
)
def test_every_end_has_its_word(
    code: int, signal: str | None, oom: bool | None, known: Circumstances, reason: str
) -> None:
    assert exit_reason(code, signal, oom, known) == reason


def test_code_137_says_when_the_cause_is_unknown() -> None:
    unknown = exit_record(event(code=137, signal="SIGKILL", oom=None), KNOWN)
    known = exit_record(event(code=137, signal="SIGKILL", oom=False), KNOWN)
    killed = exit_record(event(code=137, signal="SIGKILL", oom=True), KNOWN)
    assert "unknown" in unknown.message
    assert "not by the out-of-memory killer" in known.message
    assert "more memory" in killed.message


def test_the_record_is_the_documented_error() -> None:
    record = exit_record(event(code=137, signal="SIGKILL"), Circumstances("s1", progress="running 100%"))
    error = record.error()
    assert isinstance(error, ProcessCrashed)
    assert str(error).startswith("Node 'tts' exited with code 137: ")
    assert "last progress: running 100%" in str(error)
    assert (error.node_id, error.exit_code, error.signal, error.reason) == ("tts", 137, "SIGKILL", "Killed")
    assert error.stderr_tail == ("one", "two")


def test_what_the_node_said_itself_is_the_message() -> None:
    told = {"reason": "Error", "error": "ValueError: bad sample rate"}
    assert exit_record(event(code=1), Circumstances("s", told=told)).message == "ValueError: bad sample rate"


def test_only_the_last_lines_are_kept() -> None:
    record = exit_record(event(code=1, tail=[str(i) for i in range(100)]), KNOWN)
    assert record.stderr_tail == tuple(str(i) for i in range(80, 100))


@pytest.mark.parametrize(("code", "level"), [(0, logging.INFO), (137, logging.ERROR)])
def test_every_exit_is_one_line_of_json(code: int, level: int, caplog: pytest.LogCaptureFixture) -> None:
    record = exit_record(event(code=code, signal="SIGKILL" if code else None), Circumstances("s1", done=not code))
    with caplog.at_level(logging.INFO, "ringline.exits"):
        log_exit(record)
    [line] = caplog.records
    assert line.levelno == level
    found = json.loads(line.getMessage().removeprefix("node exited "))
    assert found["node_id"] == "tts"
    assert found["exit_code"] == code
    assert found["max_rss_bytes"] == 1 << 20
    assert (line.session, line.node, line.epoch) == ("s1", "tts", 2)  # type: ignore[attr-defined]


def test_an_event_with_nothing_in_it_is_still_a_record() -> None:
    record = exit_record({}, KNOWN)
    assert (record.node_id, record.exit_code, record.stderr_tail) == ("", -1, ())
    assert json.dumps(record.as_json())
