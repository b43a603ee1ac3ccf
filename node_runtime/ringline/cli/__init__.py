"""The command line: `ringline run`, `validate`, `plan`, `graph`, `nodes`, `new`, `bench`, `top`, `send`, `recv`, `doctor`.

`main` is the console script's entry point. One module per command; each imports what is heavy (numpy, zmq, the
session) inside its function, so that `ringline --help` and shell completion answer quickly.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 ok, 1 failed, 2 wrong usage, 130 interrupted at once.

    `arguments` default to the process's own. A mistake of the user is one sentence on stderr, never a traceback;
    `ringline --debug COMMAND` shows where it was raised.
    """
    from ringline.cli.app import Invocation, invoke

    return invoke(list(sys.argv[1:] if arguments is None else arguments), Invocation())
