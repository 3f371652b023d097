"""Agreement between annotators, beyond chance, and the quality of each of them.

Every coefficient is 1 - D_o / D_e: the disagreement observed within questions, over the disagreement expected by
chance. With n_uc answers c to question u, m_u = sum_c n_uc >= 2, n_c = sum_u n_uc and n = sum_c n_c:

    d_u = sum_ck n_uc n_uk delta_ck / (m_u (m_u - 1))

    Krippendorff's alpha   D_o = sum_u m_u d_u / n    D_e = sum_ck n_c n_k delta_ck / (n (n - 1))
    Fleiss' kappa          D_o = mean_u d_u           D_e = 1 - sum_c (n_c / n)^2
    Cohen's kappa          D_o = sum_ck w_ck p_ck     D_e = sum_ck w_ck p_c q_k, p and q shares of two annotators

    delta_ck: nominal [c != k]; interval (v_c - v_k)^2; ordinal (r_c - r_k)^2, mid-ranks r_c = sum_(g<c) n_g + n_c / 2

Krippendorff, Content Analysis, 2004; Fleiss, Psychological Bulletin 1971; Cohen, Psychological Bulletin 1968.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from robustest.errors import ConfigError, DataError, expected, unknown
from robustest.packs import checked_real, checked_whole, clopper_pearson
from robustest_people.responses import NONE, Responses

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEVELS = ("nominal", "ordinal", "interval")
WEIGHTS = ("linear", "quadratic")
STANDARDS = ("consensus", "checks")

# Answers whose questions are compared at a time: a table of all answers by all classes may not fit the memory.
_ROWS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Agreement between annotators: 1 is perfect, 0 is that of chance, below 0 is worse than chance.

    Attributes:
        statistic: "krippendorff_alpha", "fleiss_kappa" or "cohen_kappa".
        distance: the distance between two classes: "nominal", "ordinal", "interval", "linear" or "quadratic".
        estimate: the coefficient of these answers, -1..1.
        interval: ends of the bootstrap interval over items, -1..1.
        confidence: probability of the interval, 0..1. It is approximate.
        observed, expected: disagreement within questions, and by chance; `estimate` is 1 - observed / expected.
        items: number of items with two compared answers or more.
        answers: number of compared answers.
        unpaired: number of answers left out, because no other annotator answered the question.
        unanswered: number of questions that were asked and not answered. Hard questions are skipped more often, so that
            answers without them may agree too well.
        resamples: bootstrap draws.
        undefined: number of draws with a single class, which have no coefficient. They count as -1 for the lower end
            and as 1 for the upper one.
        seed: seed of the draws.
    """

    statistic: str
    distance: str
    estimate: float
    interval: tuple[float, float]
    confidence: float
    observed: float
    expected: float
    items: int
    answers: int
    unpaired: int
    unanswered: int
    resamples: int
    undefined: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatorQuality:
    """Agreement of an annotator with a standard.

    Attributes:
        annotator: name.
        answers: number of answers that count; 0 for an annotator dropped by attention checks.
        against: "consensus", the class selected most by the others, or "checks", attention checks.
        compared: number of answers that could be compared with the standard.
        agreement: share of the compared answers that agree with it, 0..1; NaN for none.
        interval: exact interval of `agreement` (Clopper and Pearson); 0..1 for none.
        confidence: probability of the interval, 0..1.
        by_chance: the share expected if the annotator's compared answers were shuffled over their questions, 0..1. An
            annotator who always answers alike reaches it. NaN for "checks", whose classes are unknown, and for none.
    """

    annotator: str
    answers: int
    against: str
    compared: int
    agreement: float
    interval: tuple[float, float]
    confidence: float
    by_chance: float


def krippendorff_alpha(
    responses: Responses,
    level: str = "nominal",
    *,
    values: Sequence[float] | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Agreement:
    """Return Krippendorff's alpha, for any number of annotators, who may each answer some of the items.

    Questions with one answer are left out. If annotators were asked about one label at a time, each pair of item and
    label is a question, and the bootstrap draws items with all their questions.

    Args:
        responses: answers, also by unknown annotators.
        level: "nominal": classes are equal or not; "ordinal": their order counts, as `responses.classes` has it;
            "interval": differences of `values` count.
        values: for "interval", a finite number for each class, all different; None for the positions 0..K-1.
        confidence: probability of the interval, above 0 and below 1.
        resamples: bootstrap draws, >= 100.
        seed: seed of the draws, >= 0.

    Raises:
        ConfigError: an argument is out of range, or the level unknown.
        DataError: there is one annotator, fewer than two items have two answers, or all compared answers are equal in
            class, where alpha is undefined.
    """
    if level not in LEVELS:
        raise unknown("level", level, LEVELS)
    questions = _Questions.of(responses)
    scale = _scale(values, level, len(questions.names))
    paired = questions.paired()
    within = _Within(paired, level, scale, small_sample=True)
    return _agreement(
        "krippendorff_alpha", level, within, responses, confidence=confidence, resamples=resamples, seed=seed
    )


def fleiss_kappa(responses: Responses, *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0) -> Agreement:
    """Return Fleiss' kappa, for the same number of answers to each question, of any annotators.

    Args:
        responses: answers, also by unknown annotators. Items that nobody answered are left out.
        confidence, resamples, seed: as for `krippendorff_alpha`.

    Raises:
        ConfigError: an argument is out of range.
        DataError: as for `krippendorff_alpha`; or questions have different numbers of answers.
    """
    questions = _Questions.of(responses)
    paired = questions.paired()
    few, many = int(questions.answers.min()), int(questions.answers.max())
    if few != many:
        raise DataError(
            f"Expected the same number of answers to each question, for Fleiss' kappa, but got {few} to {many}. Take "
            "krippendorff_alpha, which allows missing answers, or leave out the items that lack some."
        )
    within = _Within(paired, "nominal", None, small_sample=False)
    return _agreement(
        "fleiss_kappa", "nominal", within, responses, confidence=confidence, resamples=resamples, seed=seed
    )


def cohen_kappa(
    responses: Responses,
    *,
    annotators: tuple[str, str] | None = None,
    weights: str | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Agreement:
    """Return Cohen's kappa of two annotators, over the questions that both answered.

    Args:
        responses: answers of known annotators.
        annotators: names of two; None if only two have answers.
        weights: None: classes are equal or not; "linear" or "quadratic": disagreement by the difference of their
            positions in `responses.classes`, or by its square.
        confidence, resamples, seed: as for `krippendorff_alpha`.

    Raises:
        ConfigError: an argument is out of range, or a name unknown.
        DataError: an annotator is unknown, there are not two, they share fewer than two items, or both gave the same
            class everywhere, where kappa is undefined.
    """
    if weights is not None and weights not in WEIGHTS:
        raise unknown("weights", weights, WEIGHTS)
    questions = _Questions.of(responses)
    first, second = _two(responses, annotators)
    # A question's rows of either annotator; an annotator answers a question once.
    mine, yours = (np.flatnonzero(responses.annotator == one) for one in (first, second))
    shared, at, to = np.intersect1d(questions.row[mine], questions.row[yours], return_indices=True)
    between = _Between(
        items=questions.item[shared],
        first=questions.answer[mine[at]],
        second=questions.answer[yours[to]],
        names=questions.names,
        weights=weights,
        who=(responses.annotators[first], responses.annotators[second]),
        unpaired=len(mine) + len(yours) - 2 * len(shared),
    )
    return _agreement(
        "cohen_kappa", weights or "nominal", between, responses, confidence=confidence, resamples=resamples, seed=seed
    )


def annotator_quality(
    responses: Responses, against: str = "consensus", *, confidence: float = 0.95
) -> tuple[AnnotatorQuality, ...]:
    """Return the agreement of each annotator with the others, or with attention checks.

    Annotators who copy from each other agree with their consensus: only checks show them.

    Args:
        responses: answers of known annotators.
        against: "consensus": the class that the other annotators selected most, without the annotator's own answer;
            questions with a tie or without another answer are not compared. "checks": attention checks.
        confidence: probability of each interval alone, above 0 and below 1.

    Returns:
        One result per name in `responses.annotators`, in this order.

    Raises:
        ConfigError: an argument is out of range.
        DataError: an annotator is unknown; for "consensus", there is one annotator, or no question has two answers; for
            "checks", nobody answered one.
    """
    if against not in STANDARDS:
        raise unknown("standard", against, STANDARDS)
    checked_real("confidence", confidence, 0, 1, "()")
    questions = _Questions.of(responses)
    who, size = responses.known_annotators("the quality of each"), len(responses.annotators)
    chance = np.full(size, np.nan)
    if against == "checks":
        if not responses.checks.any():
            raise DataError(
                'Expected attention checks but nobody answered any. Give check=, or compare against="consensus".'
            )
        compared, agreed = responses.checks, responses.passed
    else:
        questions.paired()  # raises if there is nothing to compare
        consensus = questions.consensus_of_others()
        there = consensus != NONE
        agrees = there & (consensus == questions.answer)
        compared, agreed = (np.bincount(who[rows], minlength=size) for rows in (there, agrees))
        for annotator in np.flatnonzero(compared):
            rows = there & (who == annotator)
            own, others = (
                np.bincount(column[rows], minlength=len(questions.names)) / rows.sum()
                for column in (questions.answer, consensus)
            )
            chance[annotator] = own @ others
    answers = np.bincount(who, minlength=size)
    return tuple(
        AnnotatorQuality(
            annotator=name,
            answers=int(answers[at]),
            against=against,
            compared=int(compared[at]),
            agreement=float(agreed[at] / compared[at]) if compared[at] else float("nan"),
            interval=clopper_pearson(int(agreed[at]), int(compared[at]), (1 - confidence) / 2)
            if compared[at]
            else (0.0, 1.0),
            confidence=confidence,
            by_chance=float(chance[at]),
        )
        for at, name in enumerate(responses.annotators)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Questions:
    """Questions with an answer: an item, or an item and a label. R answers, Q questions, K classes."""

    counts: csr_array  # (Q, K) float64, answers by class
    item: Ints  # (Q,) items of the questions
    row: Ints  # (R,) questions of the answers, 0..Q-1
    answer: Ints  # (R,) answers, 0..K-1
    names: tuple[str, ...]  # (K,) classes; "no" and "yes" if annotators were asked about one label at a time
    annotators: tuple[str, ...]  # names of annotators with an answer; empty if one is unknown
    unpaired: int = 0  # answers left out by `paired`

    @property
    def answers(self) -> Floats:
        """Return (Q,) numbers of answers, >= 1."""
        total: Floats = self.counts.sum(1)
        return total

    @classmethod
    def of(cls, responses: Responses) -> _Questions:
        if not isinstance(responses, Responses):
            raise ConfigError(
                expected("responses to be Responses", responses, "Make them with Responses.from_columns, for example.")
            )
        if not len(responses):
            raise DataError(
                "Expected answers of two annotators or more but got none: no answer counts. Collect answers, or look "
                "whether annotators were dropped by attention checks (responses.dropped)."
            )
        key, names = responses.item, responses.classes
        if not responses.chosen:
            key, names = key * len(names) + responses.asked, ("no", "yes")
        questions, first, row = np.unique(key, return_index=True, return_inverse=True)
        ones = np.ones(len(row))
        present = np.unique(responses.annotator)
        return cls(
            counts=csr_array((ones, (row, responses.answer)), shape=(len(questions), len(names))),
            item=responses.item[first],
            row=row,
            answer=responses.answer,
            names=names,
            annotators=() if present[0] == NONE else tuple(responses.annotators[one] for one in present),
        )

    def paired(self) -> _Questions:
        """Return the questions with two answers or more; `row` and `answer` are theirs.

        Raises:
            DataError: there is one annotator, or no such question.
        """
        if len(self.annotators) == 1:
            raise DataError(
                f"Expected answers of two annotators or more but all {len(self.row)} are by {self.annotators[0]!r}. "
                "Collect answers of a second annotator about the same items."
            )
        several = self.answers > 1
        if not several.any():
            raise DataError(
                "Expected questions with two answers or more but none has more than one: nothing shows whether "
                "annotators agree. Collect a second answer of some items."
            )
        kept = several[self.row]
        return _Questions(
            counts=self.counts[np.flatnonzero(several)],
            item=self.item[several],
            row=(np.cumsum(several) - 1)[self.row[kept]],
            answer=self.answer[kept],
            names=self.names,
            annotators=self.annotators,
            unpaired=int((~kept).sum()),
        )

    def consensus_of_others(self) -> Ints:
        """Return (R,) the class that all answers to the question but this one select most; -1 for a tie or for none."""
        consensus = np.empty(len(self.row), dtype=np.int64)
        for start in range(0, len(self.row), _ROWS):
            part = slice(start, start + _ROWS)
            others = self.counts[self.row[part]].toarray()
            others[np.arange(len(others)), self.answer[part]] -= 1
            most = others.max(1)
            sure = (most > 0) & ((others == most[:, None]).sum(1) == 1)
            consensus[part] = np.where(sure, others.argmax(1), NONE)
        return consensus


class _Within:
    """Disagreement within questions, and between answers of all questions: alpha and Fleiss' kappa."""

    def __init__(self, paired: _Questions, level: str, scale: Floats | None, *, small_sample: bool) -> None:
        self.counts, self.level, self.scale = paired.counts, level, scale
        self.small_sample = small_sample  # alpha draws the two answers of a chance pair without replacement
        self.m = paired.answers
        self.items, self.item = np.unique(paired.item, return_inverse=True)
        self.answers, self.unpaired = int(self.m.sum()), paired.unpaired
        used = np.flatnonzero(self.counts.sum(0))
        if len(used) == 1:
            raise _one_class(paired.names[used[0]], self.answers)
        self.d = self._disagreements(self._values(self.counts.sum(0)))

    def __call__(self, weight: Floats) -> tuple[float, float]:
        """Return D_o and D_e of items with these weights (N,); D_e is 0 for a single class."""
        each = weight[self.item]
        totals = each @ self.counts
        n = totals.sum()
        if np.count_nonzero(totals) < 2:
            return 0.0, 0.0
        # Mid-ranks change with the draw, the other values do not.
        values = self._values(totals)
        d = self._disagreements(values) if self.level == "ordinal" else self.d
        pairs = n * (n - 1) if self.small_sample else n * n
        return float(each * self.m @ d / n), float(self._spread(totals, values) / pairs)

    @property
    def largest(self) -> float:
        """Return the largest disagreement that a question can have."""
        values = self._values(self.counts.sum(0))
        return 1.0 if values is None else float(np.ptp(values) ** 2)

    def _values(self, totals: Floats) -> Floats | None:
        if self.level == "ordinal":
            return np.cumsum(totals) - totals / 2
        return self.scale

    def _spread(self, totals: Floats, values: Floats | None) -> float:
        """Return sum_ck n_c n_k delta_ck."""
        n = totals.sum()
        if values is None:
            return float(n * n - totals @ totals)
        centred = values - totals @ values / n  # differences of large squares would lose digits
        return float(2 * n * (totals @ centred**2))

    def _disagreements(self, values: Floats | None) -> Floats:
        """Return (Q,) d_u."""
        if values is None:
            same: Floats = self.counts.power(2).sum(1)
            apart = self.m**2 - same
        else:
            centred = values - values.mean()
            apart = 2 * (self.m * (self.counts @ centred**2) - (self.counts @ centred) ** 2)
        each: Floats = np.maximum(apart, 0) / (self.m * (self.m - 1))
        return each


class _Between:
    """Disagreement of two annotators over the questions that both answered: Cohen's kappa."""

    def __init__(
        self,
        *,
        items: Ints,
        first: Ints,
        second: Ints,
        names: tuple[str, ...],
        weights: str | None,
        who: tuple[str, str],
        unpaired: int,
    ) -> None:
        if not len(items):
            raise DataError(
                f"Expected items that both {who[0]!r} and {who[1]!r} answered but they share none. Let one of them "
                "answer some items of the other."
            )
        used, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
        if len(used) == 1:
            raise _one_class(names[used[0]], 2 * len(items))
        self.first, self.second = codes[: len(items)], codes[len(items) :]
        apart = np.abs(used[:, None] - used).astype(np.float64)
        self.weight = {None: np.sign(apart), "linear": apart, "quadratic": apart**2}[weights]
        self.d = self.weight[self.first, self.second]
        self.items, self.item = np.unique(items, return_inverse=True)
        self.answers, self.unpaired = 2 * len(items), unpaired

    def __call__(self, weight: Floats) -> tuple[float, float]:
        """Return D_o and D_e of items with these weights (N,); D_e is 0 for a single class."""
        each = weight[self.item]
        n, size = each.sum(), len(self.weight)
        p, q = (np.bincount(column, each, minlength=size) / n for column in (self.first, self.second))
        return float(each @ self.d / n), float(p @ self.weight @ q)

    @property
    def largest(self) -> float:
        """Return the largest disagreement that a question can have."""
        return float(self.weight.max())


def _agreement(
    statistic: str,
    distance: str,
    disagreement: _Within | _Between,
    responses: Responses,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> Agreement:
    checked_real("confidence", confidence, 0, 1, "()")
    checked_whole("resamples", resamples, 100)
    checked_whole("seed", seed, 0)
    size = len(disagreement.items)
    if size < 2:
        raise DataError(
            f"Expected two items or more with two compared answers but got {size}: the interval is over items. Collect "
            "a second answer of further items."
        )
    observed, chance = disagreement(np.ones(size))
    estimate = 1 - observed / chance
    random = np.random.default_rng(seed)
    draws = np.empty(resamples)
    for draw in range(resamples):
        again, by_chance = disagreement(np.bincount(random.integers(0, size, size), minlength=size).astype(np.float64))
        draws[draw] = 1 - again / by_chance if by_chance else np.nan
    tail = (1 - confidence) / 2
    low = float(np.quantile(np.nan_to_num(draws, nan=-1.0), tail))
    high = float(np.quantile(np.nan_to_num(draws, nan=1.0), 1 - tail))
    if np.ptp(disagreement.d) == 0:
        # Questions that disagree equally, as without any disagreement, leave the bootstrap no error to see. A share of
        # items that was not seen once, up to its exact limit, may disagree in full, or not at all.
        unseen, each = clopper_pearson(0, size, tail)[1], float(disagreement.d[0])
        low = min(low, 1 - ((1 - unseen) * each + unseen * disagreement.largest) / chance)
        high = max(high, 1 - (1 - unseen) * each / chance)
    return Agreement(
        statistic=statistic,
        distance=distance,
        estimate=estimate,
        # Of few items, all draws may lie on one side of the estimate: drawing an item twice changes chance agreement.
        interval=(max(-1.0, min(low, estimate)), min(1.0, max(high, estimate))),
        confidence=confidence,
        observed=observed,
        expected=chance,
        items=size,
        answers=disagreement.answers,
        unpaired=disagreement.unpaired,
        unanswered=len(responses.unanswered),
        resamples=resamples,
        undefined=int(np.isnan(draws).sum()),
        seed=seed,
    )


def _scale(values: Sequence[float] | None, level: str, classes: int) -> Floats | None:
    if level != "interval":
        if values is not None:
            raise ConfigError(expected(f'no values for the level "{level}"', values, 'Take level="interval".'))
        return None
    if values is None:
        return np.arange(classes, dtype=np.float64)
    try:
        scale = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        scale = np.empty(0)
    if scale.shape != (classes,) or not np.isfinite(scale).all() or len(np.unique(scale)) < classes:
        raise ConfigError(
            expected(f"values to be {classes} finite numbers, one for each class and all different", values)
        )
    return scale


def _two(responses: Responses, names: tuple[str, str] | None) -> tuple[int, int]:
    """Return the positions of two annotators in `responses.annotators`."""
    known = responses.known_annotators("Cohen's kappa")
    present = [responses.annotators[one] for one in np.unique(known)]
    if names is None:
        if len(present) != 2:
            raise DataError(
                f"Expected answers of two annotators, for Cohen's kappa, but got those of {len(present)}. "
                + (
                    "Name two with annotators=, or take krippendorff_alpha or fleiss_kappa."
                    if len(present) > 2
                    else "Collect answers of a second annotator about the same items."
                )
            )
        names = present[0], present[1]
    if isinstance(names, str) or len(names) != 2 or names[0] == names[1]:
        raise ConfigError(expected("annotators to be two different names", names))
    for name in names:
        if name not in present:
            raise unknown("annotator", name, present)
    return responses.annotators.index(names[0]), responses.annotators.index(names[1])


def _one_class(name: str, answers: int) -> DataError:
    return DataError(
        f"Expected answers of two classes or more but all {answers} compared answers are {name!r}: chance alone would "
        "agree as well, and the coefficient is undefined. Collect answers about items of other classes, or report the "
        "share of equal answers."
    )
