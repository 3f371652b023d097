"""How a model's predictions fare with those who looked at the same images, and claims on it.

Tsipras, Santurkar, Engstrom, Ilyas and Madry (ICML 2020, "From ImageNet to Image Classification"): a label is one
answer of several that people give, so that an error may be one that people make, too. Correcting errors alone would
flatter: some hits agree with a label that people prefer another to, and are counted beside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustest.packs import Columns, Decision, EarlyVerdict, ShareRule, Terms, Verdict

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

FEWEST_ANSWERS = 10
"""With fewer answers about a sample no verdict rests on it: of 50 answers a tenth as many make twice the errors look
like ones that people share."""

MANY_ANSWERS = 40
"""With fewer, every line says how few they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What people say of predictions.

    Attributes:
        right: (n,) bool, the prediction is the label.
        main: (n,) bool, it is the class selected most often, and no other is selected as often.
        contained: (n,) bool, it is selected, and at least half as often as the class selected most often.
        frequency: (n,) float64, how often it is selected of how often it could have been, 0..1.
        defensible: (n,) bool, it is not the label, is selected at least as often, and by somebody.
        unsupported: (n,) bool, it is not the label, and nobody selected it.
        disputed: (n,) bool, it is the label, and another class is selected more often.
        tied: (n,) bool, several classes are selected most often.
        answers: (n,) int64, answers that prediction, label and leading class could each have been selected in.
        selected: (n,) int64, classes that are contained: selected, and at least half as often as the leading one.
    """

    right: Bools
    main: Bools
    contained: Bools
    frequency: NDArray[np.float64]
    defensible: Bools
    unsupported: Bools
    disputed: Bools
    tied: Bools
    answers: Ints
    selected: Ints

    @classmethod
    def of(cls, selected: Ints, shown: Ints, label: Ints, predicted: Ints) -> Agreement:
        """From counts.

        Args:
            selected: (n, K) how often each class was selected for each sample.
            shown: (n, K) how often it could have been.
            label, predicted: (n,) classes.
        """
        rows = np.arange(len(label))
        share = np.divide(selected, shown, out=np.zeros(selected.shape), where=shown > 0)
        most, mine, given = share.max(1), share[rows, predicted], share[rows, label]
        right, by_somebody = predicted == label, mine > 0
        tied = ((share == most[:, None]).sum(1) > 1) & (most > 0)
        return cls(
            right=right,
            main=(mine == most) & by_somebody & ~tied,
            contained=(2 * mine >= most) & by_somebody,
            frequency=mine,
            defensible=~right & (mine >= given) & by_somebody,
            unsupported=~right & ~by_somebody,
            disputed=right & (most > given),
            tied=tied,
            answers=np.minimum.reduce([shown[rows, of] for of in (predicted, label, share.argmax(1))]),
            selected=((2 * share >= most[:, None]) & (share > 0)).sum(1),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedAtRule:
    """A rule for a share of samples, some of which too few people looked at to say whether they hold.

    These count as broken for a pass and as held for a failure, so that fewer answers make no claim easier.

    Attributes:
        sure: the rule where what is not known does not hold: the column "held".
        possible: the rule where it does: the column "possible".
    """

    sure: ShareRule
    possible: ShareRule

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Rule.settled`."""
        sure, possible = self.sure.settle(columns, n), self.possible.settle(columns, n)
        if sure is not None and sure.verdict is Verdict.PASSED:
            return sure
        return possible if possible is not None and possible.verdict is Verdict.FAILED else None

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Rule.decide`; the interval covers both."""
        sure = self.sure.decide(columns, n, self._if(settled, Verdict.PASSED))
        possible = self.possible.decide(columns, n, self._if(settled, Verdict.FAILED))
        low, high = zip(sure.interval, possible.interval, strict=True)
        verdict, rule = Verdict.INCONCLUSIVE, sure.rule
        if sure.verdict is Verdict.PASSED or self.sure.threshold is None:
            verdict, rule = sure.verdict, sure.rule
        elif possible.verdict is Verdict.FAILED:
            verdict, rule = possible.verdict, possible.rule
        elif sure.verdict is not possible.verdict:
            unknown = int((columns["possible"] & ~columns["held"].astype(bool)).sum())
            rule = f"{unknown} samples have fewer than {FEWEST_ANSWERS} answers, and could decide it"
        return Decision(
            verdict=verdict,
            rule=rule,
            estimate=sure.estimate,
            interval=(min(low), max(high)),
            at_alpha=sure.at_alpha or possible.at_alpha,
        )

    def doomed(self, broken: int, n: int) -> bool:
        """As `Rule.doomed`; nothing is known of samples before they were looked at."""
        return False

    def for_part(self, terms: Terms) -> ShareRule:
        """Return the claim on a part of the samples; what people did not say counts in its favour."""
        return replace(self.possible, terms=terms)

    @staticmethod
    def _if(settled: EarlyVerdict | None, verdict: Verdict) -> EarlyVerdict | None:
        return settled if settled is not None and settled.verdict is verdict else None
