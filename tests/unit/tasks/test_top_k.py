"""Top-k: answers by enumeration, attacks against the exact robust accuracy of a linear model, doubted greens."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import linprog
from torch import Tensor

from robustest import (
    L2,
    Classification,
    ConfigError,
    Linf,
    ModelError,
    TopK,
    Verdict,
    assert_accuracy,
    assert_robust_accuracy,
    scores_model,
)
from robustest.attacks.fab import to_hyperplane
from robustest.cues import PixelPatch
from robustest.measure import (
    measure_accuracy,
    measure_consistency,
    measure_min_perturbation,
    measure_no_spurious_feature,
    measure_no_universal_perturbation,
    measure_robust_accuracy,
    measure_robust_score,
    measure_shift_accuracy,
    measure_worst_group_accuracy,
)
from robustest.tasks import OwnForm, Ranked, Task, as_targets, checked_task, top_of

NEAR = st.sampled_from([-1.0, 0.0, 1.0])  # ties, often


@st.composite
def answers(draw: st.DrawFn) -> tuple[Tensor, Tensor, int]:
    """Logits (B, K), labels (B,) and k < K."""
    rows, classes = draw(st.integers(1, 5)), draw(st.integers(3, 6))
    logits = draw(arrays.arrays(np.float32, (rows, classes), elements=NEAR | st.floats(-9, 9, width=32)))
    y = draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    return torch.from_numpy(logits), torch.tensor(y), draw(st.integers(1, classes - 1))


@given(answers())
def test_it_holds_where_the_label_is_among_the_first_k_in_order(case: tuple[Tensor, Tensor, int]) -> None:
    logits, y, k = case
    task = TopK(k)
    order = [sorted(range(len(row)), key=lambda c, row=row: (-row[c], c))[:k] for row in logits.tolist()]  # type: ignore[misc]
    assert task.predictions(logits).tolist() == order
    among = [label in row for label, row in zip(y.tolist(), order, strict=True)]
    assert task.holds(logits, y).tolist() == task.right(task.predictions(logits), y).tolist() == among
    kth = [sorted(row[:label] + row[label + 1 :])[-k] for row, label in zip(logits.tolist(), y.tolist(), strict=True)]
    margin = task.margin(logits, y)
    torch.testing.assert_close(margin, logits.gather(1, y.unsqueeze(1)).squeeze(1) - torch.tensor(kth))
    assert bool(task.holds(logits, y)[margin > 0].all())
    assert not bool(task.holds(logits, y)[margin < 0].any())


@given(answers())
def test_of_one_class_it_is_classification(case: tuple[Tensor, Tensor, int]) -> None:
    logits, y, _ = case
    one, usual = TopK(1), Classification()
    assert torch.equal(one.holds(logits, y), usual.holds(logits, y))
    assert torch.equal(one.margin(logits, y), usual.margin(logits, y))
    for name in ("ce", "dlr", "margin"):
        torch.testing.assert_close(one.losses[name](logits, y), usual.losses[name](logits, y))


@pytest.mark.parametrize("name", ["ce", "dlr", "log_odds", "margin"])
def test_a_step_up_a_loss_brings_the_margin_down(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, y = torch.randn(40, 6, generator=generator).double(), torch.randint(0, 6, (40,), generator=generator)
    task = TopK(3)
    leaf = logits.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(task.losses[name](leaf, y).sum(), leaf)
    assert bool((task.margin(logits + 1e-4 * slope, y) < task.margin(logits, y)).all())
    several = torch.stack([logits, logits.flip(0)], 1)
    torch.testing.assert_close(task.losses[name](several, y)[:, 1], task.losses[name](logits.flip(0), y))


def test_it_is_a_task_of_ranked_classes() -> None:
    assert isinstance(TopK(5), Task)
    assert isinstance(TopK(5), Ranked)
    assert isinstance(TopK(5), OwnForm)
    assert (top_of(TopK(5)), top_of(Classification())) == (5, 1)
    assert as_targets(TopK(2), torch.tensor([[3, 1], [0, 2]])).tolist() == [3, 0]
    with pytest.raises(ConfigError, match="k"):
        TopK(0)
    with pytest.raises(ConfigError, match=r"task=TopK\(5\)"):
        checked_task("top-k")
    with pytest.raises(ModelError, match="Expected more than k=3 classes but the model has 3"):
        TopK(3).check_output(torch.zeros(2, 3), 2, 0)


WIDE, CLASSES, K = 5, 6, 2


def linear(seed: int = 0, n: int = 60) -> tuple[torch.nn.Linear, Tensor, Tensor]:
    """A linear model and noisy samples away from the bounds."""
    generator = torch.Generator().manual_seed(seed)
    model = torch.nn.Linear(WIDE, CLASSES).eval()
    weight = torch.randn(CLASSES, WIDE, generator=generator)
    with torch.no_grad():
        model.weight.copy_(weight)
        model.bias.copy_(-0.5 * weight.sum(1))
    x = torch.rand(n, WIDE, generator=generator) * 0.5 + 0.25
    y = (model(x).detach() + 0.15 * torch.randn(n, CLASSES, generator=generator)).argmax(1)
    return model, x, y


def worst_leads(model: torch.nn.Linear, x: Tensor, y: Tensor, eps: float) -> np.ndarray[Any, Any]:
    """The largest lead that k other classes can have together over the label in an L-inf ball: by a linear program for
    each set of k.
    """
    w, z = model.weight.detach().double().numpy(), model(x).detach().double().numpy()
    box = [(-eps, eps)] * WIDE + [(None, None)]
    found = []
    for row, label in zip(z, y.tolist(), strict=True):
        leads = []
        for some in itertools.combinations([c for c in range(CLASSES) if c != label], K):
            above = [np.append(w[label] - w[c], 1.0) for c in some]
            solved = linprog(np.eye(WIDE + 1)[-1] * -1, above, [row[c] - row[label] for c in some], bounds=box)
            leads.append(-solved.fun)
        found.append(max(leads))
    return np.array(found)


@pytest.mark.parametrize("eps", [0.05, 0.1])
def test_a_linear_model_is_as_robust_as_linear_programs_say(eps: float) -> None:
    model, x, y = linear()
    leads = worst_leads(model, x, y, eps)
    assert np.abs(leads).min() > 1e-3
    truth = float((leads < 0).mean())
    assert 0.1 < truth < 0.9
    found = measure_robust_accuracy(model, (x, y), Linf(eps), task=TopK(K), attack="standard", exact=True)
    assert found.estimate == pytest.approx(truth)
    quick = measure_robust_accuracy(model, (x, y), Linf(eps), task=TopK(K), exact=True)
    assert truth <= float(quick.estimate or 0) <= truth + 0.05
    assert not [note for note in found.words.notes if "ran without" in note]


def test_claims_end_to_end() -> None:
    model, x, y = linear()
    clean = float(TopK(K).holds(model(x), y).double().mean())
    assert measure_accuracy(model, (x, y), task=TopK(K), exact=True).estimate == pytest.approx(clean)
    assert clean > float((model(x).argmax(1) == y).double().mean())
    found = assert_accuracy(model, (x, y), task=TopK(K), at_least=0.7)
    assert "label among the 2 likeliest" in found.subject.statement
    assert_robust_accuracy(model, (x, y), Linf(0.02), task=TopK(K), at_least=0.6)
    broken = measure_robust_accuracy(model, (x, y), Linf(0.2), task=TopK(K), at_least=0.6)
    assert broken.verdict is Verdict.FAILED
    shown = broken.counterexamples[0]
    assert shown.answer.startswith(f"class {shown.label}; likeliest ")


def test_other_claims_take_it() -> None:
    model, x, y = linear(n=40)
    pictures = x.view(-1, 1, 1, WIDE)
    seen = torch.nn.Sequential(torch.nn.Flatten(), model).eval()
    data: tuple[Tensor, Tensor] = pictures, y
    task = TopK(K)
    assert measure_robust_score(seen, data, Linf(0.05), task=task, at_least=0.1).numbers.n > 0
    assert measure_shift_accuracy(seen, data, "brightness", severity=1, task=task, max_drop=0.9).numbers.n > 0
    moved = measure_consistency(seen, data, lambda x: (x + 0.05).clamp(0, 1), task=task, max_flip_rate=0.9, exact=True)
    first = seen(pictures).argmax(1)
    flips = ~task.holds(seen((pictures + 0.05).clamp(0, 1)), first)
    assert moved.estimate == pytest.approx(float(flips.double().mean()))
    groups = {"even": y % 2 == 0, "odd": y % 2 == 1}
    assert measure_worst_group_accuracy(seen, data, groups, task=task, at_least=0.1).numbers.n > 0
    assert measure_no_universal_perturbation(seen, data, Linf(0.02), task=task, max_fooling_rate=0.9).numbers.n > 0
    assert measure_min_perturbation(seen, data, "linf", task=task).numbers.n > 0
    cue = PixelPatch(top=0, left=0, height=1, width=2)
    assert measure_no_spurious_feature(seen, data, cue, task=task, max_flip_rate=0.9).numbers.n > 0


def test_a_constant_answer_reaches_the_share_of_the_k_commonest_classes() -> None:
    _, x, y = linear()
    share = float(y.bincount().sort().values[-K:].sum() / len(y))

    def says_one_thing(x: Tensor) -> Tensor:
        return torch.arange(float(CLASSES)).expand(len(x), -1)

    model = linear()[0]
    whole = measure_accuracy(model, (x, y), task=TopK(K), exact=True)
    assert whole.details["constant_answer"] == pytest.approx(share)
    refused = measure_accuracy(model, (x, y), task=TopK(K), at_least=0.2)  # above the share of any one class
    assert refused.verdict is Verdict.INCONCLUSIVE
    assert "health:constant_answer" in refused.ruling.reasons
    assert measure_accuracy(model, (x, y), task=TopK(K), at_least=share + 0.05, exact=True).verdict is Verdict.PASSED
    constant = measure_accuracy(says_one_thing, (x, y), task=TopK(K), at_least=0.01)
    assert constant.verdict is Verdict.INCONCLUSIVE


class Behind(torch.nn.Module):
    """The linear model behind a function of its logits."""

    def __init__(self, hides: Any) -> None:
        super().__init__()
        self.model, self.hides = linear()[0], hides

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.hides(self.model(x))
        return hidden


HIDDEN = {
    "saturated": lambda z: (400 * z).softmax(1),
    "rounded": lambda z: z.round(),
    "its k alone": lambda z: torch.zeros_like(z).scatter(1, z.topk(K, 1).indices, 1.0) + 0 * z,
}


@pytest.mark.thinned
@pytest.mark.filterwarnings("ignore:softmax_outputs")
@pytest.mark.parametrize("scores_only", [False, True])
@pytest.mark.parametrize("name", HIDDEN)
def test_a_search_that_scores_mislead_is_not_green(name: str, scores_only: bool) -> None:
    model: Any = Behind(HIDDEN[name])
    if scores_only:
        inner = model
        model = scores_model(lambda a: inner(torch.as_tensor(a)).detach().numpy())
    _, x, y = linear()
    result = measure_robust_accuracy(model, (x, y), Linf(0.2), task=TopK(K), at_least=0.4)  # truth: below .1
    assert result.verdict is not Verdict.PASSED


def test_gradients_too_small_for_float32_make_no_step_of_nan() -> None:
    normal = torch.tensor([[1e-44, 0.0, 1e-45]])
    for threat in (Linf(0.1), L2(0.1)):
        step = to_hyperplane(threat, torch.full((1, 3), 0.5), normal, torch.tensor([1.0]), (0.0, 1.0))
        assert bool(step.isfinite().all())
