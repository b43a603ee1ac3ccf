"""The time line of `ringline run --timeline`: end of speech, recognized text, first audio of the answer.

A node marks a moment by `metadata.extra["event"]`; a final text and the first message of a session output are moments of
their own. To see them, ports that carry text or speech get a tap: one more session output, which costs a descriptor and
no copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from ringline.cli.shapes import MomentShape

if TYPE_CHECKING:
    from ringline.data import RuntimeData
    from ringline.graph.model import MediaPipeline

TAP_PREFIX: Final = "tap-"
_TAPPED_PORT: Final = "speech"
"""The port by which voice-activity nodes give the blocks that they mark."""


def tapped_ports(pipeline: MediaPipeline) -> list[str]:
    """Return the ``node.port`` ends worth a tap, in the manifest's order."""
    from ringline.graph.catalog import declared_ports, find_entry, load_catalog

    catalog = load_catalog()
    types = {node.name: node.type for node in pipeline.spec.nodes}
    shown = {output.from_ for output in pipeline.spec.outputs}
    found: list[str] = []
    for channel in pipeline.spec.channels:
        node, _, port = channel.from_.partition(".")
        kinds = declared_ports(find_entry(catalog, types.get(node, "")), "outputs") or {}
        if (
            (kinds.get(port) == "text" or port == _TAPPED_PORT)
            and channel.from_ not in shown
            and channel.from_ not in found
        ):
            found.append(channel.from_)
    return found


def with_taps(pipeline: MediaPipeline, ports: Sequence[str]) -> tuple[MediaPipeline, dict[str, str]]:
    """Return the pipeline with a dropping output per port, and which output taps which port."""
    from ringline.graph.model import MediaPipeline

    names = {f"{TAP_PREFIX}{number}": port for number, port in enumerate(ports, start=1)}
    manifest = pipeline.to_manifest()
    spec: dict[str, Any] = manifest["spec"]
    taps = [{"name": name, "from": port, "overflow": "DropOldest"} for name, port in names.items()]
    changed = {**manifest, "spec": {**spec, "outputs": [*spec.get("outputs", ()), *taps]}}
    return MediaPipeline.model_validate(changed).with_source(pipeline.source), names


class Timeline:
    """Collects moments from messages as they arrive."""

    def __init__(self) -> None:
        self.moments: list[MomentShape] = []
        self._seen: set[str] = set()

    def look(self, data: RuntimeData, source: str, at_seconds: float, *, tap: bool) -> Iterator[MomentShape]:
        """Yield (and keep) the moments that a message marks; `source` is where it came from."""
        for what, detail in self._marks(data, source, tap=tap):
            moment = MomentShape(
                at_seconds=round(at_seconds, 6),
                media_seconds=data.timestamp / 1e9 if data.timestamp else None,
                source=source,
                what=what,
                detail=detail,
            )
            self.moments.append(moment)
            yield moment

    def _marks(self, data: RuntimeData, source: str, *, tap: bool) -> Iterator[tuple[str, str]]:
        first = source not in self._seen
        self._seen.add(source)
        extra = data.metadata.extra if data.metadata is not None else {}
        event = extra.get("event")
        if isinstance(event, str):
            yield event, ""
        if data.type == "text":
            if getattr(data.metadata, "final", True):
                yield "text", data.as_text()
        elif first and not tap and data.type in ("audio", "video") and not isinstance(event, str):
            yield f"first_{data.type.value}", ""


def since_speech(moments: Sequence[MomentShape]) -> list[tuple[MomentShape, float | None]]:
    """Pair each moment with the seconds since the latest end of speech before it, or None."""
    ended: float | None = None
    rows: list[tuple[MomentShape, float | None]] = []
    for moment in sorted(moments, key=lambda each: each["at_seconds"]):
        if moment["what"] == "end_of_speech":
            ended = moment["at_seconds"]
        rows.append((moment, None if ended is None else moment["at_seconds"] - ended))
    return rows
