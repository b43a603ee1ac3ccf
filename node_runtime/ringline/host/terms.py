"""What the owner of a session may have done differently than `Session` does: the extension points of crew and supervisor.

Pools and handles of `ringline.agents` are such owners: their sessions use the same zygote, control link, arena and restarts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringline.control.messages import Message
from ringline.host.exits import ExitRecord
from ringline.host.restart import RestartPolicy

if TYPE_CHECKING:
    from ringline.host.handle import NodeHandle
    from ringline.host.member import ZygoteProcess


def _unheard(*_: object) -> None:
    """Do nothing with what nobody wants to hear."""


def _fatal(_: BaseException) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Terms:
    """All default to what `Session` does. Everything is called in the session's event loop.

    `handle(process, on_message)` makes the handle of a node's new process. `checked`: whether nodes are asked periodically if
    they are healthy, and killed if not. `policy`: how often and how soon a node may come back, instead of the plan's. `began(node, epoch)`: a node
    was told to start. `exited(record)`: it has ended, whatever follows. `failed(error)`: something went wrong that ends a session;
    False: the owner deals with it and the session goes on.
    """

    handle: Callable[[ZygoteProcess, Callable[[Message], None]], NodeHandle] | None = None
    checked: bool = True
    policy: RestartPolicy | None = None
    began: Callable[[str, int], object] = _unheard
    exited: Callable[[ExitRecord], object] = _unheard
    failed: Callable[[BaseException], bool] = _fatal
