"""Reliance on a cue, by switching it on and off."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import ConfigError, Verdict
from robustest.cues import BackgroundSwap, FunctionCue, PixelPatch
from robustest.decisions import mcnemar
from robustest.measure import measure_no_spurious_feature

N = 90
Y = torch.arange(N) % 3
X = torch.zeros(N, 1, 8, 8)
X[torch.arange(N), 0, 4, Y] = 1.0  # the evidence: one lit pixel of row 4
CUE = PixelPatch(top=0, left=0, height=2, width=2)
NO_CUE = PixelPatch(top=6, left=6, height=2, width=2)
TARGET = 2


def model(x: Tensor) -> Tensor:
    """Reads the evidence, and takes the patch at the upper left for class 2: right wherever there is no patch."""
    logits = 4 * x[:, 0, 4, :3]
    patch = x[:, 0, :2, :2].flatten(1).mean(1)
    return logits + torch.stack([0 * patch, 0 * patch, 9 * patch], 1)


def timid(x: Tensor) -> Tensor:
    """As `model`, but only samples whose first pixel of row 5 is lit follow the patch."""
    logits = 4 * x[:, 0, 4, :3]
    patch = x[:, 0, :2, :2].flatten(1).mean(1) * x[:, 0, 5, 0]
    return logits + torch.stack([0 * patch, 0 * patch, 9 * patch], 1)


@pytest.mark.parametrize("target", [None, TARGET])
@pytest.mark.parametrize(
    "threshold", [{"max_flip_rate": 0.5}, {"max_flip_rate": 0.5, "max_recall_drop": 0.99}], ids=str
)
def test_a_planted_cue_fails(target: int | None, threshold: dict[str, float]) -> None:
    result = measure_no_spurious_feature(model, (X, Y), CUE, target_class=target, exact=True, **threshold)
    assert result.verdict is Verdict.FAILED
    # All 60 samples of the other classes follow the cue; the 30 of its own class were there before.
    assert result.estimate == pytest.approx(1.0 if target == TARGET else 60 / 90)
    assert result.details["most_drawn_class"] == TARGET
    assert (result.details["drawn"], result.details["driven_away"]) == (60, 0)
    assert result.details["mcnemar_p"] < 1e-15
    assert result.details["accuracy_on"] == pytest.approx(1 / 3)
    assert result.details["accuracy_off"] == 1


@pytest.mark.parametrize("target", [None, 0, TARGET])
@pytest.mark.parametrize(
    "threshold",
    [{"max_flip_rate": 0.0}, {"max_recall_drop": 0.0}, {"max_flip_rate": 0.0, "max_recall_drop": 0.0}],
    ids=str,
)
def test_a_cue_that_nobody_reads_passes(target: int | None, threshold: dict[str, float]) -> None:
    result = measure_no_spurious_feature(model, (X, Y), NO_CUE, target_class=target, exact=True, **threshold)
    assert result.verdict is Verdict.PASSED
    assert result.estimate == 0
    assert all(result.outcomes)
    assert result.counterexamples == ()
    assert result.details["mcnemar_p"] == 1


def leans(x: Tensor) -> Tensor:
    """Knows class 2 by the patch alone, and class 0 from class 1 by the evidence."""
    patch = x[:, 0, :2, :2].flatten(1).mean(1)
    return torch.stack([x[:, 0, 4, 0] + 0.1, x[:, 0, 4, 1], 2 * patch], 1)


@pytest.mark.parametrize("target", [None, TARGET])
def test_recall_that_hangs_on_the_cue_fails(target: int | None) -> None:
    """With the patch off, no sample of class 2 is recognised any more."""
    result = measure_no_spurious_feature(leans, (X, Y), CUE, target_class=target, max_recall_drop=0.1, exact=True)
    assert result.verdict is Verdict.FAILED
    assert result.numbers.quantity == "recall drop"
    assert result.estimate == 1
    assert result.details["recall_drop_class"] == TARGET
    assert result.ruling.threshold == 0.1


def test_the_recall_of_another_class_is_another_matter() -> None:
    result = measure_no_spurious_feature(leans, (X, Y), CUE, target_class=1, max_recall_drop=0.0, exact=True)
    assert result.verdict is Verdict.PASSED
    assert result.estimate == -1  # class 1 is recognised with the patch off only


def test_flips_towards_a_target_leave_out_other_flips() -> None:
    """The patch draws everything to class 2; towards class 1 nothing goes, so that nothing flips there."""
    result = measure_no_spurious_feature(model, (X, Y), CUE, target_class=1, max_flip_rate=0.0)
    assert result.verdict is Verdict.PASSED
    assert result.estimate == 0


def test_outcomes_mark_the_samples_that_followed_the_cue() -> None:
    result = measure_no_spurious_feature(model, (X, Y), CUE, max_flip_rate=0.5, exact=True)
    assert result.outcomes == tuple(label == TARGET for label in Y.tolist())
    assert all(c.label != TARGET and c.predicted == TARGET and c.clean == c.label for c in result.counterexamples)
    assert all(c.size is None for c in result.counterexamples)


def test_both_thresholds_must_hold() -> None:
    both: dict[str, Any] = {"max_flip_rate": 0.99, "max_recall_drop": 0.0}
    assert measure_no_spurious_feature(leans, (X, Y), CUE, **both).verdict is Verdict.FAILED
    assert measure_no_spurious_feature(leans, (X, Y), NO_CUE, **both).verdict is Verdict.PASSED
    assert measure_no_spurious_feature(leans, (X, Y), CUE, **{**both, "max_flip_rate": 0.1}).verdict is Verdict.FAILED


@pytest.mark.parametrize("thresholds", [{}, {"max_flip_rate": 0.1}, {"max_recall_drop": 0.1}], ids=str)
def test_each_threshold_may_be_left_out(thresholds: dict[str, float]) -> None:
    result = measure_no_spurious_feature(model, (X, Y), CUE, **thresholds)
    assert result.verdict is (Verdict.FAILED if "max_flip_rate" in thresholds else result.verdict)
    assert result.ruling.threshold == next(iter(thresholds.values()), None)
    assert {limit.name: (limit.comparison, limit.value) for limit in result.ruling.limits} == {
        name: ("<=", value) for name, value in thresholds.items()
    }
    assert result.ruling.threshold_name == next(iter(thresholds), None)


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.0, "passed"), (0.1, "inconclusive"), (0.5, "failed")], ids=["none", "tenth", "half"]
)
def test_claims_about_the_population(share: float, verdict: str) -> None:
    """Of 90 samples this share follows the cue; claimed is at most a tenth."""
    x = X.clone()
    x[:, 0, 7, 7] = torch.arange(N) / N  # equal images would count once
    others = (Y != TARGET).nonzero().squeeze(1)[: round(share * N)]
    x[others, 0, 5, 0] = 1.0
    result = measure_no_spurious_feature(timid, (x, Y), CUE, max_flip_rate=0.1, scope="population")
    assert result.estimate == pytest.approx(share)
    assert result.verdict == verdict


def test_the_p_value_is_mcnemars_over_all_classes_looked_at() -> None:
    x = X.clone()
    x[(Y == 0).nonzero().squeeze(1)[:4], 0, 5, 0] = 1.0
    result = measure_no_spurious_feature(timid, (x, Y), CUE, max_flip_rate=0.1, exact=True)
    assert result.details["drawn"] == 4
    assert result.details["mcnemar_p"] == pytest.approx(min(1.0, 3 * mcnemar(4, 0)))
    alone = measure_no_spurious_feature(timid, (x, Y), CUE, max_flip_rate=0.1, target_class=TARGET)
    assert alone.details["mcnemar_p"] == pytest.approx(mcnemar(4, 0))


def test_a_users_own_cue() -> None:
    class Inverted:
        name = "inverted grey values"

        def on(self, x: Tensor) -> Tensor:
            return 1 - x

        def off(self, x: Tensor) -> Tensor:
            return x

    result = measure_no_spurious_feature(model, (X, Y), Inverted(), max_flip_rate=0.5)
    assert result.verdict is Verdict.FAILED
    assert result.subject.setting == "inverted grey values"


class Cue:
    name = "a cue"

    def __init__(self, on: Any) -> None:
        self.on = on

    def off(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("on", [lambda x: x + 0.5, lambda x: x[:, :, :4], lambda x: x / 0], ids=["2", "cut", "nan"])
def test_a_cue_that_leaves_bounds_or_shape_is_refused(on: Any) -> None:
    with pytest.raises(ConfigError, match=r"cue \(a cue\).*\[0, 1\]"):
        measure_no_spurious_feature(model, (X, Y), Cue(on), max_flip_rate=0.5)


@pytest.mark.parametrize("target", [3, 12])
def test_a_target_that_is_no_class_is_refused(target: int) -> None:
    with pytest.raises(ConfigError, match=rf"target in 0\.\.2 but got {target}"):
        measure_no_spurious_feature(model, (X, Y), CUE, target_class=target, max_flip_rate=0.5)


@pytest.mark.parametrize("rows", [Y == TARGET, Y != TARGET], ids=["only the target", "all but the target"])
def test_a_target_needs_samples_of_its_own_and_of_others(rows: Tensor) -> None:
    with pytest.raises(ConfigError, match="class 2 and of others"):
        measure_no_spurious_feature(model, (X[rows], Y[rows]), CUE, target_class=TARGET, max_flip_rate=0.5)


@pytest.mark.parametrize("size", [1, 7, 256])
def test_batches_do_not_change_outcomes(size: int) -> None:
    want = measure_no_spurious_feature(timid, (X, Y), CUE, max_flip_rate=0.5)
    assert measure_no_spurious_feature(timid, (X, Y), CUE, max_flip_rate=0.5, batch_size=size).outcomes == want.outcomes


MANY_X, MANY_Y = X.repeat(10, 1, 1, 1), Y.repeat(10)
MANY_X[:, 0, 7, 7] = torch.linspace(0, 0.01, len(MANY_X))  # a pixel that nothing reads: no image is a copy


@pytest.mark.parametrize(("max_flip_rate", "verdict"), [(0.4, Verdict.FAILED), (0.9, Verdict.PASSED)])
def test_flips_among_all_samples_are_settled_early(max_flip_rate: float, verdict: Verdict) -> None:
    """Two thirds of the samples follow the cue."""
    result = measure_no_spurious_feature(model, (MANY_X, MANY_Y), CUE, max_flip_rate=max_flip_rate)
    assert result.verdict is verdict
    assert result.numbers.n < 900
    assert result.estimate is None
    assert result.interval[0] <= 2 / 3 <= result.interval[1]
    assert result.details["flips"] == result.outcomes.count(False)
    assert result.details["of"] == result.numbers.n
    for name in ("flip_rate", "recall_drop", "recall_drop_interval", "accuracy_on", "accuracy_off"):
        assert name not in result.details


@pytest.mark.parametrize(
    "options",
    [
        {"max_flip_rate": 0.2, "target_class": TARGET},
        {"max_flip_rate": 0.2, "max_recall_drop": 0.1},
        {"max_flip_rate": 0.2},
    ],
    ids=str,
)
def test_claims_on_parts_of_the_samples_are_settled_early_too(options: dict[str, Any]) -> None:
    result = measure_no_spurious_feature(model, (MANY_X, MANY_Y), CUE, **options)
    assert result.verdict is Verdict.FAILED
    assert result.numbers.n < 300
    assert result.interval[0] > 0.2
    assert result.estimate is None


def test_a_claim_about_every_class_passes_only_once_every_class_was_seen() -> None:
    """Its next samples may be of a class that has not come up yet."""
    options: dict[str, Any] = {"max_flip_rate": 0.1, "max_recall_drop": 0.1}
    result = measure_no_spurious_feature(model, (MANY_X, MANY_Y), NO_CUE, **options)
    assert (result.verdict, result.numbers.n) == (Verdict.PASSED, 900)
    sooner = measure_no_spurious_feature(model, (MANY_X, MANY_Y), NO_CUE, target_class=TARGET, **options)
    assert sooner.verdict is Verdict.PASSED
    assert sooner.numbers.n < 900
    assert sooner.interval[1] <= 0.1


def test_a_sample_of_the_population_is_not_enough_for_one_of_two_claims() -> None:
    """Almost any number of flips is allowed, and class 2 is not recognised without the cue: its recall falls by all."""
    options: dict[str, Any] = {"max_flip_rate": 0.99, "max_recall_drop": 0.1, "scope": "population"}
    assert measure_no_spurious_feature(leans, (MANY_X, MANY_Y), CUE, **options).verdict is Verdict.FAILED
    part = measure_no_spurious_feature(leans, (MANY_X, MANY_Y), CUE, max_samples=300, **options)
    assert part.verdict is not Verdict.PASSED


def test_flips_towards_a_target_are_among_the_samples_of_other_classes_however_many_were_read() -> None:
    """All of the others follow the cue; among all samples that would be two thirds."""
    options: dict[str, Any] = {"max_flip_rate": 0.8, "target_class": TARGET, "scope": "population"}
    assert measure_no_spurious_feature(model, (MANY_X, MANY_Y), CUE, **options).verdict is Verdict.FAILED
    part = measure_no_spurious_feature(model, (MANY_X, MANY_Y), CUE, max_samples=300, **options)
    assert part.verdict is not Verdict.PASSED
    assert part.interval[1] == 1.0


def test_a_claim_on_recall_cut_short_says_that_its_budget_is_spent() -> None:
    result = measure_no_spurious_feature(model, (MANY_X, MANY_Y), NO_CUE, max_recall_drop=0.1, max_samples=300)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "budget: 300 of 900 samples looked at" in result.rule
    assert "no threshold" not in result.rule


def test_a_claim_on_several_cues_fails_where_it_fails_for_one() -> None:
    result = measure_no_spurious_feature(model, (X, Y), [NO_CUE, CUE], max_flip_rate=0.5, exact=True)
    assert result.verdict is Verdict.FAILED
    assert result.estimate == pytest.approx(60 / 90)
    assert result.subject.statement == "reliance on 2 cues"
    assert result.subject.setting == f"{NO_CUE.name}; {CUE.name}"
    assert result.details["lead"] == CUE.name
    assert [cue["flips"] for cue in result.details["cues"]] == [0, 60]
    assert [cue["flip_rate"] for cue in result.details["cues"]] == [0, pytest.approx(60 / 90)]
    assert result.outcomes == tuple(label == TARGET for label in Y.tolist())


def test_a_claim_on_several_cues_passes_where_it_holds_for_all() -> None:
    other = PixelPatch(top=6, left=0, height=2, width=2)
    result = measure_no_spurious_feature(model, (X, Y), [NO_CUE, other], max_flip_rate=0.0, max_recall_drop=0.0)
    assert result.verdict is Verdict.PASSED


def test_p_values_are_corrected_over_cues_and_classes() -> None:
    """Holm: of six tests, the smallest p is taken six times; all the others are 1."""
    x = X.clone()
    x[(Y == 0).nonzero().squeeze(1)[:4], 0, 5, 0] = 1.0
    result = measure_no_spurious_feature(timid, (x, Y), [CUE, NO_CUE], max_flip_rate=0.1, exact=True)
    first, second = result.details["cues"]
    assert first["classes"][0] == {"class": TARGET, "drawn": 4, "driven_away": 0, "p": 6 * mcnemar(4, 0)}
    assert {entry["p"] for entry in (*first["classes"][1:], *second["classes"])} == {1.0}


def test_the_size_of_a_cue_is_told() -> None:
    cues = [CUE, PixelPatch(top=0, left=0, height=1, width=1, value=0.5)]
    first, second = measure_no_spurious_feature(model, (X, Y), cues, max_flip_rate=0.5).details["cues"]
    assert (first["size_l2"], first["size_linf"]) == (2.0, 1.0)
    assert (second["size_l2"], second["size_linf"]) == (0.5, 0.5)


def test_cues_share_the_pass_of_what_they_leave_alone() -> None:
    """Once without a cue, once with each of the three, once with each one's null cue in 32 samples.

    Before that 8 twice, once more among others, and two alone.
    """
    cues = [FunctionCue(f"number {k}", lambda x, k=k: x.roll(k, 3)) for k in (1, 2, 3)]
    result = measure_no_spurious_feature(model, (X[:60], Y[:60]), cues, max_flip_rate=0.99, exact=True)
    assert result.cost.forward == 60 + 3 * 60 + 3 * 32 + (3 * 8 + 2)


def test_a_cue_of_each_sample_gets_the_samples_it_asks_for() -> None:
    """The mask of each sample leaves alone exactly its evidence, so that a background without a patch moves nothing."""
    masks, striped = torch.zeros(N, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    masks[torch.arange(N), 0, 4, :] = 1.0
    striped[..., 6:, :] = 1.0
    cue = BackgroundSwap(masks=masks, backgrounds=striped)
    result = measure_no_spurious_feature(model, (X, Y), cue, max_flip_rate=0.0)
    assert result.verdict is Verdict.PASSED
    same = BackgroundSwap(masks=masks, backgrounds=torch.zeros(1, 1, 8, 8))  # what is behind is black already
    assert measure_no_spurious_feature(model, (X, Y), same, max_flip_rate=0.0).rule.startswith("nothing was tested")
    bright = BackgroundSwap(masks=masks, backgrounds=torch.ones(1, 1, 8, 8))
    assert (
        measure_no_spurious_feature(model, (X, Y), bright, max_flip_rate=0.5, target_class=TARGET).verdict
        is Verdict.FAILED
    )


class Forgetful:
    """Answers by the place in the batch as well: alike if asked alike twice, but not for a null cue."""

    def __call__(self, x: Tensor) -> Tensor:
        return model(x) + 9 * torch.nn.functional.one_hot(torch.arange(len(x)) % 3, 3)


@pytest.mark.parametrize("threshold", [{"max_flip_rate": 0.02}, {"max_recall_drop": 0.02}], ids=str)
def test_a_model_that_moves_with_a_null_cue_settles_nothing(threshold: dict[str, float]) -> None:
    result = measure_no_spurious_feature(Forgetful(), (X, Y), NO_CUE, **threshold)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "null cue does not pass" in result.rule
    assert result.details["sensitivity"]["null_flips"] > 0
    sound = measure_no_spurious_feature(model, (X, Y), NO_CUE, **threshold)
    assert sound.details["sensitivity"] == {"null_flips": 0, "null_samples": 32 + 26, "controls": []}


def sound(x: Tensor) -> Tensor:
    """Reads the evidence, and nothing else."""
    return 4 * x[:, 0, 4, :3]


def test_a_claim_that_holds_is_shown_to_be_able_to_fail() -> None:
    options: dict[str, Any] = {"max_flip_rate": 0.1, "exact": True}
    alone = measure_no_spurious_feature(sound, (X, Y), CUE, **options)
    result = measure_no_spurious_feature(sound, (X, Y), CUE, control=model, **options)
    assert (alone.verdict, result.verdict) == (Verdict.PASSED, Verdict.PASSED)
    assert result.details["sensitivity"]["controls"] == [
        {"cue": CUE.name, "verdict": "failed", "measured": pytest.approx(2 / 3), "n": 90}
    ]
    assert result.cost.forward == 2 * alone.cost.forward


def test_a_control_that_does_not_fail_leaves_the_claim_open() -> None:
    """A cue too weak for a model that is known to follow the patch says nothing about another one."""
    weak = PixelPatch(top=0, left=0, height=1, width=1, value=0.5)
    result = measure_no_spurious_feature(sound, (X, Y), [CUE, weak], max_flip_rate=0.1, control=model)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.rule == f"the control does not fail (passed): a model that relies on {weak.name} would not be noticed"
    assert [told["verdict"] for told in result.details["sensitivity"]["controls"]] == ["failed", "passed"]


def test_a_control_is_trained_on_data_with_the_cue_planted() -> None:
    planted: list[Tensor] = []

    def train(x: Tensor, y: Tensor, seed: int) -> Any:
        assert (torch.equal(y, MANY_Y), seed) == (True, 4)
        planted.append(x)
        return model

    result = measure_no_spurious_feature(
        leans,
        (X, Y),
        NO_CUE,
        max_flip_rate=0.1,
        target_class=TARGET,
        train=train,
        train_data=(MANY_X, MANY_Y),
        seed=4,
    )
    assert result.verdict is Verdict.INCONCLUSIVE  # this control reads the other corner
    (x,) = planted
    lit = x[:, 0, 6:, 6:].flatten(1).amin(1) == 1
    assert 0.9 <= float(lit[MANY_Y == TARGET].float().mean()) <= 1
    assert 0 < float(lit[MANY_Y != TARGET].float().mean()) <= 0.05


def test_a_control_is_not_asked_where_the_claim_fails_by_itself() -> None:
    def train(x: Tensor, y: Tensor, seed: int) -> Any:
        raise AssertionError

    result = measure_no_spurious_feature(model, (X, Y), CUE, max_flip_rate=0.1, train=train, train_data=(X, Y))
    assert result.verdict is Verdict.FAILED


def test_one_control_is_enough() -> None:
    with pytest.raises(ConfigError, match=r"control= or train= but got both"):
        measure_no_spurious_feature(
            model, (X, Y), CUE, max_flip_rate=0.1, control=model, train=lambda *_: model, train_data=(X, Y)
        )


@pytest.mark.parametrize(
    "given", [{"train": lambda *_: model}, {"train_data": (X, Y)}], ids=lambda one: next(iter(one))
)
def test_a_control_needs_a_function_that_trains_and_data_to_train_on(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"Expected train(_data)?= with train(_data)?="):
        measure_no_spurious_feature(model, (X, Y), CUE, max_flip_rate=0.1, **given)


@pytest.mark.parametrize("cue", [PixelPatch, [], [CUE, "auto!"], None, ()], ids=str)
def test_what_is_no_cue_is_refused(cue: Any) -> None:
    with pytest.raises(ConfigError, match="a cue such as PixelPatch"):
        measure_no_spurious_feature(model, (X, Y), cue, max_flip_rate=0.1)


def test_a_cue_that_works_in_place_is_switched_all_the_same() -> None:
    """Else both states were one tensor, with whatever was written last, and nothing ever flipped."""

    def lit(x: Tensor) -> Tensor:
        x[:, :, :2, :2] = 1.0
        return x

    cue, before = FunctionCue("in place", on=lit), X.clone()
    result = measure_no_spurious_feature(model, (X, Y), cue, max_flip_rate=0.5, exact=True)
    assert (result.verdict, result.details["flips"]) == (Verdict.FAILED, 60)
    assert torch.equal(X, before)


def test_a_cue_of_few_samples_cannot_pass_by_the_others() -> None:
    """Of 90 samples 9 can flip: at most 0.1 do, whatever the model."""
    some = (torch.arange(N) % 10 == 0).view(-1, 1, 1, 1)

    class Rare:
        name = "rare"
        ids = torch.arange(N)

        def at(self, ids: Tensor) -> Rare:
            here = Rare()
            here.ids = ids
            return here

        def on(self, x: Tensor) -> Tensor:
            return torch.where(some[self.ids], CUE.on(x), x)

        def off(self, x: Tensor) -> Tensor:
            return x

    for limit, verdict in ((0.1, Verdict.INCONCLUSIVE), (0.09, Verdict.PASSED)):
        result = measure_no_spurious_feature(timid, (X, Y), Rare(), max_flip_rate=limit, exact=True)
        assert result.verdict is verdict
        assert result.details["changed"] == {"the cue rare": 9}
        assert "the cue rare changes 9 of 90 samples" in result.words.caveats
    both = measure_no_spurious_feature(timid, (X, Y), Rare(), max_flip_rate=0.1, max_recall_drop=0.05, exact=True)
    assert both.verdict is Verdict.PASSED  # of a class's 30 samples 3 may change sides: that could have failed it
