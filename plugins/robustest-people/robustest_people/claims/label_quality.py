"""How many labels of a data set are wrong, from a sample of them that people looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from robustest.data import as_samples
from robustest.errors import ConfigError, DataError, expected
from robustest.packs import (
    NOT_PAIRED,
    Captions,
    Decision,
    Evidence,
    Exhibit,
    Kind,
    Options,
    Quantity,
    Result,
    Settings,
    apply,
    assertion,
    measurement,
    no_lines,
    optional_threshold,
    result_of,
)
from robustest_people.claims.study_answers import (
    check_about,
    checked_responses,
    chosen_sample,
    left_out,
    uniformity_details,
    uniformity_of,
)
from robustest_people.label_suspects import Suspects, labels_of
from robustest_people.responses import Responses
from robustest_people.rules.label_agreement import FEWEST_ANSWERS
from robustest_people.rules.wrong_labels import decide_wrong

Bools = NDArray[np.bool_]

_SHOWN = 50
"""Labels that are listed; `outcomes` has them all."""


LABEL_QUALITY = Kind(
    name="label_quality",
    quantities=(Quantity.at_most("max_error_rate", "share of wrong labels", "share of wrong labels", trivial=1),),
    captions=Captions(answered="people select"),  # no model is asked
    lines=no_lines,
)
"""The share of a data set's labels that people find wrong."""


@measurement(LABEL_QUALITY)
def measure_label_quality(
    data: object,
    responses: Responses,
    *,
    max_error_rate: float | None = None,
    suspects: Suspects | None = None,
    **options: Unpack[Options],
) -> Result:
    """The share of a data set's labels that are wrong, from a uniform sample that people looked at.

    A label is wrong where annotators select another class more often; or, where they were asked about it alone, more
    of them say no than yes. Where they are tied the label counts as wrong for a pass, and as right for a failure. The
    bound is exact for a finite set (`robustest_people.statistics.finite_set`), and holds for a sample drawn uniformly:
    chosen samples, such as suspects, say nothing of the others. Suspects, classes and positions are tested for signs of
    a choice (`robustest_people.statistics.uniform_sample`); where there is one, the labels looked at are all that
    counts.

    Args:
        data: as for `measure_robust_accuracy`; labels alone, (N,) whole numbers, do as well.
        responses: what annotators answered, of as many items as there are samples. Items with an answer are the sample.
        max_error_rate: the share of wrong labels claimed at most, in 0..1.
        suspects: what `robustest.data.suspects` found in the same data, to be shown, and to test whether the sample was
            drawn without a view to them; their number decides nothing.
        **options: see `robustest.run.plan.Options`; with scope="population" the claim is about what the
            data set was drawn from.

    Returns:
        The result. Outcomes are whether a label is right, False where annotators are tied; None where nobody looked.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: the responses are not of the data's samples, nobody answered anything, or nothing was said of the
            label of an item that somebody looked at; else as for `measure_robust_accuracy`.
    """
    most = optional_threshold("max_error_rate", max_error_rate, trivial=1)
    checked_responses(responses)
    if suspects is not None and not isinstance(suspects, Suspects):
        raise ConfigError(expected("suspects as robustest.data.suspects(...) finds them", suspects))
    _, settings = apply(lambda x: x, options)
    labels = labels_of(data)
    looked = _look_at(responses, labels)
    n, total = len(looked.items), len(labels)
    wrong, tied = int(looked.wrong.sum()), int(looked.tied.sum())
    sign = uniformity_of(looked.items, labels, _marks(suspects), settings.seed)
    chosen = chosen_sample(sign, n, total)
    decision = decide_wrong(wrong, tied, n, total, most, scope=settings.scope, alpha=settings.alpha, chosen=chosen)
    exhibits = _exhibits(data, looked, labels, settings)
    result = result_of(
        _evidence(looked, decision, total, exhibits, bounds=options.get("bounds", (0.0, 1.0))),
        decision,
        settings,
        kind=LABEL_QUALITY,
        statement=LABEL_QUALITY.quantities[0].state(),
        threshold=most,
        setting=f"{n} of {total} labels that people looked at, {int(looked.answers.min())} answers or more each",
        method="hypergeometric bounds" if settings.scope == "set" else "exact binomial bounds",
        details=_details(looked, labels, suspects, responses) | uniformity_details(sign),
        caveats=_caveats(looked, total, chosen=bool(chosen)),
        pairing=NOT_PAIRED,
    )
    return replace(result, notes=(*result.notes, *_notes(looked, suspects, total)))


@assertion(measure_label_quality, max_error_rate=0.02)
def assert_label_quality() -> None:
    """Claim that at most so many labels of a data set are wrong, by a uniform sample that people looked at.

    Raises:
        ClaimFailed: more are wrong.
        ClaimInconclusive: too few were looked at to settle it.
    """


def _marks(suspects: Suspects | None) -> dict[str, NDArray[np.int64]]:
    """Return the marks by which a sample may have been chosen with a view to what a model doubts.

    Beside the suspects these are the most doubtful tenths of all labels: a sample of easy ones need not leave out a
    suspect.
    """
    if suspects is None:
        return {}
    marks = {"suspects": suspects.items}
    if np.ptp(suspects.scores) > 0:
        doubtful = np.argsort(suspects.scores, kind="stable")
        for tenth in range(1, 10):
            name = f"labels among the {10 * tenth} % that a model finds most doubtful"
            marks[name] = doubtful[: len(doubtful) * tenth // 10]
    return marks


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """What people say of the labels that they looked at, all (n,)."""

    items: NDArray[np.int64]
    wrong: Bools
    tied: Bools
    alone: Bools
    answers: NDArray[np.int64]
    preferred: NDArray[np.int64]
    ahead: NDArray[np.float64]


def _look_at(responses: Responses, labels: NDArray[np.int64]) -> _Looked:
    check_about(responses, len(labels))
    selected, shown = responses.counts()
    items = np.flatnonzero(np.bincount(responses.item, minlength=responses.size))
    if not len(items):
        raise DataError("Expected answers about some labels but there are none.")
    label, rows = labels[items], np.arange(len(items))
    if len(out := np.flatnonzero(label >= selected.shape[1])):
        raise DataError(
            f"Expected labels in 0..{selected.shape[1] - 1}, the classes that answers are about, but that of item "
            f"{items[out[0]]} is {label[out[0]]}."
        )
    selected, shown = selected[items], shown[items]
    mine = shown[rows, label]
    if len(unasked := np.flatnonzero(mine == 0)):
        raise DataError(
            f"Expected answers about the label of each item but of item {items[unasked[0]]} there are none."
        )
    share = np.divide(selected, shown, out=np.zeros(selected.shape), where=shown > 0)
    given = share[rows, label]
    share[rows, label] = -1.0
    other = share.max(1)
    alone = np.zeros(len(items), bool) if responses.chosen else (shown > 0).sum(1) == 1
    other = np.where(alone, 1 - given, other)  # where nobody was asked about another class, "no" is one
    preferred = np.where((other > given) & ~alone, share.argmax(1), label)
    return _Looked(
        items=items,
        wrong=other > given,
        tied=other == given,
        alone=alone,
        answers=np.where(alone, mine, np.minimum(mine, shown[rows, share.argmax(1)])),
        preferred=preferred,
        ahead=other - given,
    )


def _evidence(
    looked: _Looked, decision: Decision, total: int, exhibits: list[Exhibit], *, bounds: tuple[float, float]
) -> Evidence:
    """Evidence whose units are labels: those that people looked at, of all of them."""
    return Evidence(
        decision=decision,
        columns={"held": ~(looked.wrong | looked.tied), "id": looked.items},
        ids=looked.items,
        total=total,
        exhibits=exhibits,
        bounds=bounds,
    )


def _exhibits(data: object, looked: _Looked, labels: NDArray[np.int64], settings: Settings) -> list[Exhibit]:
    """The labels that most people find wrong, where the data have images to show."""
    rows = np.flatnonzero(looked.wrong)
    rows = rows[np.argsort(-looked.ahead[rows], kind="stable")][: settings.examples]
    if not len(rows) or isinstance(data, np.ndarray | torch.Tensor | list):
        return []
    images, _ = as_samples(data).take(torch.from_numpy(looked.items[rows]))
    return [
        Exhibit(
            index=int(looked.items[row]),
            label=int(labels[looked.items[row]]),
            clean=int(looked.preferred[row]),
            predicted=int(looked.preferred[row]),
            size=None,
            before=image.cpu(),
            after=image.cpu(),
            badness=float(looked.ahead[row]),
        )
        for row, image in zip(rows.tolist(), images, strict=True)
    ]


def _rejected(looked: _Looked, labels: NDArray[np.int64], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The labels that are wrong or undecided, most clearly wrong first, as many as a page has room for."""
    rows = np.flatnonzero(looked.wrong | looked.tied)
    rows = rows[np.argsort(-looked.ahead[rows], kind="stable")][:_SHOWN]
    return [
        {
            "item": int(looked.items[row]),
            "label": names[int(labels[looked.items[row]])],
            "preferred": _preferred(looked, row, names),
            "ahead": float(looked.ahead[row]),
            "answers": int(looked.answers[row]),
        }
        for row in rows.tolist()
    ]


def _preferred(looked: _Looked, row: int, names: tuple[str, ...]) -> str:
    if not looked.wrong[row]:
        return "tied"
    return "another" if looked.alone[row] else names[int(looked.preferred[row])]


def _details(
    looked: _Looked, labels: NDArray[np.int64], suspects: Suspects | None, responses: Responses
) -> dict[str, Any]:
    details: dict[str, Any] = {
        "looked_at": len(looked.items),
        "wrong": int(looked.wrong.sum()),
        "tied": int(looked.tied.sum()),
        "rejected": _rejected(looked, labels, responses.classes),
        "fewest_answers": int(looked.answers.min()),
        **left_out(responses),
        "class_names": list(responses.classes),
    }
    if suspects is not None:
        among = np.isin(looked.items, suspects.items)
        details["suspects"] = {
            "count": len(suspects),
            "method": suspects.method,
            "looked_at": int(among.sum()),
            "wrong": int((among & looked.wrong).sum()),
        }
    return details


def _caveats(looked: _Looked, total: int, *, chosen: bool) -> list[str]:
    fewest = int(looked.answers.min())
    told = [] if len(looked.items) == total else ["if the sample was drawn uniformly"]
    if chosen:
        told = ["the sample was not drawn uniformly"]
    if fewest < FEWEST_ANSWERS:
        told.append(f"as few as {fewest} {'answer' if fewest == 1 else 'answers'} a label")
    return told


def _notes(looked: _Looked, suspects: Suspects | None, total: int) -> list[str]:
    n, wrong, tied = len(looked.items), int(looked.wrong.sum()), int(looked.tied.sum())
    notes = [f"{wrong} labels are wrong and {tied} undecided, of {n} that people looked at, of {total}"]
    if suspects is not None:
        among = np.isin(looked.items, suspects.items)
        notes.append(
            f"{len(suspects)} suspects by {suspects.method}; people looked at {int(among.sum())} of them, of which "
            f"{int((among & looked.wrong).sum())} are wrong: a count of suspects decides nothing"
        )
    return notes
