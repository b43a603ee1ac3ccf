"""What runs inside a node's process: base class, registry, runner, health, and the zygote that forks it.

Node authors use `base` and `registry` (offered as `ringline.MultiprocessNode` and `ringline.register_node`); the host
starts `python -m ringline.node`. Nothing is imported here, so that each of those loads only what it needs.
"""
