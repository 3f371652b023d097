"""Certified accuracy: what is proven passes, what is broken fails, and what is open does neither."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import (
    L2,
    ClaimFailed,
    ClaimInconclusive,
    ConfigError,
    Linf,
    ModelError,
    Patch,
    Verdict,
    assert_certified_accuracy,
    assert_robust_accuracy,
)
from robustest.engine import proving
from robustest.engine.proving import Proof
from robustest.measure import measure_certified_accuracy, measure_robust_accuracy

N = 60


def data(features: int = 4) -> tuple[Tensor, Tensor]:
    """Samples of two classes, on either side of .5, of known distance to it: .01 to .3."""
    distance = torch.linspace(0.01, 0.3, N)
    y = torch.arange(N) % 2
    x = torch.full((N, features), 0.5)
    x[:, 0] += distance * (2 * y - 1)
    return x, y


class Threshold(nn.Module):
    """Decides by the first feature, with a ReLU on the way: robust up to its distance from .5, and no further."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 2), nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.first.weight.zero_()
            self.first.weight[:, 0] = torch.tensor([-10.0, 10.0])
            self.first.bias.copy_(torch.tensor([5.0, -5.0]))
            self.last.weight.copy_(torch.eye(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x)))  # type: ignore[no-any-return]


class Masked(Threshold):
    """The same answers from a forward whose gradient is zero: attacks by gradients find nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x * 255).round() / 255)


def true_share(eps: float) -> float:
    x, _ = data()
    return float(((x[:, 0] - 0.5).abs() > eps).float().mean())


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.1)], ids=str)
def test_what_is_proven_and_what_is_broken_meet_at_the_truth(threat: Any) -> None:
    result = measure_certified_accuracy(Threshold(), data(), threat, at_least=0.6, exact=True)
    assert result.verdict is Verdict.PASSED
    assert result.estimate == pytest.approx(true_share(0.1))
    assert result.interval == pytest.approx((true_share(0.1), true_share(0.1)))
    assert result.details["open"] == 0
    assert result.details["proven"] + result.details["not_held"] == N
    assert result.rule.startswith(f"proven: {result.details['proven']} of {N} samples cannot be broken")


def test_the_gate_fails_on_what_is_broken() -> None:
    with pytest.raises(ClaimFailed) as failed:
        assert_certified_accuracy(Threshold(), data(), Linf(0.2), at_least=0.9)
    assert not isinstance(failed.value, ClaimInconclusive)


def test_what_is_neither_proven_nor_broken_is_inconclusive() -> None:
    """Bounds have no rule for rounding, and the attack finds nothing: the claim is true, and may not pass."""
    result = measure_certified_accuracy(Masked(), data(), Linf(0.004), at_least=0.9)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.rule.startswith("open: 0 of ")
    assert "no bound: unsupported operator round" in result.words.notes
    with pytest.raises(ClaimInconclusive):
        assert_certified_accuracy(Masked(), data(), Linf(0.004), at_least=0.9)


def test_no_attack_however_weak_passes_it() -> None:
    class Steep(Threshold):
        """Twenty ReLUs whose lines lie far apart: bounds prove nothing of most samples; FGSM breaks few."""

        def __init__(self) -> None:
            super().__init__()
            self.noise = nn.Linear(4, 200)
            with torch.no_grad():
                self.noise.weight.copy_(torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) * 20)
                self.noise.bias.copy_(-self.noise.weight.sum(1) / 2)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(self.noise(x)) - torch.relu(-self.noise(x)) - self.noise(x)  # zero, whatever x is
            return super().forward(x) + h.sum(1, keepdim=True) * torch.tensor([0.01, 0.0])

    result = measure_certified_accuracy(Steep(), data(), Linf(0.1), at_least=0.6, attack="fgsm")
    assert result.verdict is not Verdict.PASSED
    assert result.details["open"] > 0


def test_proofs_pass_a_claim_on_robust_accuracy_that_health_checks_would_stop() -> None:
    """Of a plateau the gradient is zero, so a search of it vouches for nothing; that nothing changes it is proven."""

    class Plateau(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Linear(4, 1), nn.Linear(1, 1), nn.Linear(1, 2)
            with torch.no_grad():
                for layer, weight, bias in ((self.first, -20.0, 9.0), (self.second, -1.0, 1.0)):
                    layer.weight.zero_()
                    layer.weight[:, 0] = weight
                    layer.bias.fill_(bias)
                self.last.weight.copy_(torch.tensor([[-1.0], [1.0]]))
                self.last.bias.copy_(torch.tensor([0.5, -0.5]))

        def forward(self, x: Tensor) -> Tensor:
            """Return class 1 where the first feature is above .45, class 0 below .4, and both are flat."""
            below = torch.relu(self.first(x))
            above = torch.relu(self.second(below))
            logits: Tensor = self.last(above)
            return logits

    x, y = data()
    x[:, 0] = torch.where(y == 1, 0.8, 0.2)
    alone = measure_robust_accuracy(Plateau(), (x, y), Linf(0.1), at_least=0.9, attack="pgd")
    assert alone.verdict is Verdict.INCONCLUSIVE
    assert "zero_gradient" in alone.rule
    certified = measure_robust_accuracy(Plateau(), (x, y), Linf(0.1), at_least=0.9, attack="pgd", certify="auto")
    assert certified.verdict is Verdict.PASSED
    assert "cannot be broken" in certified.rule


def test_robust_accuracy_shows_both_ends() -> None:
    result = measure_robust_accuracy(Threshold(), data(), Linf(0.1), at_least=0.5, certify="linear", exact=True)
    plain = measure_robust_accuracy(Threshold(), data(), Linf(0.1), at_least=0.5, exact=True)
    assert result.estimate == plain.estimate
    assert result.interval == pytest.approx((true_share(0.1), plain.estimate))
    assert plain.interval[0] == 0.0
    assert (plain.numbers.bounds, result.numbers.bounds) == ("above", "")


def test_a_wrong_sample_is_never_proven() -> None:
    x, y = data()
    result = measure_certified_accuracy(Threshold(), (x, 1 - y), Linf(0.01), at_least=0.1)
    assert result.verdict is Verdict.FAILED


def test_samples_both_proven_and_broken_are_an_error_that_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def everything(network: Any, ball: Any, y: Tensor, classes: int) -> Proof:
        return Proof(proven=torch.ones(len(y), dtype=torch.bool), margin=torch.ones(len(y)))

    monkeypatch.setattr(proving, "prove", everything)
    with pytest.raises(ModelError, match=r"both proven and broken but sample \d+ is"):
        measure_certified_accuracy(Threshold(), data(), Linf(0.1), at_least=0.5)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_verdict_and_outcomes_are_the_same_for_any_batch_size(size: int) -> None:
    whole = measure_certified_accuracy(Threshold(), data(), Linf(0.1), at_least=0.5, cache=False)
    parts = measure_certified_accuracy(Threshold(), data(), Linf(0.1), at_least=0.5, cache=False, batch_size=size)
    assert (parts.verdict, parts.rule, parts.interval, parts.details["proven"]) == (
        whole.verdict,
        whole.rule,
        whole.interval,
        whole.details["proven"],
    )


def test_preprocessing_is_part_of_what_is_bounded() -> None:
    x, y = data()
    statistics = ([0.5] * 4, [0.1] * 4)
    model = nn.Sequential(nn.Linear(4, 2, bias=False), nn.ReLU())
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[:, 0] = torch.tensor([-1.0, 1.0])
    for given in (statistics, lambda x: (x - 0.5) / 0.1):
        result = measure_certified_accuracy(model, (x, y), Linf(0.1), at_least=0.5, exact=True, preprocessing=given)
        assert result.estimate == pytest.approx(true_share(0.1))


def test_a_population_needs_its_bound_above_the_threshold() -> None:
    share = true_share(0.1)
    barely = measure_certified_accuracy(Threshold(), data(), Linf(0.1), at_least=share, scope="population")
    assert barely.verdict is Verdict.INCONCLUSIVE
    clear = measure_certified_accuracy(Threshold(), data(), Linf(0.1), at_least=share - 0.16, scope="population")
    assert clear.verdict is Verdict.PASSED
    assert clear.interval[0] >= share - 0.16


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"threat": Patch(2, 2)}, "Linf, L2, L1 or Columns"),
        ({"at_least": 0}, "at_least"),
        ({"at_least": 1.5}, "at_least"),
    ],
)
def test_misuse_is_named(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        assert_certified_accuracy(Threshold(), data(), **{"threat": Linf(0.1), "at_least": 0.5, **more})


def test_an_unknown_way_to_certify_is_named() -> None:
    with pytest.raises(ConfigError, match="certify to be one of auto, linear"):
        assert_robust_accuracy(Threshold(), data(), Linf(0.1), at_least=0.5, certify="crown")


def test_a_callable_that_is_no_module_goes_on_by_attack() -> None:
    net = Threshold()
    result = measure_robust_accuracy(net.forward, data(), Linf(0.1), at_least=0.6, certify="auto")
    assert result.verdict is Verdict.PASSED
    assert any(note.startswith("no bound:") for note in result.words.notes)


@pytest.mark.parametrize(
    ("at_least", "verdict"), [(None, Verdict.PASSED), (0.6, Verdict.PASSED), (0.9, Verdict.FAILED)], ids=str
)
def test_beside_another_model_the_threshold_counts_where_there_is_one(at_least: float | None, verdict: Verdict) -> None:
    """Two thirds are proven, of this model and of the other, whose scores are twice as large."""
    other = Threshold()
    other.last.weight.data *= 2
    result = measure_certified_accuracy(Threshold(), data(), Linf(0.1), at_least=at_least, no_worse_than=other)
    assert result.verdict is verdict
