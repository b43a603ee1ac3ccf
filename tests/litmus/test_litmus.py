"""The memory order of each pair of steps on this machine, and on an emulated arm64 where one can be had."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import variant
from tests.litmus import __main__ as program

ROUNDS = 20_000
SOURCES = "\n".join(path.read_text() for path in sorted(variant.SOURCES.glob("*.[ch]")))
MACHINES, MISSING = program.targets()
EMULATED = [target for target in MACHINES if target.runner]


@pytest.fixture
def folder(shm_root: Path) -> Iterator[Path]:
    path = shm_root / "litmus"
    path.mkdir()
    yield path
    shutil.rmtree(path)


def judge(outcomes: dict[str, tuple[int, int]], excused: frozenset[str] = frozenset()) -> None:
    """The weak twins may be reordered; nothing else may."""
    reordered = {name for name, (_, seen) in outcomes.items() if seen and not name.endswith("weak")}
    assert reordered - excused == set()
    assert all(count >= ROUNDS for count, _ in outcomes.values())
    assert len(outcomes) == len(names())


def names() -> list[str]:
    return re.findall(r'^    \{"([A-Z0-9a-z-]+)",', (program.HERE / "litmus.c").read_text(), re.MULTILINE)


def test_each_pair_keeps_its_order_here(folder: Path) -> None:
    judge(program.litmus(folder, MACHINES[0], ROUNDS))


@pytest.mark.skipif(not EMULATED, reason=MISSING or "this is an arm64 machine: the test above is the one")
def test_each_pair_keeps_its_order_on_an_emulated_arm64(folder: Path) -> None:
    outcomes = program.litmus(folder, EMULATED[0], ROUNDS)
    judge(outcomes, program.excused(EMULATED[0], outcomes))


@pytest.mark.parametrize(
    ("host", "runner", "with_fence", "excused"),
    [
        ("x86_64", ("qemu-aarch64",), 0, {"C5-W1"}),
        ("x86_64", ("qemu-aarch64",), 1, set()),
        ("x86_64", (), 0, set()),
        ("aarch64", (), 0, set()),
        ("riscv64", ("qemu-aarch64",), 0, set()),
    ],
    ids=["emulated", "fence-reordered-too", "this-machine", "real-arm64", "weaker-host"],
)
def test_only_one_pair_is_excused_and_only_where_the_emulator_is_shown_to_be_at_fault(
    monkeypatch: pytest.MonkeyPatch, host: str, runner: tuple[str, ...], with_fence: int, excused: set[str]
) -> None:
    monkeypatch.setattr("os.uname", lambda: type("Name", (), {"machine": host}))
    target = program.Target("one", "cc", runner=runner)
    outcomes = {"C5-W1": (1000, 3), "C5-W1-fence": (1000, with_fence), "N3-W1": (1000, 1)}
    assert program.excused(target, outcomes) == excused
    assert program.excused(target, {"C5-W1": (1000, 3)}) == set()


def test_threads_on_one_mapping_exchange_every_message(folder: Path) -> None:
    done = program.threads(folder, MACHINES[0], 2000)
    assert (done.returncode, done.stderr) == (0, "")
    found = re.fullmatch(r"2000 through two hops, (\d+) to a reader that died (\d+) times\n", done.stdout)
    assert found
    assert int(found[1]) > 0
    assert int(found[2]) > 1, "nobody died: the reclaim was not tried"


@pytest.mark.skipif(not EMULATED, reason=MISSING or "this is an arm64 machine: the test above is the one")
def test_threads_on_an_emulated_arm64_exchange_every_message(folder: Path) -> None:
    done = program.threads(folder, EMULATED[0], 300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("300 through two hops")


def test_both_steps_of_each_pair_are_named_in_the_c_code() -> None:
    pairs = [name.split("-")[:2] for name in names()]
    assert len(pairs) >= 14
    for step in {step for pair in pairs for step in pair}:
        assert re.search(rf"\b(FP_)?{step}\b", SOURCES), step


def test_each_sync_point_of_the_protocol_names_its_partner() -> None:
    """A comment that says SYNC POINT says in the same breath what pairs with it."""
    comments = re.findall(r"/\*(?:(?!\*/).)*SYNC POINT(?:(?!\*/).)*\*/", SOURCES, re.DOTALL)
    assert len(comments) >= 16
    silent = [text for text in comments if not re.search(r"pairs? with|partner", text)]
    assert silent == []


def test_an_order_that_is_not_kept_is_seen(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program's own judgement, on outcomes that no sound machine gives."""
    monkeypatch.setattr(program, "targets", lambda: (MACHINES[:1], "no emulated arm64: install qemu-user"))
    monkeypatch.setattr(program, "litmus", lambda *_: {"C5-W1": (1000, 3), "C5-W1-weak": (1000, 400)})
    monkeypatch.setattr("tempfile.TemporaryDirectory", lambda **_: Kept(folder))
    assert program.main(["1000"]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"C5-W1 +1000 rounds, 3 WRONG", printed)
    assert "400 reordered (no order is asked for" in printed
    assert "no emulated arm64: install qemu-user" in printed


class Kept:
    """A folder that its caller removes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> str:
        return str(self.folder)

    def __exit__(self, *_: object) -> None:
        pass


def test_a_machine_without_an_emulator_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.uname", lambda: type("Name", (), {"machine": "x86_64"}))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    machines, missing = program.targets()
    assert [machine.name for machine in machines] == ["x86_64"]
    assert "gcc-aarch64-linux-gnu" in missing
