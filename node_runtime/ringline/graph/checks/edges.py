"""Ends of channels: the node exists, the port exists, one writer per input port, and the data types fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from ringline.errors import Problem
from ringline.graph.catalog import ANY_TYPE, kinds_match
from ringline.graph.draft import Draft
from ringline.graph.wiring import Edge, Wiring
from ringline.names import HOST, canonical
from ringline.wording import listed, nearest

Side = Literal["input", "output"]


def check_edges(draft: Draft, wiring: Wiring) -> Iterator[Problem]:
    """Both ends of every declared edge, then what the two say about each other."""
    known = {node.name for _, node in draft.nodes}
    for edge in wiring.edges:
        if edge.flow is None:
            continue
        for node, place in ((edge.producer, edge.from_place), (edge.consumer, edge.to_place)):
            if node != HOST and node not in known and node not in draft.ghosts:
                yield Problem(place, _unknown_node(node, known))
        yield from _check_ports(edge, wiring)
        yield from _check_types(edge, wiring)
    yield from _check_writers(wiring)


def find_kind(edge: Edge, wiring: Wiring) -> str:
    """Return the data type that a channel carries: what its writer declares, else what its reader does."""
    produced, consumed = _kinds(edge, wiring)
    return produced if produced != ANY_TYPE else consumed


def _check_ports(edge: Edge, wiring: Wiring) -> Iterator[Problem]:
    writer, reader = wiring.ports.get(edge.producer), wiring.ports.get(edge.consumer)
    if writer and writer.outputs_closed and edge.producer_port not in writer.outputs:
        yield Problem(edge.from_place, _unknown_port(edge.producer, "output", edge.producer_port, writer.outputs))
    if reader and reader.inputs_closed and edge.consumer_port not in reader.inputs:
        yield Problem(edge.to_place, _unknown_port(edge.consumer, "input", edge.consumer_port, reader.inputs))


def _unknown_port(node: str, side: Side, port: str, declared: Iterable[str]) -> str:
    close = next((name for name in declared if canonical(name) == canonical(port)), None)
    way_out = f"did you mean '{close}'?" if close else f"it has: {listed(declared)}"
    return f"node '{node}' has no {side} port '{port}' ({way_out})"


def _unknown_node(node: str, known: set[str]) -> str:
    close = nearest(node, sorted(known))
    way_out = f"did you mean '{close}'?" if close else f"there are: {listed(sorted(known))}"
    return f"there is no node '{node}' ({way_out})"


def _check_types(edge: Edge, wiring: Wiring) -> Iterator[Problem]:
    produced, consumed = _kinds(edge, wiring)
    if not kinds_match(produced, consumed):
        yield Problem(
            edge.to_place,
            f"'{edge.producer}.{edge.producer_port}' gives {produced}, '{edge.consumer}.{edge.consumer_port}' takes "
            f"{consumed}; put a node between them that converts, or choose other ports",
        )


def _kinds(edge: Edge, wiring: Wiring) -> tuple[str, str]:
    def find(ports: Mapping[str, str] | None, port: str) -> str:
        return (ports or {}).get(port, ANY_TYPE)

    writer, reader = wiring.ports.get(edge.producer), wiring.ports.get(edge.consumer)
    return (
        find(writer.outputs if writer else None, edge.producer_port),
        find(reader.inputs if reader else None, edge.consumer_port),
    )


def _check_writers(wiring: Wiring) -> Iterator[Problem]:
    first: dict[tuple[str, str], Edge] = {}
    for edge in wiring.edges:
        if edge.consumer == HOST:
            continue
        other = first.setdefault((edge.consumer, edge.consumer_port), edge)
        if other is not edge:
            yield Problem(
                edge.to_place,
                f"input port '{edge.consumer}.{edge.consumer_port}' has a writer already ({other.place}); "
                "give it one writer, a node of type join or mix merges several",
            )
