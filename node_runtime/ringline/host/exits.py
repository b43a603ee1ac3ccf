"""One record for every end of a node's process, and the word for why it ended.

The supervisor makes them from the zygote's exit reports; callbacks, `get_status`, the log and the metrics show them.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ringline.errors import ProcessCrashed

log = logging.getLogger("ringline.exits")

EXIT_FENCED: Final = 70
"""A node that found its gate fenced leaves with this code."""
_BY_CODE: Final = {EXIT_FENCED: "Fenced", 71: "InitTimeout", 72: "Stalled"}
"""What the runner's own exit codes mean; its ERROR event says the same, if it gets out."""
TAIL_LINES: Final = 20

_BY_SIGNAL: Final = {
    "SIGKILL": "Killed",
    "SIGTERM": "Terminated",
    "SIGINT": "Interrupted",
    "SIGSEGV": "SegmentationFault",
    "SIGBUS": "BusError",
    "SIGABRT": "Aborted",
    "SIGILL": "IllegalInstruction",
    "SIGFPE": "FloatingPointError",
}
_EXPLAIN: Final = {
    "Killed": "killed by SIGKILL, not by the out-of-memory killer as far as the kernel tells",
    "OOMKilled": "killed by the kernel's out-of-memory killer; give the node more memory or load less",
    "Unhealthy": "it did not answer its health checks and was killed",
    "MemoryLimit": "it used more memory than its limit allows and was killed",
    "Stalled": "it was busy for longer than stall_timeout_secs and ended itself",
    "InitTimeout": "it was not ready in time and ended itself",
    "Fenced": "it had been declared dead and left",
    "BusError": "killed by SIGBUS: a mapped file was truncated under it",
    "ExitedEarly": "it left with code 0 although its inputs had not ended",
}


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """The end of one process of a node.

    `exit_code` is 128 + signal for a killed process, `signal` its name or None; `reason` one CamelCase word;
    `message` a sentence; `max_rss_bytes`, `user_s` and `sys_s` what it used; `finished_at` seconds since 1970.
    `expected` tells an ordered end (drain, shutdown) from a crash.
    """

    session_id: str
    node_id: str
    epoch: int
    pid: int
    exit_code: int
    signal: str | None
    reason: str
    message: str
    expected: bool
    phase: str = "running"
    progress: str = ""
    max_rss_bytes: int = 0
    user_s: float = 0.0
    sys_s: float = 0.0
    finished_at: float = field(default_factory=time.time)
    stderr_tail: tuple[str, ...] = ()

    @property
    def session(self) -> str:
        return self.session_id

    def as_json(self) -> dict[str, Any]:
        """Give the record as JSON-able values, as it is logged."""
        return asdict(self) | {"stderr_tail": list(self.stderr_tail)}

    def error(self) -> ProcessCrashed:
        """Make the documented error of this end: ``Node 'tts' exited with code 137: …``."""
        detail = self.message
        if self.progress:
            detail = f"{detail} (last progress: {self.progress})"
        return ProcessCrashed(
            self.node_id,
            self.exit_code,
            signal=self.signal,
            reason=self.reason,
            detail=detail,
            stderr_tail=self.stderr_tail,
        )


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the host knows about a process when it ends.

    `kill_reason`: why the host itself killed it ("" = it did not); `told`: the payload of the node's own ERROR
    event; `done`: the node said DONE; `stopping`: the host had ordered its end.
    """

    session_id: str
    phase: str = "running"
    progress: str = ""
    kill_reason: str = ""
    told: Mapping[str, Any] = field(default_factory=dict)
    done: bool = False
    stopping: bool = False


def exit_record(event: Mapping[str, Any], known: Circumstances) -> ExitRecord:
    """Join the zygote's exit event with what the host knows."""
    code = int(event.get("code", -1))
    signal = event.get("signal")
    oom = event.get("oom")
    reason = exit_reason(code, signal, oom, known)
    tail: Sequence[str] = event.get("tail") or ()
    return ExitRecord(
        session_id=known.session_id,
        node_id=str(event.get("node", "")),
        epoch=int(event.get("epoch", 0)),
        pid=int(event.get("pid", 0)),
        exit_code=code,
        signal=signal,
        reason=reason,
        message=_message(reason, code, signal, oom, known),
        expected=reason in ("Completed", "Shutdown"),
        phase=known.phase,
        progress=known.progress,
        max_rss_bytes=int(event.get("max_rss_bytes") or 0),
        user_s=float(event.get("user_s") or 0.0),
        sys_s=float(event.get("sys_s") or 0.0),
        stderr_tail=tuple(str(line) for line in tail)[-TAIL_LINES:],
    )


def exit_reason(code: int, signal: str | None, oom: bool | None, known: Circumstances) -> str:
    """One CamelCase word for an end; the host's own reason goes first, then the node's, then the kernel's."""
    if known.kill_reason:
        return known.kill_reason
    if known.told:
        return str(known.told.get("reason") or "Error")
    if known.stopping:
        return "Shutdown"
    if code == 0:
        return "Completed" if known.done else "ExitedEarly"
    if signal == "SIGKILL":
        return "OOMKilled" if oom else "Killed"
    if signal is not None:
        return _BY_SIGNAL.get(signal, "Signaled")
    return _BY_CODE.get(code, "Error")


def _message(reason: str, code: int, signal: str | None, oom: bool | None, known: Circumstances) -> str:
    if known.told:
        return str(known.told.get("message") or known.told.get("error") or "it failed")
    if reason == "Killed" and oom is None:
        return "killed by SIGKILL; whether by the out-of-memory killer is unknown here (see `dmesg`)"
    if reason in _EXPLAIN:
        return _EXPLAIN[reason]
    if reason in ("Completed", "Shutdown"):
        return "ended in order" if code == 0 else f"ended on order with {signal or f'code {code}'}"
    return f"killed by {signal}" if signal else "it ended without saying why; its last lines may tell"


def log_exit(record: ExitRecord) -> None:
    """Write the one structured line that every exit gets, code 0 included."""
    level = logging.INFO if record.expected else logging.ERROR
    extra = {"session": record.session_id, "node": record.node_id, "channel": "", "epoch": record.epoch}
    log.log(level, "node exited %s", json.dumps(record.as_json(), sort_keys=True), extra=extra)
