"""What owns a session on one machine: its directory, its processes, their exits, and its end.

`ringline.session` is the only user inside the package; applications see `Session` and `Runtime`.
"""
