"""Set up this checkout and run its main jobs: the commands that the README names.

    python3 dev.py voice     answer a recorded spoken command aloud, through a graph of processes
    python3 dev.py test      every check: style, types, layers, all tests
    python3 dev.py lint      the checks without the tests
    python3 dev.py bench     the benchmarks (about twelve minutes; further words go to them, as in `bench hop --quick`)
    python3 dev.py soak      half an hour of media and faults, its report as docs/soak.md (`soak --minutes 1` for less)
    python3 dev.py faults    ten thousand kills and three million mutations (an hour or two; further words go to the killer)
    python3 dev.py sanitize  the C extension under AddressSanitizer, UBSan and ThreadSanitizer
    python3 dev.py litmus    the memory order of each pair of steps, here and on an emulated arm64
    python3 dev.py model     check the models of the shared-memory protocol (needs spin, nothing else)
    python3 dev.py generate  rewrite the generated files (catalogue, reference, settings, commands)
    python3 dev.py lock      write the versions that .venv has to constraints.txt

It needs nothing but Python itself and runs before anything is installed, so it uses the standard library only
and an old Python can still read it, to be told in a sentence what is missing. Everything that it makes lies in
`.venv` and `out` of this checkout.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import select
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache"
LOG = CACHE / "install.log"
STAMP = VENV / "ringline-stamp.json"
OLDEST = (3, 11)
MIB = 1 << 20
NEEDED_DISK_MIB = {"voice": 700, "test": 1800}
"""What the environment takes with its packages unpacked, and a third more."""
NEEDED_SHM_MIB = {"voice": 48, "test": 400}
"""The largest arena that the command creates, and as much again for a second session."""
CHECKED = (
    "node_runtime/ringline",
    "operator/ringline_operator",
    "tests",
    "model",
    "examples",
    "benchmarks",
    "docs",
    "charts",
    "dev.py",
    "setup.py",
)
GROUPS = {"dev", "bench"}
"""Dependency groups of pyproject.toml; the other parts of an installation are extras."""
COUNTS = re.compile(r"=+ .*\b(passed|failed|errors?|no tests ran|deselected|skipped)\b.* in [\d.]+s")
"""The last line of a pytest run."""
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
"""Variables that would bring in, or install into, places outside this checkout."""
NO_INDEX = (
    "Temporary failure in name resolution",
    "Name or service not known",
    "Failed to establish a new connection",
    "Network is unreachable",
    "Max retries exceeded",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "SSLError",
)


class Missing(Exception):
    """Something that this machine lacks; the text is what the user reads."""


def main(arguments: list[str]) -> int:
    """Run one command; the result is the process's exit code (2 = no such command)."""
    command = arguments[0] if arguments else "help"
    runner = COMMANDS.get(command)
    if runner is None:
        print(__doc__.strip())
        return 0 if command in ("help", "-h", "--help") else 2
    try:
        return runner(arguments[1:])
    except Missing as missing:
        print(f"\n{missing}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130


# ---------------------------------------------------------------- commands


def voice(arguments: list[str]) -> int:
    """Run the voice example; further arguments go to it (`--help` lists them)."""
    prepare("voice", "voice")
    return call([python(), "examples/voice/run.py", *arguments])


def test(arguments: list[str]) -> int:
    """Run all checks and all tests; with arguments, only pytest with those."""
    prepare("test", "all", "dev")
    if arguments:
        return call([python(), "-m", "pytest", *arguments])
    failed = run_checks()
    code, closing = run_pytest()
    if code:
        failed.append("pytest")
    print("\nchecks: " + ("FAILED: " + ", ".join(failed) if failed else "all passed"))
    print(closing)
    return 1 if failed else 0


def lint(_: list[str]) -> int:
    """Run style, types and layers only."""
    prepare("test", "all", "dev")
    return 1 if run_checks() else 0


def bench(arguments: list[str]) -> int:
    """Run the benchmarks beside their peers."""
    prepare("test", "all", "bench")
    return call([python(), "-m", "benchmarks", *arguments])


def soak(arguments: list[str]) -> int:
    """Soak a session with faults, and write the report to docs/soak.md."""
    prepare("test", "all")
    return call([python(), "-m", "benchmarks.soak", "--page", "docs/soak.md", *arguments])


def model(arguments: list[str]) -> int:
    """Check the models of the protocol; without further words all of them."""
    return subprocess.run([sys.executable, "model/run.py", *arguments], cwd=str(ROOT), check=False).returncode


def faults(arguments: list[str]) -> int:
    """Kill ten thousand processes at every step, then mutate a million headers, slots and tables each."""
    prepare("test", "all", "dev")
    killed = call([python(), "-m", "tests.faults.kills", *arguments])
    os.environ.setdefault("RINGLINE_FUZZ_MUTATIONS", "1000000")
    return killed or call([python(), "-m", "pytest", "-q", "-s", "tests/fuzz"])


def sanitize(arguments: list[str]) -> int:
    """Run the conformance suite, the fuzzer and the threads under the sanitizers."""
    prepare("test", "all", "dev")
    return call([python(), "-m", "tests.sanitizers", *arguments])


def litmus(arguments: list[str]) -> int:
    """Try the memory order of each pair of steps."""
    prepare("test", "all", "dev")
    return call([python(), "-m", "tests.litmus", *arguments])


def generate(_: list[str]) -> int:
    """Rewrite what is generated from the code; the tests fail when it is out of date."""
    prepare("test", "all", "dev")
    writers = (
        ["-m", "ringline.node.catalog", "--write"],
        ["docs/generate_reference.py"],
        ["docs/generate_cli.py"],
        ["docs/generate_metrics.py"],
        ["-m", "ringline_operator.crd", "crds"],
        ["-m", "ringline_operator.crd", "charts/ringline/files/crds"],
    )
    return max(call([python(), *writer]) for writer in writers)


def lock(_: list[str]) -> int:
    """Write the installed versions to constraints.txt, after an upgrade was tried in `.venv`."""
    prepare("test", "all", "dev", "bench")
    path = ROOT / "constraints.txt"
    lines = path.read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    # What has no wheel for one Python stays as it is written: `.venv` knows one Python only.
    kept = [line for line in lines if ";" in line and line not in header]
    other = tuple(line.partition("==")[0] + "==" for line in kept)
    freeze = subprocess.run(
        [python(), "-m", "pip", "freeze", "--all", "--exclude", "pip", "--exclude-editable"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    found = [line for line in freeze.stdout.split() if not line.startswith(other)]
    path.write_text("\n".join([*header, *sorted([*found, *kept], key=str.lower)]) + "\n")
    return 0


COMMANDS = {
    "voice": voice,
    "test": test,
    "lint": lint,
    "bench": bench,
    "soak": soak,
    "model": model,
    "faults": faults,
    "sanitize": sanitize,
    "litmus": litmus,
    "generate": generate,
    "lock": lock,
}


# ---------------------------------------------------------------- this machine


def prepare(command: str, *parts: str) -> None:
    """Check the machine, then make or reuse the environment with these extras and groups of pyproject.toml."""
    started = time.monotonic()
    check_python(sys.version_info[:2])
    lacking = toolchain_problems()
    problems = [*lacking, *space_problems(command)]
    if problems:
        packages = [package for names in lacking.values() for package in names]
        lines = ["This machine is not ready yet:", *(f"  - {problem}" for problem in problems)]
        raise Missing("\n".join([*lines, apt(*packages)] if packages else lines))
    report("machine", f"Linux, Python {dotted(sys.version_info[:2])}, {compiler_command()[0]}", started)
    with one_at_a_time():
        make_environment()
        install(set(parts))


def check_python(version: tuple[int, ...]) -> None:
    """Refuse a Python that is too old, naming a newer one when it is installed."""
    if not sys.platform.startswith("linux"):
        raise Missing("Ringline runs on Linux only. On another system use a Linux container or virtual machine.")
    if version >= OLDEST:
        return
    newer = next((f"python3.{minor}" for minor in (14, 13, 12, 11) if works(f"python3.{minor}")), None)
    way = apt("python3.11", "python3.11-venv", "python3.11-dev")
    if newer:
        way = f"Run: {newer} dev.py {' '.join(sys.argv[1:])}"
    raise Missing(f"Ringline needs Python 3.11 or newer; this is Python {dotted(version)}. {way}")


def works(interpreter: str) -> bool:
    """Tell whether this command runs; version managers put commands on the path that only print a complaint."""
    return (
        bool(shutil.which(interpreter))
        and subprocess.run([interpreter, "-c", ""], capture_output=True, check=False).returncode == 0
    )


def dotted(version: tuple[int, ...]) -> str:
    """Return the version as people write it."""
    return f"{version[0]}.{version[1]}"


def toolchain_problems() -> dict[str, list[str]]:
    """Name what is missing for a virtual environment and for compiling the C extension, with the packages for it."""
    found = {}
    name = f"python{dotted(sys.version_info[:2])}"
    if not (can_import("venv") and can_import("ensurepip")):
        found["Python's venv module is missing."] = [f"{name}-venv"]
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        found["Python's C headers (Python.h) are missing."] = [f"{name}-dev"]
    if not shutil.which(compiler_command()[0]):
        found[f"There is no C compiler ({compiler_command()[0]})."] = ["gcc", "libc6-dev"]
    elif not compiles():
        found["The C compiler finds no standard headers."] = ["libc6-dev"]
    return found


def can_import(module: str) -> bool:
    """Tell whether this interpreter has the module (Debian leaves `ensurepip` out of the plain package)."""
    import importlib.util

    return importlib.util.find_spec(module) is not None


def compiler_command() -> list[str]:
    """Return the compiler that setuptools will use: CC, else the one that built this Python, else `cc`."""
    chosen = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    words = str(chosen).split()
    return words[:1] if shutil.which(words[0]) else ["cc"]


def compiles() -> bool:
    """Compile and link a small program: a compiler without the C library's headers is found out here."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.c"
        source.write_text('#include <stdio.h>\nint main(void) { return puts("") < 0; }\n')
        command = [*compiler_command(), str(source), "-o", str(Path(folder) / "probe")]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def space_problems(command: str) -> list[str]:
    """Name missing disk space and missing shared memory (a container has 64 MiB of it by default)."""
    found = []
    free_mib = shutil.disk_usage(str(ROOT)).free // MIB
    if free_mib < NEEDED_DISK_MIB[command] and not STAMP.exists():
        found.append(f"{free_mib} MiB are free in {ROOT}, {NEEDED_DISK_MIB[command]} MiB are needed.")
    folder = os.environ.get("RINGLINE_SHM_DIR", "/dev/shm")  # noqa: S108  (the kernel's name, not a guess)
    if not os.access(folder, os.W_OK):
        found.append(f"{folder} is not a writable folder; mount a tmpfs there, or set RINGLINE_SHM_DIR to another one.")
    elif shutil.disk_usage(folder).free // MIB < NEEDED_SHM_MIB[command]:
        free, needed = shutil.disk_usage(folder).free // MIB, NEEDED_SHM_MIB[command]
        found.append(
            f"{folder} has {free} MiB free, {needed} MiB are needed. "
            f"Run: {sudo()}mount -o remount,size=1g {folder} (in Docker: --shm-size=1g)"
        )
    return found


def apt(*packages: str) -> str:
    """Say how to install these, with the exact command where it is known."""
    if shutil.which("apt-get"):
        return f"Run: {sudo()}apt-get install -y {' '.join(packages)}"
    return f"Install it (Debian and Ubuntu call it: {' '.join(packages)})."


def sudo() -> str:
    """Return the prefix for a command that needs root."""
    return "" if os.geteuid() == 0 else "sudo "


# ---------------------------------------------------------------- the environment


def python() -> str:
    """Return the environment's interpreter."""
    return str(VENV / "bin" / "python")


def environment() -> dict[str, str]:
    """Return the variables for our children: as they are, but in the environment and nobody else's packages."""
    kept = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    kept["VIRTUAL_ENV"] = str(VENV)
    kept["PATH"] = f"{VENV / 'bin'}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return kept


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the checkout's lock, so that two commands started together do not install over each other."""
    import fcntl

    CACHE.mkdir(exist_ok=True)
    with (CACHE / "dev.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_environment() -> None:
    """Create `.venv` unless it works already (a system upgrade may have taken its Python away)."""
    probe = f"import sys, pip; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    if (
        Path(python()).exists()
        and subprocess.run([python(), "-c", probe], capture_output=True, check=False).returncode == 0
    ):
        return
    with contextlib.suppress(FileNotFoundError):
        STAMP.unlink()
    step("environment", [sys.executable, "-m", "venv", "--clear", str(VENV)], ".venv created")


def fingerprint() -> str:
    """Digest everything that the installation depends on; while it stays the same the environment is reused."""
    digest = hashlib.sha256(f"{ROOT} {sys.version}".encode())
    names = [ROOT / "pyproject.toml", ROOT / "setup.py", ROOT / "constraints.txt"]
    for path in [*names, *sorted((ROOT / "node_runtime" / "ringline" / "shm" / "csrc").glob("*.[ch]"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def install(wanted: set[str]) -> None:
    """Install the project with these extras and groups, unless that has been done."""
    have = read_stamp()
    present = set(have.get("parts", ()))
    covered = present | {"voice"} if "all" in present else present
    if have.get("fingerprint") == fingerprint() and wanted <= covered:
        report("install", "up to date (.venv)", time.monotonic())
        return
    wanted |= present
    extras = ",".join(sorted(wanted - GROUPS))
    pip = [python(), "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check", "--progress-bar", "off"]
    pip += ["--retries", "2"]
    pip += ["-c", "constraints.txt"]
    # The build tools are installed first and used as they are: locked like the rest, and a later change of the C code
    # compiles without the network.
    step("build tools", [*pip, "setuptools"], "setuptools")
    step(
        "install",
        [*pip, "--no-build-isolation", "-e", f".[{extras}]", *members(wanted & GROUPS)],
        f"ringline[{extras}]",
    )
    STAMP.write_text(json.dumps({"fingerprint": fingerprint(), "parts": sorted(wanted)}))


def read_stamp() -> dict[str, Any]:
    """Return what the last installation left, or an empty mapping."""
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError):
        return {}


def members(groups: set[str]) -> list[str]:
    """Return what pyproject.toml lists in these groups (the pip of a fresh Debian can't read them itself)."""
    import tomllib

    if not groups:
        return []
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed = tomllib.load(file)["dependency-groups"]
    return [tool for group in sorted(groups) for tool in listed[group]]


# ---------------------------------------------------------------- checks and tests


def run_checks() -> list[str]:
    """Run style, types and layers; return the names of those that failed."""
    present = [name for name in CHECKED if (ROOT / name).exists()]
    checks = {
        "ruff": ["-m", "ruff", "check", "."],
        "ruff format": ["-m", "ruff", "format", "--check", "."],
        "mypy": ["-m", "mypy", *present],
        "import-linter": ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
    }
    return [name for name, command in checks.items() if not passes(name, [python(), *command])]


def passes(name: str, command: list[str]) -> bool:
    """Run one check; its output is shown only when it fails."""
    started = time.monotonic()
    with start(command) as child:
        output = child.communicate()[0]
    report(name, "FAILED" if child.returncode else "ok", started)
    if child.returncode:
        print(output.decode(errors="replace"), flush=True)
    return child.returncode == 0


def run_pytest() -> tuple[int, str]:
    """Run all tests with their output live; return the exit code and pytest's closing lines."""
    color = "yes" if sys.stdout.isatty() else "no"
    # Many tests wait for processes, a quarter of their time: one worker more than CPUs uses it, more than four would only
    # disturb each other.
    workers = min(4, 1 + len(os.sched_getaffinity(0)))
    output = bytearray()
    with start(
        [python(), "-m", "pytest", f"--color={color}", f"--numprocesses={workers}", "--dist=worksteal"]
    ) as child:
        for chunk in iter(lambda: os.read(descriptor(child), 65536), b""):
            sys.stdout.buffer.write(chunk)
            sys.stdout.flush()
            output += chunk
    return child.wait(), closing_lines(output.decode(errors="replace"))


def closing_lines(output: str) -> str:
    """Return what pytest says last: its short summary, if there is one, and the line with the counts.

    Libraries may still complain after it, while the interpreter ends.
    """
    lines = output.splitlines()
    counts = [number for number, line in enumerate(lines) if COUNTS.search(line)]
    if not counts:
        return "pytest ended without a summary"
    heads = [number for number, line in enumerate(lines) if "short test summary info" in line and number < counts[-1]]
    return "\n".join(lines[heads[-1] if heads else counts[-1] : counts[-1] + 1])


# ---------------------------------------------------------------- progress


def report(title: str, text: str, started: float) -> None:
    """Print one finished step with its time."""
    print(f"  {title:14} {text:60} {time.monotonic() - started:6.1f} s", flush=True)


def call(command: list[str]) -> int:
    """Run a command in the environment, with its output live; return its exit code."""
    print(flush=True)
    return subprocess.run(command, cwd=str(ROOT), env=environment(), stdin=subprocess.DEVNULL, check=False).returncode


def step(title: str, command: list[str], text: str) -> None:
    """Run a command quietly, its output in the log, with a sign of life; raise `Missing` when it fails."""
    started = time.monotonic()
    output = bytearray()
    with start(command) as child:
        shown = started
        while True:
            if select.select([descriptor(child)], [], [], 0.5)[0]:
                chunk = os.read(descriptor(child), 65536)
                if not chunk:
                    break
                output += chunk
            shown = sign_of_life(title, bytes(output), started, shown)
    with LOG.open("ab") as log:
        log.write(output)
    if child.returncode:
        raise Missing(explain_failure(title, output.decode(errors="replace")))
    report(title, text, started)


def start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a command in the environment, both of its outputs in one pipe."""
    return subprocess.Popen(
        command,
        cwd=str(ROOT),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def descriptor(child: subprocess.Popen[bytes]) -> int:
    """Return the child's output, to be read as it comes and not line by line."""
    if child.stdout is None:
        raise ValueError("the child was started without a pipe")
    return child.stdout.fileno()


def sign_of_life(title: str, output: bytes, started: float, shown: float) -> float:
    """Show what a long step is doing: in place on a terminal, a line every ten seconds otherwise."""
    now = time.monotonic()
    every_s = 0.5 if sys.stdout.isatty() else 10.0
    if now - shown < every_s:
        return shown
    lines = output.decode(errors="replace").strip().splitlines()
    doing = lines[-1].strip()[:60] if lines else ""
    end = "\r" if sys.stdout.isatty() else "\n"
    print(f"  {title:14} {doing:60} {now - started:6.0f} s", end=end, flush=True)
    return now


def explain_failure(title: str, output: str) -> str:
    """Turn a failed installation's output into the sentence that helps."""
    if any(sign in output for sign in NO_INDEX):
        return (
            "pip can't reach its package index: connect this machine to the network, or set PIP_INDEX_URL to a mirror, "
            f"and run the command again (what pip said is in {LOG})."
        )
    tail = "\n".join("    " + line for line in output.strip().splitlines()[-15:])
    return f"The step '{title}' failed; its last lines (all of them are in {LOG}):\n{tail}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
