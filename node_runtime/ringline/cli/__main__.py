"""`python -m ringline.cli`: the same program where the console script is not on the path."""

from __future__ import annotations

import sys

from ringline.cli import main

if __name__ == "__main__":
    sys.exit(main())
