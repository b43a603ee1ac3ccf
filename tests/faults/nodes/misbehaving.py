"""Nodes that do what nodes should not do; each is named after it. Only the fault tests use them."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import Any

from ringline import MultiprocessNode, RuntimeData, SourceNode, register_node


@register_node("never_ready")
class NeverReady(MultiprocessNode):
    """Its initialize does not return."""

    async def initialize(self) -> None:
        self.report_progress(0.25, "waiting for a model that never comes")
        print("still loading", file=sys.stderr, flush=True)
        await asyncio.Event().wait()


@register_node("never_ready_with_the_gil")
class NeverReadyWithTheGil(MultiprocessNode):
    """Its initialize holds the interpreter lock, so that not even its own watchdog runs."""

    def initialize(self) -> None:
        ctypes.PyDLL(None).sleep(3600)


@register_node("exits_in_initialize")
class ExitsInInitialize(MultiprocessNode):
    """Leaves with the code that it is told, 0 by default, before it is ready."""

    def initialize(self) -> None:
        print("nothing to do here", file=sys.stderr, flush=True)
        os._exit(int(self.config.get("code", 0)))


@register_node("raises_in_initialize")
class RaisesInInitialize(MultiprocessNode):
    """Its model is not there."""

    async def initialize(self) -> None:
        raise FileNotFoundError("model.bin is missing")


@register_node("killed_in_initialize")
class KilledInInitialize(MultiprocessNode):
    """Is killed while it loads."""

    def initialize(self) -> None:
        self.report_progress(0.4, "loading weights")
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)


@register_node("does_as_told")
class DoesAsTold(MultiprocessNode):
    """Passes messages on until one tells it to end: raise, exit, leave, kill, segfault, block, hold."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        order = data.as_text()
        if order == "raise":
            raise ValueError("told to raise")
        if order == "exit":
            os._exit(3)
        if order == "leave":
            os._exit(0)
        if order == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if order == "segfault":
            ctypes.string_at(0)
        if order == "block":
            time.sleep(3600)  # noqa: ASYNC251
        if order == "hold":
            ctypes.PyDLL(None).sleep(3600)
        return RuntimeData.text(f"{self.node_id}:{os.getpid()}:{order}")


@register_node("floods_stderr")
class FloodsStderr(MultiprocessNode):
    """Writes `megabytes` to stderr for each message, then says that it has."""

    def process(self, data: RuntimeData) -> RuntimeData:
        line = b"x" * 1023 + b"\n"
        for _ in range(int(self.config.get("megabytes", 100))):
            os.write(2, line * 1024)
        return data

    def cleanup(self) -> None:
        time.sleep(0.3)
        print("the flood is over", file=sys.stderr)


@register_node("prints_one_line")
class PrintsOneLine(MultiprocessNode):
    """Writes one line of many megabytes."""

    def process(self, data: RuntimeData) -> RuntimeData:
        view = memoryview(b"y" * (int(self.config.get("megabytes", 10)) << 20) + b"\nand done\n")
        while view:
            view = view[os.write(2, view) :]
        return data


@register_node("ignores_sigterm")
class IgnoresSigterm(MultiprocessNode):
    """Is busy for ever with its first message, and deaf."""

    def process(self, data: RuntimeData) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("busy now", flush=True)
        while True:
            time.sleep(0.05)


@register_node("forks_children")
class ForksChildren(MultiprocessNode):
    """Starts children that nobody waits for, with exec and without, and tells their pids."""

    def initialize(self) -> None:
        self.pids = [subprocess.Popen(["sleep", "3600"]).pid for _ in range(2)]
        for _ in range(2):
            pid = os.fork()
            if pid == 0:
                time.sleep(3600)
                os._exit(0)
            self.pids.append(pid)

    def process(self, data: RuntimeData) -> RuntimeData:
        if data.as_text() == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return RuntimeData.json(self.pids)


@register_node("eats_memory")
class EatsMemory(MultiprocessNode):
    """Keeps 8 MiB more with each message."""

    kept: list[bytearray]

    def initialize(self) -> None:
        self.kept = []

    def process(self, data: RuntimeData) -> RuntimeData:
        self.kept.append(bytearray(os.urandom(1)) * (8 << 20))
        return data


@register_node("slow_cleanup")
class SlowCleanup(MultiprocessNode):
    """Its cleanup never returns."""

    async def process(self, data: RuntimeData) -> RuntimeData:
        return data

    def cleanup(self) -> None:
        print("cleaning for ever", flush=True)
        time.sleep(3600)


@register_node("endless")
class Endless(SourceNode):
    """A source without end."""

    def produce(self) -> Any:
        number = 0
        while True:
            yield RuntimeData.text(str(number))
            number += 1
            time.sleep(0.001)


@register_node("refuses_config")
class RefusesConfig(MultiprocessNode):
    """Can't be made."""

    def __init__(self, node_id: str, config: Any = None) -> None:
        super().__init__(node_id, config)
        raise KeyError("device")
