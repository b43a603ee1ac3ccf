"""`ringline send`, `recv` and `run --session` through kubectl to a real gateway; only the API server is not real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ringline import Pipeline
from tests.helpers.cli import Outcome, Running, ringline
from tests.helpers.kubectl import FakeCluster, ended, install
from tests.helpers.pod import TOKEN, Pod
from tests.integration.sessions import config, session_id

WHERE = ("--session", "call", "--namespace", "team-a")


@pytest.fixture
def pod(tmp_path: Path, shm_root: Path) -> Iterator[Pod]:
    """The pod of a session that says back what it hears."""
    pipeline = (
        Pipeline("echo").add_node("t_echo", "echo").input("in", to="echo.input").output("out", from_="echo.output")
    )
    with Pod(tmp_path / "files", shm_root / session_id(), pipeline.plan(config())) as pod:
        pod.until_ready()
        yield pod


@pytest.fixture
def cluster(pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    monkeypatch.delenv("RINGLINE_INGRESS_TOKEN", raising=False)
    found = install(tmp_path / "bin", monkeypatch)
    found.add_session("call", TOKEN)
    found.gateway = pod.ingress_port
    return found.save()


def said(folder: Path, *lines: str) -> Path:
    path = folder / "said.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def everything_ended(cluster: FakeCluster) -> bool:
    return cluster.forwarder is not None and ended(cluster.forwarder)


def test_run_feeds_and_records_a_session_until_it_has_ended(pod: Pod, cluster: FakeCluster, tmp_path: Path) -> None:
    ends = ("--input", f"in={said(tmp_path, 'one', 'two', 'three')}", "--output", "out=heard.txt")
    outcome = ringline("run", *WHERE, *ends, "--json", cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "heard.txt").read_text() == "one\ntwo\nthree\n"
    started, summary = outcome.lines
    assert started["event"] == "started"
    assert (summary["session_id"], summary["result"], summary["error"]) == ("call", "ended", None)
    assert [summary[end][name]["messages"] for end, name in (("inputs", "in"), ("outputs", "out"))] == [3, 3]
    assert everything_ended(cluster)
    assert TOKEN not in str(cluster.asked)
    pod.until(lambda: pod.status().get("phase") == "Succeeded", "the session's end")


def test_what_is_sent_is_received_and_the_session_goes_on(pod: Pod, cluster: FakeCluster, tmp_path: Path) -> None:
    file = said(tmp_path, "hello")

    def send() -> Outcome:
        return ringline("send", *WHERE, "in", file, cwd=tmp_path)

    with Running("recv", *WHERE, "out", "--count", "2", cwd=tmp_path) as listener:
        while listener.process.poll() is None:
            sent = send()
            assert (sent.code, sent.err) == (0, "1 message sent to in\n")
        heard = listener.wait()
    assert (heard.code, heard.out) == (0, "hello\nhello\n")
    assert everything_ended(cluster)
    assert pod.status()["phase"] == "Running"


def test_a_run_that_is_told_to_stop_leaves_the_session_alone(pod: Pod, cluster: FakeCluster, tmp_path: Path) -> None:
    outcome = ringline("run", *WHERE, "--output", "out=heard.txt", "--duration", "0.3", cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert "ended by --duration" in outcome.out
    assert everything_ended(cluster)
    assert pod.status()["phase"] == "Running"


def test_an_input_that_fails_ends_the_run_though_its_output_would_go_on(
    pod: Pod, cluster: FakeCluster, tmp_path: Path
) -> None:
    (tmp_path / "noise.wav").write_text("no sound")
    ends = ("--input", "in=noise.wav", "--output", "out=heard.txt")
    outcome = ringline("run", *WHERE, *ends, "--json", cwd=tmp_path)
    assert outcome.code == 1
    assert outcome.lines[-1]["error"].startswith("DataError: noise.wav can't be read as sound")
    assert outcome.err == ""
    assert everything_ended(cluster)
    assert pod.status()["phase"] == "Running"


def test_of_two_outputs_one_that_does_not_exist_is_all_that_is_told(
    pod: Pod, cluster: FakeCluster, tmp_path: Path
) -> None:
    ends = ("--output", "out=heard.txt", "--output", "other=heard-too.txt")
    outcome = ringline("run", *WHERE, *ends, "--json", cwd=tmp_path)
    assert outcome.code == 1
    (summary,) = outcome.lines
    assert "no output 'other'" in summary["error"]
    assert outcome.err == ""
    assert everything_ended(cluster)
    assert pod.status()["phase"] == "Running"


def test_a_token_that_is_wrong_is_said(pod: Pod, cluster: FakeCluster, tmp_path: Path) -> None:
    assert pod
    cluster.add_session("call", "wrong")
    cluster.save()
    outcome = ringline("send", *WHERE, "in", said(tmp_path, "x"), cwd=tmp_path)
    assert outcome.code == 1
    assert "bearer token" in outcome.err
    assert "wrong" not in outcome.err.replace("wrong or missing", "")
    assert everything_ended(cluster)


def test_the_gateway_is_reached_directly_with_the_secret_s_token(
    pod: Pod, cluster: FakeCluster, tmp_path: Path
) -> None:
    url = f"ws://127.0.0.1:{pod.ingress_port}"
    outcome = ringline("send", "--session", "call", "--url", url, "in", said(tmp_path, "x"), cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "1 message sent to in\n")
    assert cluster.forwarder is None
