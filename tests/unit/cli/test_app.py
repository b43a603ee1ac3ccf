"""The program as a whole: help, exit codes, and what a user sees of an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import ringline
from ringline.cli import main, validate
from ringline.cli.app import app
from ringline.errors import ManifestError, Problem, ProcessCrashed, SessionError
from tests.helpers.cli import TONE, Cli, write

COMMANDS = ("run", "validate", "plan", "graph", "nodes", "new", "bench", "top", "send", "recv", "doctor")


def test_help_names_every_command(cli: Cli) -> None:
    outcome = cli("--help")
    assert outcome.code == 0
    assert [name for name in COMMANDS if f" {name} " not in outcome.out] == []
    assert "--install-completion" in outcome.out


@pytest.mark.parametrize(
    "command", [*COMMANDS, "new node", "bench latency", "bench transfer", "bench spawn", "bench node", "bench agents"]
)
def test_every_command_has_help_and_ends_well(cli: Cli, command: str) -> None:
    outcome = cli(*command.split(), "--help")
    assert outcome.code == 0
    assert f"ringline {command}" in outcome.out


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("new", "bench")])
def test_every_help_shows_an_example(cli: Cli, command: str) -> None:
    _, _, below = cli(command, "--help").out.rpartition("Example")
    assert f"ringline {command}" in below


def test_version_is_the_package_s(cli: Cli) -> None:
    assert cli("--version").out == f"ringline {ringline.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command"],
        ["validate"],
        ["plan", "x.yaml", "--no-such-option"],
        ["graph", "x.yaml", "--format", "picture"],
        ["run", "x.yaml", "--duration", "-1"],
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what(cli: Cli, words: list[str]) -> None:
    outcome = cli(*words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert outcome.err.strip()


def test_a_mistyped_command_is_answered_with_the_nearest(cli: Cli) -> None:
    assert "validate" in cli("valdiate").err


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def check_file(_file: Path) -> object:
        raise error

    monkeypatch.setattr(validate, "check_file", check_file)


def test_one_of_our_errors_is_one_sentence_with_its_class(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ProcessCrashed("tts", 137, signal="SIGKILL", detail="killed"))
    outcome = cli("validate", "x.yaml")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "ProcessCrashed: Node 'tts' exited with code 137: killed\n"


def test_a_manifest_s_findings_are_a_line_each(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ManifestError([Problem("spec.a", "is wrong"), Problem("spec.b", "too")], "x.yaml"))
    assert cli("validate", "x.yaml").err == "x.yaml: spec.a: is wrong\nx.yaml: spec.b: too\n"


def test_a_file_error_names_the_file(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, PermissionError(13, "Permission denied", "secret.yaml"))
    outcome = cli("validate", "x.yaml")
    assert (outcome.code, outcome.err) == (1, "error: secret.yaml: Permission denied\n")


def test_an_unexpected_error_says_how_to_see_more(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ZeroDivisionError("division by zero"))
    outcome = cli("validate", "x.yaml")
    assert outcome.code == 1
    assert outcome.err == "internal error: ZeroDivisionError: division by zero (ringline --debug COMMAND shows where)\n"


def test_debug_shows_the_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, SessionError("no"))
    outcome = cli("--debug", "validate", "x.yaml")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert outcome.err.endswith("SessionError: no\n")


def test_an_interruption_is_130_without_a_word(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    outcome = cli("validate", "x.yaml")
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "")


def test_a_reader_that_goes_away_is_not_an_error_message(tmp_path: Path) -> None:
    manifest = write(tmp_path, TONE)
    script = f"import sys; from ringline.cli import main; sys.exit(main(['nodes', '--json']))  # {manifest}"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read()
        process.wait()
    assert complaint == b""
    assert process.returncode == 1


def test_main_takes_the_process_s_own_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ringline", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("ringline ")


def test_the_program_also_works_under_typer_s_own_runner() -> None:
    result = CliRunner().invoke(app, ["nodes", "--json"])
    assert result.exit_code == 0
    assert '"energy_vad"' in result.stdout


def test_completion_can_be_shown_for_a_shell() -> None:
    script = "import sys; from ringline.cli import main; sys.exit(main(['--show-completion', 'bash']))"
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert "_RINGLINE_COMPLETE" in shown.stdout


HEAVY = ("numpy", "zmq", "pydantic", "rich.table", "ringline.session", "ringline.graph.model", "asyncio")


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    script = f"import ringline.cli, ringline.cli.app, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(("numpy", "zmq", "av", "cv2", "soxr", "prometheus_client", "websockets")))
from ringline.cli import main
for words in sys.argv[1:]:
    code = main(words.split("|"))
    print(f"{words} gave {code}")
sys.exit(code)
"""


def test_what_concerns_manifests_works_where_only_the_core_is_installed(tmp_path: Path) -> None:
    commands = ["validate", "plan", "plan|--json", "graph", "graph|-f|mermaid"]
    file = str(write(tmp_path, TONE))
    command = [sys.executable, "-c", WITHOUT, *(f"{words}|{file}" for words in commands)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    told = ran.stdout
    for words in commands:
        said, ended, told = told.partition(f"{words}|{file} gave 0\n")
        assert ended, ran.stderr
        assert "tone" in said


def test_what_runs_sessions_names_the_extra_that_is_missing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT, f"run|{write(tmp_path, TONE)}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr == "error: numpy is not installed; it comes with: pip install 'ringline[multiprocess]'\n"


def test_nodes_can_be_listed_where_only_the_core_is_installed() -> None:
    command = [sys.executable, "-c", WITHOUT, "nodes"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "energy_vad" in ran.stdout
