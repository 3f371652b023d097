"""A plan says what is measured: its words, its baseline, and looks that travel and can be named."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from robustest import ConfigError, Linf, Settings
from robustest.attacks import as_attack
from robustest.claims.cues.interventions import CueMeasurement
from robustest.claims.datasets import Predicting, Scoring
from robustest.claims.robustness.attacking import Attacking
from robustest.claims.robustness.min_perturbation import MinimumSearch
from robustest.claims.shifts.corruptions import Corrupting
from robustest.claims.shifts.shift_accuracy import Flipping, Shifting
from robustest.context import Context, running
from robustest.cues import PixelPatch
from robustest.decisions import ShareRule, Terms
from robustest.identity.fingerprint import digest
from robustest.models import Needs, as_classifier
from robustest.run.driver import observe
from robustest.run.options import settings_of
from robustest.run.plan import Plan, Setup, apply, deciding, of_task, restrict_to
from robustest.shifts import as_shift
from robustest.tasks import CLASSIFICATION

LOOKS: dict[str, Any] = {
    "attacking": lambda k: Attacking(cascade=as_attack("pgd"), threat=Linf(k / 10)),
    "searching": lambda k: MinimumSearch(name="l2", cascade=as_attack("fast"), least=k / 10),
    "shifting": lambda k: Shifting(shift=as_shift("contrast", k)),
    "flipping": lambda k: Flipping(shift=as_shift("contrast", k)),
    "corrupting": lambda k: Corrupting(
        cells=(as_shift("contrast", 2), as_shift("fog", k)), clean=True, beside_clean=True
    ),
    "scoring": lambda k: Scoring(metric="miou" if k == 3 else "mean"),
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


# Options, tasks and classes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sede": 3}, "Did you mean 'seed'"),
        ({"attack": "pgd"}, "option"),  # an argument of some claims, and of no call's options
        ({"attempts": "every"}, "option"),
        ({"store": "x"}, "option"),
        ({"alpha": 0.9}, "alpha in"),
        ({"classes": "ab"}, "classes to be a list of names"),
        ({"classes": [1, 2]}, "classes to be a list of names"),
        ({"classes": 3}, "classes to be a list of names"),
    ],
)
def test_an_option_that_is_none_is_named(options: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        apply(nn.Flatten(), options)


def test_options_of_a_call_are_over_the_tests_settings_and_others_are_the_models() -> None:
    with running(Context(settings=Settings(seed=3, examples=1))):
        model, settings = apply(nn.Flatten(), {"seed": 5, "bounds": (-1.0, 1.0), "classes": ["a", "b"], "suppress": ()})
        assert (settings.seed, settings.examples) == (5, 1)
        assert (model.bounds, model.classes) == ((-1.0, 1.0), ("a", "b"))
        model, settings = apply(nn.Flatten(), {})
        assert (settings.seed, model.bounds, model.classes) == (3, (0.0, 1.0), ())
        assert settings_of({}) == Settings(seed=3, examples=1)


def test_early_failures_share_an_error_and_passes_do_not() -> None:
    terms = Terms.of(Settings(alpha=0.04, family_size=4, scope="population"))
    assert (terms.scope, terms.alpha, terms.fail_alpha) == ("population", 0.04, 0.01)
    setup = Setup.of(nn.Flatten(), (torch.rand(4, 2), torch.zeros(4, dtype=torch.int64)), {"alpha": 0.04})
    assert (setup.alone.alpha, setup.alone.fail_alpha, setup.alone.scope) == (0.04, 0.04, "set")
    assert setup.terms.fail_alpha < setup.alone.fail_alpha


def test_a_task_that_decides_has_a_floor_and_a_name() -> None:
    assert deciding(None) is None
    assert deciding("classification") == CLASSIFICATION
    assert of_task(CLASSIFICATION) == ""
    other: Any = SimpleNamespace(one_class=False, __str__=lambda: "x")
    assert of_task(other).startswith(", by ")
    with pytest.raises(ConfigError, match="Expected a floor of the score"):
        deciding(replace_floor())


def replace_floor() -> Any:
    task: Any = copy.copy(CLASSIFICATION)
    return type("Scored", (type(task),), {"floor": None})()


class Map:
    """Two of four outputs."""

    whole, outputs = False, 4

    def __len__(self) -> int:
        return 2

    def restrict(self, logits: torch.Tensor) -> torch.Tensor:
        return logits[:, :2]


def test_a_model_of_more_classes_is_restricted_to_those_of_the_data() -> None:
    module = nn.Linear(3, 4)
    model, some, x = as_classifier(module), Map(), torch.rand(5, 3)
    made = restrict_to(model, some)  # type: ignore[arg-type]
    assert made.module is made.call
    assert made.module is not None
    assert made.module.training
    frozen = restrict_to(as_classifier(module.eval()), some)  # type: ignore[arg-type]
    assert frozen.module is not None
    assert not frozen.module.training
    assert made.recipe is None
    assert torch.equal(made.call(x), module(x)[:, :2])
    function = replace(model, module=None)
    plain = restrict_to(function, some)  # type: ignore[arg-type]
    assert plain.module is None
    assert torch.equal(plain.call(x), module(x)[:, :2])
    with pytest.raises(ConfigError, match="Expected scores to choose among 2 of 4 classes"):
        restrict_to(replace(model, gives=Needs.LABELS), some)  # type: ignore[arg-type]
    every: Any = SimpleNamespace(whole=True)
    assert restrict_to(model, every) is model
    own = as_classifier(module.eval())
    around = restrict_to(replace(own, call=lambda x: -own.call(x)), some)  # type: ignore[arg-type]
    assert torch.equal(around(x), -made(x))


# Comparisons


@pytest.mark.parametrize("tolerance", [-0.01, 1.01, 1.0, "0.1"])
def test_a_tolerance_has_its_range(tolerance: Any) -> None:
    with pytest.raises(ConfigError, match="tolerance"):
        plan().against(None, tolerance, has_threshold=True)


def test_a_plan_of_another_model_is_measured_beside_it_under_another_key() -> None:
    before = replace(plan(), identity="it")
    torch.manual_seed(1)
    other = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    after = before.against(other, 0.1, has_threshold=True)
    assert after.identity == ("it", "every counterexample")
    assert replace(before, identity=None).against(other, 0.1, has_threshold=True).identity is None
    beside = after.of_other()
    assert beside is not None
    assert beside.statement == "accuracy, by the model of no_worse_than"
    assert (beside.baseline, beside.rule.threshold) == (None, None)  # type: ignore[attr-defined]
    assert beside.rule == ShareRule(threshold=None, at_least=True, terms=Terms.of(before.settings))
    assert beside.units is not after.units
    assert before.of_other() is None
    own: Any = after.rule
    assert (own.tolerance, own.has_threshold, len(own.before)) == (0.1, True, 0)


@pytest.mark.parametrize("path", ["model.onnx", "http://host/model", "https://host/model"])
def test_the_place_of_a_model_is_no_baseline_file(path: str) -> None:
    with pytest.raises(ConfigError):
        plan().against(path, 0.1, has_threshold=True)


def test_a_baseline_that_is_made_needs_every_sample(tmp_path: Any) -> None:
    made = replace(plan(), settings=Settings(update_baseline=True, max_samples=5, time_budget=3.0))
    after = made.against(tmp_path / "b.json", 0.1, has_threshold=False)
    settings = after.settings
    assert (settings.exact, settings.max_samples, settings.time_budget) == (True, None, None)
    assert after.baseline is not None
    assert (after.baseline.entry, after.baseline.key) == (None, ": accuracy")
    one = made.against(tmp_path / "b.json", 0.1, has_threshold=False, parts=(("source", ("a",)),)).baseline
    assert one is not None
    assert one.key == ": accuracy of the source"
    assert after.of_other() is None
