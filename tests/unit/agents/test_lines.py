"""What a process prints, for whoever reads it; nobody has to."""

from __future__ import annotations

import asyncio

from ringline.agents.lines import MOST, Lines


async def test_lines_are_read_as_from_a_stream() -> None:
    lines = Lines()
    reading = asyncio.create_task(lines.readline())
    await asyncio.sleep(0)
    lines.feed("first")
    lines.feed("zweite Zeile, größer")
    assert await reading == b"first\n"
    lines.feed_eof()
    assert not lines.at_eof()
    assert [line async for line in lines] == ["zweite Zeile, größer\n".encode()]
    assert lines.at_eof()
    assert await lines.readline() == b""


async def test_who_waits_hears_of_the_end() -> None:
    lines = Lines()
    reading = asyncio.create_task(lines.readline())
    await asyncio.sleep(0)
    lines.feed_eof()
    assert await reading == b""


async def test_of_a_flood_the_last_lines_stay() -> None:
    lines = Lines()
    for number in range(MOST + 5):
        lines.feed(str(number))
    assert lines.dropped == 5
    assert await lines.readline() == b"5\n"
