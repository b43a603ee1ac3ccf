"""Reading manifests for commands: choose one document of a file, apply `--set`, resolve the settings.

Called by run, plan, graph and bench. Errors are those of `ringline.graph`; a wrong option is a usage error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

if TYPE_CHECKING:
    from ringline.graph.model import MediaPipeline
    from ringline.settings import RuntimeConfig

PipelineOption = Annotated[
    str | None, typer.Option("--pipeline", "-p", metavar="NAME", help="Which document, if the file holds several.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file, such as runtime.toml.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PLACE=VALUE",
        help="Override NODE.config.KEY=VALUE or runtime.SETTING=VALUE; values are YAML. May be repeated.",
    ),
]


@dataclass(frozen=True)
class Overrides:
    """What `--set` says: `config` per node as (keys, value), `runtime` by setting."""

    config: Mapping[str, tuple[tuple[tuple[str, ...], Any], ...]]
    runtime: Mapping[str, Any]


def choose_pipeline(path: Path, name: str | None) -> MediaPipeline:
    """Read a file and return its only document, or the one called `name`."""
    from ringline.graph.manifest import read_manifest

    found = read_manifest(path)
    names = [document.metadata.name for document in found]
    if name is None and len(found) == 1:
        return found[0]
    listed = ", ".join(names)
    if name is None:
        raise typer.BadParameter(f"{path} holds {len(found)} pipelines: {listed}; choose one with --pipeline NAME")
    for document in found:
        if document.metadata.name == name:
            return document
    raise typer.BadParameter(f"{path} has no pipeline {name!r} (it has: {listed})", param_hint="--pipeline")


def parse_overrides(options: Sequence[str] | None) -> Overrides:
    """Read `--set` options; a malformed one is a usage error."""
    config: dict[str, tuple[tuple[tuple[str, ...], Any], ...]] = {}
    runtime: dict[str, Any] = {}
    for option in options or ():
        place, equals, text = option.partition("=")
        parts = tuple(place.split("."))
        if not equals or not all(parts):
            raise typer.BadParameter(f"{option!r}: write PLACE=VALUE", param_hint="--set")
        value = _value(option, text)
        if len(parts) >= 3 and parts[1] == "config":
            config[parts[0]] = (*config.get(parts[0], ()), (parts[2:], value))
        elif len(parts) == 2 and parts[0] == "runtime":
            runtime[parts[1]] = value
        else:
            raise typer.BadParameter(f"{option!r}: the place is NODE.config.KEY or runtime.SETTING", param_hint="--set")
    return Overrides(config, runtime)


def _value(option: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{option!r}: the value is no YAML; quote it", param_hint="--set") from error


def apply_overrides(manifest: Mapping[str, Any], overrides: Overrides) -> dict[str, Any]:
    """Return a copy of a manifest's mapping with `config` values of nodes replaced."""
    spec = dict(manifest["spec"])
    nodes = [dict(node) for node in spec["nodes"]]
    known = {str(node["name"]): node for node in nodes}
    for name, changes in overrides.config.items():
        if name not in known:
            listed = ", ".join(known)
            raise typer.BadParameter(f"there is no node {name!r} (there are: {listed})", param_hint="--set")
        for keys, value in changes:
            known[name]["config"] = _changed(known[name].get("config") or {}, keys, value)
    return {**manifest, "spec": {**spec, "nodes": nodes}}


def _changed(mapping: Mapping[str, Any], keys: tuple[str, ...], value: Any) -> dict[str, Any]:
    first, *rest = keys
    if not rest:
        return {**mapping, first: value}
    below = mapping.get(first)
    return {**mapping, first: _changed(below if isinstance(below, Mapping) else {}, tuple(rest), value)}


def overridden(pipeline: MediaPipeline, overrides: Overrides) -> MediaPipeline:
    """Return the document with `--set` applied, checked again."""
    if not overrides.config:
        return pipeline
    from ringline.graph.model import MediaPipeline

    changed = apply_overrides(pipeline.to_manifest(), overrides)
    return MediaPipeline.model_validate(changed).with_source(pipeline.source)


def settings_for(pipeline: MediaPipeline, config: Path | None, overrides: Mapping[str, Any]) -> RuntimeConfig:
    """Join defaults, the settings file (or the `runtime.toml` of this folder), manifest, environment and command line."""
    from ringline.graph.validate import runtime_section
    from ringline.settings import find_settings_file, resolve_settings

    return resolve_settings(
        file=config or find_settings_file(Path.cwd()),
        manifest=runtime_section(pipeline),
        manifest_folder=pipeline.source.folder,
        environ=os.environ,
        overrides=_by_field(overrides),
    )


def _by_field(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Take a setting by its manifest's name too: ``shmSize`` is `shm_segment_size`."""
    from ringline.settings import NAMES

    fields = {spelling: name.field for name in NAMES for spelling in (name.field, name.manifest)}
    unknown = [name for name in overrides if name not in fields]
    if unknown:
        known = ", ".join(name.manifest for name in NAMES)
        raise typer.BadParameter(f"there is no setting {unknown[0]!r} (there are: {known})", param_hint="--set")
    return {fields[name]: value for name, value in overrides.items()}
