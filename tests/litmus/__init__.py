"""The memory order of the protocol's pairs of steps, tried on real threads: `python -m tests.litmus` (`make litmus`)."""
