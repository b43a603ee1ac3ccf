"""A module whose import waits for a file, as that of a great library takes its time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ringline import MultiprocessNode

until = os.environ.get("IMPORT_WAITS_FOR")
while until and not Path(until).exists():
    time.sleep(0.01)


class Slow(MultiprocessNode):
    def process(self, data: Any) -> Any:
        return data
