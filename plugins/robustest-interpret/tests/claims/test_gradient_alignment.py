"""Where gradients point: closed forms on linear models, references, masks, and gradients that vanish."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from robustest_interpret import assert_gradient_alignment, measure_gradient_alignment
from torch import Tensor, nn

from robustest import ClaimFailed, ConfigError, DataError, Result, Verdict
from robustest.context import Context, running

N = 240
Y = torch.arange(N) % 3
X = 0.2 * torch.rand(N, 1, 4, 4, generator=torch.Generator().manual_seed(0))
X[torch.arange(N), 0, 0, Y] += 0.7


class Linear(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


def ideal() -> Linear:
    """Its weights are the class means."""
    return Linear(torch.stack([X[k == Y].mean(0) for k in range(3)])).eval()


def random() -> Linear:
    return Linear(torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(3))).eval()


def test_a_model_whose_weights_are_the_class_means_is_aligned() -> None:
    result = measure_gradient_alignment(ideal(), (X, Y), at_least=0.99)
    assert result.verdict is Verdict.PASSED
    assert result.details["alignment"] > 0.99
    assert result.outcomes.count(None) == N // 2  # the means are of the other half


def test_on_linear_models_it_is_the_cosine_of_weights_and_means() -> None:
    model = random()
    result = measure_gradient_alignment(model, (X, Y))
    judged = torch.tensor([i for i, held in enumerate(result.outcomes) if held is not None])
    rest = torch.tensor([i for i, held in enumerate(result.outcomes) if held is None])
    means = torch.stack([X[rest][Y[rest] == k].mean(0).flatten() for k in range(3)])
    weight = model.weight.detach()
    other = (X[judged].flatten(1) @ weight.T).scatter(1, Y[judged, None], -torch.inf).argmax(1)
    apart = weight[Y[judged]] - weight[other]
    cosines = torch.cosine_similarity(apart, means[Y[judged]] - means[other])
    assert result.estimate == pytest.approx(float(cosines.mean()), abs=1e-6)
    flat = X[judged].flatten(1)
    assert result.details["input_alignment"] == pytest.approx(
        float(torch.cosine_similarity(flat, apart).abs().mean()), abs=1e-6
    )
    assert result.interval[0] < float(result.estimate or 0) < result.interval[1]


def test_a_gain_is_claimed_sample_by_sample() -> None:
    better = measure_gradient_alignment(ideal(), (X, Y), reference=random(), min_gain=0.5)
    assert better.verdict is Verdict.PASSED
    worse = measure_gradient_alignment(random(), (X, Y), reference=ideal(), min_gain=0.0, exact=True)
    assert worse.verdict is Verdict.FAILED
    assert worse.estimate == pytest.approx(worse.details["alignment"] - worse.details["reference_alignment"])
    assert worse.interval[1] < 0
    assert (
        worse.cost.backward == N + 8 * 7 + 4 * 5 + 8 * 7
    )  # half of the samples, two models; and a few: are they true?
    assert worse.counterexamples


def test_a_mean_is_claimed_over_the_population_too() -> None:
    result = measure_gradient_alignment(random(), (X, Y), at_least=0.9, scope="population")
    assert result.verdict is Verdict.FAILED
    assert result.interval[1] < 0.9


def test_with_masks_it_is_the_share_inside() -> None:
    weight = torch.zeros(3, 1, 4, 4)
    weight[:, 0, 0] = torch.eye(3, 4)
    mask = torch.zeros(N, 1, 4, 4)
    mask[:, :, 0] = 1
    inside = measure_gradient_alignment(Linear(weight).eval(), (X, Y), evidence=mask, at_least=1.0)
    assert inside.verdict is Verdict.PASSED
    assert inside.details["by_chance"] == pytest.approx(0.25)
    assert inside.numbers.n_total == N == len(inside.outcomes)
    outside = measure_gradient_alignment(Linear(weight).eval(), (X, Y), evidence=1 - mask, at_least=0.1, exact=True)
    assert (outside.verdict, outside.estimate) == (Verdict.FAILED, 0.0)


def test_gradients_that_vanish_count_as_the_worst() -> None:
    class Dead(Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (x.flatten(1)[:, :1] > 0.5)  # flat on two of the three classes

    result = measure_gradient_alignment(Dead(ideal().weight.detach()).eval(), (X, Y), at_least=0.5, exact=True)
    assert result.verdict is Verdict.FAILED
    assert result.details["vanished"] > N // 4
    assert [note for note in result.words.notes if "vanishes" in note]
    flat = Dead(ideal().weight.detach()).eval()
    gain = measure_gradient_alignment(ideal(), (X, Y), reference=flat, min_gain=0.1, exact=True)
    assert gain.verdict is Verdict.FAILED  # what is not known of the reference is no gain


def test_without_a_threshold_nothing_is_claimed() -> None:
    context = Context(test="t")
    with running(context):
        result = assert_gradient_alignment(random(), (X, Y))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert context.results == [result]
    with pytest.raises(ClaimFailed, match=r"< 0\.90: gradient alignment"):
        assert_gradient_alignment(random(), (X, Y), at_least=0.9)


def test_results_are_plain() -> None:
    result = measure_gradient_alignment(random(), (X, Y), reference=ideal())
    assert Result.from_dict(result.to_dict()) == result


@pytest.mark.parametrize(
    "options",
    [
        {"at_least": 0.1, "min_gain": 0.1, "reference": ideal()},
        {"at_least": 1.1},
        {"min_gain": 0.1},
        {"min_gain": 2.1, "reference": ideal()},
        {"reference": "means"},
        {"min_per_class": 0},
        {"reference": "model.onnx"},
    ],
    ids=str,
)
def test_settings_are_in_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        measure_gradient_alignment(random(), (X, Y), **options)


def test_a_model_is_no_reference_of_itself() -> None:
    model = random()
    with pytest.raises(ConfigError, match="reference= to be another model"):
        measure_gradient_alignment(model, (X, Y), reference=model, min_gain=0.0)


def test_data_that_give_no_means_or_masks_are_refused() -> None:
    with pytest.raises(DataError, match="5 samples or more of each"):
        measure_gradient_alignment(random(), (X[:12], Y[:12]))
    with pytest.raises(DataError, match="of two classes or more"):
        measure_gradient_alignment(random(), (X[Y == 1], Y[Y == 1]))
    with pytest.raises(DataError, match="masks to be"):
        measure_gradient_alignment(random(), (X, Y), evidence=torch.ones(3, 1, 4, 4))
    with pytest.raises(DataError, match=r"values in 0\.\.1"):
        measure_gradient_alignment(random(), (X, Y), evidence=2 * torch.ones(N, 1, 4, 4))
