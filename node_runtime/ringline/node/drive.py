"""What both drivers have in common: the node, its ports, the host's orders, and which work is out of date.

A driver is the node's `Services`. `SyncDriver` blocks in shared memory and calls `process` directly; `AsyncDriver` runs
an event loop. The runner makes one, lets it initialize the node, connects it, and runs it to its end.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ringline.control.messages import Message, MessageType
from ringline.errors import NodeError
from ringline.node.base import MultiprocessNode, SourceNode
from ringline.node.commands import Commands, Terminated
from ringline.node.cycle import LOOK_AGAIN_S, Cycle
from ringline.node.failure import describe
from ringline.node.ports import Inbox, Outbox

if TYPE_CHECKING:
    import numpy as np

    from ringline.shm import Arena


class Driver(ABC):
    """Drives one node. All methods run in the main thread, except `notify` and `busy_s`."""

    def __init__(
        self, commands: Commands, labels: Mapping[str, Any], session_id: str, report: Callable[[float, str], None]
    ) -> None:
        self.session_id = session_id
        self.labels = labels
        self.commands = commands
        self._report = report
        self._node: MultiprocessNode
        self._arena: Arena
        self._inbox: Inbox
        self._outbox: Outbox | None = None
        self._stamp = 0
        self._cancels = 0
        self._busy_since = 0.0
        self._cycle: Cycle | None = None
        self._look_again_s: float | None = None

    def adopt(self, node: MultiprocessNode) -> None:
        """Take the node that this driver serves."""
        self._node = node

    def connect(self, arena: Arena, inbox: Inbox, outbox: Outbox, cycle: Cycle | None = None) -> None:
        """Take the node's memory and channels; the node is initialized. `cycle` is the one that it closes."""
        self._arena, self._inbox, self._outbox, self._cycle = arena, inbox, outbox, cycle
        self._stamp = arena.flush_generation
        arena.stamp()

    @abstractmethod
    def call(self, result: Any) -> Any:
        """Finish what one of the node's methods returned, whether it is a coroutine or not."""

    @abstractmethod
    def run(self) -> None:
        """Wait for the start, then work until all inputs have ended (a source: until it ends or is stopped)."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the driver itself took; the node is cleaned up."""

    @abstractmethod
    def notify(self) -> None:
        """Wake the driver, because `commands` changed; called in the control thread."""

    def ping(self, _answer: Callable[[], None]) -> bool:
        """Have the event loop call `answer`; False if there is no loop. Called in the control thread."""
        return False

    def busy_s(self) -> float:
        """Give how long the message in work has been in work, in seconds; 0 when there is none."""
        since = self._busy_since
        return time.monotonic() - since if since else 0.0

    @property
    def busy_since(self) -> float:
        """When the message in work began (CLOCK_MONOTONIC), or 0: changes with each message and each item sent."""
        return self._busy_since

    # The node's services.

    @abstractmethod
    def emit(self, port: str | None, value: Any) -> None:
        """Send at once; blocks while the channel is full."""

    @abstractmethod
    async def emit_async(self, port: str | None, value: Any) -> None:
        """Send at once; other tasks run while the channel is full."""

    def progress(self, fraction: float, message: str) -> None:
        """Pass on how far `initialize` is."""
        self._report(fraction, message)

    def interrupted(self) -> bool:
        """Say whether the message in work was flushed or cancelled, or the node is to leave."""
        if self._outbox is None:
            return self.commands.shutdown
        commands = self.commands
        stale = self._arena.flush_generation != self._stamp or commands.cancels != self._cancels
        return stale or commands.shutdown

    def loan(self, shape: int | tuple[int, ...], dtype: Any, port: str | None) -> np.ndarray[Any, Any]:
        """Lend a writable array in the node's heap."""
        return self._sending().loan(shape, dtype, port)

    def _sending(self) -> Outbox:
        if self._outbox is None:
            raise NodeError(
                f"node '{self._node.node_id}' can't send before it is ready: its channels open after initialize"
            )
        return self._outbox

    # What the drivers share.

    @property
    def _source(self) -> SourceNode | None:
        return self._node if isinstance(self._node, SourceNode) else None

    def _begin(self) -> bool:
        """Stamp what comes next; returns whether a flush or cancel came since the last time."""
        generation = self._arena.flush_generation
        if generation == self._stamp and self.commands.cancels == self._cancels:
            return False
        self._stamp, self._cancels = generation, self.commands.cancels
        self._arena.stamp()
        return True

    def _beat(self) -> None:
        self._busy_since = time.monotonic()
        self._arena.beat(True)

    def _idle(self) -> None:
        if self._busy_since:
            self._busy_since = 0.0
            self._arena.beat(False)

    def _check_shutdown(self) -> None:
        if self.commands.shutdown:
            raise Terminated(0)

    def _finished(self) -> bool:
        """Say whether this node, whose inputs are empty now, has nothing more to expect."""
        if not len(self._inbox):
            return self.commands.stopping
        self._look_again_s = None
        if not self._inbox.ended(with_first=self._node.ends_with_first_input):
            return False
        if self._cycle is None or self._cycle.settled():
            return True
        self._look_again_s = LOOK_AGAIN_S
        return False

    def _answer(self, command: Message) -> None:
        """Answer a command of the queue that needs nothing but its flush or cancel to have been carried out."""
        if command.type is MessageType.FLUSH:
            self.commands.answer(command, MessageType.FLUSHED, {"generation": self._stamp})
        elif command.type is MessageType.CANCEL:
            self.commands.answer(command, MessageType.CANCEL, {"cancelled": True})

    def _parameters_taken(self, command: Message, error: BaseException | None) -> None:
        """Answer CONFIG_UPDATE: parameters that a node refuses are reported, and the node goes on."""
        text = describe(error).error if error is not None else ""
        if error is not None:
            self._node.log.warning("on_parameters refused: %s", text)
        self.commands.answer(command, MessageType.CONFIG_UPDATE, {"ok": error is None, "error": text})


def parameters_of(command: Message) -> dict[str, Any]:
    """Give the parameters in a CONFIG_UPDATE: under their own key, or the whole payload."""
    found = command.payload.get("parameters", command.payload)
    return dict(found) if isinstance(found, Mapping) else {}
