"""The shape of the graph: cycles that nobody declared, feedback that closes none, nodes that no data can reach.

A declared cycle has ``feedback: true`` on a channel of it; without those channels the graph must be acyclic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ringline.errors import Problem
from ringline.graph.draft import Draft
from ringline.graph.wiring import Edge, Wiring
from ringline.names import HOST

Graph = Mapping[str, Sequence[str]]


def check_cycles(wiring: Wiring) -> Iterator[Problem]:
    """Self-edges, undeclared cycles (each once), and feedback channels that close no cycle."""
    edges = [edge for edge in wiring.edges if edge.role == "channel"]
    for edge in edges:
        if edge.producer == edge.consumer:
            yield Problem(edge.place, f"joins node '{edge.producer}' to itself; keep its state inside the node")
    forward: dict[str, list[str]] = {}
    for edge in edges:
        if edge.feedback or edge.producer == edge.consumer:
            continue
        path = _path(forward, edge.consumer, edge.producer)
        if path:
            text = " → ".join([edge.producer, *path])
            yield Problem(
                edge.place, f"closes the cycle {text}; mark it `feedback: true` if that is meant, or remove it"
            )
        else:
            forward.setdefault(edge.producer, []).append(edge.consumer)
    for edge in edges:
        if edge.feedback and edge.producer != edge.consumer and not _path(forward, edge.consumer, edge.producer):
            yield Problem(f"{edge.place}.feedback", "closes no cycle; remove it")


def check_reach(draft: Draft, wiring: Wiring) -> Iterator[Problem]:
    """Nodes that no input and no source can reach, and nodes that nothing mentions in a graph that is connected."""
    nodes = {node.name: place for place, node in draft.nodes}
    entries = {edge.consumer for edge in wiring.edges if edge.producer == HOST}
    entries |= {name for name, ports in wiring.ports.items() if not ports.inputs} | draft.ghosts
    reached = _reached(_successors(wiring.edges), entries)
    declared = [edge for edge in wiring.edges if edge.flow is not None]
    mentioned = {edge.producer for edge in declared} | {edge.consumer for edge in declared}
    for name, place in nodes.items():
        if name not in reached:
            yield Problem(
                place, f"node '{name}' is unreachable: all its inputs come from its own cycle; connect an input to it"
            )
        elif declared and name not in mentioned and wiring.ports[name].inputs:
            yield Problem(
                place, f"node '{name}' is unreachable: no channel, input or output names it; connect it or remove it"
            )


def _successors(edges: Iterable[Edge]) -> Graph:
    graph: dict[str, list[str]] = {}
    for edge in edges:
        graph.setdefault(edge.producer, []).append(edge.consumer)
    return graph


def _reached(graph: Graph, entries: Iterable[str]) -> set[str]:
    found = set(entries)
    waiting = list(found)
    while waiting:
        for successor in graph.get(waiting.pop(), ()):
            if successor not in found:
                found.add(successor)
                waiting.append(successor)
    return found


def _path(graph: Graph, start: str, goal: str) -> list[str]:
    """Nodes of a shortest path from `start` to `goal`, both included; empty if there is none."""
    came_from: dict[str, str] = {start: start}
    waiting = [start]
    for node in waiting:
        if node == goal:
            break
        for successor in graph.get(node, ()):
            if successor not in came_from:
                came_from[successor] = node
                waiting.append(successor)
    if goal not in came_from:
        return []
    path = [goal]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]
