"""Which port is joined to which: channels, declared inputs and outputs, and the ends that nobody connected.

Shared by the checks, the plan and the drawings. Ports that a type does not declare are those that connections name,
else ``input``/``output``. Every unconnected end becomes an input or output of the session named by its node, or
``node.port`` when several of the node are open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ringline.graph.catalog import ANY_PORT, ANY_TYPE, Catalog, declared_ports, find_entry
from ringline.graph.draft import Draft
from ringline.graph.fields import split_ref
from ringline.graph.model import FlowSpec, NodeSpec
from ringline.names import HOST, channel_name

Role = Literal["channel", "input", "output"]
INPUT: Final = "input"
OUTPUT: Final = "output"


@dataclass(frozen=True)
class Edge:
    """One channel of the session: between two nodes, from the application, or to it (`names.HOST` is its node).

    `end` is the name of an input or output, `flow` what the manifest says about it (None for an implied end).
    """

    place: str
    role: Role
    producer: str
    producer_port: str
    consumer: str
    consumer_port: str
    flow: FlowSpec | None = None
    end: str = ""
    feedback: bool = False

    @property
    def from_place(self) -> str:
        """Where the manifest says the producing end."""
        return f"{self.place}.from"

    @property
    def to_place(self) -> str:
        """Where the manifest says the consuming end."""
        return f"{self.place}.to"


@dataclass(frozen=True)
class Ports:
    """The ports of one node, name → data type. `closed` sides are declared: no other port exists."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    inputs_closed: bool
    outputs_closed: bool


@dataclass(frozen=True)
class Wiring:
    """All edges of a session, implied ends included, and the ports of every node."""

    edges: Sequence[Edge]
    ports: Mapping[str, Ports]

    def names(self) -> list[str]:
        """Name every edge as users see it: ``from_to_to``, with ports where two edges join one pair."""
        pairs = Counter((edge.producer, edge.consumer) for edge in self.edges)
        return [_edge_name(edge, several=pairs[edge.producer, edge.consumer] > 1) for edge in self.edges]


def wire(draft: Draft, catalog: Catalog) -> Wiring:
    """Find all edges of a session. Edges whose nodes don't exist are kept for the checks to refuse."""
    edges = list(_declared_edges(draft))
    ports = {node.name: _ports(node, edges, catalog) for _, node in draft.nodes}
    return Wiring([*edges, *_open_ends(draft, ports, edges)], ports)


def _declared_edges(draft: Draft) -> Iterator[Edge]:
    for place, channel in draft.channels:
        yield Edge(
            place, "channel", *split_ref(channel.from_), *split_ref(channel.to), channel, feedback=channel.feedback
        )
    for place, given in draft.inputs:
        yield Edge(place, "input", HOST, given.name, *split_ref(given.to), given, end=given.name)
    for place, wanted in draft.outputs:
        yield Edge(place, "output", *split_ref(wanted.from_), HOST, wanted.name, wanted, end=wanted.name)


def _ports(node: NodeSpec, edges: Iterable[Edge], catalog: Catalog) -> Ports:
    entry = find_entry(catalog, node.type)
    inputs, outputs = declared_ports(entry, "inputs"), declared_ports(entry, "outputs")
    fed = {edge.consumer_port for edge in edges if edge.consumer == node.name}
    read = {edge.producer_port for edge in edges if edge.producer == node.name}
    return Ports(
        _known(inputs, sorted(fed), INPUT),
        _known(outputs, sorted(read), OUTPUT),
        inputs is not None and ANY_PORT not in inputs,
        outputs is not None and ANY_PORT not in outputs,
    )


def _known(declared: Mapping[str, str] | None, named: Sequence[str], default: str) -> dict[str, str]:
    if declared is not None and ANY_PORT not in declared:
        return dict(declared)
    declared = declared or {}
    kind = declared.get(ANY_PORT, ANY_TYPE)
    known = {name: found for name, found in declared.items() if name != ANY_PORT}
    known |= {name: kind for name in named if name not in known}
    return known or {default: kind}


def _open_ends(draft: Draft, ports: Mapping[str, Ports], edges: Sequence[Edge]) -> Iterator[Edge]:
    fed = {(edge.consumer, edge.consumer_port) for edge in edges}
    read = {(edge.producer, edge.producer_port) for edge in edges}
    # Of two nodes with one name only the first counts: the name is the problem, not its ends.
    nodes: dict[str, str] = {}
    for place, spec in draft.nodes:
        nodes.setdefault(spec.name, place)
    for node, place in nodes.items():
        free = [port for port in ports[node].inputs if (node, port) not in fed]
        for port in free:
            end = node if len(free) == 1 else f"{node}.{port}"
            yield Edge(place, "input", HOST, end, node, port, end=end)
    for node, place in nodes.items():
        free = [port for port in ports[node].outputs if (node, port) not in read]
        for port in free:
            end = node if len(free) == 1 else f"{node}.{port}"
            yield Edge(place, "output", node, port, HOST, end, end=end)


def _edge_name(edge: Edge, *, several: bool) -> str:
    producer = INPUT if edge.producer == HOST else edge.producer
    consumer = OUTPUT if edge.consumer == HOST else edge.consumer
    if several and edge.producer != HOST:
        producer = f"{producer}.{edge.producer_port}"
    if several and edge.consumer != HOST:
        consumer = f"{consumer}.{edge.consumer_port}"
    return channel_name(producer, consumer)
