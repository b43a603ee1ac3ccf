"""What a node's methods may return, brought into one form: pairs of port and message.

Used by both drivers and by the test harness, so that a node behaves alike in a session and in a test.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

from ringline.data import RuntimeData
from ringline.errors import DataError, NodeError
from ringline.graph.catalog import kinds_match
from ringline.node.base import MultiprocessNode

EVERY_NAME = "*"


def is_async(method: Any) -> bool:
    """Say whether calling a method gives a coroutine or an async generator."""
    return inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)


def is_stream(result: Any) -> bool:
    """Say whether a result is a generator of either kind, to be taken item by item."""
    return inspect.isgenerator(result) or inspect.isasyncgen(result)


def messages(result: Any, like: RuntimeData | None = None) -> Iterator[tuple[str | None, RuntimeData]]:
    """Give each message in a result with its port (None: the default one); plain values are coerced like the input.

    DataError for a value that can't be carried.
    """
    if result is None:
        return
    if isinstance(result, RuntimeData):
        yield None, result
    elif isinstance(result, Mapping):
        for port, value in result.items():
            if not isinstance(port, str):
                raise DataError(f"a mapping of outputs has port names as keys, not {port!r}; use RuntimeData.json")
            yield from ((port, message) for _, message in messages(_several(value), like))
    elif isinstance(result, (list, tuple)):
        for item in result:
            yield from messages(item, like)
    else:
        yield None, RuntimeData.coerce(result, like)


def _several(value: Any) -> Any:
    """One port's share of a mapping: a mapping in it would be a JSON value, not ports."""
    return RuntimeData.json(value) if isinstance(value, dict) else value


async def each(stream: Any) -> AsyncGenerator[Any, None]:
    """Iterate a generator of either kind and close it in any case."""
    if inspect.isasyncgen(stream):
        try:
            async for item in stream:
                yield item
        finally:
            await stream.aclose()
        return
    try:
        for item in stream:
            yield item
    finally:
        stream.close()


class OutputPorts:
    """Which connected port a message goes to: checks names once, then answers from a table."""

    def __init__(self, node: MultiprocessNode, connected: tuple[str, ...]) -> None:
        self._node = node
        self._connected = connected
        self._declared = tuple(node.outputs) if node.outputs is not None else None
        self._table: dict[str | None, str | None] = {port: port for port in connected}

    def find(self, port: str | None) -> str | None:
        """Give the connected port for a name (None: the default), or None if it is declared but not connected.

        NodeError for a name that the node does not have.
        """
        try:
            return self._table[port]
        except KeyError:
            if port is not None:
                self._check_declared(port)
            found = self._table[port] = self._default() if port is None else None
            return found

    def _default(self) -> str | None:
        named = [port for port in self._declared or () if port != EVERY_NAME]
        if named:
            return named[0] if named[0] in self._connected else None
        if len(self._connected) <= 1:
            return self._connected[0] if self._connected else None
        if "output" in self._connected:
            return "output"
        example = f"{{'{self._connected[0]}': data}}"
        raise NodeError(
            f"node '{self._node.node_id}' returned a message without a port, but it has the outputs "
            f"{', '.join(self._connected)}: return a mapping like {example}"
        )

    def _check_declared(self, port: str) -> None:
        declared = self._declared
        if declared is None or port in declared or EVERY_NAME in declared:
            return
        names = ", ".join(declared) or "none"
        raise NodeError(f"node '{self._node.node_id}' has no output port '{port}' (it has: {names})")


def check_ports(node: MultiprocessNode, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    """Compare connected ports (name → the channel's data type) with the declared ones; NodeError names the first clash.

    The plan has checked the types of the box already; this is where an author's own class is checked.
    """
    for word, connected, declared in (("input", inputs, node.inputs), ("output", outputs, node.outputs)):
        if declared is None:
            continue
        for port, kind in connected.items():
            wanted = declared.get(port, declared.get(EVERY_NAME))
            if wanted is None:
                names = ", ".join(declared) or "none"
                raise NodeError(f"node '{node.node_id}' has no {word} port '{port}' (it has: {names})")
            if not kinds_match(kind, str(wanted)):
                raise NodeError(f"{word} port '{port}' of node '{node.node_id}' is {wanted}, its channel is {kind}")
