"""Claims about confidence, on models whose confidence is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustest import (
    ClaimFailed,
    ConfigError,
    DataError,
    ModelError,
    Verdict,
    assert_calibrated,
    assert_ood_rejected,
    assert_selective_accuracy,
    labels_model,
)
from robustest.measure import measure_calibrated, measure_ood_rejected, measure_selective_accuracy

N = 4000


def samples(n: int = N, seed: int = 0, *, gap: float = 0.0) -> tuple[Tensor, Tensor]:
    """The first element is how sure the model is of class 0; it is right as often as it is sure, less the gap."""
    random = np.random.default_rng(seed)
    sure, said = random.uniform(0.5, 1, n), random.integers(0, 2, n)
    y = np.where(random.random(n) < sure - gap, said, 1 - said).astype(np.int64)
    x = np.stack([np.where(said == 0, sure, 1 - sure), random.random(n)], 1)
    return torch.tensor(x, dtype=torch.float32), torch.from_numpy(y)


def model(x: Tensor) -> Tensor:
    p = x[:, 0].double().clamp(0.001, 0.999)
    return torch.stack([p.log(), (1 - p).log()], 1).float()


def doubled(x: Tensor) -> Tensor:
    """Twice as sure, in log odds."""
    return 2 * model(x)


def test_brier_is_the_mean_squared_distance_of_all_probabilities() -> None:
    x, y = samples()
    p = torch.softmax(model(x).double(), 1)
    by_hand = float((p - torch.eye(2)[y]).square().sum(1).mean())
    result = measure_calibrated(model, (x, y), max_brier=by_hand + 0.001, exact=True)
    assert (result.verdict, result.numbers.quantity) == (Verdict.PASSED, "Brier score")
    assert result.estimate == pytest.approx(by_hand)
    assert measure_calibrated(model, (x, y), max_brier=by_hand - 0.001, exact=True).verdict is Verdict.FAILED
    # A class said with the shares of the classes reaches 0.5.
    assert measure_calibrated(model, (x, y), max_brier=0.51, exact=True).rule == "health check: constant_answer"
    early = measure_calibrated(model, (x, y), max_brier=0.45)
    assert (early.verdict, early.estimate) == (Verdict.PASSED, None)
    assert early.numbers.n < N
    low, high = measure_calibrated(model, (x, y), max_brier=0.9, scope="population").interval
    assert low < by_hand < high


def test_a_calibrated_model_passes_and_an_overconfident_one_fails() -> None:
    good = measure_calibrated(model, samples(), max_ece=0.07)
    assert (good.verdict, good.subject.scope) == (Verdict.PASSED, "population")
    assert good.details["ece"] > good.estimate  # what is reported usually is too high by chance
    bad = measure_calibrated(model, samples(gap=0.2), max_ece=0.07)
    assert bad.verdict is Verdict.FAILED
    assert bad.interval[0] < 0.2 < bad.interval[1]
    assert bad.estimate == pytest.approx(0.2, abs=0.03)
    assert measure_calibrated(model, samples(gap=0.07), max_ece=0.07).verdict is Verdict.INCONCLUSIVE
    with pytest.raises(ClaimFailed, match="calibration error"):
        assert_calibrated(model, samples(gap=0.2), max_ece=0.07)


def test_few_samples_without_an_error_do_not_vouch_for_a_sure_model() -> None:
    """Always sure, right 99 of 100 times: 60 samples show no error more often than not, and a bootstrap of them
    neither.
    """

    def sure(x: Tensor) -> Tensor:
        return torch.tensor([[10.0, 0.0]]).expand(len(x), 2)

    result = measure_calibrated(sure, (torch.rand(60, 2), torch.zeros(60, dtype=torch.int64)), max_ece=0.005)
    assert result.details["ece"] < 0.001
    assert result.verdict is Verdict.INCONCLUSIVE


def test_errors_that_cancel_inside_a_bin_are_seen_at_twice_the_resolution() -> None:
    """Too sure in the one half of each bin of 1/15, too little in the other."""
    random = np.random.default_rng(0)
    n, at = 20_000, np.arange(20_000) % 2
    sure = (11 + 0.1 + 0.8 * at) / 15
    y = (random.random(n) >= np.where(at == 0, sure - 0.15, sure + 0.15)).astype(np.int64)
    x = torch.tensor(np.stack([sure, random.random(n)], 1), dtype=torch.float32)
    result = measure_calibrated(model, (x, torch.from_numpy(y)), max_ece=0.07)
    assert result.details["ece"] < 0.02
    assert result.verdict is not Verdict.PASSED
    assert result.interval[1] > 0.15


def test_a_temperature_is_fitted_on_other_samples_only() -> None:
    judged, other = samples(seed=1), samples(seed=2)
    raw = measure_calibrated(doubled, judged, max_ece=0.06)
    mended = measure_calibrated(doubled, judged, max_ece=0.06, fit_data=other)
    assert raw.verdict is Verdict.FAILED
    assert mended.verdict is Verdict.PASSED
    assert mended.details["temperature"] == pytest.approx(2, rel=0.1)
    assert "fitted on 4000 other samples" in mended.words.notes[-1]
    with pytest.raises(DataError, match="4000 of the 4000 evaluated ones"):
        measure_calibrated(doubled, judged, max_ece=0.07, fit_data=judged)
    mixed = (torch.cat([other[0], judged[0][:1]]), torch.cat([other[1], judged[1][:1]]))
    with pytest.raises(DataError, match="1 of the 4000"):
        measure_calibrated(doubled, judged, max_brier=1.0, exact=True, fit_data=mixed)
    by_hand = measure_calibrated(doubled, judged, max_ece=0.07, temperature=2.0)
    assert by_hand.details["brier"] == pytest.approx(measure_calibrated(model, judged, exact=True).details["brier"])


def test_probabilities_have_to_be_said() -> None:
    def probabilities(x: Tensor) -> Tensor:
        return torch.softmax(model(x), 1)

    data = samples(200)
    with pytest.raises(ModelError, match="probabilities=True"):
        measure_calibrated(probabilities, data, max_brier=1.0, suppress=("softmax_outputs",))
    with pytest.raises(ModelError, match="Leave probabilities= out"):
        measure_calibrated(model, data, max_brier=1.0, probabilities=True)
    one = measure_calibrated(probabilities, data, probabilities=True, exact=True)
    assert one.details["brier"] == pytest.approx(measure_calibrated(model, data, exact=True).details["brier"], abs=1e-6)


def test_a_shift_is_applied_first() -> None:
    """Darker images make this model unsure, and so wrongly unsure."""

    def brightness_model(x: Tensor) -> Tensor:
        return model(x.flatten(1)[:, :1])

    def darker(x: Tensor) -> Tensor:
        return 0.55 * x

    x, y = samples()
    data = x[:, :1].view(-1, 1, 1, 1), y
    assert measure_calibrated(brightness_model, data, max_ece=0.07).verdict is Verdict.PASSED
    shifted = measure_calibrated(brightness_model, data, darker, max_ece=0.07)
    assert shifted.verdict is Verdict.FAILED
    assert "under darker" in shifted.subject.statement
    unmoved = measure_calibrated(brightness_model, data, lambda x: x, max_ece=0.07)
    assert "the shift <lambda> changes no sample" in unmoved.words.caveats
    assert unmoved.verdict is Verdict.INCONCLUSIVE
    assert "<lambda> changes none of 4000 samples" in unmoved.rule


def test_selective_accuracy_is_that_of_the_surest() -> None:
    x, y = samples()
    confident = torch.softmax(model(x), 1).amax(1)
    order = confident.argsort(descending=True)
    right = model(x).argmax(1) == y
    by_hand = int(right[order[:1000]].sum()) / 1000
    result = measure_selective_accuracy(model, (x, y), coverage=0.25, at_least=by_hand)
    assert (result.verdict, result.estimate) == (Verdict.PASSED, pytest.approx(by_hand))
    assert result.details["answered"] == 1000
    assert result.details["by_coverage"][-1]["accuracy"] == pytest.approx(float(right.float().mean()))
    assert measure_selective_accuracy(model, (x, y), coverage=0.25, at_least=by_hand + 0.001).verdict is Verdict.FAILED
    with pytest.raises(ClaimFailed, match=r"the 0\.25 of samples"):
        assert_selective_accuracy(model, (x, y), coverage=0.25, at_least=0.999)


def test_ties_at_the_edge_pass_only_where_any_choice_would() -> None:
    """All samples are as sure as each other, a fifth of them wrong: which are answered decides."""
    x = torch.full((100, 2), 0.7)
    said = torch.arange(100) % 2
    x[said == 1] = 0.3  # 0.7 for the other class
    y = torch.where(torch.arange(100) < 20, 1 - said, said)
    tied = measure_selective_accuracy(model, (x, y), coverage=0.5, at_least=0.8)
    assert tied.verdict is Verdict.INCONCLUSIVE
    assert "30 to 50 of 50 right" in tied.rule
    assert measure_selective_accuracy(model, (x, y), coverage=0.9, at_least=0.75).verdict is Verdict.PASSED
    assert measure_selective_accuracy(model, (x, y), coverage=0.9, at_least=0.9).verdict is Verdict.FAILED


def test_one_class_is_a_constant_answer_only_if_it_is_as_sure_of_every_sample() -> None:
    """Of two classes the model names one; what it knows is how sure it may be."""

    def same(x: Tensor) -> Tensor:
        return model(torch.full_like(x, 0.75))

    x, y = samples()
    unsure = 0.5 + (x[:, :1] - 0.5).abs(), (torch.softmax(model(x), 1).argmax(1) != y).long()
    for measure, claim in (
        (measure_calibrated, {"max_brier": 0.37}),
        (measure_selective_accuracy, {"coverage": 0.25, "at_least": 0.8}),
        (measure_ood_rejected, {"outside": 0.5 + 1e-3 * unsure[0][:500], "max_fpr": 0.3}),
    ):
        assert measure(model, unsure, **claim).verdict is Verdict.PASSED, claim  # type: ignore[operator]
    # A class said of all as surely as it occurs has no calibration error, whatever is known of single samples.
    for net, claim in ((model, {"max_ece": 0.07}), (same, {"max_ece": 0.07}), (same, {"max_brier": 0.4})):
        assert measure_calibrated(net, unsure, **claim).rule == "health check: constant_answer", claim  # type: ignore[arg-type]
    with_room = measure_selective_accuracy(same, unsure, coverage=1.0, at_least=0.5)
    assert with_room.rule == "health check: constant_answer"


def test_confidence_that_saturates_still_has_an_order() -> None:
    """In float32 both probabilities are 1."""
    x = torch.tensor([[40.0], [60.0]]).repeat(10, 1)
    y = (torch.arange(20) % 2 == 0).long()  # the surer ones are right

    def sharp(x: Tensor) -> Tensor:
        return torch.cat([x, -x], 1)

    result = measure_selective_accuracy(sharp, (x, y), coverage=0.5, at_least=1.0, bounds=(0, 100))
    assert result.verdict is Verdict.PASSED


def test_other_data_are_told_by_their_scores() -> None:
    def two(x: Tensor) -> Tensor:
        return torch.cat([20 * x[:, :1] - 10, 10 - 20 * x[:, :1]], 1)

    generator = torch.Generator().manual_seed(0)
    inside = torch.cat(
        [torch.rand(500, 1, generator=generator) * 0.3, 1 - torch.rand(500, 1, generator=generator) * 0.3]
    )
    labels = torch.cat([torch.ones(500), torch.zeros(500)]).long()
    outside = 0.4 + 0.2 * torch.rand(400, 1, generator=generator)
    result = measure_ood_rejected(two, (inside, labels), outside, max_fpr=0.01)
    assert (result.verdict, result.estimate, result.numbers.n_total) == (Verdict.PASSED, 0.0, 400)
    assert result.details["auroc"] == 1.0
    assert result.details["inside_accepted"] >= 0.95
    same = measure_ood_rejected(two, (inside, labels), (inside, labels + 7), max_fpr=0.9)
    assert (same.verdict, same.estimate) == (Verdict.FAILED, pytest.approx(0.95))
    assert same.details["auroc"] == pytest.approx(0.5)
    assert result.outcomes.count(True) == 400
    for score in ("max_logit", "energy"):
        assert measure_ood_rejected(two, (inside, labels), outside, score=score).estimate == 0.0
    with pytest.raises(ClaimFailed):
        assert_ood_rejected(two, (inside, labels), inside, max_fpr=0.5)


def test_a_model_that_scores_everything_alike_rejects_nothing() -> None:
    def blank(x: Tensor) -> Tensor:
        return torch.tensor([[2.0, 0.0]]).expand(len(x), 2)

    result = measure_ood_rejected(blank, (torch.rand(100, 2), torch.zeros(100).long()), torch.rand(50, 2), max_fpr=0.5)
    assert (result.verdict, result.estimate) == (Verdict.FAILED, 1.0)


@pytest.mark.parametrize(
    ("call", "options", "words"),
    [
        (measure_calibrated, {"max_brier": 0.5, "max_ece": 0.1}, "max_brier or max_ece but got both"),
        (measure_calibrated, {"max_brier": 2.0}, "max_brier to be less than 2"),
        (measure_calibrated, {"max_ece": 1.0}, "max_ece to be less than 1"),
        (measure_calibrated, {"bins": 5}, "bins to be a whole number >= 10"),
        (measure_calibrated, {"temperature": 0.0}, "temperature to be a number > 0"),
        (measure_calibrated, {"temperature": 2.0, "fit_data": samples(10)}, "temperature= or fit_data="),
        (measure_calibrated, {"severity": 3}, "shift= with severity=3"),
        (measure_selective_accuracy, {"coverage": 0.0}, "coverage to be more than 0"),
        (measure_selective_accuracy, {"coverage": 1.5}, "coverage"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_are_told(call: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call(model, samples(20), **options)


def test_labels_alone_have_no_confidence() -> None:
    blind = labels_model(lambda x: np.zeros(len(x), dtype=int), classes=2)
    with pytest.raises(ConfigError, match="labels alone"):
        measure_calibrated(blind, samples(20), max_ece=0.1)
    with pytest.raises(ConfigError, match="Unknown score 'mps'"):
        measure_ood_rejected(model, samples(20), samples(20), score="mps")


def test_a_score_of_the_batch_tells_nothing_of_a_sample() -> None:
    """Batches hold one kind each, so such a model would be right about every batch."""
    x = torch.zeros(400, 2)
    x[:, 1] = torch.arange(400) / 400
    y = (torch.arange(400) >= 200).long()

    def by_batch(batch: Tensor) -> Tensor:
        return torch.stack([10.0 * (batch[:, 1].mean() > 0.5) + batch[:, 1], 0 * batch[:, 1]], 1)

    result = measure_ood_rejected(by_batch, (x[200:], y[200:]), torch.full((200, 2), 0.3), max_fpr=0.5)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert any(note.startswith("batch_dependence") for note in result.words.notes)
