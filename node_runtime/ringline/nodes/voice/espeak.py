"""eSpeak NG's C library through ctypes: text in, 16-bit samples out. Used by `synthesize`.

The library has one state per process and is not made for threads, so everything goes through one lock. It comes with the
wheel `espeakng-loader`, with its voices; its licence (GPL-3) is why it is in an extra.
"""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringline import NodeConfigError, NodeError
from ringline.nodes.support import optional_library

# From espeak-ng's speak_lib.h.
_SYNCHRONOUS: Final = 2
_DONT_EXIT: Final = 0x8000
_UTF8: Final = 1
_RATE, _VOLUME, _PITCH = 1, 2, 3
_BUFFER_MS: Final = 60

_CALLBACK: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The library, loaded and ready. Get it with `espeak()`."""

    def __init__(self) -> None:
        loader = optional_library("espeakng_loader", "voice")
        self._lock = threading.Lock()
        self._blocks: list[NDArray[np.int16]] = []
        self._library: Any = ctypes.CDLL(loader.get_library_path())
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int,
            ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        data = str(loader.get_data_path()).encode()
        self.rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, data, _DONT_EXIT)
        """Samples per second that it makes: 22050."""
        if self.rate <= 0:
            raise NodeError(f"eSpeak NG can't start with its voices in {loader.get_data_path()}")
        # The library keeps the pointer, so Python must keep the object.
        self._callback = _CALLBACK(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    def check_voice(self, voice: str) -> None:
        """NodeConfigError if there is no such voice."""
        with self._lock:
            self._use_voice(voice)

    def say(self, text: str, *, voice: str, words_per_minute: int, pitch: int, volume: int) -> NDArray[np.int16]:
        """Speak one sentence: mono samples at `rate`. Takes about 1 ms per second of speech."""
        with self._lock:
            self._use_voice(voice)
            for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch), (_VOLUME, volume)):
                self._library.espeak_SetParameter(parameter, value, 0)
            self._blocks = []
            raw = text.replace("\0", " ").encode()
            status = self._library.espeak_Synth(raw, len(raw) + 1, 0, 1, 0, _UTF8, None, None)
            if status != 0:
                raise NodeError(f"eSpeak NG could not speak {text!r:.60} (status {status})")
            return np.concatenate(self._blocks) if self._blocks else np.zeros(0, np.int16)

    def _use_voice(self, voice: str) -> None:
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise NodeConfigError(
                f"eSpeak NG has no voice {voice!r}; try en-us, en-gb, de, fr-fr, es, or en-us+f3 for another speaker"
            )

    def _take(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


@cache
def espeak() -> Espeak:
    """Give the one library of this process. NodeLoadError if it is not installed."""
    return Espeak()
