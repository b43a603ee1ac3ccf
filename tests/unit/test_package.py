"""The package as a stranger gets it: versions, changelog, quick import, locked dependencies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from typing import Any

import dev
import ringline
from tests.helpers.tree import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
HEAVY = ("numpy", "zmq", "pydantic", "typer", "rich", "yaml", "asyncio", "ringline.shm._core")


def locked() -> set[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}


def required() -> set[str]:
    project = PROJECT["project"]
    wanted = [
        *project["dependencies"],
        *PROJECT["dependency-groups"]["dev"],
        *PROJECT["dependency-groups"]["bench"],
        *PROJECT["build-system"]["requires"],
    ]
    wanted += [line for extra in project["optional-dependencies"].values() for line in extra]
    names = {re.split(r"[\[<>=!~; ]", line)[0].lower().replace("_", "-") for line in wanted}
    return names - {"ringline"}


def test_every_dependency_is_locked() -> None:
    assert required() - locked() == set()


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    assert re.search(r"^## \[Unreleased\]$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_package_and_the_project_agree_on_the_version() -> None:
    assert ringline.__version__ == PROJECT["project"]["version"]


def test_the_licence_is_the_one_that_is_declared() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()


def test_importing_ringline_loads_nothing_heavy() -> None:
    probe = f"import sys, ringline; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_session_imports_no_server_unless_it_is_to_serve() -> None:
    probe = (
        "import sys, ringline.session; print(*sys.modules.keys() & {'prometheus_client', 'http.server', 'jsonschema'})"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_public_name_can_be_had_from_the_top() -> None:
    missing = [name for name in ringline.__all__ if not hasattr(ringline, name)]
    assert missing == []


def test_a_build_server_runs_what_a_person_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "\npython3 dev.py test\n" in script.read_text()


def test_every_target_of_the_makefile_is_explained_and_leads_somewhere() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z]+):(.*)$", text, re.MULTILINE)
    assert [name for name, rest in targets if "##" not in rest] == []
    assert set(re.findall(r"python3 dev\.py (\w+)", text)) <= set(dev.COMMANDS)


def test_the_first_screen_of_the_readme_has_exactly_two_commands() -> None:
    first_block = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    assert [line.split("#")[0].strip() for line in first_block.splitlines()] == [
        "python3 dev.py voice",
        "python3 dev.py test",
    ]
