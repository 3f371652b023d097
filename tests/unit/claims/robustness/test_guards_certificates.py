"""A certificate by draws is wrong of a whole set no more often than alpha, and each of its guards is held by a test."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L2, ConfigError, Linf, Smoothed, Spatial, Verdict, labels_model
from robustest.attacks import PGD
from robustest.decisions import CertifiedRule
from robustest.measure import measure_certified_accuracy, measure_robust_accuracy

N = 200
SIGMA = 0.25


class HalfPlane(nn.Module):
    """Class 1 where the first input is above .5: under noise the radius of a sample is its distance from there."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(100.0))

    def forward(self, x: Tensor) -> Tensor:
        away = (x[:, 0] - 0.5) * self.scale
        return torch.stack([-away, away], 1)


def at(distance: float, n: int = N) -> tuple[Tensor, Tensor]:
    """Samples on the side of class 1, all equally far from the other."""
    x = torch.full((n, 2), 0.5)
    x[:, 0] += distance
    return x, torch.ones(n, dtype=torch.int64)


def both(distance: float, n: int) -> tuple[Tensor, Tensor]:
    """Samples on either side in turn; on that of class 0 inputs are below 0."""
    x, y = at(distance, n)
    x[::2, 0], y[::2] = 0.5 - distance, 0
    return x, y


def smoothed(model: nn.Module | None = None, **options: Any) -> Smoothed:
    return Smoothed(HalfPlane() if model is None else model, SIGMA, **{"draws": 60, "guesses": 15, **options})


def test_of_a_whole_set_not_one_sample_is_proven_beyond_its_radius() -> None:
    """Alpha is for all 200 samples together: a chance of alpha for each would prove some of them falsely."""
    found = measure_certified_accuracy(smoothed(), at(0.1), L2(0.11), exact=True, at_least=0.01)
    assert found.details["proven"] == 0
    assert found.verdict is not Verdict.PASSED


def test_of_a_whole_set_not_one_sample_is_refuted_whose_majority_is_right() -> None:
    """So near the border both classes are guessed; neither is certain to have the majority."""
    found = measure_certified_accuracy(smoothed(), at(1e-4), L2(0.01), exact=True, at_least=0.9)
    assert found.details["not_held"] == 0
    assert found.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("n", [1, 20])
def test_each_sample_has_its_part_of_alpha(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One part of 2 n, for a proof and a refutation of each sample, however few there are."""
    from robustest.claims.robustness import certified_accuracy

    alphas, plain, rule, of_verdict = set(), certified_accuracy.certified_radius, CertifiedRule, list[float]()

    def spied(votes: int, draws: int, sigma: float, alpha: float) -> float:
        alphas.add(alpha)
        return plain(votes, draws, sigma, alpha)

    def ruled(**given: Any) -> CertifiedRule:
        of_verdict.append(given["terms"].alpha)
        return rule(**given)

    monkeypatch.setattr(certified_accuracy, "certified_radius", spied)
    monkeypatch.setattr(certified_accuracy, "CertifiedRule", ruled)
    measure_certified_accuracy(smoothed(), at(0.4, n), L2(0.1), exact=True, alpha=0.04)
    assert list(alphas) == [pytest.approx(0.04 / (2 * n))]
    assert of_verdict == [0.02], "the verdict on their number has the other half"


def test_a_radius_counts_from_the_threat_s_own_on() -> None:
    """All draws of a sample far from the border agree: its radius is known, and proves it up to there, not beyond."""
    data = both(5.0, 8)  # 20 standard deviations
    settings: dict[str, Any] = {"exact": True, "at_least": 0.6, "bounds": (-10.0, 10.0)}
    loose = measure_certified_accuracy(smoothed(draws=400), data, L2(0.1), **settings)
    assert loose.details["proven"] == 8
    assert loose.verdict is Verdict.PASSED
    assert loose.ruling.at_alpha
    tight = measure_certified_accuracy(smoothed(draws=400), data, L2(4 * SIGMA), **settings)
    assert tight.details["proven"] == 0
    assert tight.details["open"] == 8


def test_a_sample_of_another_label_is_refuted_and_never_proven() -> None:
    x, y = at(5.0, 8)
    found = measure_certified_accuracy(
        smoothed(draws=400), (x, 1 - y), L2(0.01), exact=True, at_least=0.5, bounds=(0.0, 10.0)
    )
    assert (found.details["proven"], found.details["not_held"], found.details["clean_accuracy"]) == (0, 8, 0.0)
    assert found.verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("model", "threat", "options"),
    [
        (HalfPlane(), Spatial(), {}),
        (HalfPlane(), L2(0.1), {"attack": "nothing of this name"}),
        (smoothed(), Linf(0.1), {}),
        (smoothed(), L2(0.1), {"attack": PGD(steps=1)}),
        (smoothed(), L2(0.1), {"at_least": 0.0}),
    ],
    ids=str,
)
def test_what_cannot_be_certified_is_refused(model: Any, threat: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        measure_certified_accuracy(model, at(0.1, 8), threat, **options)


def test_only_exact_balls_are_certified() -> None:
    """A ball of one's own may hold more inputs than bounds of its norm know of."""

    class Wider(Linf):
        pass

    with pytest.raises(ConfigError, match="of which bounds can be proven"):
        measure_certified_accuracy(HalfPlane(), at(0.1, 8), Wider(0.1))


def test_a_model_that_gives_labels_alone_is_certified_by_its_votes() -> None:
    model = labels_model(lambda x: (x[:, 0] > 0.5).astype(int), classes=2)
    found = measure_certified_accuracy(Smoothed(model, SIGMA, draws=60), at(0.45, 8), L2(0.05), exact=True)
    assert found.details["proven"] == 8


def test_proofs_beside_an_attack_move_no_end_but_the_lower() -> None:
    x, y = at(0.1, 40)
    plain = measure_robust_accuracy(HalfPlane(), (x, y), Linf(0.05), attack="fgsm", exact=True)
    both = measure_robust_accuracy(HalfPlane(), (x, y), Linf(0.05), attack="fgsm", exact=True, certify="linear")
    assert (plain.interval, plain.estimate) == ((0.0, 1.0), 1.0)
    assert (both.interval, both.estimate) == ((1.0, 1.0), 1.0)


@pytest.mark.parametrize(
    ("at_least", "verdict"), [(None, Verdict.PASSED), (0.6, Verdict.PASSED), (0.9, Verdict.FAILED)]
)
def test_a_smoothed_model_beside_another_has_its_threshold(at_least: float | None, verdict: Verdict) -> None:
    """Three quarters are right and proven, of this model and of the other, whose scores are twice as large."""
    x, y = both(5.0, 8)
    y[:2] = 1 - y[:2]
    steep = HalfPlane()
    steep.scale.data *= 2
    how: dict[str, Any] = {"at_least": at_least, "no_worse_than": smoothed(steep, draws=400), "bounds": (-10.0, 10.0)}
    found = measure_certified_accuracy(smoothed(draws=400), (x, y), L2(0.01), **how)
    assert found.verdict is verdict
