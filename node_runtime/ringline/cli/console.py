"""Where commands print: tables through rich, JSON as it is, numbers with units.

Consoles are made when they are used, so that a test's or a shell's redirection of stdout is seen.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 160
"""Columns for tables that go to a file or pipe, where no terminal says how wide it is."""


def console(*, stderr: bool = False) -> Console:
    """Return a rich console; wide enough for whole tables when the output is no terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def print_json(value: Any) -> None:
    """Print one JSON document, indented: for a command's only answer."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_json_line(value: Any) -> None:
    """Print one JSON object in one line and flush it: for a stream of them."""
    print(one_line(value), flush=True)


def one_line(value: Any) -> str:
    """Return compact JSON without a line break."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def say(text: str) -> None:
    """Print a line of a session that runs. When nobody reads any more (`| head`), end it as SIGTERM would."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        silence_stdout()
        signal.raise_signal(signal.SIGTERM)


def silence_stdout() -> None:
    """Send what is printed from now on nowhere: the reader of our output has gone."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> Table:
    """Build a plain table. A heading that ends in '>' marks a right-aligned column."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        right = heading.endswith(">")
        made.add_column(heading.removesuffix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return made


def human_bytes(count: float) -> str:
    """Write a number of bytes as people do: ``960 B``, ``3.8 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def human_seconds(seconds: float) -> str:
    """Write a duration with three meaningful digits: ``12.3 µs``, ``340 ms``, ``2.5 s``."""
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if abs(seconds) * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def epilog(*examples: str) -> str:
    """Return what stands below a command's options: its examples, a line each."""
    return "\n\n".join(("Example:" if len(examples) == 1 else "Examples:", *examples))


def counted(count: int, noun: str) -> str:
    """Write ``1 node``, ``2 nodes``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
