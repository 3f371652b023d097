"""Grounds of a pass, each rule alone and where results are made: changes, models that differ, constant answers."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustest import ConfigError, Linf, Result, Verdict, as_classifier, labels_model, scores_model
from robustest.columns import AGAIN, ALONE, ANSWER, APART, CHANGED, LEAD, PAST, SHOWN
from robustest.decisions import ShareRule, Terms, clopper_pearson
from robustest.decisions.baseline import BaselineRule
from robustest.decisions.mean import CONSTANT_COUNTS, ScoreRule
from robustest.decisions.strata import StrataRule
from robustest.health import HEALTH_CHECKS
from robustest.kinds import Kind, Quantity
from robustest.measure import (
    measure_accuracy,
    measure_calibrated,
    measure_certified_accuracy,
    measure_robust_accuracy,
    measure_robust_score,
    measure_selective_accuracy,
    measure_shift_accuracy,
    measure_transfer_accuracy,
    measure_worst_group_accuracy,
)
from robustest.run.evidence import CLASS, CONSTANT, OtherModel
from robustest.run.grounds import (
    MOVED,
    Changed,
    changes_of,
    constant_of,
    findings_of,
    keeps,
    new_samples,
    one_model,
    require_changes,
)

sys.path.insert(0, str(Path(__file__).parents[2]))
from made_results import DOWN, FAIL, KIND, OPEN, PASS, UP, evidence, finished

sys.path.pop(0)

TERMS = Terms(scope="set", alpha=0.01, fail_alpha=0.01)
VARYING = replace(KIND, varies="inputs")
SHARE = replace(UP, constant=True)


def change(by: str, moved: int, of: int = 20, *, cut: int | None = None, worst: float | None = None) -> Changed:
    mask = None if cut is None else np.arange(of) < cut
    return Changed(by=by, moved=np.arange(of) < moved, cut=mask, worst=worst)


def shown(*kinds: int) -> dict[str, NDArray[Any]]:
    """The column of what the model was shown, of 20 samples: these in turn."""
    return {SHOWN: np.resize(np.array(kinds, dtype=np.int8), 20)}


# Changes that could not have failed a claim


@pytest.mark.parametrize(
    ("worst", "threshold", "at_least", "kept"),
    [
        (0.5, 0.5, True, True),
        (0.5 - 1e-12, 0.5, True, True),
        (0.5 - 1e-6, 0.5, True, False),
        (0.6, 0.5, True, True),
        (0.5, 0.5, False, True),
        (0.5 + 1e-12, 0.5, False, True),
        (0.5 + 1e-6, 0.5, False, False),
        (0.4, 0.5, False, True),
        (0.5, None, True, False),
        (0.5, None, False, False),
    ],
)
def test_a_value_keeps_a_threshold_up_to_rounding(
    worst: float, threshold: float | None, at_least: bool, kept: bool
) -> None:
    assert keeps(worst, threshold, at_least=at_least) is kept
    found = require_changes(PASS, [change("it", 3, worst=worst)], threshold, at_least=at_least)
    assert found.verdict is (Verdict.INCONCLUSIVE if kept else Verdict.PASSED)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ([], ""),
        ([change("a", 1)], ""),
        (
            [change("a", 0)],
            "nothing was tested: a changes none of 20 samples; leave it out, or check its strength and units",
        ),
        ([change("a", 1), change("b", 0), change("c", 0)], "nothing was tested: b; c changes none of 20 samples"),
        ([change(name, 0) for name in "abc"], "nothing was tested: a; b; c changes none"),
        ([change(name, 0) for name in "abcd"], "nothing was tested: a; b; c and 1 more changes none"),
        ([change(name, 0) for name in "abcde"], "nothing was tested: a; b; c and 2 more changes none"),
        ([change("a", 4, cut=3)], ""),
        (
            [change("a", 4, cut=4)],
            "nothing was tested: a leaves 4 samples with nothing but values cut off at the bounds",
        ),
        ([change("a", 4, cut=4), change("b", 0)], "nothing was tested: b changes none of 20 samples"),
        (
            [change("a", 4, worst=0.4), change("b", 3, worst=0.8)],
            "nothing could have failed it: b changes 3 of 20 samples, and the others suffice",
        ),
        ([change("a", 4, worst=None), change("b", 3, worst=0.49)], ""),
    ],
)
def test_a_pass_needs_changes_that_could_have_failed_it(changes: list[Changed], rule: str) -> None:
    result = finished(changed=changes)
    if not rule:
        assert result.verdict is Verdict.PASSED
        return
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.rule.startswith(rule)
    assert result.ruling.reasons == ("unchanged",)
    for decision in (FAIL, OPEN):
        assert finished(decision=decision, changed=changes).rule == decision.rule


def test_changes_are_details_and_caveats() -> None:
    ones = [
        change("a", 20, worst=0.9),
        change("b", 4, worst=0.2),
        change("c", 3, worst=0.3),
        change("d", 5, worst=float("inf")),
    ]
    result = finished(changed=ones)
    assert result.details["changed"] == {"a": 20, "b": 4, "c": 3, "d": 5}
    assert result.details["nothing_fails_at"] == 0.3
    assert "nothing_tested" not in result.details
    assert "c changes 3 of 20 samples" in result.words.caveats
    assert not any(one.startswith(("a ", "b ", "d ")) for one in result.words.caveats)
    assert finished(changed=ones, quantity=DOWN, threshold=0.1).details["nothing_fails_at"] == 0.2
    assert "nothing_fails_at" not in finished(changed=[change("a", 20, worst=0.9)]).details
    assert finished(changed=[change("a", 0)]).details["nothing_tested"].startswith("nothing was tested: a changes none")
    assert "a changes no sample" in finished(changed=[change("a", 0), change("b", 20)]).words.caveats
    assert {"a changes no sample", "b changes 7 of 20 samples"} <= {
        *finished(changed=[change("a", 0), change("b", 7)]).words.caveats
    }
    assert not {"changed", "nothing_fails_at", "nothing_tested"} & finished().details.keys()


@pytest.mark.parametrize(
    ("moved", "cut", "caveat"), [(8, 3, False), (8, 4, True), (8, 5, True), (0, 0, False), (8, None, False)]
)
def test_what_is_cut_off_at_the_bounds_is_a_caveat(moved: int, cut: int | None, caveat: bool) -> None:
    caveats = finished(decision=FAIL, changed=[change("it", moved, cut=cut)]).words.caveats
    assert (f"it is cut off at the bounds in {cut} of {moved} samples: check its units" in caveats) is caveat


@pytest.mark.parametrize(("cut", "lost"), [(None, 0), ([False, False, False], 0), ([True, False, True], 2)])
def test_samples_of_which_nothing_is_left_are_counted(cut: list[bool] | None, lost: int) -> None:
    moved = np.array([True, True, False])
    one = Changed(by="the shift", moved=moved, cut=None if cut is None else np.array(cut))
    assert (one.count, one.lost) == (2, lost)


def test_a_fall_that_so_few_changes_cannot_exceed_shows_nothing() -> None:
    """Of 20 samples two change: a fall of a tenth cannot be exceeded, one of a twentieth can."""
    two = [change("it", 2)]
    for tolerance, verdict in ((None, "passed"), (0.05, "passed"), (0.1, "inconclusive"), (0.2, "inconclusive")):
        found = require_changes(PASS, two, None, at_least=True, tolerance=tolerance)
        assert str(found.verdict) == verdict
        if found.verdict is Verdict.INCONCLUSIVE:
            assert (
                found.rule
                == f"nothing could have failed it: it changes 2 of 20 samples, and a fall of {tolerance:g} is allowed"
            )
    assert require_changes(PASS, [change("it", 3)], None, at_least=True, tolerance=0.1) is PASS


def test_a_pass_without_grounds_is_no_proof() -> None:
    found = require_changes(replace(PASS, proven=True), [change("it", 0)], 0.5, at_least=True)
    assert (found.verdict, found.proven) == (Verdict.INCONCLUSIVE, False)


@pytest.mark.parametrize(("radius", "count"), [(0.1, 7), (0.0, 0)])
def test_of_a_threat_alone_the_radius_tells(radius: float, count: int) -> None:
    found = Changed.within(Linf(radius), 7)
    assert (found.by, found.count, len(found.moved)) == (str(Linf(radius)), count, 7)


# What a look showed


def test_what_the_evaluator_saw_is_what_was_varied() -> None:
    (found,) = changes_of(VARYING, evidence(columns=shown(CHANGED, AGAIN, ALONE, CHANGED)), (), None, by="the change")
    assert (found.by, found.count, found.worst) == ("the change", 10, None)
    assert found.moved.tolist() == [True, False, False, True] * 5


def test_a_look_may_say_itself_what_moved_but_not_against_the_evaluator() -> None:
    moves = np.arange(20) < 12
    columns = {MOVED: moves, **shown(CHANGED, AGAIN)}
    (found,) = changes_of(VARYING, evidence(columns=columns), (), None, by="it")
    assert found.moved.tolist() == (moves & (np.arange(20) % 2 == 0)).tolist()
    for kinds in ((APART,), (ALONE,), (CHANGED,)):  # inputs that are not aligned say nothing against it
        (found,) = changes_of(VARYING, evidence(columns={MOVED: moves, **shown(*kinds)}), (), None, by="it")
        assert found.count == 12
    (found,) = changes_of(VARYING, evidence(columns={MOVED: moves}), (), None, by="it")
    assert found.count == 12


def test_one_change_that_a_kind_reports_counts_where_the_model_saw_it() -> None:
    given, columns = change("it", 20), shown(CHANGED, AGAIN)
    (found,) = changes_of(VARYING, evidence(columns=columns), [given], None, by="else")
    assert (found.by, found.count) == ("it", 10)
    (found,) = changes_of(KIND, evidence(columns=columns), [given], None, by="else")
    assert found.count == 10, "whatever the kind says that it varies"
    (found,) = changes_of(VARYING, evidence(columns=columns), [change("it", 7, of=9)], None, by="else")
    assert found.count == 7, "of other samples"
    several = [given, change("b", 3)]
    assert changes_of(VARYING, evidence(columns=columns), several, None, by="else") == tuple(several)
    assert changes_of(VARYING, evidence(), [given], None, by="else") == (given,)


@pytest.mark.parametrize("varies", ["inputs", "sets"])
@pytest.mark.parametrize("columns", [{}, shown(APART), shown(CHANGED, APART)], ids=["none", "apart", "some apart"])
def test_a_kind_that_varies_something_says_what(columns: dict[str, Any], varies: Any) -> None:
    with pytest.raises(ConfigError, match="to say which samples it varied but its look returned no column 'moved'"):
        changes_of(replace(KIND, varies=varies), evidence(columns=columns), (), None, by="it")
    with pytest.raises(ConfigError, match="'made'"):
        finished(evidence(columns=columns), kind=VARYING)


@pytest.mark.parametrize("kind", [AGAIN, CHANGED, APART])
def test_a_kind_that_varies_nothing_shows_each_sample_once(kind: int) -> None:
    assert changes_of(KIND, evidence(), (), None, by="it") == ()
    assert changes_of(KIND, evidence(columns=shown(ALONE)), (), None, by="it") == ()
    with pytest.raises(ConfigError, match=r"to ask once about each sample as it is.*Say varies=\"inputs\""):
        changes_of(KIND, evidence(columns=shown(*[ALONE] * 19, kind)), (), None, by="it")
    with pytest.raises(ConfigError, match="ask once"):
        finished(evidence(columns=shown(kind)))


@pytest.mark.parametrize("given", [[], [change("it", 20)]], ids=["nothing given", "given"])
@pytest.mark.parametrize("kind", [KIND, VARYING], ids=["nothing", "inputs"])
def test_a_look_without_a_pass_is_refused(kind: Kind, given: list[Changed]) -> None:
    with pytest.raises(ConfigError, match="to ask the model by its evaluator but it made no pass"):
        changes_of(kind, evidence(columns=shown(*[CHANGED] * 19, PAST)), given, None, by="it")


def rules(at_least: bool = True, column: str = "held") -> list[Any]:
    """A rule on a share, alone, within a comparison, and by strata."""
    share = ShareRule(threshold=0.5, at_least=at_least, terms=TERMS, column=column)
    before = np.ones(20, dtype=bool)
    beside = BaselineRule(other=share, has_threshold=True, before=before, tolerance=0.0, terms=TERMS)
    return [share, beside, StrataRule(whole=share, nouns=("object", "objects"), gates=False, alpha=0.01)]


@pytest.mark.parametrize("place", range(3))
def test_a_rule_on_a_share_bounds_what_unchanged_samples_hold(place: int) -> None:
    """Three in four hold, and ten of 20 change, of which eight hold: seven hold whatever the model does."""
    found = evidence(columns=shown(*[CHANGED] * 10, *[ALONE] * 10))
    (one,) = changes_of(VARYING, found, (), rules()[place], by="it")
    assert one.worst == 7 / 20
    (one,) = changes_of(VARYING, found, (), rules(at_least=False)[place], by="it")
    assert one.worst == (10 + 3) / 20
    result = finished(found, kind=VARYING, claim=rules()[place], threshold=0.35)
    assert result.rule.startswith("nothing could have failed it: here changes 10 of 20 samples")
    assert finished(found, kind=VARYING, claim=rules()[place], threshold=0.36).verdict is Verdict.PASSED


def test_other_rules_bound_nothing() -> None:
    found = evidence(columns={**shown(CHANGED, ALONE), "score": np.ones(20)})
    for rule in (None, ScoreRule(threshold=0.5, terms=TERMS)):
        (one,) = changes_of(VARYING, found, (), rule, by="it")
        assert (one.count, one.worst) == (10, None)
    empty = evidence([], columns={SHOWN: np.zeros(0, np.int8)})
    assert changes_of(VARYING, empty, (), rules()[0], by="it")[0].worst is None


def test_a_column_of_the_rule_is_the_one_that_counts() -> None:
    other = np.arange(20) < 4
    found = evidence(columns={**shown(*[CHANGED] * 2, *[ALONE] * 18), "other": other})
    (one,) = changes_of(VARYING, found, (), rules(column="other")[0], by="it")
    assert one.worst == 2 / 20


# Two sets


def inputs(names: str, **fields: Any) -> Any:
    return evidence(
        [True] * len(names), inputs=tuple(name.encode() for name in names), **{"may_repeat": False, **fields}
    )


@pytest.mark.parametrize(
    ("first", "second", "new"),
    [
        ("abcd", "abcd", [False] * 4),
        ("abcd", "dcba", [False] * 4),
        ("abcd", "abce", [False, False, False, True]),
        ("abcd", "efgh", [True] * 4),
        ("abcd", "ab", [False, False]),
        ("ab", "abab", [False] * 4),
        ("", "ab", [True, True]),
    ],
)
def test_samples_that_the_first_set_has_are_not_new(first: str, second: str, new: list[bool]) -> None:
    assert new_samples(inputs(first), inputs(second)).tolist() == new


@pytest.mark.parametrize(
    ("second", "new"), [("abcd", False), ("dcba", False), ("abce", True), ("ab", True), ("aabcd", True)]
)
def test_rows_that_may_be_equal_by_chance_are_new_unless_the_sets_are_the_same(second: str, new: bool) -> None:
    found = new_samples(inputs("abcd", may_repeat=True), inputs(second, may_repeat=True))
    assert found.tolist() == [new] * len(second)


IMAGES = torch.rand(60, 1, 3, 3, generator=torch.Generator().manual_seed(0))
MORE = torch.rand(60, 1, 3, 3, generator=torch.Generator().manual_seed(1))


class Bright(nn.Module):
    """Class 1 of two above a half."""

    def __init__(self, scale: float = 4.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        lead = self.scale * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-lead, lead], 1)


def labelled(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, (x.flatten(1).mean(1) > 0.5).long()


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        (IMAGES, "nothing was tested: the second set brings none of 60 samples"),
        (IMAGES.flip(0), "nothing was tested: the second set brings none of 60 samples"),
        (MORE, ""),
        (torch.cat([IMAGES[:59], MORE[:1]]), "nothing could have failed it: the second set brings 1 of 60 samples"),
        (torch.cat([IMAGES[:30], MORE[:30]]), ""),
        (IMAGES.flatten(1), "nothing was tested: the second set brings none of 60 samples"),
        (torch.cat([IMAGES[:59], MORE[:1]]).flatten(1), ""),
    ],
    ids=["the same", "in another order", "others", "one other", "half", "the same rows", "one other row"],
)
def test_a_second_set_without_samples_of_its_own_shows_nothing(target: Tensor, rule: str) -> None:
    source = labelled(IMAGES if target.ndim == 4 else IMAGES.flatten(1))
    for threshold in ({"max_drop": 0.3}, {"at_least": 0.8}):
        found = measure_transfer_accuracy(Bright(), source, labelled(target), exact=True, **threshold)
        assert found.verdict is (Verdict.INCONCLUSIVE if rule else Verdict.PASSED), found.rule
        assert found.rule.startswith(rule)


# One model on both sides


def beside(own: object, other: object, **options: Any) -> Result:
    return measure_accuracy(own, labelled(IMAGES), no_worse_than=other, **options)


def message(result: Result) -> str:
    return " ".join(one["message"] for one in result.details["health"] if one["name"] == "same_model")


NET = Bright()


def by_function(x: NDArray[Any]) -> NDArray[Any]:
    return NET(torch.as_tensor(x)).detach().numpy()  # type: ignore[no-any-return]


def by_another(x: NDArray[Any]) -> NDArray[Any]:
    scores = NET(torch.as_tensor(x)).detach().numpy()
    return scores + 0.0  # type: ignore[no-any-return]


def twice(x: NDArray[Any]) -> NDArray[Any]:
    return 2 * by_function(x)


@pytest.mark.parametrize(
    ("own", "other", "reason"),
    [
        (NET, NET, "is the model itself"),
        (as_classifier(NET), as_classifier(NET), "is the model itself"),
        (by_function, by_function, "is the model itself"),
        (NET, copy.deepcopy(NET), "has the weights and the code of the model"),
        (scores_model(by_function), scores_model(by_another), "gives the scores of the model on every sample"),
        (NET, scores_model(by_function), "gives the scores of the model on every sample"),
        (NET, Bright(4.1), ""),
        (scores_model(by_function), scores_model(twice), ""),
    ],
    ids=["object", "module", "function", "copy", "functions", "module and function", "other weights", "other scores"],
)
def test_a_model_is_compared_with_another_one(own: object, other: object, reason: str) -> None:
    found = beside(own, other)
    assert found.verdict is (Verdict.INCONCLUSIVE if reason else Verdict.PASSED)
    assert reason in message(found)
    assert bool(message(found)) is bool(reason)
    if reason:
        assert (found.rule, found.ruling.reasons) == ("health check: same_model", ("health:same_model",))
        assert beside(own, other, suppress=("same_model",)).verdict is Verdict.PASSED


def test_two_models_that_give_labels_may_agree_on_all_of_them() -> None:
    own, other = (
        labels_model(lambda x, at=at: (x.reshape(len(x), -1).mean(1) > at).astype(int), classes=2)
        for at in (0.5, 0.5 + 1e-9)
    )
    assert beside(own, other).verdict is Verdict.PASSED
    assert message(beside(own, own))


def test_of_equal_scores_a_single_one_that_differs_tells() -> None:
    columns = {ANSWER: np.arange(5.0), LEAD: np.arange(5.0) / 7}
    assert one_model(columns, {name: column.copy() for name, column in columns.items()})
    for name, column in columns.items():
        other = {**columns, name: column + np.array([0, 0, 0, 0, 1e-12])}
        assert not one_model(columns, other)
        unknown = {**columns, name: np.full(5, np.nan)}
        assert not one_model(unknown, unknown), "what no look asked for tells nothing"
        assert not one_model(columns, {key: one for key, one in columns.items() if key != name})


def test_a_comparison_that_fails_stays_red() -> None:
    same = OtherModel(model="", outcomes=None, counts={}, same="it is one")
    for decision in (FAIL, OPEN):
        assert finished(evidence(beside=same), decision).rule == decision.rule
    assert finished(evidence(beside=same)).rule == "health check: same_model"
    assert finished(evidence(beside=replace(same, same=""))).verdict is Verdict.PASSED
    assert finished(evidence(beside=same), settings={"suppress": ("same_model",)}).verdict is Verdict.PASSED


# Constant answers


def classes(*counts: int) -> dict[str, NDArray[Any]]:
    """The classes of 20 samples, of which the first has so many."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return {CLASS: labels}


def found_in(result: Result) -> str:
    return " ".join(one["message"] for one in result.details["health"] if one["name"] == "constant_answer")


@pytest.mark.parametrize(
    ("quantity", "threshold", "constant", "found"),
    [
        (UP, 0.5, 0.5, True),
        (UP, 0.5, 0.5 - 1e-12, True),
        (UP, 0.5, 0.49, False),
        (UP, 0.5, None, False),
        (UP, None, 0.9, False),
        (DOWN, 0.5, 0.5, True),
        (DOWN, 0.5, 0.51, False),
        (DOWN, 0.5, 0.4, True),
        (DOWN, None, 0.4, False),
    ],
)
def test_a_threshold_that_one_answer_reaches_shows_nothing(
    quantity: Quantity, threshold: float | None, constant: float | None, found: bool
) -> None:
    result = finished(quantity=quantity, threshold=threshold, constant=constant)
    told = found_in(result)
    assert bool(told) is found
    assert result.details.get("constant_answer") == constant
    if found:
        assert (result.verdict, result.rule) == (Verdict.INCONCLUSIVE, "health check: constant_answer")
        assert f"one answer for every sample reaches {constant:.3f}, and {quantity.threshold}=0.5 is claimed" in told
        quiet = {"suppress": ("constant_answer",)}
        assert finished(quantity=quantity, threshold=0.5, constant=constant, settings=quiet).verdict is Verdict.PASSED
        for decision in (FAIL, OPEN):
            assert finished(None, decision, quantity=quantity, threshold=0.5, constant=constant).rule == decision.rule
    else:
        assert result.verdict is Verdict.PASSED


def test_a_proof_does_not_help_a_claim_that_one_answer_reaches() -> None:
    proven = replace(PASS, proven=True)
    assert finished(None, proven, constant=0.6).rule == "health check: constant_answer"
    assert {"constant_answer", "same_model"} <= set(HEALTH_CHECKS)


@pytest.mark.parametrize(("largest", "found"), [(9, False), (10, True), (15, True)])
def test_a_share_of_right_answers_is_compared_with_the_largest_class(largest: int, found: bool) -> None:
    columns = classes(largest, 20 - largest) if largest > 9 else classes(9, 6, 5)
    result = finished(evidence(columns=columns), quantity=SHARE)
    assert bool(found_in(result)) is found
    assert result.details["constant_answer"] == largest / 20
    other = finished(evidence(columns=columns))  # of a quantity that is no share of right answers
    assert not found_in(other)
    assert "constant_answer" not in other.details


def test_what_a_kind_knows_goes_before_what_columns_say() -> None:
    columns = classes(15, 5)
    assert constant_of(evidence(columns=columns), SHARE, 0.2, alpha=0.01) == 0.2
    assert constant_of(evidence(columns=columns), SHARE, None, alpha=0.01) == 0.75
    assert constant_of(evidence(columns=columns), UP, None, alpha=0.01) is None
    assert constant_of(evidence([], columns={CLASS: np.zeros(0)}), SHARE, None, alpha=0.01) is None
    said = {**columns, CONSTANT: np.arange(20) < 5}
    assert constant_of(evidence(columns=said), SHARE, None, alpha=0.01) == 0.25
    # Intersections and unions of two classes: one has half of its union, the other none.
    counts = {**said, CONSTANT_COUNTS: np.tile(np.array([2, 0, 4, 2]), (20, 1))}
    assert constant_of(evidence(columns=counts), SHARE, None, alpha=0.01) == 0.25
    counts[CONSTANT_COUNTS] = np.tile(np.array([3, 0, 4, 1]), (20, 1))
    assert constant_of(evidence(columns=counts), SHARE, None, alpha=0.01) == pytest.approx(3 / 8)


def test_of_samples_that_were_read_before_an_early_verdict_the_share_is_a_bound() -> None:
    part = evidence(total=100, columns=classes(10, 10))
    bound = clopper_pearson(10, 20, 0.01)[0]
    assert constant_of(part, SHARE, None, alpha=0.01) == bound < 0.3
    assert not found_in(finished(part, quantity=SHARE, threshold=0.4))
    assert found_in(finished(part, quantity=SHARE, threshold=bound))
    assert found_in(finished(part, quantity=SHARE, threshold=0.4, constant=0.5))


class Unlabelled(torch.utils.data.Dataset[Any]):
    """Samples whose labels take a reading."""

    def __init__(self, pair: tuple[Tensor, Tensor]) -> None:
        self.pair = pair

    def __len__(self) -> int:
        return len(self.pair[0])

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        return self.pair[0][at], int(self.pair[1][at])


def test_an_early_verdict_knows_the_labels_of_all_samples_where_they_take_no_reading() -> None:
    many = labelled(torch.rand(600, 1, 3, 3, generator=torch.Generator().manual_seed(2)))
    share = float(many[1].bincount().max() / 600)
    known, unknown = (measure_accuracy(Bright(), data, at_least=0.48) for data in (many, Unlabelled(many)))
    assert known.numbers.n == unknown.numbers.n < 600
    assert known.details["constant_answer"] == pytest.approx(share)
    assert (known.verdict, known.rule) == (Verdict.INCONCLUSIVE, "health check: constant_answer")
    assert unknown.details["constant_answer"] < 0.48
    assert unknown.verdict is Verdict.PASSED
    low = measure_accuracy(Bright(), Unlabelled(many), at_least=0.2)
    assert low.rule == "health check: constant_answer"
    whole = measure_accuracy(Bright(), Unlabelled(many), at_least=0.48, exact=True)
    assert whole.rule == "health check: constant_answer"


READ = Unlabelled(labelled(torch.rand(100, 1, 3, 3, generator=torch.Generator().manual_seed(2))))
SMALL: dict[str, Any] = {"attack": "fgsm", "exact": True}


@pytest.mark.parametrize(
    ("measure", "near", "beyond"),
    [
        (lambda at: measure_accuracy(Bright(), READ, at_least=at, exact=True), 0.5, 0.9),
        (lambda at: measure_robust_accuracy(Bright(), READ, Linf(1e-4), at_least=at, **SMALL), 0.5, 0.9),
        (lambda at: measure_certified_accuracy(Bright(), READ, Linf(1e-4), at_least=at, **SMALL), 0.5, 0.9),
        (
            lambda at: measure_robust_score(Bright(), READ, Linf(1e-4), task="classification", at_least=at, **SMALL),
            0.5,
            0.9,
        ),
        (lambda at: measure_selective_accuracy(Bright(), READ, coverage=0.9, at_least=at), 0.5, 0.9),
        (lambda at: measure_calibrated(Bright(50.0), READ, max_brier=at, exact=True), 0.5, 0.3),
        (lambda at: measure_worst_group_accuracy(Bright(), READ, ["a", "b"] * 50, at_least=at, exact=True), 0.4, 0.9),
    ],
    ids=["accuracy", "robust", "certified", "score", "selective", "Brier", "groups"],
)
def test_labels_that_are_read_with_their_samples_are_known_afterwards(measure: Any, near: float, beyond: float) -> None:
    assert measure(near).rule == "health check: constant_answer"
    assert measure(beyond).verdict is Verdict.PASSED


def answers(values: Any, several: bool = True) -> dict[str, NDArray[Any]]:
    labels = np.arange(20) % 2 if several else np.zeros(20)
    return {ANSWER: np.resize(np.array(values, dtype=float), 20), CLASS: labels}


@pytest.mark.parametrize(
    ("columns", "given", "found"),
    [
        (answers([1.0]), None, "Look at its output, its preprocessing and its mode"),
        (answers([1.0], several=False), None, "Give samples of all classes"),
        ({ANSWER: np.ones(20)}, None, "Look at its output, its preprocessing and its mode"),
        (answers([1.0] * 19 + [0.0]), None, ""),
        (answers([np.nan]), None, ""),
        (answers([1.0]), np.arange(20), ""),
        (answers([0.0, 1.0]), np.zeros(20), "Look at its output"),
        ({}, None, ""),
        ({}, np.zeros(20), "Look at its output"),
    ],
    ids=["one", "one class", "no classes", "two", "unknown", "others given", "given", "none", "given alone"],
)
def test_a_model_that_says_one_thing_shows_nothing(columns: dict[str, Any], given: Any, found: str) -> None:
    for threshold in (0.5, None):  # a comparison alone as well
        result = finished(evidence(columns=columns), threshold=threshold, answers=given)
        told = found_in(result)
        assert bool(told) is bool(found)
        assert found in told
        assert result.verdict is (Verdict.INCONCLUSIVE if found else Verdict.PASSED)
    if found:
        assert "the model gives one answer to all of 20 samples" in told
        quiet = {"suppress": ("constant_answer",)}
        assert finished(evidence(columns=columns), answers=given, settings=quiet).verdict is Verdict.PASSED


def test_of_one_sample_an_answer_is_not_constant() -> None:
    one = evidence([True], columns={ANSWER: np.ones(1)})
    assert findings_of(one, UP, 0.5, None, answers=None, suppress=()) == ()
    assert findings_of(one, UP, 0.5, 1.0, answers=None, suppress=())[0].name == "constant_answer"


def test_the_first_reason_against_a_pass_is_told() -> None:
    """A change that was none goes before an empty claim: it has to be mended first."""
    found = finished(evidence(columns=answers([1.0])), changed=[change("it", 0)], constant=0.9)
    assert found.rule.startswith("nothing was tested: it changes none of 20 samples")
    assert not found_in(found), "of a claim that passes nothing anyway nobody has to hear it"


def test_real_models_that_say_one_thing_pass_nothing() -> None:
    class Stuck(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[3.0, -2.0]]).repeat(len(x), 1) + 0 * x.flatten(1)[:, :2]

    x, y = labelled(IMAGES)
    y = torch.where(torch.arange(60) < 50, 0, y)
    dark = torch.where((torch.arange(60) < 50).view(-1, 1, 1, 1), 0.4 * x, x)

    def darker(z: Tensor) -> Tensor:
        return 0.95 * z

    for model, data, at_least, rule in (
        (Stuck(), (dark, y), 0.8, "health check: constant_answer"),
        (Bright(), (dark, y), 0.8, "health check: constant_answer"),
        (Bright(), (dark, y), 0.95, ""),
        (Bright(), (dark[:50], y[:50]), 0.95, "health check: constant_answer"),
    ):
        found = measure_shift_accuracy(model, data, darker, at_least=at_least, exact=True)
        assert found.verdict is (Verdict.INCONCLUSIVE if rule else Verdict.PASSED), (found.rule, found.estimate)
        assert not rule or found.rule == rule
