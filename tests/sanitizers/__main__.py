"""Runs tests with the C extension built under sanitizers; `make sanitize` calls it, and a developer after a change of C code.

    python -m tests.sanitizers                     the conformance suite under both, the fuzzer under the first, the threads under the second
    python -m tests.sanitizers address tests/fuzz  AddressSanitizer and UBSan with these pytest arguments
    python -m tests.sanitizers thread -k wait      ThreadSanitizer

Each sanitizer has an extension of its own in `out/variants`, and its runtime is preloaded into an interpreter that knows nothing
of it. A finding ends the process that made it (`halt_on_error`), so the test that was running fails and shows the report.

ThreadSanitizer sees one process, one mapping: what two threads do to the same address. Two arenas of a process map the file
twice, so their payloads are compared by the checks of the tests and not by it. `tests/litmus/threads.c` is for that: writer,
reader and host as threads on one mapping.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.helpers import variant

SUITE = ("tests/conformance",)


@dataclass(frozen=True)
class Sanitizer:
    """How to build for one, and how its runtime is told to behave."""

    flags: tuple[str, ...]
    library: str
    options: dict[str, str]
    extra: tuple[str, ...] = ()
    """More tests of the full run."""


SANITIZERS = {
    # Leaks are not looked for: the interpreter leaves much behind when it ends. What must be freed is counted by the tests.
    "address": Sanitizer(
        ("-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"),
        "libasan.so",
        {
            "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:allocator_may_return_null=1:handle_segv=0:handle_sigbus=0",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
            "PYTHONMALLOC": "malloc",
        },
        ("tests/fuzz",),
    ),
    "thread": Sanitizer(
        ("-O1", "-fno-omit-frame-pointer", "-fsanitize=thread"),
        "libtsan.so",
        {
            "TSAN_OPTIONS": "halt_on_error=1:die_after_fork=0:exitcode=66:report_signal_unsafe=0:handle_segv=0:handle_sigbus=0"
        },
    ),
}


def runtime(library: str) -> str | None:
    """Return the path of a sanitizer's runtime, if the compiler has one."""
    compiler = variant.compiler()
    if compiler is None:
        return None
    done = subprocess.run([compiler, f"-print-file-name={library}"], capture_output=True, text=True, check=False)
    path = Path(done.stdout.strip())
    return str(path.resolve()) if path.is_absolute() and path.exists() else None


def environment(name: str) -> dict[str, str]:
    """Build the variant of a sanitizer; return the variables of a process that runs under it."""
    sanitizer = SANITIZERS[name]
    preload = runtime(sanitizer.library)
    if preload is None:
        raise SystemExit(
            f"the C compiler has no {sanitizer.library}: install gcc with its sanitizers (Debian: libgcc-12-dev)"
        )
    folder = variant.build(name, sanitizer.flags)
    return variant.environment(folder, LD_PRELOAD=preload, RINGLINE_SANITIZER=name, **sanitizer.options)


def command(*arguments: str) -> list[str]:
    """Return a command without randomised addresses, which ThreadSanitizer's shadow memory does not always fit."""
    return ["setarch", os.uname().machine, "-R", sys.executable, *arguments]


def run(name: str, arguments: Sequence[str]) -> int:
    """Run pytest under one sanitizer; return its exit code."""
    print(f"== {name}: pytest {' '.join(arguments)}", flush=True)
    pytest = command("-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments)
    return subprocess.run(pytest, cwd=variant.ROOT, env=environment(name), check=False).returncode


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] not in SANITIZERS:
        print(__doc__)
        return 2
    if arguments:
        return run(arguments[0], tuple(arguments[1:]) or SUITE)
    return max(run(name, (*SUITE, *sanitizer.extra)) for name, sanitizer in SANITIZERS.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
