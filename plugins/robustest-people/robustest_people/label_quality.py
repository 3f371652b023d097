"""The claim that few labels of a data set are wrong, from a sample that people looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import hypergeom
from torch import Tensor

from robustest import Result, Settings, Verdict
from robustest.data import as_samples
from robustest.errors import ConfigError, DataError, expected
from robustest.packs import (
    Captions,
    Decision,
    Evidence,
    Exhibit,
    Kind,
    Options,
    Quantity,
    assertion,
    checked_threshold,
    clopper_pearson,
    finish,
    measurement,
    settings_of,
)
from robustest_people.label_agreement import FEWEST_ANSWERS
from robustest_people.responses import Responses
from robustest_people.study_answers import (
    check_about,
    checked_responses,
    chosen_sample,
    completed,
    left_out,
    of_unanswered,
    uniformity_details,
    uniformity_of,
)

Bools = NDArray[np.bool_]

# Labels listed in `details`; `outcomes` has all.
_SHOWN = 50


LABEL_QUALITY = Kind(
    name="label_quality",
    varies="nothing",
    quantities=(Quantity.at_most("max_error_rate", "share of wrong labels", "share of wrong labels", trivial=1),),
    captions=Captions(answered="people select"),  # no model is asked
    brief=True,
)


@measurement(LABEL_QUALITY)
def measure_label_quality(
    data: object,
    responses: Responses,
    *,
    max_error_rate: float | None = None,
    suspects: Suspects | None = None,
    **options: Unpack[Options],
) -> Result:
    """Measure the share of wrong labels, from a uniform sample of labels that people looked at.

    A label is wrong if annotators select another class more often, or, asked about it alone, more say no than yes. A
    tied label counts as wrong for a pass and as right for a failure. The bound is exact. A sample that shows signs of a
    choice (`robustest_people.study_answers`) bounds only the labels looked at.

    Args:
        data: as for `measure_robust_accuracy`, or labels alone, (N,) whole numbers.
        responses: answers about as many items as there are samples. Items with an answer are the sample.
        max_error_rate: the largest share of wrong labels, in 0..1.
        suspects: from `robustest_people.suspects` on the same data, reported, and tested as a sign of a choice.
        **options: see `robustest.run.options.Options`; scope="population" is about the source of the data set.

    Returns:
        The result. An outcome is True for a right label, False for a wrong or tied one, None if nobody looked.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: no responses, or about other samples, or an item has none about its label; else as for
            `measure_robust_accuracy`.
    """
    most = checked_threshold("max_error_rate", max_error_rate, trivial=1, optional=True)
    checked_responses(responses)
    if suspects is not None and not isinstance(suspects, Suspects):
        raise ConfigError(expected("suspects as robustest_people.suspects(...) finds them", suspects))
    settings = settings_of(options, inputs=True)
    labels = labels_of(data)
    looked = _look_at(responses, labels)
    n, total = len(looked.items), len(labels)
    wrong, tied = int(looked.wrong.sum()), int(looked.tied.sum())
    sign = uniformity_of(looked.items, labels, _marks(suspects), settings.seed)
    chosen = chosen_sample(sign, n, total)
    decision = decide_wrong(wrong, tied, n, total, most, scope=settings.scope, alpha=settings.alpha, chosen=chosen)
    if decision.verdict is Verdict.PASSED and settings.scope == "population":
        own = ~_copies(data, looked.items)
        counts = int(looked.wrong[own].sum()), int(looked.tied[own].sum()), int(own.sum())
        once = decide_wrong(*counts, total, most, scope=settings.scope, alpha=settings.alpha, chosen=chosen)
        if once.verdict is not Verdict.PASSED:
            more, others = int((~own).sum()), int(own.sum())
            copied = f"{more} of {n} samples are copies of others, to the bit, and no draws from the population"
            rule = f"{copied}: not shown by the other {others}"
            decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, reasons=("copies",))
    exhibits = _exhibits(data, looked, labels, settings)
    result = finish(
        settings,
        _evidence(looked, decision, total, exhibits, bounds=options.get("bounds", (0.0, 1.0))),
        decision=decision,
        kind=LABEL_QUALITY,
        statement=LABEL_QUALITY.quantities[0].state(),
        threshold=most,
        setting=f"{n} of {total} labels that people looked at, {int(looked.answers.min())} answers or more each",
        method="hypergeometric bounds" if settings.scope == "set" else "exact binomial bounds",
        details=_details(looked, labels, suspects, responses) | uniformity_details(sign),
        caveats=_caveats(looked, total, chosen=bool(chosen)) + of_unanswered(responses),
        constant=_by_choosing_one_class(labels[looked.items]) if responses.chosen else None,
        people=responses.answer,
    )
    return result.but(notes=(*result.words.notes, *_notes(looked, suspects, total)))


@assertion(measure_label_quality, max_error_rate=0.02)
def assert_label_quality() -> None:
    """Claim that at most `max_error_rate` of the labels are wrong, by a uniform sample that people looked at.

    Raises:
        ClaimFailed: more are wrong.
        ClaimInconclusive: people looked at too few to decide.
    """


def _marks(suspects: Suspects | None) -> dict[str, NDArray[np.int64]]:
    """Return marks by which a sample may have been chosen: suspects, and the most doubtful tenths of all labels."""
    if suspects is None:
        return {}
    marks = {"suspects": suspects.items}
    # A sample of easy labels need not leave out a suspect, so the tenths are marks, too.
    if np.ptp(suspects.scores) > 0:
        doubtful = np.argsort(suspects.scores, kind="stable")
        for tenth in range(1, 10):
            name = f"labels among the {10 * tenth} % that a model finds most doubtful"
            marks[name] = doubtful[: len(doubtful) * tenth // 10]
    return marks


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """The labels that people looked at, with their answers; all (n,)."""

    items: NDArray[np.int64]
    wrong: Bools  # whatever the missing answers would have been
    tied: Bools  # undecided: tied, or decided by missing answers
    alone: Bools
    answers: NDArray[np.int64]
    preferred: NDArray[np.int64]
    ahead: NDArray[np.float64]


def _look_at(responses: Responses, labels: NDArray[np.int64]) -> _Looked:
    check_about(responses, len(labels))
    asked_about = np.concatenate([responses.item, responses.unanswered.item])
    items = np.flatnonzero(np.bincount(asked_about, minlength=responses.size))
    if not len(responses):
        raise DataError("Expected answers about some labels but there are none.")
    label, classes = labels[items], len(responses.classes)
    if len(out := np.flatnonzero(label >= classes)):
        raise DataError(
            f"Expected labels in 0..{classes - 1}, the classes that answers are about, but that of item "
            f"{items[out[0]]} is {label[out[0]]}."
        )
    selected, shown = (table[items] for table in responses.counts())
    missing = responses.counts_unanswered()[items]
    mine = shown[np.arange(len(items)), label]
    if len(unasked := np.flatnonzero(mine + missing[np.arange(len(items)), label] == 0)):
        raise DataError(
            f"Expected answers about the label of each item but of item {items[unasked[0]]} there are none."
        )
    alone = np.zeros(len(items), bool) if responses.chosen else (shown + missing > 0).sum(1) == 1
    ahead, preferred = _ahead(selected, shown, label, alone)
    both = (completed(selected, shown, missing, label, chosen=responses.chosen, selecting=way) for way in (True, False))
    least, most = (_ahead(*counts, label, alone)[0] for counts in both)
    return _Looked(
        items=items,
        wrong=least > 0,
        tied=(least <= 0) & (most >= 0),
        alone=alone,
        answers=np.where(alone, mine, np.minimum(mine, shown[np.arange(len(items)), preferred])),
        preferred=np.where((ahead > 0) & ~alone, preferred, label),
        ahead=ahead,
    )


def _ahead(
    selected: NDArray[np.int64], shown: NDArray[np.int64], label: NDArray[np.int64], alone: Bools
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return by how much more often the leading other class is selected than the label, and that class; (n,) each.

    Where nobody was asked about another class (`alone`), "no" is one.
    """
    rows = np.arange(len(label))
    share = np.divide(selected, shown, out=np.zeros(selected.shape), where=shown > 0)
    given = share[rows, label]
    # -1 takes the label itself out of the maximum over other classes.
    share[rows, label] = -1.0
    return np.where(alone, 1 - given, share.max(1)) - given, share.argmax(1)


def _by_choosing_one_class(label: NDArray[np.int64]) -> float:
    """Return the share of labels (n,) that are wrong by people who choose the most frequent class every time."""
    return 1 - float(np.bincount(label).max() / len(label))


def _copies(data: object, items: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (n,) bool, True for looked-at samples that are equal to the bit to an earlier one."""
    copies = np.zeros(len(items), dtype=bool)
    if isinstance(data, np.ndarray | torch.Tensor) or (isinstance(data, list) and data and isinstance(data[0], int)):
        return copies  # labels alone
    samples, known = as_samples(data), set()
    for place, item in enumerate(items.tolist()):
        (x, _) = samples.take(torch.tensor([item]))
        if x.ndim <= 2:  # rows of a table may be equal by chance
            return copies
        mark = x.cpu().numpy().tobytes()
        copies[place] = mark in known
        known.add(mark)
    return copies


def _evidence(
    looked: _Looked, decision: Decision, total: int, exhibits: list[Exhibit], *, bounds: tuple[float, float]
) -> Evidence:
    return Evidence(
        decision=decision,
        columns={"held": ~(looked.wrong | looked.tied), "id": looked.items},
        ids=looked.items,
        total=total,
        exhibits=exhibits,
        bounds=bounds,
    )


def _exhibits(data: object, looked: _Looked, labels: NDArray[np.int64], settings: Settings) -> list[Exhibit]:
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
    """Return the wrong and tied labels, most clearly wrong first, at most `_SHOWN`."""
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


# The verdict on the number of wrong labels of a set.


def decide_wrong(
    wrong: int,
    undecided: int,
    looked: int,
    total: int,
    at_most: float | None,
    *,
    scope: str,
    alpha: float,
    chosen: str = "",
) -> Decision:
    """Return the verdict on the share of wrong labels, from counts in the sample.

    Args:
        undecided: number of tied labels.
        at_most: the claimed share, in 0..1; None for no claim.
        chosen: reason why the sample is not uniform, or "".
    """
    if chosen:
        # A chosen sample bounds only the labels that people looked at: any number of the others may be wrong.
        interval = wrong / total, (total - looked + wrong + undecided) / total
        rule = "certain: whatever the labels are that nobody looked at"
        if scope != "set":
            interval = 0.0, 1.0
    elif scope == "set":
        # Ties count for neither side: the lower bound takes them as right, the upper one as wrong.
        low, high = (
            count_bounds(wrong, looked, total, alpha)[0],
            count_bounds(wrong + undecided, looked, total, alpha)[1],
        )
        interval = low / total, high / total
        rule = (
            f"uniform sample of the set, alpha = {alpha:g} a side" if looked < total else "certain: exact on this set"
        )
    else:
        interval = clopper_pearson(wrong, looked, alpha)[0], clopper_pearson(wrong + undecided, looked, alpha)[1]
        rule = f"population, alpha = {alpha:g} a side"
    verdict, at_alpha = Verdict.INCONCLUSIVE, not chosen and (scope != "set" or looked < total)
    if at_most is None:
        rule = "no threshold given"
    elif interval[1] <= at_most:  # of a set as exact as a comparison of counts: rounding keeps the order of fractions
        verdict = Verdict.PASSED
    elif interval[0] > at_most:
        verdict = Verdict.FAILED
    elif chosen:
        rule = f"no uniform sample, so that it says nothing of the other labels. {chosen}"
    return Decision(
        verdict=verdict,
        rule=rule,
        estimate=None if chosen else wrong / looked,
        interval=interval,
        at_alpha=at_alpha and at_most is not None,
    )


# The number wrong in a sample without replacement is hypergeometric, so its test inverts exactly: a number of wrong
# labels in the whole set is ruled out if a count as small (or as large) in the sample has a probability of at most
# alpha (Buonaccorsi, The American Statistician 1987).


def count_bounds(wrong: int, looked: int, total: int, alpha: float) -> tuple[int, int]:
    """Return exact bounds of the number wrong in the set, each at level alpha, from `wrong` of `looked` labels."""
    fewest, largest = wrong, total - looked + wrong  # what was seen is certain
    low = _first(lambda count: hypergeom.sf(wrong - 1, total, count, looked) > alpha, fewest, largest)
    high = _first(lambda count: hypergeom.cdf(wrong, total, count, looked) <= alpha, fewest, largest + 1) - 1
    return low, high


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    # Bisection: the first number in low..high-1 for which the monotone condition holds, else high.
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


# Suspects: labels that a model finds doubtful, to be looked at first.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Suspects:
    """Samples whose label a model finds doubtful, the most doubtful first.

    Their number does not estimate the number of wrong labels: on CIFAR-10 people confirm one of five, and most wrong
    labels are not among them.

    Attributes:
        items: (M,) int64, positions in the data.
        scores: (N,) float64, probability of each sample's label, 0..1.
        method: the library that ranked them.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float64]
    method: str

    def __len__(self) -> int:
        return len(self.items)


def suspects(data: object, probabilities: ArrayLike | Tensor, *, out_of_sample: bool) -> Suspects:
    """Return the samples that confident learning doubts (Northcutt et al., JAIR 2021), by cleanlab's default.

    Args:
        data: as for `measure_robust_accuracy`, or labels alone, (N,) whole numbers.
        probabilities: (N, K), rows of sum 1.
        out_of_sample: True states that no model was trained on its samples, as in cross-validation; otherwise two of
            three findable wrong labels are missed.

    Raises:
        ConfigError: out_of_sample is not True, or cleanlab is not installed.
        DataError: the probabilities are malformed, or of other samples.
    """
    if out_of_sample is not True:
        raise ConfigError(
            expected(
                "out_of_sample=True",
                out_of_sample,
                "Probabilities of a model that was trained on these samples hide their wrong labels: take them by "
                "cross-validation.",
            )
        )
    labels = labels_of(data)
    given = probabilities.detach().cpu().numpy() if isinstance(probabilities, Tensor) else np.asarray(probabilities)
    _check(given, labels)
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.version import __version__ as version
    except ImportError as error:
        raise ConfigError("Expected cleanlab for suspects(...): pip install 'robustest-people[suspects]'.") from error
    ranked = find_label_issues(labels, given.astype(np.float64), return_indices_ranked_by="self_confidence", n_jobs=1)
    return Suspects(
        items=np.asarray(ranked, dtype=np.int64),
        scores=given[np.arange(len(labels)), labels].astype(np.float64),
        method=f"cleanlab {version}",
    )


def labels_of(data: object) -> NDArray[np.int64]:
    """Return (N,) the labels of data, or labels given alone.

    Raises:
        DataError: labels are missing, or not whole numbers >= 0.
    """
    alone: Any = data.detach().cpu().numpy() if isinstance(data, Tensor) else data
    if isinstance(alone, np.ndarray) or (isinstance(alone, list) and alone and isinstance(alone[0], int)):
        labels = np.asarray(alone)
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
            raise DataError(expected("labels as whole numbers, (N,)", data))
    elif isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[0], np.ndarray | Tensor):
        labels = labels_of(data[1])  # without reading the samples
    else:
        labels = _read(data)
    if len(wrong := np.flatnonzero(labels < 0)):
        raise DataError(f"Expected labels >= 0 but that of item {wrong[0]} is {labels[wrong[0]]}.")
    return labels.astype(np.int64)


def _read(data: object) -> NDArray[np.int64]:
    import torch

    samples = as_samples(data)
    starts = range(0, len(samples), 256)
    parts = [samples.take(torch.arange(start, min(start + 256, len(samples))))[1] for start in starts]
    labels: NDArray[np.int64] = torch.cat(parts).numpy()
    return labels


def _check(given: NDArray[Any], labels: NDArray[np.int64]) -> None:
    if given.ndim != 2 or given.dtype.kind != "f" or len(given) != len(labels):
        raise DataError(expected(f"probabilities as floats, ({len(labels)}, K)", given))
    wrong = ~(np.isfinite(given).all(1) & (given >= 0).all(1) & (np.abs(given.sum(1) - 1) <= 1e-2))
    if wrong.any():
        raise DataError(f"Expected probabilities that add up to 1 but those of item {wrong.argmax()} do not.")
    if len(out := np.flatnonzero(labels >= given.shape[1])):
        raise DataError(f"Expected labels in 0..{given.shape[1] - 1} but that of item {out[0]} is {labels[out[0]]}.")
