"""Measure what a node in the chain costs: the same sound through chains of 1, 3, 5 and 10 effects.

Every effect is a process. Blocks of 10 ms are sent at the pace of a sound card, and the time from `send` to `receive` is
taken for each. What a further node adds is its own work and one hop through shared memory.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ringline import Pipeline, RinglineError, RuntimeConfig, RuntimeData, Session

HERE = Path(__file__).resolve().parent
RATE = 48_000
BLOCK_S = 0.01
EFFECTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("soft_clip", {"drive": 3.0}),
    ("tremolo", {"hz": 4.0}),
    ("echo", {"delay_ms": 90}),
)
CONFIG = RuntimeConfig(max_message_size=256 << 10, extra_paths=(str(HERE / "nodes"),))


def chain(length: int) -> Pipeline:
    """Build a chain of so many effects, in turns, with the input `dry` and the output `wet`."""
    pipeline = Pipeline(f"effects-{length}")
    for number, (kind, config) in enumerate(itertools.islice(itertools.cycle(EFFECTS), length)):
        pipeline.add_node(kind, f"fx{number}", config)
        if number:
            pipeline.connect(f"fx{number - 1}", "audio", f"fx{number}", "audio")
    return pipeline.input("dry", to="fx0.audio").output("wet", from_=f"fx{length - 1}.audio")


async def measure(length: int, blocks: int) -> list[float]:
    """Send the blocks through a chain and return the latency of each, in microseconds."""
    sound = np.sin(np.arange(int(RATE * BLOCK_S)) * 0.05, dtype=np.float32)
    latencies = []
    async with Session(f"effects-{length}", chain(length), config=CONFIG) as session:
        due = time.monotonic()
        for number in range(blocks):
            due += BLOCK_S
            await asyncio.sleep(due - time.monotonic())
            started = time.perf_counter()
            await session.send("dry", RuntimeData.audio(sound, RATE, timestamp=int(number * BLOCK_S * 1e9)))
            block = await session.receive("wet")
            latencies.append((time.perf_counter() - started) * 1e6)
            block.release()
        await session.end()
        await session.wait()
    # The first blocks pay for cold caches.
    return latencies[blocks // 10 :]


async def run(options: argparse.Namespace) -> int:
    """Measure every length and print a table, or JSON."""
    rows = []
    for length in options.lengths:
        latencies = sorted(await measure(length, options.blocks))
        p50, p95 = statistics.median(latencies), latencies[int(len(latencies) * 0.95)]
        rows.append({"nodes": length, "p50_us": round(p50, 1), "p95_us": round(p95, 1)})
        if len(rows) > 1:
            first = rows[0]
            added = (rows[-1]["p50_us"] - first["p50_us"]) / (length - first["nodes"])
            rows[-1]["added_per_node_us"] = round(added, 1)
        if not options.json:
            print_row(rows[-1], header=len(rows) == 1)
    if options.json:
        print(json.dumps(rows))
    return 0


def print_row(row: dict[str, float], *, header: bool) -> None:
    """Print one line of the table."""
    if header:
        print("nodes   p50 [µs]   p95 [µs]   added per node [µs]")
    added = f"{row['added_per_node_us']:10.1f}" if "added_per_node_us" in row else ""
    print(f"{row['nodes']:5} {row['p50_us']:10.1f} {row['p95_us']:10.1f} {added}", flush=True)


def main() -> int:
    """Read the arguments, run, and turn an error into one sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lengths", type=int, nargs="*", default=[1, 3, 5, 10], help="how many effects are in a chain")
    parser.add_argument("--blocks", type=int, default=300, help="blocks of 10 ms to send through each chain")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    try:
        return asyncio.run(run(parser.parse_args()))
    except RinglineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
