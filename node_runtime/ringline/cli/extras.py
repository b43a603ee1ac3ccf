"""Which of the pip extras are installed here, asked without importing anything.

Called by nodes and doctor. A test compares the table with pyproject.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

EXTRAS: Final[Mapping[str, Mapping[str, str]]] = {
    "multiprocess": {
        "numpy": "numpy",
        "pyzmq": "zmq",
        "prometheus-client": "prometheus_client",
        "websockets": "websockets",
    },
    "audio": {"soxr": "soxr", "soundfile": "soundfile", "webrtcvad-wheels": "webrtcvad"},
    "voice": {"pocketsphinx": "pocketsphinx", "espeakng-loader": "espeakng_loader"},
    "video": {"av": "av", "opencv-python-headless": "cv2"},
}
"""Extra → {package on the index: module that it brings}; what an extra includes from another is left out."""

_INCLUDES: Final = {"audio": ("multiprocess",), "voice": ("audio",), "video": ("multiprocess",)}


def missing(extra: str) -> list[str]:
    """Return the packages of an extra, those of extras that it includes too, that can't be imported here."""
    absent = [name for included in _INCLUDES.get(extra, ()) for name in missing(included)]
    return absent + [name for name, module in EXTRAS.get(extra, {}).items() if find_spec(module) is None]


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'ringline[{extra}]'"


def extra_of_module(module: str) -> str:
    """Return the extra that brings a module, or an empty text for one that is not ours to install."""
    top = module.partition(".")[0]
    return next((extra for extra, packages in EXTRAS.items() if top in packages.values()), "")
