"""Verdicts against a baseline: the same samples, judged before and now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.results import Verdict
from robustest.rules.no_worse import NoWorse
from robustest.rules.rule import Columns
from robustest.statistics.betting import MANY, drop_interval
from robustest.statistics.differences.paired import drop_bounds, mcnemar
from robustest.statistics.differences.sign_flips import sign_flip
from robustest.statistics.fixed import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What became of the samples of a baseline.

    Attributes:
        name: of the group of samples that this is about; "" for all.
        lost, gained: outcomes that held only before, and only now: of samples, or of samples in several cells.
        n: number of outcomes.
        p_lost, p_gained: one-sided p-values of an exact paired test, that there are no more losses than gains but for
            chance, and no more gains than losses: McNemar's, and over several cells a sign-flip test of samples.
        tolerance: the fall from the baseline that is allowed, in 0..1.
        alpha: error allowed for a failure, which is all that may be wrong by chance: a loss that is not shown passes.
        interval: of the fall, two-sided at 1 - 2 alpha.
        held: samples that held before: no more can be lost; None where that is not known.
        test: what the p-values are of, in words.
    """

    name: str = ""
    lost: int
    gained: int
    n: int
    p_lost: float
    p_gained: float
    tolerance: float
    alpha: float
    interval: tuple[float, float]
    held: int | None = None
    test: str = "McNemar"

    @property
    def worse(self) -> bool:
        """Whether more is lost than the tolerance allows, and more than chance explains."""
        return (self.lost - self.gained) / self.n > self.tolerance and self.p_lost <= self.alpha

    @property
    def untold(self) -> bool:
        """Whether more is lost than the tolerance allows, where so few held that nothing could be called worse.

        Even if every one of them had been lost, chance would explain it at alpha.
        """
        most = self.n if self.held is None else self.held
        return (self.lost - self.gained) / self.n > self.tolerance and mcnemar(most, 0) > self.alpha

    @property
    def better(self) -> bool:
        """Whether more is gained than the tolerance, and more than chance explains: the gate can be tightened."""
        return (self.gained - self.lost) / self.n > self.tolerance and self.p_gained <= self.alpha

    def details(self) -> dict[str, Any]:
        """As `Change.details`; the drop is of the share that held."""
        return {
            "lost": self.lost,
            "gained": self.gained,
            "p": self.p_lost,
            "test": self.test,
            "drop": (self.lost - self.gained) / self.n,
            "drop_interval": list(self.interval),
        }

    def __str__(self) -> str:
        where = f"in {self.name!r} " if self.name else ""
        counts = f"{self.lost} lost, {self.gained} gained of {self.n}, {self.test} p = {self.p_lost:.2g}"
        return f"against the baseline {where}{counts}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRule(NoWorse):
    """The claim that the samples of a baseline hold now no worse than they did then, beside another claim.

    What was lost is set against what was gained, sample by sample (McNemar, Psychometrika 1947; exact and one-sided):
    samples that did not change say nothing, so that a point lost shows where two accuracies far apart would drown it.
    It waits for every sample. Where more is lost than is tolerated of so few that chance would explain the loss of all,
    it is inconclusive. Where there are groups, each is compared by itself, and all must be no worse: what one
    lost is not made up for by what another gained. About a population it passes only where the interval of the fall is
    tolerated.

    Attributes:
        before: (n,) bool, the baseline's outcomes in the data's order, or (n, c) of c columns; None while the baseline
            is being made. For what else there is see `NoWorse`.
        groups: names and positions of the samples in each.
        columns: where outcomes are; with several, samples are compared by how many of them hold.
        parts: names and columns of parts that must be no worse each.
        together: whether all columns must be no worse together as well; else the first part is what results show.
        level: the error that each comparison may take for a failure; None means the terms' (one comparison).
    """

    groups: tuple[tuple[str, NDArray[np.int64]], ...] = ()
    columns: tuple[str, ...] = ("held",)
    parts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    together: bool = True
    level: float | None = None

    def _paired(self, decision: Decision, columns: Columns) -> Decision:
        """The verdict where every sample can be set against its outcome in the baseline."""
        by_group = self.compare_groups(columns)
        worse = [found for found in by_group if found.worse]
        if worse:
            rule = f"worse: {'; '.join(map(str, worse))}"
            return replace(decision, verdict=Verdict.FAILED, rule=rule, at_alpha=True, reasons=("baseline",))
        untold = [found for found in by_group if found.untold]
        if untold and (not self.asked or decision.verdict is not Verdict.FAILED):
            rule = f"too few samples to tell a loss from chance: {'; '.join(map(str, untold))}"
            return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, reasons=("baseline",))
        found = f"{self.compare(columns)}"
        if self.groups or self.parts:
            found = (
                f"{found}, no worse in any of {len(self.groups or self.parts)} {'groups' if self.groups else 'parts'}"
            )
        high = max(one.interval[1] for one in by_group)
        # A number that is proven says nothing of what was lost, unless proofs are what is compared: a health check that
        # speaks of the search keeps the comparison from passing.
        proofs = self.columns == ("proven",)
        decision = replace(decision, proven=proofs and (decision.proven or not self.asked))
        if not self.asked:
            shown = replace(
                decision, verdict=Verdict.PASSED, rule=f"no worse: {found}", at_alpha=True, reasons=("baseline",)
            )
            return self._shown(shown, high)
        passed = decision.verdict is Verdict.PASSED
        rule = f"{decision.rule}; no worse: {found}"
        return self._shown(replace(decision, rule=rule, at_alpha=decision.at_alpha or passed), high)

    @property
    def share_before(self) -> float:
        """As `NoWorse.share_before`; of the first part alone, where the columns are not compared together."""
        if self.before is None:
            raise ValueError("Expected a baseline to compare with but there is none.")
        which = [self.columns.index(column) for column in (self.columns if self.together else self.parts[0][1])]
        return float(self.before.reshape(-1, len(self.columns))[:, which].mean())

    def of_model(self, columns: Columns) -> NDArray[np.bool_]:
        """As `NoWorse.of_model`."""
        return np.stack([columns[name].astype(bool) for name in self.columns], 1)

    def compare(self, columns: Columns) -> Comparison:
        """Pair every sample with its outcome in the baseline."""
        if not self.together:
            return self.compare_groups(columns)[0]
        before, now = self._pairs(columns)
        return self._compared("", before, now)

    def compare_groups(self, columns: Columns) -> list[Comparison]:
        """The comparisons that are judged: one a group, or one of all samples, and of each part of the columns."""
        before, now = self._pairs(columns)
        if self.groups:
            place = np.argsort(columns["id"])
            return [self._compared(name, before[place[ids]], now[place[ids]]) for name, ids in self.groups]
        found = [self._compared("", before, now)] if self.together else []
        for name, parts in self.parts:
            which = [self.columns.index(column) for column in parts]
            found.append(self._compared(name, before[:, which], now[:, which]))
        return found

    def _pairs(self, columns: Columns) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(t, c) outcomes before and now."""
        if self.before is None:
            raise ValueError("Expected a baseline to compare with but there is none.")
        now = np.stack([columns[name].astype(bool) for name in self.columns], 1)
        return self.before.reshape(-1, len(self.columns))[columns["id"]], now

    def _compared(self, name: str, before: NDArray[np.bool_], now: NDArray[np.bool_]) -> Comparison:
        lost, gained, n = int((before & ~now).sum()), int((now & ~before).sum()), now.size
        fall, several = before.sum(1).astype(np.int64) - now.sum(1), now.shape[1] > 1
        wide = drop_interval(fall / now.shape[1], MANY, self.terms.alpha) if several else None
        return Comparison(
            name=name,
            lost=lost,
            gained=gained,
            n=n,
            p_lost=sign_flip(fall) if several else mcnemar(lost, gained),
            p_gained=sign_flip(-fall) if several else mcnemar(gained, lost),
            tolerance=self.tolerance,
            alpha=self.terms.alpha if self.level is None else self.level,
            interval=drop_bounds(lost, gained, n, self.terms.alpha) if wide is None else wide,
            held=int(before.any(1).sum()),
            test="sign-flip" if several else "McNemar",
        )
