"""`plan`: manifest and settings in, `SessionPlan` out. Pure; both launchers and the CLI begin here."""

from __future__ import annotations

from ringline.errors import ManifestError, ResourceLimitError
from ringline.graph.assemble import assemble
from ringline.graph.catalog import Catalog, load_catalog
from ringline.graph.draft import whole
from ringline.graph.layout import ArenaLayout, ChannelPlan, HeapPlan
from ringline.graph.model import MediaPipeline
from ringline.graph.nodeconfig import NodeConfig, NodePlan
from ringline.graph.session_plan import SessionPlan, SessionPolicy
from ringline.graph.validate import budget_problems, graph_problems
from ringline.graph.wiring import wire
from ringline.settings import RuntimeConfig

__all__ = [
    "ArenaLayout",
    "ChannelPlan",
    "HeapPlan",
    "NodeConfig",
    "NodePlan",
    "SessionPlan",
    "SessionPolicy",
    "plan",
]


def plan(pipeline: MediaPipeline, settings: RuntimeConfig, catalog: Catalog | None = None) -> SessionPlan:
    """Compute everything that a launcher needs.

    `catalog` are the known node types (default: those in the box); a caller that knows more types, such as those
    registered in the application, adds them for their ports to count. Raises `ManifestError` with all problems of the
    graph, `ResourceLimitError` if it does not fit its settings.
    """
    catalog = load_catalog() if catalog is None else catalog
    draft = whole(pipeline)
    wiring = wire(draft, catalog)
    problems = [pipeline.source.locate(problem) for problem in graph_problems(draft, wiring, catalog)]
    if problems:
        raise ManifestError(problems, pipeline.source.file)
    session = assemble(pipeline, wiring, settings)
    over = [str(problem) for problem in budget_problems(pipeline, session)]
    if over:
        raise ResourceLimitError("\n".join(over))
    return session
