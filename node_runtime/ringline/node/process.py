"""The outermost frame of a node's process: runs the runner and ends the process at once.

Exit handlers of libraries are not run, and threads that an author left behind are not waited for: what a node has to free is
freed by its `cleanup`, and the kernel does the rest. (`multiprocessing` ends its children in the same way.)
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from typing import NoReturn

from ringline.node import exits, signals


def run_node() -> NoReturn:
    """Be a node from here to the end of the process."""
    code = exits.ERROR
    try:
        from ringline.node.runner import main

        code = main()
    except BaseException:
        traceback.print_exc()
    leave(code)


def leave(code: int) -> NoReturn:
    """End the process; a code of 128 + SIGTERM becomes a death by SIGTERM."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # the zygote has gone, and with it whoever would read it
    ctypes.CDLL(None).fflush(None)  # what C libraries have printed
    if code == 128 + signal.SIGTERM:
        signals.die_by(signal.SIGTERM)
    os._exit(code)
