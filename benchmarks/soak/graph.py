"""What the soak knows about its graph (`pipeline.yaml`): who is a source, and what each policy may lose."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MANIFEST: Final = Path(__file__).with_name("pipeline.yaml")
NODES: Final = ("camera", "resize", "overlay", "detector", "microphone", "gain", "filter", "meter")
SOURCES: Final = ("camera", "microphone")
OUTPUTS: Final = ("picture", "boxes", "sound", "level")
ONE_TO_ONE: Final = ("resize", "overlay", "detector", "gain", "filter", "meter")
"""Nodes that send one message for each that they take."""
LOSSES: Final = {
    "block": {"flushed"},
    "drop_oldest": {"flushed", "overwritten", "heap_full"},
    "drop_newest": {"flushed", "newest", "heap_full"},
    "latest": {"flushed", "overwritten", "heap_full"},
    "deadline": {"flushed", "deadline", "overwritten", "heap_full"},
}
"""Reasons for which a channel of each policy may drop a message."""
