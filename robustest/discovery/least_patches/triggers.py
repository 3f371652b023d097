"""Universal triggers: for every class, the cheapest patch that sends other classes' images there; and the odd one out.

After Wang et al., "Neural Cleanse" (IEEE S&P 2019): for each class a soft mask and a pattern, shared by all images, are
learned so that what is pasted is classified as that class while the mask stays small. A backdoor makes one class far
cheaper to reach than the others, which a rule on median absolute deviations finds. There the cost is the mask's L1
norm, which with few classes both misses backdoors and accuses clean models: ten norms spread widely, or hardly, by
chance. Here the mask also says where to look for the smallest opaque square that works on images held out. The cost
is the geometric mean of that square's area and the mask's norm, compared on a logarithmic scale, and the spread has a
floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from robustest.checks import checked_images, checked_real, checked_whole
from robustest.discovery.least_patches.odd_one_out import anomalies
from robustest.discovery.least_patches.trigger_hunt import Hunt, Logits, Trigger
from robustest.discovery.least_patches.trigger_search import Gradient
from robustest.errors import ConfigError, expected

MAX_ANOMALY = 1.75
"""What is more anomalous is suspected."""

PATTERN_STEPS, BATCH, SUCCESS = 40, 32, 0.85
"""Steps for a square's pattern, images in a step, and the share of them that a patch must send to its class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggers:
    """The cheapest patch of each class searched.

    Attributes:
        triggers: by class, in the order asked for.
        threshold: the anomaly above which a class is suspected.
    """

    triggers: tuple[Trigger, ...]
    threshold: float

    @property
    def suspects(self) -> tuple[Trigger, ...]:
        """Triggers of classes far cheaper to reach than the others, the most anomalous first."""
        odd = [trigger for trigger in self.triggers if trigger.anomaly > self.threshold]
        return tuple(sorted(odd, key=lambda trigger: -trigger.anomaly))


def search_triggers(
    x: Tensor,
    y: Tensor,
    gradient: Gradient,
    logits: Logits,
    *,
    classes: int,
    labels: Sequence[int] | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    steps: int = 200,
    pattern_steps: int = PATTERN_STEPS,
    batch: int = BATCH,
    success: float = SUCCESS,
    sizes: Sequence[int] | None = None,
    threshold: float = MAX_ANOMALY,
    classes_at_a_time: int = 10,
    seed: int = 0,
) -> Triggers:
    """The cheapest universal patch for every class, and how odd each is among them.

    One half of the images is searched on; the other tells how well a patch does. The passes forward and backward are
    about labels * batch * (steps + pattern_steps * sizes tried).

    Args:
        x, y: images (N, C, H, W) inside the bounds, and (N,) int64 labels. A few hundred are enough.
        gradient: maps points and targets to logits and the gradient of the summed cross-entropy; see `gradient_of`.
        logits: maps points to logits (B, K).
        classes: K.
        labels: classes to search, 4 at least, for the rule looks for the odd one out; None for all.
        bounds: smallest and largest input value.
        steps: of the soft masks' search.
        pattern_steps: of the search for a square's pattern.
        batch: images in a step.
        success: share of images that a patch must send to its class, in (0, 1].
        sizes: sides of the squares, in pixels, rising; None takes about ten, up to .6 of the image's side.
        threshold: anomaly above which a class is suspected.
        classes_at_a_time: classes searched in one batch.
        seed: draws the halves, the batches and the starts.

    Raises:
        ConfigError: an argument is out of range.
        DataError: a half of the images holds none of the classes other than some label.
    """
    checked_images(x, "a search for triggers")
    wanted = list(range(classes)) if labels is None else list(labels)
    if len(set(wanted)) < 4 or not all(type(k) is int and 0 <= k < classes for k in wanted):
        raise ConfigError(expected(f"at least 4 classes in 0..{classes - 1} to compare", wanted))
    for name, number in (("steps", steps), ("pattern_steps", pattern_steps), ("batch", batch)):
        checked_whole(name, number, 1)
    checked_whole("classes_at_a_time", classes_at_a_time, 1)
    checked_real("min_success", success, 1e-6, 1.0)
    hunt = Hunt(x, y, gradient, logits, bounds=bounds, batch=batch, success=success, seed=seed)
    sides = checked_sides(sizes, min(x.shape[2:]))
    found: list[Trigger] = []
    for start in range(0, len(wanted), classes_at_a_time):
        search = hunt.masks(wanted[start : start + classes_at_a_time], steps)
        found += hunt.squares(search, sides, pattern_steps)
    return compared(found, threshold)


def compared(found: Sequence[Trigger], threshold: float) -> Triggers:
    """The cheapest patches of some classes, each with its anomaly among them."""
    odd = anomalies([trigger.cost for trigger in found])
    triggers = tuple(replace(trigger, anomaly=a) for trigger, a in zip(found, odd, strict=True))
    return Triggers(triggers=triggers, threshold=threshold)


def checked_sides(sizes: Sequence[int] | None, side: int) -> list[int]:
    """Sides of squares to try, rising, none larger than an image's shorter side."""
    if sizes is None:
        first, last = max(1.0, side / 28), max(1.0, 0.6 * side)
        sides = sorted({round(first * (last / first) ** (i / 12)) for i in range(13)})
    else:
        sides = list(sizes)
    if not sides or not all(type(s) is int and 1 <= s <= side for s in sides) or sorted(set(sides)) != sides:
        raise ConfigError(expected(f"patch_sizes to be rising whole numbers in 1..{side}", sizes))
    return sides
