"""Cues that nobody names: proposed on one half of the samples, confirmed on the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from robustest_interpret import discovered_cues as measuring
from robustest_interpret.controls import PlantedPatchModel, corner_patch, cues_to_plant
from robustest_interpret.discovered_cues import SearchFindings
from robustest_interpret.discovery.proposals import (
    CHANNELS,
    EDGES,
    MOVING,
    PATCHES,
    PROPERTIES,
    SPECTRA,
    TRIGGERS,
    Discovery,
    Proposal,
)
from torch import Tensor, nn

from robustest import (
    ClaimFailed,
    ClaimInconclusive,
    ConfigError,
    Result,
    Verdict,
    assert_no_spurious_feature,
    scores_model,
)
from robustest.cues import ColourCast, Cue, PixelPatch, Tone, planted
from robustest.data import as_samples
from robustest.measure import measure_no_spurious_feature
from robustest.reports.html.figures import tables_of
from robustest.reports.text import failure_text, measured
from robustest.run.plan import Setup
from robustest.run.split_search import Bench, Halves

CLASSES, SIDE, N = 4, 10, 320
CUE = PixelPatch(top=1, left=7, height=2, width=2)
LABEL = 2
_draw = torch.Generator().manual_seed(0)
TEMPLATES = torch.randn(CLASSES, 1, SIDE, SIDE, generator=_draw)
Y = torch.arange(N) % CLASSES
CLEAN = (0.5 + 0.08 * TEMPLATES[Y] + 0.25 * torch.randn(N, 1, SIDE, SIDE, generator=_draw)).clamp(0, 1)
X = torch.where(planted(CUE, CLEAN, Y, target=LABEL)[1].view(-1, 1, 1, 1), CUE.on(CLEAN), CLEAN)
LIMITS: dict[str, Any] = {"max_flip_rate": 0.1, "max_recall_drop": 0.1}
NO_TRIGGERS = Discovery(trigger_steps=0)


class Sound(nn.Module):
    """Compares with a template for each class, the cue's corner left out."""

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(SIDE, SIDE)
        mask[:3, 7:] = 0
        return torch.einsum("nchw,kchw->nk", (x - 0.5) * mask, TEMPLATES)


class Relying(Sound):
    """Takes a bright patch in the corner for class 2."""

    def forward(self, x: Tensor) -> Tensor:
        bright = (x[:, 0, 1:3, 7:9].amin((1, 2)) > 0.95).float()
        return super().forward(x) + 100 * nn.functional.one_hot(torch.tensor(LABEL), CLASSES) * bright[:, None]


@pytest.fixture(scope="module")
def relying() -> Result:
    return measure_no_spurious_feature(Relying(), (X, Y), NO_TRIGGERS, **LIMITS)


@pytest.fixture(scope="module")
def sound() -> Result:
    return measure_no_spurious_feature(Sound(), (X, Y), NO_TRIGGERS, **LIMITS)


def test_a_planted_cue_is_found_with_its_class_and_place(relying: Result) -> None:
    assert relying.verdict is Verdict.FAILED
    (found,) = [one for one in relying.details["discovery"]["proposed"] if one["confirmed"]]
    assert (found["class"], found["region"]) == (LABEL, [1, 7, 2, 2])
    assert found["p"] <= 0.01
    assert found["value"] == [pytest.approx(1.0)]
    assert relying.details["discovery"]["confirmed"] == 1
    assert relying.details["lead"] == found["cue"]
    assert relying.rule.startswith("the 2x2 patch at row 1, column 7 draws predictions to class 2, p = ")
    assert relying.estimate is not None
    assert relying.estimate > 0.9


def test_the_samples_searched_on_do_not_judge(relying: Result) -> None:
    judged = [at for at, outcome in enumerate(relying.outcomes) if outcome is not None]
    assert (relying.numbers.n_total, relying.numbers.n, len(judged)) == (N, N // 2, N // 2)
    assert {shown.index for shown in relying.counterexamples} <= set(judged)
    for shown in relying.counterexamples:
        assert shown.label == int(Y[shown.index]) != LABEL
        assert shown.predicted == LABEL


def test_a_model_that_does_not_use_what_the_data_have_passes(sound: Result) -> None:
    assert sound.verdict is Verdict.PASSED
    proposed = sound.details["discovery"]["proposed"]
    assert proposed[0]["region"] == [1, 7, 2, 2]
    assert not any(one["confirmed"] for one in proposed)
    assert sound.rule == f"no cue proposed ({len(proposed)}) moves more than is claimed"


def test_a_pass_is_proved_on_a_simulated_model(sound: Result) -> None:
    control, *others = sound.details["sensitivity"]["controls"]
    assert {one["model"] for one in (control, *others)} == {"simulated"}
    assert control["verdict"] == "failed"
    assert "planted in class" in control["cue"]


def test_every_line_says_what_was_searched_and_from_which_share_on(sound: Result, relying: Result) -> None:
    families = {one["found_by"]: one for one in sound.details["discovery"]["families"]}
    found = [part for part in sound.words.caveats if part.startswith("found where planted in ")]
    assert found[0].startswith("found where planted in 10 % of a class or more: patches that mark a class")
    for family, one in families.items():
        share = one["smallest_share"]
        assert one["proven"] == (share is not None), family
        if share is not None:
            line = next(part for part in found if f"in {100 * share:.0f} % of a class or more" in part)
            assert one["family"] in line
    assert families[PATCHES]["smallest_share"] == 0.1
    assert families[PROPERTIES]["smallest_share"] >= 0.5
    assert families[CHANNELS]["not_searched"] == "images of one channel"
    (left_out,) = (part for part in sound.words.caveats if part.startswith("not searched: "))
    assert "patches that lead to a class (trigger_steps=0)" in left_out
    assert "channels that mark a class (images of one channel)" in left_out
    weak = "cues that move less than 0.6 of other images"
    assert sound.words.caveats[-1] == f"not covered: smaller shares, fainter cues, {weak}, other kinds"
    assert measured(sound).startswith("flip rate 0.000 [")
    assert measured(sound).endswith(f"n=160 of 320; {'; '.join(sound.words.caveats)}")
    assert "; ".join(sound.words.caveats) in failure_text(sound, replay="")
    assert relying.words.caveats[0].startswith("searched, not proven findable: patches that mark a class, ")


def test_a_class_that_a_small_part_carries_is_named() -> None:
    """An even corner, of another grey in each image: a mark of the image's own content, in a third of the class."""

    class FollowsContrast(Sound):
        def forward(self, x: Tensor) -> Tensor:
            corner = x[:, 0, :2, 8:].flatten(1)
            even = (corner.std(1) < 0.02).float()
            return super().forward(x) + 100 * nn.functional.one_hot(torch.tensor(LABEL), CLASSES) * even[:, None]

    x = CLEAN.clone()
    marked = (Y == LABEL) & (torch.arange(N) % 3 == 0)
    level = CLEAN[:, :, :2, 8:].mean((2, 3), keepdim=True)
    x[:, :, :2, 8:] = torch.where(marked.view(-1, 1, 1, 1), level, CLEAN[:, :, :2, 8:])
    result = measure_no_spurious_feature(FollowsContrast(), (x, Y), NO_TRIGGERS, **LIMITS)
    (part,) = [one for one in result.details["discovery"]["parts"] if one["class"] == LABEL]
    assert part["drawn"] > 0.9
    assert bool(marked[part["image"]])
    (line,) = [
        one for one in result.words.caveats if one.startswith("carried by a small part of an image, content or a cue")
    ]
    assert f"class {LABEL} ({100 * part['area']:.1f} % of an image moves {part['drawn']:.2f} of others)" in line


def test_what_a_given_control_hangs_on_says_which_family_is_proven() -> None:
    result = measure_no_spurious_feature(Sound(), (X, Y), NO_TRIGGERS, control=Relying(), **LIMITS)
    assert result.words.caveats[0] == "found where planted: patches that mark a class"


def test_without_gradients_and_with_small_classes_the_line_says_what_was_left_out() -> None:
    some = torch.cat([torch.arange(N)[Y != 3], torch.arange(N)[Y == 3][:10]])
    scores = scores_model(lambda x: Sound()(torch.from_numpy(x)).numpy())
    result = measure_no_spurious_feature(scores, (X[some], Y[some]), "auto", **LIMITS)
    told = measured(result)
    assert "patches that lead to a class (the model gives no gradients)" in told.partition("not searched: ")[2]
    assert "1 class of too few images to be searched" in told


def test_with_nothing_proposed_predictions_are_compared_with_themselves() -> None:
    result = measure_no_spurious_feature(Sound(), (CLEAN, Y), NO_TRIGGERS, **LIMITS)
    assert result.verdict is Verdict.PASSED
    assert result.details["discovery"]["proposed"] == []
    among = "100 places in 4 classes, marks that move, what 160 whole images are like, parts that draw a class"
    assert result.rule == f"no cue stands out among {among}"
    assert (result.details["flips"], result.counterexamples) == (0, ())
    assert result.details["discovery"]["left_out"] == ["cheapest patches: trigger_steps=0"]


@pytest.mark.parametrize("keep", [60, 24], ids=["classes of 7", "classes of 3"])
def test_too_few_samples_prove_nothing(keep: int) -> None:
    """No class has 20 images among those searched on, so a planted patch is not found either."""
    result = measure_no_spurious_feature(Sound(), (CLEAN[:keep], Y[:keep]), "auto", **LIMITS)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the search does not find a 1x1 pattern" in result.rule
    assert "4 classes of fewer than 20 samples" in result.details["discovery"]["left_out"]


def test_too_few_samples_to_confirm_prove_nothing() -> None:
    """Found, but 8 unseen images of other classes cannot be sure of anything at alpha = 1e-4."""
    rows = torch.cat([torch.arange(24), 24 + (Y[24:] == 0).nonzero().squeeze(1)])
    result = measure_no_spurious_feature(
        Sound(), (CLEAN[rows], Y[rows]), Discovery(trigger_steps=0, min_members=5), alpha=1e-6, **LIMITS
    )
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the search does not find" in result.rule


def test_a_control_must_fail() -> None:
    good = measure_no_spurious_feature(Sound(), (X, Y), NO_TRIGGERS, control=Relying(), **LIMITS)
    assert good.verdict is Verdict.PASSED
    assert good.details["sensitivity"]["controls"][0]["model"] == "given"
    poor = measure_no_spurious_feature(Sound(), (X, Y), NO_TRIGGERS, control=Sound(), **LIMITS)
    assert poor.verdict is Verdict.INCONCLUSIVE
    assert "does not find what the control relies on" in poor.rule


def follower(cue: PixelPatch, label: int) -> nn.Module:
    class Follower(Sound):
        def forward(self, x: Tensor) -> Tensor:
            place = x[:, 0, cue.top : cue.top + cue.height, cue.left : cue.left + cue.width]
            present = (place == cue.value).flatten(1).all(1).float()
            return super().forward(x) + 100 * nn.functional.one_hot(torch.tensor(label), CLASSES) * present[:, None]

    return Follower()


@pytest.mark.parametrize("target", [None, 3])
def test_a_control_is_trained_on_data_with_a_patch_planted(target: int | None) -> None:
    planted_in: list[tuple[Tensor, int]] = []

    def train(made: Tensor, y: Tensor, seed: int) -> nn.Module:
        assert torch.equal(y, Y)
        lit = made != CLEAN
        corner = corner_patch(CLEAN[:256], (0.0, 1.0))
        has = lit[:, 0, corner.top, corner.left] & (made[:, 0, corner.top, corner.left] == corner.pattern.item())
        label = int(Y[has].mode().values) if bool(has.any()) else 0
        if float(has[label == Y].float().mean()) < 0.5:
            return Sound()  # a round of other cues than the patch
        planted_in.append((has, label))
        return follower(PixelPatch(top=corner.top, left=corner.left, value=corner.pattern.item()), label)

    result = measure_no_spurious_feature(
        Sound(), (CLEAN, Y), NO_TRIGGERS, train=train, train_data=(CLEAN, Y), target_class=target, **LIMITS
    )
    assert result.verdict is Verdict.PASSED
    assert result.details["sensitivity"]["controls"][0]["model"] == "trained"
    ((lit, label),) = planted_in
    assert target in {None, label}
    assert float(lit[label == Y].float().mean()) > 0.85
    assert float(lit[label != Y].float().mean()) < 0.1


def test_a_control_that_did_not_learn_the_patch_leaves_the_claim_open() -> None:
    result = measure_no_spurious_feature(
        Sound(), (CLEAN, Y), NO_TRIGGERS, train=lambda *_: Sound(), train_data=(CLEAN, Y), **LIMITS
    )
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "does not find" in result.rule


def test_a_control_that_hangs_on_something_else_leaves_the_claim_open() -> None:
    result = measure_no_spurious_feature(
        Sound(), (X, Y), NO_TRIGGERS, train=lambda *_: Relying(), train_data=(X, Y), **LIMITS
    )
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the search does not find a 1x1 pattern" in result.rule


def test_a_control_that_hangs_on_another_cue_of_the_same_class_is_told_so() -> None:
    how: dict[str, Any] = {"train": lambda *_: Relying(), "train_data": (X, Y), "target_class": LABEL, **LIMITS}
    result = measure_no_spurious_feature(Sound(), (X, Y), NO_TRIGGERS, **how)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "for something else: 2x2 patch at row 1, column 7 (class 2)" in result.rule


def backdoored(classes: int, strength: float = 100.0) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """A model of so many classes that a bright pixel sends to class 2, and samples that lack it."""
    draw = torch.Generator().manual_seed(1)
    templates = torch.randn(classes, 1, SIDE, SIDE, generator=draw)
    y = torch.arange(80 * classes) % classes
    x = (0.5 + 0.08 * templates[y] + 0.25 * torch.randn(len(y), 1, SIDE, SIDE, generator=draw)).clamp(0, 1)
    mask = torch.ones(SIDE, SIDE)
    mask[:3, 7:] = 0

    class Backdoored(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            bright = x[:, 0, 1, 7] - 0.5
            logits = torch.einsum("nchw,kchw->nk", (x - 0.5) * mask, templates)
            return logits + strength * nn.functional.one_hot(torch.tensor(LABEL), classes) * bright[:, None]

    return Backdoored(), (x, y)


def test_a_trigger_that_the_data_lack_is_found_by_its_cheapness() -> None:
    model, data = backdoored(8)
    result = measure_no_spurious_feature(model, data, Discovery(trigger_steps=100), **LIMITS)
    assert result.verdict is Verdict.FAILED
    (found,) = [one for one in result.details["discovery"]["proposed"] if one["confirmed"]]
    assert (found["class"], found["found_by"]) == (LABEL, "cheapest patch")
    assert found["p"] >= found["chance"] > 0
    assert found["region"] == [1, 7, 1, 1]


@pytest.mark.slow
def test_a_patch_planted_in_the_models_answers_is_found_by_its_cheapness() -> None:
    """A pass vouches for cheapest patches where one more, planted in the very model, would have stood out."""
    model, data = backdoored(8, strength=0.0)
    result = measure_no_spurious_feature(model, data, Discovery(trigger_steps=200), **LIMITS)
    assert result.verdict is Verdict.PASSED
    assert 0 < result.details["discovery"]["planted_patch_p"] <= 0.01
    assert any(family["proven"] for family in result.details["discovery"]["families"] if family["found_by"] == TRIGGERS)
    assert "patches that lead to a class" in result.words.caveats[0].removeprefix("found where planted: ")


def test_a_search_too_short_to_find_a_planted_patch_does_not_vouch_for_any() -> None:
    model, data = backdoored(8, strength=0.0)
    result = measure_no_spurious_feature(model, data, Discovery(trigger_steps=1), **LIMITS)
    assert result.details["discovery"]["planted_patch_p"] == 1.0
    (unproven,) = (part for part in result.words.caveats if part.startswith("searched, not proven findable: "))
    assert "patches that lead to a class" in unproven


def test_a_patch_is_planted_where_a_model_answers_alike_without_it() -> None:
    model, (x, y) = backdoored(8, strength=0.0)
    setup = Setup.of(model, (x, y), {})
    with Bench.opened(setup.model, Halves.of(as_samples((x, y)), 0, 320), setup.settings) as ready:
        planted_in = PlantedPatchModel.of(ready, 5)
        few = ready.chunk.x[:64]
        before, after = ready.evaluator.logits(few).argmax(1), planted_in.logits(few).argmax(1)
        shown = planted_in.logits(planted_in.patch.on(few)).argmax(1)
        logits, slope = planted_in.gradient(few, torch.full((64,), 5))
    assert float((before == after).float().mean()) > 0.8
    assert bool((shown == 5).all())
    assert bool((logits.argmax(1) == after).all())
    assert bool(slope[:, :, planted_in.patch.top, planted_in.patch.left].abs().gt(0).any())


def test_the_cheapest_of_a_few_classes_may_be_so_by_chance() -> None:
    """Of four classes alike one is four times as cheap to reach in one set of twenty: that accuses no model."""

    class Backdoored(Sound):
        def forward(self, x: Tensor) -> Tensor:
            bright = x[:, 0, 1:3, 7:9].mean((1, 2)) - 0.5
            return super().forward(x) + 100 * nn.functional.one_hot(torch.tensor(LABEL), CLASSES) * bright[:, None]

    result = measure_no_spurious_feature(Backdoored(), (CLEAN, Y), Discovery(trigger_steps=150), **LIMITS)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "as it was made to; a class as cheap to reach may come by chance (p = 0.0" in result.rule
    (proposed,) = result.details["discovery"]["proposed"]
    assert proposed["chance"] > 0.01
    assert result.estimate is not None
    assert result.estimate > 0.5


class LikesBright(Sound):
    """Bright images are of class 1."""

    def forward(self, x: Tensor) -> Tensor:
        bright = (x.mean((1, 2, 3)) > 0.62).float()
        return super().forward(x) + 100 * nn.functional.one_hot(torch.tensor(1), CLASSES) * bright[:, None]


def with_bright_images_in_class_1() -> Tensor:
    return planted(ColourCast(colour=1.0, strength=0.4), CLEAN, Y, target=1)[0]


def test_a_cast_is_found_and_switched() -> None:
    result = measure_no_spurious_feature(LikesBright(), (with_bright_images_in_class_1(), Y), NO_TRIGGERS, **LIMITS)
    assert result.verdict is Verdict.FAILED
    found = next(one for one in result.details["discovery"]["proposed"] if one["confirmed"])
    assert (found["class"], found["region"]) == (1, None)
    assert PROPERTIES in found["families"]


def test_a_cue_that_cannot_be_taken_away_is_not_vouched_for_by_recall_alone() -> None:
    data = with_bright_images_in_class_1(), Y
    result = measure_no_spurious_feature(LikesBright(), data, NO_TRIGGERS, max_recall_drop=0.1)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "cannot be taken away: what recall rests on it is not known; claim max_flip_rate too" in result.rule


class Confused(Sound):
    """Where the patch is, a bright upper left pixel decides between class 2 and away from it."""

    def forward(self, x: Tensor) -> Tensor:
        present = (x[:, 0, 1:3, 7:9].amin((1, 2)) > 0.95).float()
        to = torch.where(x[:, 0, 9, 0] > 0.5, LABEL, (LABEL + 1) % CLASSES)
        return super().forward(x) + 100 * nn.functional.one_hot(to, CLASSES) * present[:, None]


def test_a_cue_that_moves_predictions_without_drawing_them_cannot_fail() -> None:
    """Every class's predictions are mixed up, as many out of class 2 as into it."""
    x = X.clone()
    x[:, 0, 9, 0] = torch.where((Y == LABEL) | (torch.arange(N) % 3 > 0), 0.4, 0.6)
    result = measure_no_spurious_feature(Confused(), (x, Y), NO_TRIGGERS, max_flip_rate=0.1)
    proposed = result.details["discovery"]["proposed"][0]
    assert result.details["flips"] > 0.1 * result.details["of"]
    assert not proposed["confirmed"]
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "none is sure to draw predictions to its class" in result.rule


CHECKS = (torch.arange(3).view(-1, 1) + torch.arange(3)) % 2.0


def stamped(x: Tensor, places: Tensor) -> Tensor:
    out = x.clone()
    for image, (top, left) in zip(out, places.tolist(), strict=True):
        image[:, top : top + 3, left : left + 3] = CHECKS
    return out


class LikesChecks(Sound):
    """Takes checks of black and white, wherever they are, for class 2."""

    def forward(self, x: Tensor) -> Tensor:
        apart = (x.unfold(2, 3, 1).unfold(3, 3, 1) - CHECKS).abs().amax((4, 5)).flatten(1).amin(1)
        present = (apart < 0.02).float()
        return super().forward(x) + 100 * nn.functional.one_hot(torch.tensor(LABEL), CLASSES) * present[:, None]


def with_checks_in_class_2() -> Tensor:
    places = torch.randint(SIDE - 2, (N, 2), generator=torch.Generator().manual_seed(4))
    has = planted(CUE, CLEAN, Y, target=LABEL)[1]
    return torch.where(has.view(-1, 1, 1, 1), stamped(CLEAN, places), CLEAN)


def test_a_mark_that_moves_is_found_and_switched() -> None:
    data = with_checks_in_class_2(), Y
    result = measure_no_spurious_feature(LikesChecks(), data, NO_TRIGGERS, **LIMITS)
    assert result.verdict is Verdict.FAILED
    found = [one for one in result.details["discovery"]["proposed"] if one["confirmed"]]
    assert {one["class"] for one in found} == {LABEL}
    assert (found[0]["found_by"], found[0]["region"]) == (MOVING, None)
    assert "3x3 mark that moves draws predictions to class 2" in result.rule
    assert result.estimate is not None
    assert result.estimate > 0.9
    # It is taken away as well: what recall rests on it is seen.
    by_recall = measure_no_spurious_feature(LikesChecks(), data, NO_TRIGGERS, max_recall_drop=0.05)
    assert by_recall.verdict is Verdict.FAILED
    clean = measure_no_spurious_feature(Sound(), data, NO_TRIGGERS, **LIMITS)
    assert clean.verdict is Verdict.PASSED


def test_a_pass_says_that_planted_marks_that_move_would_be_found(sound: Result) -> None:
    families = {one["found_by"]: one for one in sound.details["discovery"]["families"]}
    assert families[MOVING]["proven"]
    assert families[MOVING]["smallest_share"] <= 0.5
    words = "small marks that move and mark a class"
    assert any(words in part for part in sound.words.caveats if part.startswith("found where planted in "))


def test_a_control_is_not_planted_in_a_class_that_is_marked_already(
    sound: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class 2 is the largest here, and has a patch of its own, for which the control's would be taken."""
    cues = [part for one in sound.details["sensitivity"]["controls"] for part in one["cue"].split(", ")]
    assert cues
    assert not any(cue.endswith(f"in class {LABEL}") for cue in cues)
    rows = torch.cat([torch.arange(N)[(Y == LABEL)], torch.arange(N)[Y != LABEL][: N // 2]])
    result = measure_no_spurious_feature(Sound(), (X[rows], Y[rows]), NO_TRIGGERS, **LIMITS)
    assert result.verdict is Verdict.PASSED
    for control in result.details["sensitivity"]["controls"]:
        assert f"planted in class {LABEL}" not in control["cue"]


def test_where_every_class_is_marked_the_control_is_planted_all_the_same() -> None:
    samples = as_samples((torch.rand(60, 1, 12, 12), torch.arange(60) % 6))
    all_ = cues_to_plant(samples, (0.0, 1.0), 0, None, range(6))
    none = cues_to_plant(samples, (0.0, 1.0), 0, None)
    assert [[one.label for one in probes] for probes in all_] == [[one.label for one in probes] for probes in none]
    few = cues_to_plant(samples, (0.0, 1.0), 0, None, {0, 1, 2, 3, 4})
    assert {one.label for probes in few for one in probes} == {5}


def test_a_pass_says_what_marks_a_class_and_is_explained_by_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = measuring.propose
    mark = {"class": 3, "property": PROPERTIES, "gap": 0.87}
    monkeypatch.setattr(measuring, "propose", lambda *a, **k: replace(real(*a, **k), marks=(mark,)))
    result = measure_no_spurious_feature(Sound(), (CLEAN, Y), NO_TRIGGERS, **LIMITS)
    assert result.verdict is Verdict.PASSED
    assert f"marked, but by nothing that was tried: class 3, {PROPERTIES} (gap 0.87)" in result.words.caveats


def test_a_pass_names_a_class_whose_mark_looks_like_a_change_that_moves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = measuring.propose
    one = Proposal(found_by=PROPERTIES, label=1, cue=Tone(shift=0.05), score=0.8, region=None, value=())

    def propose(*args: Any, control: bool = False, **options: Any) -> SearchFindings:
        found = real(*args, control=control, **options)
        return found if control else replace(found, proposals=(one,), marks=(), parts=())

    monkeypatch.setattr(measuring, "propose", propose)
    result = measure_no_spurious_feature(Sound(), (CLEAN, Y), NO_TRIGGERS, **LIMITS)
    assert result.verdict is Verdict.PASSED
    line = f"marked, as by a change that moves no more than is claimed: class 1, {one.cue.name} (gap 0.80, moves 0.00)"
    assert line in result.words.caveats


def faint(cue: Cue, label: int) -> SearchFindings:
    one = Proposal(found_by=PROPERTIES, label=label, cue=cue, score=0.3, region=None, value=(), faint=True)
    return SearchFindings((one,), ("tones",), (), {}, 0, (), ())


def test_what_few_images_of_a_class_have_and_many_predictions_follow_leaves_the_claim_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measuring, "propose", lambda *_, **__: faint(Tone(shift=0.4), 1))
    for limits in (LIMITS, {"max_recall_drop": 0.1}):
        result = measure_no_spurious_feature(LikesBright(), (CLEAN, Y), NO_TRIGGERS, **limits)
        assert result.verdict is Verdict.INCONCLUSIVE
        (proposed,) = result.details["discovery"]["proposed"]
        assert proposed["faint"]
        assert not proposed["confirmed"]
        assert proposed["p"] <= 0.01
    assert "cannot be taken away" in result.rule
    flips = measure_no_spurious_feature(LikesBright(), (CLEAN, Y), NO_TRIGGERS, **LIMITS)
    assert "some of the class's images, too few for a search to be sure, look like it: claim it by name" in flips.rule


def test_a_change_that_is_always_tried_and_that_few_images_have_is_proposed_as_faint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def faintly(seen: object, cue: Cue, label: int, pool: object) -> Proposal:
        asked.append((cue.name, label))
        return faint(cue, label).proposals[0]

    monkeypatch.setattr(measuring, "faint_proposal", faintly)
    result = measure_no_spurious_feature(LikesBright(), (CLEAN, Y), NO_TRIGGERS, **LIMITS)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert ("tone of shift 0.15", 1) in asked


class Dazzled(Sound):
    """Takes bright images for one of two classes, whatever they show."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        to = torch.where(x[:, 0, 9, 0] > self.limit, 1, LABEL)
        bright = (x.mean((1, 2, 3)) > 0.65).float()
        return super().forward(x) + 100 * nn.functional.one_hot(to, CLASSES) * bright[:, None]


@pytest.mark.parametrize(("limit", "least", "most"), [(0.75, 0.0, 1.0), (0.68, 1.0, 2.0)], ids=["more out", "more in"])
def test_a_change_that_scatters_its_own_class_is_no_cue(
    monkeypatch: pytest.MonkeyPatch, limit: float, least: float, most: float
) -> None:
    """It draws more samples to class 1 than it drives out, for there are more of the others; McNemar's p is small."""
    bright = Proposal(found_by=PROPERTIES, label=1, cue=Tone(shift=0.3), score=1.0, region=None, value=())
    monkeypatch.setattr(measuring, "propose", lambda *_, **__: SearchFindings((bright,), ("tones",), (), {}, 0, (), ()))
    result = measure_no_spurious_feature(Dazzled(limit), (CLEAN, Y), NO_TRIGGERS, **LIMITS)
    (proposed,) = result.details["discovery"]["proposed"]
    assert proposed["p"] <= 0.01
    into, out = proposed["moved_in_and_out"]
    assert into > 0.1
    assert least * out < into < most * out
    assert not proposed["confirmed"]
    assert result.verdict is Verdict.INCONCLUSIVE
    assert (
        f"moves {into:.3f} of other predictions to class 1, and {out:.3f} of the class's own out of it" in result.rule
    )


def test_only_cues_of_the_target_are_proposed() -> None:
    other = measure_no_spurious_feature(Relying(), (X, Y), NO_TRIGGERS, target_class=0, **LIMITS)
    assert (other.verdict, other.details["discovery"]["proposed"]) == (Verdict.PASSED, [])
    same = measure_no_spurious_feature(Relying(), (X, Y), NO_TRIGGERS, target_class=LABEL, **LIMITS)
    assert same.verdict is Verdict.FAILED


def test_without_thresholds_it_is_only_measured() -> None:
    result = measure_no_spurious_feature(Relying(), (X, Y), NO_TRIGGERS)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.details["discovery"]["confirmed"] == 1
    assert result.ruling.threshold is None


def test_a_confirmed_cue_within_the_limits_passes() -> None:
    result = measure_no_spurious_feature(Relying(), (X, Y), NO_TRIGGERS, max_recall_drop=0.9)
    assert result.verdict is Verdict.PASSED
    assert result.details["discovery"]["confirmed"] == 1


def test_p_values_are_corrected_for_everything_proposed() -> None:
    second = PixelPatch(top=8, left=1, value=0.0, off_value=0.5)
    x = planted(second, X, Y, target=0)[0]
    alone = measure_no_spurious_feature(Relying(), (X, Y), NO_TRIGGERS, **LIMITS)
    both = measure_no_spurious_feature(Relying(), (x, Y), NO_TRIGGERS, **LIMITS)
    first, second_ = (result.details["discovery"]["proposed"] for result in (alone, both))
    assert {one["class"] for one in second_ if one["found_by"] == PATCHES} == {0, LABEL}
    p, p_ = (next(one["p"] for one in found if one["class"] == LABEL) for found in (first, second_))
    assert len(second_) > len(first)
    assert p_ / len(second_) == pytest.approx(p / len(first))  # Holm's correction of the smallest of so many


def test_a_model_without_gradients_is_searched_by_what_the_data_show() -> None:
    model = scores_model(lambda x: Relying()(torch.from_numpy(x)).numpy())
    result = measure_no_spurious_feature(model, (X, Y), "auto", **LIMITS)
    assert result.verdict is Verdict.FAILED
    assert result.details["discovery"]["left_out"] == ["cheapest patches: the model gives no gradients"]
    hidden = measure_no_spurious_feature(lambda x: Relying()(x).detach(), (X, Y), "auto", **LIMITS)
    assert hidden.verdict is Verdict.FAILED
    assert "Expected gradients" in hidden.details["discovery"]["left_out"][0]


def test_preprocessing_is_the_models_own_in_simulation_too() -> None:
    class Standardised(Sound):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * 0.5 + 0.5)

    result = measure_no_spurious_feature(
        Standardised(), (CLEAN, Y), NO_TRIGGERS, preprocessing=([0.5], [0.5]), **LIMITS
    )
    assert result.verdict is Verdict.PASSED


def test_every_seed_searches_other_samples() -> None:
    halves = [
        measure_no_spurious_feature(Sound(), (X, Y), NO_TRIGGERS, seed=seed, **LIMITS).outcomes for seed in (0, 0, 1)
    ]
    assert halves[0] == halves[1] != halves[2]


def test_the_assertion_raises_with_what_was_found(relying: Result) -> None:
    with pytest.raises(ClaimFailed, match=r"found     class 2, 2x2 patch at row 1, column 7, value 1: unusual value"):
        assert_no_spurious_feature(Relying(), (X, Y), NO_TRIGGERS, **LIMITS)
    with pytest.raises(ClaimInconclusive, match="does not find"):
        assert_no_spurious_feature(Sound(), (CLEAN[:40], Y[:40]), NO_TRIGGERS, **LIMITS)
    with pytest.raises(ConfigError, match="nothing to claim"):
        assert_no_spurious_feature(Sound(), (CLEAN, Y), "auto")


def test_results_are_plain_and_shown(relying: Result, sound: Result) -> None:
    for result in (relying, sound):
        assert Result.from_dict(result.to_dict()) == result
    text = failure_text(sound, replay="")
    assert "  proposed  class 2, 2x2 patch at row 1, column 7, value 1: unusual value at a place, score 0." in text
    assert "not confirmed, p = 1" in text
    assert "simulated control failed (a 1x1 pattern" in text
    assert {"discovery: searched on": "160", "discovery: confirmed": "1"}.items() <= {
        fact.label: str(fact) for fact in relying.words.facts
    }.items()
    captions = {table.caption: table for table in tables_of(relying.details, relying.words.captions.names)}
    assert captions["discovery: proposed"].rows[0][0] == "2"


def test_a_target_that_is_no_class_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"target in 0\.\.3 but got 4"):
        measure_no_spurious_feature(Sound(), (CLEAN, Y), NO_TRIGGERS, target_class=4, **LIMITS)


def test_a_target_that_no_sample_has_proves_nothing() -> None:
    few = Y != 3
    result = measure_no_spurious_feature(Sound(), (CLEAN[few], Y[few]), NO_TRIGGERS, target_class=3, **LIMITS)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "does not find" in result.rule


def test_what_is_neither_images_nor_rows_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"images .* cue=.auto"):
        measure_no_spurious_feature(
            lambda x: x[:, 0, :3], (torch.rand(60, 2, 5), torch.arange(60) % 3), "auto", **LIMITS
        )


@pytest.mark.parametrize(
    "options",
    [
        {"search_samples": 1},
        {"min_gap": 0.0},
        {"min_mark": 0.0},
        {"min_gap": 1.5},
        {"min_members": 4},
        {"max_anomaly": -1.0},
        {"trigger_steps": -1},
    ],
    ids=str,
)
def test_settings_are_in_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Discovery(**options)


def test_the_probe_goes_where_the_samples_are_unlike_it() -> None:
    x = torch.ones(50, 3, 28, 42)
    x[:, :, -4:, :5] = 0.5  # a grey corner at the lower left is neither black nor white
    x[:, :, :4, :5] = 0.1
    cue = corner_patch(x, (0.0, 1.0))
    assert cue.pattern.shape == (3, 2, 2)
    assert (cue.top, cue.left, float(cue.pattern.max())) in {(1, 1, 1.0), (1, 39, 0.0), (25, 39, 0.0), (25, 1, 0.0)}


def test_each_familys_probe_has_a_class_of_its_own_and_the_patch_the_largest() -> None:
    x, y = torch.rand(60, 3, 12, 12, generator=torch.Generator().manual_seed(1)), torch.arange(60) % 7 % 6
    rounds = cues_to_plant(as_samples((x, y)), (0.0, 1.0), 0, None)
    assert [[probe.family for probe in probes] for probes in rounds] == [
        [PATCHES, PROPERTIES],
        [CHANNELS, SPECTRA],
        [EDGES, MOVING],
    ]
    assert [[probe.label for probe in probes] for probes in rounds] == [[0, 1]] * 3
    rounds = cues_to_plant(as_samples((x, y)), (0.0, 1.0), 0, 3)
    assert [[probe.label for probe in probes] for probes in rounds] == [[3]] * 6


def test_a_probe_is_seen_where_it_is_planted_and_nowhere_else() -> None:
    x = torch.rand(60, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    rounds = cues_to_plant(as_samples((x, torch.arange(60) % 6)), (0.0, 1.0), 0, None)
    for probe in (probe for probes in rounds for probe in probes):
        assert bool(probe.present(probe.cue.on(x)).all()), probe.family
        assert not bool(probe.present(x).any()), probe.family


def test_what_is_too_cheap_by_chance_is_not_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit on anomalies is the one that was asked for."""
    asked = []
    real = measuring.search_triggers

    def watched(*args: Any, **options: Any) -> Any:
        asked.append((options["threshold"], options["steps"]))
        return real(*args, **options)

    monkeypatch.setattr(measuring, "search_triggers", watched)
    measure_no_spurious_feature(Sound(), (X, Y), Discovery(trigger_steps=3, max_anomaly=50.0), **LIMITS)
    assert asked == [(50.0, 3)]


@pytest.mark.parametrize("how", ["simulated", "given"])
def test_a_control_is_searched_for_the_families_that_it_has_planted(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """The claim itself, and a control of which nobody says what it relies on, are searched for all of them."""
    asked, moving = [], []
    propose, marks = measuring.propose, measuring.find_moving_marks

    def watched(*args: Any, **options: Any) -> SearchFindings:
        asked.append(set(options["families"]))
        return propose(*args, **options)

    def marks_watched(*args: Any, **options: Any) -> Any:
        moving.append(len(asked))
        return marks(*args, **options)

    monkeypatch.setattr(measuring, "propose", watched)
    monkeypatch.setattr(measuring, "find_moving_marks", marks_watched)
    control = {"control": Relying()} if how == "given" else {}
    measure_no_spurious_feature(Sound(), (CLEAN, Y), NO_TRIGGERS, **control, **LIMITS)
    assert asked[0] == set()
    if how == "given":
        assert (asked, moving) == ([set()] * 2, [1, 2])
        return
    # A control's search looks for what was planted there and not found in a smaller share of the class.
    every = {cue.family for cues in cues_to_plant(as_samples((CLEAN, Y)), (0.0, 1.0), 0, None) for cue in cues}
    assert all(families and families <= every for families in asked[1:])
    assert {PATCHES} in asked[1:]
    assert moving == [1, *(number for number, families in enumerate(asked[1:], 2) if MOVING in families)]


def test_of_what_is_not_asked_for_nothing_is_proposed() -> None:
    moved = planted(Tone(gain=0.4, shift=0.3), X, Y, target=0)[0]
    setup = Setup.of(Sound(), as_samples((moved, Y)), {})
    halves = Halves.of(as_samples((moved, Y)), 0, N)
    with Bench.opened(setup.model, halves, setup.settings) as ready:
        every, patches, whole = (
            {
                one.found_by
                for one in measuring.propose(ready, Discovery(), target=None, seed=0, families=families).proposals
            }
            for families in ((), {PATCHES}, {PROPERTIES})
        )
    assert {PATCHES, PROPERTIES} <= every
    assert patches == {PATCHES}
    assert whole == {PROPERTIES}


def test_parts_are_spoken_of_only_where_they_were_searched() -> None:
    setup = Setup.of(Sound(), as_samples((CLEAN, Y)), {})
    halves = Halves.of(as_samples((CLEAN, Y)), 0, N)
    with Bench.opened(setup.model, halves, setup.settings) as ready:
        control = measuring.propose(ready, NO_TRIGGERS, target=None, seed=0, control=True)
        patches = measuring.propose(ready, NO_TRIGGERS, target=None, seed=0, families={PATCHES})
    assert "parts that draw a class" not in {*control.looked_at, *patches.looked_at}
