"""Who the operator is to the API server, and where that is: asked by `__main__` first, then by kopf for its watches."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

import kopf


def credentials(settings: kopf.OperatorSettings, environ: Mapping[str, str] = os.environ) -> kopf.ConnectionInfo | None:
    """Return those of the pod's service account, else of KUBECONFIG, else None.

    kopf takes the service account's server to be a DNS name. The kubelet also tells its address: an operator that needs
    no DNS comes up, and goes on, while the cluster's DNS does not.
    """
    info = kopf.login_with_service_account(settings=settings)
    if info is None:
        return kopf.login_with_kubeconfig(settings=settings)
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        return info
    return dataclasses.replace(info, server=f"https://{f'[{host}]' if ':' in host else host}:{port}")
