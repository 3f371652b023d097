"""Cues: things in an input that a model should not depend on, each with an on and an off."""

from robustest.cues.backgrounds import BackgroundSwap as BackgroundSwap
from robustest.cues.backgrounds import ForegroundRemoval as ForegroundRemoval
from robustest.cues.cue import Cue as Cue
from robustest.cues.cue import CueSize as CueSize
from robustest.cues.cue import FunctionCue as FunctionCue
from robustest.cues.cue import NullCue as NullCue
from robustest.cues.cue import PatternPatch as PatternPatch
from robustest.cues.cue import PixelPatch as PixelPatch
from robustest.cues.cue import distances as distances
from robustest.cues.cue import for_samples as for_samples
from robustest.cues.cue import size as size
from robustest.cues.cue import switched as switched
from robustest.cues.drawn import Border as Border
from robustest.cues.drawn import CornerLogo as CornerLogo
from robustest.cues.drawn import TextOverlay as TextOverlay
from robustest.cues.filtered import Blur as Blur
from robustest.cues.filtered import ColourCast as ColourCast
from robustest.cues.filtered import FrequencyBand as FrequencyBand
from robustest.cues.filtered import Texture as Texture
from robustest.cues.masked_patch import MaskedPatch as MaskedPatch
from robustest.cues.planting import Plant as Plant
from robustest.cues.planting import planted as planted
from robustest.cues.planting import planting as planting
from robustest.cues.tabular import ConstantToken as ConstantToken
