"""What a host does about dead nodes, beyond one `Arena.reclaim`.

Called by the host's supervisor after an exit report, and after `Arena.adopt`.
"""

from __future__ import annotations

from collections.abc import Collection

from ringline.names import HOST
from ringline.shm.arena import Arena


def reclaim_dead(arena: Arena, *, keep_queues_of: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Reclaim every node that is recorded as attached but whose lock has dropped.

    Queues of the nodes in `keep_queues_of` stay for their next incarnation; others are dropped and counted as
    `reader_lost`. Returns the names that were reclaimed and those that must be tried again (a stopped neighbour sits
    inside a commit: fence or kill it first).
    """
    done: list[str] = []
    later: list[str] = []
    for name, node in arena.node_stats().items():
        if name == HOST or not node.attached or arena.lock_held(name):
            continue
        (done if arena.reclaim(name, keep_queue=name in keep_queues_of) else later).append(name)
    return done, later
