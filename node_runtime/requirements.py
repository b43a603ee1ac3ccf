"""Print the requirements of Ringline with some extras, without Ringline itself: for the image's layer of libraries."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

_OWN = re.compile(r"ringline\[([^\]]*)\]")


def requirements(extras: str, project: Path = Path("pyproject.toml")) -> list[str]:
    """Give what `pip install ringline[extras]` would add; extras that name other extras are followed."""
    table = tomllib.loads(project.read_text())["project"]
    found, waiting, seen = set(table["dependencies"]), extras.split(","), set[str]()
    while waiting:
        name = waiting.pop().strip()
        if not name or name in seen:
            continue
        seen.add(name)
        for requirement in table["optional-dependencies"][name]:
            own = _OWN.fullmatch(requirement)
            waiting.extend(own[1].split(",") if own else ())
            found.update(() if own else (requirement,))
    return sorted(found)


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1])))
