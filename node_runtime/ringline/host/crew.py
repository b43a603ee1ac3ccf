"""The nodes of one session as processes: spawned, heard, restarted, killed.

The supervisor makes the links (arena, zygote, control server) and gives them here; the zygote and the control server feed
events on the same loop. Exits come by event, hangs by periodic check.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal as signals
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from ringline.control.link import ControlServer
from ringline.control.messages import Message, MessageType
from ringline.errors import ControlError, ProcessSpawnError, SessionError
from ringline.graph.plan import SessionPlan
from ringline.host.exits import ExitRecord, exit_record, log_exit
from ringline.host.failures import init_error
from ringline.host.handle import NodeHandle, SpawnConfig
from ringline.host.health import watch_memory
from ringline.host.launch import Launch
from ringline.host.launcher import Past, Zygotes
from ringline.host.member import Member, ZygoteProcess
from ringline.host.numbers import numbers_of
from ringline.host.restart import RestartPolicy
from ringline.host.status import PROGRESS_STATES, Progress
from ringline.host.terms import Terms
from ringline.shm import Arena

log = logging.getLogger("ringline.host")

LAST_WORDS_S: Final = 0.25
"""A node's ERROR or DONE and its exit report come by two ways; so long the exit waits for the words."""
DIAL_PATIENCE_S: Final = 10.0
"""A node whose host has died tries to reach the next one at least once a second."""
LOCK_PATIENCE_S: Final = 10.0
"""A dead process' lock drops within milliseconds; a process in an uninterruptible wait may take longer."""
OWN_REPORT_S: Final = 1.0
"""The runner reports its own InitTimeout with a stack; the host waits so much longer before it says so itself."""


STACKS_S: Final = 0.5
"""Between SIGABRT, at which faulthandler writes the stacks of a hung node, and SIGKILL."""


@dataclass(frozen=True, slots=True)
class Links:
    """What the crew works with; all owned by the supervisor."""

    arena: Arena
    zygote: Zygotes
    control: ControlServer
    launch: Launch


@dataclass(frozen=True, slots=True)
class Listeners:
    """Whom the crew tells: progress, printed lines, crashes, every exit, the session's failure, its natural end.

    `busy(node)` is a question: does its beat word say that it is at work?
    """

    progress: Callable[[Progress], None]
    line: Callable[[str, str, str], None]
    crash: Callable[[ExitRecord], object]
    exited: Callable[[ExitRecord], None]
    failed: Callable[[BaseException], None]
    ended: Callable[[], None]
    busy: Callable[[str], bool]


class Crew:
    """All members of one session. Its methods belong to one event loop."""

    def __init__(self, session_id: str, plan: SessionPlan, listeners: Listeners, terms: Terms | None = None) -> None:
        self.session_id = session_id
        self.plan = plan
        self.tell = listeners
        self.terms = terms or Terms()
        self.phase = "initialize"
        """initialize, work (restarts are possible) or over."""
        said = plan.session
        policy = self.terms.policy or RestartPolicy(
            said.max_restarts, said.backoff_seconds, said.max_backoff_seconds, said.restart_window_seconds
        )
        self.members = {node.name: Member(node, policy) for node in plan.nodes}
        self._links: Links | None = None
        self._started = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def links(self) -> Links:
        if self._links is None:
            raise SessionError(f"session '{self.session_id}' has no processes yet")
        return self._links

    def launch(self, links: Links, past: Past | None) -> None:
        """Ask the zygote for all nodes; with a `past` those that run already are only known again."""
        self._links = links
        self._task(watch_memory(self._memory_limits, self._over_memory), "memory")
        for member in self.members.values():
            if past is not None and member.name in past.finished:
                member.ended(past.finished[member.name])
                member.ready.set_result(None)
            else:
                self._spawn(member)
        if past is not None:
            self._take_over(links)

    def _take_over(self, links: Links) -> None:
        """Take over from a host that died. A node that was ready says so no more; that it is dead its zygote says."""
        self.phase = "work"
        stats, fenced = links.arena.node_stats(), links.arena.fenced_nodes()
        for member in self.members.values():
            if not member.alive:
                continue
            member.history.restarts = max(0, member.epoch - 1)
            links.control.expect(member.name, member.epoch)
            if stats[member.name].attached:
                self.tell.progress(member.progressed({"status": "ready", "progress": 1.0}))
                member.ready.set_result(None)
            if member.name in fenced:
                self.kill(member, "Fenced")

    def _spawn(self, member: Member) -> None:
        links = self.links
        epoch = links.arena.epoch_of(member.name)
        process = ZygoteProcess(lambda number: links.zygote.signal(member.name, epoch, number))
        if self.terms.handle is not None:
            handle = self.terms.handle(process, lambda message: self._told(member, message))
        else:
            handle = self._handle(member, process, epoch)
        member.begin(epoch, handle, process)
        self.tell.progress(member.progress)
        environment = links.launch.environment(member.plan, epoch)
        links.zygote.spawn(member.name, epoch, environment, links.launch.command(member.plan))

    def _handle(self, member: Member, process: ZygoteProcess, epoch: int) -> NodeHandle:
        runtime = self.plan.runtime
        return NodeHandle(
            process,
            _NodeLine(self.links.control, member.name),
            process_id=f"{self.session_id}/{member.name}/{epoch}",
            config=SpawnConfig(
                runtime.health_check_interval, runtime.cleanup_grace_period_secs, runtime.health_check_timeout
            ),
            max_health_failures=runtime.max_health_failures,
            on_unhealthy=lambda: self.unhealthy(member),
            on_message=lambda message: self._told(member, message),
            labels=self.labels(member),
        )

    async def all_ready(self) -> None:
        """Return when every node is ready. Raises the first failure, or `InitTimeout`."""
        timeout_s = self.plan.runtime.init_timeout_secs
        waiting = [member.ready for member in self.members.values()]
        await _first(self.links.zygote.present(), asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION))
        done, pending = await asyncio.wait(
            waiting, timeout=timeout_s + OWN_REPORT_S, return_when=asyncio.FIRST_EXCEPTION
        )
        for future in done:
            future.result()
        for member in self.members.values():
            if member.ready in pending:
                self._show_failed(member)
                raise member.init_timeout(timeout_s)
        self.phase = "work"

    async def start(self) -> None:
        """Let all nodes process, and begin to check them."""
        self._started = True
        for member in self.members.values():
            await self._begin_work(member)

    async def _begin_work(self, member: Member) -> None:
        handle = member.handle
        if not member.alive or handle is None:
            return
        await self._say_start(member, handle)
        if member.handle is not handle or not member.alive:
            return  # it died meanwhile; its successor is begun with when it is ready
        if member.state == "ready":
            member.state = "running"
        if self.terms.checked:
            await handle.start_health_check()
        if member.alive:
            self.terms.began(member.name, member.epoch)

    async def _say_start(self, member: Member, handle: NodeHandle) -> None:
        """Send START; a node of a host that died has to dial again first."""
        deadline = time.monotonic() + DIAL_PATIENCE_S
        while member.alive and member.handle is handle:
            try:
                await handle.send_message(Message(MessageType.START, {}))
                return
            except ControlError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.02)

    def unhealthy(self, member: Member) -> None:
        """Kill a node that does not answer. SIGABRT goes first, since it leaves every thread's stack on stderr."""
        reason = "Stalled" if self.tell.busy(member.name) else "Unhealthy"
        process = member.process
        self._condemn(member, reason)
        if process is not None:
            process.send_signal(signals.SIGABRT)
            asyncio.get_running_loop().call_later(STACKS_S, process.send_signal, signals.SIGKILL)

    def kill(self, member: Member, reason: str) -> None:
        """Kill one node at once; its exit report does the rest."""
        self._condemn(member, reason)
        if member.process is not None:
            member.process.send_signal(signals.SIGKILL)

    def renew(self, node: str, reason: str) -> None:
        """Kill a node and have it back at once; this uses up none of its restarts. One that is dead comes back as its crash has it."""
        member = self.members[node]
        if member.alive:  # else the order would be for the end of its successor
            member.history.order()
            self.kill(member, reason)

    def _condemn(self, member: Member, reason: str) -> None:
        """Fence a node that is going to be killed. The fence is exact: it commits nothing more."""
        if member.alive:
            log.error("killing node %s: %s", member.name, reason, extra=self.labels(member))
            member.kill_reason = member.kill_reason or reason
            if member.was_ready:  # before, it holds nothing, and a fenced gate would stay for its successor
                self.links.arena.fence(member.name)

    def give_up(self, error: BaseException) -> None:
        """Wait for nobody and restart nobody any more: the session has failed."""
        self.phase = "over"
        for member in self.members.values():
            if not member.ready.done():
                member.ready.set_exception(error)
        for task in self._tasks:
            if "restart" in task.get_name() and task is not asyncio.current_task():
                task.cancel()

    async def close(self) -> None:
        """Cancel what still runs here."""
        for member in self.members.values():
            if member.handle is not None:
                await member.handle.stop_health_check()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        exits = [task for task in tasks if "exit" in task.get_name()]
        if exits:
            await asyncio.wait(exits, timeout=2 * LAST_WORDS_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- events ----------------------------------------------------------------------------------------------------

    def heard(self, node: str, message: Message) -> None:
        """Take a control message of a node."""
        member = self.members.get(node)
        if member is not None and member.handle is not None:
            member.handle.deliver(message)

    def _told(self, member: Member, message: Message) -> None:
        kind, payload = message.type, message.payload
        if kind is MessageType.PROGRESS:
            if member.progressed(payload).status in PROGRESS_STATES:
                self.tell.progress(member.progress)
        elif kind is MessageType.READY:
            if not member.ready.done():
                member.ready.set_result(None)
        elif kind is MessageType.METRICS:
            member.numbers = numbers_of(payload)
        elif kind is MessageType.ERROR:
            member.told = payload
            member.heard.set()
        elif kind is MessageType.DONE:
            member.done = True
            member.heard.set()

    def zygote_event(self, event: dict[str, Any], body: bytes) -> None:
        """Take an event of the zygote; one of an incarnation that is over is ignored."""
        member = self.members.get(str(event.get("node")))
        if member is None or event.get("epoch") != member.epoch or member.process is None:
            return
        kind = event.get("ev")
        if kind == "log":
            self._lines(member, str(event.get("stream", "stderr")), body)
        elif kind == "spawned":
            member.process.pid = int(event["pid"])
        elif kind == "spawn_failed":
            self._spawn_failed(member, str(event.get("error")))
        elif kind == "exit":
            self._task(self._exited(member, event), f"exit:{member.name}")

    def zygote_lost(self, text: str) -> None:
        """Take note that the zygote is gone, and with it every node."""
        for member in self.members.values():
            if member.process is not None and member.alive:
                member.process.finish(128 + signals.SIGKILL)
                member.state = "failed"
        self.tell.failed(SessionError(f"session '{self.session_id}': {text}; its nodes died with it"))

    def _lines(self, member: Member, stream: str, body: bytes) -> None:
        for line in body.decode(errors="replace").splitlines():
            if stream == "stderr":
                member.tail.append(line)
            self.tell.line(member.name, stream, line)

    def _spawn_failed(self, member: Member, error: str) -> None:
        problem = ProcessSpawnError(f"node '{member.name}' could not be started: {error}")
        if member.process is not None:
            member.process.finish(-1)
        self._show_failed(member)
        if not member.ready.done():
            member.ready.set_exception(problem)
        if self.phase == "work":
            self.tell.failed(problem)

    async def _exited(self, member: Member, event: dict[str, Any]) -> None:
        """Record an exit, then decide: an ordered end, a failed start, a restart, or the session's end."""
        record = await self._recorded(member, event)
        if member.stopping or self.phase == "over":
            return
        if not member.was_ready:
            self._show_failed(member)
            if not member.ready.done():
                member.ready.set_exception(init_error(member, record, self.plan.runtime.init_timeout_secs))
        if record.expected:
            if all(each.finished for each in self.members.values()):
                self.tell.ended()
        elif self.phase == "work":
            self._crashed(member, record, final=bool(event.get("final")))

    async def _recorded(self, member: Member, event: dict[str, Any]) -> ExitRecord:
        code = int(event.get("code", -1))
        if code < 128 and not member.kill_reason and not member.stopping:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(member.heard.wait(), LAST_WORDS_S)
        member.done = member.done or (code == 0 and self._came_to_its_end(member))
        record = exit_record(event, member.circumstances(self.session_id))
        member.ended(record)
        log_exit(record)
        self.tell.exited(record)
        if member.handle is not None:
            member.handle.ended()
            await member.handle.stop_health_check()
        return record

    def _came_to_its_end(self, member: Member) -> bool:
        """Say whether the arena shows it: every output is ended; without outputs, every input is, and nothing is left in it.

        What the node said of it may come late on a busy machine, or be lost with a gateway that was away.
        """
        stats = self.links.arena.channel_stats()
        outputs = [stats[name] for names in member.plan.outputs.values() for name in names]
        inputs = [stats[name] for name in member.plan.inputs.values()]
        if outputs:
            return all(channel.ended for channel in outputs)
        return bool(inputs) and all(channel.ended and not channel.current_occupancy for channel in inputs)

    # -- failures --------------------------------------------------------------------------------------------------

    def _show_failed(self, member: Member) -> None:
        if member.progress.status == "failed":
            return  # it said so itself
        self.tell.progress(member.progressed({"status": "failed", "message": member.progress.message}))

    def _crashed(self, member: Member, record: ExitRecord, *, final: bool = False) -> None:
        """Tell of a crash and restart the node, or fail; `final`: the place where it ran ends with it."""
        self.tell.crash(record)
        if self.plan.session.on_node_crash == "RestartNode" and not final:
            delay = member.history.next_delay(time.monotonic())
            if delay is not None:
                member.state = "restarting"
                self._task(self._restart(member, delay), f"restart:{member.name}")
                return
            log.error("restarts of node %s are used up", member.name, extra=self.labels(member))
        self.tell.failed(record.error())

    async def _restart(self, member: Member, delay_s: float) -> None:
        """Bring a node back in its next epoch, once nothing of the old one can act any more."""
        log.warning("restarting node %s in %.1fs", member.name, delay_s, extra=self.labels(member))
        await asyncio.sleep(delay_s)
        if not await self.reclaimed(member.name):
            self.tell.failed(SessionError(f"what node '{member.name}' held could not be reclaimed after its end"))
            return
        self._spawn(member)
        try:
            timeout_s = self.plan.runtime.init_timeout_secs
            await asyncio.wait_for(asyncio.shield(member.ready), timeout_s + OWN_REPORT_S)
        except TimeoutError:
            self.kill(member, "InitTimeout")
        except Exception as error:
            # Its exit was recorded and answered by the next restart, or by the end of the session.
            log.warning("node %s did not come back: %s", member.name, error, extra=self.labels(member))
        else:
            if self._started and self.phase == "work":
                await self._begin_work(member)

    async def reclaimed(self, node: str) -> bool:
        """Take back what a dead node held; waits for its lock, and for a neighbour that is inside a commit. False: in vain."""
        arena = self.links.arena
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while arena.lock_held(node) or not arena.reclaim(node, keep_queue=True):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.002)
        return True

    def _over_memory(self, node: str, used: int, limit: int) -> None:
        member = self.members[node]
        log.error("node %s uses %d bytes, its limit is %d", node, used, limit, extra=self.labels(member))
        self.kill(member, "MemoryLimit")

    def _memory_limits(self) -> dict[str, tuple[int, int]]:
        return {
            member.name: (member.process.pid, member.plan.memory_limit_bytes)
            for member in self.members.values()
            if member.alive and member.process and member.process.pid and member.plan.memory_limit_bytes
        }

    def _task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=f"ringline-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def labels(self, member: Member) -> dict[str, object]:
        """Give the labels of a log line about a node."""
        return {"session": self.session_id, "node": member.name, "channel": "", "epoch": member.epoch}


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    """Wait until one of them is done; the others are dropped."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _NodeLine:
    """The control server's way to one node, as a handle's `Line`."""

    def __init__(self, server: ControlServer, node: str) -> None:
        self._server = server
        self._node = node

    async def send(self, message: Message) -> None:
        await self._server.send(self._node, message)
