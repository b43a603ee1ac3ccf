"""The operator's log lines, as a log store and as a person reads them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from ringline_operator import logs


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Give the root logger its handlers and levels back."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in ("kopf", "aiohttp")}
    yield
    root.handlers[:], root.level = before
    for name, level in quiet.items():
        logging.getLogger(name).setLevel(level)


def lines_of(log_format: str, level: int = logging.INFO) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(log_format, level, stream)
    return stream


def only(stream: io.StringIO) -> dict[str, Any]:
    (line,) = stream.getvalue().splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_json_line_has_the_keys_of_a_nodes_line_and_the_callers_fields() -> None:
    stream = lines_of("json")
    logging.getLogger("ringline_operator.act").info("deleting", extra={"session": "voice-a", "reason": "Replaced"})
    line = only(stream)
    assert line.pop("time")[10] == "T"
    assert line == {
        "level": "info", "logger": "ringline_operator.act", "message": "deleting", "session": "voice-a", "reason": "Replaced",
    }  # fmt: skip


def test_an_exception_stays_on_its_line() -> None:
    stream = lines_of("json")
    try:
        raise ValueError("no such pipeline")
    except ValueError:
        logging.getLogger("x").exception("failed", extra={"pipeline": "voice"})
    line = only(stream)
    assert line["level"] == "error"
    assert line["pipeline"] == "voice"
    assert line["traceback"].splitlines()[-1] == "ValueError: no such pipeline"


def test_a_field_that_is_no_json_becomes_text() -> None:
    stream = lines_of("json")
    logging.getLogger("x").warning("refused", extra={"error": KeyError("uid"), "tries": 3})
    line = only(stream)
    assert line["error"] == "'uid'"
    assert line["tries"] == 3


def test_what_kopf_hangs_on_its_records_is_left_out() -> None:
    stream = lines_of("json")
    logging.getLogger("x").error("lost", extra={"k8s_ref": {"name": "a"}, "k8s_skip": True, "settings": object()})
    assert set(only(stream)) == {"time", "level", "logger", "message"}


def test_a_person_reads_the_fields_after_the_message() -> None:
    stream = lines_of("text")
    logging.getLogger("x").info("this operator holds the lease", extra={"identity": "pod-1"})
    assert stream.getvalue().rstrip().endswith("INFO    this operator holds the lease identity=pod-1")


@pytest.mark.parametrize("name", ["kopf.objects", "aiohttp.access"])
def test_what_libraries_tell_of_ordinary_work_is_not_logged(name: str) -> None:
    stream = lines_of("json")
    logging.getLogger(name).info("GET /healthz")
    assert stream.getvalue() == ""
    logging.getLogger(name).warning("failed")
    assert only(stream)["message"] == "failed"
