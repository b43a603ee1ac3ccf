"""Ringline: real-time media pipelines, one process per node, shared memory between them.

Applications and node authors import every public name from here. The table is lazy (PEP 562): ``import ringline``
loads neither numpy, ZeroMQ nor pydantic, so that a command line answers quickly and a manifest can be checked
where only the core is installed. Who adds a public name adds it in both places below; a test compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringline.data import AudioMetadata as AudioMetadata
    from ringline.data import DataType as DataType
    from ringline.data import RuntimeData as RuntimeData
    from ringline.data import TensorMetadata as TensorMetadata
    from ringline.data import TextMetadata as TextMetadata
    from ringline.data import VideoMetadata as VideoMetadata
    from ringline.data import load_audio_file as load_audio_file
    from ringline.data import save_audio_file as save_audio_file
    from ringline.errors import AgentCrashed as AgentCrashed
    from ringline.errors import AgentError as AgentError
    from ringline.errors import ArenaError as ArenaError
    from ringline.errors import ChannelFullError as ChannelFullError
    from ringline.errors import ControlError as ControlError
    from ringline.errors import DataError as DataError
    from ringline.errors import EndOfStream as EndOfStream
    from ringline.errors import Fenced as Fenced
    from ringline.errors import InitializationTimeout as InitializationTimeout
    from ringline.errors import InitTimeout as InitTimeout
    from ringline.errors import LeaseQuotaError as LeaseQuotaError
    from ringline.errors import LeaseReleasedError as LeaseReleasedError
    from ringline.errors import ManifestError as ManifestError
    from ringline.errors import MessageTooLargeError as MessageTooLargeError
    from ringline.errors import NodeConfigError as NodeConfigError
    from ringline.errors import NodeError as NodeError
    from ringline.errors import NodeInitError as NodeInitError
    from ringline.errors import NodeLoadError as NodeLoadError
    from ringline.errors import PoolClosedError as PoolClosedError
    from ringline.errors import PoolError as PoolError
    from ringline.errors import PoolFullError as PoolFullError
    from ringline.errors import Problem as Problem
    from ringline.errors import ProcessCrashed as ProcessCrashed
    from ringline.errors import ProcessCrashError as ProcessCrashError
    from ringline.errors import ProcessSpawnError as ProcessSpawnError
    from ringline.errors import ResourceLimitError as ResourceLimitError
    from ringline.errors import RingCorruptError as RingCorruptError
    from ringline.errors import RinglineError as RinglineError
    from ringline.errors import SessionClosedError as SessionClosedError
    from ringline.errors import SessionError as SessionError
    from ringline.errors import SessionExistsError as SessionExistsError
    from ringline.errors import SettingsError as SettingsError
    from ringline.errors import ShmError as ShmError
    from ringline.errors import StateError as StateError
    from ringline.errors import StateFullError as StateFullError
    from ringline.errors import StepExpired as StepExpired
    from ringline.errors import StepTimeout as StepTimeout
    from ringline.errors import UnknownNodeTypeError as UnknownNodeTypeError
    from ringline.graph.pipeline import Pipeline as Pipeline
    from ringline.node.base import MultiprocessNode as MultiprocessNode
    from ringline.node.base import SourceNode as SourceNode
    from ringline.node.registry import register_node as register_node
    from ringline.runtime import MultiprocessExecutor as MultiprocessExecutor
    from ringline.runtime import Runtime as Runtime
    from ringline.runtime import run_with_retry as run_with_retry
    from ringline.session import Session as Session
    from ringline.settings import MultiprocessConfig as MultiprocessConfig
    from ringline.settings import RuntimeConfig as RuntimeConfig

    Node = MultiprocessNode

__version__ = "0.1.0"

_HOMES = {
    "ringline.data": (
        "AudioMetadata", "DataType", "RuntimeData", "TensorMetadata", "TextMetadata", "VideoMetadata",
        "load_audio_file", "save_audio_file",
    ),
    "ringline.errors": (
        "ArenaError", "ChannelFullError", "ControlError", "DataError", "EndOfStream", "Fenced", "InitTimeout",
        "InitializationTimeout", "LeaseQuotaError", "LeaseReleasedError", "ManifestError", "MessageTooLargeError",
        "NodeConfigError", "NodeError", "NodeInitError", "NodeLoadError", "Problem", "ProcessCrashError",
        "ProcessCrashed", "ProcessSpawnError", "ResourceLimitError", "RingCorruptError", "RinglineError",
        "SessionClosedError", "SessionError", "SessionExistsError", "SettingsError", "ShmError",
        "AgentCrashed", "AgentError", "PoolClosedError", "PoolError", "PoolFullError", "StateError", "StateFullError",
        "StepExpired", "StepTimeout", "UnknownNodeTypeError",
    ),
    "ringline.graph.pipeline": ("Pipeline",),
    "ringline.node.base": ("MultiprocessNode", "SourceNode"),
    "ringline.node.registry": ("register_node",),
    "ringline.runtime": ("MultiprocessExecutor", "Runtime", "run_with_retry"),
    "ringline.session": ("Session",),
    "ringline.settings": ("MultiprocessConfig", "RuntimeConfig"),
}  # fmt: skip
_HOME = {name: (module, name) for module, names in _HOMES.items() for name in names}
_HOME["Node"] = ("ringline.node.base", "MultiprocessNode")

__all__ = ["__version__", *sorted(_HOME)]  # noqa: PLE0604  (all are strings)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _HOME[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
