"""Claims: recorded in every case, and let through only where they passed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

import robustest
from robustest import (
    ClaimFailed,
    ClaimInconclusive,
    ConfigError,
    Linf,
    ModelError,
    UnknownNameError,
    Verdict,
    assert_no_spurious_feature,
    assert_robust_accuracy,
    assert_shift_accuracy,
)
from robustest.claims import kinds
from robustest.context import Context, running
from robustest.cues import PixelPatch
from robustest.measure import measure_no_spurious_feature, measure_robust_accuracy, measure_shift_accuracy
from robustest.run.measurement import assertion, kind_of

CUE = PixelPatch(top=0, left=0, height=2, width=1)
CLAIMS: dict[str, Callable[..., Any]] = {
    "robust_accuracy": lambda m, d, t, **o: assert_robust_accuracy(m, d, Linf(0.02), at_least=t, attack="fgsm", **o),
    "shift_accuracy": lambda m, d, t, **o: assert_shift_accuracy(m, d, "gaussian_noise", at_least=t, **o),
    "no_spurious_feature": lambda m, d, t, **o: assert_no_spurious_feature(
        m, d, CUE, max_flip_rate=1 - t, max_recall_drop=0.99, **o
    ),
}
every_claim = pytest.mark.parametrize(("name", "claim"), CLAIMS.items(), ids=CLAIMS)


@pytest.fixture
def context() -> Any:
    with running(Context(test="test_model.py::test_it[a b]", rerun="pytest --robust")) as context:
        yield context


def estimate(claim: Callable[..., Any], toy: Any) -> float:
    """The share that holds, of a claim above the .45 that one answer for every sample reaches."""
    result = claim(toy.model, (toy.x, toy.y), 0.5)
    return float(result.outcomes.count(True) / len(result.outcomes))


@every_claim
def test_a_claim_that_holds_returns_its_result(name: str, claim: Callable[..., Any], toy: Any, context: Any) -> None:
    share = estimate(claim, toy)
    assert 0 < share < 1
    context.results.clear()
    result = claim(toy.model, (toy.x, toy.y), share)
    assert result.verdict is Verdict.PASSED
    assert result.subject.kind == name
    assert context.results == [result]


@every_claim
def test_a_claim_that_does_not_hold_raises_with_its_result(
    name: str, claim: Callable[..., Any], toy: Any, context: Any
) -> None:
    share = estimate(claim, toy)
    context.results.clear()
    with pytest.raises(ClaimFailed) as caught:
        claim(toy.model, (toy.x, toy.y), share + 0.02, seed=0)
    result = caught.value.result
    assert type(caught.value) is ClaimFailed
    assert result.verdict is Verdict.FAILED
    assert context.results == [result]
    text = str(caught.value)
    for word in (result.subject.statement, f"{result.estimate:.3f}", "n=40", "worst 1"):
        assert word in text
    assert "replay" not in text  # the run's section says it, once


@every_claim
def test_a_claim_that_is_not_settled_does_not_pass(
    name: str, claim: Callable[..., Any], toy: Any, context: Any
) -> None:
    share = estimate(claim, toy)
    context.results.clear()
    with pytest.raises(ClaimInconclusive) as caught:
        claim(toy.model, (toy.x, toy.y), share, scope="population")
    assert caught.value.result.verdict is Verdict.INCONCLUSIVE
    assert context.results == [caught.value.result]


@every_claim
def test_a_run_that_cannot_measure_is_no_failed_claim(
    name: str, claim: Callable[..., Any], toy: Any, context: Any
) -> None:
    with pytest.raises(ModelError):
        claim(lambda x: toy.model(x) * float("nan"), (toy.x, toy.y), 0.01)
    assert context.results == []


@every_claim
def test_outside_a_test_claims_work_too(name: str, claim: Callable[..., Any], toy: Any) -> None:
    assert claim(toy.model, (toy.x, toy.y), 0.5).subject.kind == name
    with pytest.raises(ClaimFailed) as caught:
        claim(toy.model, (toy.x, toy.y), 1.0)
    assert "replay" not in str(caught.value)


def test_an_assertion_is_its_measurement_with_a_verdict(toy: Any) -> None:
    data = (toy.x, toy.y)
    pairs: list[tuple[Callable[..., Any], Callable[..., Any], Any, dict[str, Any]]] = [
        (assert_robust_accuracy, measure_robust_accuracy, Linf(0.02), {"at_least": 0.5, "attack": "fgsm"}),
        (assert_shift_accuracy, measure_shift_accuracy, "rotation", {"severity": 1, "max_drop": 0.5}),
        (assert_no_spurious_feature, measure_no_spurious_feature, CUE, {"max_flip_rate": 0.99, "target_class": 1}),
    ]
    for claim, measure, subject, options in pairs:
        first, second = (f(toy.model, data, subject, seed=3, **options).to_dict() for f in (claim, measure))
        assert {**first, "cost": None} == {**second, "cost": None}


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (lambda m, d: assert_shift_accuracy(m, d, "rotation"), "at_least=, max_drop= or no_worse_than= but got none"),
        (
            lambda m, d: assert_no_spurious_feature(m, d, CUE),
            "max_flip_rate=, max_recall_drop= or no_worse_than= but got none",
        ),
        (lambda m, d: assert_robust_accuracy(m, d, Linf(0.1), at_least=None), "at_least"),
    ],
    ids=["shift", "cue", "attack"],
)
def test_there_must_be_something_to_claim(claim: Callable[..., Any], words: str, toy: Any) -> None:
    with pytest.raises(ConfigError, match=words):
        claim(toy.model, (toy.x, toy.y))


@pytest.mark.parametrize("assertion", [name for name in robustest.__all__ if name.startswith("assert_")])
def test_an_assertion_has_the_signature_of_its_measurement_and_says_what_it_claims(assertion: str) -> None:
    claim = getattr(robustest, assertion)
    kind = next(kind for kind in kinds().values() if kind.assertion == assertion)
    parameters = inspect.signature(claim).parameters
    assert (claim.__name__, claim.__module__.partition(".")[0]) == (assertion, "robustest")
    assert {*kind.thresholds, "options"} <= set(parameters)
    assert claim.__doc__.startswith("Claim that ")
    measure = getattr(robustest.measure, claim.__doc__.partition("those of `")[2].partition("`")[0])
    measured = inspect.signature(measure).parameters
    assert list(measured) == list(parameters)
    assert all(parameters[name] == one for name, one in measured.items() if name not in kind.thresholds)
    assert kind_of(measure) is kind


@pytest.mark.parametrize("function", [assert_robust_accuracy, measure_robust_accuracy])
def test_a_wrong_keyword_is_named_with_the_nearest_right_one(function: Callable[..., Any], toy: Any) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown option 'at_leest'\. Did you mean 'at_least'\?"):
        function(toy.model, (toy.x, toy.y), Linf(0.1), at_leest=0.5)


def test_a_missing_argument_is_missed_by_the_assertion_itself(toy: Any) -> None:
    with pytest.raises(
        TypeError, match=r"assert_robust_accuracy\(\) missing a required (positional or keyword )?argument: 'threat'"
    ):
        assert_robust_accuracy(toy.model, (toy.x, toy.y), at_least=0.5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"missing a required .*'at_least'"):
        robustest.assert_min_perturbation(toy.model, (toy.x, toy.y), "linf")


def test_only_a_threshold_has_a_default() -> None:
    with pytest.raises(ConfigError, match="defaults of the thresholds of 'robust_accuracy'"):
        assertion(measure_robust_accuracy, at_most=0.5)


def test_only_a_measurement_of_a_kind_can_be_asserted() -> None:
    with pytest.raises(ConfigError, match=r"Expected a measurement made by robustest\.run\.measurement\.measurement"):
        assertion(lambda: None)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("at_least", [0.25, 0.5, 1.0])
def test_thresholds_hold_for_the_whole_set_and_not_for_a_part(at_least: float) -> None:
    """A hundred samples, sorted so that any part of them would have another accuracy."""
    level = (torch.arange(100) + 0.5) / 100
    x = level.view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()
    tenth = torch.arange(100) // 10
    y = torch.where(tenth < 5, tenth + 1, tenth)  # the darker half is wrong; no class has more than a fifth

    def model(z: torch.Tensor) -> torch.Tensor:
        return -((z.flatten(1).mean(1, keepdim=True) - (torch.arange(10) + 0.5) / 10) ** 2)

    def paler(z: torch.Tensor) -> torch.Tensor:
        """Every sample changes, and no answer."""
        return z * 0.999

    verdict = measure_shift_accuracy(model, (x, y), paler, at_least=at_least).verdict
    assert verdict is (Verdict.PASSED if at_least <= 0.5 else Verdict.FAILED)
