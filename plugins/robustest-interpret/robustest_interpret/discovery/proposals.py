"""The families of cues, a proposed cue, and the options of the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from robustest import Result
from robustest.cues import Cue, Plant
from robustest.packs import Options, checked_real, checked_whole

PATCHES, TRIGGERS = "unusual value at a place", "cheapest patch"
PROPERTIES, CHANNELS = "property of whole images", "channels of whole images"
SPECTRA, EDGES = "spectrum of whole images", "edges of whole images"
MOVING, NOISE = "local mark anywhere", "noise of whole images"
PARTS, PAIRS = "part that recurs", "two marks together"
OWN, CURVES = "mark of the image's own content", "thin curve"
COLUMNS, TOKENS = "value of a column", "token anywhere"
"""The families: each is a way to find a cue."""

FAMILIES = {
    PATCHES: "patches that mark a class",
    PROPERTIES: "brightness, contrast, saturation or shading that marks a class",
    CHANNELS: "channels that mark a class",
    SPECTRA: "frequencies or patterns that mark a class",
    EDGES: "margins, sharpness or compression that marks a class",
    NOISE: "noise that marks a class",
    MOVING: "small marks that move and mark a class",
    PAIRS: "two marks that mark a class together",
    OWN: "small marks made of the image's own content",
    CURVES: "thin curves that mark a class",
    TRIGGERS: "patches that lead to a class",
    COLUMNS: "columns that mark a class",
    TOKENS: "tokens that mark a class",
}
"""The cues that each family finds, in words."""

RARE = 0.2
"""The largest share of any other class that may have the value, mark or token of a class."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proposal:
    """A cue that the model may rely on for a class. It is a suspicion: an intervention on other samples decides.

    Attributes:
        found_by: the family that proposed it.
        score: a gap in 0..1, or an anomaly of a patch.
        region: (top, left, height, width) of the pixels that it changes; None for whole images.
        value: mean value of a place per channel, in input units; empty for whole images.
        families: all families that propose the same cue; empty means `found_by` alone.
        chance: probability, in 0..1, of such a proposal without any cue, if an intervention cannot decide: a patch that
            was searched for in order to lead to a class draws predictions there in any model.
        faint: few of the class's images look like the cue. A faint proposal never fails a claim; it may leave the claim
            inconclusive.
    """

    found_by: str
    label: int
    cue: Cue
    score: float
    region: tuple[int, int, int, int] | None
    value: tuple[float, ...]
    families: tuple[str, ...] = ()
    chance: float = 0.0
    faint: bool = False


@dataclass(frozen=True, slots=True)
class CueLimits:
    """The thresholds and the class of a claim."""

    max_flip_rate: float | None
    max_recall_drop: float | None
    target: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """Options of the search for unnamed cues: `"auto"` stands for `Discovery()`.

    Args:
        search_samples: most samples searched on, and never more than half; the others decide.
        min_gap: least gap of a patch, a moving mark, a column or a token, in (0, 1].
        min_mark: least gap of a mark of whole images, in (0, 1].
        min_members: classes with fewer samples among those searched on are not searched, >= 5.
        max_anomaly: anomaly of a class's cheapest patch above which it is proposed.
        trigger_steps: steps of the search for cheapest patches, the only part that needs gradients; 0 leaves it out.

    Raises:
        ConfigError: a number is out of range.
    """

    search_samples: int = 1000
    min_gap: float = 0.5
    min_mark: float = 0.4
    min_members: int = 20
    max_anomaly: float = 2.0
    trigger_steps: int = 200

    def __post_init__(self) -> None:
        checked_whole("search_samples", self.search_samples, 2)
        checked_real("min_gap", self.min_gap, 1e-6, 1.0)
        checked_real("min_mark", self.min_mark, 1e-6, 1.0)
        checked_whole("min_members", self.min_members, 5)
        checked_real("max_anomaly", self.max_anomaly, 1e-6)
        checked_whole("trigger_steps", self.trigger_steps, 0)

    def measure_cues(
        self,
        model: object,
        data: object,
        options: Options,
        *,
        max_flip_rate: float | None,
        max_recall_drop: float | None,
        target: int | None,
        control: object | None,
        learner: Callable[[Plant], object] | None,
    ) -> Result:
        """Measure `no_spurious_feature` on the cues that the search finds; see `robustest.packs.CueSearch`."""
        # Here, as the search is made of the modules beside this one.
        from robustest_interpret.discovered_cues import measure_discovered

        limits = CueLimits(max_flip_rate, max_recall_drop, target)
        return measure_discovered(model, data, self, limits, options, control=control, learner=learner)
