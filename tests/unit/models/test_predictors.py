"""Models that are functions of arrays: what they may answer, what can be measured of them, what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import L0, L2, ConfigError, Linf, ModelError, as_classifier, labels_model, scores_model
from robustest.attacks import PGD, Cascade, HopSkipJump, Needs, Square, Stage
from robustest.attacks.protocol import affordable
from robustest.cues import PixelPatch
from robustest.measure import (
    measure_accuracy,
    measure_no_spurious_feature,
    measure_robust_accuracy,
    measure_shift_accuracy,
)
from robustest.tasks import Segmentation

Array = NDArray[Any]


@pytest.fixture
def scores(toy: Any) -> Callable[[Array], Array]:
    """The toy's model as a function of arrays."""
    weight, bias = (value.detach().numpy() for value in toy.model.parameters())
    return lambda x: x.reshape(len(x), -1).astype(np.float64) @ weight.T + bias


class Counted:
    """A function that keeps count of the rows it is given."""

    def __init__(self, fn: Callable[[Array], Array]) -> None:
        self.fn = fn
        self.rows = 0

    def __call__(self, x: Array) -> Array:
        self.rows += len(x)
        return self.fn(x)


def test_what_each_gives_is_declared(scores: Any) -> None:
    assert scores_model(scores).gives is Needs.SCORES
    assert labels_model(scores, classes=3).gives is Needs.LABELS
    assert scores_model(scores, bounds=(-1, 1)).bounds == (-1.0, 1.0)
    assert scores_model(scores).max_queries is None
    assert scores_model(scores, max_queries=7).max_queries == 7


def test_functions_get_float32_arrays_and_give_float32_tensors(toy: Any, scores: Any) -> None:
    given: list[Array] = []

    def fn(x: Array) -> Array:
        given.append(x)
        return scores(x)

    logits = scores_model(fn)(toy.x.double())
    assert given[0].dtype == np.float32
    assert given[0].shape == (40, 1, 6, 6)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, torch.from_numpy(scores(toy.x.numpy())).float())
    answer = labels_model(lambda x: fn(x).argmax(1), classes=3)(toy.x)
    assert torch.equal(answer.argmax(1), toy.y)
    assert answer.shape == (40, 3)


@pytest.mark.parametrize("answer", [lambda z: z.tolist(), torch.from_numpy, lambda z: z.astype(np.float16)])
def test_lists_tensors_and_other_floats_will_do(toy: Any, scores: Any, answer: Any) -> None:
    logits = scores_model(lambda x: answer(scores(x)))(toy.x)
    assert torch.allclose(logits, torch.from_numpy(scores(toy.x.numpy())).float(), atol=0.02)


def test_scores_at_each_place_keep_their_shape_and_their_winners(toy: Any) -> None:
    # In float32 both scores are 1, and the second is larger: the winner of each place survives the rounding.
    close = np.stack([np.full((40, 6, 6), 1.0), np.full((40, 6, 6), 1 + 1e-12)], axis=1)
    logits = scores_model(lambda x: close[: len(x)])(toy.x)
    assert logits.shape == (40, 2, 6, 6)
    assert torch.all(logits.argmax(1) == 1)


def test_scores_at_each_place_are_no_classifier(toy: Any) -> None:
    model = scores_model(lambda x: np.concatenate([x, 1 - x], axis=1))
    labels = (toy.x[:, 0] < 0.5).long()
    assert measure_accuracy(model, (toy.x, labels), task=Segmentation(2)).estimate == 1
    with pytest.raises(ModelError, match="logits"):
        measure_accuracy(model, (toy.x, toy.y))


def test_a_function_may_write_on_its_array(toy: Any, scores: Any) -> None:
    def careless(x: Array) -> Array:
        out = scores(x)
        x -= 5
        return out

    before = toy.x.clone()
    result = measure_robust_accuracy(scores_model(careless), (toy.x, toy.y), Linf(0.0), attack=Square(queries=3))
    assert result.estimate == 1
    assert torch.equal(toy.x, before)


def test_scores_that_only_float64_tells_apart_keep_their_order() -> None:
    near = np.array([[0.5, 0.5 + 1e-12, 0.1], [0.5 + 1e-12, 0.5, 0.1], [1.0, 2.0, 3.0], [1e-12, 0.0, 2e-12]])
    assert scores_model(lambda _: near)(torch.zeros(4, 2)).argmax(1).tolist() == [1, 0, 2, 2]


BAD_SCORES = {
    "one axis": lambda x: np.zeros(len(x)),
    "three axes": lambda x: np.zeros((len(x), 3, 1)),
    "one column": lambda x: np.zeros((len(x), 1)),
    "too few rows": lambda x: np.zeros((len(x) - 1, 3)),
    "complex": lambda x: np.zeros((len(x), 3), dtype=complex),
    "text": lambda x: np.full((len(x), 3), "a"),
    "ragged": lambda x: [[0.0] * (1 + i % 2) for i in range(len(x))],
    "None": lambda _: None,
    "NaN": lambda x: np.full((len(x), 3), math.nan),
    "infinite": lambda x: np.full((len(x), 3), math.inf),
    "beyond float32": lambda x: np.full((len(x), 3), 1e300),
    "other classes later": lambda x: np.zeros((len(x), 3 if len(x) == 8 else 4)),
}


@pytest.mark.parametrize("fn", BAD_SCORES.values(), ids=BAD_SCORES)
def test_scores_that_cannot_be_judged_are_a_model_error(toy: Any, fn: Any) -> None:
    with pytest.raises(ModelError, match=r"[Ee]xpected"):
        measure_robust_accuracy(scores_model(fn), (toy.x, toy.y), Linf(0.1), attack=Square(queries=10))


BAD_LABELS = {
    "floats": lambda x: np.zeros(len(x)),
    "booleans": lambda x: np.zeros(len(x), dtype=bool),
    "a column": lambda x: np.zeros((len(x), 1), dtype=int),
    "too few": lambda x: np.zeros(len(x) - 1, dtype=int),
    "too large": lambda x: np.full(len(x), 3),
    "negative": lambda x: np.full(len(x), -1),
    "None": lambda _: None,
}


@pytest.mark.parametrize("fn", BAD_LABELS.values(), ids=BAD_LABELS)
def test_labels_that_cannot_be_judged_are_a_model_error(toy: Any, fn: Any) -> None:
    with pytest.raises(ModelError, match=r"Expected .*labels"):
        measure_robust_accuracy(labels_model(fn, classes=3), (toy.x, toy.y), Linf(0.1), attack=HopSkipJump(queries=10))


def test_an_exception_in_the_function_is_a_model_error_that_names_it(toy: Any) -> None:
    def fn(x: Array) -> Array:
        raise KeyError("no such weight")

    with pytest.raises(ModelError, match=r"KeyError.*no such weight"):
        measure_shift_accuracy(scores_model(fn), (toy.x, toy.y), "brightness")


BAD_ARGUMENTS: dict[str, Callable[[], Any]] = {
    "a function": lambda: scores_model(3),  # type: ignore[arg-type]
    "bounds": lambda: scores_model(len, bounds=(1, 0)),
    "max_queries": lambda: scores_model(len, max_queries=0),
    "max_queries ": lambda: labels_model(len, classes=3, max_queries=True),
    "classes": lambda: labels_model(len, classes=1),
    "classes ": lambda: labels_model(len, classes=2.0),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("what", "make"), BAD_ARGUMENTS.items(), ids=BAD_ARGUMENTS)
def test_arguments_out_of_range_are_refused(what: str, make: Callable[[], Any]) -> None:
    with pytest.raises(ConfigError, match=what.strip()):
        make()


@pytest.mark.parametrize("attack", ["pgd", "fgsm"])
def test_a_gradient_attack_on_scores_says_what_it_needs_and_what_would_do(toy: Any, scores: Any, attack: str) -> None:
    with pytest.raises(ConfigError, match=rf"gives scores but '{attack}' needs gradient.*'square'"):
        measure_robust_accuracy(scores_model(scores), (toy.x, toy.y), Linf(0.1), attack=attack)


def test_a_score_attack_on_labels_says_what_it_needs_and_what_would_do(toy: Any, scores: Any) -> None:
    model = labels_model(lambda x: scores(x).argmax(1), classes=3)
    with pytest.raises(ConfigError, match=r"gives labels but 'square' needs scores.*'hop-skip-jump'"):
        measure_robust_accuracy(model, (toy.x, toy.y), Linf(0.1), attack="square")


def test_an_attack_on_a_threat_it_does_not_know_says_so(toy: Any, scores: Any) -> None:
    with pytest.raises(ConfigError, match=r"works on L0\(pixels=1\) but 'square' does not"):
        measure_robust_accuracy(scores_model(scores), (toy.x, toy.y), L0(1), attack="square")


@pytest.mark.parametrize("kind", ["scores", "labels"])
def test_every_measurement_works_and_counts_queries(toy: Any, scores: Any, kind: str) -> None:
    fn = Counted(scores if kind == "scores" else lambda x: scores(x).argmax(1))
    model = scores_model(fn) if kind == "scores" else labels_model(fn, classes=3)
    attack = Square(queries=100) if kind == "scores" else HopSkipJump(queries=100)
    data = (toy.x, toy.y)
    attacked = measure_robust_accuracy(model, data, L2(1.0), attack=attack)
    assert attacked.estimate < 1
    assert (attacked.cost.forward, attacked.cost.backward) == (fn.rows, 0)
    fn.rows = 0
    plain = measure_shift_accuracy(toy.model, data, "brightness")
    shifted = measure_shift_accuracy(model, data, "brightness")
    assert shifted.outcomes == plain.outcomes
    assert (shifted.cost.forward, shifted.cost.backward) == (fn.rows, 0)
    fn.rows = 0
    cue = PixelPatch(top=0, left=0, height=3, width=3)
    plain, switched = (measure_no_spurious_feature(m, data, cue) for m in (toy.model, model))
    assert switched.outcomes == plain.outcomes
    assert (switched.cost.forward, switched.cost.backward) == (fn.rows, 0)


def test_a_cascade_runs_what_the_model_can_serve_and_says_what_not(toy: Any, scores: Any) -> None:
    stages = (Stage(searcher=PGD(steps=5)), Stage(searcher=Square(queries=50)))
    attack = Cascade(name="mixed", stages=stages)
    result = measure_robust_accuracy(scores_model(scores), (toy.x, toy.y), Linf(0.1), attack=attack)
    assert set(result.details["stages"]) == {"square"}
    assert "the model gives scores only; mixed ran without pgd" in result.words.notes


def preprocessed(x: Tensor) -> Tensor:
    return 1 - x


def test_preprocessing_comes_before_the_function(toy: Any, scores: Any) -> None:
    model = as_classifier(scores_model(scores), preprocessing=preprocessed)
    assert torch.equal(model(1 - toy.x).argmax(1), toy.y)
    assert model.gives is Needs.SCORES


ROBUST = 0.0
"""A radius at which every sample holds, so that attacks spend all they may."""


@pytest.mark.thinned
@pytest.mark.parametrize("limit", [6, 7, 8, 30, 107, 1000])
@pytest.mark.parametrize("labels", [False, True])
def test_no_sample_costs_more_than_its_budget(toy: Any, scores: Any, limit: int, labels: bool) -> None:
    fn = Counted(lambda x: scores(x).argmax(1) if labels else scores(x))
    model = labels_model(fn, classes=3, max_queries=limit) if labels else scores_model(fn, max_queries=limit)
    attack = Cascade(
        name="both",
        stages=(
            Stage(searcher=Square(queries=20), rounds=2),
            Stage(searcher=HopSkipJump(queries=50)),
            Stage(searcher=HopSkipJump(queries=500)),
        ),
    )
    data = (toy.x[:1], toy.y[:1])
    if limit < 7:
        with pytest.raises(ConfigError, match=f"max_queries.*{limit}"):
            measure_robust_accuracy(model, data, Linf(ROBUST), attack=attack)
        return
    result = measure_robust_accuracy(model, data, Linf(ROBUST), attack=attack)
    assert result.estimate == 1
    assert fn.rows <= limit
    assert any(f"max_queries={limit} cut the attack" in note for note in result.words.notes) == (limit < 1000)
    wide = measure_robust_accuracy(model, (toy.x[:1], toy.y[:1]), L2(2.0), attack=attack)
    assert wide.cost.forward <= limit


def test_a_budget_is_named_with_what_it_cut(toy: Any, scores: Any) -> None:
    model = scores_model(scores, max_queries=106)
    result = measure_robust_accuracy(model, (toy.x, toy.y), Linf(0.01), attack="square")
    assert "max_queries=106 cut the attack from 1 x square of 1000 to 1 x square of 100" in result.words.notes


def test_budgets_repeat_less_then_shorten_then_leave_out() -> None:
    short, long = Stage(searcher=Square(queries=9), rounds=4), Stage(searcher=HopSkipJump(queries=99))
    stages = (short, long)
    assert affordable(stages, 140) == stages
    assert affordable(stages, 139) == (short, Stage(searcher=HopSkipJump(queries=98)))
    assert affordable(stages, 40) == (short,)
    assert affordable(stages, 35) == (
        Stage(searcher=Square(queries=9), rounds=3),
        Stage(searcher=HopSkipJump(queries=4)),
    )
    assert affordable(stages, 5) == (Stage(searcher=Square(queries=4)),)
    assert affordable(stages, 1) == ()


def test_what_cannot_be_shortened_is_left_out() -> None:
    assert affordable((Stage(searcher=PGD(steps=40)), Stage(searcher=Square(queries=9))), 20) == (
        Stage(searcher=Square(queries=9)),
    )
