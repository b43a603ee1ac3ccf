"""How a session on a cluster is found and reached through kubectl, and what is said when it can't be."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from ringline.cli import cluster as cluster_module
from ringline.cli.cluster import Gateway, Kubectl
from ringline.cli.places import Place
from ringline.cli.reach import Address, reached
from ringline.errors import SessionError
from tests.helpers.cli import Cli, Running
from tests.helpers.ingress import until
from tests.helpers.kubectl import FakeCluster, ended, install

CALL = Place(session="call", namespace="team-a")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """A cluster with the session `call`; no session runs on this machine, no token is in the environment."""
    (tmp_path / "shm").mkdir()
    monkeypatch.setenv("RINGLINE_SHM_DIR", str(tmp_path / "shm"))
    monkeypatch.delenv("RINGLINE_INGRESS_TOKEN", raising=False)
    found = install(tmp_path / "bin", monkeypatch)
    found.add_session("call", "canary")
    found.gateway = 1
    return found.save()


async def refusal(where: Place = CALL) -> str:
    with pytest.raises(SessionError) as refused:
        async with reached(where):
            pass
    return str(refused.value)


def process_of(cluster: FakeCluster) -> int:
    assert cluster.forwarder is not None
    return cluster.forwarder


async def test_a_session_is_found_with_its_pod_and_its_token_s_secret(cluster: FakeCluster) -> None:
    kubectl = Kubectl("team-a", "staging")
    gateway = await kubectl.gateway("call")
    assert gateway == Gateway(pod="call-0", secret="ingress", key="token")
    assert await kubectl.token(gateway) == "canary"
    assert [words[:4] for words in cluster.asked] == [["--namespace", "team-a", "--context", "staging"]] * 3


async def test_the_way_is_a_forwarded_port_and_ends_with_its_use(cluster: FakeCluster) -> None:
    async with reached(CALL) as address:
        assert address.url.startswith("ws://127.0.0.1:")
        assert address.token == "canary"
        assert not ended(process_of(cluster))
    assert ended(process_of(cluster))


async def test_kubectl_ends_when_the_work_fails(cluster: FakeCluster) -> None:
    with pytest.raises(ZeroDivisionError):
        async with reached(CALL):
            raise ZeroDivisionError
    assert ended(process_of(cluster))


async def test_kubectl_ends_when_the_work_is_cancelled(cluster: FakeCluster) -> None:
    async def work() -> None:
        async with reached(CALL):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await until(lambda: cluster.forwarder)
    task.cancel()
    await asyncio.wait((task,))
    assert ended(process_of(cluster))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_kubectl_ends_however_the_command_ends(cluster: FakeCluster, tmp_path: Path, number: int) -> None:
    cluster.hangs = True
    cluster.save()
    with Running("recv", "--session", "call", "--namespace", "a", "speaker", cwd=tmp_path) as command:
        while cluster.forwarder is None:
            assert command.process.poll() is None, command.err
            time.sleep(0.01)
        command.signal(number)
        assert command.wait().code != 0
    while not ended(process_of(cluster)):
        time.sleep(0.01)


async def test_a_url_spares_the_forwarding_and_the_secret_still_gives_the_token(cluster: FakeCluster) -> None:
    async with reached(Place(session="call", url="ws://10.0.0.1:9443")) as address:
        assert address == Address(url="ws://10.0.0.1:9443", token="canary")
    assert cluster.forwarder is None


async def test_a_url_alone_needs_no_kubectl(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGLINE_INGRESS_TOKEN", "mine")
    async with reached(Place(url="ws://10.0.0.1:9443")) as address:
        assert address == Address(url="ws://10.0.0.1:9443", token="mine")
    assert cluster.asked == []


async def test_a_token_of_the_environment_is_taken_first(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGLINE_INGRESS_TOKEN", "mine")
    del cluster.objects["secret/ingress"]
    cluster.save()
    async with reached(CALL) as address:
        assert address.token == "mine"


async def test_a_session_of_this_machine_is_nearer(cluster: FakeCluster, tmp_path: Path) -> None:
    folder = tmp_path / "shm" / f"ringline-{os.getuid()}" / "call"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o700)
    (folder / "ingress").touch()
    async with reached(Place(session="call")) as address:
        assert address == Address(session="call")
    assert cluster.asked == []


async def test_a_session_that_is_nowhere_is_told_with_what_is_there(cluster: FakeCluster) -> None:
    assert await refusal(Place(session="other")) == (
        "no session 'other' takes data here (those that do: none); "
        "and no MediaSession 'other' in kubectl's namespace (there: call)"
    )
    assert "no MediaSession 'other' in namespace team-a" in await refusal(Place("other", "team-a"))


async def test_a_missing_kubectl_is_said_with_the_other_way(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert "kubectl is not installed (or not on PATH)" in await refusal()
    assert "--url" in await refusal()
    assert "those that do: none); and kubectl is not installed" in await refusal(Place(session="call"))


async def test_a_session_that_does_not_run_yet_says_why_and_how_to_wait(cluster: FakeCluster) -> None:
    cluster.add_session("call", "canary", phase="Starting", message="node asr is loading")
    cluster.save()
    text = await refusal()
    assert text.startswith("session 'call' is Starting, not Running: node asr is loading; wait for it: kubectl wait")


async def test_a_session_that_has_failed_says_why(cluster: FakeCluster) -> None:
    cluster.add_session("call", "canary", phase="Failed", message="node tts was killed")
    cluster.save()
    assert await refusal() == "session 'call' is Failed, not Running: node tts was killed"


async def test_an_ingress_that_is_off_is_said_with_the_setting(cluster: FakeCluster) -> None:
    cluster.add_session("call", "")
    cluster.save()
    assert "MediaPipeline 'voice' needs spec.ingress with enabled: true" in await refusal()


async def test_a_secret_that_is_not_there_is_named(cluster: FakeCluster) -> None:
    del cluster.objects["secret/ingress"]
    cluster.save()
    assert "Secret 'ingress' in namespace team-a has no key 'token'; set RINGLINE_INGRESS_TOKEN" in await refusal()


async def test_what_kubectl_complains_of_is_passed_on(cluster: FakeCluster) -> None:
    cluster.complaint = 'error: context "team-a" does not exist'
    cluster.save()
    assert await refusal() == 'kubectl get mediasession/call: error: context "team-a" does not exist'


async def test_a_port_that_can_not_be_forwarded_is_said(cluster: FakeCluster) -> None:
    cluster.gateway = None
    cluster.save()
    assert "kubectl port-forward: error: unable to forward port because pod is not running" in await refusal()


async def test_a_kubectl_that_does_not_answer_is_given_up(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.hangs = True
    cluster.save()
    monkeypatch.setattr(cluster_module, "PATIENCE_S", 0.2)
    assert "kubectl get did not answer" in await refusal()
    assert cluster.forwarder is None or ended(cluster.forwarder)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["x.yaml", "--session", "call"], "MANIFEST has no meaning"),
        (["--session", "call", "--executor", "inline", "-i", "a=b"], "--executor has no meaning"),
        (["--session", "call", "--timeline", "-i", "a=b"], "--timeline has no meaning"),
        (["--session", "call"], "nothing to do"),
        (["--namespace", "team-a", "-i", "a=b"], "which session: --session NAME"),
        (["--url", "http://a", "-i", "a=b"], "ws:// or wss://"),
        ([], "give the pipeline's file, or --session NAME"),
    ],
)
def test_run_refuses_what_makes_no_sense_for_a_session_that_runs(cli: Cli, words: list[str], text: str) -> None:
    outcome = cli("run", *words)
    assert outcome.code == 2
    assert text in " ".join(outcome.err.replace("│", " ").split())


def test_a_failure_of_run_is_the_summary_s_error(cluster: FakeCluster, cli: Cli) -> None:
    outcome = cli("run", "--session", "other", "--namespace", "team-a", "--output", "a=b.txt", "--json")
    assert outcome.code == 1
    (summary,) = outcome.lines
    assert summary["result"] == "failed"
    assert "no MediaSession 'other'" in summary["error"]
