"""``python -m ringline.host gateway|drain``: what the gateway's container in a session's pod runs."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Own a session, or ask its owner to end it. Gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ringline.host", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("gateway", help="own the pod's session until SIGTERM")
    commands.add_parser("drain", help="have the gateway end the session, and wait for it (preStop)")
    if parser.parse_args(arguments).command == "drain":
        from ringline.host.gateway_drain import drain

        return drain(os.environ)
    from ringline.errors import RinglineError
    from ringline.names import ENV_GATEWAY_PORT
    from ringline.node.pod_probe import listen
    from ringline.node.pod_settings import STATUS_PORT, port

    # Until the gateway has a handler of its own: process 1 does not die of a signal that it has none for.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        listener = listen(port(os.environ, ENV_GATEWAY_PORT, STATUS_PORT))
    except (RinglineError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    from ringline.host.gateway_main import run_gateway

    return run_gateway(os.environ, listener)


if __name__ == "__main__":
    sys.exit(main())
