"""Reads manifests: a file or a text with one or several YAML documents, as `MediaPipeline` resources.

Called by the CLI, the builder's `load` and tests. Documents of other kinds (a `MediaSession`, a `ConfigMap` with node
code) may stand in the same file; they are named, not read. All problems of a file are raised together, with lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ringline.errors import ManifestError, Problem
from ringline.graph.draft import Draft, draft_of
from ringline.graph.model import MediaPipeline
from ringline.graph.source import Source
from ringline.graph.validate import draft_problems
from ringline.graph.yamltext import Document, read_documents
from ringline.names import API_VERSION
from ringline.wording import listed, shown

MAX_MANIFEST_BYTES: Final = 1 << 20
"""A manifest is at most about as large as an object that Kubernetes stores."""


@dataclass
class ManifestFile:
    """What a file holds: its pipelines, and the names of its other documents (``Kind/name``)."""

    pipelines: list[MediaPipeline] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


@dataclass
class _Read:
    """One document while it is read: `problems` of its values, `draft` as far as it can be understood."""

    source: Source
    draft: Draft | None
    problems: list[Problem]


def read_manifest(source: Path | str) -> list[MediaPipeline]:
    """Read the pipelines of a file; a `str` with a line break is the text itself.

    Raises `ManifestError` with every problem of every document if the file can't be read, is no YAML, or holds a value
    that is refused. The values of what is returned are good; whether a graph is sound says `validate`.
    """
    if isinstance(source, str) and "\n" in source:
        return parse_manifest(source).pipelines
    path = Path(source)
    return parse_manifest(_read_bytes(path), str(path), path.absolute().parent).pipelines


def parse_manifest(text: str | bytes, file: str = "", folder: Path | None = None) -> ManifestFile:
    """Read a manifest's text; `file` is named in problems, relative paths start at `folder`."""
    try:
        documents, problems = read_documents(_decode(text))
    except ManifestError as error:
        raise ManifestError(error.problems, file) from None
    found = ManifestFile()
    read = [
        _read(document, found, Source(file, folder, document.lines))
        for document in documents
        if document.value is not None
    ]
    taken = [item for item in read if item is not None]
    if not taken and not problems:
        problems = [_nothing(found)]
    if problems or any(item.problems for item in taken):
        raise ManifestError([*problems, *(problem for item in taken for problem in _all_problems(item))], file)
    found.pipelines = [item.draft.pipeline.with_source(item.source) for item in taken if item.draft]
    return found


def pipeline_from(manifest: Mapping[str, Any]) -> MediaPipeline:
    """Read one plain mapping. Raises `ManifestError` with all problems if a value is refused."""
    draft, problems = draft_of(manifest)
    if draft is None or problems:
        raise ManifestError([*problems, *(draft_problems(draft) if draft else ())])
    return draft.pipeline


def _read(document: Document, found: ManifestFile, source: Source) -> _Read | None:
    value = document.value
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else f"the single value {shown(value)}"
        text = f"is {kind}; a manifest is a mapping, several are separated by lines of ---"
        return _Read(source, None, [Problem("", text, document.line)])
    if _is_other(value):
        metadata = value.get("metadata")
        name = metadata.get("name", "") if isinstance(metadata, dict) else ""
        found.others.append(f"{value['kind']}/{name}")
        return None
    draft, problems = draft_of(value)
    return _Read(source, draft, problems)


def _is_other(value: Mapping[str, Any]) -> bool:
    """Whether a document is meant as something else than a pipeline: not every file holds only ours."""
    kind, version = value.get("kind"), value.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(version, str):
        return False
    return kind == "MediaSession" or (kind != "MediaPipeline" and not version.startswith("ringline.dev/"))


def _all_problems(item: _Read) -> list[Problem]:
    found = [*item.problems, *(draft_problems(item.draft) if item.draft else ())]
    return sorted((item.source.locate(problem) for problem in found), key=lambda problem: problem.line)


def _nothing(found: ManifestFile) -> Problem:
    if found.others:
        return Problem("", f"holds no MediaPipeline, only {listed(found.others)}; name another file")
    return Problem("", f"is empty; a manifest begins with `apiVersion: {API_VERSION}` and `kind: MediaPipeline`")


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ManifestError([Problem("", f"can't be read: {error.strerror}; check the path")], str(path)) from None


def _decode(text: str | bytes) -> str:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(
            [Problem("", f"is larger than {MAX_MANIFEST_BYTES >> 20} MiB; move large values into files")]
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        text = f"is not UTF-8 (byte 0x{data[error.start]:02x}); save it as UTF-8"
        raise ManifestError([Problem("", text, line)]) from None
