# ruff: noqa: PYI021  (docs/reference/shm.md is made of these docstrings: the C code has no place for them)
"""The C extension: sources in csrc/, types and documentation here."""

from collections.abc import Sequence
from typing import Self, TypeAlias, final

from typing_extensions import Buffer

HOST_BYTE: int
ZYGOTE_BYTE: int
LAYOUT_VERSION: int

ChannelRow: TypeAlias = tuple[
    str, str, str, int, int, int, int, int, int, int, int, int, int, int, int, int, int, float, int
]
NodeRow: TypeAlias = tuple[str, int, int, int, int, int, int, tuple[int, ...], float, int]

def probe_lock(directory: str, byte: int, /) -> bool: ...
def hold_lock(directory: str, byte: int, /) -> object | None: ...
def load_word(buffer: Buffer, offset: int, /) -> int: ...
def store_word(buffer: Buffer, offset: int, value: int, /) -> None: ...
def wait_word(buffer: Buffer, offset: int, seen: int, seconds: float, /) -> bool: ...
def wake_word(buffer: Buffer, offset: int, /) -> None: ...

@final
class Lease:
    """A message that this process holds: a read-only buffer. Its block stays untouched until the lease and every view of it are gone."""

    @property
    def kind(self) -> int:
        """The number that the writer gave."""
    @property
    def meta(self) -> bytes:
        """The metadata bytes, a copy."""
    @property
    def timestamp(self) -> int:
        """Media time in ns, as the writer gave it."""
    @property
    def origin(self) -> int:
        """CLOCK_MONOTONIC in ns when it entered, or 0."""
    @property
    def sequence(self) -> int:
        """Position in the channel, from 0; a gap is what was dropped."""
    @property
    def nbytes(self) -> int:
        """Bytes of the payload."""
    @property
    def address(self) -> int:
        """Offset of the payload in the arena: the same in every process."""
    @property
    def channel(self) -> str:
        """Name of the channel it came through."""
    @property
    def released(self) -> bool:
        """Whether `release` was called."""
    def release(self) -> None:
        """Give the block back now, or when the last view of it is gone. May be repeated."""
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Loan:
    """A block to be filled: a writable buffer that `commit` publishes without a copy."""

    @property
    def nbytes(self) -> int:
        """Bytes of the payload."""
    @property
    def address(self) -> int:
        """Offset of the payload in the arena."""
    @property
    def spent(self) -> bool:
        """Whether it was committed or discarded."""
    def discard(self) -> None:
        """Give the block back unsent."""
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Reader:
    """The reading end of one channel. One thread at a time calls `next`; leases may be released by any."""

    wanted: bool
    """Whether `Arena.wait` and `Arena.arm` look at this reader; True unless set."""
    @property
    def held(self) -> int:
        """Messages taken and not yet given back."""
    @property
    def ended(self) -> bool:
        """Whether everything was read and the writer ended the stream."""
    @property
    def channel(self) -> str:
        """Name of the channel."""
    def next(self) -> Lease | None:
        """Take the oldest message, or None. Never waits.

        Raises `LeaseQuotaError` when capacity + 16 messages are held and another one waits, `RingCorruptError` when shared memory fails
        its checks, `Fenced` when the host declared this process dead.
        """

@final
class Writer:
    """The writing end of one or several channels: all get the same block."""

    @property
    def block_timeout_s(self) -> float | None:
        """The shortest block time-out of its channels in s; None if they wait for ever."""
    def send(
        self,
        payload: Buffer,
        kind: int,
        meta: bytes,
        timestamp: int,
        origin: int = 0,
        /,
        *,
        timeout_s: float | None = None,
    ) -> bool:
        """Copy a payload into a block and publish it. False if the policy dropped it.

        `kind` (32 bits), `meta` (at most 64 KiB), `timestamp` and `origin` (64 bits) travel as they are. Waits for room where the policy
        says so, at most `timeout_s`: then `ChannelFullError`. `MessageTooLargeError`: larger than the plan allows.
        """
    def try_send(self, payload: Buffer, kind: int, meta: bytes, timestamp: int, origin: int = 0, /) -> bool | None:
        """Send without waiting: None if there is no room now."""
    def commit(
        self, loan: Loan, kind: int, meta: bytes, timestamp: int, origin: int = 0, /, *, timeout_s: float | None = None
    ) -> bool:
        """Publish a filled loan without a copy; otherwise like `send`. The loan is spent unless this raises."""
    def try_commit(self, loan: Loan, kind: int, meta: bytes, timestamp: int, origin: int = 0, /) -> bool | None:
        """Commit without waiting: None if there is no room now; the loan stays."""
    def forward(
        self,
        lease: Lease,
        kind: int,
        meta: bytes,
        timestamp: int,
        origin: int = 0,
        /,
        *,
        timeout_s: float | None = None,
    ) -> bool:
        """Pass a held message on in the block in which it came, with other metadata; otherwise like `send`."""
    def try_forward(self, lease: Lease, kind: int, meta: bytes, timestamp: int, origin: int = 0, /) -> bool | None:
        """Forward without waiting: None if there is no room now."""
    def loan(self, nbytes: int, /, *, timeout_s: float | None = None) -> Loan:
        """Borrow a block of so many bytes to fill; waits for memory like `send`."""
    def try_loan(self, nbytes: int, /) -> Loan | None:
        """Borrow a block without waiting: None if there is no memory now."""
    def end(self) -> None:
        """End the stream: readers see `ended` when they have read everything."""
    def give_up(self) -> bool:
        """Drop, and count as timed out, what a `try_` call could not send. Returns False."""
    def cancel(self) -> None:
        """Forget what a `try_` call could not send, so that waiting no longer looks for its room."""

class Arena:
    """One process attached to an arena; see `ringline.shm.Arena`, which creates and attaches it."""

    def __new__(
        cls, directory: str, node: str, table: bytes | None, mode: int, host: bool, timeout_s: float | None, /
    ) -> Self: ...
    @property
    def node(self) -> str:
        """The name under which this process attached."""
    @property
    def epoch(self) -> int:
        """Which incarnation of that name it is, from 1."""
    @property
    def index(self) -> int: ...
    @property
    def flush_generation(self) -> int: ...
    @property
    def poll_fd(self) -> int:
        """A descriptor that becomes readable after `arm`, for event loops."""
    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
    def close(self) -> None:
        """Detach: held messages are void for the arena, views that still live stay readable. May be repeated."""
    def writer(self, channels: Sequence[str], /) -> Writer:
        """Make the writing end of these channels, which this process must be the writer of. One writer per channel and process."""
    def reader(self, channel: str, /) -> Reader:
        """Make the reading end of a channel, which this process must be the reader of."""
    def wait(self, timeout_s: float | None = None) -> bool:
        """Sleep until a message can be read, room has come for what a `try_` call could not send, or `wake` is called.

        False after `timeout_s` (None: never). Costs no CPU.
        """
    def wake(self) -> None:
        """End the `wait` of another thread of this process."""
    def arm(self, inputs: bool = True) -> bool:
        """Ask for `poll_fd` to become readable on the next event. True: there is one already, do not sleep."""
    def disarm(self) -> None:
        """Take `arm` back, and empty `poll_fd`."""
    def stamp(self) -> int: ...
    def beat(self, busy: bool, /) -> None: ...
    def observe(self, seconds: float, /) -> None: ...
    def lock_held(self, node: str, /) -> bool:
        """Host: whether the process of this name lives."""
    def reclaim(self, node: str, /, *, keep_queue: bool) -> bool:
        """Host: give back what a dead process held. False: it lives, or a stopped neighbour is in the way; try again.

        `keep_queue`: what waits for it goes to its next incarnation; else it is dropped as `reader_lost`.
        """
    def fence(self, node: str, /) -> bool:
        """Host: let a process that is to be killed publish nothing more. False while it is inside a commit."""
    def flush(self, nodes: Sequence[str], channels: Sequence[str], /) -> None:
        """Host: drop what is queued in these channels and what these programs made of earlier input."""
    def end(self, channel: str, /) -> None: ...
    def epoch_of(self, node: str, /) -> int:
        """Give the current or next incarnation of a name."""
    def fenced_nodes(self) -> list[str]: ...
    def _channels(self) -> list[ChannelRow]: ...
    def _nodes(self) -> list[NodeRow]: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *args: object) -> None: ...

class View:
    def __new__(cls, directory: str, /) -> Self: ...
    def close(self) -> None: ...
    def _channels(self) -> list[ChannelRow]: ...
    def _nodes(self) -> list[NodeRow]: ...
