"""Drawings of a graph: a tree of text for a terminal, a Mermaid chart for a page.

Called by `ringline graph`. An unsound graph is drawn as far as it goes, since a picture helps to see what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ringline.graph.catalog import ANY_TYPE, Catalog, load_catalog
from ringline.graph.checks.edges import find_kind
from ringline.graph.draft import whole
from ringline.graph.model import MediaPipeline
from ringline.graph.wiring import Edge, Wiring, wire
from ringline.names import HOST


def render_text(pipeline: MediaPipeline, catalog: Catalog | None = None) -> str:
    """Draw the graph as a tree: inputs and sources at the left, a node that was drawn before only by name."""
    wiring = wire(whole(pipeline), load_catalog() if catalog is None else catalog)
    tree = _Tree(pipeline, wiring)
    return "\n".join([f"pipeline {pipeline.metadata.name}", *tree.lines()]) + "\n"


def render_mermaid(pipeline: MediaPipeline, catalog: Catalog | None = None) -> str:
    """Draw the graph as a Mermaid flowchart; feedback channels are dotted."""
    wiring = wire(whole(pipeline), load_catalog() if catalog is None else catalog)
    return "\n".join(["flowchart LR", *_mermaid(pipeline, wiring)]) + "\n"


class _Tree:
    """Walks the graph depth first; every edge is drawn once, every node unfolded once."""

    def __init__(self, pipeline: MediaPipeline, wiring: Wiring) -> None:
        self._types = {node.name: node.type for node in pipeline.spec.nodes}
        self._wiring = wiring
        self._unfolded: set[str] = set()

    def lines(self) -> Iterator[str]:
        for edge in self._wiring.edges:
            if edge.producer == HOST:
                yield f"({edge.end})"
                yield from self._branch(edge, "", last=True)
        for node in self._types:
            if node not in self._unfolded:
                yield self._label(node)
                yield from self._below(node, "")

    def _branch(self, edge: Edge, indent: str, *, last: bool) -> Iterator[str]:
        corner = "└─" if last else "├─"
        port = f" {edge.producer_port}" if edge.producer != HOST else ""
        target = f"({edge.end})" if edge.consumer == HOST else self._label(edge.consumer)
        into = f".{edge.consumer_port}" if self._needs_port(edge) else ""
        yield f"{indent}{corner}{port} → {target}{into}{_flow_text(edge)}"
        if edge.consumer != HOST and not edge.feedback and edge.consumer not in self._unfolded:
            yield from self._below(edge.consumer, indent + ("   " if last else "│  "))

    def _below(self, node: str, indent: str) -> Iterator[str]:
        self._unfolded.add(node)
        edges = [edge for edge in self._wiring.edges if edge.producer == node]
        for edge in edges:
            yield from self._branch(edge, indent, last=edge is edges[-1])

    def _needs_port(self, edge: Edge) -> bool:
        ports = self._wiring.ports.get(edge.consumer)
        return edge.consumer != HOST and ports is not None and len(ports.inputs) > 1

    def _label(self, node: str) -> str:
        if node in self._unfolded:
            return f"{node} ↑"
        return f"{node} [{self._types[node]}]" if node in self._types else f"{node} (missing)"


def _flow_text(edge: Edge) -> str:
    parts = ["feedback"] if edge.feedback else []
    flow = edge.flow
    if flow is not None and flow.overflow is not None:
        parts.append(flow.overflow)
    if flow is not None and flow.capacity is not None:
        parts.append(f"capacity {flow.capacity}")
    return f"   {{{', '.join(parts)}}}" if parts else ""


def _mermaid(pipeline: MediaPipeline, wiring: Wiring) -> Iterator[str]:
    types = {node.name: node.type for node in pipeline.spec.nodes}
    ids = _ids([*types, *(name for edge in wiring.edges for name in (edge.producer, edge.consumer) if name != HOST)])
    for name, identity in ids.items():
        yield f'  {identity}["{name}<br/>{types.get(name, "missing")}"]'
    for index, edge in enumerate(wiring.edges):
        source, target = ids.get(edge.producer, f"in{index}"), ids.get(edge.consumer, f"out{index}")
        if edge.role == "input":
            yield f'  {source}(["{edge.end}"])'
        elif edge.role == "output":
            yield f'  {target}(["{edge.end}"])'
        arrow = "-.->" if edge.feedback else "-->"
        yield f'  {source} {arrow}|"{_mermaid_label(edge, find_kind(edge, wiring))}"| {target}'


def _ids(names: Sequence[str]) -> Mapping[str, str]:
    return {name: f"n{index}" for index, name in enumerate(dict.fromkeys(names))}


def _mermaid_label(edge: Edge, kind: str) -> str:
    label = edge.consumer_port if edge.producer == HOST else edge.producer_port
    return label if kind in (ANY_TYPE, label) else f"{label}: {kind}"
