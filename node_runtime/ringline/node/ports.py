"""A running node's two ends of its channels: `Inbox` takes messages of all inputs in turn, `Outbox` sends them.

Both drivers use them. Only here is it decided whether a message is copied into a block, passes on in the block in which it
came, or lies in a loaned one already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ringline.data import RuntimeData, decode, encode, encode_meta, forward_meta
from ringline.data.arrays import owner
from ringline.errors import NodeError
from ringline.node.outputs import OutputPorts, messages

if TYPE_CHECKING:
    import numpy as np

    from ringline.shm import Arena, Loan, Reader, Writer


class Attempt(NamedTuple):
    """One message on its way. `send` tries once: False if the policy dropped it, None if there is no room yet."""

    send: Callable[[], bool | None]
    writer: Writer


class Inbox:
    """All inputs of a node; none is served twice while another one waits. `feedback` names those that close a cycle."""

    def __init__(
        self, arena: Arena, inputs: Mapping[str, str], session_id: str, feedback: Collection[str] = ()
    ) -> None:
        self._readers: list[tuple[str, Reader]] = [(port, arena.reader(channel)) for port, channel in inputs.items()]
        self._ending = [reader for port, reader in self._readers if port not in feedback]
        self._session_id = session_id
        self._turn = 0
        self._told: set[str] = set()
        self.news: list[str] = []
        """Inputs that have ended and are read, of which the node was not told yet: the driver takes them away."""

    def take(self) -> RuntimeData | None:
        """Give the next message, or None if all inputs are empty now."""
        readers = self._readers
        for _ in readers:
            port, reader = readers[self._turn]
            self._turn += 1
            if self._turn == len(readers):
                self._turn = 0
            lease = reader.next()
            if lease is not None:
                return decode(
                    lease.kind,
                    lease.meta,
                    lease,
                    timestamp=lease.timestamp,
                    origin=lease.origin,
                    sequence=lease.sequence,
                    port=port,
                    session_id=self._session_id,
                )
            if port not in self._told and reader.ended:
                self._told.add(port)
                self.news.append(port)
        return None

    def ended(self, *, with_first: bool) -> bool:
        """Say whether all inputs from outside (or any, for a join that ends with its first) have ended and are read."""
        ends = [reader.ended for reader in self._ending]
        return any(ends) if with_first and ends else all(ends)

    def want(self, wanted: bool) -> None:
        """Say whether `Arena.arm` is to look at the inputs: not while only room is waited for."""
        for _, reader in self._readers:
            reader.wanted = wanted

    def __len__(self) -> int:
        return len(self._readers)


class Outbox:
    """All outputs of a node. `origin` is when the message in work entered the session; its results inherit it."""

    def __init__(
        self, arena: Arena, routes: OutputPorts, outputs: Mapping[str, Sequence[str]], session_id: str
    ) -> None:
        self._writers: dict[str, Writer] = {port: arena.writer(channels) for port, channels in outputs.items()}
        self._routes = routes
        self._found: dict[str | None, Writer | None] = {}
        self._session_id = session_id
        self._loans: dict[Loan, Writer] = {}
        self.origin = 0
        self.blocked = False
        """True inside a blocking send: only then may a shutdown break in."""

    def send(self, result: Any, like: RuntimeData | None) -> None:
        """Send everything in a result, blocking while a channel is full."""
        if type(result) is RuntimeData:
            self.send_one(None, result)
            return
        for port, data in messages(result, like):
            self.send_one(port, data)

    def attempts(self, result: Any, like: RuntimeData | None) -> Iterator[Attempt]:
        """Give, for each message in a result, a function that tries to send it."""
        for port, data in messages(result, like):
            attempt = self.attempt(port, data)
            if attempt is not None:
                yield attempt

    def attempt(self, port: str | None, data: RuntimeData) -> Attempt | None:
        """Give a function that tries to send a message; None if its port is not connected."""
        writer = self._writer(port)
        return None if writer is None else Attempt(self._sender(writer, data), writer)

    def loan(self, shape: int | tuple[int, ...], dtype: Any, port: str | None) -> np.ndarray[Any, Any]:
        """Give a writable array in a block of this node's heap."""
        import numpy as np

        writer = self._writer(port)
        if writer is None:
            return np.empty(shape, dtype)
        kind = np.dtype(dtype)
        count = shape if isinstance(shape, int) else int(np.prod(shape, dtype=np.int64))
        if kind.hasobject or count < 0:
            raise NodeError(f"loan({shape!r}, {dtype!r}) is not an array that can be sent")
        loan = writer.loan(count * kind.itemsize)
        self._loans[loan] = writer
        return np.frombuffer(memoryview(loan), kind, count).reshape(shape)

    def forget_loans(self) -> None:
        """Give back the loans that the finished `process` did not send."""
        loans, self._loans = self._loans, {}
        for loan in loans:
            loan.discard()

    @property
    def has_loans(self) -> bool:
        return bool(self._loans)

    def end(self) -> None:
        """End the stream of every output."""
        for writer in self._writers.values():
            writer.end()

    def _writer(self, port: str | None) -> Writer | None:
        try:
            return self._found[port]
        except KeyError:
            name = self._routes.find(port)
            writer = self._found[port] = None if name is None else self._writers[name]
            return writer

    def send_one(self, port: str | None, data: RuntimeData) -> None:
        """Send one message, blocking while a channel is full."""
        writer = self._writer(port)
        if writer is None:
            return
        timestamp, origin = data.timestamp, data.origin or self.origin or time.monotonic_ns()
        self.blocked = True
        try:
            lease: Any = data.lease or _lease_shown(data)
            loan = self._loan_of(data, writer) if self._loans else None
            if lease is not None:
                kind, meta = forward_meta(data, lease, self._session_id)
                writer.forward(lease, kind, meta, timestamp, origin)
            elif loan is not None:
                writer.commit(loan, *encode_meta(data, self._session_id), timestamp, origin)
            else:
                kind, meta, payload, _ = encode(data, self._session_id)
                writer.send(payload, kind, meta, timestamp, origin)
        finally:
            self.blocked = False

    def _sender(self, writer: Writer, data: RuntimeData) -> Callable[[], bool | None]:
        timestamp, origin = data.timestamp, data.origin or self.origin or time.monotonic_ns()
        lease: Any = data.lease or _lease_shown(data)
        loan = self._loan_of(data, writer) if self._loans else None
        if lease is not None:
            kind, meta = forward_meta(data, lease, self._session_id)
            return lambda: writer.try_forward(lease, kind, meta, timestamp, origin)
        if loan is not None:
            kind, meta = encode_meta(data, self._session_id)
            return lambda: writer.try_commit(loan, kind, meta, timestamp, origin)
        kind, meta, payload, _ = encode(data, self._session_id)
        return lambda: writer.try_send(payload, kind, meta, timestamp, origin)

    def _loan_of(self, data: RuntimeData, writer: Writer) -> Loan | None:
        """Find the loan that a message fills; sent through another port, or a part of it only, it is copied."""
        loan = _whole_block(data)
        if loan is None or self._loans.get(loan) is not writer:
            return None
        del self._loans[loan]
        return loan  # type: ignore[no-any-return]


def _lease_shown(data: RuntimeData) -> Any:
    """Find the lease whose whole block a message's array shows: that block can pass on without a copy."""
    block = _whole_block(data)
    return None if getattr(block, "released", True) else block


def _whole_block(data: RuntimeData) -> Any:
    """Find the block (a lease or a loan) all of whose bytes are the message's array."""
    array = data.payload
    if getattr(array, "base", None) is None or not array.flags.c_contiguous:
        return None
    block = owner(array)
    return block if getattr(block, "nbytes", -1) == array.nbytes else None
