"""Another sample rate, another number of channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from ringline import DataType, MultiprocessNode, RuntimeData, register_node
from ringline.nodes.audio.rates import Quality, RateConverter
from ringline.nodes.audio.samples import Frames, Sound, audio, sound_of, with_channels
from ringline.nodes.audio.timeline import Timeline
from ringline.nodes.support import BoxConfig, Ports, extra_of, optional_library


class ResampleConfig(BoxConfig):
    sample_rate: int = Field(16000, ge=1000, le=768_000, description="Rate of the output in Hz.")
    channels: int | None = Field(
        None, ge=1, le=64, description="Channels of the output (a mean, or copies); absent: those of the input."
    )
    quality: Quality = Field(
        "HQ", description="soxr's quality: QQ is quickest, VHQ best; HQ (20 bits) delays by some ms."
    )


@register_node("resample")
class Resample(MultiprocessNode):
    """Converts audio to a sample rate, as one continuous stream.

    Input `audio` of any rate, which may change; output `audio` in `sample_rate`, in the input's sample format. Output samples
    stay aligned with the input: each timestamp is the exact media time of its first sample. The filter holds a few ms back
    until more comes or the input ends; a gap in the timestamps, or a new format, ends it too. Audio that is right already
    passes without a copy.

    Needs the extra `audio`. Example::

        - {name: to16k, type: resample, config: {sample_rate: 16000, channels: 1}}
    """

    inputs: ClassVar[Ports] = {"audio": DataType.AUDIO}
    outputs: ClassVar[Ports] = {"audio": DataType.AUDIO}
    Config = ResampleConfig
    extra = "audio"
    options: ResampleConfig

    def initialize(self) -> None:
        optional_library("soxr", "audio")
        self.on_flush()

    def on_flush(self) -> None:
        self._converter: RateConverter | None = None
        self._input: Timeline | None = None
        self._sent, self._sixteen = 0, False

    def process(self, data: RuntimeData) -> Iterator[RuntimeData]:
        sound = sound_of(self, data)
        channels = self.options.channels or sound.frames.shape[1]
        if (sound.rate, sound.frames.shape[1]) == (self.options.sample_rate, channels):
            yield from self._finish()
            yield data
            return
        yield from self._continue_or_restart(sound, channels)
        if self._converter is not None:
            made = self._converter.feed(with_channels(sound.frames, channels))
            yield from self._message(made, extra_of(data))

    def on_end(self) -> Iterator[RuntimeData]:
        yield from self._finish()

    def _continue_or_restart(self, sound: Sound, channels: int) -> Iterator[RuntimeData]:
        """Feed on if the block continues the stream; else give what the filter holds and begin anew at the block's time."""
        same = (
            self._converter is not None
            and self._converter.fits(sound.rate, channels)
            and sound.sixteen == self._sixteen
        )
        if same and self._input is not None and not self._input.advance(sound.timestamp, len(sound.frames)):
            return
        yield from self._finish()
        self._converter = RateConverter(sound.rate, self.options.sample_rate, channels, quality=self.options.quality)
        self._input = Timeline(sound.rate)
        self._input.advance(sound.timestamp, len(sound.frames))
        self._sent, self._sixteen = 0, sound.sixteen

    def _finish(self) -> Iterator[RuntimeData]:
        converter, self._converter = self._converter, None
        if converter is not None:
            yield from self._message(converter.finish(), {})

    def _message(self, frames: Frames, extra: dict[str, object]) -> Iterator[RuntimeData]:
        line, rate = self._input, self.options.sample_rate
        if len(frames) and line is not None:
            timestamp = line.time_at(self._sent, rate)
            self._sent += len(frames)
            line.forget_before(self._sent * line.rate // rate)
            yield audio(frames, rate, timestamp, sixteen=self._sixteen, extra=extra)
