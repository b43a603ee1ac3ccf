"""All commands joined into one program, and what an exception becomes: a sentence and an exit code.

Called by `ringline.cli.main`; the generator of docs/cli.md walks `app` too.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Annotated

import typer

from ringline.cli import bench, doctor, graph, new, nodes, plan, recv, run, send, top, validate
from ringline.cli.console import epilog, silence_stdout
from ringline.cli.extras import extra_of_module, how_to_install
from ringline.cli.failure import sentence
from ringline.errors import RinglineError

app = typer.Typer(
    name="ringline",
    help="Run real-time media pipelines: one process per node, shared memory between them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Shell completion: ringline --install-completion",
)


@dataclass
class Invocation:
    """What the options before the command say; filled by the root callback, read when something fails."""

    debug: bool = False


def _print_version(wanted: bool) -> None:
    if wanted:
        import ringline

        typer.echo(f"ringline {ringline.__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback when a command fails.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Run real-time media pipelines: one process per node, shared memory between them."""
    del version  # its callback has printed it
    if isinstance(ctx.obj, Invocation):
        ctx.obj.debug = debug


for _module in (run, validate, plan, graph, nodes, top, send, recv, doctor):
    app.command(_module.NAME, epilog=epilog(*_module.EXAMPLES))(_module.command)
app.add_typer(new.app, name="new")
app.add_typer(bench.app, name="bench")


def invoke(arguments: list[str], invocation: Invocation) -> int:
    """Run one command line; whatever it raises becomes a message on stderr and an exit code."""
    try:
        app(arguments, prog_name="ringline", obj=invocation)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except BrokenPipeError:
        silence_stdout()
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return _report(error, debug=invocation.debug)
    return 0


def _report(error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    if isinstance(error, RinglineError):
        typer.echo(sentence(error), err=True)
    elif isinstance(error, ModuleNotFoundError) and extra_of_module(str(error.name)):
        extra = extra_of_module(str(error.name))
        typer.echo(f"error: {error.name} is not installed; it comes with: {how_to_install(extra)}", err=True)
    elif isinstance(error, OSError):
        typer.echo(f"error: {sentence(error)}", err=True)
    else:
        hint = "" if debug else " (ringline --debug COMMAND shows where)"
        typer.echo(f"internal error: {type(error).__name__}: {error}{hint}", err=True)
    return 1
