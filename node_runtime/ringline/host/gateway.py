"""The engine of a session in a pod: the local supervisor, with containers instead of children and an end that Kubernetes sees.

Run by `gateway_main`. What it adds: each node's container is told when its node is ready and how it ends, exits are kept for a
gateway that may have to follow, a drain lets the clients hear the rest, and `/status` tells the operator.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from ringline.data import RuntimeData
from ringline.errors import ProcessCrashed, SessionClosedError, SessionError
from ringline.graph.session_plan import SessionPlan
from ringline.host.exits import ExitRecord
from ringline.host.gateway_launcher import GatewayLauncher
from ringline.host.gateway_zygotes import PodZygotes
from ringline.host.member import Member
from ringline.host.shutdown import end_nodes
from ringline.host.status import Progress
from ringline.host.supervisor import Supervisor
from ringline.host.zygote_client import EventHandler
from ringline.node import termination
from ringline.node.pod_settings import PodEnvironment
from ringline.node.procfs import Use

READY_AFTER_S: Final = 3.0
"""After a node's death the session is shown as not ready so long, that the operator asks what happened."""
DISMISS_AFTER_S: Final = 0.1
"""When a session fails, its nodes are marked as ending first, then containers that never came are sent away."""


class Gateway(Supervisor):
    """Runs the pod's session. `on_drain` ends it in order when the preStop hook asks."""

    def __init__(self, pod: PodEnvironment, plan: SessionPlan, on_drain: Callable[[], asyncio.Future[None]]) -> None:
        self._on_drain = on_drain
        self._pod = pod
        self.places: PodZygotes | None = None
        self.launcher = GatewayLauncher(pod.directory, self._make_places)
        super().__init__(pod.session_id, plan, launcher=self.launcher, on_log=lambda *_: None, on_crash=lambda _: None)
        self.serving = False
        """Whether outputs are read and, if there is a token, clients are let in."""
        self.delivered: str | None = None
        """Digest of the parameters that the nodes have."""
        self.phase = "Starting"
        self.begun = asyncio.Event()
        """Set when the phase is no longer Starting."""
        self.reason = ""
        self._blamed: ExitRecord | None = None
        self._trouble_at = 0.0
        self._words: dict[str, Any] | None = None

    def _make_places(self, token: str, on_event: EventHandler) -> PodZygotes:
        def heard(event: dict[str, Any], body: bytes) -> None:
            if event.get("hung"):
                self._crew.members[event["node"]].kill_reason = "Unhealthy"
            on_event(event, body)

        self.places = PodZygotes(
            self.launcher.directory,
            token,
            [node.name for node in self.plan.nodes],
            heard,
            on_drain=self._on_drain,
            restarts_nodes=self.plan.session.on_node_crash == "RestartNode",
        )
        return self.places

    # -- life ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Bring the session to work, or fail it. Returns in both cases; `ended` tells when it is over."""
        try:
            await self._make()
            self._words = self.launcher.failure()
            if self._words is not None:
                raise SessionError(str(self._words["message"]))
            if self.launcher.past is not None:
                self.took_over()
            await self._crew.all_ready()
            self.state = "ready"
            await self.start()
            self._enter("Running")
        except Exception as error:
            if self.places is None:
                # Not even the directory could be made whole; the containers must hear of it all the same.
                self.places = self._make_places(self.launcher.token, self._crew.zygote_event)
                await self.places.start()
            self._fail(error)

    async def drain(self) -> None:
        """End the session in order: no more input, what is on its way comes out, `cleanup` runs, all within g."""
        if self.state not in ("starting", "ready", "running"):
            await asyncio.wait([self.ended], timeout=self.plan.runtime.cleanup_grace_period_secs)
            return
        working, self.state = self.state == "running", "draining"
        self._enter("Draining")
        self._crew.give_up(SessionClosedError(f"session '{self.session_id}' is being ended"))
        if self._ports is not None and working:
            self._ports.end_all()
        grace_s = self.plan.runtime.cleanup_grace_period_secs
        members = list(self._crew.members.values())
        if self.places is not None:
            asyncio.get_running_loop().call_later(DISMISS_AFTER_S, self.places.dismiss, 0)
        await end_nodes(members, drain=working, grace_s=grace_s, hurry=self._hurry)
        self.state = "ended"
        self._enter("Succeeded")
        self._settle(None)

    def _enter(self, phase: str) -> None:
        if self.phase not in ("Succeeded", "Failed"):
            self.phase = phase
        self.begun.set()

    def _all_ended(self) -> None:
        super()._all_ended()
        self._enter("Succeeded")

    def _fail(self, error: BaseException) -> None:
        if self._failure is not None or self.state in ("draining", "ended", "stopping", "closed"):
            return  # who waits for a session that is being ended hears of it as an error; it is none
        self._words = self._words or self._last_words(error)
        self.reason = str(self._words["reason"])
        self._enter("Failed")
        super()._fail(error)
        if self.places is None:
            return
        self.launcher.keep_failure(self._words)
        asyncio.get_running_loop().call_later(DISMISS_AFTER_S, self.places.dismiss, 1)
        for member in self._crew.members.values():
            if not member.alive and member.last_exit is not None:
                self._release(member.last_exit)

    def _last_words(self, error: BaseException) -> dict[str, Any]:
        if self._blamed is not None:
            return words_of(self._blamed)
        reason = error.reason if isinstance(error, ProcessCrashed) else type(error).__name__
        return {
            "node": "gateway",
            "exitCode": 1,
            "reason": reason,
            "finishedAt": termination.now(),
            "message": str(error),
        }

    # -- nodes -----------------------------------------------------------------------------------------------------

    def _show(self, progress: Progress) -> None:
        super()._show(progress)
        if progress.status == "ready" and self.places is not None:
            self.places.ready(progress.node_id, self._crew.members[progress.node_id].epoch)

    def _exited(self, record: ExitRecord) -> None:
        """Keep the record; the container ends with its node unless the node comes back."""
        self.launcher.keep_exit(record)
        if not record.expected:
            self._trouble_at = time.monotonic()
            if self.phase in ("Starting", "Running"):
                self._blamed = record
        if record.expected or self.state in ("failed", "draining", "ended", "stopping"):
            self._release(record)

    def _release(self, record: ExitRecord) -> None:
        if self.places is not None:
            code = (
                0 if record.expected and record.exit_code in (0, 143) else record.exit_code or int(not record.expected)
            )
            self.places.leave(record.node_id, code, words_of(record))

    # -- what it shows ---------------------------------------------------------------------------------------------

    def _use(self, member: Member) -> Use:
        """Say what its container has told: process ids of another container mean nothing here."""
        return self.places.use(member.name, member.epoch) if self.places is not None else Use()

    @property
    def ready(self) -> bool:
        """Whether every node works, and has for a while if one had died."""
        states = {member.state for member in self._crew.members.values() if not member.finished}
        if self.state != "running" or states - {"running"} or not self.serving:
            self._trouble_at = time.monotonic() if self._trouble_at else 0.0
            return False
        if time.monotonic() - self._trouble_at < READY_AFTER_S and self._trouble_at:
            return False
        self._trouble_at = 0.0
        return True

    def took_over(self) -> None:
        """Show the session as degraded for a while: its gateway has died."""
        self._trouble_at = time.monotonic()
        self.reason = "GatewayRestarted"

    def report(self) -> dict[str, Any]:
        """Give what `/status` answers."""
        status = self.status()
        message = status.message
        if self.phase == "Starting" and self.places is not None and self.places.absent():
            message = "waiting for the containers of " + ", ".join(self.places.absent())
        return {
            "session": self.session_id,
            "phase": self.phase,
            "ready": self.ready,
            "nodes": [_node(name, each) for name, each in status.nodes.items()],
            "reason": self.reason,
            "message": message[:1024],
            "parametersDelivered": self.delivered,
            "gatewayStarts": self.launcher.starts,
            "shm": {"arenaBytes": self.plan.layout.size_bytes, "maxMessageBytes": self.plan.layout.max_message_bytes},
        }

    def last_words(self) -> dict[str, Any]:
        """Give the gateway's own termination message."""
        if self._words is not None:
            return self._words
        return {"node": "gateway", "exitCode": 0, "reason": "Completed", "finishedAt": termination.now(), "message": ""}

    # -- for clients -----------------------------------------------------------------------------------------------

    async def take(self, name: str, data: RuntimeData) -> bool:
        """Put a client's message into an input, waiting as its policy says."""
        self._check()
        return await self.send(self.plan.input_channel(name), data, None)

    async def receive_output(self, name: str, timeout_s: float | None) -> RuntimeData:
        """Give the next message of an output."""
        return await self.receive(self.plan.output_channel(name), timeout_s)

    async def deliver(self, values: dict[str, Any]) -> list[str]:
        """Give all living nodes new parameters; returns the sentences of those that refused."""

        async def one(node: str) -> str | None:
            try:
                await self.parameters(node, values)
            except (SessionError, RuntimeError) as error:
                return str(error)
            return None

        living = [name for name, member in self._crew.members.items() if member.alive]
        return [text for text in await asyncio.gather(*(one(node) for node in living)) if text]

    def epochs(self) -> tuple[int, ...]:
        """Give the incarnations that are ready; parameters are told anew when they change."""
        members = self._crew.members.values()
        return tuple(member.epoch if member.state == "running" else 0 for member in members)


def words_of(record: ExitRecord) -> dict[str, Any]:
    """Give an exit record as a container's last words."""
    text = record.message
    if record.progress and not record.expected:
        text += f" (last progress: {record.progress})"
    return {
        "node": record.node_id,
        "exitCode": record.exit_code,
        "signal": record.signal,
        "reason": record.reason,
        "epoch": record.epoch,
        "finishedAt": _time(record.finished_at),
        "message": text,
        "tail": list(record.stderr_tail),
    }


def _node(name: str, status: Any) -> dict[str, Any]:
    node = {
        "name": name,
        "state": status.state.capitalize(),
        "progressPercent": round(status.progress * 100),
        "message": status.message,
        "epoch": status.epoch,
        "restarts": status.restarts,
    }
    if status.last_exit is not None:
        words = words_of(status.last_exit)
        text = "\n".join((words["message"], *words["tail"]))[:1024]
        last = {key: words[key] for key in ("exitCode", "signal", "reason", "finishedAt")} | {"message": text}
        node["lastExit"] = {key: value for key, value in last.items() if value is not None}
    return node


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
