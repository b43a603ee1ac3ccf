"""What the installation decides: read once from the environment that the chart writes.

Each name is ``RINGLINE_OPERATOR_`` and the field in capitals, as in ``RINGLINE_OPERATOR_IMAGE``.
"""

from __future__ import annotations

import socket
import uuid
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ringline.errors import SettingsError

PREFIX = "RINGLINE_OPERATOR_"


def _identity() -> str:
    return f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"


class OperatorSettings(BaseModel):
    """The operator's own settings; a pipeline's are in its resource."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = "ringline/node-runtime:latest"
    """Image of the gateway, and of nodes that name none."""
    namespaces: str = ""
    """Comma-separated namespaces to watch; empty = the whole cluster (needs cluster-wide rights)."""
    lease_namespace: str = "ringline-system"
    """Where the lease lies by which one of several operators acts."""
    lease_name: str = "ringline-operator"
    """Operators with the same lease are replicas of one; two installations in one namespace need two names."""
    identity: str = Field(default_factory=_identity)
    """This process among its like; a pod's name and some random letters."""
    lease_seconds: float = Field(default=15.0, ge=3)
    """A leader that has not renewed for this long has lost the lease; takeover takes at most this and one renewal."""
    renew_seconds: float = Field(default=4.0, gt=0)
    """Three renewals may fail before the lease is lost; a free one is found within this time."""
    workers: int = Field(default=8, ge=1, le=64)
    """Sessions acted on at once, and as many of users' beside them: enough to hide the API server's latency, few enough
    to be polite to it."""
    resync_seconds: float = Field(default=600.0, ge=10)
    """Every pipeline is looked at again after this long, whatever was missed."""
    poll_seconds: float = Field(default=1.0, gt=0)
    """How often a session that is not ready is asked for its progress."""
    fixed_user: bool = True
    """False where the platform assigns user ids (OpenShift)."""
    network_policies: bool = True
    """False where network policies are managed elsewhere."""
    monitoring_namespace: str = "monitoring"
    """The namespace that may scrape the gateways."""
    metrics_port: int = Field(default=9091, ge=0, le=65535)
    """0 = no metrics."""
    liveness: str = "http://0.0.0.0:8080/healthz"
    """Where the kubelet asks whether the event loop still turns."""

    @property
    def watched(self) -> tuple[str, ...]:
        """The namespaces to watch; empty for all."""
        return tuple(name.strip() for name in self.namespaces.split(",") if name.strip())


def operator_settings(environ: Mapping[str, str]) -> OperatorSettings:
    """Read the settings from an environment. Raises `SettingsError` that names the variable."""
    given = {key.removeprefix(PREFIX).lower(): value for key, value in environ.items() if key.startswith(PREFIX)}
    try:
        return OperatorSettings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}: {first['msg']}") from None
