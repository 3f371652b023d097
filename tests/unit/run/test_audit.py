"""Before a claim passes, an audit by other means looks at a few of the samples that the attack left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import Linf, Verdict
from robustest.account import Row
from robustest.attacks import PGD, Cascade, RandomDraws, Stage
from robustest.cli.suggest import suggestion
from robustest.context import Context, running
from robustest.health import HEALTH_CHECKS
from robustest.measure import measure_robust_accuracy, measure_robust_score
from robustest.pytest_plugin.reports import update_baselines
from robustest.run.audit import FEW, MANY
from robustest.settings import Settings
from robustest.tasks import CLASSIFICATION

pytestmark = pytest.mark.usefixtures("short_shrinking")
N = 200
STRONG = Stage(searcher=PGD(steps=20, step_size=0.02))


class Line(nn.Module):
    """One number decides; a sample breaks where it moves by its distance from one half."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        lead = self.scale * (x[:, 0] - 0.5)
        return torch.stack([-lead, lead], 1)


def near(share: float, n: int = N) -> tuple[Tensor, Tensor]:
    """Samples of which so large a share, every one of the last, breaks under 0.1, and the others do not."""
    x = torch.rand(n, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(n) % 2
    distance = torch.where(torch.arange(n) < share * n, 0.05, 0.3)
    x[:, 0] = 0.5 + torch.where(y == 1, distance, -distance)
    return x, y


def weak(audit: tuple[Stage, ...] = (STRONG,)) -> Cascade:
    """An attack that finds next to nothing, and its audit."""
    return Cascade(name="weak", stages=(Stage(searcher=PGD(steps=1, step_size=1e-6, random_start=False)),), audit=audit)


def measured(share: float, at_least: float | None, cascade: Cascade | None = None, **options: Any) -> Any:
    options = {"suppress": ("loss_does_not_rise",), "cache": False, "examples": 1000, **options}
    return measure_robust_accuracy(
        Line(), near(share), Linf(0.1), attack=cascade or weak(), at_least=at_least, **options
    )


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_what_an_attack_overlooks_does_not_pass(seed: int, exact: bool) -> None:
    assert measured(0.3, 0.8, weak(audit=()), seed=seed, exact=exact).verdict is Verdict.PASSED, "so the audit decides"
    found = measured(0.3, 0.8, seed=seed, exact=exact)
    assert found.verdict is not Verdict.PASSED
    assert found.details["stages"]["audit"] > 0


@pytest.mark.parametrize("seed", range(3))
def test_all_that_held_are_audited_where_few_do_not_settle_it(seed: int) -> None:
    """A fifth breaks, and .81 are claimed: every sample is audited, and what is found is the truth."""
    found = measured(0.2, 0.81, seed=seed, exact=True)
    assert (found.verdict, found.estimate) == (Verdict.FAILED, 0.8)
    assert found.details["stages"]["audit"] == 0.2 * N
    assert {one.index for one in found.counterexamples} == set(range(int(0.2 * N)))


def test_a_pass_with_room_for_what_the_audit_shows_needs_no_more_of_it() -> None:
    """Of 19 some break, and the claim would pass if twice as many did everywhere."""
    found = measured(0.2, 0.55, exact=True, suppress=("loss_does_not_rise", "weak_attack"))
    assert found.verdict is Verdict.PASSED
    assert 0 < found.details["stages"]["audit"] <= FEW


def test_a_large_share_broken_is_a_health_check() -> None:
    found = measured(0.6, 0.1, exact=True)
    assert (found.verdict, found.rule) == (Verdict.INCONCLUSIVE, "health check: weak_attack")


def test_nothing_is_audited_where_the_claim_does_not_pass() -> None:
    for at_least in (None, 1.0):
        found = measure_robust_accuracy(
            Line(), near(0.3), Linf(0.4), attack=weak((STRONG,)), at_least=at_least, cache=False
        )
        assert "audit" not in found.details["stages"] or found.verdict is not Verdict.PASSED
    assert "audit" not in measured(0.3, None).details["stages"]


def test_an_audit_that_finds_nothing_looks_at_as_many_as_the_room_asks_for() -> None:
    found = measured(0.0, 0.83, exact=True)
    assert (found.verdict, found.estimate) == (Verdict.PASSED, 1.0)
    assert found.details["audit"] == {"audited": FEW, "broken": 0, "others_at_most": pytest.approx(0.146, abs=1e-3)}
    assert measured(0.0, 0.99, exact=True).details["audit"]["audited"] == FEW, "no stages for many"
    many = replace(weak(), audit_of_many=(STRONG,))
    assert measured(0.0, 0.83, many, exact=True).details["audit"]["audited"] == FEW
    near = measured(0.0, 0.99, many, exact=True)
    assert (near.verdict, near.details["audit"]["audited"]) == (Verdict.PASSED, MANY)
    assert any("of the others at most 5% can still be broken" in note for note in near.words.notes)
    assert measured(0.0, 0.51, exact=True).details["audit"]["audited"] < FEW, "more room needs fewer"
    assert "audit" not in measured(0.0, 0.9, weak(audit=()), exact=True).details


@pytest.mark.parametrize("seed", range(4))
def test_a_claim_that_rests_on_each_sample_is_audited_at_each(seed: int) -> None:
    """One sample of 200 is left wrongly, which a draw of 19 or 59 misses more often than not."""
    for cascade in (weak(), replace(weak(), audit_of_many=(STRONG,))):
        found = measured(0.005, 1.0, cascade, exact=True, seed=seed)
        assert (found.verdict, found.estimate) == (Verdict.FAILED, 0.995)


def test_a_true_claim_without_room_passes_once_all_are_audited() -> None:
    found = measured(0.0, 1.0, exact=True)
    assert (found.verdict, found.details["audit"]["audited"]) == (Verdict.PASSED, N)
    assert measured(0.0, 0.99, exact=True).details["audit"]["audited"] == FEW, "it has room for 1 %"


@pytest.mark.parametrize("attack", ["fast", "standard"])
def test_scores_alone_are_audited(attack: str) -> None:
    from robustest import L2
    from robustest.attacks import CASCADES, Needs

    for threat in (Linf(0.1), L2(1.0)):
        few = Cascade(name="audit", stages=CASCADES[attack].audit).serving(threat, Needs.SCORES, 784)
        assert {type(stage.searcher).__name__ for stage in few} >= {"Square", "HopSkipJump"}


def test_who_is_audited_does_not_depend_on_batches_or_order() -> None:
    one, other = (measured(0.2, 0.5, batch_size=size, exact=True) for size in (7, 200))
    assert one.outcomes == other.outcomes


def test_scores_are_audited_too() -> None:
    data = near(0.3)
    options: Any = {"task": CLASSIFICATION, "suppress": ("loss_does_not_rise",), "cache": False, "exact": True}
    bare = measure_robust_score(Line(), data, Linf(0.1), attack=weak(audit=()), at_least=0.8, **options)
    assert bare.verdict is Verdict.PASSED, "so the audit decides"
    found = measure_robust_score(Line(), data, Linf(0.1), attack=weak(), at_least=0.8, **options)
    assert found.verdict is not Verdict.PASSED
    many = replace(weak(), audit_of_many=(STRONG,))
    near_claim = measure_robust_score(Line(), near(0.0), Linf(0.1), attack=many, at_least=0.99, **options)
    assert near_claim.details["audit"]["audited"] == MANY
    without = measure_robust_score(Line(), near(0.0), Linf(0.1), attack=weak(), at_least=0.99, **options)
    assert without.details["audit"]["audited"] == FEW


@pytest.mark.parametrize("attack", ["fast", "standard"])
def test_audits_of_many_samples_are_cheaper(attack: str) -> None:
    from robustest import L2
    from robustest.attacks import CASCADES, Needs

    cascade = CASCADES[attack]
    for threat in (Linf(0.1), L2(1.0)):
        few, many = (
            Cascade(name="audit", stages=stages).serving(threat, Needs.GRADIENT, 784)
            for stages in (cascade.audit, cascade.audit_of_many)
        )
        assert many
        assert 1.5 * sum(s.searcher.steps for s in many) < sum(getattr(s.searcher, "steps", 1) for s in few)


def test_an_audit_that_is_interrupted_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from robustest import clock
    from robustest.run.units import ModelUnits

    def late(self: ModelUnits, ids: Tensor, *, first: bool, many: bool = False, again: int = 0) -> Any:
        raise clock.OutOfTime("late")

    monkeypatch.setattr(ModelUnits, "audit", late)
    for exact in (False, True):
        found = measured(0.0, 0.9, exact=exact, time_budget=1000.0)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert found.rule.startswith("the clock: time ran out before an audit")


def test_an_audit_of_the_same_kind_draws_anew() -> None:
    """With the attack's own draws it would find what the attack has found, and nothing else."""
    draws = Stage(searcher=RandomDraws(queries=2))
    cascade = Cascade(name="draws", stages=(draws,), audit=(draws,))
    options = {"suppress": ("weak_search", "weak_attack")}
    found = measured(1.0, 0.0001, cascade, exact=True, **options)
    assert found.details["stages"].get("audit", 0) > 0


@pytest.mark.parametrize("attack", ["fast"])
def test_the_default_attack_has_an_audit_for_every_ball(attack: str) -> None:
    from robustest import L0, L1, L2
    from robustest.attacks import CASCADES, Needs

    for threat in (Linf(0.1), L2(1.0), L1(1.0), L0(1)):
        for elements in (4, 784):
            stages = Cascade(name="audit", stages=CASCADES[attack].audit).serving(threat, Needs.GRADIENT, elements)
            assert {stage.searcher.needs for stage in stages} >= {Needs.GRADIENT, Needs.SCORES}, threat


@pytest.mark.parametrize("at_least", [None, 0.51])
def test_an_audit_calls_the_same_model_no_worse_than_its_baseline(at_least: float | None, tmp_path: Path) -> None:
    """The baseline holds what the attack left: an audit now, and none then, must not count as a loss."""
    again = against_itself(0.4, at_least, tmp_path)
    assert again.verdict is Verdict.PASSED
    assert again.details["baseline"]["lost"] == 0


def test_a_baseline_does_not_stand_for_an_audit(tmp_path: Path) -> None:
    again = against_itself(0.4, 0.9, tmp_path)
    assert again.verdict is not Verdict.PASSED
    assert again.details["baseline"]["lost"] == 0


def against_itself(share: float, at_least: float | None, folder: Path) -> Any:
    """The same model against the baseline that was made of it without a claim on the number."""
    path = folder / "baseline.json"
    options: Any = {"no_worse_than": path, "suppress": ("loss_does_not_rise", "weak_attack")}
    with running(Context(settings=Settings(update_baseline=True))):
        made = measured(share, None, **options)
    assert update_baselines([Row(test="", result=made, problem="", replay="")]) == []
    return measured(share, at_least, **options)


def test_what_was_audited_is_remembered(tmp_path: Any) -> None:
    settings = Settings(store=str(tmp_path), recheck=0.0, exact=True)
    with running(Context(settings=settings, test="t.py::t")):
        first, again = (measured(0.2, 0.81, cache=True) for _ in range(2))
    assert again.evidence.cached
    assert again.outcomes == first.outcomes
    assert np.isclose(again.estimate, 0.8)


class Window(nn.Module):
    """A level that decides, behind a window: below 0.1 the answer is flat, and no gradient leads out of it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        lead = self.scale * (((x[:, 0] - 0.1) / 0.8).clamp(0, 1) - 0.02)
        return torch.stack([-lead, lead], 1)


class WindowOfThree(Window):
    """A third class where the second value is large, so that one answer for every sample is mostly wrong."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super().forward(x), 10 * (x[:, 1:2] - 0.5)], 1)


@pytest.mark.thinned
@pytest.mark.parametrize("at_least", [0.001, 0.85, 1.0], ids=["passes easily", "fails", "fails at once"])
@pytest.mark.parametrize("seed", range(2))
def test_a_suggested_threshold_is_audited_as_a_pass_of_it_would_be(at_least: float, seed: int) -> None:
    """A quarter lies in the flat part, where the attack is stuck, and within the radius of the other class."""
    x = torch.rand(N, 4, generator=torch.Generator().manual_seed(0))
    flat = torch.arange(N) % 4 == 0
    x[:, 0] = torch.where(flat, 0.05, 0.8)
    x[:, 1] = torch.where(torch.arange(N) % 4 == 1, 0.9, 0.1)
    y = torch.where(torch.arange(N) % 4 == 1, 2, (~flat).long())

    def value(audit_values: bool, at_least: float) -> Any:
        settings = Settings(exact=True, seed=seed, audit_values=audit_values)
        with running(Context(settings=settings)):
            return measure_robust_accuracy(
                WindowOfThree(),
                (x, y),
                Linf(0.1),
                attack=weak(audit=(Stage(searcher=RandomDraws(queries=60)),)),
                at_least=at_least,
                suppress=tuple(HEALTH_CHECKS),
            )

    assert value(False, 0.95).verdict is Verdict.FAILED, "a pass is audited"
    found = value(True, at_least)
    assert found.estimate == 0.75
    of = suggestion(found, 0.01)
    assert of.threshold is not None, of.why_not
    assert of.threshold < 0.75
    assert value(False, of.threshold).verdict is Verdict.PASSED


def test_a_value_whose_audit_is_interrupted_gets_no_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    from robustest import clock
    from robustest.run.units import ModelUnits

    def late(self: ModelUnits, ids: Tensor, *, first: bool, many: bool = False, again: int = 0) -> Any:
        raise clock.OutOfTime("late")

    monkeypatch.setattr(ModelUnits, "audit", late)
    for at_least in (0.1, 1.0):
        with running(Context(settings=Settings(exact=True, audit_values=True))):
            found = measured(0.3, at_least, time_budget=1000.0)
        assert suggestion(found, 0.01).threshold is None, at_least
