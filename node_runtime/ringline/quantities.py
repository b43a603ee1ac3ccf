"""Kubernetes quantities (``256Mi``, ``1.5Gi``, ``500m``) to numbers and back.

Called by the settings, the manifest models and the CLI's tables. Pure. The grammar is Kubernetes' own
(apimachinery, resource.Quantity) without exponents, which nobody writes by hand.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_SUFFIXES: Final = {
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
}
_QUANTITY: Final = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)([A-Za-z]{0,2})", re.ASCII)
_LARGEST: Final = 2**63 - 1


def parse_quantity(value: str | int) -> int:
    """Bytes of a quantity: ``"256Mi"`` → 268435456, an integer is bytes already.

    Raises `ValueError` with one sentence when it is no quantity, negative, or no whole number of bytes.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"{value!r} is not a quantity; write bytes, or a text like 256Mi")  # noqa: TRY004  (for pydantic)
    amount = Decimal(value) if isinstance(value, int) else _decimal(value, _SUFFIXES)
    if not 0 <= amount <= _LARGEST:
        raise ValueError(f"{value} is out of range; quantities go from 0 to 2^63-1 bytes")
    if amount != int(amount):
        raise ValueError(f"{value!r} is not a whole number of bytes; write bytes, or a text like 256Mi")
    return int(amount)


def parse_cpu(value: str | int) -> float:
    """Cores of a CPU quantity: ``"500m"`` → 0.5. Raises `ValueError` with one sentence."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"{value!r} is not an amount of CPU; write cores, or a text like 500m")  # noqa: TRY004
    if isinstance(value, int):
        return float(value)
    return float(_decimal(value, _SUFFIXES | {"m": Decimal("0.001")}))


def format_quantity(size_bytes: int) -> str:
    """Write bytes with the largest binary suffix that stays exact: 268435456 → ``256Mi``."""
    for suffix in ("Ti", "Gi", "Mi", "Ki"):
        unit = int(_SUFFIXES[suffix])
        if size_bytes and size_bytes % unit == 0:
            return f"{size_bytes // unit}{suffix}"
    return str(size_bytes)


def round_quantity(size_bytes: int) -> str:
    """Write bytes for people, rounded up: 168820736 → ``161Mi``, below 1 MiB ``12Ki``."""
    suffix = "Mi" if size_bytes >= 1 << 20 else "Ki"
    unit = int(_SUFFIXES[suffix])
    return f"{-(-size_bytes // unit)}{suffix}"


def _decimal(text: str, suffixes: dict[str, Decimal]) -> Decimal:
    match = _QUANTITY.fullmatch(text)
    if match and match[2] in suffixes:
        return Decimal(match[1]) * suffixes[match[2]]
    known = ", ".join(suffix for suffix in suffixes if suffix)
    raise ValueError(f"{text!a} is not a quantity; write a number with one of the suffixes {known}, like 256Mi")
