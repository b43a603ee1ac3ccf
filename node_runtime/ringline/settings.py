"""What may be tuned, with the reason for each default, and where a value may come from.

The session, the launchers and the CLI read `RuntimeConfig`; `resolve_settings` builds it from all layers. A later layer
wins: defaults < `runtime.toml` < manifest (`spec.runtime`) < environment (``RINGLINE_…``) < command line < code.
One table (`NAMES`) joins the spellings of a setting. Names of the environment that nobody knows are left alone, since
a cluster adds its own (``RINGLINE_GATEWAY_SERVICE_HOST``), but one that looks like a slip of a setting is refused.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ringline.errors import SettingsError
from ringline.names import ENV_LOG_FORMAT, MAX_ARENA_BYTES, MAX_CAPACITY, MAX_MESSAGE_BYTES
from ringline.quantities import parse_quantity
from ringline.wording import hint, nearest, sentence, shown


def _bytes(value: Any) -> Any:
    return parse_quantity(value) if isinstance(value, str) else value


def _path(value: Any) -> Any:
    return Path(value) if isinstance(value, str) and value else value


def _texts(value: Any) -> Any:
    return (
        tuple(str(item) if isinstance(item, os.PathLike) else item for item in value)
        if isinstance(value, list | tuple)
        else value
    )


Bytes = Annotated[int, BeforeValidator(_bytes)]


class RuntimeConfig(BaseModel):
    """How sessions run. Seconds are floats, sizes are bytes (a text like ``"256Mi"`` is taken too).

    Raises `SettingsError` that names the setting and what may be written.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    max_processes_per_session: Annotated[int, Field(ge=1)] | None = 10
    """One process per node; 10 × 25 MB fit beside models on a small machine. None (0 in files) = no limit."""
    channel_capacity: int = Field(default=100, ge=1, le=MAX_CAPACITY)
    """Messages that a channel holds: 1 s of 10 ms audio blocks."""
    init_timeout_secs: float = Field(default=30, gt=0, le=86400)
    """Time for `initialize` of a node; models of some hundred MB load within it from a local disk."""
    python_executable: str = Field(default="python", min_length=1)
    """Interpreter of node processes; "python" means the application's own, anything else is looked up."""
    venv_path: Annotated[Path, BeforeValidator(_path)] | None = None
    """Virtual environment whose interpreter runs the nodes; wins over `python_executable`."""
    extra_paths: Annotated[tuple[str, ...], BeforeValidator(_texts)] = ()
    """Folders put before a node's `sys.path`, and searched for node types."""
    enable_backpressure: bool = True
    """A full channel makes its writer wait, so nothing is lost unasked; False makes DropNewest the default."""
    cleanup_grace_period_secs: float = Field(default=5, ge=0, le=3600)
    """Draining and `cleanup` share it before SIGTERM; a caller who hangs up does not wait longer."""
    shm_segment_size: Bytes = Field(default=256 << 20, ge=1 << 20, le=MAX_ARENA_BYTES)
    """Ceiling of the arena in bytes; the plan takes less when the graph needs less."""
    max_message_size: Bytes = Field(default=16 << 20, ge=4096, le=MAX_MESSAGE_BYTES)
    """Largest payload in bytes: a 1080p picture is 6 MB, ten seconds of 48 kHz stereo audio 4 MB."""
    stall_timeout_secs: float | None = Field(default=None, ge=0, le=86400)
    """Busy longer than this is a stall. None: 10 s for a blocked event loop, off for a synchronous `process`; 0: off."""
    health_check_interval: float = Field(default=5.0, gt=0, le=3600)
    """Seconds between two health checks: with two failures a hang is acted upon within 13 s."""
    health_check_timeout: float = Field(default=3.0, gt=0, le=3600)
    """Seconds for the answer; a control thread answers in milliseconds unless the GIL is held."""
    max_health_failures: int = Field(default=2, ge=1, le=100)
    """Failures in a row that make a node unhealthy: one may be a paging storm."""

    if not TYPE_CHECKING:  # the type checker derives the keywords from the fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise SettingsError(_report(error, {})) from None

    @model_validator(mode="before")
    @classmethod
    def _unlimited(cls, values: Any) -> Any:
        # 0 stands for "no limit" wherever None can't be written.
        if (
            isinstance(values, dict)
            and values.get("max_processes_per_session") == 0
            and values["max_processes_per_session"] is not False
        ):
            return values | {"max_processes_per_session": None}
        return values

    def given(self) -> dict[str, Any]:
        """Return only what was set explicitly: the top layer when the application passes a config."""
        return {name: getattr(self, name) for name in sorted(self.model_fields_set)}

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some settings changed, checked like a new one."""
        return type(self)(**(self.given() | changes))


MultiprocessConfig = RuntimeConfig


@dataclass(frozen=True, slots=True)
class SettingName:
    """The spellings of one setting: in Python, in `runtime.toml` (table and key), in a manifest, in the environment."""

    field: str
    table: str
    key: str
    manifest: str

    @property
    def variable(self) -> str:
        """The environment variable, the field's name in capitals."""
        return f"RINGLINE_{self.field.upper()}"


def _names() -> Iterator[SettingName]:
    manifest_names = {
        "max_processes_per_session": "maxProcessesPerSession",
        "channel_capacity": "channelCapacity",
        "init_timeout_secs": "initTimeoutSeconds",
        "enable_backpressure": "enableBackpressure",
        "cleanup_grace_period_secs": "cleanupGracePeriodSeconds",
        "shm_segment_size": "shmSize",
        "max_message_size": "maxMessageSize",
        "stall_timeout_secs": "stallTimeoutSeconds",
        "health_check_interval": "healthCheckIntervalSeconds",
        "health_check_timeout": "healthCheckTimeoutSeconds",
        "max_health_failures": "maxHealthFailures",
    }
    for field, manifest in manifest_names.items():
        yield SettingName(field, "multiprocess", field, manifest)
    yield SettingName("python_executable", "multiprocess.python", "executable", "python.executable")
    yield SettingName("venv_path", "multiprocess.python", "venv_path", "python.venvPath")
    yield SettingName("extra_paths", "multiprocess.python", "extra_paths", "python.extraPaths")


NAMES: Final = tuple(_names())
_BY_FIELD: Final = {name.field: name for name in NAMES}


@dataclass(frozen=True, slots=True)
class _Value:
    value: Any
    place: str


def resolve_settings(
    *,
    file: Path | None = None,
    manifest: Mapping[str, Any] | None = None,
    manifest_folder: PurePath | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | RuntimeConfig | None = None,
) -> RuntimeConfig:
    """Merge all layers into one configuration.

    `manifest` is ``spec.runtime`` as written (camelCase); `environ` is usually `os.environ`; `overrides` are Python
    names from the command line or the application (of a `RuntimeConfig`, what was set explicitly). Relative paths in
    `file` start at its folder, those of the manifest at `manifest_folder`. Raises `SettingsError` that names the place of each bad value.
    """
    values: dict[str, _Value] = {}
    if file is not None:
        values |= _from_file(file)
    values |= _from_manifest(manifest or {}, manifest_folder)
    values |= _from_environ(environ or {})
    given = overrides.given() if isinstance(overrides, RuntimeConfig) else dict(overrides or {})
    values |= {field: _Value(value, field) for field, value in given.items()}
    config = RuntimeConfig.__new__(RuntimeConfig)
    try:
        # Past RuntimeConfig's own __init__, which does not know the places.
        BaseModel.__init__(config, **{field: value.value for field, value in values.items()})
    except ValidationError as error:
        raise SettingsError(_report(error, {field: value.place for field, value in values.items()})) from None
    return config


def _report(error: ValidationError, places: Mapping[str, str]) -> str:
    lines = []
    for entry in error.errors():
        field = _field(entry)
        lines.append(f"{places.get(field, field)}: {sentence(entry, RuntimeConfig.model_fields)}")
    return "\n".join(lines)


def _field(entry: Mapping[str, Any]) -> str:
    return str(entry["loc"][0]) if entry["loc"] else ""


def _from_file(path: Path) -> dict[str, _Value]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: can't be read: {error}") from None
    flat = dict(_flat_tables(path, tree))
    known = {(name.table, name.key): name.field for name in NAMES}
    values = {}
    for (table, key), value in flat.items():
        if (table, key) not in known:
            keys = [name.key for name in NAMES if name.table == table]
            raise SettingsError(f"{path} [{table}] {key}: unknown key; {hint(key, keys)}")
        field = known[table, key]
        values[field] = _Value(_anchored(field, value, path.absolute().parent), f"{path} [{table}] {key}")
    return values


def _flat_tables(path: Path, tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Any]]:
    section = tree.get("multiprocess", {})
    for name in tree:
        if name != "multiprocess":
            raise SettingsError(f"{path} [{name}]: unknown table; {hint(name, ['multiprocess'])}")
    if not isinstance(section, dict):
        raise SettingsError(f"{path} multiprocess: must be a table, write [multiprocess] on a line of its own")
    for key, value in section.items():
        if key == "python" and isinstance(value, dict):
            yield from ((("multiprocess.python", inner), given) for inner, given in value.items())
        else:
            yield ("multiprocess", key), value


def _anchored(field: str, value: Any, folder: PurePath) -> Any:
    """Take relative paths from the folder of the file that says them."""
    if field == "venv_path" and isinstance(value, str):
        return str(folder / value)
    if field == "python_executable" and isinstance(value, str) and "/" in value:
        return str(folder / value)
    if field == "extra_paths" and isinstance(value, list):
        return [str(folder / item) if isinstance(item, str) else item for item in value]
    return value


def _from_manifest(section: Mapping[str, Any], folder: PurePath | None) -> dict[str, _Value]:
    values = {}
    for name in NAMES:
        outer, _, inner = name.manifest.partition(".")
        source = section.get(outer, {}) if inner else section
        key = inner or outer
        if isinstance(source, Mapping) and key in source:
            value = source[key] if folder is None else _anchored(name.field, source[key], folder)
            values[name.field] = _Value(value, f"spec.runtime.{name.manifest}")
    return values


def _from_environ(environ: Mapping[str, str]) -> dict[str, _Value]:
    known = {name.variable: name.field for name in NAMES}
    values = {}
    for variable, text in environ.items():
        if variable in known:
            values[known[variable]] = _Value(_parsed(variable, known[variable], text), variable)
        elif variable.startswith("RINGLINE_") and (close := nearest(variable, known, cutoff=0.92)):
            raise SettingsError(f"{variable}: unknown setting; did you mean {close}?")
    if (form := environ.get(ENV_LOG_FORMAT) or "text") not in ("text", "json"):
        raise SettingsError(f"{ENV_LOG_FORMAT}: must be text or json, not {shown(form)}")
    return values


def _parsed(variable: str, field: str, text: str) -> Any:
    """Read a variable's text as the type of its field; what does not parse is left for the model to refuse."""
    if field in ("python_executable", "venv_path"):
        return text
    if field == "extra_paths":
        return [item for item in text.split(os.pathsep) if item]
    if field in ("shm_segment_size", "max_message_size"):
        return text if not text.isdecimal() else int(text)
    if field == "enable_backpressure":
        truth = {"true": True, "1": True, "false": False, "0": False}
        if text.lower() not in truth:
            raise SettingsError(f"{variable}: must be true or false, not {shown(text)}")
        return truth[text.lower()]
    whole = field in ("max_processes_per_session", "channel_capacity", "max_health_failures")
    try:
        return int(text) if whole else float(text)
    except ValueError:
        raise SettingsError(
            f"{variable}: must be a {'whole number' if whole else 'number'}, not {shown(text)}"
        ) from None


def find_settings_file(folder: Path) -> Path | None:
    """Return ``runtime.toml`` of a folder if there is one; callers pass the working folder."""
    path = folder / "runtime.toml"
    return path if path.is_file() else None


def setting_name(field: str) -> SettingName:
    """Return all spellings of a setting by its Python name. Raises `KeyError` for an unknown one."""
    return _BY_FIELD[field]
