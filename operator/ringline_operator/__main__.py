"""``python -m ringline_operator``: watches the namespaces of the settings, or the whole cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import kopf

from ringline.errors import SettingsError
from ringline_operator.settings import operator_settings


def main() -> int:
    """Run until SIGTERM; exit 2 for bad settings."""
    try:
        settings = operator_settings(os.environ)
    except SettingsError as error:
        print(f"ringline-operator: {error}", file=sys.stderr)
        return 2
    import ringline_operator.app  # noqa: F401  (registers the handlers)

    kopf.configure(verbose=False)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    liveness = os.environ.get("RINGLINE_OPERATOR_LIVENESS", "http://0.0.0.0:8080/healthz")
    asyncio.run(
        kopf.operator(
            namespaces=settings.watched, clusterwide=not settings.watched, standalone=True, liveness_endpoint=liveness
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
