"""What the tests of the command line share: a runner, and manifests that several of them use."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

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


class Running:
    """A command line in a process of its own, read line by line while it runs."""

    def __init__(self, *words: object, cwd: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ringline.cli", *map(str, words)],
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._stdout: list[str] = []
        self._stderr: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._stdout)),
            threading.Thread(target=self._read, args=(self.process.stderr, self._stderr)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str] | None, lines: list[str]) -> None:
        assert stream is not None
        lines.extend(iter(stream.readline, ""))

    @property
    def out(self) -> str:
        return "".join(self._stdout)

    @property
    def err(self) -> str:
        return "".join(self._stderr)

    def until(self, text: str) -> None:
        """Wait until a text was printed; fail if the process ends without it."""
        while text not in self.out + self.err:
            ended = self.process.poll() is not None
            time.sleep(0.02)
            if ended and text not in self.out + self.err:
                raise AssertionError(f"{text!r} never came:\n{self.out}\n{self.err}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> Outcome:
        """Wait for the end and return what came."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return Outcome(code, self.out, self.err)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()


def ringline(*words: object, cwd: Path) -> Outcome:
    """Run a command line to its end in a process of its own."""
    with Running(*words, cwd=cwd) as running:
        return running.wait()
