"""An application for the tests that kill it: tells its session's directory and pids, then stays in one phase for ever."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from ringline import Session
from tests.faults.scenes import short, zygote_of
from tests.integration.sessions import chain


async def tell(session: Session, nodes: int) -> None:
    """One line: directory, pid of the zygote, pids of the nodes."""
    while True:
        status = await session.get_status()
        pids = [node.pid for node in status.nodes.values() if node.pid]
        if len(pids) == nodes:
            break
        await asyncio.sleep(0.01)
    print(session.directory, zygote_of(session), *pids, flush=True)


async def main(session_id: str, phase: str) -> None:
    kinds = {
        "initialize": "never_ready",
        "running": "does_as_told",
        "cleanup": "slow_cleanup",
        "forked": "does_as_told",
    }
    grace_s = 3600.0 if phase == "cleanup" else 2.0
    session = Session(session_id, chain("does_as_told", kinds[phase]), config=short(cleanup_grace_period_secs=grace_s))
    async with asyncio.TaskGroup() as tasks:  # who can't tell ends, instead of being waited for
        telling = tasks.create_task(tell(session, 2))
        await session.initialize()
        try:
            await session.start()
            await telling
            if phase == "forked" and os.fork() == 0:
                time.sleep(3600)  # noqa: ASYNC251
                os._exit(0)
            if phase == "cleanup":
                await session.cleanup()
            await asyncio.Event().wait()
        finally:
            await session.cleanup()


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:3]))
    except KeyboardInterrupt:
        sys.exit(130)
