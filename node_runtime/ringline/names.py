"""Names and limits that several parts must agree on: identifiers, environment variables, file names.

Pure: no input or output, no import of another Ringline module.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

API_VERSION: Final = "ringline.dev/v1alpha1"

MAX_NODES: Final = 32
MAX_CHANNELS: Final = 64
"""Channels of a session, its inputs and outputs counted: one bit each in a 64-bit word."""
MAX_CAPACITY: Final = 4096
MAX_MESSAGE_BYTES: Final = 64 << 20
MAX_ARENA_BYTES: Final = 1 << 30
MAX_NODE_NAME: Final = 40
MAX_NODE_CONFIG_BYTES: Final = 200 << 10
"""The NodeConfig document travels as an annotation in a pod, beside others: 256 KiB in all."""

HOST: Final = "@host"
"""The name of the session's owner in the arena: writes the inputs, reads the outputs."""

# Files in a session directory.
ARENA_FILE: Final = "arena"
LOCK_FILE: Final = "locks"
PLAN_FILE: Final = "plan.json"
CONTROL_SOCKET: Final = "control"

# Only in a pod, where host and nodes are containers around one session directory.
GATEWAY_SOCKET: Final = "gateway"
"""Zygotes report to the gateway here, and `drain` asks it to end the session."""
TOKEN_FILE: Final = "token"  # noqa: S105  (a file's name, not a secret)
STARTS_FILE: Final = "starts"
"""How often this session's gateway has started."""
PARAMETERS_FILE: Final = "parameters.json"

# What a node's process is told by environment (everything else is in the NodeConfig document).
ENV_SESSION_ID: Final = "RINGLINE_SESSION_ID"
ENV_SESSION_DIR: Final = "RINGLINE_SESSION_DIR"
ENV_NODE: Final = "RINGLINE_NODE"
ENV_EPOCH: Final = "RINGLINE_EPOCH"
ENV_TOKEN: Final = "RINGLINE_TOKEN"  # noqa: S105  (the variable's name, not a secret)
ENV_SCRIPT: Final = "RINGLINE_SCRIPT"
"""Absolute path of the application's main script, where node classes may be defined."""
ENV_CODE_DIR: Final = "RINGLINE_CODE_DIR"
"""Folder with an author's node types beside those of the plan: in an image, or a ConfigMap mounted there."""
ENV_LOG_FORMAT: Final = "RINGLINE_LOG_FORMAT"
ENV_SHM_DIR: Final = "RINGLINE_SHM_DIR"
"""Folder that holds session directories; default /dev/shm."""

ENV_SESSION: Final = "RINGLINE_SESSION"
"""For the gateway: what of the plan is not in the NodeConfig document (names of the ends, policies), as JSON."""
ENV_PROBE_PORT: Final = "RINGLINE_PROBE_PORT"
ENV_GATEWAY_PORT: Final = "RINGLINE_GATEWAY_PORT"
ENV_INGRESS_PORT: Final = "RINGLINE_INGRESS_PORT"
ENV_INGRESS_TOKEN: Final = "RINGLINE_INGRESS_TOKEN"  # noqa: S105  (the variable's name, not a secret)
ENV_PLAN_DIR: Final = "RINGLINE_PLAN_DIR"
"""Folder of `plan.json` and `parameters.json` in a pod; default /etc/ringline."""
ENV_TERMINATION_LOG: Final = "RINGLINE_TERMINATION_LOG"
"""Where a container leaves its last words; default /dev/termination-log."""

RESERVED_ENV: Final = ("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")
RESERVED_ENV_PREFIX: Final = "RINGLINE_"

_NODE_NAME: Final = re.compile(r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?", re.ASCII)
_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_SESSION_ID: Final = re.compile(r"[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?", re.ASCII)


def canonical(name: str) -> str:
    """Give the form in which two names are the same: Kubernetes shows '-' where Python may write '_'."""
    return name.replace("_", "-")


def node_name_problem(name: str) -> str | None:
    """Say what is wrong with a node's or port's name, or None."""
    return _problem(
        name,
        _NODE_NAME,
        MAX_NODE_NAME,
        "lower-case letters, digits, '-' or '_', beginning and ending with a letter or digit",
    )


def pipeline_name_problem(name: str) -> str | None:
    """Say what is wrong with a pipeline's `metadata.name` (a DNS label of at most 40 characters), or None."""
    return _problem(
        name, _DNS_LABEL, 40, "lower-case letters, digits or '-', beginning and ending with a letter or digit"
    )


def session_id_problem(name: str) -> str | None:
    """Say what is wrong with a local session id (it becomes a folder's name), or None."""
    return _problem(
        name, _SESSION_ID, 63, "letters, digits, '-', '_' or '.', beginning and ending with a letter or digit"
    )


def _problem(name: str, pattern: re.Pattern[str], longest: int, rule: str) -> str | None:
    if not name:
        return f"is empty; use {rule}"
    if len(name) > longest:
        return f"has {len(name)} characters, at most {longest} are allowed"
    if pattern.fullmatch(name):
        return None
    bad = next((c for c in name if not (c.isascii() and (c.isalnum() or c in "-_."))), None)
    if bad is not None:
        label = unicodedata.name(bad, f"U+{ord(bad):04X}")
        return f"{name!a} has the character {label}; use {rule}"
    return f"{name!a} is not allowed; use {rule}"


def channel_name(producer: str, consumer: str) -> str:
    """Give the documented name of a channel between two nodes, as in ``asr_to_s2s``."""
    return f"{producer}_to_{consumer}"
