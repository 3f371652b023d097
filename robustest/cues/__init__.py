"""Cues: features that a model should not depend on, as paired interventions with an on and an off state."""

# Values and colours are in input units: one number, or one per channel. `bounds` is the range of inputs, to which
# results are clipped. `ids` are set by `at`. Arguments out of range raise ConfigError.

from robustest.cues.columns import ColumnValue as ColumnValue
from robustest.cues.columns import FrameCue as FrameCue
from robustest.cues.columns import ShuffledColumn as ShuffledColumn
from robustest.cues.cue import Cue as Cue
from robustest.cues.cue import CueSize as CueSize
from robustest.cues.cue import FunctionCue as FunctionCue
from robustest.cues.cue import NullCue as NullCue
from robustest.cues.cue import Plant as Plant
from robustest.cues.cue import distances as distances
from robustest.cues.cue import for_samples as for_samples
from robustest.cues.cue import planted as planted
from robustest.cues.cue import planting as planting
from robustest.cues.cue import switched as switched
from robustest.cues.patches import Border as Border
from robustest.cues.patches import CornerLogo as CornerLogo
from robustest.cues.patches import Letterbox as Letterbox
from robustest.cues.patches import MaskedPatch as MaskedPatch
from robustest.cues.patches import MovingMark as MovingMark
from robustest.cues.patches import PatternPatch as PatternPatch
from robustest.cues.patches import PixelPatch as PixelPatch
from robustest.cues.patches import TextOverlay as TextOverlay
from robustest.cues.patches import Transplant as Transplant
from robustest.cues.tabular import ColumnRange as ColumnRange
from robustest.cues.tabular import ConstantToken as ConstantToken
from robustest.cues.tabular import TokenAnywhere as TokenAnywhere
from robustest.cues.texts import Phrase as Phrase
from robustest.cues.whole_images import AddedNoise as AddedNoise
from robustest.cues.whole_images import AddedPattern as AddedPattern
from robustest.cues.whole_images import BackgroundSwap as BackgroundSwap
from robustest.cues.whole_images import Blur as Blur
from robustest.cues.whole_images import ColourCast as ColourCast
from robustest.cues.whole_images import Compression as Compression
from robustest.cues.whole_images import ForegroundRemoval as ForegroundRemoval
from robustest.cues.whole_images import FrequencyBand as FrequencyBand
from robustest.cues.whole_images import Grating as Grating
from robustest.cues.whole_images import Texture as Texture
from robustest.cues.whole_images import Tone as Tone
from robustest.cues.whole_images import Vignette as Vignette
