"""A world of active-inference agents on a few cores: believed in, watched, recorded, and not ended by a killed worker.

150 foragers live in a hybrid pool, one worker process per core. Each tick everyone steps at once; the history goes to
sqlite through a pool of threads; the picture in the terminal shows where the agents are and what they believe together. Press k
(or give --kill-after) to kill a worker with SIGKILL: its agents go on from their last step in the worker's successor.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ringline.agents import AgentPool, IOThreadPool
from ringline.errors import AgentCrashed

DRIFT, FOOD_IN_RICH, FOOD_ELSEWHERE = 0.02, 0.8, 0.1


@dataclass
class World:
    """What is true: which patch is rich, and where everybody stands."""

    side: int
    random: np.random.Generator
    places: dict[str, int]
    rich: int = 0
    ages: dict[str, int] = field(default_factory=dict)
    surprise: list[float] = field(default_factory=list)
    found: list[int] = field(default_factory=list)

    def food(self, agent: str) -> int:
        """Say whether an agent finds food where it stands."""
        here = FOOD_IN_RICH if self.places.get(agent) == self.rich else FOOD_ELSEWHERE
        return int(self.random.random() < here)

    def drift(self) -> None:
        """Move the rich patch to a neighbour now and then."""
        if self.random.random() < DRIFT:
            row, column = divmod(self.rich, self.side)
            down, right = [(0, 1), (1, 0), (0, -1), (-1, 0)][self.random.integers(4)]
            row, column = np.clip([row + down, column + right], 0, self.side - 1)
            self.rich = int(row * self.side + column)


class Killer:
    """Kills a worker when k is pressed, or at a given tick."""

    def __init__(self, pool: AgentPool, after: int | None) -> None:
        self.pool, self.after, self.wanted, self.kills = pool, after, threading.Event(), 0

    def look(self, tick: int) -> None:
        """Kill the first worker if it is time to."""
        pids = self.pool.statistics()["pids"]
        if (tick == self.after or self.wanted.is_set()) and pids:
            self.wanted.clear()
            self.kills += 1
            os.kill(pids[0], signal.SIGKILL)

    @contextlib.contextmanager
    def keyboard(self) -> Iterator[None]:
        """Listen for k while the block runs, if there is a keyboard."""
        if not sys.stdin.isatty():
            yield
            return
        before, over = termios.tcgetattr(sys.stdin), threading.Event()
        tty.setcbreak(sys.stdin)
        thread = threading.Thread(target=self._listen, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    def _listen(self, over: threading.Event) -> None:
        while not over.is_set():
            if select.select([sys.stdin], [], [], 0.2)[0] and sys.stdin.read(1) == "k":
                self.wanted.set()


async def steps(pool: AgentPool, world: World, tick: int) -> list[tuple[int, str, int, float]]:
    """Let everybody step at once; the rows of history. The one whose step the kill has hit steps again."""

    async def one(agent: str) -> tuple[int, str, int, float]:
        seen = {"food": world.food(agent)}
        world.found[-1] += seen["food"]
        for _ in range(3):
            with contextlib.suppress(AgentCrashed):
                said = await pool.step(agent, seen)
                break
        world.places[agent], world.ages[agent] = said["place"], said["age"]
        return tick, agent, said["place"], said["free_energy"]

    world.found.append(0)
    return list(await asyncio.gather(*(one(agent) for agent in pool.agents)))


def together(pool: AgentPool, side: int) -> np.ndarray[Any, np.dtype[Any]]:
    """Give the mean of all beliefs, read from the shared state while the agents go on."""
    beliefs = [pool.state.get(f"belief/{agent}") for agent in pool.agents]
    mean: np.ndarray[Any, np.dtype[Any]] = np.mean(
        [belief for belief in beliefs if belief is not None] or [np.full(side**2, 1 / side**2)], axis=0
    )
    return mean


def picture(world: World, pool: AgentPool, tick: int, rate: float) -> Group:
    """Draw the patches: agents on each, the brighter the more they believe in it, the rich one in brackets."""
    belief = together(pool, world.side)
    crowd = np.bincount(list(world.places.values()), minlength=world.side**2)
    table = Table(show_header=False, show_lines=True, padding=(0, 1))
    for row in range(world.side):
        cells = []
        for patch in range(row * world.side, (row + 1) * world.side):
            green = int(40 + 215 * belief[patch] / belief.max())
            text = f"[{crowd[patch]:3d}]" if patch == world.rich else f" {crowd[patch]:3d} "
            cells.append(Text(text, style=f"black on rgb({40},{green},{60})"))
        table.add_row(*cells)
    numbers = pool.statistics()
    workers = ", ".join(map(str, numbers["pids"]))
    told = f"tick {tick}   {rate:.0f} steps/s   free energy {world.surprise[-1]:.2f} nats   workers {workers}   "
    return Group(table, Text(told + f"restarts {numbers['restarts']}   (k kills a worker)"))


async def live(options: argparse.Namespace, console: Console) -> None:
    """Run the world and tell what became of it."""
    agents = [f"f{number:03d}" for number in range(options.agents)]
    world = World(4, np.random.default_rng(options.seed), {})
    pool = AgentPool(options.executor, workers=options.workers, state_bytes=8 << 20)
    history = IOThreadPool(database=options.database)
    async with pool:
        with history:
            history.query_database(
                "create table if not exists step (tick int, agent text, place int, energy real)"
            ).result()
            made = [pool.add(agent, "forager:Forager", {"seed": number}) for number, agent in enumerate(agents)]
            await asyncio.gather(*map(asyncio.wrap_future, made))
            killer, written = Killer(pool, options.kill_after), []
            shown = None if options.plain else Live(console=console, refresh_per_second=10)
            began = time.monotonic()
            with killer.keyboard(), shown or contextlib.nullcontext():
                for tick in range(1, options.ticks + 1):
                    world.drift()
                    asyncio.get_running_loop().call_soon(killer.look, tick)
                    rows = await steps(pool, world, tick)
                    written.append(history.write_database("insert into step values (?, ?, ?, ?)", rows))
                    world.surprise.append(float(np.mean([row[3] for row in rows])))
                    if shown is not None:
                        shown.update(picture(world, pool, tick, tick * len(agents) / (time.monotonic() - began)))
            seconds = time.monotonic() - began
            await asyncio.gather(*map(asyncio.wrap_future, written))
            [(count, ticks)] = history.query_database("select count(*), count(distinct tick) from step").result()
        for line in report(world, pool, seconds):
            console.print(line, highlight=False, soft_wrap=True)
        console.print(f"workers killed: {killer.kills}; history: {count} rows of {ticks} ticks", highlight=False)


def report(world: World, pool: AgentPool, seconds: float) -> Iterator[str]:
    """Say what became of the world."""
    numbers, ticks, many = pool.statistics(), len(world.surprise), len(pool.agents)
    fifth = max(1, ticks // 5)
    first, last = (np.mean(part) / many for part in (world.found[:fifth], world.found[-fifth:]))
    yield f"{many} agents, {ticks} ticks: {ticks * many} steps in {seconds:.1f} s, {ticks * many / seconds:.0f} a second"
    yield f"food: found by {first:.0%} of the agents at first, by {last:.0%} at last"
    yield f"free energy: {np.mean(world.surprise):.2f} nats in the mean of all steps"
    yield f"workers restarted: {numbers['restarts']}; agents that went on from their last state: {numbers['restored']}"
    yield f"agents that began anew: {numbers['anew']}; the youngest is {min(world.ages.values())} steps old"


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=150, help="how many foragers (150)")
    parser.add_argument("--ticks", type=int, default=100, help="how long the world lasts (100)")
    parser.add_argument("--workers", type=int, help="worker processes (one per core)")
    parser.add_argument("--executor", default="hybrid", help="inline, thread, process, hybrid (the default) or auto")
    parser.add_argument("--kill-after", type=int, metavar="TICK", help="kill a worker at this tick")
    parser.add_argument("--database", type=Path, default=Path("world.db"), help="where the history goes (world.db)")
    parser.add_argument("--plain", action="store_true", help="no picture, only the report")
    parser.add_argument("--seed", type=int, default=1, help="of the world's dice (1)")
    options = parser.parse_args()
    options.database.unlink(missing_ok=True)
    asyncio.run(live(options, Console()))


if __name__ == "__main__":
    main()
