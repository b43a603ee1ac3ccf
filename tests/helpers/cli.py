"""What the tests of the command line share: a runner, and manifests that several of them use."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TONE = """\
apiVersion: ringline.dev/v1alpha1
kind: MediaPipeline
metadata: {name: tone}
spec:
  nodes:
  - {name: tone, type: tone_source, config: {duration_s: 0.5}}
  - {name: gain, type: gain, config: {gain_db: -6}}
  - {name: file, type: audio_file_sink, config: {path: out.wav}}
  channels:
  - {from: tone.audio, to: gain.audio, capacity: 16}
  - {from: gain.audio, to: file.audio, overflow: DropOldest}
"""

PASS = """\
apiVersion: ringline.dev/v1alpha1
kind: MediaPipeline
metadata: {name: pass}
spec:
  runtime: {maxMessageSize: 1Mi}
  nodes:
  - {name: node, type: pass_through}
  inputs: [{name: first, to: node.input}]
  outputs: [{name: last, from: node.output}]
"""

VOICE = """\
apiVersion: ringline.dev/v1alpha1
kind: MediaPipeline
metadata: {name: voice}
spec:
  nodes:
  - {name: vad, type: energy_vad, config: {hangover_ms: 300}}
  - {name: asr, type: pocketsphinx_asr, config: {grammar: lights}}
  - {name: answer, type: text_template}
  - {name: tts, type: espeak_tts}
  channels:
  - {from: vad.speech, to: asr.audio, capacity: 16}
  - {from: asr.text, to: answer.text}
  - {from: answer.text, to: tts.text}
  inputs: [{name: microphone, to: vad.audio}]
  outputs: [{name: speaker, from: tts.audio}]
"""

BROKEN = """\
apiVersion: ringline.dev/v1alpha1
kind: MediaPipeline
metadata: {name: broken}
spec:
  nodes:
  - {name: vad, type: energy_vad, config: {hangover: 300}}
  - {name: asr, type: pocketsphinx_asr}
  channels:
  - {from: vad.speech, to: asr.audo, capacity: 0}
  - {from: vad.speech, to: nobody.text}
"""


@dataclass(frozen=True)
class Outcome:
    """What one command line gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines of stdout."""
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Outcome]


def write(folder: Path, text: str, name: str = "pipeline.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path
