"""A green says something: the kinds of this pack in the core's properties, and rows of its tables of empty claims."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import empty_calls
import pytest
import robustest_interpret as pack
from empty_calls import EFFORT, ITSELF, MODELS, NEEDED, VALUES, Value
from empty_claims import DATA, FIVE, FLAT, MODEL, OTHER, POPULATION, Claim, titled
from robustest_interpret import (
    Discovery,
    measure_class_evidence,
    measure_gradient_alignment,
    measure_invertible_features,
    measure_no_backdoor_trigger,
    measure_no_failure_direction,
    measure_sparse_head,
)
from robustest_interpret.pack import robustest_kinds
from says_something import SaysSomething, Table
from small_subjects import Bright, Constant, Data, OneClass, loaded

from robustest import RobustestError, UnknownNameError, Verdict
from robustest.measure import measure_no_spurious_feature

VALUES_OF_PACK: dict[str, Value] = {
    **VALUES,
    "judge": Value(sound=lambda w: w.other, same=ITSELF, constant=MODELS),
    "reference": Value(sound=lambda w: Bright(scale=-10.0).eval(), same=ITSELF),  # noqa: ARG005
    "eps": Value(sound=lambda w: 1.0, still=lambda w: 0.0),  # noqa: ARG005
    "max_features_per_class": Value(sound=lambda w: 5),  # noqa: ARG005
    # Its claim is about features, which vary where the class does not.
    "invertible_features.model": Value(
        sound=lambda w: w.model,
        constant=(lambda w: Constant(0).eval(),),  # noqa: ARG005
    ),
}
EFFORT_OF_PACK: dict[str, Any] = {
    **EFFORT,
    "invertible_features.iterations": 300,
    "min_driven": 1,
    "min_per_class": 5,
    "n_lambdas": 8,
    "patch_sizes": [1, 3],
    "subsamples": 0,
}


class TestOfThePack(SaysSomething):
    table = Table(
        assertions={kind.name: (kind, getattr(pack, kind.assertion)) for kind in robustest_kinds()},
        values=VALUES_OF_PACK,
        effort=EFFORT_OF_PACK,
        needed={**NEEDED, "min_gain": ("reference",)},
        without_labels={"invertible_features": "it compares images"},
    )

    @pytest.fixture(autouse=True)
    def _kinds_that_search(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(
            empty_calls.SEARCHES, "invertible_features", "it searches for images with the features of others"
        )
        monkeypatch.setitem(
            empty_calls.SEARCHES,
            "no_backdoor_trigger",
            "it searches for patches, of which each changes every sample",
        )


QUICK_HEAD: dict[str, Any] = {"max_features_per_class": 5, "n_lambdas": 8, "subsamples": 0, "min_per_class": 5}
BACKDOOR: dict[str, Any] = {"iterations": 5, "patch_sizes": [1, 3]}
EVIDENCE: dict[str, Any] = {"eps": 1.0, "iterations": 5, "min_driven": 1}


def of(model: Any, data: Data = DATA) -> dict[str, Claim]:
    """Every claim on a model, at thresholds that a constant model keeps."""
    few = (data[0][:40], data[1][:40])
    return {
        "cues that a search finds": lambda: measure_no_spurious_feature(
            model, data, Discovery(trigger_steps=0), max_flip_rate=0.1
        ),
        "backdoor": lambda: measure_no_backdoor_trigger(model, data, max_anomaly=9.0, **BACKDOOR),
        "failure direction": lambda: measure_no_failure_direction(
            model, data, max_excess_error=0.9, permutations=19, alpha=0.1
        ),
        "sparse head": lambda: measure_sparse_head(model, data, max_drop=0.5, **QUICK_HEAD),
        "alignment": lambda: measure_gradient_alignment(model, data, at_least=-0.5),
        "evidence": lambda: measure_class_evidence(model, data, judge=OTHER, min_transfer=0.1, **EVIDENCE),
        "judge of evidence": lambda: measure_class_evidence(MODEL, data, judge=model, min_transfer=0.2, **EVIDENCE),
        "inverted features": lambda: measure_invertible_features(model, few, max_image_error=0.9, iterations=3),
    }


UNFIT = {"cues that a search finds", "judge of evidence", "inverted features", "alignment", "evidence"}
"""Rows of `of` that are of another model, or that no model should keep."""
EMPTY: dict[str, Claim] = {
    **titled("constant logits", of(FLAT)),
    **titled("one class", of(OneClass().eval())),
    "alignment, no gain on itself": lambda: measure_gradient_alignment(MODEL, DATA, reference=MODEL, min_gain=-0.5),
    "alignment, no gain on equal weights": lambda: measure_gradient_alignment(
        MODEL, DATA, reference=loaded(MODEL), min_gain=-0.1
    ),
    "evidence, it judges itself": lambda: measure_class_evidence(
        MODEL, DATA, judge=MODEL, eps=1.0, iterations=10, min_transfer=0.5
    ),
    "evidence, equal weights judge": lambda: measure_class_evidence(
        MODEL, DATA, judge=loaded(MODEL), eps=1.0, iterations=10, min_transfer=0.5
    ),
    "evidence within 0": lambda: measure_class_evidence(
        MODEL, DATA, judge=OTHER, min_transfer=0.1, **{**EVIDENCE, "eps": 0.0}
    ),
    "evidence, at random": lambda: measure_class_evidence(MODEL, DATA, judge=OTHER, min_transfer=0.2, **EVIDENCE),
    "alignment below that of noise": lambda: measure_gradient_alignment(MODEL, DATA, at_least=-0.5),
    "gain that any model has": lambda: measure_gradient_alignment(MODEL, DATA, reference=OTHER, min_gain=-1.5),
    "alignment, copies of five": lambda: measure_gradient_alignment(MODEL, FIVE, at_least=0.2, **POPULATION),
    "alignment, one cluster": lambda: measure_gradient_alignment(
        MODEL, (DATA[0][:100], DATA[1][:100]), at_least=0.2, cluster=["video"] * 100, **POPULATION
    ),
}
SOUND: dict[str, Claim] = {
    **titled("a model", {name: claim for name, claim in of(MODEL).items() if name not in UNFIT}),
    "alignment": lambda: measure_gradient_alignment(MODEL, DATA, at_least=0.2),
    "alignment, drawn alone": lambda: measure_gradient_alignment(MODEL, DATA, at_least=0.2, **POPULATION),
    "alignment, beside another": lambda: measure_gradient_alignment(
        MODEL, DATA, reference=Bright(scale=-10.0).eval(), min_gain=1.5
    ),
    "evidence": lambda: measure_class_evidence(MODEL, DATA, judge=OTHER, min_transfer=0.4, **EVIDENCE),
    "evidence, another judges": lambda: measure_class_evidence(
        MODEL, DATA, judge=OTHER, eps=1.0, iterations=10, min_transfer=0.5
    ),
}


@pytest.mark.filterwarnings("ignore::robustest.HealthWarning")
@pytest.mark.parametrize("claim", EMPTY.values(), ids=EMPTY)
def test_an_empty_claim_is_not_green(claim: Callable[[], Any]) -> None:
    try:
        result = claim()
    except UnknownNameError:
        raise
    except RobustestError:
        return
    assert result.verdict is not Verdict.PASSED, result.rule


@pytest.mark.filterwarnings("ignore::robustest.HealthWarning")
@pytest.mark.parametrize("claim", SOUND.values(), ids=SOUND)
def test_a_sound_claim_is_green(claim: Callable[[], Any]) -> None:
    result = claim()
    assert result.verdict is Verdict.PASSED, result.rule
