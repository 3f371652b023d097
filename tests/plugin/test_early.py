"""Verdicts before the last sample: what stops, what is said, and who waits for the end."""

from __future__ import annotations

import re

import pytest

EARLY = """
    def test_claim(robust_model):
        from toy import data
        claim(robust_model, data(times=250), 0.1, {at_least})   # 1,000 samples, of which half hold
"""


def test_a_clear_claim_stops_early_and_shows_an_interval_alone(write, rows_of) -> None:
    write(test_a=EARLY.format(at_least=0.2))
    result = rows_of("--robust-seed=3")["test_claim"]["result"]
    assert result["verdict"] == "passed"
    assert result["n"] < result["n_total"] == 1000
    assert result["estimate"] is None
    low, high = result["details"]["left_interval"]
    assert 0.2 <= low < 0.5 < high
    assert result["interval"] == [0.0, high]
    after = int(result["rule"].removeprefix("alpha = 0.01 after ").removesuffix(" of 1000"))
    assert 0 < after <= result["n"]
    assert result["outcomes"].count(None) == 1000 - result["n"]
    assert result["details"]["clean_accuracy"] is None


def test_an_early_failure_spends_less_error_than_alpha(write, rows_of) -> None:
    write(test_a=EARLY.format(at_least=0.8))
    result = rows_of()["test_claim"]["result"]
    assert result["verdict"] == "failed"
    assert result["rule"].startswith("alpha = 0.0001 after ")  # a hundredth of 0.01, as 100 claims share it
    assert result["interval"][1] < 0.8


@pytest.mark.parametrize(("size", "level"), [(1, "0.01"), (1000, "1e-05")])
def test_how_many_claims_share_the_error_is_a_setting(write, rows_of, size: int, level: str) -> None:
    write(test_a=EARLY.format(at_least=0.8))
    rule = rows_of("-o", f"robust_family_size={size}")["test_claim"]["result"]["rule"]
    assert rule.startswith(f"alpha = {level} after ")


def test_the_summary_says_what_rests_on_alpha_and_what_that_adds_up_to(write, run, read_json, section) -> None:
    write(test_a=EARLY.format(at_least=0.2), test_b=EARLY.format(at_least=0.8))
    lines = section(run("--robust", "--robust-json=out.json"))
    told = "2 of 2 verdicts rest on alpha = 0.01: at most 0.02 wrong verdicts expected"
    assert f"chance: {told}" in lines
    assert read_json()["chance"]["at_alpha"] == 2
    assert not any(line.startswith("chance: ") for line in section(run("--robust", "--robust-exact")))


def test_no_early_number_is_printed(write, run, section) -> None:
    write(test_a=EARLY.format(at_least=0.2))
    line, _ = section(run("--robust"))
    assert re.search(r"robust accuracy in \[0\.\d{3}, \d\.\d{3}\] after attack .*; n=\d+ of 1000", line)


def test_exact_looks_at_every_sample(write, rows_of) -> None:
    write(test_a=EARLY.format(at_least=0.2))
    for switch in ("--robust-exact", "--robust-profile=nightly"):
        result = rows_of(switch)["test_claim"]["result"]
        assert (result["n"], result["estimate"], result["rule"]) == (1000, 0.5, "certain: exact on this set")


def test_a_spent_budget_is_inconclusive_and_fails(write, run, rows_of) -> None:
    write(test_a=EARLY.format(at_least=0.5))
    result = rows_of("-o", "robust_max_samples=100")["test_claim"]["result"]
    assert (result["verdict"], result["n"], result["rule"]) == (
        "inconclusive",
        100,
        "budget: 100 of 1000 samples looked at",
    )
    run("--robust", "-o", "robust_max_samples=100").assert_outcomes(failed=1)


def test_a_spent_time_budget_is_inconclusive(write, run, rows_of) -> None:
    """A budget that is spent within the first pass leaves no sample that was looked at in time."""
    write(test_a=EARLY.format(at_least=0.5))
    result = rows_of("-o", "robust_time_budget=1e-9")["test_claim"]["result"]
    assert (result["verdict"], result["n"], result["rule"]) == (
        "inconclusive",
        0,
        "the clock: 0 of 1000 samples looked at",
    )
    run("--robust", "-o", "robust_time_budget=1e-9").assert_outcomes(failed=1)


def test_inconclusive_may_skip_but_never_passes(write, run) -> None:
    write(test_a=EARLY.format(at_least=0.5))
    result = run("--robust", "-rs", "-o", "robust_max_samples=100", "-o", "robust_inconclusive=skip")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*inconclusive: robust accuracy under*budget: 100 of 1000*"])


def test_a_population_claim_waits_for_every_sample(write, rows_of) -> None:
    each = "values=[one + k / 100_000 for k in range(250) for one in (0.25, 0.44, 0.56, 0.75)], times=1"  # none equal
    write(test_a=EARLY.format(at_least=0.2).replace("times=250", each))
    result = rows_of("-o", "robust_scope=population")["test_claim"]["result"]
    assert (result["verdict"], result["n"]) == ("passed", 1000)
