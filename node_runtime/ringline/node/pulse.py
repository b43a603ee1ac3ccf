"""Whether a forked node still runs Python: a thread in it answers each byte that its zygote sends.

Only in a pod, where the zygote answers the kubelet's questions for its node. A process that is stopped, or whose interpreter
lock is held for ever, does not answer.
"""

from __future__ import annotations

import os
import socket
import threading


class Pulse:
    """A socket pair between zygote and node; made before the fork."""

    def __init__(self) -> None:
        self.ours, self._theirs = socket.socketpair()
        self.ours.setblocking(False)

    def ask(self) -> None:
        """Send a byte; the answer makes `ours` readable."""
        try:
            self.ours.send(b"?")
        except OSError:
            pass  # its buffer is full of questions that nobody answered, or the node has ended

    def heard(self) -> bool:
        """Take what the node answered; False if there was nothing, or the node has ended."""
        try:
            return bool(self.ours.recv(4096))
        except OSError:
            return False

    def forked(self) -> None:
        """Close the node's end, in the zygote."""
        self._theirs.close()

    def close(self) -> None:
        """Close the zygote's end."""
        self.ours.close()

    def answer(self) -> None:
        """Answer from now on, in the node: all its other inherited descriptors are closed."""
        descriptor = self._theirs.detach()
        os.closerange(3, descriptor)
        os.closerange(descriptor + 1, 1 << 20)
        threading.Thread(target=_answer, args=(descriptor,), name="ringline-pulse", daemon=True).start()


def _answer(descriptor: int) -> None:
    while data := os.read(descriptor, 64):
        os.write(descriptor, data)
