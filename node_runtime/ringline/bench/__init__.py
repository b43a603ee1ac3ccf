"""What `ringline bench agents` runs: a world of agents under load, in each executor, in processes of its own.

`study` plans and adds up, `host` is the application under test, `load` paces its agents, `work` is what they compute and wait
for. The repository's `benchmarks/agents.py` brings other pools as further crowds of the same world.
"""
