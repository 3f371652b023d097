"""The terminal's section `robustness`: a row per claim, and how to repeat those that did not pass."""

from __future__ import annotations

import math
import re
from fnmatch import fnmatchcase

import pytest
from scipy.stats import binomtest

FOUR = """
    def test_passes(robust_model, robust_data):
        claim(robust_model, robust_data, 0.1, at_least=0.5)

    def test_fails(robust_model, robust_data):
        claim(robust_model, robust_data, 0.1, at_least=0.6)

    def test_open(robust_model, robust_data):
        claim(robust_model, robust_data, 0.1, at_least=0.5, scope="population")

    def test_breaks(robust_model, robust_data):
        claim(lambda x: robust_model(x) * float("nan"), robust_data, 0.1, at_least=0.5)

    def test_plain(): pass
"""


def test_there_is_one_row_per_claim_with_its_numbers(write, run, section):
    write(test_a=FOUR)
    result = run("--robust", "-o", "robust_recheck=0")
    rows = [line for line in section(result) if line.startswith("test_a.py")]
    interval = binomtest(16, 32).proportion_ci(confidence_level=0.98, method="exact")
    low, high = f"{interval.low:.3f}", f"{math.ceil(interval.high * 1000) / 1000:.3f}"  # what is proven, outwards
    measured = f"robust accuracy 0.500 [{low}, {high}] after attack (true value at most {high}), required >="
    assert [row.split() for row in rows[:3]] == [
        f"test_a.py::test_passes {measured} 0.50; n=32 passed".split(),
        f"test_a.py::test_fails {measured} 0.60; n=32 FAILED".split(),
        f"test_a.py::test_open {measured} 0.50; n=32 cached INCONCLUSIVE".split(),  # test_passes looked at the same
    ]
    assert re.fullmatch(r"test_a.py::test_breaks +could not measure: ModelError: .*finite.* ERROR", rows[3])
    assert len(rows) == 4


def test_no_summary_leaves_it_out(write, run):
    write(test_a=FOUR)
    assert "= robustness =" in run("--robust").stdout.str()
    assert "= robustness =" not in run("--robust", "--no-summary").stdout.str()


def test_what_did_not_pass_has_a_replay_line(write, run, section):
    write(test_a=FOUR)
    lines = [line.split() for line in section(run("--robust")) if line.startswith("replay:")]
    assert [line[-1] for line in lines] == [f"test_a.py::test_{name}" for name in ("fails", "open", "breaks")]
    assert all(line[:3] == ["replay:", "pytest", "--robust"] and "--robust-seed=0" in line for line in lines)


def test_every_claim_of_a_test_has_a_row_and_the_test_one_replay_line(write, run, section):
    write(
        test_a="""
        def test_three(robust_model, robust_data):
            claim(robust_model, robust_data, 0.01, at_least=1.0)
            with pytest.raises(ClaimFailed):
                claim(robust_model, robust_data, 0.1, at_least=0.6)
            claim(robust_model, robust_data, 0.4, at_least=0.1)
        """
    )
    result = run("--robust")
    result.assert_outcomes(failed=1)
    rows = [line for line in section(result) if not line.startswith(" ")]
    assert [row.split("robust accuracy ")[1].split()[0] for row in rows[:3]] == ["1.000", "0.500", "0.000"]
    assert [row.split()[-1] for row in rows[:3]] == ["passed", "FAILED", "FAILED"]
    replayed, replay = rows[3:]
    assert replayed == "replayed: 16 samples were decided by counterexamples of earlier runs"  # of the second claim
    assert replay.startswith("replay: pytest --robust ")
    assert replay.endswith(" test_a.py::test_three")


@pytest.mark.parametrize(
    ("call", "row"),
    [
        # a patch of 4 of 16 pixels moves the mean m to 0.75 m or 0.75 m + 0.25: 0.44 and 0.56 cross 0.5, the others not
        (
            "assert_no_spurious_feature(robust_model, robust_data, "
            "PixelPatch(top=0, left=0, height=2, width=2), max_flip_rate=0.5)",
            "flip rate 0.500 [0.290, 0.710], required <= 0.50; n=32  passed",
        ),
        # brightness of severity 3 adds 0.15 to small images: only 0.44 crosses
        (
            "assert_shift_accuracy(robust_model, robust_data, 'brightness', severity=3, at_least=0.75)",
            "accuracy 0.750 [0.533, 0.903], required >= 0.75; n=32  passed",
        ),
        (
            "assert_shift_accuracy(robust_model, robust_data, 'brightness', severity=3, max_drop=0.2)",
            "accuracy drop 0.250 [*] from clean accuracy 1.000, required <= 0.20; n=32  FAILED",
        ),
    ],
    ids=["cue", "shift", "drop"],
)
def test_every_kind_of_claim_has_its_row(write, run, section, call, row):
    write(test_a=f"    def test_it(robust_model, robust_data):\n        {call}\n")
    assert fnmatchcase(section(run("--robust"))[0], f"test_a.py::test_it  {row.replace('[', '[[]')}")


def test_a_test_that_only_measures_has_a_row(write, run, section):
    write(test_a="def test_silent(robust_model, robust_data): measure_shift_accuracy(robust_model, robust_data, 'fog')")
    [row] = section(run("--robust"))
    assert row.startswith("test_a.py::test_silent  accuracy 0.906 ")
    assert row.endswith(", nothing required; n=32  measured")


def test_below_a_claim_that_did_not_pass_are_its_cause_and_the_next_step(write, run, section):
    write(test_a=FOUR)
    lines = section(run("--robust"))
    below = {line.split()[0]: lines[at + 1 : at + 3] for at, line in enumerate(lines) if line.startswith("test_a.py")}
    assert below["test_a.py::test_fails"][0].startswith("    cause: too few samples")
    assert below["test_a.py::test_fails"][1].startswith("    next: measure about 150 samples, ")
    assert below["test_a.py::test_open"][0].startswith("    cause: too few samples: ")
    assert not below["test_a.py::test_passes"][0].startswith(" ")


def test_the_section_comes_without_details(write, run, section):
    write(test_a=FOUR)
    indented = [line for line in section(run("--robust")) if line.startswith(" ")]
    assert all(line.startswith(("    cause: ", "    next: ")) for line in indented)
