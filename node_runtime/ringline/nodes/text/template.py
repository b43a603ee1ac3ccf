"""Filling values into a text without evaluating anything: the part of `str.format` that can't be misused.

Used by `text_template` and `text_match`. `{name}` and `{a.b.0}` look up keys and list places in JSON values; attributes,
calls and nested formats are refused when the template is read.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from ringline import DataError, NodeConfigError


class Template:
    """A text with `{placeholders}`; `{{` and `}}` stand for braces. NodeConfigError for one that can't be read."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise NodeConfigError(f"template {text!r:.80} can't be read: {error}") from error
        for _, field, form, conversion in parts:
            _check(text, field, form, conversion)
        self._parts = [(literal, field, form or "") for literal, field, form, _ in parts]

    @property
    def fields(self) -> set[str]:
        """The names that it looks up, without the paths behind them."""
        return {field.split(".")[0] for _, field, _ in self._parts if field}

    def fill(self, values: Mapping[str, Any]) -> str:
        """Give the text with the values put in. DataError for a value that is missing or does not fit its format."""
        done = []
        for literal, field, form in self._parts:
            done.append(literal)
            if field is not None:
                done.append(self._value(values, field, form))
        return "".join(done)

    def _value(self, values: Any, path: str, form: str) -> str:
        value = values
        for step in path.split("."):
            try:
                value = value[int(step)] if isinstance(value, list) else value[step]
            except (KeyError, IndexError, ValueError, TypeError):
                raise DataError(
                    f"template {self.text!r:.80} needs '{path}', which this message does not have"
                ) from None
        try:
            return format(value, form) if form else str(value)
        except (ValueError, TypeError) as error:
            raise DataError(f"template {self.text!r:.80}: '{path}' does not fit the format '{form}': {error}") from None


def _check(text: str, field: str | None, form: str | None, conversion: str | None) -> None:
    if field is None:
        return
    steps = field.split(".")
    if not all(step.replace("_", "").replace("-", "").isalnum() for step in steps) or steps[0].isdigit():
        raise NodeConfigError(
            f"template {text!r:.80}: '{{{field}}}' is not a name like {{text}} or a path like {{user.name}}"
        )
    if conversion or "{" in (form or "") or len(form or "") > 8:
        raise NodeConfigError(
            f"template {text!r:.80}: '{{{field}}}' has a format that is not allowed; use one like {{value:.1f}}"
        )
