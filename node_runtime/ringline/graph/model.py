"""The `MediaPipeline` resource as models: what a manifest may say, its defaults and their reasons.

The manifest reader, the builder, the checks, the plan and the operator's CRD all come from these classes. A model
checks one value at a time; what needs the whole graph is in `validate`. Outside the names are camelCase, in Python
snake_case; ``from`` is `from_`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, PrivateAttr, model_validator

from ringline.graph.fields import (
    EnvName,
    FreeObject,
    ImageName,
    Labels,
    LongText,
    NodeName,
    ObjectName,
    PipelineName,
    PortRef,
    Section,
    TypeName,
)
from ringline.graph.pod import PodSpec, Resources, VolumeMount
from ringline.graph.policies import IngressSpec, PythonSpec, RuntimeSpec, SecretKeyRef, SessionSpec, UpdateStrategy
from ringline.graph.source import Source
from ringline.names import API_VERSION, MAX_CAPACITY, MAX_CHANNELS, MAX_NODES

OverflowName = Literal["Block", "DropOldest", "DropNewest", "Latest", "Deadline"]
_SERVER_FIELDS: Final = frozenset({
    "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "ownerReferences", "finalizers",
    "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName",
})  # fmt: skip


class ObjectMeta(Section):
    """Name and labels. What an API server adds (``kubectl get -o yaml``) is read over."""

    name: PipelineName
    """At most 40 characters: session and pod names are made from it."""
    namespace: ObjectName | None = None
    labels: Labels = Field(default_factory=dict)
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=1 << 18)]], Field(max_length=64)] = Field(
        default_factory=dict
    )

    @model_validator(mode="before")
    @classmethod
    def _without_server_fields(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if key not in _SERVER_FIELDS}
        return value


class ValueFrom(Section):
    """Where an environment variable's value lies; locally the application's own variable of that name is taken."""

    secret_key_ref: SecretKeyRef | None = None
    config_map_key_ref: SecretKeyRef | None = None

    @model_validator(mode="after")
    def _one(self) -> ValueFrom:
        if (self.secret_key_ref is None) == (self.config_map_key_ref is None):
            raise ValueError("needs exactly one of secretKeyRef, configMapKeyRef")
        return self


class EnvVar(Section):
    """One environment variable of a node."""

    name: EnvName
    value: LongText | None = None
    value_from: ValueFrom | None = None

    @model_validator(mode="after")
    def _one(self) -> EnvVar:
        if (self.value is None) == (self.value_from is None):
            raise ValueError("needs exactly one of value, valueFrom")
        return self


class NodeSpec(Section):
    """One vertex of the graph: a process, in a pod a container."""

    name: NodeName
    type: TypeName
    """A type in the box, one registered by `register_node`, or ``module:Class``."""
    config: FreeObject = Field(default_factory=dict)
    """Passed to the node as it stands."""
    executor: Literal["Process", "Inline"] = "Process"
    """Inline runs the whole session in one process, to debug it."""
    resources: Resources = Field(default_factory=Resources)
    image: ImageName | None = None
    """Container image; locally without meaning."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    python: PythonSpec = Field(default_factory=PythonSpec)
    env: Annotated[list[EnvVar], Field(max_length=64)] = Field(default_factory=list)
    volume_mounts: Annotated[list[VolumeMount], Field(max_length=16)] = Field(default_factory=list)


class FlowSpec(Section):
    """How a channel behaves, the same for edges, inputs and outputs."""

    capacity: int | None = Field(default=None, ge=1, le=MAX_CAPACITY)
    """Messages; absent: `channelCapacity`, for Latest 1."""
    overflow: OverflowName | None = None
    """What happens when it is full; absent: Block, or DropNewest with `enableBackpressure: false`."""
    block_timeout_milliseconds: int | None = Field(default=None, ge=0, le=3_600_000)
    """With Block: how long a writer waits; 0 or absent = for ever."""
    deadline_milliseconds: int | None = Field(default=None, ge=1, le=3_600_000)
    """With Deadline: a message older than this is never delivered."""


class ChannelSpec(FlowSpec):
    """One edge: an output port to an input port."""

    from_: PortRef = Field(alias="from")
    to: PortRef
    feedback: bool = False
    """Declares that this channel closes a cycle. A graph must be free of cycles without its feedback channels."""


class InputSpec(FlowSpec):
    """Data that the application sends in, under a name."""

    name: NodeName
    to: PortRef


class OutputSpec(FlowSpec):
    """Data that the application receives, under a name."""

    name: NodeName
    from_: PortRef = Field(alias="from")


class PipelineSpec(Section):
    """The graph and how its sessions run."""

    replicas: int = Field(default=1, ge=0, le=1000)
    """Unclaimed sessions that are kept: the warm pool."""
    suspend: bool = False
    update_strategy: UpdateStrategy = Field(default_factory=UpdateStrategy)
    runtime: RuntimeSpec = Field(default_factory=RuntimeSpec)
    session: SessionSpec = Field(default_factory=SessionSpec)
    pod: PodSpec = Field(default_factory=PodSpec)
    nodes: list[NodeSpec] = Field(default_factory=list, max_length=MAX_NODES)
    channels: list[ChannelSpec] = Field(default_factory=list, max_length=MAX_CHANNELS)
    ingress: IngressSpec = Field(default_factory=IngressSpec)
    inputs: list[InputSpec] = Field(default_factory=list, max_length=MAX_CHANNELS)
    outputs: list[OutputSpec] = Field(default_factory=list, max_length=MAX_CHANNELS)


class MediaPipeline(Section):
    """The custom resource, as in a manifest; a `status` is the operator's and read over.

    `source` remembers the file and the lines it came from.
    """

    api_version: Literal["ringline.dev/v1alpha1"]
    kind: Literal["MediaPipeline"]
    metadata: ObjectMeta
    spec: PipelineSpec
    _source: Source = PrivateAttr(default_factory=Source)

    @model_validator(mode="before")
    @classmethod
    def _without_status(cls, value: Any) -> Any:
        return {key: item for key, item in value.items() if key != "status"} if isinstance(value, dict) else value

    @property
    def source(self) -> Source:
        """File, folder and lines of the manifest; empty for a pipeline that was built in Python."""
        return self._source

    def with_source(self, source: Source) -> MediaPipeline:
        """Return the same resource, knowing where it was read."""
        copy = self.model_copy()
        copy._source = source  # noqa: SLF001  (of this class)
        return copy

    def to_manifest(self) -> dict[str, Any]:
        """Return the plain mapping that a manifest holds: only what was said, in camelCase."""
        manifest = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return {"apiVersion": API_VERSION, "kind": "MediaPipeline"} | manifest
