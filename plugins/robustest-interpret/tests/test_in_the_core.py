"""Properties that the core's tests hold its own claims to, of the claims of this pack: rows of the core's tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_budget as budget
import test_gradients_are_checked as gradients
import test_own_functions as own
import test_unsound as unsound
import test_what_is_remembered as remembered
import torch
from robustest_interpret import (
    Discovery,
    measure_class_evidence,
    measure_gradient_alignment,
    measure_invertible_features,
    measure_no_backdoor_trigger,
    measure_no_failure_direction,
    measure_sparse_head,
)
from torch import Tensor

from robustest import ConfigError, Result, Segmentation, Verdict, clock
from robustest.measure import measure_no_spurious_feature

digits, bare = unsound.digits, unsound.bare  # fixtures
as_it_was = remembered.as_it_was


# Gradients that mislead.


def test_a_gradient_that_misleads_is_found_without_a_search() -> None:
    gradients.test_a_gradient_that_misleads_is_found_without_a_search(
        lambda one: measure_gradient_alignment(one, (gradients.X, gradients.Y))
    )


def follows_gradients(model: Any, data: Any, judge: Any) -> dict[str, Callable[[], Result]]:
    """Every claim that follows gradients, with a threshold that everything meets."""
    return {
        "no_backdoor_trigger": lambda: measure_no_backdoor_trigger(
            model, data, max_anomaly=100.0, iterations=10, patch_sizes=[14], min_success=0.15
        ),
        "class_evidence": lambda: measure_class_evidence(
            model, data, judge=judge, eps=3.0, min_transfer=0.001, iterations=10, min_driven=1
        ),
        "invertible_features": lambda: measure_invertible_features(
            model, data, max_image_error=1.4, max_representation_error=10.0, iterations=20
        ),
        "gradient_alignment": lambda: measure_gradient_alignment(model, data, at_least=0.01),
    }


# A search for triggers takes hundreds of samples, and means of gradients take five of each class and half.
MORE = {"no_backdoor_trigger": slice(None, None, 2), "gradient_alignment": slice(None, 896, 7)}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "gradient_alignment" else [pytest.mark.slow])
        for name in follows_gradients(None, None, None)
    ],
)
def test_a_claim_that_follows_gradients_is_judged_as_those_of_the_core(name: str, bare: Any, digits: Any) -> None:
    net, x, y, _ = bare
    data = tuple(part[MORE[name]] for part in digits.digits()) if name in MORE else (x, y)
    judge = digits.load("robust")
    masked = follows_gradients(unsound.Features(net).eval(), data, judge)[name]()
    assert masked.verdict is Verdict.INCONCLUSIVE
    assert "gradient_misleads" in unsound.names(masked)
    plain = follows_gradients(net, data, judge)[name]()
    assert (plain.verdict, unsound.names(plain)) == (Verdict.PASSED, set())


# Budgets, and memory of outcomes.


def test_a_search_for_cues_ends_with_its_time_and_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def claim(**options: Any) -> Result:
        return measure_no_spurious_feature(budget.Slow(), budget.data(), "auto", max_flip_rate=0.5, **options)

    monkeypatch.setattr(clock, "time", budget.CLOCK)
    budget.ends_in_time(lambda: claim(time_budget=budget.BUDGET))


class Featured(remembered.Bright):
    """The same, through the layer that a sparse head takes the place of."""

    def forward(self, x: Tensor) -> Tensor:
        z = (x.flatten(1).mean(1) - 0.5).float() * self.sign()
        out: Tensor = self.head(self.features(z))
        return out


KINDS: dict[str, Callable[[remembered.Sign], Result]] = {
    "head": lambda sign: measure_sparse_head(
        Featured(sign),
        remembered.images(60),
        max_drop=0.2,
        max_features_per_class=2,
        n_lambdas=4,
        subsamples=0,
        layer="head",
    ),
    "discovery": lambda sign: measure_no_spurious_feature(
        remembered.Bright(sign), remembered.images(80), Discovery(trigger_steps=0), max_flip_rate=0.2
    ),
}
SOME = {"Path.open", "F.relu", "a closure"}
"""Nothing of heads and discoveries is stored, so that they run each time: the other rows are slow tests."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SOME else [pytest.mark.slow]) for name in remembered.CHANGES]
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_changes_is_measured_anew(kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(remembered.KINDS, kind, KINDS[kind])
    remembered.test_what_changes_is_measured_anew(kind, name, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", remembered.UNMOVED)
@pytest.mark.parametrize("kind", KINDS)
def test_state_that_a_claim_sets_for_itself_moves_nothing(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(remembered.KINDS, kind, KINDS[kind])
    remembered.test_state_that_a_claim_sets_for_itself_moves_nothing(kind, name, tmp_path, monkeypatch)


# Functions and data of the user's own.


@own.AXES
def test_an_embedding_of_ones_own_is_the_same_on_every_layout(axes: int) -> None:
    own.alike(
        lambda data: measure_no_failure_direction(
            own.MODEL, data, embedding=lambda x: x.flatten(1)[:, :3], max_excess_error=0.9, **own._common
        ),
        axes,
    )


def test_a_judge_runs_in_full_float32() -> None:
    seen: list[tuple[torch.dtype, str]] = []

    def judge(x: Tensor) -> Tensor:
        seen.append((torch.get_default_dtype(), torch.get_float32_matmul_precision()))
        return x[:, :2]

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 2)).float().eval()
    x, y = torch.rand(20, 4, dtype=torch.float32), torch.arange(20) % 2
    before = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("medium")
    try:
        measure_class_evidence(model, (x, y), judge=judge, eps=0.5, iterations=2, min_driven=1)
        assert set(seen) == {(torch.float32, "highest")}
        assert (torch.get_default_dtype(), torch.get_float32_matmul_precision()) == (torch.float64, "medium")
    finally:
        torch.set_default_dtype(before[0])
        torch.set_float32_matmul_precision(before[1])


def test_a_search_for_cues_is_about_classes() -> None:
    x = torch.rand(20, 1, 4, 4)
    masks = x, (x[:, 0] > 0.5).long()
    task = Segmentation(2, floor=0.5)
    with pytest.raises(ConfigError, match="a search for cues: these are about classes"):
        measure_no_spurious_feature(lambda x: x.expand(-1, 2, -1, -1), masks, "auto", max_flip_rate=0.1, task=task)


def test_a_search_for_cues_takes_tensors_alone() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas has the frames")
    frame = pandas.DataFrame({"age": np.arange(40.0), "site": ["A", "B"] * 20}), np.arange(40) % 2
    with pytest.raises(ConfigError, match="tensors to search for cues in"):
        measure_no_spurious_feature(
            lambda rows: np.stack([rows.age - 20, 20 - rows.age], 1), frame, "auto", max_flip_rate=0.1
        )
