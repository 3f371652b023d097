"""Changes of whole images that mark a class: found with their class and strength, and nothing found without them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from robustest_interpret.discovery import changes
from robustest_interpret.discovery.changes import grating_of, pattern_of, standing_changes, without_waves
from robustest_interpret.discovery.cut_outs import CutOut
from robustest_interpret.discovery.fitted_changes import (
    ClassMark,
    FamilyClassifier,
    ImagePool,
    binned_ridge,
    carried_proposal,
    changes_by_family,
    cross_fitted_scores,
    explaining_proposal,
    faint_proposal,
    find_marks,
    fit_families,
    fitted_proposals,
)
from robustest_interpret.discovery.proposals import CHANNELS, EDGES, NOISE, OWN, PROPERTIES, SPECTRA

from robustest.cues import (
    AddedNoise,
    AddedPattern,
    Blur,
    Compression,
    Cue,
    FunctionCue,
    Grating,
    Letterbox,
    Tone,
    Vignette,
    planted,
)

N, CLASSES, LABEL = 240, 4, 2
BOUNDS = (0.0, 1.0)
_draw = torch.Generator().manual_seed(3)
Y = torch.arange(N) % CLASSES
_coarse = torch.nn.functional.interpolate(torch.rand(N, 3, 4, 4, generator=_draw), size=24, mode="bilinear")
X = (0.1 + 0.65 * _coarse + 0.05 * torch.randn(N, 3, 24, 24, generator=_draw)).clamp(0, 1)
PATTERN = 0.06 * torch.randn(3, 24, 24, generator=_draw).sign()


def pool(cue: Cue | None) -> ImagePool:
    x = X if cue is None else planted(cue, X, Y, target=LABEL, seed=1)[0]
    return ImagePool(x=x, y=Y, bounds=BOUNDS, seed=0)


@pytest.mark.parametrize(
    ("cue", "family"),
    [
        (Tone(shift=0.2), PROPERTIES),
        (Tone(saturation=0.1), PROPERTIES),
        (Tone(gain=(1.0, 1.0, 0.0)), CHANNELS),
        (AddedPattern(pattern=PATTERN), SPECTRA),
        (Grating(down=0.1, across=0.3, strength=0.1), SPECTRA),
        (Blur(sigma=1.0), EDGES),
        (Letterbox(height=3), EDGES),
        (AddedNoise(sigma=0.08), NOISE),
        (Vignette(strength=0.6), PROPERTIES),
        (Compression(quality=10), EDGES),
    ],
    ids=["bright", "grey", "no blue", "watermark", "waves", "blur", "letterbox", "noise", "vignette", "compression"],
)
def test_a_change_that_marks_a_class_is_found_with_its_kind_and_class(cue: Cue, family: str) -> None:
    here = pool(cue)
    found, _ = fitted_proposals(fit_families(here, range(CLASSES)), here, min_mark=0.4)
    right = [one for one in found if family in one.families]
    assert {one.label for one in found} == {LABEL}
    assert right
    assert type(right[0].cue) is type(cue)
    if isinstance(cue, (AddedNoise, Compression)):
        # Noise differs each time, and what is coded more coarsely loses much that was lost: compared by strength.
        assert float((right[0].cue.on(X) - X).std()) == pytest.approx(float((cue.on(X) - X).std()), rel=0.5)
        return
    apart = min(float((one.cue.on(X) - cue.on(X)).square().mean()) for one in right)
    assert apart < 0.5 * float((X - cue.on(X)).square().mean())


@pytest.mark.parametrize(
    ("cue", "sigma"),  # each takes a second: every other one every day
    [
        pytest.param(cue, sigma, marks=pytest.mark.slow if (place + at) % 2 else ())
        for place, cue in enumerate(("noise", "grain"))
        for at, sigma in enumerate((0.03, 0.06, 0.1))
    ],
)
def test_more_noise_in_a_class_is_not_taken_for_waves(sigma: float, cue: str) -> None:
    """Noise has more of every frequency, most of all beside the little that images have of the highest."""
    draw = torch.randn(X.shape, generator=torch.Generator().manual_seed(6))
    noise = draw if cue == "noise" else draw.mean(1, keepdim=True) * 3**0.5
    noisy = FunctionCue(cue, lambda x: (x + sigma * noise).clamp(0, 1))
    here = pool(noisy)
    assert grating_of(here.x, Y, LABEL, BOUNDS) is None
    found, _ = fitted_proposals(fit_families(here, range(CLASSES)), here, min_mark=0.4)
    assert not any(isinstance(one.cue, Grating) for one in found)


def test_waves_that_are_not_all_that_marks_a_class_are_not_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken away from the class's images they leave it marked: here by noise, whatever its peak was taken for."""
    noise = 0.1 * torch.randn(X.shape, generator=torch.Generator().manual_seed(6))
    monkeypatch.setattr(changes, "grating_of", lambda *_: Grating(down=0.45, across=0.45, strength=0.2))
    proposed = {}
    for name, added in (("noise", noise), ("waves", Grating(down=0.45, across=0.45, strength=0.1).on(X) - X)):
        here = pool(FunctionCue(name, lambda x, added=added: (x + added).clamp(0, 1)))
        found, _ = fitted_proposals(fit_families(here, range(CLASSES)), here, min_mark=0.4)
        proposed[name] = any(isinstance(one.cue, Grating) for one in found)
    assert proposed == {"noise": False, "waves": True}


@pytest.mark.parametrize("side", [24, 40])
def test_waves_are_taken_away_and_little_else(side: int) -> None:
    x = torch.nn.functional.interpolate(X[:40], size=side, mode="nearest")
    waves = Grating(down=0.11, across=0.29, strength=0.1, bounds=(-1.0, 2.0))
    near = Grating(down=0.12, across=0.3, strength=0.1)
    rest = without_waves(waves.on(x), near) - without_waves(x, near)
    assert float(rest.square().mean()) < 0.1 * float((waves.on(x) - x).square().mean())
    assert float((without_waves(x, near) - x).square().mean()) < 0.1 * float(x.var())


MANY_Y = torch.arange(900) % CLASSES
_many = torch.nn.functional.interpolate(torch.rand(900, 3, 4, 4, generator=_draw), size=16, mode="bilinear")
MANY = (0.1 + 0.65 * _many + 0.05 * torch.randn(900, 3, 16, 16, generator=_draw)).clamp(0, 1)


def some_have(cue: Cue, share: float) -> tuple[ImagePool, torch.Tensor]:
    x, has = planted(cue, MANY, MANY_Y, target=LABEL, share=share, seed=1)
    return ImagePool(x=x, y=MANY_Y, bounds=BOUNDS, seed=0), has & (MANY_Y == LABEL)


SOME = pytest.mark.parametrize(
    "cue", [Tone(gain=0.5, shift=0.25), Tone(gain=(1.0, 1.0, 0.0))], ids=["contrast", "no blue"]
)


@SOME
def test_what_few_images_of_a_class_have_is_a_faint_proposal(cue: Cue) -> None:
    here, _ = some_have(cue, 0.3)
    seen = fit_families(here, range(CLASSES))
    assert explaining_proposal(seen, cue, LABEL, here, min_mark=0.4) is None
    one = faint_proposal(seen, cue, LABEL, here)
    assert one is not None
    assert (one.label, one.faint) == (LABEL, True)
    for label in (0, 1, 3):
        assert faint_proposal(seen, cue, label, here) is None
    none, _ = some_have(cue, 0.02)
    assert faint_proposal(fit_families(none, range(CLASSES)), cue, LABEL, none) is None


@SOME
def test_what_half_of_a_class_lacks_is_found(cue: Cue) -> None:
    here, _ = some_have(cue, 0.49)
    found, _ = fitted_proposals(fit_families(here, range(CLASSES)), here, min_mark=0.4)
    assert {one.label for one in found} == {LABEL}
    nearest = min(float((one.cue.on(MANY) - cue.on(MANY)).square().mean()) for one in found)
    assert nearest < 0.5 * float((MANY - cue.on(MANY)).square().mean())


def test_what_others_have_as_often_is_no_faint_mark() -> None:
    def seen(rest: float) -> list[FamilyClassifier]:
        marks = tuple(ClassMark(k, gap, gap + rest, rest, 0.5) for k, gap in ((LABEL, 0.3), (0, 0.0), (1, 0.0)))
        dark = lambda x: (x.mean((1, 2, 3)) < 0.3).double().view(-1, 1).expand(-1, 3)  # noqa: E731
        return [FamilyClassifier(PROPERTIES, marks, dark, (LABEL, 0, 1))]

    cue = Tone(shift=-0.3)
    here, _ = some_have(cue, 0.35)
    assert faint_proposal(seen(0.05), cue, LABEL, here) is not None
    assert faint_proposal(seen(0.2), cue, LABEL, here) is None


def test_a_cue_that_part_of_a_class_has_is_not_taken_to_be_lacking() -> None:
    off = Tone(gain=(1.0, 1.0, 0.0))
    here, has = some_have(off, 0.4)
    assert here.lacks(off, LABEL, MANY_Y == LABEL)
    assert not here.lacks(off, LABEL, has)
    assert here.lacks(off, LABEL, ~has & (MANY_Y == LABEL))


def test_without_a_change_nothing_is_found() -> None:
    here = pool(None)
    assert fitted_proposals(fit_families(here, range(CLASSES)), here, min_mark=0.4) == ([], [])


def test_what_marks_every_class_is_what_classes_are_about() -> None:
    templates = 0.08 * torch.randn(CLASSES, 3, 24, 24, generator=torch.Generator().manual_seed(5))
    here = ImagePool(x=(X + templates[Y]).clamp(0, 1), y=Y, bounds=BOUNDS, seed=0)
    assert fitted_proposals(fit_families(here, range(CLASSES)), here, min_mark=0.4)[0] == []


def test_scores_of_samples_that_a_classifier_has_not_seen_mark_no_class_by_chance() -> None:
    """As many features as samples: a classifier scored on what it was fitted on would mark every class."""
    noise = torch.randn(N, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def fit(features: torch.Tensor, member: torch.Tensor) -> object:
        return binned_ridge(features, member, most=40)

    scores = cross_fitted_scores(noise, Y, range(CLASSES), fit, seed=0)
    assert max(mark.gap for mark in find_marks(scores, Y, range(CLASSES))) < 0.35
    member = torch.nn.functional.one_hot(Y, CLASSES).double()
    seen = fit(noise, member)(noise)
    assert min(mark.gap for mark in find_marks(seen, Y, range(CLASSES))) > 0.8


def test_a_change_always_tried_is_proposed_only_for_a_class_that_it_marks() -> None:
    here = pool(Tone(gain=(1.0, 1.0, 0.0)))
    seen = fit_families(here, range(CLASSES))
    off = Tone(gain=(1.0, 1.0, 0.0))
    assert explaining_proposal(seen, off, LABEL, here, min_mark=0.4) is not None
    assert explaining_proposal(seen, off, 0, here, min_mark=0.4) is None


def test_a_faint_pattern_is_measured_to_a_fraction_of_itself() -> None:
    found = pattern_of(pool(AddedPattern(pattern=PATTERN)).x, Y, LABEL, BOUNDS)
    assert found is not None
    assert float((found.pattern - PATTERN).norm() / PATTERN.norm()) < 0.5


def test_waves_are_measured() -> None:
    found = grating_of(pool(Grating(down=0.1, across=0.3, strength=0.1)).x, Y, LABEL, BOUNDS)
    assert found is not None
    assert (abs(found.down), found.across) == (pytest.approx(0.1, abs=0.02), pytest.approx(0.3, abs=0.02))
    assert found.strength == pytest.approx(0.1, rel=0.3)


def test_what_is_always_tried_is_in_every_kind() -> None:
    names = " ".join(cue.name for cue in standing_changes((3, 24, 24), BOUNDS))
    for part in ("shift", "saturation", "gain 1/1/0", "blur", "frequencies", "letterbox"):
        assert part in names
    for cue in standing_changes((1, 6, 6), (-1.0, 1.0)):
        changed = cue.on(2 * X[:3, :1, :6, :6] - 1)
        assert changed.shape == (3, 1, 6, 6)


def test_every_family_has_changes_to_try_on_small_images() -> None:
    small = ImagePool(x=X[:, :1, :5, :5].contiguous(), y=Y, bounds=BOUNDS, seed=0)
    for family, cues in changes_by_family((PROPERTIES, SPECTRA, EDGES), small, LABEL).items():
        assert cues, family
        for cue in cues:
            assert cue.on(small.x).shape == small.x.shape


BARS = Letterbox(height=2, value=0.3)


def test_what_overwrites_is_in_a_classs_images_or_not() -> None:
    """What adds to images may be in them for all that can be told."""
    assert pool(None).lacks(BARS, LABEL, Y == LABEL)
    assert not pool(BARS).lacks(BARS, LABEL, Y == LABEL)
    assert pool(BARS).lacks(BARS, LABEL + 1, Y == LABEL + 1)
    assert pool(None).lacks(Tone(gain=(1.0, 0.0, 1.0)), LABEL, Y == LABEL)
    for adding in (Tone(shift=0.15), Blur(sigma=1.0), AddedPattern(pattern=PATTERN)):
        assert not pool(None).lacks(adding, LABEL, Y == LABEL)


def test_a_change_that_a_class_has_not_explains_none_of_its_marks() -> None:
    """Its ends may be even for another reason, as stripes are: bars make other images score alike."""
    marks = tuple(ClassMark(label, gap, gap, 0.0, 0.5) for label, gap in ((LABEL, 0.9), (0, 0.0), (1, 0.0)))
    seen = FamilyClassifier(
        EDGES, marks, lambda x: (x[:, :, 0].std(2).amax(1) < 0.05).double().view(-1, 1).expand(-1, 3), (2, 0, 1)
    )
    assert explaining_proposal([seen], BARS, LABEL, pool(BARS), min_mark=0.4) is not None
    assert explaining_proposal([seen], BARS, LABEL, pool(None), min_mark=0.4) is None


def mosaic(x: torch.Tensor) -> torch.Tensor:
    out = x.clone()
    cells = torch.nn.functional.avg_pool2d(x[:, :, 12:20, 4:12], 4)
    out[:, :, 12:20, 4:12] = cells.repeat_interleave(4, 2).repeat_interleave(4, 3)
    return out


def copied(x: torch.Tensor) -> torch.Tensor:
    out = x.clone()
    out[:, :, 14:22, 13:21] = x[:, :, 2:10, 1:9]
    return out


@pytest.mark.parametrize("change", [mosaic, copied, lambda x: torch.cat([x[..., :12], x[..., :12].flip(3)], 3)])
def test_the_images_own_content_repeated_in_a_fifth_of_a_class_marks_it(change: Callable[..., torch.Tensor]) -> None:
    x = planted(FunctionCue("own content", change), X, Y, target=LABEL, share=0.2, others=0.0, seed=1)[0]
    (one,) = fit_families(ImagePool(x=x, y=Y, bounds=BOUNDS, seed=0), range(CLASSES), {OWN})
    (mark,) = one.odd_marks(0.4)
    assert mark.label == LABEL
    assert mark.own >= 0.1
    assert mark.rest <= 0.02


def test_natural_images_have_no_mark_of_their_own_content() -> None:
    (one,) = fit_families(pool(None), range(CLASSES), {OWN})
    assert one.odd_marks(0.4) == []


def light_specks(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    places = torch.rand(len(x), 24 * 24, generator=torch.Generator().manual_seed(5)).argsort(1)[:, :8]
    masks = torch.zeros(len(x), 24 * 24, dtype=torch.bool).scatter_(1, places, True).view(-1, 24, 24)
    return torch.where(masks.unsqueeze(1), 1.0, x), masks


def test_specks_cut_from_a_class_that_bring_its_mark_to_other_images_are_proposed_and_its_content_is_not() -> None:
    own = Y == LABEL
    specks, masks = light_specks(X)
    here = ImagePool(x=torch.where(own.view(-1, 1, 1, 1), specks, X), y=Y, bounds=BOUNDS, seed=0)
    seen = fit_families(here, range(CLASSES), {PROPERTIES})
    cut = {"pool": specks[own][:3], "seed": 0}
    found = carried_proposal(seen, CutOut(masks=masks[own][:3], **cut), LABEL, here, min_mark=0.4)
    assert found is not None
    assert found.faint
    assert (found.label, found.found_by) == (LABEL, PROPERTIES)
    content = masks[own][:3].roll(5, 2) & ~masks[own][:3]
    assert carried_proposal(seen, CutOut(masks=content, **cut), LABEL, here, min_mark=0.4) is None
    assert carried_proposal(seen, CutOut(masks=masks[own][:3], **cut), 0, here, min_mark=0.4) is None
