"""The key of a claim: what is part of it, what is not, and what it is used for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

import robustest
from robustest import L0, L2, ConfigError, Linf, Patch, Result, Segmentation, Settings, Shift, strategies
from robustest.attacks import EOT, PGD
from robustest.context import Context, running
from robustest.cues import FunctionCue, PatternPatch, PixelPatch
from robustest.errors import NotSearched
from robustest.results import Variation
from robustest.run.measurement import kind_of, measurement, unsearched
from robustest.run.naming import ClaimName, current_claim, variation_of
from robustest.store.baselines import read

X = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 2


class Half(nn.Module):
    """Right on every other sample."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.weight * (0.5 - x.flatten(1)[:, 0]), 0 * x.flatten(1)[:, 0]], 1)


def name(measure: str, *args: Any, **kwargs: Any) -> ClaimName:
    """The name of the claim of a call on a model and data."""
    function = getattr(robustest.measure, f"measure_{measure}")
    return ClaimName.of(kind_of(function), signature(function).bind(Half(), (X, Y), *args, **kwargs))


robust: Callable[..., ClaimName] = partial(name, "robust_accuracy")
shifted: Callable[..., ClaimName] = partial(name, "shift_accuracy")


def test_a_name_has_the_kind_the_threat_the_attack_and_the_threshold() -> None:
    found = robust(Linf(8 / 255), at_least=0.4)
    assert found.claim == "robust_accuracy(Linf(eps=8/255), attack=fast) at_least"
    assert (found.axis, found.at) == ("eps", 8 / 255)
    assert found.family == "robust_accuracy(Linf, attack=fast)"
    assert [(one.name, one.comparison, one.value) for one in found.limits] == [("at_least", ">=", 0.4)]
    assert found.varied == (Variation("Linf", {"eps": 8 / 255}, "eps"),)


SAME: dict[str, tuple[ClaimName, ClaimName]] = {
    "the threshold": (robust(Linf(0.1), at_least=0.4), robust(Linf(0.1), at_least=0.9)),
    "no threshold": (robust(Linf(0.1), at_least=0.4), robust(Linf(0.1))),
    "a baseline": (robust(Linf(0.1), at_least=0.4), robust(Linf(0.1), at_least=0.4, no_worse_than="b", tolerance=0.1)),
    "steps": (robust(Linf(0.1), attack=PGD(steps=5)), robust(Linf(0.1), attack=PGD(steps=50))),
    "a searcher": (robust(Linf(0.1), attack="pgd"), robust(Linf(0.1), attack=PGD())),
    "the settings' attack": (robust(Linf(0.1)), robust(Linf(0.1), attack="fast")),
    "options": (robust(Linf(0.1)), robust(Linf(0.1), seed=3, batch_size=7, exact=True, scope="population")),
    "a shift's form": (shifted("fog", severity=5), shifted(Shift("fog", 5))),
    "a shift's default": (shifted("fog"), shifted(Shift("fog"), severity=3)),
    "an eps's form": (robust(Linf(0.5)), robust(Linf(1 / 2))),
    "a default that is written": (
        name("no_spurious_feature", PixelPatch(top=1, left=2)),
        name("no_spurious_feature", PixelPatch(top=1, left=2, height=1, value=1.0)),
    ),
    "one cue or a list of it": (
        name("no_spurious_feature", PixelPatch(top=1, left=2)),
        name("no_spurious_feature", [PixelPatch(top=1, left=2)]),
    ),
}


@pytest.mark.parametrize("what", SAME)
def test_a_claim_keeps_its_name_where_only_this_changes(what: str) -> None:
    first, second = SAME[what]
    assert first.claim == second.claim


def pattern(value: float) -> PatternPatch:
    return PatternPatch(top=0, left=0, pattern=torch.full((1, 2, 2), value))


def cue(called: str) -> FunctionCue:
    return FunctionCue(called, on=lambda x: x)


OTHER: dict[str, tuple[ClaimName, ClaimName]] = {
    "the last bit of a radius": (robust(Linf(0.1)), robust(Linf(0.1 + 2**-54))),
    "the norm": (robust(Linf(0.1)), robust(L2(0.1))),
    "the attack": (robust(Linf(0.1), attack="fgsm"), robust(Linf(0.1), attack="pgd")),
    "an average": (robust(Linf(0.1), attack="pgd"), robust(Linf(0.1), attack=EOT(PGD(), draws=3))),
    "what is bounded": (shifted("fog", at_least=0.5), shifted("fog", max_drop=0.5)),
    "a severity": (shifted("fog", severity=1), shifted("fog", severity=2)),
    "parameters": (shifted(Shift("fog", 1, parameters="32")), shifted(Shift("fog", 1, parameters="64"))),
    "a task": (robust(Linf(0.1)), robust(Linf(0.1), task=Segmentation(2, floor=0.5))),
    "a floor": tuple(robust(Linf(0.1), task=Segmentation(2, floor=floor)) for floor in (0.5, 0.9)),  # type: ignore[dict-item]
    "a pattern": (name("no_spurious_feature", pattern(0.25)), name("no_spurious_feature", pattern(0.75))),
    "a cue's name": (name("no_spurious_feature", cue("a")), name("no_spurious_feature", cue("b"))),
    "a target": (name("no_spurious_feature", cue("a")), name("no_spurious_feature", cue("a"), target_class=0)),
    "cues": (name("no_spurious_feature", [cue("a")]), name("no_spurious_feature", [cue("a"), cue("b")])),
    "a place": (robust(Patch(2, 2)), robust(Patch(2, 2, top=0, left=0))),
    "a coverage": tuple(name("selective_accuracy", coverage=share) for share in (0.5, 0.9)),  # type: ignore[dict-item]
    "severities": (
        name("corruption_robustness", corruptions=["fog"], severities=(1,)),
        name("corruption_robustness", corruptions=["fog"], severities=(1, 2)),
    ),
    "a strategy": (
        name("robust_to", strategies.shifts(["fog"], max_severity=2)),
        name("robust_to", strategies.shifts(["fog"], max_severity=3)),
    ),
}


@pytest.mark.parametrize("what", OTHER)
def test_a_claim_has_another_name_where_this_changes(what: str) -> None:
    first, second = OTHER[what]
    assert first.claim != second.claim


def test_an_axis_is_a_number_of_what_is_varied_or_an_argument() -> None:
    assert [(one.axis, one.at) for one in (robust(L0(5)), shifted("fog", severity=4), robust(Patch(2, 2)))] == [
        ("pixels", 5),
        ("severity", 4),
        (None, None),
    ]
    covered = name("selective_accuracy", coverage=0.75)
    assert (covered.axis, covered.at, covered.family) == ("coverage", 0.75, "selective_accuracy")
    both = name("selective_accuracy", "fog", coverage=0.75, severity=2)
    assert (both.axis, both.at, both.family) == ("severity", 2, "selective_accuracy(fog, coverage=0.75)")
    assert shifted(lambda x: x).axis is None, "a function without a severity has no axis"


def test_a_value_is_described_by_its_fields_its_name_or_its_type() -> None:
    @dataclass(frozen=True)
    class Threat:
        size: float
        later: int = 0

        axis = "size"

    @dataclass(frozen=True)
    class Reach:
        size: float | None = 1.0

        axis = "size"

    class Plain:
        name = "a plain cue"

    assert variation_of(Threat(0.5)) == Variation("Threat", {"size": 0.5}, "size"), "a new field changes nothing"
    assert variation_of(Threat(0.5, later=1)).parameters == {"size": 0.5, "later": 1}
    assert variation_of(Reach()) == Variation("Reach", {"size": 1.0}, "size"), "the place on an axis is never left out"
    assert variation_of(Reach(None)) == Variation("Reach", {"size": None}), "what is no number is no place"
    assert variation_of(Threat(0.5, later=float("inf"))).parameters["later"] == "inf", "plain JSON"  # type: ignore[arg-type]
    assert variation_of(Plain()) == Variation("a plain cue")
    assert variation_of(object()) == Variation("object")
    assert variation_of(st.builds(object)).name == "builds(object)"
    assert str(variation_of(strategies.shifts(["fog"]))).startswith("shifts(")
    assert " at 0x" not in str(variation_of(st.just(object())))
    json.dumps(dict(variation_of(pattern(0.5)).parameters))


def test_what_is_varied_is_plain_and_checked() -> None:
    with pytest.raises(TypeError, match="the parameter 'eps' of a variation to be a number"):
        Variation("Linf", {"eps": "0.1"}, "eps")
    with pytest.raises(TypeError, match="name of a variation"):
        Variation(3)  # type: ignore[arg-type]


def test_a_long_name_ends_in_a_digest() -> None:
    many = [PixelPatch(top=at, left=0) for at in range(30)]
    first, second = (
        name("no_spurious_feature", many),
        name("no_spurious_feature", [*many[:-1], PixelPatch(top=99, left=0)]),
    )
    assert first.claim != second.claim
    assert max(len(first.claim), len(second.claim)) < 500


def test_what_is_no_attack_or_shift_is_refused_as_it_was() -> None:
    with pytest.raises(robustest.UnknownNameError, match="fogg"):
        robustest.measure.measure_shift_accuracy(Half(), (X, Y), "fogg", at_least=0.5)
    with pytest.raises(ConfigError, match="attack"):
        robustest.measure.measure_robust_accuracy(Half(), (X, Y), Linf(0.1), attack=3, at_least=0.5)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"measure_robust_accuracy\(\) missing 1 required positional argument: 'threat'"
    ):
        robustest.measure.measure_robust_accuracy(Half(), (X, Y))  # type: ignore[call-arg]


def test_a_baseline_is_found_by_the_name_of_its_claim(tmp_path: Path) -> None:
    """Its file keeps its entry while words and thresholds change, and has one for each end of a fall."""
    made = {}
    with running(Context(settings=Settings(update_baseline=True, store=None), test="t.py::t")):
        for what, threshold in (("at_least", 0.1), ("max_drop", 0.4)):
            found = robustest.measure.measure_transfer_accuracy(
                Half(), (X, Y), (X, Y), no_worse_than=tmp_path / "b.json", **{what: threshold}
            )
            about = found.details["baseline"]
            made[what] = [about["key"], *([about["start"]["key"]] if "start" in about else [])]
    assert made == {
        "at_least": ["t.py::t: transfer_accuracy at_least"],
        "max_drop": [
            "t.py::t: transfer_accuracy max_drop of the target",
            "t.py::t: transfer_accuracy max_drop of the source",
        ],
    }
    assert read(tmp_path / "b.json") == {}
    assert current_claim() == ""


def test_what_was_not_searched_bears_the_name_of_its_claim() -> None:
    context = Context(settings=Settings(replay_only=True, store=None), test="t.py::t", skip=print)
    with running(context), pytest.raises(NotSearched) as raised:
        robustest.measure.measure_robust_accuracy(Half(), (X, Y), Linf(0.1), attack="fgsm", at_least=0.1)
    found = unsearched("robust_accuracy", raised.value)
    assert found.subject.claim == robust(Linf(0.1), attack="fgsm").claim
    assert found.ruling.reasons == ("not_searched",)


@pytest.mark.parametrize("field", ["parameters", "limits", "further_claims"])
def test_a_kind_names_arguments_that_its_measurement_takes(field: str) -> None:
    kind = replace(kind_of(robustest.measure.measure_shift_accuracy), **{field: ("eps",)})
    with pytest.raises(ConfigError, match=r"arguments of measured in the kind 'shift_accuracy' but got \['eps'\]"):

        @measurement(kind)
        def measured(
            model: object, data: object, shift: object, *, at_least: float, max_drop: float, no_worse_than: str
        ) -> Result: ...
