"""Series that a file takes in frames, one after the other, with what it carries between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.errors import ConfigError, expected


@dataclass(frozen=True)
class Frames:
    """Frames of a series along its last axis, given to a file one after the other with its state from the one before.

    Attributes:
        length: values in a frame, >= 1; the last frame of a series is filled up with zeros.
        context: values before each frame that the file takes in front of it, >= 0; zeros before the first.
        state: each input that carries something, with the output that gives its next value. It begins at zeros in each
            series, so that the scores of one do not depend on others asked before.
        at_once: True for a file that takes all frames (T, context + length) of one series in one call.

    Raises:
        ConfigError: a number is no whole number in its range, or state does not map names to names.
    """

    length: int
    context: int = 0
    state: Mapping[str, str] = field(default_factory=dict)
    at_once: bool = False

    def __post_init__(self) -> None:
        for name, least in (("length", 1), ("context", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(expected(f"{name} to be a whole number >= {least}", value))
        if not isinstance(self.state, Mapping) or not all(isinstance(v, str) for kv in self.state.items() for v in kv):
            mend = "For example state={'h': 'hn'}."
            raise ConfigError(expected("state to map names of inputs to names of outputs", self.state, mend))

    def cut(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the frames (T >= 1, B, *S, context + length) of series (B, *S, N >= 1)."""
        frames = max(1, -(-x.shape[-1] // self.length))
        sides = [(0, 0)] * (x.ndim - 1) + [(self.context, frames * self.length - x.shape[-1])]
        padded = np.pad(x, sides)
        width = self.context + self.length
        return np.stack([padded[..., start : start + width] for start in range(0, frames * self.length, self.length)])
