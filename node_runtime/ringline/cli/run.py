"""`ringline run`: run a manifest on this machine, feed and record its ends, show what happens."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringline.cli.manifests import (
    ConfigOption,
    PipelineOption,
    SetOption,
    choose_pipeline,
    overridden,
    parse_overrides,
    settings_for,
)
from ringline.errors import ManifestError

if TYPE_CHECKING:
    from ringline.cli.running import RunOptions
    from ringline.cli.shapes import SummaryShape
    from ringline.cli.views import View

NAME = "run"
EXAMPLES = (
    "ringline run voice.yaml --input microphone=question.wav --output speaker=answer.wav --timeline",
    "ringline run video.yaml --duration 10 --json",
)


class Executor(StrEnum):
    """Where nodes run."""

    PROCESS = "process"
    INLINE = "inline"


class RestartChoice(StrEnum):
    """What follows the end of a session."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"


ManifestArgument = Annotated[Path, typer.Argument(metavar="MANIFEST", help="The pipeline's file.", show_default=False)]
InputOption = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="NAME=FILE", help="Feed a file (or -) into a session input, then end it."),
]
OutputOption = Annotated[
    list[str] | None,
    typer.Option("--output", "-o", metavar="NAME=FILE", help="Write a session output to a file (or -)."),
]
SessionOption = Annotated[
    str | None,
    typer.Option("--session-id", metavar="ID", help="The session's id; else the pipeline's name and a number."),
]
RestartOption = Annotated[RestartChoice, typer.Option("--restart", help="Start a new session when this one has ended.")]
DurationOption = Annotated[
    float | None, typer.Option("--duration", metavar="SECONDS", min=0.0, help="End after this time.")
]
RealtimeOption = Annotated[
    bool, typer.Option("--realtime", help="Feed inputs at the media's own pace, not as quickly as they are taken.")
]
BlockOption = Annotated[
    float, typer.Option("--block-ms", metavar="MS", min=1.0, max=10000.0, help="Length of the blocks of fed sound.")
]
ExecutorOption = Annotated[
    Executor | None, typer.Option("--executor", help="inline: all nodes in this process, for breakpoints.")
]
TimelineOption = Annotated[
    bool, typer.Option("--timeline", help="Show moments: end of speech, recognized text, first audio.")
]
MetricsOption = Annotated[
    int | None,
    typer.Option("--metrics-port", metavar="PORT", min=0, max=65535, help="Serve Prometheus metrics on 127.0.0.1."),
]
IntervalOption = Annotated[
    float, typer.Option("--interval", metavar="SECONDS", min=0.1, help="Time between statistics.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON lines, the summary last.")]


def command(
    manifest: ManifestArgument,
    *,
    pipeline: PipelineOption = None,
    inputs: InputOption = None,
    outputs: OutputOption = None,
    override: SetOption = None,
    config: ConfigOption = None,
    session_id: SessionOption = None,
    restart: RestartOption = RestartChoice.NEVER,
    duration: DurationOption = None,
    realtime: RealtimeOption = False,
    block_ms: BlockOption = 20.0,
    executor: ExecutorOption = None,
    timeline: TimelineOption = False,
    metrics_port: MetricsOption = None,
    interval: IntervalOption = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Run a pipeline here, each node in a process of its own. Ctrl-C ends it cleanly, a second one at once.

    Exit code 0 when the pipeline ended, after --duration or the first Ctrl-C; 1 when it failed, with the reason.
    """
    from ringline.cli.moments import tapped_ports, with_taps
    from ringline.cli.running import RunOptions
    from ringline.graph.local import check_paths

    overrides = parse_overrides(override)
    document = overridden(choose_pipeline(manifest, pipeline), overrides)
    missing = check_paths(document)
    if missing:
        raise ManifestError(missing, str(manifest))
    settings = settings_for(document, config, overrides.runtime)
    taps: dict[str, str] = {}
    if timeline:
        document, taps = with_taps(document, tapped_ports(document))
    options = RunOptions(
        pipeline=document,
        settings=settings,
        session_id=session_id or f"{document.metadata.name}-{os.getpid()}",
        inputs=parse_files(inputs, "--input"),
        outputs=parse_files(outputs, "--output"),
        taps=taps,
        timeline=timeline,
        duration_s=duration,
        interval_s=interval,
        executor=executor.value if executor else None,
        metrics_port=metrics_port,
        restart=restart.value,
        realtime=realtime,
        block_ms=block_ms,
    )
    raise typer.Exit(run_options(options, as_json=as_json)["exit_code"])


def parse_files(options: Sequence[str] | None, flag: str) -> dict[str, str]:
    """Read ``NAME=FILE`` options; a name given twice or without a file is a usage error."""
    files: dict[str, str] = {}
    for option in options or ():
        name, _, file = option.partition("=")
        if not name or not file:
            raise typer.BadParameter(f"{option!r}: write NAME=FILE", param_hint=flag)
        if name in files:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=flag)
        files[name] = file
    return files


def run_options(options: RunOptions, *, as_json: bool) -> SummaryShape:
    """Run with the view that suits the output and return the summary."""
    import asyncio

    from ringline.cli.running import execute

    view = choose_view(options, as_json=as_json, terminal=sys.stdout.isatty())
    try:
        summary = asyncio.run(execute(options, view))
    except asyncio.CancelledError:
        view.close()
        raise KeyboardInterrupt from None  # Ctrl-C came twice
    finally:
        view.close()
    view.summary(summary)
    return summary


def choose_view(options: RunOptions, *, as_json: bool, terminal: bool) -> View:
    """JSON lines if asked for, a renewing table on a terminal, else plain lines."""
    from ringline.cli.live import LiveView
    from ringline.cli.views import JsonView, PlainView

    if as_json:
        return JsonView()
    if not terminal or "-" in options.outputs.values():
        return PlainView()
    return LiveView(f"{options.pipeline.metadata.name} · session {options.session_id}")
