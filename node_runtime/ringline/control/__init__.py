"""The control plane between a host and its nodes: tagged, versioned JSON messages over ZeroMQ, and the zygote's frames.

`messages` is pure; `server` is the host's end and `link` the node's; `frames` is how host and zygote speak.
"""
