"""Claims of this pack about populations of known truth: intervals miss it no more often than alpha."""

from __future__ import annotations

import sys

import pytest
from core_tests import TESTS, load
from robustest_people.pack import robustest_kinds
from table_entries import check_entries

sys.path.insert(0, str(TESTS / "contract"))  # populations of images, which those of answers are made of
answers = load("../plugins/robustest-people/tests/contract/answer_populations.py")
core = load("contract/test_population_coverage.py")
sys.path.pop(0)
Truth = core.Truth

TRUTHS = {
    "agreement, contained": Truth("label_agreement", answers.label_agreement, "min_contained", 0.85),
    "agreement, main label": Truth("label_agreement", answers.label_agreement, "min_main", 0.7),
    "agreement, unsupported": Truth("label_agreement", answers.label_agreement, "max_unsupported", 0.15),
    "label quality": Truth("label_quality", answers.label_quality, "max_error_rate", 0.1),
    "simulatable": Truth("simulatable", answers.simulatable, "at_least", 0.7),
    "cue noticed": Truth("cue_noticed", answers.cue_noticed, "at_least", 0.3),
    "selection gap": Truth("selection_gap", answers.selection_gap, "at_most", 0.2),
    "several objects": Truth("multilabel_accuracy", answers.several_objects, "at_least", 0.7),
    "replication": Truth("replication_gap", answers.replication, "at_most", 0.1),
    "replication, naive": Truth("replication_gap", answers.replication, "at_most", 0.1, other={"correction": None}),
}


def test_every_kind_is_here() -> None:
    check_entries(
        {one.kind for one in TRUTHS.values()}, {kind.name for kind in robustest_kinds()}, "TRUTHS, as its kind"
    )


@pytest.mark.parametrize("draws", [pytest.param(30, id="30"), pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", TRUTHS)
def test_the_truth_is_missed_no_oftener_than_alpha(name: str, draws: int) -> None:
    core.test_the_truth_is_missed_no_oftener_than_alpha(TRUTHS[name], draws)


@pytest.mark.parametrize("name", ["label quality", "several objects"])
def test_intervals_at_another_level_miss_more(name: str) -> None:
    found = core.misses(TRUTHS[name].results(100, alpha=4 * core.ALPHA), TRUTHS[name].value)
    assert found["below"] + found["above"] > 2 * core.allowed(100), found
