"""All problems of a pipeline at once: shared by the CLI, the builder, the operator (condition Accepted) and tests.

`validate` takes a resource that its models accepted, `draft_problems` what the manifest reader understood of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ringline.errors import Problem, ResourceLimitError, SettingsError
from ringline.graph.assemble import assemble
from ringline.graph.catalog import Catalog, load_catalog
from ringline.graph.checks import cycles, edges, flows, joins, names, nodes
from ringline.graph.draft import Draft, whole
from ringline.graph.model import MediaPipeline
from ringline.graph.session_plan import SessionPlan
from ringline.graph.wiring import Wiring, wire
from ringline.names import MAX_NODE_CONFIG_BYTES
from ringline.quantities import format_quantity, round_quantity
from ringline.settings import RuntimeConfig, resolve_settings


def validate(
    pipeline: MediaPipeline, catalog: Catalog | None = None, settings: RuntimeConfig | None = None
) -> list[Problem]:
    """Return every problem of a pipeline, in the order of its file's lines if it has one; empty if it can run.

    `catalog` are the known node types (default: those in the box); `settings` what the budget is checked against
    (default: `spec.runtime` over the defaults).
    """
    problems = draft_problems(whole(pipeline), catalog, settings)
    return sorted((pipeline.source.locate(problem) for problem in problems), key=lambda problem: problem.line)


def draft_problems(
    draft: Draft, catalog: Catalog | None = None, settings: RuntimeConfig | None = None
) -> list[Problem]:
    """Return the graph's problems as far as a resource is understood; of a complete and sound one the budget's."""
    catalog = load_catalog() if catalog is None else catalog
    wiring = wire(draft, catalog)
    found = list(graph_problems(draft, wiring, catalog))
    if draft.complete and not found:
        found += _budget(draft.pipeline, wiring, settings)
    return found


def graph_problems(draft: Draft, wiring: Wiring, catalog: Catalog) -> Iterator[Problem]:
    """Find what is wrong with the graph itself, whatever the settings."""
    yield from names.check_counts(draft, wiring)
    yield from names.check_nodes(draft)
    yield from edges.check_edges(draft, wiring)
    yield from names.check_ends(wiring)
    yield from names.check_channels(wiring)
    yield from cycles.check_cycles(wiring)
    if draft.complete:  # a channel that was left out may be what reaches a node
        yield from cycles.check_reach(draft, wiring)
    yield from flows.check_flows(draft)
    yield from nodes.check_nodes(draft, catalog)
    if draft.complete:  # a channel that was left out may be what joins the branches
        yield from joins.check_joins(draft, wiring, catalog)


def _budget(pipeline: MediaPipeline, wiring: Wiring, settings: RuntimeConfig | None) -> Iterator[Problem]:
    try:
        settings = settings or resolve_settings(manifest=runtime_section(pipeline))
        plan = assemble(pipeline, wiring, settings)
    except SettingsError as error:
        yield Problem("spec.runtime", str(error))
    except ResourceLimitError as error:
        yield Problem("spec.runtime.shmSize", str(error))
    else:
        yield from budget_problems(pipeline, plan)


def budget_problems(pipeline: MediaPipeline, plan: SessionPlan) -> Iterator[Problem]:
    """Compare a plan with its limits: processes, the document for the nodes, the pod's memory."""
    count, allowed = len(plan.nodes), plan.runtime.max_processes_per_session
    if allowed is not None and count > allowed:
        yield Problem(
            "spec.nodes",
            f"{count} nodes need {count} processes, maxProcessesPerSession (max_processes_per_session) allows {allowed}; "
            "raise it (0 = no limit) or use fewer nodes",
        )
    size = len(plan.node_config())
    if size > MAX_NODE_CONFIG_BYTES:
        yield Problem(
            "spec.nodes",
            f"what the nodes must know takes {size} bytes, at most {MAX_NODE_CONFIG_BYTES} are allowed; "
            "move large values out of `config` into files",
        )
    yield from _pod_memory(pipeline, plan)


def _pod_memory(pipeline: MediaPipeline, plan: SessionPlan) -> Iterator[Problem]:
    limit = pipeline.spec.pod.resources.memory_limit_bytes
    nodes_bytes = sum(node.memory_limit_bytes or 0 for node in plan.nodes)
    needed = plan.layout.size_bytes + nodes_bytes
    if limit is not None and needed > limit:
        yield Problem(
            "spec.pod.resources.limits.memory",
            f"{format_quantity(limit)} is less than the session needs: arena {round_quantity(plan.layout.size_bytes)} "
            f"and node limits {round_quantity(nodes_bytes)}; raise it to {round_quantity(needed)} or lower shmSize",
        )


def runtime_section(pipeline: MediaPipeline) -> dict[str, Any]:
    """Return `spec.runtime` as it was written: the manifest's layer of the settings."""
    return pipeline.spec.runtime.model_dump(mode="json", by_alias=True, exclude_unset=True)
