"""The life of a session, with a process per node and inline: the same semantics in both."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from ringline import (
    AudioMetadata,
    ChannelFullError,
    DataType,
    EndOfStream,
    ManifestError,
    MessageTooLargeError,
    Pipeline,
    RuntimeData,
    Session,
    SessionClosedError,
    SessionError,
)
from ringline.host.status import Progress
from tests.integration.sessions import chain, config, make, running, session_id

both = pytest.mark.parametrize("executor", ["process", "inline"])


@both
async def test_a_message_goes_through_two_nodes_with_all_its_fields(executor: str) -> None:
    async with running(chain("t_echo", "t_echo"), executor) as session:
        samples = np.linspace(-1, 1, 480, dtype=np.float32).reshape(-1, 2)
        metadata = AudioMetadata(sample_rate=48000, channels=2, extra={"event": "speech"})
        sent = RuntimeData(DataType.AUDIO, samples, session_id="call-7", timestamp=12345, metadata=metadata)
        assert await session.send("a", sent)
        got = await session.receive("b")
        np.testing.assert_array_equal(got.as_numpy(), samples)
        assert got.as_numpy().flags.writeable is False
        assert (got.type, got.session_id, got.timestamp) == (DataType.AUDIO, "call-7", 12345)
        assert got.metadata == metadata
        assert got.origin > 0
        got.release()


@both
async def test_plain_values_are_sent_as_what_they_are(executor: str) -> None:
    async with running(chain("t_echo"), executor) as session:
        for value, kind in (("hällo", DataType.TEXT), (b"\0\1", DataType.BINARY), ({"a": [1]}, DataType.JSON)):
            await session.send("a", value)
            got = await session.receive("a")
            assert got.type is kind
            assert (bytes(got.payload) if kind is DataType.BINARY else got.payload) == value


@both
async def test_order_is_kept_under_backpressure(executor: str) -> None:
    async with running(chain("t_echo", "t_upper"), executor, channel_capacity=4) as session:

        async def feed() -> None:
            for number in range(200):
                await session.send("a", f"n{number}")
            await session.end()

        feeding = asyncio.create_task(feed())
        got = [data.as_text() async for data in session.stream("b")]
        await feeding
        assert got[-1] == "N199"
        assert got == sorted(got, key=lambda text: int(text[1:]))
        await session.wait()


@both
async def test_the_progress_of_every_node_is_shown(executor: str) -> None:
    seen: list[Progress] = []

    async def later(progress: Progress) -> None:
        await asyncio.sleep(0)
        seen.append(progress)

    session = make(chain("t_reports", "t_echo"), executor)
    await session.initialize(progress_callback=later)
    await session.cleanup()
    assert {progress.node_id for progress in seen} == {"a", "b"}
    of_a = [progress for progress in seen if progress.node_id == "a"]
    assert of_a[-1].status == "ready"
    assert any(progress.message == "half of the model" and progress.progress == 0.5 for progress in of_a)
    fractions = [progress.progress for progress in of_a]
    assert f"{fractions[-1]:.0%}" == "100%"


@both
async def test_parameters_reach_a_running_node(executor: str) -> None:
    async with running(chain("t_reports"), executor) as session:
        await session.send("a", "x")
        assert (await session.receive("a")).payload["word"] == "first"
        await session.parameters("a", {"word": "second"})
        await session.send("a", "y")
        assert (await session.receive("a")).payload["word"] == "second"
        if executor == "process":
            with pytest.raises(SessionError, match=r"refused its parameters: .*KeyError"):
                await session.parameters("a", {"wort": "third"})


@both
async def test_a_flush_drops_what_is_queued_and_stops_what_is_being_made(executor: str) -> None:
    pipeline = chain("t_many", "t_reports", a={"count": 10_000, "pause_s": 0.002})
    async with running(pipeline, executor, cleanup_grace_period_secs=0.2) as session:
        await session.send("a", "old")
        assert (await session.receive("b")).payload["got"] == "old0"
        await session.flush("a")
        await session.send("a", "new")
        while not (found := (await session.receive("b")).payload)["got"].startswith("new"):
            assert found["got"].startswith("old")  # what left before the flush
        assert found == {**found, "got": "new0", "flushes": 1}


@both
async def test_a_finite_pipeline_ends_by_itself(executor: str) -> None:
    async with running(chain("t_count", "t_total", a={"count": 25}), executor) as session:
        assert (await session.receive("b")).as_text() == "total 25"
        with pytest.raises(EndOfStream):
            await session.receive("b")
        await session.wait()
        status = await session.get_status()
        assert status.state == "ended"
        assert {node.state for node in status.nodes.values()} == {"stopped"}


@both
async def test_ending_the_input_ends_the_session(executor: str) -> None:
    async with running(chain("t_echo", "t_total"), executor) as session:
        for _ in range(7):
            await session.send("a", "x")
        await session.end("a")
        with pytest.raises(SessionError, match="has ended"):
            await session.send("a", "late")
        assert (await session.receive("b")).as_text() == "total 7"
        await session.wait()


@both
async def test_sending_without_waiting_tells_that_the_channel_is_full(executor: str) -> None:
    pipeline = chain("t_slow", a={"pause_s": 30.0})
    async with running(pipeline, executor, channel_capacity=2, cleanup_grace_period_secs=0.1) as session:

        async def fill(timeout_s: float | None) -> None:
            for _ in range(10):
                if timeout_s is None:
                    session.try_send("a", "x")
                else:
                    await session.send("a", "x", timeout=timeout_s)

        with pytest.raises(ChannelFullError, match=r"Buffer at capacity \(backpressure active\).*channel_capacity"):
            await fill(None)
        with pytest.raises(ChannelFullError, match=r"after waiting 0\.05s"):
            await fill(0.05)


@both
async def test_a_receive_has_a_timeout(executor: str) -> None:
    async with running(chain("t_echo"), executor) as session:
        with pytest.raises(TimeoutError, match=r"within 0\.01s"):
            await session.receive("a", timeout=0.01)
        await session.send("a", "x")
        assert (await session.receive("a", timeout=30.0)).as_text() == "x"


@both
async def test_too_large_a_message_names_the_setting(executor: str) -> None:
    async with running(chain("t_echo"), executor) as session:
        with pytest.raises(MessageTooLargeError, match="max"):
            await session.send("a", bytes((1 << 20) + 1))
        await session.send("a", bytes(1 << 20))
        assert (await session.receive("a")).size() == 1 << 20


@both
async def test_channels_have_statistics(executor: str) -> None:
    async with running(chain("t_echo", "t_echo"), executor) as session:
        for _ in range(3):
            await session.send("a", b"1234")
            await session.receive("b")
        stats = await session.get_channel_stats("a_to_b")
        assert (stats.message_count, stats.bytes_transferred) == (3, 12)
        assert (stats.current_occupancy, stats.capacity) == (0, 16)
        assert set(await session.get_channel_stats()) == {"input_to_a", "a_to_b", "b_to_output"}
        with pytest.raises(SessionError, match="a_to_b"):
            await session.get_channel_stats("a_to_c")


@both
async def test_several_ports_are_addressed_by_name(executor: str) -> None:
    async with running(chain("t_split"), executor) as session:
        await session.send("a", "odd")
        await session.send("a", "even")
        assert (await session.receive("a", port="odd")).as_text() == "odd"
        assert (await session.receive("a.even")).as_text() == "even"
        with pytest.raises(SessionError, match="several outputs"):
            await session.receive("a")
        with pytest.raises(SessionError, match="no output 'z'"):
            await session.receive("z")


@both
async def test_a_session_is_used_once_and_only_after_initialize(executor: str) -> None:
    session = make(chain("t_echo"), executor)
    assert (await session.get_status()).state == "new"
    with pytest.raises(SessionError, match="initialize"):
        await session.send("a", "x")
    await session.initialize()
    with pytest.raises(SessionError, match="before"):
        await session.initialize()
    await session.send("a", "before the start")
    await session.start()
    assert (await session.receive("a")).as_text() == "before the start"
    await session.cleanup()
    await session.cleanup()
    assert (await session.get_status()).state == "closed"
    with pytest.raises(SessionClosedError):
        await session.send("a", "x")
    with pytest.raises(SessionClosedError):
        await session.receive("a")


@both
async def test_whoever_waits_at_the_end_is_told(executor: str) -> None:
    session = make(chain("t_echo"), executor)
    await session.initialize()
    await session.start()
    receiving = asyncio.create_task(session.receive("a"))
    waiting = asyncio.create_task(session.wait())
    await asyncio.sleep(0.01)
    await session.cleanup()
    for task in (receiving, waiting):
        with pytest.raises(SessionClosedError):
            await task


@both
async def test_a_cleanup_drains_what_is_queued(executor: str) -> None:
    session = make(chain("t_slow", "t_total", a={"pause_s": 0.005}), executor)
    await session.initialize()
    await session.start()
    for _ in range(10):
        await session.send("a", "x")
    await session.cleanup()
    if executor == "process":
        assert "cleaned up after 10" in session._log.text("b")  # type: ignore[attr-defined]


def test_bad_ids_and_mixed_executors_are_refused() -> None:
    with pytest.raises(SessionError, match="session id"):
        Session("../etc", chain("t_echo"), config=config())
    mixed = Pipeline().add_node("t_echo", "a").with_executor("inline").add_node("t_echo", "b")
    with pytest.raises(ManifestError, match="whole session"):
        Session(session_id(), mixed.connect("a", "output", "b", "input"), config=config())


async def test_a_cleanup_without_initialize_is_fine() -> None:
    session = make(chain("t_echo"))
    await session.cleanup()
    with pytest.raises(SessionError):
        await session.initialize()


async def test_two_sessions_run_side_by_side() -> None:
    async with running(chain("t_reports")) as one, running(chain("t_reports")) as two:
        assert one.directory != two.directory
        await asyncio.gather(one.send("a", "1"), two.send("a", "2"))
        first, second = await asyncio.gather(one.receive("a"), two.receive("a"))
        assert (first.payload["got"], second.payload["got"]) == ("1", "2")
        assert len({first.payload["pid"], second.payload["pid"], os.getpid()}) == 3


def test_any_event_loop_in_any_thread_will_do() -> None:
    import threading

    got: list[str] = []

    async def life() -> None:
        async with running(chain("t_upper")) as session:
            await session.send("a", "from a thread")
            got.append((await session.receive("a")).as_text())

    thread = threading.Thread(target=lambda: asyncio.run(life()))
    thread.start()
    thread.join()
    assert got == ["FROM A THREAD"]


def test_another_loop_is_told_so() -> None:
    async def begin(session: Session) -> None:
        await session.initialize()

    async def elsewhere(session: Session) -> None:
        with pytest.raises(SessionError, match="another event loop"):
            await session.send("a", "x")

    session = make(chain("t_echo"))
    first = asyncio.new_event_loop()
    first.run_until_complete(begin(session))
    asyncio.run(elsewhere(session))
    first.run_until_complete(session.cleanup())
    first.close()


async def test_an_orderly_exit_is_logged_as_well(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ringline.exits"):
        async with running(chain("t_count", "t_total")) as session:
            await session.wait()
    exits = [json.loads(r.getMessage().removeprefix("node exited ")) for r in caplog.records if "exits" in r.name]
    assert {(record["node_id"], record["exit_code"], record["reason"]) for record in exits} == {
        ("a", 0, "Completed"),
        ("b", 0, "Completed"),
    }
    assert all(record["max_rss_bytes"] > 1 << 20 and record["user_s"] >= 0 for record in exits)


async def test_a_session_ends_at_its_active_deadline() -> None:
    manifest = chain("t_echo").to_manifest()
    manifest["spec"]["session"] = {"activeDeadlineSeconds": 1}
    async with running(Pipeline.from_manifest(manifest)) as session:
        with pytest.raises(SessionError, match=r"activeDeadlineSeconds \(1s\)"):
            await session.receive("a")
        with pytest.raises(SessionError, match="activeDeadlineSeconds"):
            await session.wait()


async def test_nodes_print_under_their_own_name() -> None:
    session = make(chain("t_count", "t_total"))
    async with session:
        await session.wait()
    assert ("b", "stdout", "cleaned up after 5") in session._log  # type: ignore[operator]


async def test_status_and_memory_are_those_of_real_processes() -> None:
    async with running(chain("t_echo", "t_echo")) as session:
        status = await session.get_status()
        metrics = await session.get_metrics()
        assert {node.state for node in status.nodes.values()} == {"running"}
        assert {node.epoch for node in status.nodes.values()} == {1}
        pids = {node.pid for node in status.nodes.values()}
        assert all(pid is not None and Path(f"/proc/{pid}").exists() for pid in pids)
        assert metrics.process_count == len(pids) == 2
        assert 1.0 < metrics.memory_mb <= metrics.rss_mb
        assert status.as_json()["nodes"]["a"]["state"] == "running"


async def test_a_log_callback_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def bad(node: str, stream: str, line: str) -> None:
        raise RuntimeError("no log today")

    session = Session(session_id(), chain("t_count", "t_total"), config=config(), log_callback=bad)
    async with session:
        await session.wait()
    assert "no log today" in caplog.text


async def test_metrics_are_served_while_the_session_lives() -> None:
    import urllib.request

    session = Session(session_id(), chain("t_echo"), config=config(), metrics_port=0)
    async with session:
        await session.send("a", b"123")
        (await session.receive("a")).release()
        server = session._metrics
        assert server is not None
        url = f"http://127.0.0.1:{server.port}/metrics"
        with await asyncio.to_thread(urllib.request.urlopen, url) as answer:
            text = answer.read().decode()
    assert 'ringline_channel_bytes_total{channel="input_to_a",consumer="a",producer="@host"' in text
    assert f'ringline_session_latency_seconds_count{{session="{session.session_id}"}} 1.0' in text
    with pytest.raises(OSError):
        await asyncio.to_thread(urllib.request.urlopen, url)


async def test_a_node_gets_its_environment_and_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_THE_HOST", "inherited")
    pipeline = Pipeline().add_node("t_environment", "a", env={"OF_THE_NODE": "given"})
    async with running(pipeline) as session:
        for name, value in (("FROM_THE_HOST", "inherited"), ("OF_THE_NODE", "given"), ("RINGLINE_SHM_DIR", None)):
            await session.send("a", name)
            assert (await session.receive("a")).payload["value"] == value


async def test_the_users_folder_goes_with_the_last_session() -> None:
    async with running(chain("t_echo")) as first:
        folder = first.directory.parent
        async with running(chain("t_echo")) as second:
            assert second.directory.parent == folder
        assert [path.name for path in folder.iterdir()] == [first.directory.name]
    assert not folder.exists()
