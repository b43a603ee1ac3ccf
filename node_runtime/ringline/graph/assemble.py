"""Turns a checked graph and its settings into a `SessionPlan`. Pure; called by `plan` and by the budget's check.

Paths of a manifest that are relative start at the manifest's folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

from ringline.graph.checks.edges import find_kind
from ringline.graph.layout import ChannelPlan, Overflow, arena_layout
from ringline.graph.model import FlowSpec, MediaPipeline, NodeSpec
from ringline.graph.nodeconfig import NodePlan
from ringline.graph.session_plan import SessionPlan, SessionPolicy
from ringline.graph.wiring import Edge, Wiring
from ringline.names import HOST
from ringline.settings import RuntimeConfig

OVERFLOWS: dict[str, Overflow] = {
    "Block": "block",
    "DropOldest": "drop_oldest",
    "DropNewest": "drop_newest",
    "Latest": "latest",
    "Deadline": "deadline",
}


def assemble(pipeline: MediaPipeline, wiring: Wiring, settings: RuntimeConfig) -> SessionPlan:
    """Build the plan. Raises `ResourceLimitError` if the heaps don't fit; the graph itself must be sound."""
    channels = tuple(_channel(index, name, edge, wiring, settings) for index, (name, edge) in _numbered(wiring))
    names = [node.name for node in pipeline.spec.nodes]
    layout = arena_layout(
        [*names, HOST],
        channels,
        max_message_bytes=settings.max_message_size,
        shm_bytes=settings.shm_segment_size,
    )
    ends = list(zip(wiring.edges, channels, strict=True))
    return SessionPlan(
        pipeline=pipeline.metadata.name,
        nodes=tuple(_node(node, ends, settings, pipeline.source.folder) for node in pipeline.spec.nodes),
        channels=channels,
        layout=layout,
        runtime=settings,
        session=SessionPolicy(**pipeline.spec.session.model_dump(by_alias=False)),
        inputs={edge.end: channel.name for edge, channel in ends if edge.role == "input"},
        outputs={edge.end: channel.name for edge, channel in ends if edge.role == "output"},
    )


def _numbered(wiring: Wiring) -> Iterable[tuple[int, tuple[str, Edge]]]:
    return enumerate(zip(wiring.names(), wiring.edges, strict=True))


def _channel(index: int, name: str, edge: Edge, wiring: Wiring, settings: RuntimeConfig) -> ChannelPlan:
    flow = edge.flow or FlowSpec()
    overflow = _overflow(edge, settings)
    return ChannelPlan(
        index=index,
        name=name,
        producer=edge.producer,
        producer_port=edge.producer_port,
        consumer=edge.consumer,
        consumer_port=edge.consumer_port,
        capacity=1 if overflow == "latest" else flow.capacity or settings.channel_capacity,
        overflow=overflow,
        block_timeout_ms=(flow.block_timeout_milliseconds or 0) if overflow == "block" else 0,
        deadline_ms=flow.deadline_milliseconds or 0,
        kind=find_kind(edge, wiring),
    )


def _overflow(edge: Edge, settings: RuntimeConfig) -> Overflow:
    if edge.flow is None and edge.role == "output":
        return "drop_oldest"  # an output that nobody asked for must not stop the graph
    if edge.flow is None or edge.flow.overflow is None:
        return "block" if settings.enable_backpressure else "drop_newest"
    return OVERFLOWS[edge.flow.overflow]


def _node(
    node: NodeSpec, ends: list[tuple[Edge, ChannelPlan]], settings: RuntimeConfig, folder: PurePath | None
) -> NodePlan:
    inputs = {channel.consumer_port: channel.name for edge, channel in ends if edge.consumer == node.name}
    outputs: dict[str, tuple[str, ...]] = {}
    for edge, channel in ends:
        if edge.producer == node.name:
            outputs[channel.producer_port] = (*outputs.get(channel.producer_port, ()), channel.name)
    executable, venv = _interpreter(node, settings, folder)
    return NodePlan(
        name=node.name,
        type=node.type,
        config=node.config,
        executor=node.executor.lower(),
        executable=executable,
        venv_path=venv,
        extra_paths=(*(_anchor(path, folder) for path in node.python.extra_paths), *settings.extra_paths),
        env={variable.name: variable.value for variable in node.env if variable.value is not None},
        secret_env=tuple(variable.name for variable in node.env if variable.value_from is not None),
        memory_limit_bytes=node.resources.memory_limit_bytes,
        inputs=inputs,
        outputs=outputs,
        feedback=tuple(edge.consumer_port for edge, _ in ends if edge.feedback and edge.consumer == node.name),
    )


def _interpreter(node: NodeSpec, settings: RuntimeConfig, folder: PurePath | None) -> tuple[str, str | None]:
    """Choose executable and virtual environment: what the node says wins over the settings as a whole."""
    own = node.python
    if own.venv_path is not None or own.executable is not None:
        executable = own.executable or settings.python_executable
        venv = None if own.venv_path is None else _anchor(own.venv_path, folder)
        return (_anchor(executable, folder) if own.executable and "/" in own.executable else executable), venv
    return settings.python_executable, None if settings.venv_path is None else str(settings.venv_path)


def _anchor(path: str, folder: PurePath | None) -> str:
    return path if folder is None else str(folder / path)
