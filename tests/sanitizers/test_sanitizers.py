"""The sanitizers' program: it can build, it finds what it is there to find, and it says what a machine lacks."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import variant
from tests.litmus import __main__ as litmus
from tests.sanitizers import __main__ as program

NO_RUNTIME = "no runtime of this sanitizer, or `setarch -R` is forbidden: the C code is not sanitized in this run"
HERE = litmus.targets()[0][0]


@functools.cache
def fixed_addresses() -> bool:
    """Whether a process may do without a random layout of its addresses: some containers forbid it."""
    setarch = shutil.which("setarch")
    command = [setarch or "false", HERE.name, "-R", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def needs(name: str) -> pytest.MarkDecorator:
    missing = program.runtime(program.SANITIZERS[name].library) is None or not fixed_addresses()
    return pytest.mark.skipif(missing, reason=NO_RUNTIME)


@pytest.fixture
def folder(shm_root: Path) -> Iterator[Path]:
    path = shm_root / "sanitized"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@needs("thread")
def test_the_threads_of_the_protocol_have_no_race(folder: Path) -> None:
    done = litmus.threads(folder, HERE, 1000, "-fsanitize=thread", TSAN_OPTIONS="halt_on_error=1:exitcode=66")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1000 through two hops")


@needs("address")
def test_the_threads_of_the_protocol_stay_in_their_memory(folder: Path) -> None:
    done = litmus.threads(
        folder,
        HERE,
        1000,
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=undefined",
        ASAN_OPTIONS="detect_leaks=0",
    )
    assert done.returncode == 0, done.stderr


RACE = """
#include <pthread.h>
#include <stdatomic.h>
static int payload;
static _Atomic int head;
static void *write(void *unused) { payload = 1; atomic_store_explicit(&head, 1, ORDER); return unused; }
int main(void) {
    pthread_t writer;
    pthread_create(&writer, 0, write, 0);
    while (!atomic_load_explicit(&head, memory_order_acquire)) ;
    int seen = payload;
    pthread_join(writer, 0);
    return seen - 1;
}
"""


@needs("thread")
@pytest.mark.parametrize(("order", "code"), [("memory_order_release", 0), ("memory_order_relaxed", 66)])
def test_a_store_that_publishes_without_order_is_a_race_on_any_machine(folder: Path, order: str, code: int) -> None:
    source = folder / "race.c"
    source.write_text(RACE)
    built = litmus.build(folder, HERE, "race", [source], "-fsanitize=thread", f"-DORDER={order}")
    done = subprocess.run(
        ["setarch", HERE.name, "-R", str(built)], env={"TSAN_OPTIONS": "exitcode=66"}, capture_output=True, check=False
    )
    assert done.returncode == code, done.stderr.decode()


def test_a_missing_runtime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variant, "compiler", lambda: None)
    with pytest.raises(SystemExit, match=r"has no libasan\.so: install gcc with its sanitizers"):
        program.environment("address")


def test_an_unknown_sanitizer_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["memory"]) == 2
    assert "python -m tests.sanitizers" in capsys.readouterr().out


def test_the_whole_run_is_both_and_fails_if_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[str, tuple[str, ...]]] = []

    def run(name: str, arguments: tuple[str, ...]) -> int:
        runs.append((name, arguments))
        return 1 if name == "address" else 0

    monkeypatch.setattr(program, "run", run)
    assert program.main([]) == 1
    assert runs == [("address", ("tests/conformance", "tests/fuzz")), ("thread", ("tests/conformance",))]
    assert program.main(["thread"]) == 0
    assert program.main(["thread", "-k", "wait"]) == 0
    assert runs[2:] == [("thread", ("tests/conformance",)), ("thread", ("-k", "wait"))]


def test_a_variant_is_built_once_for_the_same_sources_and_flags(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "node_runtime" / "ringline"
    sources = package / "shm" / "csrc"
    sources.mkdir(parents=True)
    (sources / "one.c").write_text("int one;\n")
    built: list[list[str]] = []
    for name, path in {"ROOT": tmp_path, "PACKAGE": package, "SOURCES": sources}.items():
        monkeypatch.setattr(variant, name, path)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: built.append(command))
    folder = variant.build("try", ["-O1"])
    assert variant.build("try", ["-O1"]) == folder == tmp_path / "out" / "variants" / "try"
    assert len(built) == 1
    assert "-O1" in built[0]
    assert built[0][-1] == str(sources / "one.c")
    variant.build("try", ["-O2"])
    (sources / "one.c").write_text("int two;\n")
    variant.build("try", ["-O2"])
    assert len(built) == 3
    assert variant.environment(folder, MORE="1")["PYTHONPATH"].startswith(str(folder))
