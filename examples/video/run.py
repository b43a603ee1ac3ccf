"""Find faces in a 60 fps video with two detectors that are slower than the source, and see that order is kept.

The video is generated, so the example needs no camera and no file: `python examples/video/run.py --help`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringline import Pipeline, RinglineError, Session

HERE = Path(__file__).resolve().parent


@dataclass
class Seen:
    """What came out of the detectors, in the order in which it came."""

    timestamps: list[int] = field(default_factory=list)
    with_face: int = 0

    @property
    def in_order(self) -> bool:
        """Tell whether no detection came before an earlier one."""
        return self.timestamps == sorted(self.timestamps)


async def watch(session: Session) -> Seen:
    """Follow the detections until the video has ended."""
    seen = Seen()
    async for message in session.stream("detections"):
        seen.timestamps.append(message.timestamp)
        seen.with_face += bool(message.as_json()["boxes"])
    return seen


def print_result(seen: Seen, channels: dict[str, Any], path: Path) -> None:
    """Print how the work was shared, and what was skipped."""
    made = channels["camera_to_draw"].message_count
    print(f"\nPictures made:         {made:5}  (60 per second)")
    for name in ("faces-a", "faces-b"):
        print(f"  examined by {name}:  {channels[f'{name}_to_merge'].message_count:5}")
    print(f"  skipped:             {made - len(seen.timestamps):5}  (the newest was more urgent)")
    print(f"Pictures with a face:  {seen.with_face:5}")
    print(f"Order kept:            {'yes' if seen.in_order else 'NO':>5}")
    print(f"\nThe pictures with boxes: {path}")


async def run(options: argparse.Namespace) -> int:
    """Run the whole example; returns the exit code."""
    pipeline = Pipeline.load(HERE / "pipeline.yaml")
    options.out.mkdir(parents=True, exist_ok=True)
    shown = options.out / "faces.mp4"
    # Nodes work in the application's folder: the manifest's `faces.mp4` is written there.
    os.chdir(options.out)
    session = Session(options.session, pipeline)
    print("Starting")
    try:
        await session.initialize(progress_callback=print_progress)
        await session.start()
        seen = await watch(session)
        await session.wait()
        print_result(seen, await session.get_channel_stats(), shown)
    finally:
        await session.cleanup()
    return 0 if seen.in_order and seen.with_face else 1


def print_progress(progress: Any) -> None:
    """Print that a node is ready; `progress.message` has more while models are loaded."""
    if progress.status == "ready":
        print(f"  {progress.node_id:8} {progress.status}")


def main() -> int:
    """Read the arguments, run, and turn an error into one sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for faces.mp4 (default: ./out)")
    parser.add_argument("--session", default="video-example", help="the session's id")
    try:
        return asyncio.run(run(parser.parse_args()))
    except RinglineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
