"""How a refusal is worded: the nearest name, and one sentence for each way in which a model refuses a value.

Called by the settings (for `runtime.toml` and the environment) and by the manifest's checks, so that both read
alike. Pure. pydantic's own texts speak of its types; ours speak of what the author should write instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

_LONGEST_VALUE: Final = 60
"""Characters of a refused value that are shown: a manifest may hold anything."""


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Find the known name most like `name`, ignoring case and separators, or None when none is alike."""
    plain = {_plain(candidate): candidate for candidate in known}
    found = get_close_matches(_plain(name), plain, n=1, cutoff=cutoff)
    return plain[found[0]] if found else None


def hint(name: str, known: Iterable[str]) -> str:
    """Write the way out for an unknown name: the nearest one, else all that exist."""
    known = sorted(known)
    close = nearest(name, known)
    if close is not None:
        return f"did you mean '{close}'?"
    return f"known: {', '.join(known)}" if known else "nothing may be written here"


def listed(names: Iterable[str]) -> str:
    """Join names for a sentence: ``a, b`` or ``nothing``."""
    return ", ".join(names) or "nothing"


def shown(value: Any) -> str:
    """Show a refused value: ASCII only, on one line, cut at a readable length."""
    text = ascii(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def sentence(error: Mapping[str, Any], known_fields: Iterable[str] = ()) -> str:
    """Word one entry of pydantic's `ValidationError.errors()`; `known_fields` are those of the model around it."""
    kind, context, value = error["type"], error.get("ctx", {}), error.get("input")
    if kind == "extra_forbidden":
        return f"unknown field; {hint(str(error['loc'][-1]), known_fields)}"
    if kind == "missing":
        return "is missing; it is required"
    if value is None:
        return "is null; give it a value or leave the field out"
    if kind == "value_error":
        return str(context["error"])
    if kind in _EXPECTED:
        return f"must be {_EXPECTED[kind]}, not {shown(value)}"
    if kind in _WORDED:
        return _WORDED[kind].format(value=shown(value), **{name: _tidy(bound) for name, bound in context.items()})
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}, got {shown(value)}"


_EXPECTED: Final = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of reasonable size",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text (quote it)",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of fields",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
    "path_type": "a path",
    "is_instance_of": "a path",
}
_WORDED: Final = {
    "literal_error": "{value} is not allowed; write {expected}",
    "greater_than_equal": "must be at least {ge}, not {value}",
    "greater_than": "must be more than {gt}, not {value}",
    "less_than_equal": "must be at most {le}, not {value}",
    "too_long": "has {actual_length} entries, at most {max_length} are allowed",
    "too_short": "has {actual_length} entries, at least {min_length} are needed",
    "string_too_long": "is longer than {max_length} characters",
    "string_too_short": "is empty",
    "string_pattern_mismatch": "{value} does not have the form {pattern}",
}


def _tidy(bound: Any) -> Any:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
