"""The engine that gives each node a process: makes a session's directory, arena, sockets and zygote, and frees them.

`Session` drives it; `crew` looks after the nodes. Whatever goes wrong ends in `_fail`, after which every pending operation
raises and all nodes are ended; `close` leaves nothing behind, however far the start had come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from ringline.control.link import ControlServer
from ringline.control.messages import Message
from ringline.data import RuntimeData
from ringline.errors import SessionClosedError, SessionError
from ringline.graph.layout import ChannelPlan
from ringline.graph.plan import SessionPlan
from ringline.host import procfs
from ringline.host.crew import Crew, Links, Listeners
from ringline.host.engine import OnCrash, OnProgress
from ringline.host.exits import ExitRecord
from ringline.host.flush import flush
from ringline.host.launcher import Launcher, Zygotes
from ringline.host.member import Member
from ringline.host.ports import HostPorts
from ringline.host.shutdown import end_nodes
from ringline.host.status import Progress, SessionMetrics, SessionStatus
from ringline.host.terms import Terms
from ringline.host.usage import usage
from ringline.metrics.facts import NodeFacts, SessionFacts
from ringline.names import CONTROL_SOCKET
from ringline.shm import Arena, ChannelStats, NodeStats

log = logging.getLogger("ringline.host")

LOADING_GRACE_S = 0.5
"""Patience with nodes of a session that never started: one that loads a model has nothing to clean up."""


class Supervisor:
    """Runs one session. All methods belong to the event loop in which it was made."""

    def __init__(
        self,
        session_id: str,
        plan: SessionPlan,
        *,
        launcher: Launcher,
        on_log: Callable[[str, str, str], None],
        on_crash: OnCrash,
        terms: Terms | None = None,
    ) -> None:
        self.session_id = session_id
        self.plan = plan
        self.state = "new"
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._launcher = launcher
        self._failure: BaseException | None = None
        self._on_progress: OnProgress | None = None
        self.terms = terms or Terms()
        listeners = Listeners(self._show, on_log, on_crash, self._exited, self._failed, self._all_ended, self._busy)
        self._crew = Crew(session_id, plan, listeners, self.terms)
        self._arena: Arena | None = None
        self._ports: HostPorts | None = None
        self._control: ControlServer | None = None
        self._zygotes: Zygotes | None = None
        self._hurry = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def crew(self) -> Crew:
        """The session's nodes."""
        return self._crew

    # -- start -----------------------------------------------------------------------------------------------------

    async def initialize(self, on_progress: OnProgress | None) -> None:
        """Check, make everything, spawn all nodes and wait until they are ready. The caller closes on errors."""
        self._on_progress = on_progress
        await self._make()
        await self._crew.all_ready()
        self.state = "ready"

    async def _make(self) -> None:
        """Make everything and have all nodes spawned."""
        self.state = "starting"
        launcher = self._launcher
        launcher.check(self.plan)
        self._arena = arena = await launcher.arena(self.plan)
        self._ports = HostPorts(arena, self.plan, self.session_id)
        self._control = ControlServer(launcher.directory / CONTROL_SOCKET, launcher.token, self._crew.heard)
        self._zygotes = launcher.zygotes(self.session_id, self._crew.zygote_event, self._crew.zygote_lost)
        await self._zygotes.start()
        launch = launcher.launch(self.session_id)
        self._crew.launch(Links(arena, self._zygotes, self._control, launch), launcher.past)
        await self._control.start()  # now, so that whatever a node says finds its member; no turn of the loop between

    async def start(self) -> None:
        self._check()
        self.state = "running"
        await self._crew.start()
        deadline_s = self.plan.session.active_deadline_seconds
        if deadline_s:
            error = SessionError(f"session '{self.session_id}' ran for activeDeadlineSeconds ({deadline_s}s)")
            self._deadline = asyncio.get_running_loop().call_later(deadline_s, self._fail, error)

    # -- data and commands -----------------------------------------------------------------------------------------

    async def send(self, channel: ChannelPlan, data: RuntimeData, timeout_s: float | None) -> bool:
        return await self._open_ports().send(channel, data, timeout_s)

    def try_send(self, channel: ChannelPlan, data: RuntimeData) -> bool:
        return self._open_ports().try_send(channel, data)

    async def receive(self, channel: ChannelPlan, timeout_s: float | None) -> RuntimeData:
        return await self._open_ports().receive(channel, timeout_s)

    def listen(self, channel: ChannelPlan, take: Callable[[RuntimeData], None]) -> None:
        """Have every message of an output given to `take` as it comes, instead of `receive`."""
        self._open_ports().listen(channel, take)

    def hand_out(self, channel: ChannelPlan) -> int:
        """Give what has come to whoever listens to an output, now: a dead node's last messages, say. Returns how many, 0 when none is left."""
        return self._open_ports().hand_out(channel)

    def end(self, channel: ChannelPlan) -> None:
        self._open_ports().end(channel)

    async def end_output(self, node: str, channel: ChannelPlan) -> bool:
        """End the output of a node that is dead and does not come back; what it had sent stays. False: it can't be reclaimed."""
        if not await self._crew.reclaimed(node):
            return False
        self._open_arena().end(channel.name)
        return True

    async def command(self, node: str, message: Message) -> None:
        """Send a node a control message, which overtakes its data."""
        assert self._control is not None
        await self._control.send(node, message)

    async def flush(self, node: str) -> None:
        self._check()
        await flush(node, self.plan, self._open_arena(), self._crew.members)

    async def parameters(self, node: str, values: dict[str, Any]) -> None:
        self._check()
        await self._crew.members[node].take_parameters(values)

    # -- what it shows ---------------------------------------------------------------------------------------------

    def status(self) -> SessionStatus:
        nodes = {name: member.status() for name, member in self._crew.members.items()}
        return SessionStatus(self.session_id, self.state, nodes, str(self._failure or ""))

    def metrics(self) -> SessionMetrics:
        pids = {name: member.pid for name, member in self._crew.members.items()}
        return usage(pids, self.plan.layout.size_bytes)

    def channel_stats(self) -> dict[str, ChannelStats]:
        return self._open_arena().channel_stats()

    def node_stats(self) -> dict[str, NodeStats]:
        return self._open_arena().node_stats()

    def facts(self) -> SessionFacts:
        nodes = {name: _facts(member, self._use(member)) for name, member in self._crew.members.items()}
        return SessionFacts(self.session_id, self.state, self.plan.layout.size_bytes, nodes)

    def _use(self, member: Member) -> procfs.Use:
        """Say what a node's process uses."""
        return procfs.use(member.pid)

    # -- failure and end -------------------------------------------------------------------------------------------

    def fail_ports(self, error: BaseException) -> None:
        """Let every pending and later `send` and `receive` raise `error`; the nodes go on."""
        if self._ports is not None:
            self._ports.fail(error)

    def fail(self, error: BaseException) -> None:
        """End the session because of `error`."""
        self._fail(error)

    def _failed(self, error: BaseException) -> None:
        if self.terms.failed(error):
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """End the session because of `error`: everything pending raises it, all nodes are ended."""
        if self._failure is not None or self.state in ("stopping", "closed"):
            return
        self._failure = error
        self.state = "failed"
        log.error("session %s failed: %s", self.session_id, error, extra=self._labels())
        if self._ports is not None:
            self._ports.fail(error)
        self._crew.give_up(error)
        self._ending = asyncio.get_running_loop().create_task(self._terminate(error), name="ringline-terminate")

    async def _terminate(self, error: BaseException) -> None:
        grace = self.plan.runtime.cleanup_grace_period_secs
        await end_nodes(list(self._crew.members.values()), drain=False, grace_s=grace, hurry=self._hurry)
        self._settle(error)

    def _settle(self, error: BaseException | None) -> None:
        """Answer `wait`."""
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
            return
        self.ended.set_exception(error)
        self.ended.exception()  # seen: nobody has to call wait()

    def _exited(self, record: ExitRecord) -> None:
        """Take note of a node's end, whatever follows from it."""
        self.terms.exited(record)

    def _all_ended(self) -> None:
        self.state = "ended"
        self._settle(None)

    def hurry(self) -> None:
        """Skip what is left of every wait: kill now."""
        self._hurry.set()

    async def close(self) -> None:
        """End everything and leave nothing behind. Errors on the way are logged, the steps after them still run."""
        drain = self.state in ("running", "ended")
        grace = self.plan.runtime.cleanup_grace_period_secs if drain or self.state != "starting" else LOADING_GRACE_S
        self.state = "stopping"
        if self._deadline is not None:
            self._deadline.cancel()
        end = self._failure or SessionClosedError(f"session '{self.session_id}' has ended")
        if self._ports is not None:
            self._ports.fail(end)
        self._crew.give_up(end)
        await self._safely(self._end_nodes(drain, grace))
        await self._safely(self._crew.close())
        await self._safely(self._close_links())
        await self._safely(self._close_memory())
        self.state = "closed"
        self._settle(end)

    async def _safely(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        except Exception:
            log.exception("closing session %s", self.session_id, extra=self._labels())

    async def _end_nodes(self, drain: bool, grace_s: float) -> None:
        if self._ending is not None:
            await asyncio.wait([self._ending])
        discarding = None
        if drain and self._ports is not None:
            self._ports.end_all()
            discarding = asyncio.create_task(self._ports.discard(), name="ringline-discard")
        try:
            members = list(self._crew.members.values())
            await end_nodes(members, drain=drain, grace_s=grace_s, hurry=self._hurry)
        finally:
            if discarding is not None:
                discarding.cancel()
                await asyncio.gather(discarding, return_exceptions=True)

    async def _close_links(self) -> None:
        if self._zygotes is not None:
            await self._zygotes.close()
        if self._control is not None:
            await self._control.close()

    async def _close_memory(self) -> None:
        if self._ports is not None:
            self._ports.close()
        await self._launcher.release()

    # -- inner -----------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Raise what ended the session, if it has ended."""
        if self._failure is not None:
            raise self._failure
        if self.state in ("stopping", "closed"):
            raise SessionClosedError(f"session '{self.session_id}' has ended")

    def _open_ports(self) -> HostPorts:
        if self._ports is None:
            raise SessionError(f"session '{self.session_id}' is not initialized")
        return self._ports

    def _open_arena(self) -> Arena:
        if self._arena is None or self.state == "closed":
            raise SessionClosedError(f"session '{self.session_id}' has no shared memory any more")
        return self._arena

    def _show(self, progress: Progress) -> None:
        if self._on_progress is not None:
            self._on_progress(progress)

    def _busy(self, node: str) -> bool:
        return bool(self.node_stats()[node].busy_since_ns)

    def _labels(self) -> dict[str, object]:
        return {"session": self.session_id, "node": "", "channel": "", "epoch": 0}


def _facts(member: Member, used: procfs.Use) -> NodeFacts:
    return NodeFacts(
        up=member.alive,
        restarts=member.history.restarts,
        exits=dict(member.exits),
        health_failures=dict(member.health_failures),
        pss_bytes=used.pss,
        rss_bytes=used.rss,
        cpu_s=used.cpu_s,
        counters=member.numbers.get("counters", {}),
        gauges=member.numbers.get("gauges", {}),
    )
