"""The set-up script: what it says on a machine that lacks something, and when it installs again."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import dev
from tests.helpers.tree import ROOT

NO_TOOLS = {"compiler_command": lambda: ["no-such-compiler"], "can_import": lambda _: False}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a small copy of the project's build files, with dev.py pointed at it."""
    for name in ("pyproject.toml", "setup.py", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    sources = tmp_path / "node_runtime" / "ringline" / "shm" / "csrc"
    sources.mkdir(parents=True)
    (sources / "ring.c").write_text("int ring;\n")
    for name, path in {
        "ROOT": "",
        "VENV": ".venv",
        "CACHE": ".cache",
        "STAMP": ".venv/stamp",
        "LOG": ".cache/log",
    }.items():
        monkeypatch.setattr(dev, name, tmp_path / path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".cache").mkdir()
    return tmp_path


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Record the commands of the installation's steps instead of running them."""
    recorded: list[list[str]] = []
    monkeypatch.setattr(dev, "step", lambda _title, command, _text: recorded.append(command))
    return recorded


def test_an_old_python_can_read_it() -> None:
    ast.parse((ROOT / "dev.py").read_text(), feature_version=(3, 8))


def test_it_imports_nothing_that_must_be_installed_first() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "dev.py"), "help"], capture_output=True, text=True, check=True
    )
    assert "python3 dev.py voice" in done.stdout


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.main(["vioce"]) == 2
    assert "python3 dev.py test" in capsys.readouterr().out


def test_an_old_python_gets_a_sentence_and_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    with pytest.raises(
        dev.Missing, match=r"needs Python 3\.11 or newer; this is Python 3\.9\. Run: .*apt-get install -y python3\.11"
    ):
        dev.check_python((3, 9))


def test_a_newer_python_that_is_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "works", lambda name: name == "python3.12")
    with pytest.raises(dev.Missing, match=r"Run: python3\.12 dev\.py"):
        dev.check_python((3, 10))


def test_a_command_that_only_complains_is_not_a_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = tmp_path / "python3.13"
    shim.write_text("#!/bin/sh\necho 'version 3.13 is not installed' >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert not dev.works("python3.13")
    assert dev.works(sys.executable)


def test_another_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(dev.Missing, match="Linux only"):
        dev.check_python((3, 12))


def test_everything_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, replacement in NO_TOOLS.items():
        monkeypatch.setattr(dev, name, replacement)
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    with pytest.raises(dev.Missing) as missing:
        dev.prepare("voice", "voice")
    text = str(missing.value)
    assert "venv module is missing" in text
    assert "Python.h" in text
    assert "no C compiler (no-such-compiler)" in text
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert text.endswith(f"apt-get install -y python{version}-venv python{version}-dev gcc libc6-dev")


def test_the_root_user_is_not_told_to_use_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/apt-get")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert dev.apt("gcc") == "Run: apt-get install -y gcc"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert dev.apt("gcc") == "Run: sudo apt-get install -y gcc"


def test_too_little_shared_memory_is_found_before_anything_is_installed(
    monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    usage = type("Usage", (), {"free": 10 * dev.MIB})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    disk, memory = dev.space_problems("voice")
    assert f"MiB are free in {checkout}" in disk
    assert "has 10 MiB free" in memory
    assert "--shm-size" in memory


def test_the_first_run_installs_with_the_locked_versions(checkout: Path, steps: list[list[str]]) -> None:
    dev.install({"voice"})
    assert checkout.is_dir()
    assert [command[-1] for command in steps] == ["setuptools", ".[voice]"]
    assert all("constraints.txt" in command for command in steps)


def test_the_second_run_installs_nothing(checkout: Path, steps: list[list[str]]) -> None:
    dev.install({"voice"})
    steps.clear()
    dev.install({"voice"})
    assert checkout.is_dir()
    assert steps == []


def test_a_changed_c_source_is_compiled_again(checkout: Path, steps: list[list[str]]) -> None:
    dev.install({"voice"})
    (checkout / "node_runtime" / "ringline" / "shm" / "csrc" / "ring.c").write_text("int ring = 1;\n")
    steps.clear()
    dev.install({"voice"})
    assert len(steps) == 2


def test_the_tests_add_their_tools_and_keep_what_was_there(checkout: Path, steps: list[list[str]]) -> None:
    dev.install({"voice"})
    dev.install({"all", "dev"})
    assert checkout.is_dir()
    assert ".[all,voice]" in steps[-1]
    assert any(word.startswith("pytest") for word in steps[-1])
    steps.clear()
    dev.install({"voice"})
    assert steps == []


def test_a_damaged_stamp_means_installing_again(checkout: Path, steps: list[list[str]]) -> None:
    (checkout / ".venv" / "stamp").write_text("{")
    dev.install({"voice"})
    assert len(steps) == 2
    assert json.loads((checkout / ".venv" / "stamp").read_text())["parts"] == ["voice"]


@pytest.mark.parametrize("sign", dev.NO_INDEX)
def test_an_unreachable_index_is_one_clear_sentence(sign: str) -> None:
    text = dev.explain_failure(
        "install", f"WARNING: Retrying (Retry(total=1)) after connection broken by {sign}\nERROR: nothing"
    )
    assert text.startswith("pip can't reach its package index")
    assert "\n" not in text


def test_another_failure_shows_its_last_lines() -> None:
    text = dev.explain_failure("install", "line\n" * 50 + "error: command 'gcc' failed")
    assert "error: command 'gcc' failed" in text
    assert len(text.splitlines()) == 16


def test_a_failing_step_ends_the_command_with_its_reason(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(
        dev.COMMANDS, "voice", lambda _: dev.step("build", [sys.executable, "-c", "raise SystemExit('no!')"], "")
    )
    assert dev.main(["voice"]) == 1
    assert "no!" in capsys.readouterr().err
    assert "no!" in (checkout / ".cache" / "log").read_text()


def test_the_closing_lines_of_pytest_are_found_before_later_noise() -> None:
    output = (
        "a.py .F [100%]\n=== short test summary info ===\nFAILED a.py::b\n=== 1 failed, 1 passed in 0.10s ===\nnoise\n"
    )
    assert dev.closing_lines(output).splitlines()[1:] == ["FAILED a.py::b", "=== 1 failed, 1 passed in 0.10s ==="]
    assert dev.closing_lines("x\n=== 5 passed in 2.00s ===\n") == "=== 5 passed in 2.00s ==="
    assert dev.closing_lines("Segmentation fault\n") == "pytest ended without a summary"


def test_our_children_see_only_the_environment_of_the_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    variables = dev.environment()
    assert "PYTHONPATH" not in variables
    assert variables["PATH"].startswith(str(checkout / ".venv" / "bin"))


@pytest.mark.usefixtures("steps")
def test_new_versions_are_locked_and_those_with_a_condition_stay(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkout / "constraints.txt"
    path.write_text(
        '# Locked.\nnumpy==1.0\nsphinx==5.0; python_version == "3.12"\nsphinx==5.1; python_version != "3.12"\n'
    )
    frozen = subprocess.CompletedProcess[str]([], 0, "sphinx==6.0\nNumPy==2.0\nav==3.0\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: frozen)
    monkeypatch.setattr(dev, "prepare", lambda *_: None)
    assert dev.main(["lock"]) == 0
    conditions = ['sphinx==5.0; python_version == "3.12"', 'sphinx==5.1; python_version != "3.12"']
    assert path.read_text().splitlines() == ["# Locked.", "av==3.0", "NumPy==2.0", *conditions]
