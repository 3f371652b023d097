"""Every claim that takes a baseline takes another model: the worse fails, the better and one as good pass."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from table_entries import check_entries
from torch import Tensor, nn

import robustest
from robustest import ConfigError, Result, Verdict
from robustest.claims import kinds as asserted_kinds
from robustest.measure import measure_consistency

sys.path.insert(0, str(Path(__file__).parent))
from kinds import KINDS, NOISE, Net, Templates, samples

sys.path.pop(0)


def sure(*, good: bool) -> nn.Module:
    """The net of the claim on calibration, as sure as it is there."""
    net = Net(good=good)
    net.head.weight.data *= 20
    return net


class Leaning(Templates):
    """Takes a bright square for class 2 where nothing else speaks loudly: a cue flips some of its answers."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        plain = torch.einsum("nchw,kchw->nk", x - 0.5, self.weight)
        return plain + (logits - plain) / 12


def leaning(*, good: bool) -> nn.Module:
    """The net of the claim on cues, or one that leans a little less than that claim's bad one."""
    return Templates(good=True) if good else Leaning(good=False)


def restless(*, good: bool) -> nn.Module:
    """A net that reads all pixels alike, too, so that noise moves its answers."""
    net = Net(good=True)
    if not good:
        net.head.weight.data += 0.8 * torch.randn(net.head.weight.shape, generator=torch.Generator().manual_seed(3))
    return net


MODELS: dict[str, Any] = {
    "accuracy": Net,
    "robust accuracy": Net,
    "certified accuracy": Net,
    "robust score": Net,
    "shift accuracy": Net,
    "accuracy drop": Net,
    "consistency": restless,
    "worst group": Net,
    "transfer accuracy": Net,
    "transfer drop": Net,
    "corruptions": Net,
    "calibrated": sure,
    "stable": Net,
    "spurious feature": leaning,
}
"""The models of each kind that is compared."""
every_kind = pytest.mark.parametrize("name", MODELS)


def twin(model: nn.Module) -> nn.Module:
    """A model of the same answers, a little surer of each."""
    for parameter in model.parameters():
        parameter.data *= 1.0001
    return model


def compared(name: str, *, good: bool, other: bool | nn.Module, **options: Any) -> Result:
    beside = other if isinstance(other, nn.Module) else MODELS[name](good=other)
    if name == "consistency":
        model, data = restless(good=good), samples(0)
        return measure_consistency(model, data, "gaussian_noise", **NOISE, no_worse_than=beside, **options)
    if name == "worst group":  # of each group: the bad model leans to class 0, and has more of that one right
        options = {"tolerance": 0.1, **options}
    return KINDS[name].measure(good, 0, no_worse_than=beside, **options)


def test_the_table_has_every_kind_that_takes_a_baseline() -> None:
    for name in robustest.__all__:
        getattr(robustest, name)
    asked = {
        name
        for name, kind in asserted_kinds().items()
        if "no_worse_than" in kind.further_claims and kind.name in asserted_kinds()
    }
    own = {name for name in asked if f"assert_{name}" in robustest.__all__} - {
        "rate",
        "reliable",
    }  # which compare outcomes
    check_entries(
        {KINDS[name].result().subject.kind for name in MODELS}, own, "MODELS in tests/contract/test_other_model.py"
    )


@every_kind
def test_the_worse_of_two_models_fails_and_the_better_passes(name: str) -> None:
    # Of some kinds the better model loses a few samples that the other one has by chance, in a group or a part.
    tolerance = {"worst group": 0.1}.get(name, 0.0)
    worse, better = (compared(name, good=good, other=not good, tolerance=tolerance) for good in (False, True))
    assert (worse.verdict, better.verdict) == (Verdict.FAILED, Verdict.PASSED), (worse.rule, better.rule)
    for result in (worse, better):
        about = result.details["baseline"]
        assert about["model"]
        assert {"lost", "gained", "scope", "drop", "drop_interval", "tolerance", "accuracy"} <= set(about)


@every_kind
def test_a_model_is_no_worse_than_one_of_its_answers(name: str) -> None:
    found = compared(name, good=True, other=twin(MODELS[name](good=True)))
    assert found.verdict is Verdict.PASSED, found.rule
    # Brier scores of a model that is less sure fall by parts of a million.
    assert found.details["baseline"]["drop"] == pytest.approx(0, abs=1e-6)


@every_kind
def test_against_itself_a_model_shows_nothing(name: str) -> None:
    found = compared(name, good=True, other=True)
    assert (found.verdict, found.rule) == (Verdict.INCONCLUSIVE, "health check: same_model")
    assert found.details["baseline"]["lost"] == found.details["baseline"]["gained"] == 0
    if name in ("accuracy", "robust score"):  # a user who means it may say so
        assert compared(name, good=True, other=True, suppress=("same_model",)).verdict is Verdict.PASSED


@every_kind
def test_a_threshold_stands_beside_the_other_model(name: str) -> None:
    kind = KINDS[name]
    hard = compared(name, good=True, other=True, **{kind.argument: kind.hard})
    assert hard.verdict is Verdict.FAILED
    easy = compared(name, good=True, other=twin(MODELS[name](good=True)), **{kind.argument: kind.easy})
    assert easy.verdict is Verdict.PASSED, easy.rule


def test_figures_that_are_no_means_of_samples_are_not_compared() -> None:
    for name, options in (("calibrated", {"max_ece": 0.1}), ("spurious feature", {"max_recall_drop": 0.1})):
        with pytest.raises(ConfigError, match="no_worse_than"):
            compared(name, good=True, other=True, **options)
