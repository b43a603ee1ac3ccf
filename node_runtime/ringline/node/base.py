"""The classes that node authors inherit from.

Called by the runner (in a node's process) and by `ringline.testing.NodeHarness` (in a test), which both attach a
`Services` object before `initialize`. Everything that an author may use is here; how messages come and go is not.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ringline.errors import NodeConfigError, NodeError
from ringline.node.counters import NodeMetrics

if TYPE_CHECKING:
    import numpy as np
    from pydantic import BaseModel

    from ringline.data import DataType, RuntimeData

ANY = "any"
"""A port that takes every data type."""


class Services(Protocol):
    """What surrounds a running node: the runner's side of `emit`, `loan` and `report_progress`."""

    session_id: str
    labels: Mapping[str, Any]

    def progress(self, fraction: float, message: str) -> None:
        """Report how far `initialize` is."""

    def emit(self, port: str | None, value: Any) -> None:
        """Send at once; blocks while the channel is full."""

    async def emit_async(self, port: str | None, value: Any) -> None:
        """Send at once; lets the event loop run while the channel is full."""

    def loan(self, shape: int | tuple[int, ...], dtype: Any, port: str | None) -> np.ndarray[Any, Any]:
        """Give a writable array in a block of the node's heap."""

    def interrupted(self) -> bool:
        """Say whether the work in progress was flushed, cancelled or is to end."""


class NodeLog(logging.LoggerAdapter[logging.Logger]):
    """A logger that adds the node's labels to what the caller gives as `extra`."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class MultiprocessNode:
    """A vertex of the graph, run in a process of its own.

    Override `process`, and any of the others that you need; each may be ``def`` or ``async def``. A class with
    ``async def process`` runs on an event loop, any other one in a plain blocking loop, which is quicker.

    `inputs` and `outputs` map port names to data types (``"any"`` for all, the name ``"*"`` for any name that a
    connection uses). A class that declares none has the ports that connections name. `Config` is an optional pydantic
    model: `config` is checked against it, filled with its defaults, and offered as `options` too. `extra` names the pip
    extra that the class needs. The class docstring is its documentation.
    """

    inputs: ClassVar[Mapping[str, DataType | str] | None] = None
    outputs: ClassVar[Mapping[str, DataType | str] | None] = None
    Config: ClassVar[type[BaseModel] | None] = None
    extra: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    ends_with_first_input: ClassVar[bool] = False
    """True for a join that ends as soon as one of its inputs ended; else a node ends when all have."""
    one_to_one: ClassVar[bool] = False
    """True for a class that sends exactly one message at each connected output for each message that it takes: a join behind
    two such branches of one fan-out may wait for ever, any other needs a limit."""
    wait_limit: ClassVar[str] = ""
    """Of a join: the key of its config that says how long, in ms, a message waits for its partners; 0 there is for ever."""
    node_type: ClassVar[str] = ""
    """The name under which the class was registered first."""

    node_id: str
    config: dict[str, Any]
    options: Any = None
    """The checked `Config` instance; None for a class without a `Config`."""
    session_id: str = ""
    input_ports: tuple[str, ...] = ()
    """The connected input ports, in the plan's order; set before `initialize`."""
    output_ports: tuple[str, ...] = ()
    """The connected output ports, in the plan's order; set before `initialize`."""
    log: NodeLog
    metrics: NodeMetrics
    _services: Services | None = None

    def __init__(self, node_id: str, config: Mapping[str, Any] | None = None) -> None:
        self.node_id = node_id
        self.config = self._checked(dict(config or {}))
        self.metrics = NodeMetrics()
        self.log = NodeLog(logging.getLogger(f"ringline.node.{node_id}"), {"node": node_id})

    def _checked(self, config: dict[str, Any]) -> dict[str, Any]:
        if self.Config is None:
            return config
        from pydantic import ValidationError

        try:
            self.options = self.Config.model_validate(config)
        except ValidationError as error:
            raise NodeConfigError(self._refusal(error)) from None
        return self.options.model_dump()  # type: ignore[no-any-return]

    def _refusal(self, error: Any) -> str:
        from ringline.wording import sentence

        known = list(self.Config.model_fields) if self.Config is not None else []
        findings = (f"{'.'.join(map(str, ('config', *e['loc'])))} {sentence(e, known)}" for e in error.errors())
        kind = self.node_type or type(self).__name__
        return f"node '{self.node_id}' ({kind}) refuses its configuration: {'; '.join(findings)}"

    # What an author overrides. All may be `async def`.

    def initialize(self) -> Any:
        """Load models and resources; the node is ready when this and `warmup` have returned."""

    def warmup(self) -> Any:
        """Run the model once on invented data, so that the first real message is as quick as the others."""

    def process(self, data: RuntimeData) -> Any:
        """Handle one message; `data.port` says at which input it came.

        Return (or, as a generator, yield) None for no output, a RuntimeData for the default output, a list of
        them, or a mapping from port to one or several. An exception ends the node, hence the session.
        """
        raise NodeError(f"{type(self).__name__} defines no process(data), so it can't take {data.type} messages")

    def on_flush(self) -> Any:
        """Forget what was gathered from earlier messages: they were flushed (a user interrupted, say)."""

    def on_parameters(self, parameters: dict[str, Any]) -> Any:
        """Take new parameters while running."""

    def on_input_end(self, port: str) -> Any:
        """Stop waiting for this input: it has ended, and its messages were processed. May return or yield like `process`.

        Called once for each input, also for the only or last one, then before `on_end`. A flush does not bring it back.
        """

    def on_end(self) -> Any:
        """Send what is left: all inputs have ended. May return or yield like `process`."""

    def cleanup(self) -> Any:
        """Free what `initialize` took; also called after an error and when the session is stopped."""

    # What an author calls.

    @property
    def interrupted(self) -> bool:
        """True once the message in work was flushed or cancelled: a long loop may look and return early."""
        return self._services is not None and self._services.interrupted()

    def report_progress(self, fraction: float, message: str = "") -> None:
        """Tell the application how far `initialize` is: 0..1 and a short sentence."""
        if self._services is not None:
            self._services.progress(min(1.0, max(0.0, float(fraction))), message)

    def emit(self, port: str | None, data: Any) -> None:
        """Send a message from inside `process`, before it returns; blocks while the channel is full."""
        self._connected().emit(port, data)

    async def emit_async(self, port: str | None, data: Any) -> None:
        """Send a message from an async node; other tasks run while the channel is full."""
        await self._connected().emit_async(port, data)

    def loan(
        self, shape: int | tuple[int, ...], dtype: Any = "uint8", port: str | None = None
    ) -> np.ndarray[Any, np.dtype[Any]]:
        """Give a writable array in shared memory: fill it and return a message made of it, which is then not copied.

        `shape` counts elements of `dtype`. The array must be sent (or dropped) by the `process` that borrowed it.
        """
        return self._connected().loan(shape, dtype, port)

    def _connected(self) -> Services:
        if self._services is None:
            raise NodeError(f"node '{self.node_id}' can send only while it runs in a session or a NodeHarness")
        return self._services

    def _attach(self, services: Services, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        """Connect the node with what surrounds it; called once, before `initialize`."""
        self._services = services
        self.session_id = services.session_id
        self.input_ports, self.output_ports = inputs, outputs
        logger = logging.getLogger(f"ringline.node.{self.node_id}")
        self.log = NodeLog(logger, {**services.labels, "node": self.node_id})


Node = MultiprocessNode
"""The short name of the same class."""


class SourceNode(MultiprocessNode):
    """A node without inputs: `produce` yields messages until it ends, which ends its outputs."""

    inputs: ClassVar[Mapping[str, DataType | str] | None] = {}

    def produce(self) -> Any:
        """Yield messages as `process` would; ``def`` or ``async def``. It is closed when the session stops."""
        raise NodeError(f"{type(self).__name__} defines no produce()")


def create(cls: type[MultiprocessNode], node_id: str, config: Mapping[str, Any]) -> MultiprocessNode:
    """Make a node, also of a class whose `__init__` forgot to call ours."""
    node = cls(node_id, dict(config))
    if "metrics" not in vars(node):
        MultiprocessNode.__init__(node, node_id, config)
    return node
