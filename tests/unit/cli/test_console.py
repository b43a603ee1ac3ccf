"""Printing: widths, JSON, numbers, and an output that nobody reads any more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from ringline.cli.console import (
    PIPE_WIDTH,
    console,
    counted,
    epilog,
    human_bytes,
    human_seconds,
    one_line,
    print_json,
    print_json_line,
    table,
)


def test_tables_are_not_cut_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(table(("name", "text"), [("x", "y" * (PIPE_WIDTH - 20))]))
    assert "y" * (PIPE_WIDTH - 20) in capsys.readouterr().out


def test_stderr_can_be_printed_to(capsys: pytest.CaptureFixture[str]) -> None:
    console(stderr=True).print("to the other side")
    assert capsys.readouterr() == ("", "to the other side\n")


def test_a_table_aligns_numbers_and_has_a_title(capsys: pytest.CaptureFixture[str]) -> None:
    console().print(table(("name", "count>"), [("a", 5), ("b", Text("100"))], title="things"))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "things"
    assert lines[1].split() == ["name", "count"]
    assert lines[3].endswith("    5")
    assert lines[4].endswith("  100")


def test_numbers_are_not_coloured_and_markup_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("[red]12[/red] :smile:")
    assert capsys.readouterr().out == "[red]12[/red] :smile:\n"


def test_json_keeps_its_letters_and_is_one_line_or_many(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"text": "zwölf\nLinien", "n": None}
    print_json(value)
    assert json.loads(capsys.readouterr().out) == value
    print_json_line(value)
    assert capsys.readouterr().out == '{"text":"zwölf\\nLinien","n":null}\n'


def test_json_has_no_word_for_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="JSON"):
        one_line({"x": float("nan")})


@given(st.text())
def test_any_text_stays_in_one_line(text: str) -> None:
    assert "\n" not in one_line({"text": text})
    assert json.loads(one_line({"text": text})) == {"text": text}


@given(st.integers(min_value=0, max_value=1 << 60))
def test_a_number_of_bytes_is_short_and_has_its_unit(count: int) -> None:
    number, unit = human_bytes(count).split(" ")
    assert unit in ("B", "KiB", "MiB", "GiB")
    assert float(number) < 1024.05 or unit == "GiB"


@given(st.floats(min_value=0, max_value=86400))
def test_a_time_is_short_and_has_its_unit(seconds: float) -> None:
    number, unit = human_seconds(seconds).split(" ")
    factor = {"µs": 1e6, "ms": 1e3, "s": 1}[unit]
    assert float(number) / factor == pytest.approx(seconds, rel=0.01, abs=1e-8)


@pytest.mark.parametrize(("count", "text"), [(0, "0 nodes"), (1, "1 node"), (2, "2 nodes")])
def test_nouns_follow_their_number(count: int, text: str) -> None:
    assert counted(count, "node") == text


def test_examples_stand_on_lines_of_their_own() -> None:
    assert epilog("ringline top") == "Example:\n\nringline top"
    assert epilog("a", "b") == "Examples:\n\na\n\nb"


SPEAKER = """
import signal, sys
from ringline.cli.console import say
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
for number in range(100000):
    say("a line that nobody reads")
"""


def test_a_reader_that_has_gone_is_told_as_sigterm() -> None:
    with subprocess.Popen([sys.executable, "-c", SPEAKER], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 7


def test_sigterm_without_a_handler_would_end_it() -> None:
    script = SPEAKER.replace("signal.signal", "(lambda *_: None)")
    reading, writing = os.pipe()
    with subprocess.Popen([sys.executable, "-c", script], stdout=writing) as process:
        os.close(writing)
        os.close(reading)
    assert process.returncode == -signal.SIGTERM
