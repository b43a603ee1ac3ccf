"""YAML text to plain values with the line of each, safely: texts, numbers, truth values, nulls, lists, mappings.

Called by the manifest reader. PyYAML parses; the values are built here from its events, because its constructors take
the last of two equal keys, expand aliases without limit, recurse without limit and forget the lines. No tag makes an
object. What differs from YAML 1.1: dates and ``1:30`` stay texts (JSON has neither), merge keys are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from ringline.errors import ManifestError, Problem
from ringline.graph.source import Path, place_of
from ringline.wording import shown

MAX_DEPTH: Final = 64
MAX_ALIASED: Final = 10_000
"""Values that aliases may add to a document; a bomb of nine lines adds billions."""

_PREFIX: Final = "tag:yaml.org,2002:"
_PLAIN_TAGS: Final = frozenset({"str", "int", "float", "bool", "null", "timestamp", "value", "merge"})
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OPEN: Final = object()


@dataclass(frozen=True)
class Document:
    """One document: its value, and the line of every value by path."""

    value: Any
    line: int
    lines: dict[Path, int] = field(repr=False)


def read_documents(text: str) -> tuple[list[Document], list[Problem]]:
    """Read all documents of a text, with problems that leave the rest readable (duplicate keys, tags).

    Raises `ManifestError` with everything found so far when the text is no YAML or an alias bomb.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
    try:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                reader = _Reader(events, problems)
                root = next(events)
                value = reader.value(root, ())
                documents.append(Document(value, reader.lines[()], reader.lines))
    except yaml.YAMLError as error:
        raise ManifestError([*problems, _syntax(error)]) from None
    return documents, problems


def _syntax(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return Problem("", f"is not YAML: {what}", mark.line + 1 if mark else 0)


class _Reader:
    """Builds one document from parser events."""

    def __init__(self, events: Iterator[Any], problems: list[Problem]) -> None:
        self.lines: dict[Path, int] = {}
        self._events = events
        self._problems = problems
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._built = 0
        self._aliased = 0
        self._resolver: Any = Resolver()
        self._constructor: Any = SafeConstructor()

    def value(self, event: Any, path: Path) -> Any:
        self.lines[path] = event.start_mark.line + 1
        self._built += 1
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        if len(path) > MAX_DEPTH:
            self._stop(event, path, f"is nested deeper than {MAX_DEPTH} levels; flatten it")
        before = self._built
        if event.anchor:
            self._anchors[event.anchor] = (_OPEN, 0)
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._check_tag(event, path, "seq")
            value = self._sequence(path)
        else:
            self._check_tag(event, path, "map")
            value = self._mapping(path)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1 + self._built - before)
        return value

    def _alias(self, event: Any, path: Path) -> Any:
        value, size = self._anchors.get(event.anchor, (None, -1))
        if size < 0:
            self._stop(event, path, f"alias *{event.anchor} has no anchor; write &{event.anchor} before it")
        if value is _OPEN:
            self._stop(event, path, f"alias *{event.anchor} lies inside its own anchor; write the value out")
        self._built += size
        self._aliased += size
        if self._aliased > MAX_ALIASED:
            self._stop(event, path, f"aliases add more than {MAX_ALIASED} values; write the values out")
        return value

    def _sequence(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self.value(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path)
            here = (*path, key)
            first = self.lines.get(here)
            value = self.value(next(self._events), here)
            self.lines[here] = event.start_mark.line + 1
            if key in items:
                self._report(event, here, f"is written twice (first in line {first}); keep one of them")
            items[key] = value
        return items

    def _key(self, event: Any, path: Path) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._stop(event, path, "has a key that is no text; keys are plain words")
        tag = self._tag(event)
        if tag == "merge":
            self._report(event, (*path, "<<"), "merge keys (<<) are not supported; write the fields out")
        elif tag not in ("str", "value", "timestamp"):
            self._report(event, (*path, event.value), f"this key is read as a {tag}, not as a text; quote it")
        return str(event.value)

    def _tag(self, event: Any) -> str:
        if event.tag not in (None, "!"):
            return str(event.tag).removeprefix(_PREFIX)
        if event.tag == "!" or not event.implicit[0]:
            return "str"
        resolved: str = self._resolver.resolve(yaml.ScalarNode, event.value, (True, False))
        return resolved.removeprefix(_PREFIX)

    def _scalar(self, event: Any, path: Path) -> Any:
        tag = self._tag(event)
        text: str = event.value
        if tag not in _PLAIN_TAGS:
            self._report(
                event, path, f"tag {shown(event.tag)} is not allowed; a manifest holds plain values, remove it"
            )
        if tag == "null":
            return None
        if tag not in ("int", "float", "bool") or ":" in text:
            return text
        node = yaml.ScalarNode(_PREFIX + tag, text)
        try:
            return getattr(self._constructor, f"construct_yaml_{tag}")(node)
        except (ValueError, KeyError):
            self._report(event, path, f"{shown(text)} can't be read as {tag}; quote it if it is a text")
            return text

    def _check_tag(self, event: Any, path: Path, expected: str) -> None:
        if event.tag not in (None, "!", _PREFIX + expected):
            self._report(
                event, path, f"tag {shown(event.tag)} is not allowed; a manifest holds plain values, remove it"
            )

    def _report(self, event: Any, path: Path, message: str) -> None:
        self._problems.append(Problem(place_of(path), message, event.start_mark.line + 1))

    def _stop(self, event: Any, path: Path, message: str) -> None:
        self._report(event, path, message)
        raise ManifestError(self._problems)
