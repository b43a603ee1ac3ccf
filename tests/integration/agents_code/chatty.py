"""An agent whose module logs when it is imported, and when it runs."""

from __future__ import annotations

import logging
import sys
from typing import Any

log = logging.getLogger("chatty")
log.info("imported")


def speaking(inputs: Any) -> Any:
    log.info("asked %s", inputs)
    print("to whom it may concern")
    print("a complaint", file=sys.stderr)
    return inputs


class Remark:
    """Logs in its step, in a pool."""

    def step(self, text: str) -> str:
        log.warning("remark %s", text)
        return text
