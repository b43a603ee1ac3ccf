"""What a manifest may say about the session's pod: an allow-list, never a pod template.

Part of the resource's models (see `model`). Whatever is not listed here can't be set, so no override reaches the
host machine (`hostPath`, `hostNetwork`, privileges, foreign service accounts).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from ringline.graph.fields import Amount, DataKey, FreeObject, Labels, MountPath, ObjectName, Section, SubPath, Text
from ringline.quantities import parse_cpu, parse_quantity

CONFINED: Final = frozenset({
    "hostPath", "hostNetwork", "hostPID", "hostIPC", "hostUsers", "hostPort", "hostAliases", "privileged",
    "securityContext", "serviceAccountName", "serviceAccount", "automountServiceAccountToken",
    "shareProcessNamespace", "containers", "initContainers", "capabilities", "procMount", "csi", "nfs",
})  # fmt: skip
"""Fields of pods that people try and that stay closed: a session's pod is the boundary between tenants."""


class Resources(Section):
    """Limits and requests, as in a container."""

    limits: Annotated[dict[Text, Amount], Field(max_length=16)] = Field(default_factory=dict)
    requests: Annotated[dict[Text, Amount], Field(max_length=16)] = Field(default_factory=dict)

    @field_validator("limits", "requests")
    @classmethod
    def _quantities(cls, value: dict[str, str | int]) -> dict[str, str | int]:
        for name, amount in value.items():
            try:
                parse_cpu(amount) if name == "cpu" else parse_quantity(amount)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return value

    @property
    def memory_limit_bytes(self) -> int | None:
        """The memory limit, or None without one."""
        return parse_quantity(self.limits["memory"]) if "memory" in self.limits else None


class LocalRef(Section):
    """An object of the same namespace by name."""

    name: ObjectName


class Toleration(Section):
    """As in a pod."""

    key: Text = ""
    operator: Literal["Exists", "Equal"] = "Equal"
    value: Text = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    toleration_seconds: int | None = Field(default=None, ge=0, le=31_536_000)


class ClaimSource(Section):
    """A persistent volume claim: model caches."""

    claim_name: ObjectName
    read_only: bool = False


class KeyToPath(Section):
    """One key of a ConfigMap or Secret as a file."""

    key: DataKey
    path: SubPath


class ConfigMapSource(Section):
    """A ConfigMap as files."""

    name: ObjectName
    items: Annotated[list[KeyToPath], Field(max_length=64)] = Field(default_factory=list)


class SecretSource(Section):
    """A Secret as files."""

    secret_name: ObjectName
    items: Annotated[list[KeyToPath], Field(max_length=64)] = Field(default_factory=list)


class EmptyDirSource(Section):
    """Scratch space that ends with the pod."""

    medium: Literal["", "Memory"] = ""
    size_limit: Text | None = None


class Volume(Section):
    """A volume of one of the kinds that can't reach the host machine."""

    name: ObjectName
    persistent_volume_claim: ClaimSource | None = None
    config_map: ConfigMapSource | None = None
    secret: SecretSource | None = None
    empty_dir: EmptyDirSource | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Volume:
        sources = (self.persistent_volume_claim, self.config_map, self.secret, self.empty_dir)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("needs exactly one of persistentVolumeClaim, configMap, secret, emptyDir")
        return self


class VolumeMount(Section):
    """Where a node sees a volume of `spec.pod.volumes`."""

    name: ObjectName
    mount_path: MountPath
    sub_path: SubPath = ""
    read_only: bool = False


class PodSpec(Section):
    """Scheduling, priority, runtime class, safe volumes and pull secrets of a session's pod."""

    code_config_map_ref: LocalRef | None = None
    """ConfigMap with node code; its files are importable in every node."""
    node_selector: Labels = Field(default_factory=dict)
    tolerations: Annotated[list[Toleration], Field(max_length=16)] = Field(default_factory=list)
    affinity: FreeObject = Field(default_factory=dict)
    topology_spread_constraints: Annotated[list[FreeObject], Field(max_length=8)] = Field(default_factory=list)
    priority_class_name: ObjectName | None = None
    runtime_class_name: ObjectName | None = None
    scheduler_name: ObjectName | None = None
    image_pull_secrets: Annotated[list[LocalRef], Field(max_length=8)] = Field(default_factory=list)
    volumes: Annotated[list[Volume], Field(max_length=16)] = Field(default_factory=list)
    resources: Resources = Field(default_factory=Resources)
    """What all containers of a session's pod may use together: the plan must fit below it."""
