"""Several arrays in one message, and views that other libraries took, through real sessions and real blocks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ringline import Pipeline, RuntimeData
from ringline.data import decode, encode
from tests.conformance.scene import Scene, channel, get
from tests.integration.sessions import running

BOXES = np.arange(12, dtype=np.float32).reshape(3, 4)
SCORES = np.array([3, 2, 1], ">i2")


@pytest.mark.parametrize("executor", ["process", "inline"])
async def test_every_hop_keeps_names_dtypes_and_shapes(executor: str) -> None:
    pipeline = (
        Pipeline("hops")
        .add_node("pass_through", "a")
        .add_node("pass_through", "b")
        .connect("a", "output", "b", "input")
    )
    pipeline.input("in", to="a.input").output("out", from_="b.output", overflow="block")
    async with running(pipeline, executor) as session:
        for number in range(3):
            sent = {
                "boxes": BOXES + number,
                "scores": SCORES,
                "none": np.empty((0, 4), np.uint8),
                "one": np.array(number),
            }
            await session.send("in", RuntimeData.arrays(sent, timestamp=number, extra={"n": number}))
            got = await session.receive("out", timeout=60)
            assert (got.type, got.timestamp, dict(got.metadata.extra)) == ("arrays", number, {"n": number})
            assert list(got.as_arrays()) == list(sent)
            for name, array in got.as_arrays().items():
                assert (array.dtype, array.shape, array.tobytes()) == (
                    sent[name].dtype,
                    sent[name].shape,
                    sent[name].tobytes(),
                )
            got.release()


def message(scene: Scene, value: int) -> RuntimeData:
    """Send a tensor through a block and give it as its reader sees it."""
    sent = encode(RuntimeData.tensor(np.full(1000, value, np.int32)))
    assert scene.writer("a").send(sent.payload, sent.kind, sent.meta, 0)
    lease = get(scene.reader("a"))
    return decode(lease.kind, lease.meta, lease, timestamp=lease.timestamp)


def test_a_dlpack_view_keeps_its_block_out_of_use(shm_root: Path) -> None:
    scene = Scene(shm_root / "arrays", channel("a", capacity=4))
    try:
        first = message(scene, 1)
        view = np.from_dlpack(first)
        first.release()
        del first
        assert scene.reader("a").held == 1
        second = message(scene, 2)
        assert (view == 1).all()
        assert (second.as_numpy() == 2).all()
        del view
        assert scene.reader("a").held == 1
        second.release()
        assert scene.reader("a").held == 0
    finally:
        scene.close()
        shutil.rmtree(scene.directory)
