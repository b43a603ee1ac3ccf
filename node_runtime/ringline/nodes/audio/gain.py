"""Louder or quieter."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np
from pydantic import Field, ValidationError, model_validator

from ringline import DataError, DataType, MultiprocessNode, NodeConfigError, RuntimeData, register_node
from ringline.nodes.audio.samples import audio_metadata
from ringline.nodes.support import BoxConfig, Ports

_LOAN_BYTES: Final = 64 << 10


class GainConfig(BoxConfig):
    gain_db: float | None = Field(
        None, ge=-120, le=60, description="Gain in dB: 6 doubles, -6 halves. Absent: `gain` counts."
    )
    gain: float | None = Field(
        None, ge=-1000, le=1000, description="Factor; negative inverts the phase, 0 mutes. Absent: `gain_db` counts."
    )
    clip: bool = Field(
        default=True, description="Keep float samples within ±1; 16-bit samples are always kept in range."
    )

    @model_validator(mode="after")
    def _one_unit(self) -> GainConfig:
        if self.gain_db is not None and self.gain is not None:
            raise ValueError("takes either gain_db or gain, not both")
        return self

    @property
    def factor(self) -> float:
        """The linear gain; 1 if nothing is given."""
        return 10.0 ** (self.gain_db / 20.0) if self.gain_db is not None else 1.0 if self.gain is None else self.gain


@register_node("gain")
class Gain(MultiprocessNode):
    """Multiplies samples by a constant.

    Input `audio`, output `audio`: same rate, channels, layout, sample format, timestamp and `extra`. A gain of 1 passes
    messages on without a copy. The options can be changed while running (session parameters `gain_db` or `gain`).

    Example::

        - {name: louder, type: gain, config: {gain_db: 6}}
    """

    inputs: ClassVar[Ports] = {"audio": DataType.AUDIO}
    outputs: ClassVar[Ports] = {"audio": DataType.AUDIO}
    Config = GainConfig
    one_to_one = True
    options: GainConfig

    def process(self, data: RuntimeData) -> RuntimeData:
        meta = audio_metadata(self, data)
        factor = self.options.factor
        samples = data.as_numpy()
        if samples.dtype.kind not in "fiu":
            raise DataError(f"node '{self.node_id}' can't scale samples of dtype {samples.dtype}; use int16 or float32")
        if factor == 1.0 or not samples.size:
            return data
        return data.with_(payload=self._scaled(samples, factor), metadata=meta)

    def on_parameters(self, parameters: dict[str, Any]) -> None:
        """Take `gain_db`, `gain` or `clip`; NodeConfigError leaves the old values."""
        units = {"gain_db", "gain"} & parameters.keys()
        kept = {
            key: value
            for key, value in self.options.model_dump().items()
            if key not in ("gain_db", "gain") or not units
        }
        known = {key: value for key, value in parameters.items() if key in GainConfig.model_fields}
        try:
            self.options = GainConfig(**(kept | known))
        except ValidationError as error:
            raise NodeConfigError(
                f"node '{self.node_id}' refuses the parameters {known}: {error.errors()[0]['msg']}"
            ) from None

    def _scaled(self, samples: np.ndarray[Any, Any], factor: float) -> np.ndarray[Any, Any]:
        """Write a large block into shared memory at once, so that it is not copied again; a small one is copied sooner."""
        large = samples.nbytes >= _LOAN_BYTES
        out = self.loan(samples.shape, samples.dtype) if large else np.empty(samples.shape, samples.dtype)
        if samples.dtype.kind == "f":
            with np.errstate(over="ignore", invalid="ignore"):
                np.multiply(samples, samples.dtype.type(factor), out=out)
            return np.clip(out, -1.0, 1.0, out=out) if self.options.clip else out
        info = np.iinfo(samples.dtype)
        middle = 1 << (info.bits - 1) if samples.dtype.kind == "u" else 0
        wide = (samples.astype(np.float64) - middle) * factor + middle
        np.copyto(out, np.clip(np.rint(wide), info.min, info.max), casting="unsafe")
        return out
