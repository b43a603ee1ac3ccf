"""``python -m ringline.node zygote|run|pod``: what a host, or a container of a session's pod, starts. Not for people, who use ``ringline run``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a zygote, or the node that the environment names."""
    parser = argparse.ArgumentParser(prog="python -m ringline.node", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    zygote = commands.add_parser("zygote", help="fork nodes for the host at the other end of a socket")
    zygote.add_argument("--fd", type=int, required=True, help="the socket's descriptor")
    zygote.add_argument("--directory", type=Path, required=True, help="the session's folder, removed if the host dies")
    commands.add_parser("run", help="be the node that the environment names")
    commands.add_parser("pod", help="be process 1 of a node's container in a session's pod")
    options = parser.parse_args(arguments)
    if options.command == "pod":
        return _pod()
    if options.command == "zygote":
        from ringline.node.zygote import run_zygote

        return run_zygote(options.fd, options.directory)
    from ringline.node.process import run_node

    return run_node()


def _pod() -> int:
    from ringline.errors import RinglineError
    from ringline.names import ENV_PROBE_PORT
    from ringline.node.pod_probe import listen
    from ringline.node.pod_settings import FIRST_PROBE_PORT, port

    # Until the zygote has a handler of its own: process 1 does not die of a signal that it has none for.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    try:
        listener = listen(port(os.environ, ENV_PROBE_PORT, FIRST_PROBE_PORT))
        from ringline.node.pod import run_pod

        run_pod(os.environ, listener)
    except (RinglineError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
