"""What the machine may lack, and a host that dies: nothing is half made and nothing is left."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringline import Pipeline, ResourceLimitError, Session, SessionExistsError, SettingsError
from ringline.host import procfs
from tests.faults.scenes import exists, gone, make, nothing_left, short, started, until
from tests.helpers.freeze import freeze
from tests.integration.sessions import Lines, chain, session_id

HOST = Path(__file__).parent / "nodes" / "host_script.py"


async def test_a_second_session_with_the_same_id_is_refused_and_the_first_lives_on() -> None:
    first = await started(make("does_as_told"))
    second = Session(first.session_id, chain("does_as_told"), config=short(), log_callback=Lines())
    with pytest.raises(SessionExistsError, match=f"session '{first.session_id}' is alive"):
        await second.initialize()
    await first.send("a", "still here")
    assert (await first.receive("a")).as_text().endswith("still here")
    await first.cleanup()
    nothing_left(first)
    again = Session(first.session_id, chain("does_as_told"), config=short(), log_callback=Lines())
    await again.initialize()
    await again.cleanup()


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (procfs.open_descriptors() + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("left", [64, 8, 0])
async def test_too_few_descriptors_are_refused_before_any_spawn(left: int) -> None:
    session = make("does_as_told")
    with descriptors_left(left), pytest.raises(ResourceLimitError, match="file descriptors"):
        await session.initialize()
    assert not session.directory.exists()


async def test_enough_descriptors_are_enough() -> None:
    session = make("does_as_told", "does_as_told")
    with descriptors_left(64 + 8 + 4):
        await started(session)
        await session.send("a", "x")
        await session.receive("b")
        await session.cleanup()
    nothing_left(session)


def test_too_many_nodes_are_refused_before_any_spawn() -> None:
    with pytest.raises(ResourceLimitError, match=r"max_processes_per_session|maxProcessesPerSession"):
        make(*["does_as_told"] * 3, max_processes_per_session=2)


@pytest.fixture
def small_shm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A tmpfs of 4 MiB in place of /dev/shm."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "none", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a tmpfs can't be mounted here: {mounted.stderr.decode().strip()}")
    monkeypatch.setenv("RINGLINE_SHM_DIR", str(tmp_path))
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


async def test_a_full_dev_shm_is_a_clear_error_with_nothing_half_made(small_shm: Path) -> None:
    session = make("does_as_told", "does_as_told", max_message_size=4 << 20)
    with pytest.raises(ResourceLimitError, match="bytes free"):
        await session.initialize()
    assert list(small_shm.glob("*/*")) == []


async def test_shared_memory_that_fills_up_while_it_is_made_is_the_same_error(
    small_shm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringline.host.directory.check_space", lambda *_: None)
    session = make("does_as_told", "does_as_told", max_message_size=4 << 20)
    with pytest.raises(ResourceLimitError):
        await session.initialize()
    assert list(small_shm.glob("*/*")) == []


async def test_a_folder_for_shared_memory_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGLINE_SHM_DIR", "/nowhere/at/all")
    with pytest.raises(SettingsError, match="RINGLINE_SHM_DIR: there is no folder /nowhere/at/all"):
        await make("does_as_told").initialize()


class Host:
    """An application in a process of its own, that prints the pids of its zygote and nodes."""

    def __init__(self, phase: str) -> None:
        self.session_id = session_id()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, str(HOST), self.session_id, phase]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        assert words, "the host said nothing"
        self.directory, self.zygote, self.nodes = Path(words[0]), int(words[1]), [int(word) for word in words[2:]]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.mark.parametrize("phase", ["initialize", "running", "cleanup"])
async def test_the_zygote_cleans_up_after_a_host_that_was_killed(phase: str) -> None:
    host = Host(phase)
    assert all(exists(pid) for pid in host.nodes)
    host.kill()
    await gone(host.zygote, *host.nodes)
    await until(lambda: not host.directory.exists())


async def test_children_that_the_application_forked_do_not_keep_its_nodes_alive() -> None:
    host = Host("forked")
    await until(lambda: len(procfs.family(host.process.pid)) > len(host.nodes) + 2)
    [forked] = set(procfs.family(host.process.pid)) - {host.process.pid, host.zygote, *host.nodes}
    host.kill()
    await gone(host.zygote, *host.nodes)
    assert exists(forked)
    os.kill(forked, signal.SIGKILL)
    await until(lambda: not host.directory.exists())


async def test_when_both_are_killed_the_next_start_takes_the_stale_directory() -> None:
    host = Host("running")
    freeze(host.zygote)
    host.kill()
    os.kill(host.zygote, signal.SIGKILL)
    await gone(host.zygote, *host.nodes)
    assert host.directory.exists()
    session = Session(host.session_id, chain("does_as_told"), config=short(), log_callback=Lines())
    await started(session)
    assert session.directory == host.directory
    await session.send("a", "x")
    assert (await session.receive("a")).as_text().endswith(":x")
    await session.cleanup()
    nothing_left(session)


async def test_a_live_session_of_another_process_is_never_stolen() -> None:
    host = Host("running")
    thief = Session(host.session_id, chain("does_as_told"), config=short(), log_callback=Lines())
    with pytest.raises(SessionExistsError):
        await thief.initialize()
    assert all(exists(pid) for pid in host.nodes)
    host.kill()
    await gone(host.zygote, *host.nodes)
    await until(lambda: not host.directory.exists())


@pytest.mark.parametrize("phase", ["initialize", "running"])
async def test_an_interrupted_host_cleans_up_itself(phase: str) -> None:
    host = Host(phase)
    try:
        host.process.send_signal(signal.SIGINT)
        await until(lambda: host.process.poll() is not None)  # not in a thread: a host that stays would keep the run
        assert host.process.returncode == 130
        assert not host.directory.exists()
        await gone(host.zygote, *host.nodes)
    finally:
        host.kill()


async def test_the_library_installs_no_signal_handler() -> None:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    session = await started(make("does_as_told"))
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before
    await session.cleanup()
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before


async def test_a_session_may_be_started_many_times_with_nothing_left() -> None:
    before = procfs.open_descriptors()
    for _ in range(3):
        session = await started(make("does_as_told"))
        await session.send("a", "x")
        await session.receive("a")
        await session.cleanup()
        nothing_left(session)
    assert procfs.open_descriptors() <= before


def test_a_pipeline_is_only_read() -> None:
    pipeline = Pipeline().add_node("does_as_told", "a")
    before = pipeline.to_manifest()
    Session(session_id(), pipeline, config=short())
    assert pipeline.to_manifest() == before
