"""From a pipe to lines and from a wait status to a report: the zygote's own small parts."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ringline.control import frames
from ringline.errors import ProcessSpawnError
from ringline.node import children, pump
from ringline.node.children import Child, exit_report, merged
from ringline.node.oom import OomWatch, counter_file
from ringline.node.pump import CONTINUED, Outlet, Pump, pipe

text = st.lists(st.sampled_from([b"a", b"b\n", b"\n", b"\r\n", b"\xff\x00", "⏎".encode(), b"word "]), max_size=40)


class Kept(Outlet):
    """Keeps the pieces instead of framing them."""

    def __init__(self) -> None:
        super().__init__(self)
        self.pieces: list[bytes] = []

    def log(self, node: str, epoch: int, stream: str, lines: bytes) -> None:
        self.pieces.append(lines)

    def send(self, data: memoryview) -> int:
        return len(data)


def pumped(chunks: list[bytes], *, longest: int = pump.LONGEST_PIECE, drain: bool = False) -> tuple[list[bytes], Pump]:
    """Give what a node wrote in these chunks, as it goes to the host, to the end of the stream."""
    reader, writer = pipe()
    outlet, source = Kept(), Pump(reader, "n", 1, "stderr")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pump, "LONGEST_PIECE", longest)
        for chunk in chunks:
            os.write(writer, chunk)
            assert source.pump(outlet)
        os.close(writer)
        if drain:
            source.drain(outlet)
        else:
            assert not source.pump(outlet)
            os.close(reader)
    return outlet.pieces, source


@given(text.map(b"".join), st.lists(st.integers(0, 80), max_size=8), st.booleans())
@example(b"no newline at the end", [3], True)
@example(b"\n", [], False)
def test_any_bytes_in_any_chunks_give_the_same_lines(data: bytes, places: list[int], drain: bool) -> None:
    ends = sorted({min(place, len(data)) for place in places})
    chunks = [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True) if start < end]
    pieces, source = pumped(chunks, drain=drain)
    assert b"".join(pieces) == data + (b"\n" if data and not data.endswith(b"\n") else b"")
    assert all(piece.endswith(b"\n") for piece in pieces)
    lines = b"".join(pieces).split(b"\n")[:-1]
    assert source.last_lines() == [line.decode(errors="replace") for line in lines[-20:]]


@given(st.lists(st.binary(max_size=60), max_size=8).map(b"\n".join), st.integers(1, 20))
def test_no_piece_is_longer_than_allowed_and_marks_lead_back_to_the_text(data: bytes, longest: int) -> None:
    data = data.replace(CONTINUED, b"")
    pieces, _ = pumped([data] if data else [], longest=longest)
    mark = CONTINUED + b"\n"
    assert all(len(piece.removesuffix(mark)) <= longest + 1 for piece in pieces)
    whole = b"".join(piece.removesuffix(mark) if piece.endswith(mark) else piece for piece in pieces)
    assert whole.removesuffix(b"\n") == data.removesuffix(b"\n")


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_frames_leave_whole_however_little_the_host_takes(size: int) -> None:
    class Slow:
        """Takes `size` bytes, then none, in turn."""

        def __init__(self) -> None:
            self.got, self.full = b"", False

        def send(self, data: memoryview, /) -> int:
            self.full = not self.full
            if not self.full:
                raise BlockingIOError
            self.got += bytes(data[:size])
            return min(size, len(data))

    host = Slow()
    outlet = Outlet(host)
    outlet.event({"ev": "hello", "pid": 1})
    outlet.log("a", 1, "stdout", b"line\n" * 20)
    while outlet.waiting:
        outlet.write()
    assert [(header["ev"], body) for header, body in frames.Decoder().feed(host.got)] == [
        ("hello", b""),
        ("log", b"line\n" * 20),
    ]


def test_a_host_that_has_gone_is_an_error_and_not_a_wait() -> None:
    class Gone:
        def send(self, data: memoryview, /) -> int:
            raise BrokenPipeError

    outlet = Outlet(Gone())
    outlet.event({"ev": "hello"})
    with pytest.raises(BrokenPipeError):
        outlet.write()


def test_each_stream_is_told_of_its_own_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "MOST_BUFFERED", 100)

    class Blocked:
        got = b""
        open = False

        def send(self, data: memoryview, /) -> int:
            if not self.open:
                raise BlockingIOError
            self.got += bytes(data)
            return len(data)

    host = Blocked()
    outlet = Outlet(host)
    for node, count in (("a", 99), ("a", 50), ("b", 60), ("a", 30)):
        outlet.log(node, 1, "stderr", b"x" * count + b"\n")
    host.open = True
    outlet.write()
    for node in ("a", "b", "c"):
        outlet.log(node, 1, "stderr", b"on\n")
        outlet.write()
    said = [(header["node"], body) for header, body in frames.Decoder().feed(host.got)]
    assert said[1] == ("a", b"[82 bytes of stderr dropped: the host did not read them in time]\n")
    assert said[3] == ("b", b"[61 bytes of stderr dropped: the host did not read them in time]\n")
    assert said[5:] == [("c", b"on\n")]


# -- children ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "changes", "full"),
    [
        ({}, {}, {}),
        ({"A": "1"}, {"B": "2"}, {"A": "1", "B": "2"}),
        ({"A": "1", "B": "1"}, {"A": "2"}, {"A": "2", "B": "1"}),
        ({"A": "1", "B": "1"}, {"A": None, "C": None}, {"B": "1"}),
        ({"A": "1"}, {"A": ""}, {"A": ""}),
    ],
)
def test_a_nodes_environment_is_the_zygotes_changed(
    base: Mapping[str, str], changes: Mapping[str, str | None], full: Mapping[str, str]
) -> None:
    assert merged(base, changes) == full


def test_only_what_differs_is_changed_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    class Environment(dict[str, str]):
        changed: list[str] = []  # noqa: RUF012

        def __setitem__(self, name: str, value: str) -> None:
            self.changed.append(name)
            super().__setitem__(name, value)

    environ = Environment({"SAME": "1", "OTHER": "1", "GONE": "1"})
    monkeypatch.setattr(os, "environ", environ)
    children._become_environment({"SAME": "1", "OTHER": "2", "NEW": "3"})
    monkeypatch.undo()
    assert environ == {"SAME": "1", "OTHER": "2", "NEW": "3"}
    assert sorted(environ.changed) == ["NEW", "OTHER"]


@pytest.mark.parametrize(
    ("status", "code", "name"),
    [(0, 0, None), (1 << 8, 1, None), (70 << 8, 70, None), (255 << 8, 255, None)]
    + [(int(number), 128 + number, number.name) for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM)]
    + [(signal.SIGABRT | 0x80, 134, "SIGABRT")],
)
def test_a_wait_status_becomes_a_code_and_a_signal(status: int, code: int, name: str | None) -> None:
    tail: Any = SimpleNamespace(last_lines=lambda: ["last"])
    child = Child("a", 3, 99, (tail, tail))
    usage = SimpleNamespace(ru_maxrss=2, ru_utime=0.5, ru_stime=0.25)
    report = exit_report(child, status, usage, None)
    assert (report["code"], report["signal"]) == (code, name)
    assert (report["node"], report["epoch"], report["pid"]) == ("a", 3, 99)
    assert (report["max_rss_bytes"], report["tail"], report["oom"]) == (2048, ["last"], None)


def test_a_program_that_can_not_be_executed_leaves_no_descriptor() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for argv in (["/nowhere/python"], ["a\0b"]):
        with pytest.raises(ProcessSpawnError, match="can't be executed"):
            children.execute("a", 1, {}, argv)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_fork_that_the_kernel_refuses_is_a_spawn_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ProcessSpawnError, match="fork failed: Resource temporarily unavailable"):
        children.fork("a", 1, {})
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(("number", "by_host"), [(signal.SIGKILL, True), (signal.SIGTERM, False)])
@pytest.mark.parametrize("group", [True, False])
def test_a_signal_to_a_child_that_has_gone_is_harmless(
    monkeypatch: pytest.MonkeyPatch, number: int, by_host: bool, group: bool
) -> None:
    sent: list[tuple[str, int, int]] = []

    def gone(how: str) -> Any:
        def send(pid: int, number: int) -> None:
            sent.append((how, pid, number))
            raise ProcessLookupError

        return send

    monkeypatch.setattr(os, "killpg", gone("group"))
    monkeypatch.setattr(os, "kill", gone("one"))
    nothing: Any = None
    child = Child("a", 1, 99, (nothing, nothing))
    child.signal(number, group=group)
    assert sent == [("group" if group else "one", 99, number)]
    assert child.killed_by_host is by_host


# -- the kernel's kills ------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["kill", "look", "settle"]), max_size=30))
def test_every_kill_is_reported_once(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    file = tmp_path_factory.getbasetemp() / "memory.events"
    kills = open_ = 0
    file.write_text("low 0\noom 9\noom_kill 0\n")
    watch = OomWatch(file)
    for step in steps:
        if step == "kill":
            kills, open_ = kills + 1, open_ + 1
            file.write_text(f"low 0\noom 9\noom_kill {kills}\n")
        elif step == "settle":
            watch.settle()
            open_ = 0
        else:
            assert watch.killed() is (open_ > 0)
            open_ = max(0, open_ - 1)


@pytest.mark.parametrize("content", ["", "oom_kill\n", "oom_kill many\n", "oom_kills 3\n", "\xff"])
def test_a_counter_that_makes_no_sense_means_unknown(tmp_path: Path, content: str) -> None:
    file = tmp_path / "memory.events"
    file.write_text(content, encoding="latin-1")
    assert OomWatch(file).killed() is None


@pytest.mark.parametrize(
    ("lines", "file"),
    [
        ("0::/pod/one\n", "pod/one/memory.events"),
        ("0::/of/the/machine\n", "memory.events"),
        ("9:cpu,memory:/pod\n0::/\n", "memory/pod/memory.oom_control"),
        ("9:memory:/elsewhere\n", "memory/memory.oom_control"),
        ("3:cpu:/\n", None),
    ],
)
def test_the_counter_is_looked_for_where_this_process_belongs(tmp_path: Path, lines: str, file: str | None) -> None:
    cgroup, root = tmp_path / "cgroup", tmp_path / "fs"
    cgroup.write_text(lines)
    if file is not None:
        (root / file).parent.mkdir(parents=True)
        (root / file).write_text("oom_kill 1\n")
    assert counter_file(cgroup, root) == (root / file if file is not None else None)
