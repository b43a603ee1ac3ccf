"""The operator: turns `MediaPipeline` resources into session pods and keeps them so.

Events fill a cache (`observe`), pure functions compare what is with what should be (`decide`, `specs`, `status`), and
`act` carries the difference out; only `kube` talks to the API server.
"""

from __future__ import annotations

import sys

# Where these clients happen to be installed kopf imports them, to recognize their objects: half of the operator's start, for
# nothing. Its image has none of them.
for _client in ("kubernetes", "kubernetes_asyncio", "pykube"):
    sys.modules.setdefault(_client, None)  # type: ignore[arg-type]
