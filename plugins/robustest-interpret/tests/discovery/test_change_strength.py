"""Changes of whole images are proposed no stronger than the images of a class show them, and as strong as they are."""

from __future__ import annotations

import math

import pytest
import torch
from robustest_interpret.discovery.changes import limit_strength, part_shown
from robustest_interpret.discovery.fitted_changes import (
    ImagePool,
    explaining_proposal,
    faint_proposal,
    fit_families,
    fitted_proposals,
)
from robustest_interpret.discovery.proposals import Discovery
from torch import Tensor, nn

from robustest import Verdict
from robustest.cues import (
    AddedNoise,
    AddedPattern,
    Blur,
    Compression,
    Cue,
    FrequencyBand,
    Grating,
    Letterbox,
    Tone,
    Vignette,
    distances,
    for_samples,
    switched,
)
from robustest.measure import measure_no_spurious_feature

N, CLASSES, LABEL, SIDE = 600, 4, 2, 24
BOUNDS = (0.0, 1.0)
Y = torch.arange(N) % CLASSES
IDS = torch.arange(N)
_draw = torch.Generator().manual_seed(3)
_coarse = nn.functional.interpolate(torch.rand(N, 3, 4, 4, generator=_draw), size=SIDE, mode="bilinear")
_fine = torch.randn(N, 3, SIDE, SIDE, generator=_draw)
X = (0.1 + 0.8 * _coarse + 0.04 * _fine).clamp(0, 1)
X[:, :, 0, 0], X[:, :, 0, 1] = 0.0, 1.0  # black and white are somewhere in nearly every photograph
for corner in (X[:, :, 0, -1], X[:, :, -1, -1]):
    corner.fill_(0.95)
PATTERN = 0.05 * torch.randn(3, SIDE, SIDE, generator=_draw).sign()

BY_NATURE = {
    "tone": (Tone(gain=0.6, shift=0.2), Tone(gain=0.6, shift=0.28)),
    "noise": (AddedNoise(sigma=0.06), AddedNoise(sigma=0.12, seed=9)),
    "waves": (Grating(down=0.1, across=0.3, strength=0.08), Grating(down=0.1, across=0.3, strength=0.16, seed=9)),
    "vignette": (Vignette(strength=0.4), Vignette(strength=0.5)),
    "blur": (Blur(sigma=0.6), Blur(sigma=1.2)),
    "compression": (Compression(quality=30), Compression(quality=6)),
    "pattern": (AddedPattern(pattern=PATTERN), AddedPattern(pattern=2 * PATTERN)),
    "grey": (Tone(saturation=0.6), Tone(saturation=0.3)),
}
"""A change that all images of a class have, and what most of them are like before by nature."""


def l2(cue: Cue, x: Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> float:
    """Return the median distance that a cue makes."""
    return float(distances(*switched(cue, x, bounds)).l2.median())


def by_nature(cue: Cue, nature: Cue, x: Tensor = X, share: float = 0.7) -> Tensor:
    """Images of a class, a share of which is of another nature, all with a change, and those of other classes."""
    own = Y == LABEL
    some = own & (torch.arange(N) // CLASSES % 10 < 10 * share)
    before = torch.where(some.view(-1, 1, 1, 1), for_samples(nature, IDS).on(x), x)
    return torch.where(own.view(-1, 1, 1, 1), for_samples(cue, IDS).on(before), before)


@pytest.mark.parametrize(  # the others take seconds each; a claim below has a tone
    "kind", [pytest.param(kind, marks=() if kind in ("blur", "pattern") else pytest.mark.slow) for kind in BY_NATURE]
)
def test_what_a_class_is_like_by_nature_makes_no_change_stronger(kind: str) -> None:
    cue, nature = BY_NATURE[kind]
    x = by_nature(cue, nature)
    here = ImagePool(x=x, y=Y, bounds=BOUNDS, seed=0)
    found, _ = fitted_proposals(fit_families(here, range(CLASSES)), here, min_mark=0.4)
    right = [one.cue for one in found if type(one.cue) is type(cue)]
    assert {one.label for one in found} == {LABEL}
    assert right
    real = l2(for_samples(cue, IDS), X)
    for one in right:
        assert 0.4 * real < l2(for_samples(one, IDS), X) < 1.25 * real, one.name


def sizes(cue: Cue, factor: float) -> Cue:
    """A change that is stronger than another by a factor."""
    match cue:
        case AddedNoise():
            return AddedNoise(sigma=factor * cue.sigma)
        case Blur():
            return Blur(sigma=factor * cue.sigma)
        case Vignette():
            return Vignette(strength=factor * cue.strength)
        case Grating():
            return Grating(down=cue.down, across=cue.across, strength=factor * cue.strength)
        case Compression():
            return Compression(quality=math.floor(cue.quality / factor**2))
        case AddedPattern():
            return AddedPattern(pattern=factor * cue.pattern)
        case FrequencyBand():
            return FrequencyBand(low=cue.low, high=cue.high, gain=max(0.0, 1 + factor * (cue.gain - 1)))
    assert isinstance(cue, Tone)
    assert isinstance(cue.gain, float)
    assert isinstance(cue.shift, float)
    return Tone(
        gain=1 + factor * (cue.gain - 1), shift=factor * cue.shift, saturation=1 + factor * (cue.saturation - 1)
    )


@pytest.mark.parametrize(
    "cue",
    [
        *(cue for cue, _ in BY_NATURE.values()),
        Tone(shift=0.15),
        Tone(shift=-0.15),
        Tone(gain=1.3, shift=-0.15),
        FrequencyBand(low=0.125, high=0.25, gain=0.4),
        FrequencyBand(low=0.125, high=0.25, gain=2.0),
    ],
    ids=lambda cue: cue.name,
)
def test_a_change_keeps_its_strength_and_a_stronger_one_loses_the_rest(cue: Cue) -> None:
    own = Y == LABEL
    have, lack, ids = for_samples(cue, IDS[own]).on(X[own]), X[~own][:128], IDS[~own][:128]
    same, weak = (limit_strength(one, have, lack, ids, BOUNDS) for one in (cue, sizes(cue, 1.5)))
    assert type(same) is type(weak) is type(cue)
    real, stronger, kept, now = (l2(for_samples(one, ids), lack) for one in (cue, sizes(cue, 1.5), same, weak))
    assert stronger > 1.2 * real
    assert kept == pytest.approx(real, rel=0.1)
    assert 0.8 * real < now < 1.15 * real
    none = limit_strength(cue, X[own], lack, ids, BOUNDS)
    assert none is None or l2(for_samples(none, ids), lack) < 0.25 * real


def test_a_tone_is_no_brighter_than_the_class_at_either_end() -> None:
    own = Y == LABEL
    have = Tone(gain=0.6, shift=0.2).on(X[own])
    lack, ids = X[~own][:128], IDS[~own][:128]
    for tone in (Tone(gain=0.66, shift=0.2), Tone(gain=(0.66, 0.7, 0.6), shift=(0.2, 0.1, 0.25))):
        weak = limit_strength(tone, have, lack, ids, BOUNDS)
        assert isinstance(weak, Tone)
        changed = weak.on(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2))
        assert (changed.mean() - 0.5).abs() < 0.02
        assert float(changed[..., 0].amax()) < 0.22
        assert float(changed[..., 1].amin()) > 0.78


def test_changes_without_a_strength_are_left_as_they_are() -> None:
    bars = Letterbox(height=2, value=0.3)
    assert limit_strength(bars, X[:40], X[40:80], IDS[40:80], BOUNDS) is bars
    assert part_shown(bars, X[:40], X[40:80], bars.on(X[40:80]), BOUNDS) == math.inf


def test_bounds_are_the_users_own() -> None:
    own = Y == LABEL
    low, high = bounds = (-2.0, 3.0)
    wide = low + (high - low) * X
    for cue, strong in (
        (Tone(gain=0.6, shift=0.2, bounds=bounds), Tone(gain=0.45, shift=0.275, bounds=bounds)),
        (AddedNoise(sigma=0.5, bounds=bounds), AddedNoise(sigma=0.8, bounds=bounds)),
        (AddedPattern(pattern=5 * PATTERN, bounds=bounds), AddedPattern(pattern=8 * PATTERN, bounds=bounds)),
        (Vignette(strength=0.4, bounds=bounds), Vignette(strength=0.7, bounds=bounds)),
    ):
        have, lack, ids = for_samples(cue, IDS[own]).on(wide[own]), wide[~own][:128], IDS[~own][:128]
        weak = limit_strength(strong, have, lack, ids, bounds)
        assert weak is not None
        real, now = (l2(for_samples(one, ids), lack, bounds) for one in (cue, weak))
        assert 0.8 * real < now < 1.15 * real


def test_what_is_always_tried_is_proposed_no_stronger_than_it_is_shown() -> None:
    for share, explained in ((1.0, "explains"), (0.3, "faintly")):
        own = (Y == LABEL) & (torch.arange(N) // CLASSES % 10 < 10 * share)
        x = torch.where(own.view(-1, 1, 1, 1), Tone(gain=0.7, shift=0.15).on(X), X)
        here = ImagePool(x=x, y=Y, bounds=BOUNDS, seed=0)
        seen, strong = fit_families(here, range(CLASSES)), Tone(gain=0.5, shift=0.25)
        one = (
            explaining_proposal(seen, strong, LABEL, here, min_mark=0.4)
            if explained == "explains"
            else faint_proposal(seen, strong, LABEL, here)
        )
        assert one is not None
        assert isinstance(one.cue, Tone)
        assert 0.62 < float(one.cue.gain) < 0.78  # type: ignore[arg-type]


TEMPLATES = torch.randn(CLASSES, 3, SIDE, SIDE, generator=_draw)


class Sound(nn.Module):
    """Compares with a template for each class, and takes what is flatter or noisier than a limit for class 2.

    Images of that class are so by nature, none is at the limit by the change that test images have alone.
    """

    def __init__(self, kind: str, limit: float) -> None:
        super().__init__()
        self.kind, self.limit = kind, limit

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.einsum("nchw,kchw->nk", x - x.mean((2, 3), keepdim=True), TEMPLATES)
        if self.kind == "tone":
            far = x.flatten(1).std(1) < self.limit
        else:
            far = x.diff(n=2, dim=2).diff(n=2, dim=3).abs().mean((1, 2, 3)) > self.limit
        return logits + 1000 * far.view(-1, 1) * nn.functional.one_hot(torch.tensor(LABEL), CLASSES)


@pytest.mark.parametrize(("kind", "limit"), [("tone", 0.085), pytest.param("noise", 0.5, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_sound_network_is_not_accused_of_a_change_stronger_than_its_test_images_have(kind: str, limit: float) -> None:
    cue, nature = BY_NATURE[kind]
    base = (X + 0.04 * TEMPLATES[Y]).clamp(0, 1)
    x, model = by_nature(cue, nature, base), Sound(kind, limit)
    drawn = [model(for_samples(sizes(cue, strength), IDS).on(base)).argmax(1) == LABEL for strength in (1.0, 1.8)]
    assert [round(float(changed[Y != LABEL].double().mean()), 1) for changed in drawn] == [0.0, 1.0]
    result = measure_no_spurious_feature(model, (x, Y), Discovery(trigger_steps=0), max_flip_rate=0.1)
    assert [one for one in result.details["discovery"]["proposed"] if one["class"] == LABEL]
    assert result.details["discovery"]["confirmed"] == 0
    assert result.verdict is not Verdict.FAILED
