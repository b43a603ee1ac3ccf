"""Does a JSON value have the shape that its type documents? Used for every `--json` of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict


def misfits(value: Any, hint: Any, place: str = "$") -> Iterator[str]:
    """Yield each place where a value is not what its type says: nothing more, nothing less, nothing else."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        yield from misfits(value, arguments[0], place)
    elif is_typeddict(hint):
        yield from _object(value, hint, place)
    elif origin is Literal:
        yield from () if value in arguments else [f"{place}: {value!r} is not one of {arguments}"]
    elif origin in (Union, UnionType):
        if all(list(misfits(value, each, place)) for each in arguments):
            yield f"{place}: {value!r} is none of {arguments}"
    elif origin is list:
        yield from _array(value, arguments[0], place)
    elif origin is dict:
        yield from _mapping(value, arguments[1], place)
    elif not _is(value, hint):
        yield f"{place}: {value!r} is no {hint.__name__}"


def _object(value: Any, hint: Any, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: {value!r} is no object"
        return
    fields = get_type_hints(hint, include_extras=True)
    yield from (f"{place}.{name} is missing" for name in fields.keys() - value.keys())
    yield from (f"{place}.{name} is not documented" for name in value.keys() - fields.keys())
    for name in fields.keys() & value.keys():
        yield from misfits(value[name], fields[name], f"{place}.{name}")


def _array(value: Any, hint: Any, place: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{place}: {value!r} is no array"
        return
    for number, item in enumerate(value):
        yield from misfits(item, hint, f"{place}[{number}]")


def _mapping(value: Any, hint: Any, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: {value!r} is no object"
        return
    for name, item in value.items():
        yield from misfits(item, hint, f"{place}.{name}")


def _is(value: Any, hint: Any) -> bool:
    if hint is object:
        return True
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, NoneType if hint is None else hint)
