"""The C extension built with other flags, in a folder of its own: for sanitizers and for faults that must not heal by themselves.

The checkout's own extension stays as it is. `build` copies the package beside the new extension; a process with the returned
folder first in PYTHONPATH uses that copy and nothing of the checkout's `ringline`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "node_runtime" / "ringline"
SOURCES = PACKAGE / "shm" / "csrc"
COMMON = (
    "-std=c11",
    "-g",
    "-fPIC",
    "-shared",
    "-pthread",
    "-DPy_LIMITED_API=0x030B0000",
    "-D_GNU_SOURCE",
    "-Wall",
    "-Wextra",
)
PATIENT = ("-O2", "-DSLICE_NS=300000000000u")
"""No sleep is looked after for five minutes: a lost wake-up hangs, where usually it costs a second."""


def compiler() -> str | None:
    """Return the C compiler's path, if there is one."""
    return shutil.which(os.environ.get("CC", "gcc")) or shutil.which("cc")


def build(name: str, flags: Sequence[str]) -> Path:
    """Build the extension as `out/variants/NAME` and return that folder; does nothing when it is up to date."""
    folder = ROOT / "out" / "variants" / name
    stamp, wanted = folder / "stamp", _fingerprint(flags)
    if stamp.is_file() and stamp.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PACKAGE, folder / "ringline", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    command = [compiler() or "cc", *COMMON, *flags, f"-I{sysconfig.get_paths()['include']}"]
    target = folder / "ringline" / "shm" / "_core.abi3.so"
    subprocess.run([*command, "-o", str(target), *map(str, _sources(".c"))], check=True)
    stamp.write_text(wanted)
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the variables of a process that uses a variant; the checkout's tests can be imported too."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), **more}


def _sources(*suffixes: str) -> list[Path]:
    return sorted(path for path in SOURCES.iterdir() if path.suffix in suffixes)


def _fingerprint(flags: Iterable[str]) -> str:
    digest = hashlib.sha256(repr([str(ROOT), compiler(), *flags]).encode())
    for path in [*_sources(".c", ".h"), *sorted(PACKAGE.rglob("*.py"))]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
