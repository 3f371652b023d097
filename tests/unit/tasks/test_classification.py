"""Classification: what it takes for labels and logits, and that margin, losses and predictions agree with `holds`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from robustest.attacks import Problem
from robustest.errors import DataError, ModelError
from robustest.tasks import CLASSIFICATION, Classification, Task
from robustest.threats import Linf

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)
NEAR = st.sampled_from([-1.0, 0.0, 1.0])  # ties, often


@st.composite
def answers(draw: st.DrawFn, *, lanes: bool = False) -> tuple[Tensor, Tensor]:
    """Logits (B, K), or (B, A, K), and labels (B,)."""
    rows, classes = draw(st.integers(1, 5)), draw(st.integers(2, 6))
    shape = (rows, draw(st.integers(1, 3)), classes) if lanes else (rows, classes)
    logits = draw(arrays.arrays(np.float32, shape, elements=draw(st.sampled_from([FLOATS, NEAR]))))
    y = draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    return torch.from_numpy(logits), torch.tensor(y)


def test_it_is_a_task_and_a_value() -> None:
    assert isinstance(CLASSIFICATION, Task)
    assert Classification() == CLASSIFICATION
    assert hash(Classification()) == hash(CLASSIFICATION)


def test_a_problem_is_of_classes_unless_it_says_otherwise() -> None:
    x = torch.rand(2, 3)
    problem = Problem(Linf(0.1), Linf(0.1).region(x, (0.0, 1.0)), torch.tensor([0, 1]), 2, (0.0, 1.0))
    assert problem.task == CLASSIFICATION


@given(answers())
def test_the_margin_is_positive_where_the_answer_holds_and_zero_only_at_ties(case: tuple[Tensor, Tensor]) -> None:
    logits, y = case
    margin, holds = CLASSIFICATION.margin(logits, y), CLASSIFICATION.holds(logits, y)
    assert margin.shape == holds.shape == y.shape
    assert holds.dtype == torch.bool
    tied = (logits == logits.amax(1, keepdim=True)).sum(1) > 1
    own_ties = tied & (logits.gather(1, y.unsqueeze(1)).squeeze(1) == logits.amax(1))
    assert torch.equal(margin == 0, own_ties)
    assert torch.equal((margin > 0)[~own_ties], holds[~own_ties])
    assert torch.equal((margin < 0)[~own_ties], ~holds[~own_ties])


@given(answers())
def test_it_holds_where_the_label_is_predicted(case: tuple[Tensor, Tensor]) -> None:
    logits, y = case
    predicted = CLASSIFICATION.predictions(logits)
    assert torch.equal(CLASSIFICATION.holds(logits, y), predicted == y)
    largest = [row.index(max(row)) for row in logits.tolist()]  # the first of those that tie
    assert predicted.tolist() == largest


@given(answers(lanes=True))
def test_several_answers_a_row_are_judged_as_each_is(case: tuple[Tensor, Tensor]) -> None:
    logits, y = case
    for judge in (CLASSIFICATION.holds, CLASSIFICATION.margin, CLASSIFICATION.losses["margin"]):
        each = [judge(logits[:, lane], y) for lane in range(logits.shape[1])]
        assert torch.equal(judge(logits, y), torch.stack(each, 1))


@given(answers(), st.sampled_from(["ce", "log_odds", "margin"]))
def test_a_step_up_a_loss_brings_the_margin_down(case: tuple[Tensor, Tensor], name: str) -> None:
    logits, y = case[0].double().clamp(-3, 3), case[1]
    leaf = logits.clone().requires_grad_(True)
    value = CLASSIFICATION.losses[name](leaf, y)
    assert value.shape == y.shape
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    at = y.unsqueeze(1)
    assert bool((gradient.gather(1, at) < 0).all())
    before, after = CLASSIFICATION.margin(logits, y), CLASSIFICATION.margin(logits + 1e-4 * gradient, y)
    assert bool((after < before).all())


@given(answers())
def test_the_loss_named_margin_is_the_margin_negated(case: tuple[Tensor, Tensor]) -> None:
    logits, y = case
    assert torch.equal(CLASSIFICATION.losses["margin"](logits, y), -CLASSIFICATION.margin(logits, y))


@pytest.mark.parametrize("given", [[1, 0, 2], (1, 0, 2), np.array([1, 0, 2], np.uint8), torch.tensor([1, 0, 2])])
def test_labels_are_read_as_whole_numbers(given: Any) -> None:
    y = CLASSIFICATION.targets(given)
    assert y.dtype == torch.int64
    assert y.tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.tensor([0.0, 1.0]), "integer class labels but got torch.float32"),
        (np.array([True, False]), "integer class labels but got torch.bool"),
        (torch.tensor([1 + 2j]), "integer class labels but got torch.complex64"),
        (torch.tensor([[0, 1]]), r"labels of shape \(N,\)"),
        (torch.tensor(3), r"labels of shape \(N,\)"),
        (["cat", "dog"], "labels as integers"),
        (None, "labels as integers"),
    ],
)
def test_what_is_no_label_is_refused(given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        CLASSIFICATION.targets(given)


@pytest.mark.parametrize("y", [[0, 3], [-1, 0]])
def test_labels_that_the_model_has_no_class_for_are_refused(y: list[int]) -> None:
    CLASSIFICATION.check_targets(torch.tensor([0, 2]), 3)
    with pytest.raises(DataError, match=r"labels in 0\.\.2, the model's 3 classes"):
        CLASSIFICATION.check_targets(torch.tensor(y), 3)


@pytest.mark.parametrize(("shape", "width"), [((4,), 0), ((4, 1), 0), ((3, 5), 0), ((4, 5), 6), ((4, 5, 2), 0)])
def test_outputs_that_are_no_logits_are_refused(shape: tuple[int, ...], width: int) -> None:
    assert CLASSIFICATION.check_output(torch.zeros(4, 5), 4, 0) == 5
    assert CLASSIFICATION.check_output(torch.zeros(4, 5), 4, 5) == 5
    with pytest.raises(ModelError, match="Expected logits of shape"):
        CLASSIFICATION.check_output(torch.zeros(shape), 4, width)


def test_a_counterexample_says_its_classes_as_plain_numbers() -> None:
    said = CLASSIFICATION.describe(torch.tensor(3), torch.tensor(3), torch.tensor(1))
    assert said == {"label": 3, "clean": 3, "predicted": 1}
    assert all(type(value) is int for value in said.values())
