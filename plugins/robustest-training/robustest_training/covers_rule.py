"""The rule on a synthetic set in place of real data: a verdict on each part, and on all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from robustest.packs import Decision, Terms, Verdict, about, worst_of
from robustest_training.held_out_quantile import Floats, fewest_held_out, share_below, share_below_interval
from robustest_training.label_shift import Counts, Variation
from robustest_training.learning_curves import at_size, teaches_as
from robustest_training.training_draws import Trained, difference_interval

# The quantile of held-out real samples' ratios of distances below which a sample counts as a copy.
UNUSUAL = 0.01

Interval = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the claim."""

    name: str
    value: float | None  # the estimate; None if it is not resolved
    interval: Interval  # None for an unknown end
    threshold: float | None  # the claimed upper limit; None for no claim
    verdict: Verdict  # inconclusive for no claim
    rule: str = ""  # reason for an inconclusive verdict other than the interval

    def told(self) -> dict[str, Any]:
        verdict = "not claimed" if self.threshold is None else str(self.verdict)
        ends = list(self.interval)
        return {"part": self.name, "value": self.value, "interval": ends, "at most": self.threshold, "verdict": verdict}

    def why(self) -> str:
        if self.rule:
            return f"{self.name}: {self.rule}"
        value = "not resolved" if self.value is None else f"{self.value:.3g}"
        low, high = (" - " if end is None else f"{end:.3g}" for end in self.interval)
        return f"{self.name} {value} [{low}, {high}], at most {self.threshold:g} claimed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoversRule:
    """The rule of `measure_synthetic_covers`."""

    parts: int  # number of claimed parts
    terms: Terms
    seed: int  # of draws for intervals

    @property
    def _fail_alpha(self) -> float:
        # Bonferroni: each claimed part may fail at an equal share of alpha.
        return self.terms.alpha / max(1, self.parts)

    def boundary(self, real: Trained, synthetic: Trained, max_gap: float | None, *, idle: float) -> Part:
        """Return the part on the accuracy lost by training on synthetic samples.

        Args:
            idle: accuracy of always answering the largest class.
        """
        alpha = self.terms.alpha
        name, value = "accuracy gap", real.accuracy - synthetic.accuracy
        ends = difference_interval(real, synthetic, alpha)
        verdict, rule = _verdict(ends, max_gap, difference_interval(real, synthetic, self._fail_alpha)[0]), ""
        # A learner that real samples teach nothing can lose nothing.
        if verdict is Verdict.PASSED and real.interval(alpha)[0] <= idle:
            rule = f"real samples teach the learner no more than always to answer the largest class ({idle:.3f})"
        elif verdict is Verdict.PASSED and max_gap is not None and real.accuracy - idle <= max_gap:
            rule = f"nothing could have failed it: real samples teach only {real.accuracy - idle:.3f} beyond {idle:.3f}"
        verdict = Verdict.INCONCLUSIVE if rule else verdict
        return self._about(Part(name=name, value=value, interval=ends, threshold=max_gap, verdict=verdict, rule=rule))

    def labels(self, synthetic: Counts, real: Counts, max_shift: float | None) -> Part:
        """Return the part on the total variation of class shares, from (K,) counts of both sets."""
        seen = Variation.of(synthetic, real, seed=self.seed)
        ends, low = seen.interval(self.terms.alpha), seen.interval(self._fail_alpha)[0]
        verdict = _verdict(ends, max_shift, low, exact=seen.value if self.terms.scope == "set" else None)
        return Part(name="label shift", value=seen.value, interval=ends, threshold=max_shift, verdict=verdict)

    def copies(self, ratios: Floats, held_out: Floats, max_copies: float | None) -> Part:
        """Return the part on the share of copies, from ratios of distances to nearest and second nearest samples."""
        value, _ = share_below(ratios, held_out, UNUSUAL)
        ends = share_below_interval(ratios, held_out, UNUSUAL, self.terms.alpha)
        wide = share_below_interval(ratios, held_out, UNUSUAL, self._fail_alpha)[0]
        verdict, rule = _verdict(ends, max_copies, wide, exact=value if self.terms.scope == "set" else None), ""
        fewest = fewest_held_out(UNUSUAL)
        if verdict is Verdict.PASSED and len(held_out) < fewest:
            rule = f"{len(held_out)} test samples, fewer than {fewest}, do not place a quantile of {UNUSUAL:g}"
            verdict = Verdict.INCONCLUSIVE
        return Part(name="copies", value=value, interval=ends, threshold=max_copies, verdict=verdict, rule=rule)

    def diversity(self, curve: Sequence[Trained], synthetic: Trained, max_factor: float | None) -> Part:
        """Return the part on the number of synthetic samples to one real sample that teaches as much."""
        seen = teaches_as(curve, synthetic, self.terms.alpha)
        value, low, high = (
            None if size is None else synthetic.size / size for size in (seen.size, seen.high, seen.low)
        )
        verdict, rule = Verdict.INCONCLUSIVE, ""
        if max_factor is not None:
            # The factor is at most the threshold if learners of size / threshold real samples are no better than those
            # of the synthetic ones: one comparison, which needs no inversion of the curve.
            there = at_size(curve, synthetic.size / max_factor)
            if there is None:
                least, most = (synthetic.size / curve[at].size for at in (-1, 0))
                rule = f"the real learning curve tells factors of {least:.3g} to {most:.3g}, not {max_factor:g}"
            elif difference_interval(there, synthetic, self._fail_alpha)[0] > 0:
                verdict = Verdict.FAILED
            elif difference_interval(there, synthetic, self.terms.alpha)[1] <= 0:
                verdict = Verdict.PASSED
            elif value is None:
                rule = "not resolved: the real learning curve is flat there"
        name = "diversity factor"
        return self._about(
            Part(name=name, value=value, interval=(low, high), threshold=max_factor, verdict=verdict, rule=rule)
        )

    def _about(self, part: Part) -> Part:
        # Draws of trainings are estimated from halves and Student's t, without a guarantee: no pass of a population.
        if self.terms.scope == "set" or part.verdict is not Verdict.PASSED:
            return part
        rule = (
            f"not shown of the population: Student's t over training draws and test samples holds only "
            f'{about(self.terms.alpha)}, and for none that are rare; claim it of these sets (scope="set")'
        )
        return replace(part, verdict=Verdict.INCONCLUSIVE, rule=rule)

    def decide(self, parts: Sequence[Part]) -> Decision:
        """Return the decision on all parts; the gap comes first, and its value is the claim's."""
        gap, claimed = parts[0], [part for part in parts if part.threshold is not None]
        low, high = gap.interval
        interval = (-1.0 if low is None else low, 1.0 if high is None else high)
        verdict, rule, asked = Verdict.INCONCLUSIVE, "no threshold given", gap.threshold is not None
        if asked:
            verdict = worst_of([part.verdict for part in claimed])
            rule = f"training draws and test samples, {about(self.terms.alpha)}"
        if asked and verdict is not Verdict.PASSED:
            rule = "; ".join(part.why() for part in claimed if part.verdict is verdict) + f"; {rule}"
        return Decision(
            verdict=verdict, rule=rule, estimate=gap.value, interval=interval, at_alpha=asked, approximate=True
        )


def _verdict(ends: tuple[float, float], threshold: float | None, low: float, *, exact: float | None = None) -> Verdict:
    """Return the verdict: failed by the lower end `low`, passed by the upper one, or by the exact value."""
    # A part fails if its interval is beyond the threshold at its share of alpha, and passes if its interval keeps the
    # threshold. Labels and copies are facts about this very set, so a claim about the set passes by their measured
    # (exact) value.
    if threshold is None:
        return Verdict.INCONCLUSIVE
    if low > threshold:
        return Verdict.FAILED
    return Verdict.PASSED if (ends[1] if exact is None else exact) <= threshold else Verdict.INCONCLUSIVE
