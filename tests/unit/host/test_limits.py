"""Everything that is refused before a process is started."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

import pytest

from ringline import Pipeline, RuntimeConfig
from ringline.errors import ProcessSpawnError, ResourceLimitError
from ringline.graph.nodeconfig import NodePlan
from ringline.graph.plan import SessionPlan
from ringline.host import limits
from ringline.host.launch import Launch, main_script, zygote_environment
from ringline.node.interpreter import interpreter


def planned(nodes: int = 2, **settings: Any) -> SessionPlan:
    pipeline = Pipeline("p")
    for index in range(nodes):
        pipeline.add_node("gain", f"n{index}")
    return pipeline.plan(RuntimeConfig(max_message_size=1 << 20, **settings))


def with_limit(monkeypatch: pytest.MonkeyPatch, soft: int, used: int = 10) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    monkeypatch.setattr("ringline.host.procfs.open_descriptors", lambda: used)


@pytest.mark.parametrize(("nodes", "enough"), [(1, 68), (10, 104)])
def test_descriptors_are_counted_per_node(monkeypatch: pytest.MonkeyPatch, nodes: int, enough: int) -> None:
    plan = planned(nodes)
    with_limit(monkeypatch, 10 + enough)
    limits.check_limits(plan)
    with_limit(monkeypatch, 10 + enough - 1)
    with pytest.raises(ResourceLimitError, match=rf"needs {enough} file descriptors but only {enough - 1} of"):
        limits.check_limits(plan)


def test_no_limit_of_descriptors_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with_limit(monkeypatch, resource.RLIM_INFINITY)
    limits.check_limits(planned())


def test_more_nodes_than_the_settings_allow_are_refused() -> None:
    plan = planned(3, max_processes_per_session=None)
    limits.check_limits(plan)
    import dataclasses

    small = dataclasses.replace(plan, runtime=RuntimeConfig(max_processes_per_session=2))
    with pytest.raises(ResourceLimitError, match="has 3 nodes but max_processes_per_session is 2"):
        limits.check_limits(small)


@pytest.mark.parametrize("folder", ["", "pids"])
def test_a_cgroups_limit_of_processes_counts(tmp_path: Path, folder: str) -> None:
    home = tmp_path / folder
    home.mkdir(exist_ok=True)
    (home / "pids.max").write_text("100\n")
    (home / "pids.current").write_text("97\n")
    assert limits._cgroup_pids(tmp_path) == (100, 97)
    (home / "pids.max").write_text("max\n")
    assert limits._cgroup_pids(tmp_path) == (None, 97)
    assert limits._cgroup_pids(tmp_path / "none") == (None, 0)


def test_a_full_cgroup_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_cgroup_pids", lambda: (100, 97))
    with pytest.raises(ResourceLimitError, match=r"pids.max leaves 3"):
        limits.check_limits(planned())


def test_python_is_the_hosts_own_interpreter() -> None:
    assert interpreter(NodePlan("a", "gain")) == Path(sys.executable)


def test_other_names_are_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python-special"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert interpreter(NodePlan("a", "gain", executable="python-special")) == program
    assert interpreter(NodePlan("a", "gain", executable=str(program))) == program
    with pytest.raises(ProcessSpawnError, match=r"Python executable not found: 'python9'.*node 'a'"):
        interpreter(NodePlan("a", "gain", executable="python9"))


def test_a_virtual_environment_wins_over_the_executable(tmp_path: Path) -> None:
    node = NodePlan("a", "gain", executable="python9", venv_path=str(tmp_path))
    with pytest.raises(ProcessSpawnError, match=f"{tmp_path}.*python3 -m venv"):
        interpreter(node)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    assert interpreter(node) == tmp_path / "bin" / "python"


def test_a_secret_that_is_not_in_the_environment_is_named() -> None:
    import dataclasses

    plan = planned(1)
    node = dataclasses.replace(plan.nodes[0], secret_env=("VOICE_KEY",))
    plan = dataclasses.replace(plan, nodes=(node,))
    limits.check_environment(plan, {"VOICE_KEY": "x"})
    with pytest.raises(ProcessSpawnError, match="node 'n0' takes the environment variable VOICE_KEY"):
        limits.check_environment(plan, {})


def test_a_node_is_told_who_it_is(tmp_path: Path) -> None:
    node = NodePlan("vad", "energy_vad", env={"A": "1"})
    python = {"vad": Path(sys.executable)}
    launch = Launch("s1", tmp_path, "secret", Path("/app/main.py"), python)
    assert launch.environment(node, 3) == {
        "A": "1",
        "RINGLINE_SESSION_ID": "s1",
        "RINGLINE_SESSION_DIR": str(tmp_path),
        "RINGLINE_NODE": "vad",
        "RINGLINE_EPOCH": "3",
        "RINGLINE_TOKEN": "secret",
        "RINGLINE_SCRIPT": "/app/main.py",
    }
    assert launch.command(node) is None
    other = Launch("s1", tmp_path, "secret", None, {"vad": Path("/v/bin/python")})
    assert other.command(node) == ["/v/bin/python", "-m", "ringline.node", "run"]
    assert "RINGLINE_SCRIPT" not in other.environment(node, 1)


def test_the_zygote_inherits_all_but_our_own_variables() -> None:
    environ = {"HOME": "/root", "RINGLINE_SHM_DIR": "/x", "RINGLINE_LOG_FORMAT": "json", "PYTHONPATH": "/mine"}
    found = zygote_environment(environ)
    assert found["HOME"] == "/root"
    assert found["RINGLINE_LOG_FORMAT"] == "json"
    assert "RINGLINE_SHM_DIR" not in found
    first, second = found["PYTHONPATH"].split(":")
    assert (Path(first) / "ringline" / "names.py").is_file()
    assert second == "/mine"


def test_the_main_script_is_a_file_that_exists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    main = sys.modules["__main__"]
    for value, expected in ((None, None), ("/usr/bin/ringline", None), (str(tmp_path / "gone.py"), None)):
        monkeypatch.setattr(main, "__file__", value, raising=False)
        assert main_script() is expected
    script = tmp_path / "app.py"
    script.touch()
    monkeypatch.setattr(main, "__file__", str(script), raising=False)
    assert main_script() == script
