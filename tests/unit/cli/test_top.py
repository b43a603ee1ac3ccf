"""`ringline top` on an arena of the test's own: what it reads, and how it shows it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringline.cli.console import console
from ringline.cli.top import _picture, read
from ringline.graph.manifest import read_manifest
from ringline.graph.plan import plan
from ringline.settings import RuntimeConfig
from ringline.shm import Arena
from tests.helpers.cli import PASS, Cli


@pytest.fixture
def arena(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arena]:
    """Own a session called `call` as its host would, without processes."""
    monkeypatch.setenv("RINGLINE_SHM_DIR", str(tmp_path))
    directory = tmp_path / f"ringline-{os.getuid()}" / "call"
    directory.mkdir(mode=0o700, parents=True)
    directory.parent.chmod(0o700)
    (resource,) = read_manifest(PASS)
    made = Arena.create(directory, plan(resource, RuntimeConfig(max_message_size=1 << 20)).layout)
    yield made
    made.close()


@pytest.fixture
def folder(arena: Arena, tmp_path: Path) -> Path:
    assert arena.node == "@host"
    return tmp_path / f"ringline-{os.getuid()}"


def test_what_was_sent_is_read_from_the_ring(arena: Arena, folder: Path) -> None:
    writer = arena.writer(["input_to_node"])
    for _ in range(3):
        assert writer.send(b"four", 4, b"", 0)
    (session,) = read(folder)["sessions"]
    assert (session["session_id"], session["host_alive"]) == ("call", True)
    channel = session["channels"]["input_to_node"]
    assert (channel["messages"], channel["bytes"], channel["occupancy"], channel["capacity"]) == (3, 12, 3, 100)
    assert session["channels"]["node_to_output"]["messages"] == 0


def test_a_node_without_a_process_is_gone_and_the_host_is_this_process(arena: Arena, folder: Path) -> None:
    (session,) = read(folder)["sessions"]
    assert (session["nodes"]["node"]["attached"], session["nodes"]["node"]["pid"]) == (False, None)
    host = session["nodes"]["@host"]
    assert (host["attached"], host["pid"]) == (True, os.getpid())
    assert host["memory_bytes"] > 1 << 20
    assert host["heap_bytes"] > 1 << 20


def test_latencies_become_bounds(arena: Arena, folder: Path) -> None:
    for _ in range(99):
        arena.observe(0.0003)
    arena.observe(0.9)
    host = read(folder)["sessions"][0]["nodes"]["@host"]
    assert host["calls"] == 100
    assert host["p50_seconds"] == host["p99_seconds"] == 512e-6


def test_what_is_busy_shows_since_when(arena: Arena, folder: Path) -> None:
    arena.beat(True)
    assert read(folder)["sessions"][0]["nodes"]["@host"]["busy_seconds"] >= 0
    arena.beat(False)
    assert read(folder)["sessions"][0]["nodes"]["@host"]["busy_seconds"] == 0


def test_a_folder_that_is_no_session_is_passed_over(arena: Arena, folder: Path) -> None:
    (folder / "being-made").mkdir()
    (folder / "strange").mkdir()
    (folder / "strange" / "arena").write_bytes(b"nothing")
    assert [session["session_id"] for session in read(folder)["sessions"]] == ["call"]
    assert read(folder, "strange")["sessions"] == []


def test_the_command_prints_one_reading(arena: Arena, cli: Cli) -> None:
    text = cli("top", "--once").out
    assert "session call" in text
    assert "input_to_node" in text
    assert str(os.getpid()) in text
    assert "gone" in text
    assert "msg/s" not in text


def test_one_session_is_chosen_by_its_id(arena: Arena, cli: Cli) -> None:
    assert [each["session_id"] for each in cli("top", "--once", "--json", "-s", "call").json["sessions"]] == ["call"]
    outcome = cli("top", "--once", "-s", "other")
    assert outcome.code == 1
    assert "there is no session 'other'" in outcome.err


def test_a_second_reading_has_rates(arena: Arena, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = console()
    rates: dict[str, object] = {}
    out.print(_picture(read(folder), rates))  # type: ignore[arg-type]
    arena.writer(["input_to_node"]).send(b"x", 4, b"", 0)
    out.print(_picture(read(folder), rates))  # type: ignore[arg-type]
    assert "msg/s" in capsys.readouterr().out
    assert set(rates) == {"call"}


def test_a_session_whose_host_is_dead_says_so(arena: Arena, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reading = read(folder)
    reading["sessions"][0]["host_alive"] = False
    console().print(_picture(reading, None))
    assert "session call (its host is dead)" in capsys.readouterr().out
