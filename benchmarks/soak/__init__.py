"""The soak: a session of eight nodes for half an hour, with a fault every thirty seconds. ``python -m benchmarks.soak``."""
