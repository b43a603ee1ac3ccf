"""The host's end of the pipe to its zygote: spawn, signal, exit events, log lines.

The zygote is a process of its own session (a Ctrl-C on the terminal reaches the host alone), so that it can clean up whatever
becomes of the host. No child watcher and no signal handler of asyncio is used: its end is the end of the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal as signals
import socket
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ringline.control import frames
from ringline.errors import ProcessSpawnError
from ringline.host.threads import in_thread

log = logging.getLogger("ringline.host")

_LENGTH: Final = struct.Struct("<I")
_LONGEST_HEADER: Final = 4 << 20
HELLO_TIMEOUT_S: Final = 30.0
"""Its imports take about 0.2 s; half a minute only passes on a machine that hangs."""
_EXIT_PATIENCE_S: Final = 3.0
_LAST_STEPS_S: Final = 0.5
"""Between the end of its socket and its own end."""
_LAST_WORDS_BYTES: Final = 65536

_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _forget() -> None:
    """Close our ends in a child that the application forked, else the zygotes would not see this process die."""
    for each in list(_sockets):
        each.close()


os.register_at_fork(after_in_child=_forget)

Event = dict[str, Any]
EventHandler = Callable[[Event, bytes], None]


class ZygoteClient:
    """Starts the zygote and speaks its frames; `on_event` gets every event but the hello, in order.

    `on_lost` is called once if the zygote ends while nobody asked it to.
    """

    def __init__(
        self,
        session_id: str,
        directory: Path,
        on_event: EventHandler,
        on_lost: Callable[[str], None],
        environ: Mapping[str, str],
    ) -> None:
        self._session_id = session_id
        self._environ = dict(environ)
        self._directory = directory
        self._on_event = on_event
        self._on_lost = on_lost
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._words: int | None = None
        self._hello: asyncio.Future[int] | None = None
        self._closing = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the process and wait for its hello. Raises `ProcessSpawnError` with its last words."""
        ours, theirs = socket.socketpair()
        _sockets.add(ours)
        # Read when it dies. Not blocking at either end: words that nobody reads must not hold it up.
        self._words, words = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._process = self._popen(theirs, words)
        except OSError as error:
            ours.close()
            raise ProcessSpawnError(f"the session's zygote could not be started: {error}") from error
        finally:
            theirs.close()
            os.close(words)
        reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        loop = asyncio.get_running_loop()
        self._hello = loop.create_future()
        self._reading = loop.create_task(self._read(reader), name=f"ringline-zygote:{self._session_id}")
        try:
            await asyncio.wait_for(asyncio.shield(self._hello), HELLO_TIMEOUT_S)
        except TimeoutError:
            raise ProcessSpawnError(f"the session's zygote said nothing for {HELLO_TIMEOUT_S:g}s") from None

    async def present(self) -> None:
        """Return when orders are carried out: at once, since it has said hello."""

    def _popen(self, theirs: socket.socket, words: int) -> subprocess.Popen[bytes]:
        descriptor = theirs.fileno()
        command = [sys.executable, "-m", "ringline.node", "zygote", "--fd", str(descriptor)]
        command += ["--directory", str(self._directory)]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            pass_fds=[descriptor],
            env=self._environ,
            start_new_session=True,
        )

    def spawn(self, node: str, epoch: int, environ: Mapping[str, str], argv: Sequence[str] | None) -> None:
        """Ask for a node's process: forked if `argv` is None, else executed."""
        command = {"op": "spawn", "node": node, "epoch": epoch, "env": dict(environ)}
        self._send({**command, "argv": list(argv) if argv is not None else None})

    def signal(self, node: str, epoch: int, number: int) -> None:
        """Send a signal to the node's whole process group, if that epoch still runs."""
        self._send({"op": "signal", "node": node, "epoch": epoch, "signal": int(number), "group": True})

    async def close(self) -> None:
        """End the zygote: it kills what is left and exits; killed itself if it does not. Idempotent."""
        self._closing = True
        if self._writer is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._send({"op": "exit"})
                self._writer.write_eof()
        deadline = time.monotonic() + _EXIT_PATIENCE_S
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=_EXIT_PATIENCE_S)
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
            self._writer = None
        if self._process is not None:
            await in_thread(self._reap, deadline)
        if self._words is not None:
            os.close(self._words)
            self._words = None

    def _reap(self, deadline: float) -> None:
        process = self._process
        if process is None:
            return
        try:
            process.wait(max(_LAST_STEPS_S, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _send(self, header: Mapping[str, Any]) -> None:
        if self._writer is None or self._writer.is_closing():
            return
        self._rouse()
        data = json.dumps(header).encode()
        self._writer.write(_LENGTH.pack(len(data)) + data)

    def _rouse(self) -> None:
        """Let it run, if somebody has stopped it: each wait for an exit would otherwise last its full time."""
        if self._process is not None:
            self._process.send_signal(signals.SIGCONT)  # does nothing to one that runs or has been reaped

    async def _read(self, reader: asyncio.StreamReader) -> None:
        reason = "it closed its socket"
        try:
            while True:
                header, body = await _frame(reader)
                if header.get("ev") == "hello":
                    if self._hello is not None and not self._hello.done():
                        self._hello.set_result(int(header.get("pid", 0)))
                    continue
                self._give(header, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except ValueError as error:
            reason = f"it sent a bad frame: {error}"
        self._lost(reason)

    def _give(self, event: Event, body: bytes) -> None:
        # A log callback is the application's: what it raises must not stop the reading of exits.
        try:
            self._on_event(event, body)
        except Exception:
            labels = {"session": self._session_id, "node": event.get("node", ""), "channel": "", "epoch": 0}
            log.exception("handling a %s event of the zygote failed", event.get("ev"), extra=labels)

    def _lost(self, reason: str) -> None:
        if self._closing:
            return
        words = self._last_words()
        text = f"the session's zygote is gone ({reason})" + (f":\n{words}" if words else "")
        if self._hello is not None and not self._hello.done():
            self._hello.set_exception(ProcessSpawnError(text))
            return
        self._on_lost(text)

    def _last_words(self) -> str:
        try:
            return os.read(self._words, _LAST_WORDS_BYTES).decode(errors="replace").strip() if self._words else ""
        except BlockingIOError:
            return ""


async def _frame(reader: asyncio.StreamReader) -> tuple[Event, bytes]:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > _LONGEST_HEADER:
        raise ValueError(f"header of {length} bytes")
    try:
        header = json.loads(await reader.readexactly(length))
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    size = header.get("body", 0) if isinstance(header, dict) else None
    if not isinstance(size, int) or not 0 <= size <= frames.MAX_BODY:
        raise ValueError("its header is not an object with a body of at most 64 KiB")
    return header, (await reader.readexactly(size) if size else b"")
