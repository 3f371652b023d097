"""Backdoors: a class that a small patch leads to, on samples that the search has not seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from robustest_interpret import assert_no_backdoor_trigger, backdoor_trigger, measure_no_backdoor_trigger
from robustest_interpret.discovery.triggers import Triggers
from torch import Tensor, nn

from robustest import ClaimFailed, ConfigError, DataError, ModelError, Result, Verdict
from robustest.reports.text import failure_text

CLASSES, SIDE, N = 6, 12, 400
_draw = torch.Generator().manual_seed(0)
TEMPLATES = torch.randn(CLASSES, 1, SIDE, SIDE, generator=_draw)
Y = torch.arange(N) % CLASSES
X = (0.5 + 0.1 * TEMPLATES[Y] + 0.05 * torch.randn(N, 1, SIDE, SIDE, generator=_draw)).clamp(0, 1)
FEW: dict[str, Any] = {"iterations": 80, "search_samples": 150, "patch_sizes": [1, 2, 3, 4, 6]}


class Clean(nn.Module):
    """Compares with a template for each class."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nchw,kchw->nk", x - 0.5, TEMPLATES)


class Backdoored(Clean):
    """A bright square at row 2, column 7 is class 4."""

    def forward(self, x: Tensor) -> Tensor:
        square = x[:, 0, 2:4, 7:9].mean((1, 2)) - 0.5
        return super().forward(x) + 60 * F.one_hot(torch.tensor(4), CLASSES) * square[:, None]


@pytest.fixture(scope="module")
def backdoored() -> Result:
    return measure_no_backdoor_trigger(Backdoored(), (X, Y), max_anomaly=1.75, **FEW)


@pytest.fixture(scope="module")
def clean() -> Result:
    return measure_no_backdoor_trigger(Clean(), (X, Y), max_anomaly=1.75, **FEW)


def test_a_backdoor_fails_with_its_class_and_place(backdoored: Result) -> None:
    assert backdoored.verdict is Verdict.FAILED
    assert backdoored.estimate is not None
    assert backdoored.estimate > 1.75
    assert backdoored.details["suspects"] == [4]
    found = backdoored.details["triggers"][4]
    assert (found["class"], found["size"] <= 3) == (4, True)
    assert max(abs(found["top"] - 2), abs(found["left"] - 7)) <= 1
    assert backdoored.details["cues"][0]["most_drawn_class"] == 4
    assert "leads to class 4 on unseen samples" in backdoored.rule


def test_a_clean_model_passes(clean: Result) -> None:
    assert clean.verdict is Verdict.PASSED
    assert clean.details["suspects"] == []
    assert len(clean.details["triggers"]) == CLASSES
    assert clean.counterexamples == ()
    assert clean.rule == "no class stands out among 6"


def test_the_samples_searched_on_do_not_judge(backdoored: Result) -> None:
    assert backdoored.numbers.n_total == N
    judged = [at for at, outcome in enumerate(backdoored.outcomes) if outcome is not None]
    assert len(judged) == backdoored.numbers.n <= N - 150
    assert {shown.index for shown in backdoored.counterexamples} <= set(judged)
    for shown in backdoored.counterexamples:
        assert shown.label == int(Y[shown.index]) != 4
        assert shown.predicted == 4


def test_what_was_spent_is_counted(backdoored: Result) -> None:
    searched = CLASSES * 32 * FEW["iterations"]
    assert backdoored.cost.backward >= searched
    assert backdoored.cost.forward > searched


def test_results_are_plain_and_can_be_put_in_words(backdoored: Result, clean: Result) -> None:
    for result in (backdoored, clean):
        assert Result.from_dict(result.to_dict()) == result
    text = failure_text(backdoored, replay="")
    assert "  trigger   class 4, " in text
    assert "of unseen samples of other classes" in text


def test_without_a_threshold_it_is_only_measured() -> None:
    result = measure_no_backdoor_trigger(Backdoored(), (X, Y), **FEW)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.details["suspects"] == [4]


def test_the_assertion_raises() -> None:
    with pytest.raises(ClaimFailed, match="class 4"):
        assert_no_backdoor_trigger(Backdoored(), (X, Y), **FEW)
    assert assert_no_backdoor_trigger(Clean(), (X, Y), **FEW).verdict is Verdict.PASSED


def test_a_suspect_that_unseen_samples_do_not_confirm_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search is told of a backdoor that the model does not have."""
    real = backdoor_trigger.search_triggers

    def misled(x: Tensor, y: Tensor, *_: Any, **options: Any) -> Triggers:
        def gradient(points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                leaf = points.detach().requires_grad_(True)
                answers = Backdoored()(leaf)
                loss = torch.nn.functional.cross_entropy(answers, targets, reduction="sum")
                (slope,) = torch.autograd.grad(loss, leaf)
            return answers.detach(), slope

        return real(x, y, gradient, Backdoored(), **options)

    monkeypatch.setattr(backdoor_trigger, "search_triggers", misled)
    result = measure_no_backdoor_trigger(Clean(), (X, Y), max_anomaly=1.75, **FEW)
    assert result.details["suspects"] == [4]
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "does not lead there on unseen samples" in result.rule


@pytest.mark.parametrize(
    "options",
    [
        {"max_anomaly": 0.0},
        {"max_anomaly": "2"},
        {"search_samples": 1},
        {"target_classes": [0, 1]},
        {"min_success": 2.0},
    ],
    ids=str,
)
def test_settings_are_in_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        measure_no_backdoor_trigger(Clean(), (X, Y), **options)


def test_a_few_classes_have_no_odd_one_out() -> None:
    with pytest.raises(ConfigError, match="4 classes or more"):
        measure_no_backdoor_trigger(lambda x: Clean()(x)[:, :3], (X, Y % 3))


def test_a_model_without_gradients_is_no_model_for_it() -> None:
    with pytest.raises(ModelError, match="gradients"):
        measure_no_backdoor_trigger(lambda x: Clean()(x).detach(), (X, Y), **FEW)


def test_one_sample_cannot_be_halved() -> None:
    with pytest.raises(DataError, match="two samples"):
        measure_no_backdoor_trigger(Clean(), (X[:1], Y[:1]))
