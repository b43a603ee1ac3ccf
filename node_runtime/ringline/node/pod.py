"""Process 1 of a node's container in a session's pod: forks the node, answers its probes, restarts it, says how it ended.

Started by ``python -m ringline.node pod``. It takes its orders from the pod's gateway, and outlives it: nodes go on while a
gateway that died is started again. What it decides alone: a kill by the kernel for memory ends the container, and after SIGTERM
the node has the grace period to end as the gateway says, then it is ended.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from ringline import __version__
from ringline.errors import ProcessSpawnError, RinglineError
from ringline.graph.nodeconfig import NodeConfig
from ringline.names import ENV_TOKEN
from ringline.node import children, interpreter, oom, procfs, termination
from ringline.node.children import Child, Forked
from ringline.node.parent import Parent
from ringline.node.pod_link import RETRY_S, GatewayLink
from ringline.node.pod_output import ContainerOutput
from ringline.node.pod_probe import Ask, ProbeServer, Verdict
from ringline.node.pod_settings import PodEnvironment
from ringline.node.preload import preload
from ringline.node.pulse import Pulse

TERM_PATIENCE_S: Final = 3.0
"""Between SIGTERM and SIGKILL."""
ABORT_PATIENCE_S: Final = 0.5
"""Between SIGABRT, at which a hung node leaves its stacks, and SIGKILL."""
LIVE: Final = Ask(2.5, hung=True)
READY: Final = Ask(0.8, hung=False)
"""Less than the probes' own time-outs of 3 and 1 s, so that the kubelet hears a no. A node that is stopped is not ready within
two seconds; ended as hung is only what does not live either."""
ORDERS_PATIENCE_S: Final = 1.0
"""After its node's end a container that is being stopped waits so long for the gateway's word."""
_LAST_WORDS_S: Final = 2.0
USAGE_PERIOD_S: Final = 5.0
"""Between two reports of what the node uses; a scrape may be so much behind."""
_TICK_S: Final = 1.0


class PodZygote(Parent):
    """The zygote of one node in its container."""

    def __init__(self, pod: PodEnvironment, listener: socket.socket, environ: Mapping[str, str]) -> None:
        output = ContainerOutput(1, pod.log_format, pod.labels)
        super().__init__(output, environ, self._exited)
        self._pod = pod
        self._output = output
        self._writing = False
        self._plan = NodeConfig.from_bytes(pod.plan_file.read_bytes())
        self._link = GatewayLink(self._selector, pod.directory, self._hello, self._command)
        self._probe = ProbeServer(self._selector, listener, self._judge)
        self._child: Child | None = None
        self.pulse: Pulse | None = None
        self._ready_epoch = 0
        self._was_ready = False
        self._restarts_nodes = False
        self._report_due: dict[str, Any] | None = None
        self._ended_at = 0.0
        self._usage_due = 0.0
        self._record: dict[str, Any] | None = None
        self._code: int | None = None
        self._term_at = 0.0
        self._term_step = 0
        self._hung = False
        self._killed_for_memory = False
        self._oom_file = oom.counter_file() if os.getpid() == 1 else None  # else the cgroup is not this node's alone
        self._oom_kills = oom.kills(self._oom_file)

    def run(self) -> int:
        """Serve until the node's end is the container's. Raises `Forked` in each child."""
        self._listen(self._terminated)
        while self._code is None:
            self._turn(self._patience())
            self._look_around()
        return self._leave(self._code)

    def _terminated(self) -> None:
        self._term_at = self._term_at or time.monotonic()

    def _patience(self) -> float:
        """How long nothing has to be looked at."""
        if not self._link.connected or self._term_at or self._probe.waiting:
            return RETRY_S
        return _TICK_S

    def _turn(self, timeout_s: float) -> None:
        if self._output.waiting:
            self._output.write()
        if self._output.waiting != self._writing:
            self._writing = self._output.waiting
            if self._writing:
                self._selector.register(self._output.descriptor, selectors.EVENT_WRITE, self._output.write)
            else:
                self._selector.unregister(self._output.descriptor)
        self._handle(timeout_s)

    def _look_around(self) -> None:
        self._link.dial()
        self._hung = self._probe.tick() or self._hung
        self._watch_memory()
        self._report_usage(time.monotonic())
        if self._term_at and self._code is None:
            self._wind_up(time.monotonic() - self._term_at)

    # The gateway's orders.

    def _hello(self) -> dict[str, Any]:
        return {"ev": "hello", "node": self._pod.node, "version": __version__, "pid": os.getpid()}

    def _command(self, header: dict[str, Any]) -> None:
        operation, epoch = header.get("op"), int(header.get("epoch") or 0)
        if operation == "welcome":
            self._restarts_nodes = bool(header.get("restarts_nodes"))
        elif operation == "spawn":
            self._spawn(epoch, header.get("env") or {})
        elif operation == "signal" and self._child is not None and self._child.epoch == epoch:
            self._child.signal(int(header["signal"]), group=bool(header.get("group", True)))
        elif operation == "ready":
            self._ready_epoch, self._was_ready = epoch, True
            self._usage_due = 0.0
        elif operation == "leave":
            self._record = header.get("record")
            self._code = int(header.get("code") or 0)

    def _spawn(self, epoch: int, environ: Mapping[str, str]) -> None:
        """Start an incarnation; one that runs or has ended already is only reported again, to a gateway that came back."""
        report = self._report_due
        if report is not None and report["epoch"] == epoch:
            self._link.event(report)
            return
        label = {"node": self._pod.node, "epoch": epoch}
        try:
            if self._child is None and not self._term_at:
                self._start(epoch, environ)
        except (RinglineError, OSError) as error:
            self._output.say("error", f"the node could not be started: {error}")
            self._link.event({"ev": "spawn_failed", **label, "error": str(error)})
            return
        if self._child is not None and self._child.epoch == epoch:
            self._link.event({"ev": "spawned", **label, "pid": self._child.pid})

    def _start(self, epoch: int, environ: Mapping[str, str]) -> None:
        node = self._plan.nodes.get(self._pod.node)
        if node is None:
            raise ProcessSpawnError(f"the plan has no node '{self._pod.node}'; image and pod are of different sessions")
        argv = interpreter.command(interpreter.interpreter(node))
        full = children.merged(self._environ, {**node.env, **environ, ENV_TOKEN: self._link.token})
        self._report_due, self._ended_at = None, 0.0
        self.pulse = None if argv else Pulse()
        self._child = self._begin(self._pod.node, epoch, full, argv)
        if self.pulse is not None:
            self.pulse.forked()
            self._selector.register(self.pulse.ours, selectors.EVENT_READ, self._pulsed)

    # The node's life.

    def _pulsed(self) -> None:
        if self.pulse is not None and self.pulse.heard():
            self._hung = False
            self._probe.resolve((200, "ok"), self._readiness())
        else:
            self._lose_pulse()

    def _lose_pulse(self) -> None:
        if self.pulse is not None:
            self._selector.unregister(self.pulse.ours)
            self.pulse.close()
            self.pulse = None

    @property
    def _ready(self) -> bool:
        """Whether the gateway has said so of the living incarnation."""
        return self._child is not None and self._child.epoch == self._ready_epoch

    def _readiness(self) -> Verdict:
        return (200, "ok") if self._ready else (503, "the node is not ready")

    def _judge(self, path: str) -> Verdict | Ask:
        """Answer the kubelet: once the gateway has called the node ready, whether it lives and works is its own to say."""
        if path in ("/livez", "/readyz"):
            live = path == "/livez"
            if not self._ready or self.pulse is None or (live and self._restarts_nodes):
                return (200, "ok") if live else self._readiness()
            self.pulse.ask()
            return LIVE if live else READY
        if path == "/startupz":
            return (200, "ok") if self._was_ready else (503, "the node is starting")
        return 404, "there are /startupz, /readyz and /livez"

    def _exited(self, _child: Child, report: dict[str, Any]) -> None:
        self._child = None
        self._lose_pulse()
        self._probe.resolve(
            (200, "ok"), self._readiness()
        )  # the zygote lives; what becomes of its node is being decided
        if self._killed_for_memory:
            report["oom"] = True
        report["final"] = bool(report["oom"]) or bool(self._term_at)
        report["hung"] = self._hung and bool(self._term_at)
        self._report_due, self._ended_at = report, time.monotonic()
        self._output.say("info", f"node exited {json.dumps(report)}")
        self._link.event(report)

    def _watch_memory(self) -> None:
        """End the node if the kernel killed anything in this container: what is left of it can't be trusted."""
        kills = oom.kills(self._oom_file)
        if kills is None or self._oom_kills is None or kills == self._oom_kills:
            return
        self._oom_kills = kills
        if self._child is not None:
            self._killed_for_memory = True
            self._child.signal(signal.SIGKILL, group=True)
            self._child.killed_by_host = False

    def _report_usage(self, now: float) -> None:
        """Tell the gateway what the node uses: nobody outside of this container sees its process."""
        if self._child is None or now < self._usage_due or not self._link.connected:
            return
        self._usage_due = now + USAGE_PERIOD_S
        used = procfs.use(self._child.pid)
        label = {"node": self._pod.node, "epoch": self._child.epoch}
        self._link.event({"ev": "usage", **label, "pss": used.pss, "rss": used.rss, "cpu_s": used.cpu_s})

    # The end.

    def _wind_up(self, waited_s: float) -> None:
        """After SIGTERM: the gateway ends the node in order; when the grace period is over it is ended here."""
        if self._child is None:
            if not self._link.connected or time.monotonic() - max(self._ended_at, self._term_at) > ORDERS_PATIENCE_S:
                self._code = int(self._report_due["code"]) if self._report_due else 0
            return
        grace_s = self._plan.runtime.cleanup_grace_period_secs
        if self._hung:  # the kubelet's liveness probe found it so, and leaves a second
            self._term_step, grace_s = max(self._term_step, 1), ABORT_PATIENCE_S - TERM_PATIENCE_S
            self._child.signal(signal.SIGABRT, group=True)
        steps = ((grace_s, signal.SIGTERM), (grace_s + TERM_PATIENCE_S, signal.SIGKILL))
        if self._term_step < len(steps) and waited_s >= steps[self._term_step][0]:
            number = steps[self._term_step][1]
            self._term_step += 1
            self._output.say("warning", f"the node is ended with {number.name}: nobody ended it in {waited_s:.0f}s")
            self._child.signal(number, group=True)

    def _leave(self, code: int) -> int:
        """End what is left, leave the termination message, and give the container's exit code."""
        deadline = time.monotonic() + _LAST_WORDS_S
        self._code = None
        while not self._kill_all() and time.monotonic() < deadline:
            self._turn(0.02)
            self._reap()
        record = self._record or (termination.record_of(self._report_due) if self._report_due else None)
        if record is not None:
            limit = termination.share(len(self._plan.nodes) + 1)
            termination.leave_words(self._pod.termination_log, record, limit)
        while self._output.waiting and time.monotonic() < deadline:
            self._turn(0.02)
        self._link.close()
        return code

    def abandon(self) -> None:
        """Close what belongs to the zygote, in a forked child; its pulse goes on."""
        pulse = self.pulse
        self._selector.close()
        self._link.detach()
        self._probe.detach()
        if pulse is not None:
            pulse.answer()


def run_pod(environ: Mapping[str, str], listener: socket.socket) -> NoReturn:
    """Be process 1 of a node's container, and in each forked child a node. `listener`: the probes' port."""
    children.become_reaper()
    own = dict(environ)  # before the settings that only this process' imports need
    pod = PodEnvironment.from_environ(environ)
    preload()
    _wait_for(pod.plan_file)
    zygote = PodZygote(pod, listener, own)
    forked = False
    try:
        code = zygote.run()
    except Forked:
        forked = True
    if forked:  # outside of the handler, so that no author's traceback begins with ours
        zygote.abandon()
        children.become_node()
    os._exit(code)  # not by the interpreter's long way, on which a SIGTERM would find no handler any more


def _wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(RETRY_S)
