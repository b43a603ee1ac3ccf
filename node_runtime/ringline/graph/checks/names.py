"""Names that are taken twice: nodes, inputs and outputs, channels. '-' and '_' count as the same character."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ringline.errors import Problem
from ringline.graph.draft import Draft
from ringline.graph.wiring import Edge, Role, Wiring
from ringline.names import MAX_CHANNELS, MAX_NODES, canonical


def check_counts(draft: Draft, wiring: Wiring) -> Iterator[Problem]:
    """At least one node, and no more nodes and channels than a session holds."""
    nodes = len(draft.pipeline.spec.nodes)
    if nodes == 0 and not draft.ghosts:
        yield Problem("spec.nodes", "is empty; a pipeline needs at least one node")
    if nodes > MAX_NODES:
        yield Problem("spec.nodes", f"has {nodes} entries, at most {MAX_NODES} are allowed; split the pipeline")
    elif len(wiring.edges) > MAX_CHANNELS:
        implied = sum(1 for edge in wiring.edges if edge.flow is None)
        yield Problem(
            "spec.channels",
            f"the session has {len(wiring.edges)} channels ({implied} of them for unconnected ports), "
            f"at most {MAX_CHANNELS} are allowed, inputs and outputs counted",
        )


def check_nodes(draft: Draft) -> Iterator[Problem]:
    """No node's name twice."""
    yield from _doubles("node", [(f"{place}.name", node.name) for place, node in draft.nodes])


def check_ends(wiring: Wiring) -> Iterator[Problem]:
    """No input's and no output's name twice, implied ones included, and no port given out twice."""
    for role in ("input", "output"):
        ends = [edge for edge in wiring.edges if edge.role == role]
        yield from _doubles(role, [(f"{edge.place}.name", edge.end) for edge in _declared_last(ends)])
    yield from _same_port_twice(edge for edge in wiring.edges if edge.role == "output")


def check_channels(wiring: Wiring) -> Iterator[Problem]:
    """No two channels under one name, as ``a`` → ``b_to_c`` and ``a_to_b`` → ``c``."""
    seen: dict[str, tuple[str, Edge]] = {}
    for name, edge in zip(wiring.names(), wiring.edges, strict=True):
        other = seen.setdefault(canonical(name), (name, edge))[1]
        if other is not edge and _ends(other) != _ends(edge):
            yield Problem(
                edge.place,
                f"its channel is named '{name}' like that of {other.place} ({_ends(other)}); rename a node",
            )


def _declared_last(ends: Sequence[Edge]) -> list[Edge]:
    """Put implied ends first, so that the finding stands where the author wrote a name."""
    return sorted(ends, key=lambda edge: edge.flow is not None)


def _doubles(what: str, names: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    seen: dict[str, tuple[str, str]] = {}
    for place, name in names:
        first_place, first = seen.setdefault(canonical(name), (place, name))
        if first_place == place:
            continue
        if first == name:
            yield Problem(place, f"{what} '{name}' exists already ({first_place}); choose another name")
        else:
            yield Problem(place, f"{what}s '{first}' ({first_place}) and '{name}' are the same name to Kubernetes")


def _same_port_twice(outputs: Iterable[Edge]) -> Iterator[Problem]:
    seen: dict[tuple[str, str], Edge] = {}
    for edge in outputs:
        other = seen.setdefault((edge.producer, edge.producer_port), edge)
        if other is not edge:
            ref = f"{edge.producer}.{edge.producer_port}"
            yield Problem(edge.from_place, f"'{ref}' is output '{other.end}' already; read it there")


def _ends(edge: Edge) -> str:
    roles: dict[Role, str] = {
        "channel": f"{edge.producer} → {edge.consumer}",
        "input": f"input of {edge.consumer}",
        "output": f"output of {edge.producer}",
    }
    return roles[edge.role]
