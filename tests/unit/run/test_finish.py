"""A result says what its evidence and its decision say: verdicts, ends, levels, details, caveats and pictures."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustest import context
from robustest.decisions import Decision
from robustest.decisions.drop import LABEL
from robustest.decisions.rule import Stratum
from robustest.health import Health, HealthFinding
from robustest.results import Pairing, Verdict
from robustest.run.evidence import CLASS, REPLAYED, Exhibit, Tally
from robustest.run.finish import apply_findings as after_findings
from robustest.run.finish import fall_from, fallible, few
from robustest.threats import Snr

sys.path.insert(0, str(Path(__file__).parents[2]))
from made_results import DOWN, FAIL, OPEN, PASS, evidence, finished

sys.path.pop(0)


@pytest.mark.parametrize(
    ("at_alpha", "exact", "alpha"), [(True, False, 0.03), (True, True, 0.03), (False, False, 0.03), (False, True, 0.0)]
)
def test_a_result_states_the_error_that_its_verdict_may_take(at_alpha: bool, exact: bool, alpha: float) -> None:
    result = finished(decision=replace(PASS, at_alpha=at_alpha), settings={"alpha": 0.03, "exact": exact})
    assert (result.ruling.alpha, result.ruling.at_alpha) == (alpha, at_alpha)


@pytest.mark.parametrize(
    ("bounds", "about", "interval"),
    [
        ("", {}, (0.6, 0.9)),
        ("above", {}, (0.0, 0.9)),
        ("above", {"least": -1.0}, (-1.0, 0.9)),
        ("above", {"least": 0.7}, (0.6, 0.9)),
        ("below", {}, (0.6, 1.0)),
        ("below", {"widest": 5.0}, (0.6, 5.0)),
        ("below", {"widest": 0.2}, (0.6, 0.9)),
        ("below", {"widest": None}, (0.6, 0.9)),
    ],
)
def test_a_value_that_a_search_bounds_may_be_anything_beyond_it(
    bounds: str, about: dict[str, Any], interval: tuple[float, float]
) -> None:
    result = finished(bounds=bounds, **about)
    assert (result.interval, result.numbers.bounds) == (interval, bounds)
    assert result.details.get("left_interval") == ([0.6, 0.9] if bounds else None)


def test_fields_are_those_of_the_evidence() -> None:
    tally = Tally(forward=7, backward=3, seconds=2.0, notes=("a",))
    found = evidence(total=25, tally=tally, counts={REPLAYED: 4, "other": 9}, cached="today", data="d", model="m")
    result = finished(found, notes=("c",), compared=({"by": 1}, ("d",)), trivial=0.1, pairing=Pairing(under="u"))
    assert (result.numbers.n, result.numbers.n_total) == (20, 25)
    assert result.outcomes == (*(True, True, True, False) * 5, *[None] * 5)
    assert (result.cost.forward, result.cost.backward, result.cost.seconds) == (7, 3, 2.0)
    kept = result.evidence
    assert (kept.cached, kept.data, kept.model, kept.replayed) == ("today", "d", "m", 4)
    assert result.words.notes == ("a", "c", "d")
    assert (result.ruling.trivial, result.evidence.pairing.under) == (0.1, "u")
    unpaired = finished(found).evidence.pairing
    assert unpaired is not None
    assert (result.evidence.pairing.share, unpaired.share) == (True, False)
    subject = result.subject
    assert (subject.setting, subject.method, subject.kind, subject.statement) == ("here", "by hand", "made", "it")
    assert result.details["baseline"] == {"by": 1}
    assert finished().evidence.replayed == 0
    assert finished(quantity=DOWN).ruling.comparison == "<="
    assert (finished().ruling.comparison, finished().numbers.quantity) == (">=", "accuracy")


@pytest.mark.parametrize(
    ("decision", "total", "threshold", "details", "reasons"),
    [
        (OPEN, 20, 0.5, {}, ("undecided",)),
        (OPEN, 21, 0.5, {}, ("budget",)),
        (OPEN, 20, None, {}, ("no_threshold",)),
        (OPEN, 21, None, {}, ("no_threshold",)),
        (OPEN, 20, None, {"baseline": {"a": 1}}, ("undecided",)),
        (replace(OPEN, reasons=("mine",)), 20, None, {}, ("mine",)),
        (PASS, 21, 0.5, {}, ()),
        (FAIL, 21, 0.5, {}, ()),
    ],
)
def test_an_open_verdict_has_its_reason(
    decision: Decision, total: int, threshold: float | None, details: dict[str, Any], reasons: tuple[str, ...]
) -> None:
    found = finished(evidence(total=total), decision, threshold=threshold, details=details)
    assert found.ruling.reasons == reasons


def test_a_comparison_alone_claims_nothing_before_it_is_decided() -> None:
    assert finished(decision=OPEN, threshold=None, compared=({"by": 1}, ())).ruling.reasons == ("no_threshold",)


@pytest.mark.parametrize(
    ("scope", "settings", "caveat"),
    [(None, "set", 0), (None, "population", 0), ("set", "set", 0), ("set", "population", 1)],
)
def test_the_scope_is_that_of_the_claim_or_of_the_settings(scope: str | None, settings: str, caveat: int) -> None:
    result = finished(settings={"scope": settings}, **({} if scope is None else {"scope": scope}))
    assert result.subject.scope == (scope or settings)
    assert result.words.caveats.count("of this set alone, not of the population") == caveat


@pytest.mark.parametrize(
    ("n", "words"), [(1, "1 sample alone"), (2, "2 samples alone"), (9, "9 samples alone"), (10, "")]
)
def test_few_samples_are_a_caveat(n: int, words: str) -> None:
    assert few(n) == ((words,) if words else ())
    assert few(n, " of it") == ((words.replace(" alone", " of it alone"),) if words else ())
    assert [one for one in finished(evidence([True] * n)).words.caveats if one.endswith("alone")] == (
        [words] if words else []
    )


def test_strata_that_break_the_threshold_are_caveats_of_what_has_not_failed() -> None:
    strata = tuple(
        Stratum(name=name, n=n, value=value, interval=(0.1, 0.8), beyond=beyond)
        for name, n, value, beyond in (("a", 7, 0.25, True), ("b", 5, 0.75, False))
    )
    for decision, caveats in ((PASS, 1), (OPEN, 1), (FAIL, 0)):
        result = finished(decision=replace(decision, strata=strata))
        assert sum(one == "0.250 on 7 samples of a" for one in result.words.caveats) == caveats
        assert not any("samples of b" in one for one in result.words.caveats)
        rows = result.details["strata"]
        assert rows[0] == {"part": "a", "samples": 7, "value": 0.25, "interval": [0.1, 0.8], "beyond": True}
        assert len(rows) == 2
    assert "strata" not in finished().details


def test_the_audit_and_an_approximate_level_are_details() -> None:
    health = Health()
    assert "audit" not in finished().details
    health.count("weak_attack", failed=0, tried=5)
    assert finished(evidence(tally=Tally(health=health))).details["audit"] == {
        "audited": 5,
        "broken": 0,
        "others_at_most": pytest.approx(1 - 0.05 ** (1 / 5)),
    }
    health.count("weak_attack", failed=2, tried=1)
    audited = finished(evidence(tally=Tally(health=health)))
    assert {**audited.details["audit"], "others_at_most": 0} == {"audited": 6, "broken": 2, "others_at_most": 0}
    assert audited.details["audit"]["others_at_most"] == pytest.approx(0.729, abs=1e-3)
    said = "2 of 6 samples that the attack had left broke; of the others at most 73% can still be broken in this way"
    assert any(said in note for note in audited.words.notes)
    for approximate, at_alpha in ((True, True), (True, False), (False, True)):
        details = finished(decision=replace(PASS, approximate=approximate, at_alpha=at_alpha)).details
        assert details.get("approximate", False) is (approximate and at_alpha)


def test_failures_of_samples_that_were_wrong_before_are_counted() -> None:
    held, clean = np.array([True, False, False, False, True]), np.array([True, True, True, False, False])
    details = finished(evidence(held, columns={"clean": clean})).details
    assert details["clean_seen"] == {"right": 3, "of": 5, "failures": 3, "wrong": 1}
    scores = np.array([0.5, 1.0])
    for columns in ({}, {"clean": scores}):
        assert "clean_seen" not in finished(evidence([True, False], columns=columns)).details
    assert "clean_seen" not in finished(evidence(scores, columns={"clean": np.array([True, False])})).details
    assert "clean_seen" not in finished(evidence([], total=3, columns={"clean": np.zeros(0, bool)})).details


@pytest.mark.parametrize(
    ("failures", "sizes", "found"),
    [
        # failures and samples of the classes 0, 1, ...
        ((10, 0), (10, 90), {"class": 0, "failures": 10, "of_all": 10, "n": 10}),
        ((9, 0), (10, 90), None),  # too few
        ((0, 10), (50, 50), {"class": 1, "failures": 10, "of_all": 10, "n": 50}),  # exactly twice its share
        ((0, 10), (49, 51), None),
        ((5, 5), (10, 90), {"class": 0, "failures": 5, "of_all": 10, "n": 10}),  # exactly half
        ((5, 3, 3), (6, 47, 47), None),
        ((6, 3, 3), (6, 47, 47), {"class": 0, "failures": 6, "of_all": 12, "n": 6}),
        ((2, 9, 1), (20, 30, 50), {"class": 1, "failures": 9, "of_all": 12, "n": 30}),
    ],
)
def test_a_class_with_most_failures_and_few_samples_is_named(
    failures: tuple[int, ...], sizes: tuple[int, ...], found: dict[str, int] | None
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    held = np.concatenate([np.arange(n) >= bad for bad, n in zip(failures, sizes, strict=True)])
    details = finished(evidence(held, columns={CLASS: labels})).details
    assert details["largest_class"] == max(sizes)
    assert details.get("failures_of_class") == found


def test_classes_of_scores_or_of_other_samples_are_none() -> None:
    scores = np.linspace(0, 1, 20)
    details = finished(evidence(scores, columns={CLASS: np.zeros(20, int)})).details
    assert details["largest_class"] == 20
    assert "failures_of_class" not in details
    assert "largest_class" not in finished(evidence(columns={CLASS: np.zeros(3, int)})).details


# Health checks


def finding(name: str, **how: bool) -> HealthFinding:
    return HealthFinding(
        name=name, message=f"{name}: look", suppressed=how.get("off", False), carried=how.get("carried", False)
    )


@pytest.mark.parametrize(
    ("findings", "proven", "stopped"),
    [
        ([finding("zero_gradient")], False, ["zero_gradient"]),
        ([finding("zero_gradient")], True, []),
        ([finding("batch_dependence")], True, ["batch_dependence"]),
        ([finding("no_change")], True, ["no_change"]),
        ([finding("weak_attack")], True, []),
        ([finding("zero_gradient", off=True)], False, []),
        ([finding("zero_gradient", carried=True)], False, []),
        (
            [finding("weak_search"), finding("no_room", off=True), finding("train_mode")],
            False,
            ["weak_search", "train_mode"],
        ),
        ([], False, []),
    ],
)
def test_a_health_check_stops_a_pass_and_nothing_else(
    findings: list[HealthFinding], proven: bool, stopped: list[str]
) -> None:
    decision = replace(PASS, proven=proven)
    for one in (replace(FAIL, proven=proven), replace(OPEN, proven=proven)):
        assert after_findings(one, findings) is one
    found = after_findings(decision, findings)
    result = finished(evidence(findings=tuple(findings)), decision)
    assert result.words.notes == tuple(one.message for one in findings)
    assert result.details["health"] == [asdict(one) for one in findings]
    if not stopped:
        assert found is decision
        assert result.verdict is Verdict.PASSED
        return
    assert result.verdict is found.verdict is Verdict.INCONCLUSIVE
    assert found.rule == f"health check: {', '.join(stopped)}"
    assert result.ruling.reasons == found.reasons == tuple(f"health:{name}" for name in stopped)


def test_a_fall_from_next_to_nothing_proves_nothing() -> None:
    labels = np.arange(100) % 2
    good, chance = (evidence(np.arange(100) < n, columns={LABEL: labels}) for n in (95, 50))
    assert fallible(PASS, good, 0.1, alpha=0.05) is PASS
    assert fallible(PASS, chance, None, alpha=0.05) is PASS
    assert fallible(FAIL, chance, 0.1, alpha=0.05) is FAIL
    found = fallible(PASS, chance, 0.1, alpha=0.05)
    assert (found.verdict, found.reasons) == (Verdict.INCONCLUSIVE, ("no_fall",))
    assert found.rule


def test_a_fall_is_paired_at_both_ends() -> None:
    start = evidence([True, False], total=3, columns={"hit": np.array([False, True])}, data="abc")
    assert fall_from(start, under="u") == Pairing(share=False, under="u", start=(True, False, None), start_data="abc")
    assert fall_from(start, "hit").start == (False, True, None)


# Counterexamples and their pictures


def exhibit(index: int, **fields: Any) -> Exhibit:
    image = torch.zeros(1, 4, 4)
    about = {"label": 1, "clean": 1, "predicted": 0, "size": 0.25, "pixels": 3, **fields}
    return Exhibit(index=index, before=image, after=image + 0.5, badness=1.0, **about)


def test_counterexamples_have_their_samples_sizes_and_pixels() -> None:
    found = evidence(exhibits=[exhibit(3), exhibit(9, size=None, answer="a, not b")])
    first, second = finished(found, FAIL).counterexamples
    assert (first.index, first.label, first.clean, first.predicted) == (3, 1, 1, 0)
    assert (first.size, first.unit, first.pixels, first.image) == (0.25, "", 3, None)
    assert (second.index, second.size, second.answer) == (9, None, "a, not b")
    assert finished(replace(found, sample_rate=8000), FAIL).counterexamples[0].pixels is None


def test_the_size_of_noise_is_a_ratio() -> None:
    threat = Snr(20.0)
    found = evidence(exhibits=[exhibit(0, size=0.1), exhibit(1, size=0.0), exhibit(2, size=None)], sample_rate=8000)
    sizes = [(one.size, one.unit) for one in finished(found, FAIL, threat=threat).counterexamples]
    assert sizes == [(threat.ratio(0.1), "dB"), (None, ""), (None, "")]


@pytest.mark.parametrize(
    ("decision", "threshold", "test", "pictured"),
    [
        (FAIL, 0.5, "test_it", True),
        (OPEN, 0.5, "test_it", True),
        (PASS, 0.5, "test_it", False),
        (OPEN, None, "test_it", False),
        (OPEN, None, "", True),
        (PASS, None, "", False),
    ],
)
def test_what_was_claimed_and_did_not_pass_is_pictured(
    decision: Decision, threshold: float | None, test: str, pictured: bool, tmp_path: Path
) -> None:
    found = evidence(exhibits=[exhibit(3), exhibit(9)])
    with context.running(context.Context(test=test)):
        result = finished(found, decision, threshold=threshold, settings={"pictures": str(tmp_path)})
    images = [one.image for one in result.counterexamples]
    assert all(image is not None for image in images) is pictured
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(Path(str(one)).name for one in images if one)
    if pictured:
        assert [Path(str(one)).name.split("-")[:2] for one in images] == [["1", "sample3"], ["2", "sample9"]]


def test_two_claims_share_no_picture(tmp_path: Path) -> None:
    found, folder = evidence(exhibits=[exhibit(3)]), {"pictures": str(tmp_path)}
    for about in ({}, {"threshold": 0.6}, {"method": "otherwise"}, {"quantity": DOWN}):
        finished(found, FAIL, settings=folder, **about)
    assert len(list(tmp_path.iterdir())) == 4
