"""Cues: things in an input that a model should not depend on, each with an on and an off; and searches for them."""

from robustest.features.backgrounds import BackgroundSwap as BackgroundSwap
from robustest.features.backgrounds import ForegroundRemoval as ForegroundRemoval
from robustest.features.cues import Cue as Cue
from robustest.features.cues import CueSize as CueSize
from robustest.features.cues import FunctionCue as FunctionCue
from robustest.features.cues import NullCue as NullCue
from robustest.features.cues import PatternPatch as PatternPatch
from robustest.features.cues import PixelPatch as PixelPatch
from robustest.features.cues import distances as distances
from robustest.features.cues import for_samples as for_samples
from robustest.features.cues import size as size
from robustest.features.cues import switched as switched
from robustest.features.drawn import Border as Border
from robustest.features.drawn import CornerLogo as CornerLogo
from robustest.features.drawn import TextOverlay as TextOverlay
from robustest.features.filtered import Blur as Blur
from robustest.features.filtered import ColourCast as ColourCast
from robustest.features.filtered import FrequencyBand as FrequencyBand
from robustest.features.filtered import Texture as Texture
from robustest.features.masked_patch import MaskedPatch as MaskedPatch
from robustest.features.planting import Plant as Plant
from robustest.features.planting import planted as planted
from robustest.features.planting import planting as planting
from robustest.features.proposals import Discovery as Discovery
from robustest.features.proposals import Proposal as Proposal
from robustest.features.tabular import ConstantToken as ConstantToken
