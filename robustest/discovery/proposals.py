"""Cues that a search proposes, and how the search goes."""

from __future__ import annotations

from dataclasses import dataclass

from robustest.checks import checked_real, checked_whole
from robustest.cues.cue import Cue

PATCHES, TRIGGERS = "unusual value at a place", "cheapest patch"
PROPERTIES, CHANNELS = "property of whole images", "channels of whole images"
SPECTRA, EDGES = "spectrum of whole images", "edges of whole images"
MOVING, NOISE = "local mark anywhere", "noise of whole images"
COLUMNS, TOKENS = "value of a column", "token anywhere"
"""What may propose a cue."""

FAMILIES = {
    PATCHES: "patches that mark a class",
    PROPERTIES: "brightness, contrast, saturation or shading that marks a class",
    CHANNELS: "channels that mark a class",
    SPECTRA: "frequencies or patterns that mark a class",
    EDGES: "margins, sharpness or compression that marks a class",
    NOISE: "noise that marks a class",
    MOVING: "small marks that move and mark a class",
    TRIGGERS: "patches that lead to a class",
    COLUMNS: "columns that mark a class",
    TOKENS: "tokens that mark a class",
}
"""The cues that each of them finds, in words."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proposal:
    """A cue that a class is suspected to rely on. It is a suspicion: an intervention on unseen samples decides.

    Attributes:
        found_by: what proposed it, one of `FAMILIES`.
        label: the class.
        cue: what to switch.
        score: how much speaks for it, in the terms of what proposed it.
        region: (top, left, height, width) of the pixels it changes; None where it is all over the image.
        value: a number a channel, in input units: the mean of what a place holds; empty for whole images.
        families: all that propose the same cue; empty where `found_by` alone does.
        chance: how likely such a proposal is where there is no cue, in 0..1, if an intervention cannot tell: a patch
            that was searched for in order to lead to a class draws predictions there in any model.
        faint: few of the class's images look like the cue. It may leave a claim inconclusive, and never fails it.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """How cues are searched for where none is named: `"auto"` stands for `Discovery()`.

    Args:
        search_samples: samples searched on, at most, and never more than half; the others judge.
        min_gap: share of a class's images that must have the same unusual value at a place, less the next class's,
            in (0, 1].
        min_mark: the same for what whole images are like, by the scores of a classifier that has not seen them; see
            `robustest.discovery.class_marks`.
        min_members: classes with fewer images among those searched on are not looked at, >= 5.
        max_anomaly: anomaly of a class's cheapest patch above which it is proposed; see
            `robustest.discovery.triggers`.
        trigger_steps: of the search for cheapest patches, the one part that costs passes with gradients; 0 leaves it
            out.

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
