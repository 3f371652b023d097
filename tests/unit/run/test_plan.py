"""A plan says what is measured: its words, its baseline, and looks that travel and can be named."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import nn

from robustest import Linf
from robustest.attacks import as_attack
from robustest.claims.cues.interventions import CueMeasurement
from robustest.claims.datasets import Predicting, Scoring
from robustest.claims.robustness.attacking import Attacking
from robustest.claims.robustness.min_perturbation import MinimumSearch
from robustest.claims.shifts.corruptions import Corrupting
from robustest.claims.shifts.shift_accuracy import Flipping, Shifting
from robustest.cues import PixelPatch
from robustest.decisions import ShareRule
from robustest.identity.fingerprint import digest
from robustest.run.driver import observe
from robustest.run.plan import Plan, Setup
from robustest.shifts import as_shift

LOOKS: dict[str, Any] = {
    "attacking": lambda k: Attacking(cascade=as_attack("pgd"), threat=Linf(k / 10)),
    "searching": lambda k: MinimumSearch(name="l2", cascade=as_attack("fast"), least=k / 10),
    "shifting": lambda k: Shifting(shift=as_shift("contrast", k)),
    "flipping": lambda k: Flipping(shift=as_shift("contrast", k)),
    "corrupting": lambda k: Corrupting(
        cells=(as_shift("contrast", 2), as_shift("fog", k)), clean=True, beside_clean=True
    ),
    "scoring": lambda k: Scoring(counting=k == 3),
    "switching": lambda k: CueMeasurement(cues=(PixelPatch(top=k, left=0, height=1, width=1),), targets=(None,)),
}


def plan(threshold: float | None = 0.5, n: int = 40) -> Plan:
    x = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    setup = Setup.of(model, (x, model(x).argmax(1)), {})
    rule = ShareRule(threshold=threshold, at_least=True, terms=setup.terms)
    return setup.plan("accuracy", Predicting(), rule)


@pytest.mark.parametrize("name", LOOKS)
def test_looks_travel_and_can_be_named(name: str) -> None:
    look = LOOKS[name](3)
    assert digest(pickle.loads(pickle.dumps(look))) == digest(look) == digest(LOOKS[name](3))  # noqa: S301 - our own bytes
    assert digest(look) != digest(LOOKS[name](4))


def test_against_no_baseline_nothing_but_that_is_other() -> None:
    before = plan()
    after = before.against(None, 0.0, has_threshold=True)
    assert (after.rule, after.settings, after.units) == (before.rule, before.settings, before.units)


def test_a_plan_can_be_observed_again() -> None:
    what = plan()
    first, second = observe(what), observe(what)
    assert first.n == second.n == 40
    assert first.columns["held"].all()
    assert (first.columns["predicted"] == second.columns["predicted"]).all()
