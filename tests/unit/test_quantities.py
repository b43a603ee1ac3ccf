"""Quantities and the wording of refusals."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringline.quantities import format_quantity, parse_cpu, parse_quantity, round_quantity
from ringline.wording import hint, listed, nearest, sentence, shown


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("256Mi", 268435456),
        ("16Mi", 16777216),
        ("1Gi", 1 << 30),
        ("1.5Ki", 1536),
        ("2k", 2000),
        ("3M", 3_000_000),
        ("1T", 10**12),
        ("4096", 4096),
        (0, 0),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_a_quantity_is_read_as_kubernetes_reads_it(text: str | int, size_bytes: int) -> None:
    assert parse_quantity(text) == size_bytes


@pytest.mark.parametrize("text", ["1gb", "256MB", "", "Mi", "-1Mi", "1 Mi", "1e3", "٣Mi", "0x10", "500m", "1.5.5Ki"])
def test_a_text_that_is_no_quantity_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a quantity; write .* like 256Mi"):
        parse_quantity(text)


@pytest.mark.parametrize("value", [True, 1.5, None, [1]])
def test_only_texts_and_integers_are_quantities(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(value)
    with pytest.raises(ValueError, match="is not an amount of CPU"):
        parse_cpu(value)


@pytest.mark.parametrize("value", [2**63, -1, "9223372036854775808", "99999999Ti"])
def test_a_quantity_beyond_63_bits_is_refused(value: str | int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        parse_quantity(value)


def test_parts_of_a_byte_are_refused() -> None:
    with pytest.raises(ValueError, match="not a whole number of bytes"):
        parse_quantity("0.3")


@pytest.mark.parametrize(("text", "cores"), [("500m", 0.5), ("2", 2.0), (1, 1.0), ("0.25", 0.25)])
def test_cpu_may_be_written_in_thousandths(text: str | int, cores: float) -> None:
    assert parse_cpu(text) == cores


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_a_written_quantity_reads_back_exactly(size_bytes: int) -> None:
    assert parse_quantity(format_quantity(size_bytes)) == size_bytes


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(168_820_736, "161Mi"), (12_000, "12Ki"), (1 << 20, "1Mi"), (1, "1Ki")]
)
def test_a_quantity_for_people_is_rounded_up(size_bytes: int, text: str) -> None:
    assert round_quantity(size_bytes) == text


def test_the_nearest_name_ignores_case_and_separators() -> None:
    known = ["maxRestarts", "maxBackoffSeconds", "channelCapacity"]
    assert nearest("max_restarts", known) == "maxRestarts"
    assert nearest("chanel-capacity", known) == "channelCapacity"
    assert nearest("zebra", known) is None


def test_a_hint_lists_what_exists_when_nothing_is_near() -> None:
    assert hint("zebra", ["b", "a"]) == "known: a, b"
    assert hint("zebra", []) == "nothing may be written here"
    assert listed([]) == "nothing"


def test_a_shown_value_is_ascii_on_one_line_and_short() -> None:
    text = shown("ä\n" + "x" * 1000)
    assert text.isascii() is False  # only the mark of the cut
    assert text.startswith("'\\xe4\\n")
    assert len(text) < 70


def test_an_error_without_our_wording_keeps_pydantics() -> None:
    entry = {"type": "strange", "msg": "Value is strange", "loc": ("a",), "input": 3}
    assert sentence(entry) == "value is strange, got 3"
