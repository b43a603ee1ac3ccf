"""The life of a node in its process: from its environment to its exit code.

``starting → loading → connecting → ready → running → stopping → stopped | failed``. The zygote's forked child and
``python -m ringline.node run`` both end up in `main`. Everything that the author's code raises becomes an ERROR event, a
traceback on stderr and exit code 1.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ringline import names as agreed
from ringline.control.link import ControlLink
from ringline.control.messages import Message, MessageType
from ringline.errors import Fenced, NodeConfigError, NodeError, UnknownNodeTypeError
from ringline.graph.layout import ChannelPlan
from ringline.graph.nodeconfig import NodeConfig, NodePlan
from ringline.node import exits, logs, signals
from ringline.node.base import MultiprocessNode, SourceNode, create
from ringline.node.commands import Commands, Terminated
from ringline.node.cycle import Cycle
from ringline.node.drive import Driver
from ringline.node.failure import describe
from ringline.node.health import Watchdog
from ringline.node.identity import Identity
from ringline.node.outputs import OutputPorts, check_ports, is_async
from ringline.node.ports import Inbox, Outbox
from ringline.node.registry import resolve
from ringline.shm import Arena

_NUDGE_S: Final = 0.05
_METRICS_NONE: Final[dict[str, dict[str, float]]] = {"counters": {}, "gauges": {}}


def main() -> int:
    """Run the node that the environment names. Returns its exit code; dies by SIGTERM itself if that ended it."""
    logs.line_by_line()
    try:
        identity = Identity.from_environ(os.environ)
        config = NodeConfig.from_bytes((identity.directory / agreed.PLAN_FILE).read_bytes())
        plan = config.nodes[identity.node]
    except (NodeError, OSError, LookupError, ValueError) as error:
        sys.stderr.write(f"this process can't become a node: {error}\n")
        return exits.ERROR
    logs.configure(identity.log_format, identity.labels)
    return Runner(identity, config, plan).run()


class Runner:
    """One incarnation of one node."""

    def __init__(self, identity: Identity, config: NodeConfig, plan: NodePlan) -> None:
        self._identity = identity
        self._config = config
        self._plan = plan
        self._phase = "starting"
        self._node: MultiprocessNode | None = None
        self._driver: Driver | None = None
        self._arena: Arena | None = None
        self._outbox: Outbox | None = None
        self._metrics = _METRICS_NONE
        runtime = config.runtime
        self._link = ControlLink(
            identity.directory / agreed.CONTROL_SOCKET,
            identity.token,
            identity.node,
            identity.epoch,
            on_command=self._command,
            on_tick=self._tick,
        )
        self._watchdog = Watchdog(identity.node, runtime.init_timeout_secs, runtime.stall_timeout_secs, self._link.send)
        self._commands = Commands(self._link.send, self._status)

    def run(self) -> int:
        """Live until the end; returns the exit code."""
        signals.install(self._may_break_in)
        code = exits.OK
        try:
            self._link.start()
            self._progress("starting", 0.0)
            self._start()
            self._work()
        except Terminated as ordered:
            code = int(ordered.code or 0)
        except Fenced as error:
            sys.stderr.write(f"{error}\n")
            code = exits.FENCED
        except BaseException as error:
            code = self._ended_by(error)
        return self._leave(code)

    def _ended_by(self, error: BaseException) -> int:
        ordered = signals.ordered_code()
        if ordered is not None:
            return ordered
        self._failed(error)
        return exits.ERROR

    # In order of life.

    def _start(self) -> None:
        """Load the class, make the node, initialize it, connect it, and say that it is ready."""
        self._progress("loading", 0.0)
        node = self._load()
        self._call(node.initialize())
        self._call(node.warmup())
        self._progress("connecting", 1.0)
        self._connect(node)
        self._phase = "ready"
        assert self._driver is not None
        self._watchdog.ready(self._driver)
        self._progress("ready", 1.0)
        self._link.send(Message(MessageType.READY, {}))

    def _load(self) -> MultiprocessNode:
        folders = (*self._plan.extra_paths, *self._identity.code_paths)
        sys.path[:0] = [str(Path(path).absolute()) for path in folders]
        cls = resolve(self._plan.type, script=self._identity.script, extra_paths=folders)
        work = cls.produce if issubclass(cls, SourceNode) else cls.process
        make = _driver_class(is_async(work))
        self._driver = make(self._commands, self._identity.labels, self._identity.session_id, self._reported)
        self._commands.notify = self._notify
        if self._commands.attention:
            self._notify()  # of what came while there was nobody to tell: the import of a class may take seconds
        node = create(cls, self._identity.node, self._plan.config)
        self._driver.adopt(node)
        node._attach(self._driver, tuple(self._plan.inputs), tuple(self._plan.outputs))  # noqa: SLF001
        self._node = node
        return node

    def _connect(self, node: MultiprocessNode) -> None:
        plan, session = self._plan, self._identity.session_id
        channels = self._config.channels
        inputs = expected_inputs(node, {port: channels[name] for port, name in plan.inputs.items()})
        check_ports(
            node,
            {port: channel.kind for port, channel in inputs.items()},
            {port: channels[names[0]].kind for port, names in plan.outputs.items() if names},
        )
        self._arena = arena = Arena.attach(self._identity.directory, self._identity.node)
        routes = OutputPorts(node, tuple(plan.outputs))
        self._outbox = Outbox(arena, routes, plan.outputs, session)
        assert self._driver is not None
        cycle = Cycle(arena, plan.name, channels) if plan.feedback else None
        self._driver.connect(arena, Inbox(arena, plan.inputs, session, plan.feedback), self._outbox, cycle)

    def _work(self) -> None:
        """Wait for the start, run to the end of the stream, and say that it is done."""
        assert self._driver is not None
        self._driver.run()
        self._stopping()
        self._cleanup()
        self._link.send(Message(MessageType.DONE, {"reason": "end_of_stream"}))

    def _failed(self, error: BaseException) -> None:
        """Tell the host and the log what the author's code raised; a mistake in the manifest needs no traceback."""
        phase, self._phase = self._phase, "failed"
        failure = describe(error)
        if isinstance(error, UnknownNodeTypeError | NodeConfigError):
            sys.stderr.write(f"{failure.error}\n")
        else:
            traceback.print_exception(error)
        reason = type(error).__name__ if isinstance(error, NodeError) else "Error"
        self._link.send(Message(MessageType.ERROR, failure.payload(reason, phase)))
        self._progress("failed", 0.0, failure.error)
        self._watchdog.leave_within(self._config.runtime.cleanup_grace_period_secs, exits.ERROR)

    def _leave(self, code: int) -> int:
        """Clean up what there is, whatever happens, and give the code to exit with."""
        if self._phase not in ("stopped", "failed"):
            self._stopping()
        try:
            self._cleanup()
        except Terminated:
            pass
        except BaseException as error:
            traceback.print_exception(error)
            code = code or exits.ERROR
        try:
            if self._driver is not None:
                self._driver.close()
        except BaseException as error:
            traceback.print_exception(error)
        if self._arena is not None:
            self._arena.close()
        self._link.close()
        return code

    def _cleanup(self) -> None:
        node, self._node = self._node, None
        if node is not None:
            self._call(node.cleanup())
        if self._phase == "stopping":
            self._phase = "stopped"

    def _stopping(self) -> None:
        self._progress("stopping", 1.0)

    def _call(self, result: Any) -> None:
        assert self._driver is not None
        self._driver.call(result)

    # Events and orders.

    def _progress(self, status: str, fraction: float, message: str = "") -> None:
        self._phase = status
        self._link.send(
            Message(MessageType.PROGRESS, {"status": status, "progress": fraction, "message": message[:1000]})
        )

    def _reported(self, fraction: float, message: str) -> None:
        self._watchdog.note(f"{fraction:.0%} {message}".strip())
        self._progress("loading" if self._arena is None else self._phase, fraction, message)

    def _command(self, message: Message) -> None:
        self._commands.take(message)
        if message.type is MessageType.START:
            self._progress("running", 1.0)
        elif message.type is MessageType.STOP:
            self._progress("stopping", 1.0)

    def _notify(self) -> None:
        """Wake the main thread for an order; in the control thread."""
        if self._driver is not None:
            self._driver.notify()
        if self._commands.shutdown:
            signals.break_in()

    def _may_break_in(self) -> bool:
        """Say whether a shutdown may interrupt the main thread: not the author's `process`, which is let finish."""
        if self._phase in ("starting", "loading", "connecting"):
            return True
        return self._outbox is not None and self._outbox.blocked and self._commands.shutdown

    def _status(self) -> dict[str, Any]:
        busy_s = self._driver.busy_s() if self._driver is not None and self._arena is not None else 0.0
        return {"state": self._phase, "busy_s": round(busy_s, 3)}

    def _tick(self) -> float:
        node = self._node
        if node is not None and self._phase == "running":
            numbers = node.metrics.snapshot()
            if numbers != self._metrics:
                self._metrics = numbers
                self._link.send(Message(MessageType.METRICS, numbers))
        due = self._watchdog.tick()
        if self._commands.shutdown and self._outbox is not None and self._outbox.blocked:
            # One nudge may fall between two sleeps of a blocked send, which then sleeps on.
            signals.break_in()
            due = min(due, _NUDGE_S)
        return due


def _driver_class(asynchronous: bool) -> type[Driver]:
    """Import only the driver that is used: a plain node in an interpreter of its own starts without asyncio."""
    if asynchronous:
        from ringline.node.drive_async import AsyncDriver

        return AsyncDriver
    from ringline.node.drive_sync import SyncDriver

    return SyncDriver


def expected_inputs(node: MultiprocessNode, connected: Mapping[str, ChannelPlan]) -> dict[str, ChannelPlan]:
    """Give the connected inputs without one that a source can't have meant.

    A plan does not know an author's classes: what it takes for a node without an input is given one of the session's.
    """
    if isinstance(node, SourceNode):
        return {port: channel for port, channel in connected.items() if channel.producer != agreed.HOST}
    return dict(connected)
