"""Settings: defaults, layers, one table of names, and refusals that name their place."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ringline
from ringline.errors import SettingsError
from ringline.graph.policies import RuntimeSpec
from ringline.settings import (
    NAMES,
    MultiprocessConfig,
    RuntimeConfig,
    find_settings_file,
    resolve_settings,
    setting_name,
)

GUIDE = """
[multiprocess]
max_processes_per_session = 10  # None for unlimited
channel_capacity = 100           # Messages per channel
init_timeout_secs = 30          # Node initialization timeout
cleanup_grace_period_secs = 5   # Graceful shutdown time
enable_backpressure = true      # Block on full channels
shm_segment_size = 268435456    # 256MB shared memory

[multiprocess.python]
executable = "python"            # Python interpreter path
venv_path = ".venv"             # Optional virtualenv
extra_paths = ["./nodes"]       # Additional Python paths
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "runtime.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_defaults_are_the_documented_ones() -> None:
    config = RuntimeConfig()
    assert config.max_processes_per_session == 10
    assert config.channel_capacity == 100
    assert config.init_timeout_secs == 30
    assert config.python_executable == "python"
    assert config.enable_backpressure is True
    assert config.cleanup_grace_period_secs == 5
    assert config.shm_segment_size == 268435456
    assert config.max_message_size == 16 * 1024 * 1024
    assert (config.health_check_interval, config.health_check_timeout, config.max_health_failures) == (5.0, 3.0, 2)
    assert config.stall_timeout_secs is None


def test_every_setting_says_why_its_default_is_what_it_is() -> None:
    assert [name for name, field in RuntimeConfig.model_fields.items() if not field.description] == []


def test_the_guides_file_gives_the_defaults_and_its_python_section(tmp_path: Path) -> None:
    config = resolve_settings(file=written(tmp_path, GUIDE))
    assert config.replace(venv_path=None, extra_paths=()) == RuntimeConfig()
    assert config.venv_path == tmp_path / ".venv"
    assert config.extra_paths == (str(tmp_path / "nodes"),)


def test_relative_paths_of_a_file_start_at_its_folder_even_if_the_file_is_named_relatively(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf").mkdir()
    written(tmp_path / "conf", '[multiprocess.python]\nexecutable = "bin/python3"\nextra_paths = ["/abs", "rel"]')
    monkeypatch.chdir(tmp_path)
    config = resolve_settings(file=Path("conf/runtime.toml"))
    assert config.python_executable == str(tmp_path / "conf/bin/python3")
    assert config.extra_paths == ("/abs", str(tmp_path / "conf/rel"))


def test_a_later_layer_wins(tmp_path: Path) -> None:
    file = written(tmp_path, "[multiprocess]\nchannel_capacity = 1\ninit_timeout_secs = 1\nmax_health_failures = 1\n")
    layers: dict[str, Any] = {"file": file}
    assert resolve_settings(**layers).channel_capacity == 1
    layers["manifest"] = {"channelCapacity": 2, "initTimeoutSeconds": 2}
    assert resolve_settings(**layers).channel_capacity == 2
    layers["environ"] = {"RINGLINE_CHANNEL_CAPACITY": "3", "RINGLINE_SESSION_ID": "x"}
    assert resolve_settings(**layers).channel_capacity == 3
    layers["overrides"] = {"channel_capacity": 4}
    last = resolve_settings(**layers)
    assert (last.channel_capacity, last.init_timeout_secs, last.max_health_failures) == (4, 2, 1)


def test_a_config_of_the_application_wins_only_with_what_it_says() -> None:
    code = RuntimeConfig(init_timeout_secs=7)
    config = resolve_settings(environ={"RINGLINE_CHANNEL_CAPACITY": "3"}, overrides=code)
    assert (config.init_timeout_secs, config.channel_capacity) == (7, 3)
    assert code.given() == {"init_timeout_secs": 7}


def test_relative_paths_of_a_manifest_start_at_its_folder() -> None:
    section = {"python": {"venvPath": "env", "extraPaths": ["nodes"], "executable": "python3.11"}}
    config = resolve_settings(manifest=section, manifest_folder=Path("/srv/voice"))
    assert config.venv_path == Path("/srv/voice/env")
    assert config.extra_paths == ("/srv/voice/nodes",)
    assert config.python_executable == "python3.11"


@pytest.mark.parametrize("layer", ["file", "manifest", "environ", "overrides"])
def test_zero_means_no_limit_of_processes_in_every_layer(layer: str, tmp_path: Path) -> None:
    sources: dict[str, Any] = {
        "file": written(tmp_path, "[multiprocess]\nmax_processes_per_session = 0"),
        "manifest": {"maxProcessesPerSession": 0},
        "environ": {"RINGLINE_MAX_PROCESSES_PER_SESSION": "0"},
        "overrides": {"max_processes_per_session": None},
    }
    assert resolve_settings(**{layer: sources[layer]}).max_processes_per_session is None


def test_every_setting_can_come_from_the_environment() -> None:
    environ = {
        "RINGLINE_MAX_PROCESSES_PER_SESSION": "4",
        "RINGLINE_CHANNEL_CAPACITY": "8",
        "RINGLINE_INIT_TIMEOUT_SECS": "1.5",
        "RINGLINE_ENABLE_BACKPRESSURE": "False",
        "RINGLINE_CLEANUP_GRACE_PERIOD_SECS": "0",
        "RINGLINE_SHM_SEGMENT_SIZE": "64Mi",
        "RINGLINE_MAX_MESSAGE_SIZE": "65536",
        "RINGLINE_STALL_TIMEOUT_SECS": "0",
        "RINGLINE_HEALTH_CHECK_INTERVAL": "2",
        "RINGLINE_HEALTH_CHECK_TIMEOUT": "1",
        "RINGLINE_MAX_HEALTH_FAILURES": "3",
        "RINGLINE_PYTHON_EXECUTABLE": "python3",
        "RINGLINE_VENV_PATH": "/venv",
        "RINGLINE_EXTRA_PATHS": "/a:/b:",
    }
    assert set(environ) == {name.variable for name in NAMES}
    config = resolve_settings(environ=environ)
    assert config.given() == {
        "max_processes_per_session": 4,
        "channel_capacity": 8,
        "init_timeout_secs": 1.5,
        "enable_backpressure": False,
        "cleanup_grace_period_secs": 0,
        "shm_segment_size": 64 << 20,
        "max_message_size": 65536,
        "stall_timeout_secs": 0,
        "health_check_interval": 2,
        "health_check_timeout": 1,
        "max_health_failures": 3,
        "python_executable": "python3",
        "venv_path": Path("/venv"),
        "extra_paths": ("/a", "/b"),
    }


def test_one_table_joins_all_names_of_all_settings() -> None:
    assert {name.field for name in NAMES} == set(RuntimeConfig.model_fields)
    in_manifest = {name.manifest.split(".")[0] for name in NAMES}
    assert in_manifest == {field.alias for field in RuntimeSpec.model_fields.values()}
    assert setting_name("shm_segment_size").manifest == "shmSize"
    guide = tomllib.loads(GUIDE)["multiprocess"]
    tables = {"multiprocess": set(guide) - {"python"}, "multiprocess.python": set(guide["python"])}
    for table, keys in tables.items():
        assert keys <= {name.key for name in NAMES if name.table == table}


def test_the_manifest_and_the_settings_agree_on_every_default() -> None:
    spec, config = RuntimeSpec(), RuntimeConfig()
    for name in NAMES:
        if name.table == "multiprocess":
            field = next(key for key, info in RuntimeSpec.model_fields.items() if info.alias == name.manifest)
            assert getattr(spec, field) == getattr(config, name.field), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[multiproces]\nx = 1", "runtime.toml [multiproces]: unknown table; did you mean 'multiprocess'?"),
        (
            "[multiprocess]\nchanel_capacity = 1",
            "runtime.toml [multiprocess] chanel_capacity: unknown key; did you mean 'channel_capacity'?",
        ),
        (
            "[multiprocess.python]\nvenv = 1",
            "runtime.toml [multiprocess.python] venv: unknown key; did you mean 'venv_path'?",
        ),
        (
            "[multiprocess]\nchannel_capacity = true",
            "runtime.toml [multiprocess] channel_capacity: must be a whole number, not True",
        ),
        (
            "[multiprocess]\nchannel_capacity = 5000",
            "runtime.toml [multiprocess] channel_capacity: must be at most 4096, not 5000",
        ),
        (
            "[multiprocess]\ninit_timeout_secs = inf",
            "runtime.toml [multiprocess] init_timeout_secs: must be a finite number, not inf",
        ),
        (
            "[multiprocess]\nshm_segment_size = '1gb'",
            "runtime.toml [multiprocess] shm_segment_size: '1gb' is not a quantity",
        ),
        (
            "[multiprocess.python]\nextra_paths = './nodes'",
            "runtime.toml [multiprocess.python] extra_paths: must be a list, not './nodes'",
        ),
        (
            "[multiprocess.python]\nvenv_path = 3",
            "runtime.toml [multiprocess.python] venv_path: must be a path, not 3",
        ),
        ("multiprocess = 3", "runtime.toml multiprocess: must be a table"),
        ("[multiprocess", "runtime.toml: can't be read: Expected"),
    ],
)
def test_a_bad_file_is_refused_with_file_table_and_key(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_settings(file=written(tmp_path, text))
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"can't be read: .*No such file"):
        resolve_settings(file=tmp_path / "absent.toml")
    (tmp_path / "runtime.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="can't be read: 'utf-8'"):
        resolve_settings(file=tmp_path / "runtime.toml")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("RINGLINE_CHANNEL_CAPACITY", "many", "must be a whole number, not 'many'"),
        ("RINGLINE_INIT_TIMEOUT_SECS", "soon", "must be a number, not 'soon'"),
        ("RINGLINE_INIT_TIMEOUT_SECS", "nan", "must be a finite number"),
        ("RINGLINE_ENABLE_BACKPRESSURE", "maybe", "must be true or false, not 'maybe'"),
        ("RINGLINE_MAX_MESSAGE_SIZE", "1gb", "'1gb' is not a quantity"),
        ("RINGLINE_MAX_MESSAGE_SIZE", "9223372036854775808", "must be at most 67108864"),
        ("RINGLINE_PYTHON_EXECUTABLE", "", "is empty"),
        ("RINGLINE_LOG_FORMAT", "xml", "must be text or json, not 'xml'"),
        ("RINGLINE_CHANEL_CAPACITY", "1", "unknown setting; did you mean RINGLINE_CHANNEL_CAPACITY?"),
    ],
)
def test_a_bad_variable_is_refused_by_its_name(variable: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_settings(environ={variable: value})
    assert str(caught.value).startswith(f"{variable}: {message}")


def test_variables_that_are_no_slip_of_a_setting_are_left_alone() -> None:
    others = {"RINGLINE_GATEWAY_SERVICE_HOST": "10.0.0.1", "RINGLINE_SHM_DIR": "/dev/shm", "PATH": "/bin"}
    others |= {"RINGLINE_LOG_FORMAT": "json"}
    assert resolve_settings(environ=others) == RuntimeConfig()


def test_all_bad_values_of_all_layers_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_settings(
            file=written(tmp_path, "[multiprocess]\nmax_health_failures = 0"),
            manifest={"channelCapacity": 0},
            overrides={"init_timeout_secs": -1},
        )
    lines = sorted(str(caught.value).split("\n"))
    assert lines[0].endswith("[multiprocess] max_health_failures: must be at least 1, not 0")
    assert lines[1:] == [
        "init_timeout_secs: must be more than 0, not -1",
        "spec.runtime.channelCapacity: must be at least 1, not 0",
    ]


def test_a_keyword_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match="init_timeout: unknown field; did you mean 'init_timeout_secs'"):
        RuntimeConfig(init_timeout=3)  # type: ignore[call-arg]


def test_a_config_can_not_be_changed_but_replaced() -> None:
    config = MultiprocessConfig(channel_capacity=8)
    with pytest.raises(ValueError, match="frozen"):
        config.channel_capacity = 9  # type: ignore[misc]
    changed = config.replace(init_timeout_secs=2)
    assert (changed.channel_capacity, changed.init_timeout_secs) == (8, 2)
    assert ringline.MultiprocessConfig is RuntimeConfig


def test_the_settings_file_of_a_folder_is_found_only_if_it_is_there(tmp_path: Path) -> None:
    assert find_settings_file(tmp_path) is None
    path = written(tmp_path, GUIDE)
    assert find_settings_file(tmp_path) == path


@given(
    st.dictionaries(
        st.sampled_from([name.field for name in NAMES]), st.none() | st.booleans() | st.floats() | st.text()
    )
)
def test_whatever_is_given_is_taken_or_refused_in_one_sentence_each(values: dict[str, Any]) -> None:
    named: set[str] = set()
    try:
        taken = set(resolve_settings(overrides=values).given())
    except SettingsError as error:
        taken, named = set(values), {line.split(":")[0] for line in str(error).split("\n")}
    assert taken == set(values)
    assert named <= set(values)
