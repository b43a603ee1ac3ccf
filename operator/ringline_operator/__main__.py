"""``ringline-operator``, or ``python -m ringline_operator``: watches the namespaces of the settings, or the cluster.

Everything is set by environment, because the chart writes it; ``--help`` lists the variables with their reasons.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import gc
import inspect
import itertools
import logging
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

import kopf

from ringline.errors import SettingsError
from ringline.names import ENV_LOG_FORMAT
from ringline_operator import logs
from ringline_operator.credentials import credentials
from ringline_operator.settings import PREFIX, OperatorSettings, operator_settings

COLLECT_AFTER: Final = 10_000
"""New objects before the youngest are looked through; Python's own number is 700."""
NO_CLUSTER = (
    "ringline-operator: no cluster to talk to: it is neither in a pod with a service account, nor does KUBECONFIG or "
    "~/.kube/config name one"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; exit 2 for bad settings or arguments, or without a cluster."""
    chosen = _parser().parse_args(arguments)
    try:
        settings = operator_settings(os.environ)
    except SettingsError as error:
        print(f"ringline-operator: {error}", file=sys.stderr)
        return 2
    logs.configure(chosen.log_format, logging.DEBUG if chosen.verbose else logging.INFO)
    # kopf's own complaint is four tracebacks long.
    if credentials(kopf.OperatorSettings()) is None:
        print(NO_CLUSTER, file=sys.stderr)
        return 2
    import ringline_operator.app  # noqa: F401  (registers the handlers)

    spare_the_collector()
    asyncio.run(
        kopf.operator(
            namespaces=settings.watched,
            clusterwide=not settings.watched,
            standalone=True,
            # Else kopf asks for the user's name, and a user of an image, or of OpenShift, has none.
            identity=cast("Any", settings.identity),
            liveness_endpoint=settings.liveness,
        )
    )
    return 0


def spare_the_collector() -> None:
    """Let the garbage collector look at less, less often: lists are a million objects without a cycle among them.

    It took half of the time of a start with a thousand sessions.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ringline-operator",
        description="Turns MediaPipeline resources into session pods. It needs a service account in a pod, or KUBECONFIG.",
        epilog="environment:\n" + "\n".join(_variables()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--log-format",
        choices=(logs.JSON, logs.TEXT),
        default=os.environ.get(ENV_LOG_FORMAT, logs.TEXT),
        help=f"lines for a program or for people (default: {ENV_LOG_FORMAT}, else text)",
    )
    parser.add_argument("--verbose", action="store_true", help="log each request and decision")
    return parser


def _variables() -> Iterator[str]:
    reasons = _reasons()
    for name, field in OperatorSettings.model_fields.items():
        default = "" if field.default_factory else f" (default: {field.default!r})"
        text = f"{reasons.get(name, '')}{default}".strip()
        yield f"  {PREFIX}{name.upper()}"
        yield textwrap.fill(text, 96, initial_indent="      ", subsequent_indent="      ")


def _reasons() -> dict[str, str]:
    """Read the docstring under each field, which Python itself throws away."""
    body = ast.parse(textwrap.dedent(inspect.getsource(OperatorSettings))).body[0]
    lines = body.body if isinstance(body, ast.ClassDef) else []
    found = {}
    for field, text in itertools.pairwise(lines):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


if __name__ == "__main__":
    sys.exit(main())
