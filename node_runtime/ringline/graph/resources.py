"""The `MediaSession` resource and both resources' statuses as models.

The operator makes its CRDs from these and writes objects of these shapes; `kubectl explain` shows the sentences. The
`MediaPipeline` resource itself is in `model`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ringline.graph.fields import FreeObject, LongText, NodeName, ObjectName, PipelineName, Section, Text

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Phase = Literal["Pending", "Starting", "Running", "Stopping", "Succeeded", "Failed"]


class PipelineRef(Section):
    """The pipeline whose graph a session runs."""

    name: PipelineName


class MediaSessionSpec(Section):
    """One session: made by the operator for a replica, or by a user as a claim."""

    pipeline_ref: PipelineRef
    """A pipeline of the same namespace."""
    parameters: FreeObject = Field(default_factory=dict)
    """Handed to every node's `on_parameters` when the session is claimed; at most 16 KiB as JSON."""


class Condition(Section):
    """One aspect of the state, as in Kubernetes' own resources."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """Name of the aspect."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(max_length=1024)] = ""
    """One CamelCase word for programs."""
    message: LongText = ""
    """A sentence for people."""
    observed_generation: int | None = Field(default=None, ge=0)
    """The generation of the spec that this was said of."""
    last_transition_time: Time
    """When `status` last changed."""


Conditions = Annotated[list[Condition], Field(max_length=16)]


class LastExit(Section):
    """How a node's process last ended."""

    exit_code: int | None = None
    """128 + signal number for a killed process."""
    signal: Text | None = None
    """The signal's name, if one ended it."""
    reason: Text | None = None
    """One CamelCase word: OOMKilled, Stalled, InitTimeout, Error, …"""
    message: LongText | None = None
    """The last lines that it wrote."""
    finished_at: Time | None = None
    """When it ended."""


class NodeStatus(Section):
    """One node of a session."""

    name: NodeName
    """As in the pipeline."""
    state: Text = ""
    """Starting, Loading, Connecting, Ready, Running, Stopping, Stopped or Failed."""
    progress_percent: int | None = Field(default=None, ge=0, le=100)
    """How far `initialize` is."""
    message: LongText | None = None
    """What the node said last of its progress."""
    epoch: int | None = Field(default=None, ge=0)
    """Incarnation within the session."""
    restarts: int | None = Field(default=None, ge=0)
    """Restarts within the session."""
    last_exit: LastExit | None = None
    """Its last end, if it has ended."""


class Endpoint(Section):
    """Where the session's gateway listens."""

    address: Text
    """The pod's address."""
    port: int = Field(ge=1, le=65535)
    """The ingress port."""


class MediaSessionStatus(Section):
    """What the operator says of a session."""

    observed_generation: int | None = Field(default=None, ge=0)
    """The generation of the spec that this status is about."""
    phase: Phase | None = None
    """For people; programs read the conditions."""
    revision: Text | None = None
    """The pipeline's template that its pod was made from."""
    pod_name: Text | None = None
    """The pod of the present attempt."""
    claimed_from: Text | None = None
    """The replica whose ready pod this claim took."""
    attempt: int | None = Field(default=None, ge=0)
    """Counts from 0; grows with each restart of the session."""
    endpoint: Endpoint | None = None
    """Where the session's gateway listens."""
    start_time: Time | None = None
    """When its pod was first seen."""
    ready_time: Time | None = None
    """When all nodes were first ready."""
    finish_time: Time | None = None
    """When the last attempt ended."""
    attempt_end_time: Time | None = None
    """When the present attempt ended; a restart may follow."""
    restart_times: Annotated[list[Time], Field(max_length=16)] = Field(default_factory=list)
    """Restarts within the window."""
    nodes: Annotated[list[NodeStatus], Field(max_length=32)] = Field(default_factory=list)
    """Each node's state, progress, restarts and last exit."""
    conditions: Conditions = Field(default_factory=list)
    """PodScheduled, NodesReady, Ready, Degraded, Completed."""


class MediaSession(Section):
    """The custom resource of one session."""

    spec: MediaSessionSpec
    """What is asked for; can't be changed."""
    status: MediaSessionStatus = Field(default_factory=MediaSessionStatus)
    """Written by the operator."""


class ShmStatus(Section):
    """Shared memory of one session."""

    needed: Text
    """What the plan needs."""
    size: Text
    """What the pipeline allows."""


class MediaPipelineStatus(Section):
    """What the operator says of a pipeline."""

    observed_generation: int | None = Field(default=None, ge=0)
    """The generation of the spec that this status is about."""
    replicas: int = Field(default=0, ge=0)
    """Unclaimed sessions that exist."""
    ready_replicas: int = Field(default=0, ge=0)
    """Unclaimed sessions that are ready to be claimed."""
    updated_replicas: int = Field(default=0, ge=0)
    """Unclaimed sessions made from the present template."""
    claimed_sessions: int = Field(default=0, ge=0)
    """Sessions that users have claimed and that have not finished."""
    update_revision: ObjectName | None = None
    """The present template's revision."""
    selector: Text | None = None
    """Label selector of the unclaimed pods, for the scale subresource."""
    shm: ShmStatus | None = None
    """Shared memory of one session."""
    conditions: Conditions = Field(default_factory=list)
    """Accepted, ShmBudget, Ready, Degraded."""
