"""What a model can tell, and so what an attack can ask."""

from __future__ import annotations

from enum import IntEnum


class Needs(IntEnum):
    """What an attack must be told of the model; each level includes those before it."""

    LABELS = 1
    SCORES = 2
    GRADIENT = 3
