"""The JSON that commands print, as types: mypy checks the code against them and docs/cli.md is generated from them.

A field's meaning and unit stand in its annotation. Fields are only ever added; a removed or renamed one is a
breaking change and named in the changelog.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict


class ProblemShape(TypedDict):
    """One finding in a manifest."""

    file: Annotated[str, "the file as it was given"]
    line: Annotated[int | None, "the line, from 1, or null where none can be named"]
    pipeline: Annotated[str, "metadata.name of the document, empty if it could not be read"]
    place: Annotated[str, "where, such as spec.channels[2].to"]
    message: Annotated[str, "what is wrong and the way out"]


class ValidateShape(TypedDict):
    """`ringline validate --json`."""

    ok: Annotated[bool, "no problem in any file"]
    pipelines: Annotated[list[str], "names of all documents that could be read"]
    problems: Annotated[list[ProblemShape], "every finding of every file"]
    warnings: Annotated[list[ProblemShape], "what may be right but looks like a mistake; it does not count against ok"]


class PlanNodeShape(TypedDict):
    """One node of a plan."""

    name: Annotated[str, "the node's name"]
    type: Annotated[str, "its node type"]
    executor: Annotated[str, "process or inline"]
    heap_bytes: Annotated[int, "its part of the arena; 0 without outputs"]
    blocks: Annotated[int, "payloads that its heap can hold at once"]
    memory_limit_bytes: Annotated[int | None, "limit of its anonymous memory, or null"]


class PlanChannelShape(TypedDict):
    """One channel of a plan."""

    index: Annotated[int, "its bit in every block's word"]
    name: Annotated[str, "from_to_to"]
    producer: Annotated[str, "node.port, or @host.port for a session input"]
    consumer: Annotated[str, "node.port, or @host.port for a session output"]
    kind: Annotated[str, "declared data type, or any"]
    capacity: Annotated[int, "messages"]
    overflow: Annotated[str, "block, drop_oldest, drop_newest, latest or deadline"]
    block_timeout_ms: Annotated[int, "0 = waits for ever"]
    deadline_ms: Annotated[int, "0 = none"]


class PlanShape(TypedDict):
    """`ringline plan --json`."""

    pipeline: Annotated[str, "metadata.name"]
    nodes: Annotated[list[PlanNodeShape], "in the manifest's order, the host last"]
    channels: Annotated[list[PlanChannelShape], "session inputs and outputs included"]
    inputs: Annotated[dict[str, str], "session input → channel"]
    outputs: Annotated[dict[str, str], "session output → channel"]
    heaps_bytes: Annotated[int, "all heaps together: what shmSize limits"]
    arena_bytes: Annotated[int, "the arena file: heaps, rings and tables"]
    shm_size_bytes: Annotated[int, "the ceiling, shmSize"]
    max_message_bytes: Annotated[int, "the largest message, maxMessageSize"]
    node_config_bytes: Annotated[int, "size of the document that every node reads"]


class ChannelShape(TypedDict):
    """Statistics of one channel, read from its ring."""

    producer: Annotated[str, "node, or @host"]
    consumer: Annotated[str, "node, or @host"]
    messages: Annotated[int, "messages committed"]
    bytes: Annotated[int, "payload bytes committed"]
    occupancy: Annotated[int, "messages queued now"]
    capacity: Annotated[int, "messages that fit"]
    dropped: Annotated[dict[str, int], "messages dropped, by reason; reasons with 0 are left out"]
    blocked_seconds: Annotated[float, "time that the producer has waited for room"]


class NodeShape(TypedDict):
    """State of one node of a session."""

    state: Annotated[str, "starting, loading, connecting, ready, running, stopping, stopped or failed"]
    pid: Annotated[int | None, "process id, or null"]
    epoch: Annotated[int, "incarnation, 1 for the first"]
    restarts: Annotated[int, "times that it was restarted"]
    progress: Annotated[float, "0..1 while it starts"]
    message: Annotated[str, "what it is doing, in its own words"]
    exit_code: Annotated[int | None, "of its last exit; 128 + signal when killed"]
    reason: Annotated[str | None, "of its last exit, such as Error, OOMKilled, Stalled"]


class MomentShape(TypedDict):
    """One entry of the time line."""

    at_seconds: Annotated[float, "since the session started"]
    media_seconds: Annotated[float | None, "timestamp of the message, or null"]
    source: Annotated[str, "node.port, or the session output"]
    what: Annotated[str, "end_of_speech, text, first_audio or another event that a node marked"]
    detail: Annotated[str, "the text, or empty"]


class EndShape(TypedDict):
    """What went through one session input or output."""

    messages: Annotated[int, "messages sent or received by this command"]
    bytes: Annotated[int, "payload bytes"]
    file: Annotated[str | None, "the file that was read or written, or null"]


class ProgressLine(TypedDict):
    """A line of `ringline run --json` while nodes start."""

    event: Annotated[Literal["progress"], "which line this is"]
    node: Annotated[str, "the node's name"]
    status: Annotated[str, "starting, loading, connecting, ready or failed"]
    progress: Annotated[float, "0..1"]
    message: Annotated[str, "what it is doing"]


class StartedLine(TypedDict):
    """A line of `ringline run --json`: the session runs."""

    event: Annotated[Literal["started"], "which line this is"]
    session_id: Annotated[str, "the session's id"]
    directory: Annotated[str | None, "its session directory, or null with the inline executor"]
    seconds: Annotated[float, "from the command to all nodes ready"]


class StatsLine(TypedDict):
    """A line of `ringline run --json`, every `--interval` seconds."""

    event: Annotated[Literal["stats"], "which line this is"]
    elapsed_seconds: Annotated[float, "since the session started"]
    nodes: Annotated[dict[str, NodeShape], "by node"]
    channels: Annotated[dict[str, ChannelShape], "by channel"]


class MomentLine(MomentShape):
    """A line of `ringline run --json --timeline`."""

    event: Annotated[Literal["moment"], "which line this is"]


class TextLine(TypedDict):
    """A line of `ringline run --json`: a text message of a session output that goes to no file."""

    event: Annotated[Literal["output"], "which line this is"]
    output: Annotated[str, "the session output"]
    text: Annotated[str, "the message"]


class ExitLine(TypedDict):
    """A line of `ringline run --json`: a node's process has ended, in order or not."""

    event: Annotated[Literal["exit"], "which line this is"]
    node: Annotated[str, "the node's name"]
    epoch: Annotated[int, "its incarnation"]
    pid: Annotated[int, "process id"]
    exit_code: Annotated[int, "128 + signal when killed"]
    signal: Annotated[str | None, "name of the signal that killed it, or null"]
    reason: Annotated[str, "one word, such as Completed, Error, OOMKilled"]
    expected: Annotated[bool, "false for a crash"]
    message: Annotated[str, "one sentence"]
    max_rss_bytes: Annotated[int, "the most memory that it had, shared pages counted"]
    cpu_seconds: Annotated[float, "processor time that it used"]


class NoticeLine(TypedDict):
    """A line of `ringline run --json`: something worth knowing, such as a restart."""

    event: Annotated[Literal["notice"], "which line this is"]
    message: Annotated[str, "one sentence"]


class SummaryShape(TypedDict):
    """The last line of `ringline run --json`."""

    event: Annotated[Literal["summary"], "which line this is"]
    session_id: Annotated[str, "the session's id"]
    pipeline: Annotated[str, "metadata.name"]
    result: Annotated[str, "ended, interrupted, duration or failed"]
    exit_code: Annotated[int, "of the command"]
    error: Annotated[str | None, "why it failed, or null"]
    attempts: Annotated[int, "sessions started; more than 1 only with --restart"]
    start_seconds: Annotated[float, "from the command to all nodes ready"]
    elapsed_seconds: Annotated[float, "from then to the end"]
    nodes: Annotated[dict[str, NodeShape], "by node"]
    channels: Annotated[dict[str, ChannelShape], "by channel"]
    inputs: Annotated[dict[str, EndShape], "session inputs fed by --input"]
    outputs: Annotated[dict[str, EndShape], "all session outputs"]
    moments: Annotated[list[MomentShape], "the time line, with --timeline"]


class NodeTypeShape(TypedDict):
    """One node type, as `ringline nodes --json` lists it."""

    type: Annotated[str, "the name for `type:`"]
    summary: Annotated[str, "one sentence"]
    extra: Annotated[str, "the pip extra that it needs; empty for types that are not in the box"]
    installed: Annotated[bool, "its libraries can be imported here"]
    inputs: Annotated[dict[str, str] | None, "port → data type; null: the ports that connections name"]
    outputs: Annotated[dict[str, str] | None, "port → data type; null: the ports that connections name"]
    config: Annotated[dict[str, object], "JSON schema of `config:`"]


class TopNodeShape(TypedDict):
    """One node in `ringline top --json`."""

    epoch: Annotated[int, "incarnation"]
    attached: Annotated[bool, "a living process holds its lock"]
    pid: Annotated[int | None, "of that process, or null"]
    memory_bytes: Annotated[int, "of that process, shared pages divided among their users (PSS)"]
    busy_seconds: Annotated[float, "time spent in the present process() call; 0 when idle"]
    calls: Annotated[int, "process() calls so far; of @host: messages received by the application"]
    p50_seconds: Annotated[float | None, "half of the calls took less; of @host: from a message's entry to its exit"]
    p99_seconds: Annotated[float | None, "99 % of the calls took less; both are bounds of buckets that double"]
    heap_used_bytes: Annotated[int, "bytes of its heap in use"]
    heap_bytes: Annotated[int, "size of its heap"]


class TopSessionShape(TypedDict):
    """One session in `ringline top --json`."""

    session_id: Annotated[str, "the session's id"]
    directory: Annotated[str, "its session directory"]
    host_alive: Annotated[bool, "the process that owns it lives"]
    nodes: Annotated[dict[str, TopNodeShape], "by node"]
    channels: Annotated[dict[str, ChannelShape], "by channel"]


class TopShape(TypedDict):
    """`ringline top --json`: one line per refresh, a single one with `--once`."""

    directory: Annotated[str, "the folder that was searched"]
    sessions: Annotated[list[TopSessionShape], "every session found"]


class CheckShape(TypedDict):
    """One check of `ringline doctor --json`."""

    name: Annotated[str, "what was looked at"]
    state: Annotated[Literal["ok", "warn", "fail"], "warn: works, but not at its best"]
    found: Annotated[str, "what is there"]
    advice: Annotated[str, "what to change, empty when ok"]


class DoctorShape(TypedDict):
    """`ringline doctor --json`."""

    ok: Annotated[bool, "no check failed"]
    proposed_max_processes_per_session: Annotated[int, "from the memory that is free"]
    checks: Annotated[list[CheckShape], "in the order printed"]


class TimesShape(TypedDict):
    """Percentiles of measured times, in seconds."""

    count: Annotated[int, "measurements"]
    p50: Annotated[float, "median, seconds"]
    p99: Annotated[float, "99th percentile, seconds"]
    max: Annotated[float, "the longest, seconds"]


class BenchRowShape(TypedDict):
    """One measurement of `ringline bench`."""

    name: Annotated[str, "what was measured"]
    bytes: Annotated[int, "payload size, 0 where it has no meaning"]
    times: Annotated[TimesShape, "seconds"]


class BenchShape(TypedDict):
    """`ringline bench … --json`."""

    bench: Annotated[str, "latency, transfer, spawn or node"]
    machine: Annotated[dict[str, str | int], "cores, kernel, python: what the figures depend on"]
    rows: Annotated[list[BenchRowShape], "the measurements"]


class AgentsCellShape(TypedDict):
    """One executor with one kernel, load and number of agents, in `ringline bench agents`; medians over the rounds."""

    executor: Annotated[str, "inline, thread, process, hybrid or auto"]
    lives: Annotated[str, "the executor that auto chose; else the same"]
    kernel: Annotated[str, "none, python, numpy or mixed"]
    load: Annotated[str, "quarter, scaled, or `at once` for the kernel none: due again when answered"]
    agents: Annotated[int, "how many"]
    steps_per_s: Annotated[float, "steps answered per second, all agents together"]
    rounds: Annotated[list[float], "the same in each round, in their order"]
    ideal_per_s: Annotated[
        float, "steps that are due per second, as far as bare loops on all cores could do them; 0 for the kernel none"
    ]
    efficiency: Annotated[float | None, "share of the ideal, 1 = all of it; null for the kernel none"]
    cpu_percent: Annotated[float, "processor time of all processes, 100 = one core"]
    useful: Annotated[
        float | None,
        "share of that time which bare steps would have taken: what is left of it when the pool's own work is taken away; null for the kernel none",
    ]
    waits: Annotated[
        float | None, "share of a bare step's time that it is off the processor, for I/O; null for the kernel none"
    ]
    p50_delay_ms: Annotated[
        float | None, "median time from due to answered, the step itself included; null if no step was answered"
    ]
    p95_delay_ms: Annotated[float | None, "95th percentile of it"]


class AgentsMemoryShape(TypedDict):
    """The memory of one executor."""

    executor: Annotated[str, "its name"]
    agents: Annotated[int, "how many, after a step of each (kernel numpy)"]
    pss_mb: Annotated[float, "PSS of the application and all its processes, 10^6 bytes"]
    rss_mb: Annotated[float, "RSS of them, in which shared pages count once for each process"]
    processes: Annotated[int, "how many processes these are"]


class AgentsDeathShape(TypedDict):
    """What one agent that dies in a step does to the others."""

    executor: Annotated[str, "its name"]
    death: Annotated[str, "exit (os._exit) or segfault"]
    others: Annotated[int, "how many other agents there are"]
    survived: Annotated[bool, "whether the application goes on"]
    failed: Annotated[int, "others whose step of that moment failed"]
    lost: Annotated[int, "others that do no step afterwards"]
    anew: Annotated[int, "others that do, but forgot what came before"]


class AgentsShape(TypedDict):
    """`ringline bench agents --json`."""

    bench: Annotated[str, "agents"]
    machine: Annotated[dict[str, str | int], "cores, kernel, python: what the figures depend on"]
    cells: Annotated[list[AgentsCellShape], "throughput and delay"]
    memory: Annotated[list[AgentsMemoryShape], "memory"]
    deaths: Annotated[list[AgentsDeathShape], "crash isolation"]
