"""Every error that Ringline raises, in one tree, so that an application can catch as widely as it likes.

A message says what was wrong, where, and what to do next, in one sentence or two.

::

    RinglineError
    ├── SettingsError                  runtime.toml, environment or a keyword has a bad value
    ├── ManifestError                  a manifest or a graph is wrong; `.problems` lists every finding
    ├── DataError                      a value that can't be carried by a RuntimeData
    │   └── LeaseReleasedError         a message used after `release()`
    ├── NodeError                      something about one node's type or code
    │   ├── UnknownNodeTypeError       no such node type (the message names the nearest ones)
    │   ├── NodeLoadError              a node's module can't be imported or has no such class
    │   └── NodeConfigError            a node refused its `config`
    ├── SessionError                   a session can't do that now
    │   ├── SessionExistsError         a live session has this id
    │   ├── SessionClosedError         used after its end
    │   ├── EndOfStream                the output has ended: nothing more will come
    │   ├── ResourceLimitError         a limit of the machine or of the settings, found before any spawn
    │   ├── ProcessSpawnError          a node's process could not be started
    │   ├── InitTimeout                a node did not become ready in time (alias InitializationTimeout)
    │   ├── NodeInitError              a node's `initialize` raised, or it exited before it was ready
    │   └── ProcessCrashed             a node's process ended unexpectedly (alias ProcessCrashError)
    ├── ShmError                       shared memory
    │   ├── ArenaError                 an arena can't be made, or its attach is refused
    │   ├── ChannelFullError           a non-blocking or timed send found no room
    │   ├── MessageTooLargeError       larger than `maxMessageSize`
    │   ├── LeaseQuotaError            a reader holds too many messages of a channel
    │   ├── RingCorruptError           a ring or a descriptor fails its checks: the channel is out of use
    │   ├── StateError                 shared state can't be opened or used here
    │   │   └── StateFullError         shared state has no room for this value or key
    │   └── Fenced                     this process was declared dead and may no longer commit or read
    ├── AgentError                     a step of an agent failed; `.agent_id`, `.worker_traceback`
    │   ├── AgentCrashed               its worker's process ended in the step
    │   ├── StepTimeout                the step ran longer than it may
    │   └── StepExpired                the step's deadline passed before it began
    ├── PoolError                      a pool of agents can't do that (unknown or double id, another loop, a forked child)
    │   ├── PoolClosedError            the pool was closed
    │   └── PoolFullError              too many steps wait already
    └── ControlError                   a control message is malformed, too large, or of another version
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


class RinglineError(Exception):
    """The root of the tree: catch this to catch everything that Ringline raises itself."""


class SettingsError(RinglineError, ValueError):
    """A setting (file, environment, keyword) is unknown or has a bad value; the message names its place."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding in a manifest or a graph.

    `place` is a path like ``spec.channels[2].to``; `message` says what is wrong and the way out; `line` is the
    line of the file, from 1, or 0 when there is none. Two findings are equal whatever their lines.
    """

    place: str
    message: str
    line: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class ManifestError(RinglineError, ValueError):
    """A manifest or a graph is wrong. `problems` holds all findings, not only the first."""

    def __init__(self, problems: Sequence[Problem], source: str = "") -> None:
        self.problems = tuple(problems)
        self.source = source
        super().__init__("\n".join(self._located(problem) for problem in self.problems))

    def _located(self, problem: Problem) -> str:
        where = ":".join(part for part in (self.source, str(problem.line or "")) if part)
        if not self.source and where:
            where = f"line {where}"
        return f"{where}: {problem}" if where else str(problem)


class DataError(RinglineError, ValueError):
    """A value can't be carried: an object dtype, a type without meaning for this kind of data."""


class LeaseReleasedError(DataError):
    """A message was used after `release()`; take a `.copy()` to keep it longer."""


class NodeError(RinglineError):
    """Something about one node's type, code or configuration."""


class UnknownNodeTypeError(NodeError, LookupError):
    """No node type has this name; the message names the nearest ones."""


class NodeLoadError(NodeError):
    """A node's module can't be imported, or does not define what it should."""


class NodeConfigError(NodeError, ValueError):
    """A node's `config` does not fit its schema."""


class SessionError(RinglineError):
    """A session can't do what was asked, in the state it is in."""


class SessionExistsError(SessionError):
    """A live session has this id on this machine."""


class SessionClosedError(SessionError):
    """The session has ended."""


class EndOfStream(SessionError):
    """The output has ended; nothing more will come from it."""


class ResourceLimitError(SessionError):
    """A limit of the machine or of the settings is exceeded; raised before anything is started."""


class ProcessSpawnError(SessionError):
    """A node's process could not be started (interpreter missing, environment missing, fork refused)."""


class InitTimeout(SessionError, TimeoutError):
    """A node did not become ready within `init_timeout_secs`."""

    def __init__(self, message: str, node_id: str = "") -> None:
        super().__init__(message)
        self.node_id = node_id


class NodeInitError(SessionError):
    """A node failed before it was ready: `initialize` raised, or its process ended."""

    def __init__(self, message: str, node_id: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.node_id = node_id
        self.exit_code = exit_code


class ProcessCrashed(SessionError):
    """A node's process ended unexpectedly.

    `exit_code` follows the shell's habit: 128 + signal for a killed process (137 = SIGKILL, often
    the out-of-memory killer). `signal` is the signal's name or None, `reason` one CamelCase word
    (`Killed`, `OOMKilled`, `Error`, `Stalled`, `Unhealthy`, `MemoryLimit`, `HostLost` …), `stderr_tail`
    the last lines that it wrote.
    """

    def __init__(
        self,
        node_id: str,
        exit_code: int,
        *,
        signal: str | None = None,
        reason: str = "Error",
        detail: str = "",
        stderr_tail: Sequence[str] = (),
    ) -> None:
        self.node_id = node_id
        self.exit_code = exit_code
        self.signal = signal
        self.reason = reason
        self.stderr_tail = tuple(stderr_tail)
        text = f"Node '{node_id}' exited with code {exit_code}"
        if detail:
            text = f"{text}: {detail}"
        if self.stderr_tail:
            text = f"{text}\n  its last lines:\n" + "\n".join(f"    {line}" for line in self.stderr_tail)
        super().__init__(text)


class ShmError(RinglineError):
    """Something about shared memory."""


class ArenaError(ShmError, OSError):
    """An arena can't be created, or is refused at attach (wrong owner, size, version, offset)."""


class ChannelFullError(ShmError):
    """A non-blocking or timed send found no room: ``Buffer at capacity (backpressure active)``."""


class MessageTooLargeError(ShmError, ValueError):
    """A message is larger than the channel's limit; the text names the setting to raise."""


class LeaseQuotaError(ShmError):
    """A reader holds capacity + 16 messages of one channel: release() those that are done with, copy() those that are kept."""


class RingCorruptError(ShmError):
    """A ring or a descriptor fails its checks; the channel is out of use from then on."""


class Fenced(ShmError):
    """This process was declared dead by its host; it must exit without touching shared memory again."""


class StateError(ShmError):
    """Shared state can't be opened, or is used after its close or in a forked child."""


class StateFullError(StateError):
    """Shared state has no room for this key or value; the text says which bound is reached and how to raise it."""


class AgentError(RinglineError):
    """A step of an agent failed. `worker_traceback` is the traceback in the process where the agent lives, or ""."""

    def __init__(self, agent_id: str, message: str, worker_traceback: str = "") -> None:
        self.agent_id = agent_id
        self.worker_traceback = worker_traceback
        text = f"agent '{agent_id}': {message}"
        super().__init__(f"{text}\n{worker_traceback.rstrip()}" if worker_traceback else text)


class AgentCrashed(AgentError):
    """The process of an agent's worker ended while the step ran (it left, was killed, or died of a fault)."""


class StepTimeout(AgentError, TimeoutError):
    """A step ran longer than its time-out; its worker was killed, the worker's other agents go on."""


class StepExpired(AgentError, TimeoutError):
    """A step's deadline passed before the step began; it was not run."""


class PoolError(RinglineError):
    """A pool of agents can't do what was asked, in the state it is in or from where it was asked."""


class PoolClosedError(PoolError):
    """The pool was closed, or lost all its workers."""


class PoolFullError(PoolError):
    """More steps wait than `max_pending`: submit fewer, or `await` the steps."""


class ControlError(RinglineError):
    """A control message is malformed, too large, of an unknown type or of another version."""


InitializationTimeout = InitTimeout
ProcessCrashError = ProcessCrashed
