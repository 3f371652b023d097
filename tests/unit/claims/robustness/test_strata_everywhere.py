"""A mean over unlike samples: it says what it is in each part, and does not pass where it hides a number of objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import (
    ConfigError,
    Detection,
    Linf,
    MultiLabel,
    Regression,
    Result,
    Segmentation,
    Settings,
    Verdict,
)
from robustest.context import Context, running
from robustest.measure import (
    measure_consistency,
    measure_corruption_robustness,
    measure_robust_accuracy,
    measure_robust_score,
    measure_shift_accuracy,
    measure_transfer_accuracy,
    measure_worst_group_accuracy,
)
from robustest.reports.text import measured
from robustest.tasks import TorchvisionDetector

N, K = 200, 4
AT = torch.arange(N)
SETS = torch.zeros(N, K, dtype=torch.int64)
SETS[AT, AT % K] = 1
SETS[AT[::5], (AT[::5] + 1) % K] = 1  # 40 samples of two objects
X = SETS.float().view(N, 1, 2, 2) * 0.8 + 0.1
TINY = Linf(1e-3)


class Sees(nn.Module):
    """Logits of which classes are there; each object hides the others as far as `hides` says."""

    def __init__(self, hides: float = 2.0) -> None:
        super().__init__()
        self.hides = hides

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1) - 0.5
        there = z.relu()
        return z - self.hides * (there.sum(1, keepdim=True) - there)


def dimmer(x: Tensor, severity: int, key: Tensor) -> Tensor:
    return 0.99 * x


dimmer.moves = False  # type: ignore[attr-defined]

Measure = Callable[..., Result]
CLAIMS: dict[str, Measure] = {
    "robust accuracy": lambda m, **how: measure_robust_accuracy(m, (X, SETS), TINY, at_least=0.7, attack="fgsm", **how),
    "every sample": lambda m, **how: measure_robust_accuracy(
        m, (X, SETS), TINY, at_least=0.7, attack="fgsm", exact=True, **how
    ),
    "robust score": lambda m, **how: measure_robust_score(m, (X, SETS), TINY, at_least=0.7, attack="fgsm", **how),
    "a shift": lambda m, **how: measure_shift_accuracy(m, (X, SETS), dimmer, at_least=0.7, **how),
    "corruptions": lambda m, **how: measure_corruption_robustness(
        m, (X, SETS), corruptions=["brightness"], severities=[1], min_accuracy=0.7, **how
    ),
    "groups": lambda m, **how: measure_worst_group_accuracy(m, (X, SETS), AT % 2, at_least=0.7, **how),
    "another data set": lambda m, **how: measure_transfer_accuracy(m, (X, SETS), (X * 0.99, SETS), at_least=0.7, **how),
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_a_number_of_objects_that_the_mean_hides_lets_nothing_pass(claim: Measure) -> None:
    hidden = claim(Sees(), task=MultiLabel())
    assert hidden.verdict is Verdict.INCONCLUSIVE, hidden.rule
    assert "2 objects" in hidden.rule
    assert 'by="overall"' in hidden.rule
    assert "2 objects" in measured(hidden)


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_who_claims_the_mean_alone_reads_what_it_hides(claim: Measure) -> None:
    overall = claim(Sees(), task=MultiLabel(by="overall"))
    assert overall.verdict is Verdict.PASSED, overall.rule
    assert any("2 objects: 0.000" in str(fact.value) for fact in overall.words.facts if fact.leads)
    if overall.numbers.n == N:  # of few samples no more can be said
        assert "2 objects" in measured(overall)


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_a_model_that_sees_every_object_passes(claim: Measure) -> None:
    good = claim(Sees(0.0), task=MultiLabel())
    assert good.verdict is Verdict.PASSED, good.rule
    assert all("copies" in caveat for caveat in good.words.caveats)


def test_every_stratum_has_its_number_and_interval_in_the_result_and_the_first_lines() -> None:
    result = measure_robust_accuracy(
        Sees(), (X, SETS), TINY, at_least=0.7, attack="fgsm", task=MultiLabel(), exact=True
    )
    one, two = result.details["strata"]
    assert (one["part"], one["samples"], one["value"]) == ("1 object", 160, 1.0)
    assert (two["part"], two["samples"], two["value"]) == ("2 objects", 40, 0.0)
    assert two["interval"][1] < 0.7
    assert (one["beyond"], two["beyond"]) == (False, True)
    lead = [fact for fact in result.words.facts if fact.leads and "2 objects" in str(fact.value)]
    assert lead
    assert "0 of 40" in str(lead[0].value) or "n=40" in str(lead[0].value)
    assert Result.from_dict(result.to_dict()) == result


def test_a_drop_and_a_flip_rate_are_judged_in_every_stratum_too() -> None:
    """The shift changes every sample, and only those of two objects lose anything to it."""

    def fades(x: Tensor, severity: int, key: Tensor) -> Tensor:
        many = (x > 0.5).flatten(1).sum(1).view(-1, 1, 1, 1) > 1
        return torch.where(many, 0.1, 0.99 * x)

    drop = measure_shift_accuracy(Sees(0.0), (X, SETS), fades, max_drop=0.3, task=MultiLabel())
    flips = measure_consistency(Sees(0.0), (X, SETS), fades, max_flip_rate=0.3, task=MultiLabel())
    cells = measure_corruption_robustness(Sees(0.0), (X, SETS), corruptions=[fades], max_drop=0.3, task=MultiLabel())
    for result in (drop, flips, cells):
        assert result.verdict is Verdict.INCONCLUSIVE
        assert "2 objects" in result.rule


def test_an_early_pass_waits_until_a_stratum_could_speak_and_costs_no_more_than_that() -> None:
    few = SETS.clone()
    rare = AT[AT % 10 == 3]  # one in ten
    few[:] = 0
    few[AT, AT % K] = 1
    few[rare, (rare + 1) % K] = 1
    many, x = few.repeat(10, 1), (few.float().view(N, 1, 2, 2) * 0.8 + 0.1).repeat(10, 1, 1, 1)
    early = measure_robust_accuracy(Sees(), (x, many), TINY, at_least=0.6, attack="fgsm", task=MultiLabel())
    assert early.verdict is Verdict.INCONCLUSIVE
    good = measure_robust_accuracy(Sees(0.0), (x, many), TINY, at_least=0.6, attack="fgsm", task=MultiLabel())
    plain = measure_robust_accuracy(
        Sees(0.0), (x, many), TINY, at_least=0.6, attack="fgsm", task=MultiLabel(by="overall")
    )
    assert plain.verdict is good.verdict is Verdict.PASSED
    assert plain.numbers.n < good.numbers.n <= 500


def test_a_budget_that_ends_before_every_stratum_could_speak_says_what_is_missing() -> None:
    how: dict[str, Any] = {"at_least": 0.6, "attack": "fgsm", "max_samples": 64}
    short = measure_robust_accuracy(Sees(0.0), (X, SETS), TINY, task=MultiLabel(), **how)
    assert short.verdict is Verdict.INCONCLUSIVE
    assert "objects" in short.rule
    assert "max_samples" in short.rule


def test_a_failure_stays_one_and_a_measurement_without_a_threshold_lists_strata() -> None:
    failed = measure_robust_accuracy(Sees(), (X, SETS), TINY, at_least=0.95, attack="fgsm", task=MultiLabel())
    assert failed.verdict is Verdict.FAILED
    open_ = measure_robust_accuracy(Sees(), (X, SETS), TINY, attack="fgsm", task=MultiLabel())
    assert open_.verdict is Verdict.INCONCLUSIVE
    assert [row["value"] for row in open_.details["strata"]] == [1.0, 0.0]


def test_noise_between_strata_is_no_finding() -> None:
    """Of ten samples in a stratum a few below the threshold say nothing at alpha."""
    few = torch.zeros(N, K, dtype=torch.int64)
    few[AT, AT % K] = 1
    few[:40:4, 1] = 1  # ten samples of two objects
    x = few.float().view(N, 1, 2, 2) * 0.8 + 0.1
    wrong = few.clone()
    wrong[:12:4] = few[:12:4].roll(1, 1)  # seven of ten are right
    result = measure_robust_accuracy(
        Sees(0.0), (x, wrong), TINY, at_least=0.9, attack="fgsm", task=MultiLabel(), exact=True
    )
    assert result.details["strata"][1]["value"] == 0.7
    assert result.verdict is Verdict.PASSED


def test_what_is_remembered_has_its_strata(tmp_path: Path) -> None:
    how: dict[str, Any] = {"at_least": 0.7, "attack": "fgsm", "task": MultiLabel()}
    with running(Context(settings=Settings(store=str(tmp_path), corpus=None, recheck=0.0))):
        first = measure_robust_accuracy(Sees(), (X, SETS), TINY, **how)
        again = measure_robust_accuracy(Sees(), (X, SETS), TINY, **how)
    assert again.evidence.cached
    assert first.verdict is again.verdict is Verdict.INCONCLUSIVE
    assert first.details["strata"] == again.details["strata"]


def test_replayed_counterexamples_join_samples_that_were_remembered(tmp_path: Path) -> None:
    """Their columns must be those of the chunks before them."""
    faint = torch.where((AT % 10 < 3).view(-1, 1, 1, 1), 0.5 + (X - 0.5) / 8, X)  # these break
    store, corpus = str(tmp_path / "store"), str(tmp_path / "corpus")

    def run(settings: Settings, **more: Any) -> Result:
        with running(Context(settings=settings)):
            how: dict[str, Any] = {"at_least": 0.75, "attack": "fgsm", "task": MultiLabel(by="overall"), **more}
            return measure_robust_accuracy(Sees(0.0), (faint, SETS), Linf(0.1), **how)

    run(Settings(store=None, corpus=corpus), exact=True)
    run(Settings(store=store, corpus=str(tmp_path / "none"), recheck=0.0), max_samples=64)
    doomed = run(Settings(store=store, corpus=corpus, recheck=0.0))
    assert doomed.verdict is Verdict.FAILED
    assert 0 < doomed.evidence.replayed < doomed.numbers.n


def test_by_is_one_of_two_words() -> None:
    for wrong in ("boxes", None, True):
        with pytest.raises(ConfigError, match="by to be"):
            MultiLabel(by=wrong)  # type: ignore[arg-type]


class Pixels(nn.Module):
    """Two classes a pixel; it says the class of most of them for all."""

    def forward(self, x: Tensor) -> Tensor:
        lead = (x.mean((2, 3), keepdim=True) - 0.5).expand_as(x)
        return torch.cat([-lead, lead], 1)


def test_masks_of_several_classes_are_told_apart_from_those_of_one() -> None:
    mask = (torch.arange(N) % 2).view(-1, 1, 1).repeat(1, 4, 4)
    mask[::5] = 0
    mask[::5, :3] = 1
    x = mask.float().unsqueeze(1) * 0.8 + 0.1
    result = measure_shift_accuracy(
        Pixels(), (x, mask), dimmer, at_least=0.7, task=Segmentation(2, floor=0.9), exact=True
    )
    assert result.verdict is Verdict.PASSED
    assert "2 classes in the mask" in measured(result)
    assert [row["samples"] for row in result.details["strata"]] == [160, 40]


def test_pixels_and_boxes_that_are_ignored_count_for_no_stratum() -> None:
    mask = torch.tensor([[[0, 1], [2, 255]], [[0, 0], [255, 255]]])
    assert Segmentation(3, ignore=255).strata(mask).tolist() == [3, 1]
    rows = torch.zeros(2, 4, 6)
    rows[..., 4] = torch.tensor([[1.0, 0.0, -2.0, -1.0], [-1.0, -1.0, -1.0, -1.0]])
    assert Detection(TorchvisionDetector(2), most=4).strata(rows).tolist() == [2, 0]
    assert Regression(0.1).strata(torch.tensor([[3.0, 4.0]])).tolist() == [5.0]


class OneBox(nn.Module):
    """Finds the first box alone, which lies further to the right in bright images."""

    score_thresh, detections_per_img = 0.05, 100

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        right = [float(one.mean() > 0.5) for one in x]
        boxes = [torch.tensor([[1.0 + at, 1.0, 5.0 + at, 5.0]]) for at in right]
        scores = [0.9 + 0 * one.mean()[None] for one in x]
        found = zip(boxes, scores, strict=True)
        return [{"boxes": box, "labels": torch.tensor([1]), "scores": score} for box, score in found]


def test_images_of_several_boxes_are_told_apart_from_those_of_one() -> None:
    def target(boxes: int, to_the_right: int) -> dict[str, Tensor]:
        all_boxes = torch.tensor([[1.0, 1.0, 5.0, 5.0], [0.0, 0.0, 2.0, 2.0], [4.0, 4.0, 8.0, 8.0]])
        all_boxes[0, [0, 2]] += to_the_right
        return {"boxes": all_boxes[:boxes], "labels": torch.ones(boxes, dtype=torch.int64)}

    data = [(torch.full((1, 8, 8), 0.3 + 0.4 * (i % 2)), target(3 if i % 5 == 0 else 1, i % 2)) for i in range(100)]
    result = measure_shift_accuracy(
        OneBox(), data, dimmer, at_least=0.7, task=Detection(TorchvisionDetector(2), floor=0.9), exact=True
    )
    assert result.verdict is Verdict.PASSED
    assert "3 boxes" in measured(result)


class Folded(nn.Module):
    """Right on targets up to .75, too low on larger ones."""

    def forward(self, x: Tensor) -> Tensor:
        first = x.flatten(1)[:, :1]
        return first - 2 * (first - 0.75).relu()


def test_regression_is_told_by_quarters_of_its_targets() -> None:
    y = torch.linspace(0, 1, 400)
    x = y.view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()
    result = measure_shift_accuracy(
        Folded(), (x, y), dimmer, at_least=0.7, task=Regression(0.05, still=True), exact=True
    )
    assert result.verdict is Verdict.PASSED
    strata = result.details["strata"]
    assert [row["samples"] for row in strata] == [100, 100, 100, 100]
    assert [row["beyond"] for row in strata] == [False, False, False, True]
    assert strata[-1]["part"] in measured(result)
