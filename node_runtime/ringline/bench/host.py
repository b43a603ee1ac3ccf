"""The application under test, a process of its own: `python -m ringline.bench.host CROWD`, driven by lines of JSON.

`study` starts one for each crowd, so that memory, processor time and the death of one say nothing about another. CROWD is
``module:Class`` or ``module:Class:argument``; orders are ``{"do": "settle" | "run" | "kill", …}``, answers one line each.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import IO, Any

from ringline.bench.deaths import kill_one
from ringline.bench.load import Crowd, World, steps_of


def crowd_of(spec: str) -> Crowd:
    """Make the crowd that a text names."""
    module, name, *arguments = spec.split(":")
    made: Crowd = getattr(importlib.import_module(module), name)(*arguments)
    return made


def obey(crowd: Crowd, order: dict[str, Any]) -> dict[str, Any]:
    """Carry out one order."""
    if order["do"] == "settle":
        lives = crowd.settle(order["agents"], order["kernel"], order["arguments"])
        steps_of(crowd, dict.fromkeys(range(order["agents"]), 0))  # connections are made, caches are warm
        return {"lives": lives}
    if order["do"] == "kill":
        return dict(kill_one(crowd, order["agents"], order["death"]))
    cpu = time.process_time()
    began = time.perf_counter()
    sample = World(crowd, order["agents"], order["period_s"]).run(order["seconds"])
    # Of the whole run, warming up included: what a step costs is asked of a bare loop only, which does nothing else.
    spent, passed = time.process_time() - cpu, time.perf_counter() - began
    seen = {"steps": sample.steps, "seconds": sample.seconds, "delays": sample.delays, "answers": sample.answers}
    return {**seen, "cpu_share": spent / passed, "lasted": passed}


def main(spec: str, orders: IO[str], answers: IO[str]) -> None:
    """Obey until the orders end."""
    crowd = crowd_of(spec)
    try:
        for line in orders:
            print(json.dumps(obey(crowd, json.loads(line))), file=answers, flush=True)
    finally:
        crowd.close()


if __name__ == "__main__":
    # What agents print must not be taken for an answer.
    with os.fdopen(os.dup(1), "w") as answered:
        os.dup2(2, 1)
        main(sys.argv[1], sys.stdin, answered)
