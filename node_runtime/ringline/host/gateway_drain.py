"""``python -m ringline.host drain``: the gateway's preStop hook. Asks the gateway to end the session, and waits until it has.

The kubelet runs it when the pod is to go, at the same moment as the nodes get their SIGTERM. Imports little: it has to be quick.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from typing import Final

from ringline.control import frames
from ringline.names import GATEWAY_SOCKET, TOKEN_FILE
from ringline.node.pod_settings import PodEnvironment

PATIENCE_S: Final = 600.0
"""The kubelet's own grace period is shorter."""


def drain(environ: Mapping[str, str]) -> int:
    """Return 0 when the session has ended, also if no gateway is there to ask."""
    directory = PodEnvironment.from_environ(environ).directory
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(str(directory / GATEWAY_SOCKET))
            sock.sendall(frames.encode({"ev": "drain", "token": (directory / TOKEN_FILE).read_text()}))
            sock.recv(4096)
    except OSError as error:
        sys.stderr.write(f"nothing to drain: {error}\n")
    return 0
