"""Cues: things in an input that a model should not depend on, each with an on and an off."""

from robustest.features.cues import Cue as Cue
from robustest.features.cues import PixelPatch as PixelPatch
