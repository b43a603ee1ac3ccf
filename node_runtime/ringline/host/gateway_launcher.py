"""The surroundings of a session in its pod: the shared session directory, made by the first gateway, adopted by later ones.

A gateway that died is started again by the kubelet. What it left in the directory says what to do: the arena (never made
anew while nodes may live), the token, the exits that were seen, and why the session failed, if it did.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ringline.errors import SessionError
from ringline.graph.session_plan import SessionPlan
from ringline.host import directory as directories
from ringline.host.exits import ExitRecord
from ringline.host.gateway_zygotes import PodZygotes
from ringline.host.launch import Launch
from ringline.host.launcher import Past, Zygotes
from ringline.host.threads import in_thread
from ringline.host.zygote_client import EventHandler
from ringline.names import ARENA_FILE, ENV_EPOCH, PLAN_FILE, STARTS_FILE, TOKEN_FILE
from ringline.shm import Arena

EXITS_FOLDER: Final = "exits"
FAILURE_FILE: Final = "failure.json"
MAX_STARTS: Final = 4
"""The first and three more: a gateway that dies again and again is no gateway."""

MakeZygotes = Callable[[str, EventHandler], PodZygotes]


class GatewayLauncher:
    """The pod's directory. `make_zygotes(token, on_event)` gives the line to the other containers."""

    def __init__(self, directory: Path, make_zygotes: MakeZygotes) -> None:
        self.directory = directory
        self.token = ""
        self.past: Past | None = None
        self.starts = 0
        self._make_zygotes = make_zygotes
        self._arena: Arena | None = None

    def check(self, _plan: SessionPlan) -> None:
        """Nothing is known here of the other containers; their zygotes say what they lack."""

    async def arena(self, plan: SessionPlan) -> Arena:
        """Make the directory and the arena, or adopt those of a gateway that died."""
        await in_thread(self._prepare, plan)
        assert self._arena is not None
        return self._arena

    def _prepare(self, plan: SessionPlan) -> None:
        os.umask(0o007)
        self.directory.mkdir(mode=0o770, exist_ok=True)
        self.directory.chmod(0o770)
        (self.directory / EXITS_FOLDER).mkdir(mode=0o770, exist_ok=True)
        self.starts = self._count_start()
        self.token = self._make_token()
        if (self.directory / ARENA_FILE).exists():
            self._arena = Arena.adopt(self.directory)
            self.past = Past({record.node_id: record for record in self._exits() if record.expected})
        else:
            directories.check_space(self.directory, plan.layout.size_bytes)
            self._arena = Arena.create(self.directory, plan.layout, mode=0o660)
        _write(self.directory / PLAN_FILE, plan.node_config(), 0o640)

    def _count_start(self) -> int:
        path = self.directory / STARTS_FILE
        try:
            count = int(path.read_text()) + 1
        except (OSError, ValueError):
            count = 1
        _write(path, str(count).encode(), 0o640)
        return count

    def _make_token(self) -> str:
        path = self.directory / TOKEN_FILE
        if not path.exists():
            _write(path, secrets.token_hex(32).encode(), 0o640)
        return path.read_text()

    # -- what is kept for the next gateway -------------------------------------------------------------------------

    def keep_exit(self, record: ExitRecord) -> None:
        """Write an exit record down."""
        path = self.directory / EXITS_FOLDER / f"{record.node_id}.{record.epoch}.json"
        _write(path, json.dumps(record.as_json()).encode(), 0o640)

    def _exits(self) -> list[ExitRecord]:
        found = []
        for path in sorted((self.directory / EXITS_FOLDER).glob("*.json")):
            fields = json.loads(path.read_text())
            found.append(ExitRecord(**fields | {"stderr_tail": tuple(fields["stderr_tail"])}))
        return found

    def keep_failure(self, words: dict[str, Any]) -> None:
        """Write down why the session failed."""
        _write(self.directory / FAILURE_FILE, json.dumps(words).encode(), 0o640)

    def failure(self) -> dict[str, Any] | None:
        """Why the session had failed already, or why it fails now: too many gateways. None if all is well."""
        path = self.directory / FAILURE_FILE
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text())
            return found
        if self.starts > MAX_STARTS:
            text = f"the gateway died {self.starts - 1} times; its own exit (kubectl describe pod) says why"
            return {"node": "gateway", "exitCode": 1, "reason": "GatewayFailed", "message": text}
        return None

    # -- the rest of a launcher ------------------------------------------------------------------------------------

    def zygotes(self, _session_id: str, on_event: EventHandler, _on_lost: Callable[[str], None]) -> Zygotes:
        return self._make_zygotes(self.token, on_event)

    def launch(self, session_id: str) -> Launch:
        return ContainerLaunch(session_id, self.directory, "", None, {})

    async def release(self) -> None:
        """Close the arena and remove what the session left: the pod's memory is the pod's."""
        if self._arena is None:
            raise SessionError("the gateway has no arena to close")
        await in_thread(self._arena.close)
        await in_thread(shutil.rmtree, self.directory, True)


class ContainerLaunch(Launch):
    """What a node in a container is told: only what its pod does not say already. The token is its zygote's."""

    def environment(self, node: Any, epoch: int) -> dict[str, str]:
        """Give the variables that no container can know beforehand."""
        own = super().environment(node, epoch)
        return {ENV_EPOCH: own[ENV_EPOCH]}

    def command(self, _node: Any) -> list[str] | None:
        """None: the interpreter is looked up where it runs."""
        return None


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file as a whole: whoever reads it sees the old one or the new one."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    draft.rename(path)
