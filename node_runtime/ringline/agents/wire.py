"""Batches between a pool and its workers, in one message each way: fixed rows for steps, JSON for what is rare.

Orders carry steps and, before them, agents to make or to drop. Answers carry outcomes and, before them, what else is to be told.
Values and texts follow the rows. Any bytes may arrive, so reading believes nothing.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ringline.errors import DataError

_HEAD: Final = struct.Struct("<QQIII")
_STEP: Final = struct.Struct("<QQIII")
_OUTCOME: Final = struct.Struct("<QIII")
KINDS: Final = ("done", "failed", "unsendable", "expired", "cancelled")
"""What became of a step, as its row says it."""


class Order(NamedTuple):
    """One step to do: `deadline_ns` of CLOCK_MONOTONIC (0: none), the agent's number, the slot of its cancel mark, its value."""

    step: int
    deadline_ns: int
    agent: int
    slot: int
    blob: Any


class Row(NamedTuple):
    """What became of one step, how long it took, and its packed result (or error)."""

    step: int
    kind: int
    busy_us: int
    blob: Any


class Orders(NamedTuple):
    """A batch to a worker of this epoch, whose answers may wait so long for company."""

    epoch: int
    linger_us: int
    others: list[list[Any]]
    steps: list[Order]


class Answers(NamedTuple):
    """A batch of a worker of this epoch, which holds so many bytes of memory and does so many steps at once."""

    epoch: int
    resident: int
    hands: int
    said: list[list[Any]]
    rows: list[Row]


def pack_orders(epoch: int, linger_us: int, others: list[list[Any]], steps: Sequence[Order]) -> bytes:
    """Put orders into one message."""
    return _packed((epoch, 0, linger_us), others, _STEP, steps)


def unpack_orders(data: Any) -> Orders:
    """Take orders apart; the values are views. Raises `DataError`."""
    epoch, _, linger_us, others, rows = _unpacked(data, _STEP)
    return Orders(epoch, linger_us, others, [Order(*row) for row in rows])


def pack_answers(epoch: int, resident: int, hands: int, said: list[list[Any]], rows: Sequence[Row]) -> bytes:
    """Put answers into one message."""
    return _packed((epoch, resident, hands), said, _OUTCOME, rows)


def unpack_answers(data: Any) -> Answers:
    """Take answers apart; the values are views. Raises `DataError`."""
    epoch, resident, hands, said, rows = _unpacked(data, _OUTCOME)
    return Answers(epoch, resident, hands, said, [Row(*row) for row in rows])


def _packed(numbers: tuple[int, int, int], others: list[list[Any]], row: struct.Struct, rows: Sequence[Any]) -> bytes:
    text = json.dumps(others, separators=(",", ":")).encode() if others else b""
    parts = [_HEAD.pack(*numbers, len(text), len(rows)), text]
    parts += [row.pack(*each[:-1], len(each[-1])) for each in rows]
    parts += [each[-1] for each in rows]
    return b"".join(parts)


def _unpacked(data: Any, row: struct.Struct) -> tuple[int, int, int, list[list[Any]], list[tuple[Any, ...]]]:
    view = memoryview(data).cast("B")
    try:
        epoch, number, small, length, count = _HEAD.unpack_from(view)
        at = _HEAD.size + length
        text = bytes(view[_HEAD.size : at])
        end = at + count * row.size
        heads = list(row.iter_unpack(view[at:end]))
        others = json.loads(text) if length else []
    except (struct.error, ValueError, RecursionError) as error:
        raise DataError(f"a batch of agents' steps can't be read: {error}") from None
    rows = []
    for head in heads:
        begin, end = end, end + head[-1]
        rows.append((*head[:-1], view[begin:end]))
    if len(heads) != count or end != len(view) or not isinstance(others, list):
        raise DataError("a batch of agents' steps is cut off")
    return epoch, number, small, others, rows
