"""Every example runs, prints what its folder says, and its manifest is right."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ringline import load_audio_file
from ringline.agents.values import pack, unpack
from ringline.graph.manifest import read_manifest
from ringline.graph.validate import validate
from tests.helpers.tree import ROOT, name_of

EXAMPLES = ROOT / "examples"
FOLDERS = sorted(path.parent for path in EXAMPLES.glob("*/pipeline.yaml"))
UTTERANCE = EXAMPLES / "voice" / "turn-on-the-kitchen-light.wav"
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


def run(script: Path, *arguments: str, folder: Path) -> str:
    """Run a script of an example in a folder and return what it printed."""
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def without_numbers(text: str) -> set[str]:
    """Return the lines with every number replaced and spaces joined: what is the same on every machine."""
    return {" ".join(NUMBER.sub("#", line).split()) for line in text.splitlines()}


def missing(folder: Path, printed: str) -> set[str]:
    """Return the lines that the folder's expected output has and the run did not print."""
    return without_numbers((folder / "expected-output.txt").read_text(encoding="utf-8")) - without_numbers(printed)


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_the_manifest_of_an_example_has_no_problem(folder: Path) -> None:
    [document] = read_manifest(folder / "pipeline.yaml")
    assert validate(document) == []


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_every_example_has_what_the_others_have(folder: Path) -> None:
    assert (folder / "README.md").exists()
    assert (folder / "expected-output.txt").exists()
    assert folder.name in (EXAMPLES / "README.md").read_text(encoding="utf-8")


def test_a_spoken_command_is_answered_aloud(tmp_path: Path) -> None:
    session = f"voice-{uuid.uuid4().hex[:8]}"
    printed = run(EXAMPLES / "voice" / "run.py", "--session", session, folder=tmp_path)
    assert missing(EXAMPLES / "voice", printed) == set()
    assert 'recognized: "turn on the kitchen light"' in printed
    answer = load_audio_file(tmp_path / "out" / "answer.wav")
    seconds = answer.as_numpy().size / answer.metadata.sample_rate
    assert 1.0 < seconds < 10.0
    assert np.abs(answer.as_numpy()).max() > 0.1


def test_a_recording_without_speech_has_no_answer(tmp_path: Path) -> None:
    from ringline import RuntimeData, save_audio_file

    save_audio_file(tmp_path / "silence.wav", RuntimeData.audio(np.zeros(8000, np.float32), 16000))
    with pytest.raises(AssertionError, match="Nothing was recognized"):
        run(
            EXAMPLES / "voice" / "run.py",
            "--wav",
            "silence.wav",
            "--session",
            f"s-{uuid.uuid4().hex[:8]}",
            folder=tmp_path,
        )


def test_a_missing_recording_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as failure:
        run(EXAMPLES / "voice" / "run.py", "--wav", "nothing.wav", folder=tmp_path)
    assert "nothing.wav" in str(failure.value)
    assert "Traceback" not in str(failure.value)


def test_two_detectors_share_a_video_and_keep_its_order(tmp_path: Path) -> None:
    printed = run(EXAMPLES / "video" / "run.py", "--session", f"v-{uuid.uuid4().hex[:8]}", folder=tmp_path)
    assert missing(EXAMPLES / "video", printed) == set()
    assert (tmp_path / "out" / "faces.mp4").stat().st_size > 10_000


def test_every_length_of_a_chain_of_effects_is_measured(tmp_path: Path) -> None:
    rows = json.loads(run(EXAMPLES / "effects" / "run.py", "1", "4", "--blocks", "40", "--json", folder=tmp_path))
    assert [row["nodes"] for row in rows] == [1, 4]
    assert all(0 < row["p50_us"] <= row["p95_us"] for row in rows)
    added = (rows[1]["p50_us"] - rows[0]["p50_us"]) / 3
    assert rows[1]["added_per_node_us"] == pytest.approx(added, abs=0.1)


def test_the_table_of_the_effects_has_the_documented_form(tmp_path: Path) -> None:
    printed = run(EXAMPLES / "effects" / "run.py", "1", "2", "--blocks", "20", folder=tmp_path)
    assert missing(EXAMPLES / "effects", printed) == set()


def test_the_client_of_the_quick_start_answers(tmp_path: Path) -> None:
    folder = EXAMPLES / "speech_to_speech"
    answer = tmp_path / "answer.wav"
    printed = run(folder / "client.py", str(UTTERANCE), str(answer), folder=folder)
    assert missing(folder, printed.replace(str(answer), "answer.wav")) == set()
    assert load_audio_file(answer).as_numpy().size > 10_000


def world(folder: Path, *arguments: str) -> str:
    return run(EXAMPLES / "agents" / "run.py", "--plain", "--workers", "2", *arguments, folder=folder)


def test_a_world_of_agents_goes_on_when_a_worker_is_killed(tmp_path: Path) -> None:
    printed = world(tmp_path, "--agents", "12", "--ticks", "12", "--kill-after", "5")
    assert missing(EXAMPLES / "agents", printed) == set()
    assert "workers restarted: 1; agents that went on from their last state: 6" in printed
    assert "agents that began anew: 0; the youngest is 12 steps old" in printed
    assert "workers killed: 1; history: 144 rows of 12 ticks" in printed
    with closing(sqlite3.connect(tmp_path / "world.db")) as database:
        ticks = database.execute(
            "select agent, group_concat(tick) from (select * from step order by tick) group by agent"
        )
        assert {row[1] for row in ticks} == {",".join(map(str, range(1, 13)))}


def test_foragers_find_the_rich_patch_and_stay_there() -> None:
    forager = _forager()
    random = np.random.default_rng(3)
    stood, rich = [], 10
    for _ in range(120):
        food = random.random() < (0.8 if forager.place == rich else 0.1)
        said = forager.step({"food": int(food)})
        stood.append(said["place"] == rich)
        assert said["free_energy"] >= 0
        assert forager.belief.sum() == pytest.approx(1)
    assert np.mean(stood[-40:]) > 0.6 > 0.3 > np.mean(stood[:5])
    assert int(np.argmax(forager.belief)) == rich


def test_a_restored_forager_does_what_the_old_one_would_have_done() -> None:
    one, other = _forager(), _forager(seed=9)
    for food in (0, 0, 1):
        one.step({"food": food})
    other.restore(unpack(pack(one.snapshot())))
    assert [one.step({"food": 1}) for _ in range(5)] == [other.step({"food": 1}) for _ in range(5)]


def _forager(seed: int = 0) -> Any:
    spec = importlib.util.spec_from_file_location("forager", EXAMPLES / "agents" / "forager.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Forager("f", SimpleNamespace(put=lambda *_: None), seed=seed)
