"""What Ringline costs, measured beside what others cost in the same run: ``python -m benchmarks --help``."""
