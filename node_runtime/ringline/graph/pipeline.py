"""`Pipeline`: the graph built in Python, step by step; the same model as a manifest's.

Applications write it by hand, `Session` and `Runtime` take it. Each step turns its arguments into the plain mapping that
a manifest would hold and lets the models read it, so builder and YAML can't differ. A step raises at once what it
alone can know (`ManifestError` with the place), `build` and `validate` judge the whole graph.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_pascal

from ringline.errors import ManifestError, Problem
from ringline.graph.catalog import Catalog
from ringline.graph.draft import fields_of
from ringline.graph.manifest import pipeline_from, read_manifest
from ringline.graph.model import (
    ChannelSpec,
    InputSpec,
    MediaPipeline,
    NodeSpec,
    OutputSpec,
    PipelineSpec,
)
from ringline.graph.plan import plan
from ringline.graph.policies import RuntimeSpec
from ringline.graph.session_plan import SessionPlan
from ringline.graph.source import place_of
from ringline.graph.validate import validate
from ringline.names import API_VERSION, canonical
from ringline.settings import NAMES, RuntimeConfig
from ringline.wording import hint, sentence, shown

_EXECUTORS: Final = {"process": "Process", "python": "Process", "inline": "Inline"}
_M = TypeVar("_M", bound=BaseModel)


class Pipeline:
    """A graph of nodes. Every step returns the pipeline itself, so steps can be chained.

    ``Pipeline("voice").add_node("energy_vad", "vad").add_node("asr", "asr").connect("vad", "speech", "asr", "audio")``
    """

    def __init__(self, name: str = "pipeline") -> None:
        header = {"apiVersion": API_VERSION, "kind": "MediaPipeline", "metadata": {"name": name}}
        self._resource = _read(MediaPipeline, header | {"spec": {"nodes": []}}, ())

    @classmethod
    def builder(cls) -> Self:
        """Return an empty pipeline, as `Pipeline()` does."""
        return cls()

    @classmethod
    def of(cls, resource: MediaPipeline) -> Self:
        """Wrap a resource that was read from a manifest; it is shared, not copied."""
        pipeline = cls.__new__(cls)
        pipeline._resource = resource  # noqa: SLF001  (of this class)
        return pipeline

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Self:
        """Read the plain mapping of a manifest. Raises `ManifestError` with all its problems."""
        return cls.of(pipeline_from(manifest))

    @classmethod
    def load(cls, path: Path | str, name: str | None = None) -> Self:
        """Read a manifest's file; `name` chooses among several documents.

        Raises `ManifestError` with all problems of the file, or when it holds several pipelines and none was chosen.
        """
        found = read_manifest(Path(path))
        names = [document.metadata.name for document in found]
        if name is None and len(found) == 1:
            return cls.of(found[0])
        if name not in names:
            raise ManifestError(
                [Problem("", f"holds the pipelines {', '.join(names)}; choose one of them by name")], str(path)
            )
        return cls.of(found[names.index(name)])

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self._resource.metadata.name

    @property
    def spec(self) -> PipelineSpec:
        """The graph and its settings as a model."""
        return self._resource.spec

    @property
    def resource(self) -> MediaPipeline:
        """The whole resource as a model."""
        return self._resource

    def add_node(
        self,
        type: str,  # noqa: A002  (the documented name)
        id: str,  # noqa: A002  (the documented name)
        config: Mapping[str, Any] | None = None,
        *,
        executor: str | None = None,
        memory_limit_mb: int | None = None,
        resources: Mapping[str, Any] | None = None,
        python: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | Sequence[Mapping[str, Any]] | None = None,
        image: str | None = None,
    ) -> Self:
        """Add a node of a type under an id; `config` is any JSON-able mapping and is copied.

        `memory_limit_mb` is in MiB; `python` takes executable, venv_path, extra_paths; `env` a mapping of texts or a
        manifest's list. Raises `ManifestError` for a bad value and for an id that exists.
        """
        place = ("spec", "nodes", len(self.spec.nodes))
        raw: dict[str, Any] = {"name": id, "type": type}
        raw |= {"config": _json(config, (*place, "config"))} if config is not None else {}
        raw |= {"executor": _executor(executor, place)} if executor is not None else {}
        raw |= {"resources": dict(resources)} if resources else {}
        raw |= {"resources": _limited(resources, memory_limit_mb)} if memory_limit_mb is not None else {}
        raw |= {"python": _python(python)} if python else {}
        raw |= {"env": _env(env)} if env else {}
        raw |= {"image": image} if image is not None else {}
        node = _read(NodeSpec, raw, place)
        self._refuse_double(node.name, place)
        self._extend(nodes=[*self.spec.nodes, node])
        return self

    def with_executor(self, name: str) -> Self:
        """Choose the executor of the node added last: "process" (alias "python") or "inline"."""
        if not self.spec.nodes:
            raise ManifestError([Problem("spec.nodes", "with_executor comes after add_node; add a node first")])
        place = ("spec", "nodes", len(self.spec.nodes) - 1)
        executor = _executor(name, place)
        if executor != self.spec.nodes[-1].executor:
            changed = self.spec.nodes[-1].model_copy(update={"executor": executor})
            self._extend(nodes=[*self.spec.nodes[:-1], changed])
        return self

    def connect(
        self,
        from_: str,
        from_port: str,
        to: str,
        to_port: str,
        *,
        capacity: int | None = None,
        overflow: str | None = None,
        deadline_ms: int | None = None,
        block_timeout_ms: int | None = None,
        feedback: bool = False,
    ) -> Self:
        """Join an output port to an input port; nodes may be added later.

        `overflow` is block, drop_oldest, drop_newest, latest or deadline (a time alone implies its policy). `feedback`
        declares that this channel closes a cycle.
        """
        place = ("spec", "channels", len(self.spec.channels))
        raw = {"from": f"{from_}.{from_port}", "to": f"{to}.{to_port}"}
        flow = _flow(capacity, overflow, deadline_ms, block_timeout_ms)
        channel = _read(ChannelSpec, raw | flow | ({"feedback": True} if feedback else {}), place)
        self._extend(channels=[*self.spec.channels, channel])
        return self

    def input(
        self,
        name: str,
        to: str,
        *,
        capacity: int | None = None,
        overflow: str | None = None,
        deadline_ms: int | None = None,
        block_timeout_ms: int | None = None,
    ) -> Self:
        """Name an input of the session: ``input("microphone", to="vad.audio")``."""
        flow = _flow(capacity, overflow, deadline_ms, block_timeout_ms)
        place = ("spec", "inputs", len(self.spec.inputs))
        given = _read(InputSpec, {"name": name, "to": to} | flow, place)
        self._extend(inputs=[*self.spec.inputs, given])
        return self

    def output(
        self,
        name: str,
        from_: str,
        *,
        capacity: int | None = None,
        overflow: str | None = None,
        deadline_ms: int | None = None,
        block_timeout_ms: int | None = None,
    ) -> Self:
        """Name an output of the session: ``output("speaker", from_="tts.audio")``."""
        flow = _flow(capacity, overflow, deadline_ms, block_timeout_ms)
        place = ("spec", "outputs", len(self.spec.outputs))
        wanted = _read(OutputSpec, {"name": name, "from": from_} | flow, place)
        self._extend(outputs=[*self.spec.outputs, wanted])
        return self

    def runtime(self, **settings: Any) -> Self:
        """Set settings of `RuntimeConfig` by their Python names, as the manifest's `spec.runtime` holds them."""
        raw = self.spec.runtime.model_dump(mode="json", by_alias=True, exclude_unset=True)
        names = {name.field: name.manifest for name in NAMES}
        for field, value in settings.items():
            if field not in names:
                raise ManifestError([Problem(f"spec.runtime.{field}", f"unknown setting; {hint(field, names)}")])
            outer, _, inner = names[field].partition(".")
            written = 0 if value is None and field == "max_processes_per_session" else _plain(value)
            raw = raw | {outer: (raw.get(outer, {}) | {inner: written}) if inner else written}
        self._extend(runtime=_read(RuntimeSpec, raw, ("spec", "runtime")))
        return self

    def validate(self, catalog: Catalog | None = None, settings: RuntimeConfig | None = None) -> list[Problem]:
        """Return all problems of the graph; see `graph.validate.validate`."""
        return validate(self._resource, catalog, settings)

    def build(self) -> Self:
        """Check the graph and return the pipeline. Raises `ManifestError` with all problems."""
        problems = self.validate()
        if problems:
            raise ManifestError(problems, self._resource.source.file)
        return self

    def plan(self, settings: RuntimeConfig, catalog: Catalog | None = None) -> SessionPlan:
        """Compute the session's plan; see `graph.plan.plan`."""
        return plan(self._resource, settings, catalog)

    def to_manifest(self) -> dict[str, Any]:
        """Return the plain mapping that a manifest of this pipeline holds."""
        return self._resource.to_manifest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and self.to_manifest() == other.to_manifest()

    __hash__ = None  # type: ignore[assignment]  # it changes with every step

    def __repr__(self) -> str:
        return f"<Pipeline {self.name}: {len(self.spec.nodes)} nodes, {len(self.spec.channels)} channels>"

    def _extend(self, **changes: Any) -> None:
        """Replace fields of the spec, leaving a resource that is shared with others as it was."""
        spec = self.spec.model_copy(update=changes)
        self._resource = self._resource.model_copy(update={"spec": spec})

    def _refuse_double(self, name: str, place: tuple[str | int, ...]) -> None:
        for index, node in enumerate(self.spec.nodes):
            if canonical(node.name) == canonical(name):
                text = f"node '{name}' exists already (spec.nodes[{index}]); choose another id"
                raise ManifestError([Problem(place_of((*place, "name")), text)])


def _read(model: type[_M], raw: Mapping[str, Any], place: tuple[str | int, ...]) -> _M:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems = [
            Problem(place_of((*place, *entry["loc"])), sentence(entry, fields_of(model, entry["loc"][:-1])))
            for entry in error.errors()
        ]
        raise ManifestError(problems) from None


def _json(value: Any, place: tuple[str | int, ...]) -> Any:
    """Copy a JSON-able value as JSON holds it: tuples become lists."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ManifestError([Problem(place_of(place), f"can't be written as JSON: {error}")]) from None


def _executor(name: str, place: tuple[str | int, ...]) -> str:
    if name.lower() not in _EXECUTORS:
        text = f"{shown(name)} is no executor; {hint(name, _EXECUTORS)}"
        raise ManifestError([Problem(place_of((*place, "executor")), text)])
    return _EXECUTORS[name.lower()]


def _limited(resources: Mapping[str, Any] | None, memory_limit_mb: int) -> dict[str, Any]:
    given = dict(resources or {})
    return given | {"limits": {**given.get("limits", {}), "memory": f"{memory_limit_mb}Mi"}}


def _python(python: Mapping[str, Any]) -> dict[str, Any]:
    spelled = {"venv_path": "venvPath", "extra_paths": "extraPaths"}
    return {spelled.get(name, name): _plain(value) for name, value in python.items()}


def _env(env: Mapping[str, str] | Sequence[Mapping[str, Any]]) -> list[Any]:
    if isinstance(env, Mapping):
        return [{"name": name, "value": value} for name, value in env.items()]
    return list(env)


def _flow(
    capacity: int | None, overflow: str | None, deadline_ms: int | None, block_timeout_ms: int | None
) -> dict[str, Any]:
    if overflow is None and deadline_ms is not None:
        overflow = "Deadline"
    if overflow is None and block_timeout_ms is not None:
        overflow = "Block"
    given = {
        "capacity": capacity,
        "overflow": to_pascal(overflow) if overflow and overflow.islower() else overflow,
        "deadlineMilliseconds": deadline_ms,
        "blockTimeoutMilliseconds": block_timeout_ms,
    }
    return {name: value for name, value in given.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
