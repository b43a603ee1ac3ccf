"""The operator as a command: help, and what it says before it can begin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ringline_operator.settings import PREFIX, OperatorSettings
from tests.helpers.tree import ROOT

IMAGE = (ROOT / "operator" / "Dockerfile").read_text()


def operator(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run it where no cluster is known."""
    kept = {key: value for key, value in os.environ.items() if key != "KUBECONFIG" and not key.startswith(PREFIX)}
    kept |= {
        "PYTHONPATH": os.pathsep.join((str(ROOT / "operator"), str(ROOT / "node_runtime"))),
        "HOME": "/nonexistent",
    }
    return subprocess.run(
        [sys.executable, "-m", "ringline_operator", *arguments],
        env={**kept, **environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_help_names_every_variable_with_its_reason() -> None:
    done = operator("--help")
    assert done.returncode == 0
    paragraphs = re.findall(rf"^  ({PREFIX}\w+)\n      (\S.+)$", done.stdout, re.MULTILINE)
    assert [name for name, _ in paragraphs] == [PREFIX + name.upper() for name in OperatorSettings.model_fields]


def test_a_bad_setting_is_one_sentence_that_names_the_variable() -> None:
    done = operator(RINGLINE_OPERATOR_WORKERS="many")
    assert done.returncode == 2
    assert done.stderr.startswith("ringline-operator: RINGLINE_OPERATOR_WORKERS: ")
    assert done.stderr.count("\n") == 1


def test_a_variable_that_does_not_exist_is_refused() -> None:
    done = operator(RINGLINE_OPERATOR_WORKER="8")
    assert done.returncode == 2
    assert "RINGLINE_OPERATOR_WORKER:" in done.stderr


def test_without_a_cluster_it_says_where_it_looked() -> None:
    done = operator()
    assert done.returncode == 2
    assert "KUBECONFIG" in done.stderr
    assert "Traceback" not in done.stderr


def test_its_start_loads_no_client_that_happens_to_be_installed_and_spares_the_collector() -> None:
    script = (
        "import gc, sys, ringline_operator.__main__ as program; before = gc.get_freeze_count();"
        "program.spare_the_collector();"
        "print([name for name in sys.modules if name.startswith(('kubernetes.', 'kubernetes_asyncio.', 'pykube.'))],"
        " before < gc.get_freeze_count(), gc.get_threshold()[0] == program.COLLECT_AFTER)"
    )
    path = os.pathsep.join((str(ROOT / "operator"), str(ROOT / "node_runtime")))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[0] == "[] True True"


def test_where_the_kubelet_asks_can_be_set() -> None:
    assert "http://0.0.0.0:8080/healthz" in operator("--help").stdout


def test_the_image_has_the_libraries_of_the_extra_and_of_the_graph_only() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {*project["dependencies"], *project["optional-dependencies"]["operator"]}
    names = {re.split(r"[<>=]", line)[0] for line in wanted} - {"typer", "rich"}
    installed = re.search(r"-c /src/constraints.txt \\\n\s+(.*) \\\n", IMAGE)
    assert installed is not None
    assert set(installed[1].split()) == names


def test_the_image_is_not_root_and_has_no_compiler() -> None:
    assert re.search(r"^USER 10001:10001$", IMAGE, re.MULTILINE)
    assert "gcc" not in IMAGE
    assert "apt-get" not in IMAGE


@pytest.mark.parametrize("module", re.findall(r"node_runtime/(ringline/\w+\.py)", IMAGE))
def test_what_the_image_copies_exists(module: str) -> None:
    assert Path(ROOT / "node_runtime" / module).is_file()
