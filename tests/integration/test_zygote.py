"""The zygote alone, with the test as its host: what it starts, reports, carries, survives and cleans up."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ringline.names import LOCK_FILE
from tests.helpers.freeze import freeze
from tests.helpers.node_host import PATIENCE_S, Zygote


@pytest.fixture
def directory(shm_root: Path) -> Iterator[Path]:
    directory = shm_root / "zygote"
    directory.mkdir()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def zygote(directory: Path) -> Iterator[Zygote]:
    with Zygote(directory) as zygote:
        yield zygote


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_it_has_one_thread_and_a_session_of_its_own(zygote: Zygote) -> None:
    process = psutil.Process(zygote.process.pid)
    assert process.num_threads() == 1
    assert os.getsid(process.pid) == process.pid


def test_a_forked_process_without_a_session_says_so_on_its_stderr(zygote: Zygote) -> None:
    zygote.spawn("n")
    pid = zygote.until("spawned", node="n")["pid"]
    report = zygote.until("exit", node="n")
    assert (report["pid"], report["code"], report["signal"]) == (pid, 1, None)
    assert "RINGLINE_SESSION_ID is not set" in report["tail"][-1]
    assert report["max_rss_bytes"] > 1 << 20
    assert report["user_s"] >= 0


@pytest.mark.parametrize("code", [0, 3, 255])
def test_an_executed_process_reports_its_exit_code_and_last_lines(zygote: Zygote, code: int) -> None:
    text = f"import sys; print('out'); [print('line', n, file=sys.stderr) for n in range(30)]; sys.exit({code})"
    zygote.run_python(text)
    report = zygote.until("exit")
    assert (report["code"], report["signal"], report["oom"]) == (code, None, False)
    assert report["tail"] == [f"line {number}" for number in range(10, 30)]
    assert zygote.logs["stdout"] == b"out\n"


def test_what_can_not_be_executed_is_reported_at_once(zygote: Zygote) -> None:
    zygote.spawn("n", ["/no/such/python"], epoch=4)
    failed = zygote.until("spawn_failed")
    assert (failed["node"], failed["epoch"]) == ("n", 4)
    assert failed["error"].startswith("/no/such/python can't be executed: ")


def test_the_environment_is_the_zygotes_own_with_changes(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "kept")
    monkeypatch.setenv("REMOVED", "removed")
    with Zygote(directory) as zygote:
        text = "import os; print(*(os.environ.get(n) for n in ('KEPT', 'REMOVED', 'ADDED', 'OPENBLAS_NUM_THREADS')))"
        zygote.spawn("n", [sys.executable, "-c", text], env={"REMOVED": None, "ADDED": "added"})
        zygote.until("exit")
    assert zygote.logs["stdout"] == b"kept None added None\n"


def test_a_node_leads_a_group_and_has_only_the_standard_descriptors(zygote: Zygote) -> None:
    zygote.run_python(
        "import os; print(os.getpgid(0) == os.getpid(), len(os.listdir('/proc/self/fd')), os.readlink('/proc/self/fd/0'))"
    )
    zygote.until("exit")
    assert zygote.logs["stdout"] == b"True 4 /dev/null\n"


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV")]
)
def test_a_signal_reaches_the_epoch_that_it_names_and_is_reported(zygote: Zygote, number: int, name: str) -> None:
    zygote.spawn("n", ["sleep", "1000"], epoch=2)
    zygote.until("spawned")
    zygote.send(op="signal", node="n", epoch=1, signal=signal.SIGKILL, group=True)
    zygote.send(op="signal", node="n", epoch=2, signal=number, group=False)
    report = zygote.until("exit", epoch=2)
    assert (report["code"], report["signal"]) == (128 + number, name)
    assert report["oom"] is False


def test_a_kill_from_elsewhere_is_told_from_the_kernels(zygote: Zygote) -> None:
    zygote.spawn("n", ["sleep", "1000"])
    os.kill(zygote.until("spawned")["pid"], signal.SIGKILL)
    assert zygote.until("exit")["oom"] in (False, None)


def test_what_a_node_forked_dies_with_it(zygote: Zygote) -> None:
    text = (
        "import subprocess, os; child = subprocess.Popen(['sleep', '1000']); print(child.pid, flush=True); os._exit(7)"
    )
    zygote.run_python(text)
    assert zygote.until("exit")["code"] == 7
    child = int(zygote.logs["stdout"])
    eventually(lambda: gone(child))


def test_a_child_that_left_the_group_dies_with_the_session(directory: Path) -> None:
    with Zygote(directory) as zygote:
        zygote.run_python("import subprocess; print(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid)")
        zygote.until("exit")
        child = int(zygote.logs["stdout"])
        assert not gone(child)
    eventually(lambda: gone(child))


def test_all_nodes_are_ended_at_the_hosts_order_and_the_directory_stays_the_hosts(directory: Path) -> None:
    zygote = Zygote(directory)
    with zygote:
        for number in range(3):
            zygote.spawn(f"n{number}", ["sleep", "1000"])
        pids = [zygote.until("spawned")["pid"] for _ in range(3)]
    assert [event["signal"] for event in zygote.events if event["ev"] == "exit"] == ["SIGKILL"] * 3
    assert all(gone(pid) for pid in pids)
    assert zygote.process.returncode == 0
    assert directory.exists()


def test_when_the_host_dies_nothing_of_the_session_stays(directory: Path) -> None:
    (directory / LOCK_FILE).touch()
    zygote = Zygote(directory)
    zygote.until("hello")
    zygote.spawn(
        "stubborn", [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)"]
    )
    pid = zygote.until("spawned")["pid"]
    freeze(pid)
    zygote.socket.close()
    zygote.process.wait(PATIENCE_S)
    assert gone(pid)
    assert not directory.exists()


def test_nodes_do_not_outlive_a_killed_zygote(directory: Path) -> None:
    zygote = Zygote(directory)
    zygote.until("hello")
    zygote.spawn("n", ["sleep", "1000"])
    pid = zygote.until("spawned")["pid"]
    zygote.process.kill()
    zygote.process.wait(PATIENCE_S)
    eventually(lambda: gone(pid))
    zygote.socket.close()


def test_a_signal_meant_for_the_terminal_does_not_end_it(zygote: Zygote) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        zygote.process.send_signal(number)
    zygote.run_python("print('alive')")
    zygote.until("exit")
    assert zygote.logs["stdout"] == b"alive\n"


def test_a_terminated_zygote_ends_its_nodes(directory: Path) -> None:
    zygote = Zygote(directory)
    zygote.until("hello")
    zygote.spawn("n", ["sleep", "1000"])
    zygote.until("spawned")
    zygote.process.terminate()
    assert zygote.until("exit")["signal"] == "SIGKILL"
    zygote.close()


def test_lines_come_out_whole_while_the_node_runs(zygote: Zygote) -> None:
    zygote.run_python("import sys, time; sys.stdout.write('first\\nsec'); sys.stdout.flush(); time.sleep(1000)")
    zygote.until("log")
    assert zygote.logs["stdout"] == b"first\n"
    zygote.send(op="signal", node="n", epoch=1, signal=signal.SIGKILL)
    zygote.until("exit")
    assert zygote.logs["stdout"] == b"first\nsec\n"


def test_a_line_of_ten_mebibytes_comes_in_marked_pieces(zygote: Zygote) -> None:
    zygote.run_python("import sys; sys.stderr.write('x' * (10 << 20) + '\\nshort\\n')")
    zygote.until("exit")
    *lines, last = zygote.logs["stderr"].decode().splitlines()
    assert last == "short"
    pieces = [line for line in lines if not line.startswith("[")]
    assert all(piece.endswith(" ⏎") and len(piece.encode()) <= 64 << 10 for piece in pieces[:-1])
    # On a busy machine this test may read too slowly; what was dropped then is counted.
    dropped = sum(int(line[1:].split()[0]) for line in lines if line.startswith("["))
    assert 10 << 20 <= sum(piece.count("x") for piece in pieces) + dropped <= 11 << 20


FLOOD = "import sys\nfor _ in range(1600): sys.stderr.write(('y' * 1023 + '\\n') * 64)\nsys.stderr.write('last\\n')"


def test_a_hundred_megabytes_do_not_block_a_node_whose_host_reads_nothing(zygote: Zygote) -> None:
    text = f"{FLOOD}\nopen({str(zygote.directory / 'done')!r}, 'w').close()"
    zygote.run_python(text)
    done = zygote.directory / "done"
    eventually(done.exists)
    assert psutil.Process(zygote.process.pid).memory_info().rss < 150 << 20
    report = zygote.until("exit")
    done.unlink()
    assert report["code"] == 0
    assert report["tail"][-1] == "last"
    assert len(zygote.logs["stderr"]) < 20 << 20


def test_dropped_lines_are_counted_when_the_host_reads_again(zygote: Zygote) -> None:
    zygote.run_python(f"{FLOOD}\nsys.stdin.close()\nimport time; time.sleep(1)\nsys.stderr.write('after\\n')")
    time.sleep(0.5)
    zygote.until("exit")
    notes = [line for line in zygote.logs["stderr"].splitlines() if line.startswith(b"[")]
    received = sum(len(line) + 1 for line in zygote.logs["stderr"].splitlines() if not line.startswith(b"["))
    dropped = sum(int(note[1:].split()[0]) for note in notes)
    assert all(note.endswith(b"bytes of stderr dropped: the host did not read them in time]") for note in notes)
    assert received + dropped == 1600 * 64 * 1024 + len("last\nafter\n")


@pytest.mark.parametrize("words", [b"\xff\xff\xff\xff", b"\x02\x00\x00\x00{}", b"\x04\x00\x00\x00null"])
def test_a_host_that_writes_nonsense_is_as_good_as_gone_or_ignored(directory: Path, words: bytes) -> None:
    zygote = Zygote(directory)
    zygote.until("hello")
    zygote.socket.sendall(words)
    zygote.socket.close()
    zygote.process.wait(PATIENCE_S)
    assert not directory.exists()
