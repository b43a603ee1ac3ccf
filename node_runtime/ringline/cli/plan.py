"""`ringline plan`: what a session of a manifest will take: heaps, channels, the arena against its ceiling."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringline.cli.console import console, human_bytes, print_json, table
from ringline.cli.manifests import (
    ConfigOption,
    PipelineOption,
    SetOption,
    choose_pipeline,
    overridden,
    parse_overrides,
    settings_for,
)
from ringline.cli.shapes import PlanChannelShape, PlanNodeShape, PlanShape

if TYPE_CHECKING:
    from ringline.graph.layout import ChannelPlan, HeapPlan
    from ringline.graph.plan import NodePlan, SessionPlan

NAME = "plan"
EXAMPLES = ("ringline plan voice.yaml --set runtime.shmSize=512Mi",)


def command(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="The pipeline's file.", show_default=False)],
    pipeline: PipelineOption = None,
    config: ConfigOption = None,
    override: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the shared-memory layout and the budget of a session, without starting it."""
    from ringline.graph.plan import plan

    overrides = parse_overrides(override)
    document = overridden(choose_pipeline(manifest, pipeline), overrides)
    shape = plan_shape(plan(document, settings_for(document, config, overrides.runtime)))
    if as_json:
        print_json(shape)
    else:
        _print(shape)


def plan_shape(plan: SessionPlan) -> PlanShape:
    """Turn a plan into the documented JSON object."""
    nodes = {node.name: node for node in plan.nodes}
    return PlanShape(
        pipeline=plan.pipeline,
        nodes=[_node(heap, nodes.get(heap.node)) for heap in plan.layout.nodes],
        channels=[_channel(channel) for channel in plan.layout.channels],
        inputs=dict(plan.inputs),
        outputs=dict(plan.outputs),
        heaps_bytes=plan.layout.heap_bytes_total,
        arena_bytes=plan.layout.size_bytes,
        shm_size_bytes=plan.runtime.shm_segment_size,
        max_message_bytes=plan.layout.max_message_bytes,
        node_config_bytes=len(plan.node_config()),
    )


def _node(heap: HeapPlan, node: NodePlan | None) -> PlanNodeShape:
    return PlanNodeShape(
        name=heap.node,
        type=node.type if node else "",
        executor=node.executor if node else "",
        heap_bytes=heap.bytes,
        blocks=heap.blocks,
        memory_limit_bytes=node.memory_limit_bytes if node else None,
    )


def _channel(channel: ChannelPlan) -> PlanChannelShape:
    return PlanChannelShape(
        index=channel.index,
        name=channel.name,
        producer=f"{channel.producer}.{channel.producer_port}".rstrip("."),
        consumer=f"{channel.consumer}.{channel.consumer_port}".rstrip("."),
        kind=str(channel.kind),
        capacity=channel.capacity,
        overflow=channel.overflow,
        block_timeout_ms=channel.block_timeout_ms,
        deadline_ms=channel.deadline_ms,
    )


def _print(shape: PlanShape) -> None:
    out = console()
    rows = [
        (n["name"], n["type"] or "(application)", n["executor"], human_bytes(n["heap_bytes"]), n["blocks"])
        for n in shape["nodes"]
    ]
    out.print(table(("node", "type", "executor", "heap>", "blocks>"), rows, title=f"pipeline {shape['pipeline']}"))
    out.print()
    links = [
        (c["index"], c["name"], f"{c['producer']} → {c['consumer']}", c["kind"], c["capacity"], overflow_text(c))
        for c in shape["channels"]
    ]
    out.print(table(("#>", "channel", "from → to", "data", "capacity>", "when full"), links))
    out.print()
    share = 100 * shape["heaps_bytes"] / shape["shm_size_bytes"]
    out.print(
        f"heaps {human_bytes(shape['heaps_bytes'])} of shmSize {human_bytes(shape['shm_size_bytes'])} ({share:.0f} %)"
    )
    out.print(
        f"arena file {human_bytes(shape['arena_bytes'])}, largest message {human_bytes(shape['max_message_bytes'])}"
    )


def overflow_text(channel: PlanChannelShape) -> str:
    """Say in words what a channel does when it is full."""
    if channel["overflow"] == "block" and channel["block_timeout_ms"]:
        return f"block ≤ {channel['block_timeout_ms']} ms"
    if channel["overflow"] == "deadline":
        return f"deadline {channel['deadline_ms']} ms"
    return channel["overflow"].replace("_", " ")
