"""The unit of media and everything about it: types, metadata, wire form, file helpers.

Applications import these names from `ringline`; the node runner and the host import the codec from here. Lazy, so that
`import ringline` does not load numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringline.data.audio import load_audio_file, save_audio_file
    from ringline.data.codec import Encoded, decode, encode, encode_meta, forward_meta
    from ringline.data.runtime_data import RuntimeData
    from ringline.data.types import AudioMetadata, DataType, Metadata, TensorMetadata, TextMetadata, VideoMetadata
    from ringline.data.video import VideoWriter, video_frames

_WHERE = {
    "AudioMetadata": "types",
    "DataType": "types",
    "Encoded": "codec",
    "Metadata": "types",
    "RuntimeData": "runtime_data",
    "TensorMetadata": "types",
    "TextMetadata": "types",
    "VideoMetadata": "types",
    "VideoWriter": "video",
    "decode": "codec",
    "encode": "codec",
    "encode_meta": "codec",
    "forward_meta": "codec",
    "load_audio_file": "audio",
    "save_audio_file": "audio",
    "video_frames": "video",
}

__all__ = [
    "AudioMetadata",
    "DataType",
    "Encoded",
    "Metadata",
    "RuntimeData",
    "TensorMetadata",
    "TextMetadata",
    "VideoMetadata",
    "VideoWriter",
    "decode",
    "encode",
    "encode_meta",
    "forward_meta",
    "load_audio_file",
    "save_audio_file",
    "video_frames",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value
