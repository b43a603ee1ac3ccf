"""What a zygote imports before it forks its first node: all that every node needs, so that a fork costs milliseconds.

Nothing of an author is imported here, and nothing of the box: those decide themselves how long they take. No thread and no
ZeroMQ context may exist at a fork, so none is made.
"""

from __future__ import annotations

import gc
import importlib
import os
from typing import Final

_MODULES: Final = (
    "asyncio",
    "encodings.idna",
    "json",
    "logging",
    "numpy",
    "numpy.typing",
    "pydantic",
    "traceback",
    "zmq",
    "ringline.control.link",
    "ringline.data.audio",
    "ringline.data.codec",
    "ringline.node.drive_async",
    "ringline.node.drive_sync",
    "ringline.node.process",
    "ringline.node.runner",
)
_SINGLE_THREADED: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def preload() -> None:
    """Import it all, single-threaded, and keep the garbage collector from touching (so copying) those pages."""
    for name in _SINGLE_THREADED:
        os.environ.setdefault(name, "1")
    for module in _MODULES:
        importlib.import_module(module)
    from ringline.node.discovery import box_names

    box_names()  # reads the catalog
    gc.collect()
    gc.freeze()
