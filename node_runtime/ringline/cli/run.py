"""`ringline run`: run a manifest on this machine, feed and record its ends, show what happens.

With `--session` no manifest is run: the ends of a session that runs already, here or on a cluster, are fed and recorded.
"""

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
from ringline.cli.media import check_input, check_output
from ringline.cli.places import ContextOption, NamespaceOption, Place, SessionOption, UrlOption, place
from ringline.errors import ManifestError

if TYPE_CHECKING:
    from ringline.cli.running import RunOptions
    from ringline.cli.shapes import SummaryShape
    from ringline.cli.views import View

NAME = "run"
EXAMPLES = (
    "ringline run voice.yaml --input microphone=question.wav --output speaker=answer.wav --timeline",
    "ringline run video.yaml --duration 10 --json",
    "ringline run --session call-4711 --namespace team-a --input microphone=question.wav --output speaker=answer.wav",
)
FOR_SESSIONS = {
    "inputs", "outputs", "session", "namespace", "context", "url", "duration", "realtime", "block_ms", "as_json",
}  # fmt: skip
"""The parameters that have a meaning with --session; all others are about a session of our own."""


class Executor(StrEnum):
    """Where nodes run."""

    PROCESS = "process"
    INLINE = "inline"


class RestartChoice(StrEnum):
    """What follows the end of a session."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"


ManifestArgument = Annotated[
    Path | None,
    typer.Argument(metavar="MANIFEST", help="The pipeline's file; none with --session or --url.", show_default=False),
]
InputOption = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="NAME=FILE", help="Feed a file (or -) into a session input, then end it."),
]
OutputOption = Annotated[
    list[str] | None,
    typer.Option("--output", "-o", metavar="NAME=FILE", help="Write a session output to a file (or -)."),
]
IdOption = Annotated[
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
    ctx: typer.Context,
    manifest: ManifestArgument = None,
    *,
    pipeline: PipelineOption = None,
    inputs: InputOption = None,
    outputs: OutputOption = None,
    session: SessionOption = "",
    namespace: NamespaceOption = "",
    context: ContextOption = "",
    url: UrlOption = "",
    override: SetOption = None,
    config: ConfigOption = None,
    session_id: IdOption = None,
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

    With --session (or --url) no pipeline is started: the inputs of that session are fed and ended, its outputs written.
    """
    files = parse_files(inputs, "--input"), parse_files(outputs, "--output")
    if session or url or namespace or context:
        refuse_foreign(ctx)
        where = place(session, namespace, context, url)
        check_files(*files)
        raise typer.Exit(call_session(where, *files, duration, as_json=as_json, realtime=realtime, block_ms=block_ms))
    if manifest is None:
        raise typer.BadParameter("give the pipeline's file, or --session NAME", param_hint="MANIFEST")
    check_files(*files)
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
        inputs=files[0],
        outputs=files[1],
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


def check_files(inputs: dict[str, str], outputs: dict[str, str]) -> None:
    """Look whether the files can be read and written, before anything is started. Raises `DataError`."""
    for path in inputs.values():
        check_input(path)
    for path in outputs.values():
        check_output(path)


def refuse_foreign(ctx: typer.Context) -> None:
    """With --session, refuse what says something about a session of our own. Raises `typer.BadParameter`."""
    for parameter in ctx.command.params:
        name = str(parameter.name)
        source = ctx.get_parameter_source(name)
        if name not in FOR_SESSIONS and source is not None and source.name == "COMMANDLINE":
            spelling = parameter.opts[0] if parameter.opts[0].startswith("-") else name.upper()
            raise typer.BadParameter(f"{spelling} has no meaning for a session that runs already (--session, --url)")


def call_session(
    where: Place,
    inputs: dict[str, str],
    outputs: dict[str, str],
    duration: float | None,
    *,
    as_json: bool,
    realtime: bool,
    block_ms: float,
) -> int:
    """Feed and record a session that runs already; return the exit code."""
    import asyncio

    from ringline.cli.calling import CallOptions, call
    from ringline.cli.views import JsonView, PlainView

    if not inputs and not outputs:
        raise typer.BadParameter("nothing to do: give --input NAME=FILE, --output NAME=FILE or both")
    view = JsonView() if as_json else PlainView()
    options = CallOptions(where, inputs, outputs, duration, realtime, block_ms)
    try:
        summary = asyncio.run(call(options, view))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None  # Ctrl-C came twice
    view.summary(summary)
    return summary["exit_code"]


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
