"""Where a resource was read: file, folder and the line of each of its values.

The manifest reader fills it, `validate` uses it to put a line to each problem, the plan to anchor relative paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Final

from ringline.errors import Problem

Path = tuple[str | int, ...]
_PLAIN_KEY: Final = re.compile(r"[-\w./]{1,80}", re.ASCII)
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def place_of(path: Iterable[str | int]) -> str:
    """Write a path the way problems name it: ``("spec", "channels", 2, "to")`` → ``spec.channels[2].to``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif not _PLAIN_KEY.fullmatch(step):
            text += f"[{step[:80]!a}]"
        else:
            text += f".{step}" if text else step
    return text


def below(place: str, path: Iterable[str | int]) -> str:
    """Write the place of something inside a place."""
    inner = place_of(path)
    return f"{place}.{inner}" if inner and inner[0] != "[" else f"{place}{inner}"


def path_of(place: str) -> Path:
    """Turn a place back into a path."""
    return tuple(int(index) if index else key for key, index in _STEP.findall(place))


@dataclass(frozen=True, eq=False)
class Source:
    """Origin of one resource. Two resources are equal wherever they were read, so all sources compare equal."""

    file: str = ""
    folder: PurePath | None = None
    lines: Mapping[Path, int] = field(default_factory=dict, repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source)

    def __hash__(self) -> int:
        return hash(Source)

    def line(self, place: str) -> int:
        """Line (from 1) of a place, or of what surrounds it; 0 when unknown."""
        path = path_of(place)
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def locate(self, problem: Problem) -> Problem:
        """Return the problem with its line, unless it has one already."""
        return problem if problem.line else replace(problem, line=self.line(problem.place))
