"""Scenes are made by each test from the channels that it needs, and closed after it."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.scene import Scene

MakeScene = Callable[..., Scene]


@pytest.fixture
def session_dir(shm_root: Path) -> Iterator[Path]:
    """Return a path in shared memory that does not exist yet."""
    path = next(p for i in itertools.count() if not (p := shm_root / f"s{i}").exists())
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def make_scene(session_dir: Path) -> Iterator[MakeScene]:
    """Return a function that makes the test's scene from channels."""
    made: list[Scene] = []

    def make(*channels: object, **sizes: int) -> Scene:
        made.append(Scene(session_dir, *channels, **sizes))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for scene in made:
        scene.close()
