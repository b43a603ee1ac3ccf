"""The files that `ringline new node` writes: pure text from a name."""

from __future__ import annotations

from typing import Final

_NODE: Final = '''"""The node type `@NAME@`. A manifest finds it when this folder is in `python.extraPaths`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, Field

from ringline import DataType, MultiprocessNode, RuntimeData, register_node


class Config(BaseModel):
    """What a manifest may say under `config:`; the node finds it in `self.options`."""

    factor: float = Field(default=0.5, ge=0, description="what each sample is multiplied by")


@register_node("@NAME@")
class @CLASS@(MultiprocessNode):
    """Makes audio louder or quieter; this line is what `ringline nodes` shows."""

    inputs: ClassVar = {"audio": DataType.AUDIO}
    outputs: ClassVar = {"audio": DataType.AUDIO}
    Config = Config

    def process(self, data: RuntimeData) -> RuntimeData:
        """Return the answer to one message, or None, or yield several."""
        samples = data.as_numpy()  # a read-only view of shared memory: no copy was made
        return data.with_(payload=samples * samples.dtype.type(self.options.factor))
'''

_TEST: Final = '''"""Tests the node alone, in this process: no session, no shared memory."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np

from ringline import RuntimeData
from ringline.testing import NodeHarness

sys.path.insert(0, str(Path(__file__).parent))

from @NAME@ import @CLASS@


def test_@NAME@_scales_each_sample() -> None:
    async def scaled() -> RuntimeData:
        async with NodeHarness(@CLASS@, {"factor": 0.25}) as harness:
            (output,) = await harness.send(RuntimeData.audio(np.ones(480, np.float32), 48000))
            return output.data

    answer = asyncio.run(scaled())
    assert np.allclose(answer.as_numpy(), 0.25)
    assert answer.metadata.sample_rate == 48000
'''

_MANIFEST: Final = """# ringline run @NAME@.yaml
apiVersion: ringline.dev/v1alpha1
kind: MediaPipeline
metadata: {name: @LABEL@}
spec:
  nodes:
  - {name: tone, type: tone_source, config: {duration_s: 1}}
  - {name: @NODE@, type: @NAME@, python: {extraPaths: [.]}, config: {factor: 0.25}}
  - {name: file, type: audio_file_sink, config: {path: @NAME@.wav}}
  channels:
  - {from: tone.audio, to: @NODE@.audio}
  - {from: @NODE@.audio, to: file.audio}
"""


def class_name(name: str) -> str:
    """Return the class name of a node type: ``loud_ness`` → ``LoudNess``."""
    return "".join(part.capitalize() for part in name.split("_"))


def render(name: str) -> dict[str, str]:
    """Return the text of each file of a new node, by file name."""
    label = name.replace("_", "-").strip("-")
    words = {"@NAME@": name, "@CLASS@": class_name(name), "@LABEL@": label, "@NODE@": label}
    files = {f"{name}.py": _NODE, f"test_{name}.py": _TEST, f"{name}.yaml": _MANIFEST}
    for word, value in words.items():
        files = {file: text.replace(word, value) for file, text in files.items()}
    return files
