"""Core's table of what a verdict must not cover silently, on the kinds of this pack."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import robustest_people as people
import robustest_people.measure
from core_tests import load
from robustest_people.pack import robustest_kinds
from table_entries import check_entries
from torch import nn

from robustest import Result

core = load("contract/test_kinds.py")
CLASSES, MODEL, N, Data, first, halved, kind = (
    core.CLASSES,
    core.MODEL,
    core.N,
    core.Data,
    core.first,
    core.halved,
    core.kind,
)


def says(n: int) -> people.Annotations:
    return people.Annotations(selected=np.arange(n) % 7 + 5, shown=np.full(n, 12), independent=True)


def replicated(data: Data, **options: Any) -> Result:
    held = MODEL(data[0]).argmax(1) == data[1]
    later = MODEL(halved(data[0], 1, data[1])).argmax(1) == data[1]
    n = len(held)
    return people.measure.measure_replication_gap(
        (held, later), None, None, annotations=(says(n), says(n)), resamples=100, **options
    )


def said(data: Data, **about: Any) -> people.Responses:
    """What 12 people choose of each sample: its label, or the next class, more often of every seventh."""
    n = len(data[1])
    item, who = np.divmod(np.arange(12 * n), 12)
    other = (who * 5 + item) % 12 < 2 + 5 * (item % 7 == 0)
    answer = (data[1].numpy()[item] + other) % CLASSES
    return people.Responses.from_columns(item, answer, size=n, classes=CLASSES, annotator=who, **about)


def shown(data: Data) -> Data:
    """Every fifth sample shows the next class as well."""
    sets = nn.functional.one_hot(data[1], CLASSES)
    sets[::5] |= sets[::5].roll(1, 1)
    return data[0], sets


def foreseen(data: Data, **options: Any) -> Result:
    """As many answers as samples, of 10 people, who foresee nine of ten."""
    at = np.arange(len(data[1]))
    answer = np.where(at % 11 == 0, (at + 1) % CLASSES, at % CLASSES)
    study = people.Responses.from_columns(
        at, answer, size=len(at), classes=CLASSES, annotator=at % 10, truth=at % CLASSES
    )
    return people.measure.measure_simulatable(study, **options)


def noticed(data: Data, **options: Any) -> Result:
    """As many answers about each of three cues as samples, of 10 people."""
    n = len(data[1])
    at, label = np.tile(np.arange(n), 3), np.repeat([0, 1, 2], n)
    answer = np.select([label == 0, label == 1], [at % 10 == at // 10 % 10, at % 7 > 0], at % 3 > 0).astype(int)
    study = people.Responses.from_columns(
        at, answer, size=n, classes=("null", "planted", "logo"), label=label, annotator=at % 10
    )
    return people.measure.measure_cue_noticed(study, "logo", **options)


KINDS = {
    "replication": kind("assert_replication_gap", "at_most", 1, exact=False)(replicated),
    "agreement, contained": kind("assert_label_agreement", "min_contained", 0)(
        lambda d, **o: people.measure.measure_label_agreement(MODEL, d, said(d), **o)
    ),
    "agreement, main label": kind("assert_label_agreement", "min_main", 0)(
        lambda d, **o: people.measure.measure_label_agreement(MODEL, d, said(d), **o)
    ),
    "agreement, unsupported": kind("assert_label_agreement", "max_unsupported", 1)(
        lambda d, **o: people.measure.measure_label_agreement(MODEL, d, said(d), **o)
    ),
    "selection gap": kind("assert_selection_gap", "at_most", 1, exact=False)(
        lambda d, **o: people.measure.measure_selection_gap(MODEL, d, said(d), **o)
    ),
    "label quality": kind("assert_label_quality", "max_error_rate", 1)(
        lambda d, **o: people.measure.measure_label_quality(d, said(d), **o)
    ),
    "several objects": kind("assert_multilabel_accuracy", "at_least", 0)(
        lambda d, **o: people.measure.measure_multilabel_accuracy(MODEL, shown(d), **o)
    ),
    "simulatable": kind("assert_simulatable", "at_least", 0, exact=False)(foreseen),
    "cue noticed": kind("assert_cue_noticed", "at_least", -1, exact=False)(noticed),
}


def core_cases() -> list[tuple[Callable[..., None], dict[str, Any]]]:
    """The functions of core's module that take one kind of a table, each with its other arguments."""
    found = []
    for function in vars(core).values():
        if inspect.isfunction(function) and function.__name__.startswith("test_"):
            marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
            if "one" not in [mark.args[0] for mark in marks]:
                continue
            others: list[dict[str, Any]] = [{}]
            for mark in marks:
                if mark.args[0] != "one":
                    others = [{**known, mark.args[0]: value} for known in others for value in mark.args[1]]
            found += [(function, other) for other in others]
    return found


def test_the_table_has_every_kind() -> None:
    check_entries(
        {one.assertion for one in KINDS.values()}, {kind.assertion for kind in robustest_kinds()}, "KINDS here"
    )
    assert len({function.__name__ for function, _ in core_cases()}) >= 8


CASES = [pytest.param(*case, id=f"{case[0].__name__[5:]}-{at}") for at, case in enumerate(core_cases())]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("test", "other"), CASES)
def test_core_holds(test: Callable[..., None], other: dict[str, Any], name: str) -> None:
    if test.__name__ == "test_a_threshold_at_the_measured_value" and not KINDS[name].exact:
        pytest.skip("its interval is not exact")
    test(one=KINDS[name], **other)
