"""Nodes that show one trait each, for `test_node_process`."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np

from ringline import MultiprocessNode, RuntimeData, SourceNode, register_node


@register_node("l_same")
class Same(MultiprocessNode):
    async def process(self, data: RuntimeData) -> RuntimeData:
        return data


@register_node("l_double")
class Double(MultiprocessNode):
    def process(self, data: RuntimeData) -> RuntimeData:
        made = self.loan(data.as_numpy().shape, data.as_numpy().dtype)
        np.multiply(data.as_numpy(), 2, out=made)
        return data.with_(payload=made)


@register_node("l_talks")
class Talks(MultiprocessNode):
    async def initialize(self) -> None:
        print("a line from print")
        self.report_progress(0.25, "a quarter")
        self.log.warning("a line from the log", extra={"channel": "none"})
        logging.getLogger("library").info("a line from a library")
        sys.stdout.write("no newline yet")

    def process(self, data: RuntimeData) -> None:
        self.metrics.counter("seen").inc()
        self.metrics.gauge("size").set(data.size())

    def cleanup(self) -> None:
        print(" and the end")


@register_node("l_fails")
class Fails(MultiprocessNode):
    """Raises where its configuration says."""

    def initialize(self) -> None:
        self._maybe("initialize")

    async def warmup(self) -> None:
        self._maybe("warmup")

    def process(self, data: RuntimeData) -> None:
        self._maybe("process")

    def on_end(self) -> None:
        self._maybe("on_end")

    def cleanup(self) -> None:
        print("cleaned up")
        self._maybe("cleanup")

    def _maybe(self, where: str) -> None:
        if where == self.config["where"]:
            raise ValueError(f"bad luck in {where}")


@register_node("l_hangs")
class Hangs(MultiprocessNode):
    """Hangs where, and as, its configuration says."""

    async def initialize(self) -> None:
        if self.config["where"] == "initialize":
            self.report_progress(0.5, "half of the model")
            time.sleep(1000)  # noqa: ASYNC251

    async def process(self, data: RuntimeData) -> None:
        if self.config["where"] == "gil":
            ctypes.PyDLL(None).sleep(1000)
        time.sleep(1000)  # noqa: ASYNC251


@register_node("l_hangs_sync")
class HangsSync(MultiprocessNode):
    def process(self, data: RuntimeData) -> None:
        time.sleep(1000)

    def cleanup(self) -> None:
        print("cleaned up")


@register_node("l_counts")
class Counts(MultiprocessNode):
    """Numbers without end, at each message; says how often it was flushed."""

    flushes = 0

    def on_flush(self) -> None:
        self.flushes += 1

    def process(self, data: RuntimeData) -> Iterator[str]:
        number = 0
        while data.as_text() == "count":
            yield str(number)
            number += 1
            time.sleep(0.001)
        yield f"{data.as_text()} after {self.flushes}"


@register_node("l_counts_async")
class CountsAsync(Counts):
    async def process(self, data: RuntimeData) -> AsyncIterator[str]:  # type: ignore[override]
        number = 0
        while data.as_text() == "count":
            yield str(number)
            number += 1
            await asyncio.sleep(0.001)
        yield f"{data.as_text()} after {self.flushes}"


@register_node("l_floods")
class Floods(SourceNode):
    """More than its channel holds, by a plain or (`L_ASYNC`) an async generator."""

    def produce(self) -> Iterator[str]:
        while True:
            yield "x"

    def cleanup(self) -> None:
        print("cleaned up")


@register_node("l_floods_async")
class FloodsAsync(Floods):
    async def produce(self) -> AsyncIterator[str]:  # type: ignore[override]
        while True:
            yield "x"


@register_node("l_tunes")
class Tunes(MultiprocessNode):
    word = "first"

    def on_parameters(self, parameters: dict[str, Any]) -> None:
        self.word = parameters["word"]

    def process(self, data: RuntimeData) -> str:
        return self.word


@register_node("l_loops")
class Loops(MultiprocessNode):
    """Sends each number on, one less, into the cycle until it is 0; what comes out is the sum of all seen."""

    total = 0

    def process(self, data: RuntimeData) -> Any:
        number = int(data.as_text())
        self.total += number
        return {"round": str(number - 1)} if number else None

    def on_end(self) -> dict[str, str]:
        return {"sum": str(self.total)}


@register_node("l_tells")
class Tells(MultiprocessNode):
    """Tells what a process can know about itself."""

    def process(self, data: RuntimeData) -> RuntimeData:
        child = subprocess.run(["true"], check=True).returncode
        facts = {
            "random": float(np.random.random()),  # noqa: NPY002
            "sigpipe": signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN,
            "child": child,
            "frozen": "numpy" in sys.modules,
        }
        return RuntimeData.json(facts)
