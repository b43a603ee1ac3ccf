"""Probes: the health checks of a session, asked by the kubelet instead of the host."""

from __future__ import annotations

from typing import Any

from ringline.settings import RuntimeConfig

STARTUP_SLACK_SECONDS = 5
"""A node that misses its own deadline ends itself and says so; the probe is the backstop behind it."""


def node_probes(port: int, runtime: RuntimeConfig) -> dict[str, Any]:
    """Return startup, readiness and liveness probes of a node's container, which answers at `port`."""
    return {
        "startupProbe": _http("/startupz", port, 1, 1, round(runtime.init_timeout_secs) + STARTUP_SLACK_SECONDS),
        "readinessProbe": _http("/readyz", port, 1, 1, 2),
        "livenessProbe": _http(
            "/livez",
            port,
            round(runtime.health_check_interval),
            round(runtime.health_check_timeout),
            runtime.max_health_failures,
        )
        # A hung node does not use its grace period: it gets a second.
        | {"terminationGracePeriodSeconds": 1},
    }


def gateway_probes(port: int) -> dict[str, Any]:
    """Return the gateway's probes; nodes start when its startup probe has succeeded: the arena is there then."""
    return {
        "startupProbe": _http("/livez", port, 1, 1, 60),
        "readinessProbe": _http("/readyz", port, 1, 1, 2),
        "livenessProbe": _http("/livez", port, 5, 3, 3),
    }


def _http(path: str, port: int, period: int, timeout: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }
