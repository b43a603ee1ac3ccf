"""The first process of a node's container alone, with the test as its gateway: what it does on orders, and without any."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from ringline import Pipeline, __version__, names
from ringline.control import frames
from tests.helpers.freeze import frozen
from tests.helpers.pod import PATIENCE_S, free_ports
from tests.integration.sessions import config, session_id


class FakeGateway:
    """Listens where the gateway would, and speaks its frames."""

    def __init__(self, directory: Path) -> None:
        self._decoder = frames.Decoder()
        self._heard: list[dict[str, Any]] = []
        self._path = directory / names.GATEWAY_SOCKET
        (directory / names.TOKEN_FILE).write_text("secret")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen()
        self._listener.settimeout(PATIENCE_S)
        self._line: socket.socket | None = None

    def answer(self) -> dict[str, Any]:
        """Take the container's call; gives its hello."""
        self._line, _ = self._listener.accept()
        self._line.settimeout(PATIENCE_S)
        self._decoder = frames.Decoder()
        return self.hear()

    def hear(self, kind: str = "") -> dict[str, Any]:
        """Give the next event of a kind; of any, what the node uses is left out: it comes whenever it is time to."""
        assert self._line is not None
        while True:
            while not self._heard:
                data = self._line.recv(1 << 16)
                assert data, "the container hung up"
                self._heard += [header for header, _ in self._decoder.feed(data)]
            event = self._heard.pop(0)
            if event["ev"] == kind or (not kind and event["ev"] != "usage"):
                return event

    def order(self, **header: Any) -> None:
        assert self._line is not None
        self._line.sendall(frames.encode(header))

    def hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def close(self) -> None:
        self.hang_up()
        self._listener.close()
        self._path.unlink(missing_ok=True)


class Container:
    """One container's main program."""

    def __init__(self, folder: Path, shm: Path, node: str, **environ: str) -> None:
        folder.mkdir()
        shm.mkdir()
        plan = (
            Pipeline("p").add_node("pass_through", "a", executor="process").plan(config(cleanup_grace_period_secs=0.3))
        )
        (folder / names.PLAN_FILE).write_bytes(plan.node_config())
        self.shm = shm
        self.words_file = folder / "words"
        self.words_file.touch()
        (self.port,) = free_ports(1)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RINGLINE_")}
        own = {
            names.ENV_SESSION_ID: "pod-0",
            names.ENV_SESSION_DIR: str(shm),
            names.ENV_NODE: node,
            names.ENV_PLAN_DIR: str(folder),
            names.ENV_PROBE_PORT: str(self.port),
            names.ENV_TERMINATION_LOG: str(self.words_file),
            "PYTHONPATH": str(Path(names.__file__).parents[1]),
        }
        self.log = folder / "log"
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "ringline.node", "pod"]
            self.process = subprocess.Popen(command, env=kept | own | environ, stdout=log, stderr=log)
        self.gateway = FakeGateway(shm)

    def start(self, epoch: int = 1) -> dict[str, Any]:
        """Take the call and have the node started; gives the answer."""
        self.gateway.answer()
        self.gateway.order(op="welcome", restarts_nodes=False)
        self.gateway.order(op="spawn", epoch=epoch, env={names.ENV_EPOCH: str(epoch)})
        return self.gateway.hear()

    def probe(self, path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    @property
    def words(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.words_file.read_text() or "{}")
        return found

    def wait(self) -> int:
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.gateway.close()
        shutil.rmtree(self.shm, ignore_errors=True)


Make = Callable[..., Container]


@pytest.fixture
def make(tmp_path: Path, shm_root: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def begin(node: str = "a", **environ: str) -> Container:
            container = Container(tmp_path / "etc", shm_root / session_id(), node, **environ)
            stack.callback(container.close)
            return container

        yield begin


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_introduces_itself_with_the_token_of_the_session(make: Make) -> None:
    hello = make().gateway.answer()
    assert (hello["ev"], hello["node"], hello["token"], hello["version"]) == ("hello", "a", "secret", __version__)


def test_it_forks_from_one_thread(make: Make) -> None:
    container = make()
    container.gateway.answer()
    assert psutil.Process(container.process.pid).num_threads() == 1


def test_a_node_that_fails_is_reported_with_its_last_lines_and_the_container_waits_for_orders(make: Make) -> None:
    container = make()
    started = container.start()
    assert (started["ev"], started["epoch"]) == ("spawned", 1)
    report = container.gateway.hear()  # there is no arena to attach to
    assert (report["ev"], report["code"], report["final"]) == ("exit", 1, False)
    assert report["tail"]
    assert container.process.poll() is None
    assert [container.probe(path) for path in ("/livez", "/readyz", "/startupz")] == [200, 503, 503]
    container.gateway.order(
        op="leave", code=7, record={"node": "a", "reason": "Error", "message": "as the gateway says"}
    )
    assert container.wait() == 7
    assert container.words == {"node": "a", "reason": "Error", "message": "as the gateway says"}


def test_the_next_epoch_is_started_in_the_same_container(make: Make) -> None:
    container = make()
    container.start(1)
    assert container.gateway.hear()["epoch"] == 1
    container.gateway.order(op="spawn", epoch=2, env={names.ENV_EPOCH: "2"})
    assert (container.gateway.hear()["ev"], container.gateway.hear()["epoch"]) == ("spawned", 2)


def test_an_end_that_nobody_heard_is_told_to_the_next_gateway(make: Make) -> None:
    container = make()
    container.start()
    first = container.gateway.hear()
    container.gateway.hang_up()
    assert container.gateway.answer()["ev"] == "hello"
    container.gateway.order(op="spawn", epoch=1, env={})
    assert container.gateway.hear() == first


def test_what_the_node_uses_is_told_again_and_again_for_its_own_process(make: Make) -> None:
    container = make("a")
    with frozen(container.start()["pid"]):  # it would soon end: there is no session here
        first = container.gateway.hear("usage")
        container.gateway.order(op="ready", epoch=1)
        again = container.gateway.hear("usage")
    assert (first["node"], first["epoch"], again["epoch"]) == ("a", 1, 1)
    assert 1 << 20 < again["pss"] <= again["rss"]
    assert again["cpu_s"] >= first["cpu_s"] >= 0


def test_orders_it_does_not_know_are_passed_over(make: Make) -> None:
    container = make()
    container.gateway.answer()
    for order in ({"op": "dance"}, {"op": "signal", "epoch": 1, "signal": 9}, {"op": "ready", "epoch": 5}, {}):
        container.gateway.order(**order)
    container.gateway.order(op="spawn", epoch=1, env={names.ENV_EPOCH: "1"})
    assert container.gateway.hear()["ev"] == "spawned"


def test_a_gateway_that_writes_nonsense_is_dialled_again(make: Make) -> None:
    container = make()
    container.gateway.answer()
    assert container.gateway._line is not None
    container.gateway._line.sendall(b"\xff" * 64)
    container.gateway.hang_up()
    assert container.gateway.answer()["node"] == "a"


def test_a_node_that_is_not_in_the_plan_can_not_be_started(make: Make) -> None:
    container = make("stranger")
    failed = container.start()
    assert failed["ev"] == "spawn_failed"
    assert "the plan has no node 'stranger'" in failed["error"]


def test_a_term_without_a_node_ends_it_at_once_even_without_a_gateway(make: Make) -> None:
    container = make()
    container.gateway.answer()
    container.gateway.close()
    container.process.send_signal(signal.SIGTERM)
    assert container.wait() == 0


def test_a_term_after_a_failure_ends_it_with_the_code_of_its_node(make: Make) -> None:
    container = make()
    container.start()
    container.gateway.hear()
    container.gateway.close()
    container.process.send_signal(signal.SIGTERM)
    assert container.wait() == 1
    assert (container.words["node"], container.words["exitCode"], container.words["reason"]) == ("a", 1, "Error")


def pending(pid: int, number: int) -> bool:
    """Say whether the process has yet to take note of a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> number - 1 & 1 for mask in masks)


def test_no_node_is_started_any_more_after_a_term(make: Make) -> None:
    container = make()
    container.gateway.answer()
    container.process.send_signal(signal.SIGTERM)
    eventually(lambda: not pending(container.process.pid, signal.SIGTERM))
    container.gateway.order(op="spawn", epoch=1, env={})
    assert container.wait() == 0


def test_it_lives_and_waits_while_there_is_no_gateway(make: Make) -> None:
    container = make()
    container.gateway.close()
    eventually(lambda: container.probe("/livez") == 200)
    container.gateway = FakeGateway(container.shm)
    assert container.gateway.answer()["ev"] == "hello"


def test_a_port_that_is_taken_is_one_sentence(make: Make) -> None:
    with socket.create_server(("", 0)) as taken:
        container = make(RINGLINE_PROBE_PORT=str(taken.getsockname()[1]))
        assert container.wait() == 1
    assert "Address already in use" in container.log.read_text()
    assert "Traceback" not in container.log.read_text()


def test_a_damaged_plan_is_one_sentence(make: Make, tmp_path: Path) -> None:
    container = make()
    container.close()
    (tmp_path / "etc" / names.PLAN_FILE).write_text('{"version": 99}')
    environ = {
        names.ENV_SESSION_ID: "x", names.ENV_NODE: "a", names.ENV_PLAN_DIR: str(tmp_path / "etc"),
        names.ENV_PROBE_PORT: "0", "PYTHONPATH": str(Path(names.__file__).parents[1]), "PATH": os.environ["PATH"],
    }  # fmt: skip
    command = [sys.executable, "-m", "ringline.node", "pod"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "version 99" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_of_the_node_outlives_its_container(make: Make) -> None:
    container = make()
    container.start()
    pid = container.process.pid
    container.gateway.order(op="leave", code=0, record=None)
    assert container.wait() == 0
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    eventually(lambda: not [each for each in psutil.process_iter(["ppid"]) if each.info["ppid"] == pid])
