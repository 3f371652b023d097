"""What is to be measured, as one value: made once by a claim, and passed whole."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustest.decisions import Rule, ShareRule
from robustest.run.options import terms_of
from robustest.run.remembered.comparison import Baseline, Compared, compared
from robustest.run.remembered.measured_by import measured_by
from robustest.run.units import Units
from robustest.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be measured, and what decides.

    Attributes:
        statement: what is claimed, in words, without its threshold.
        units: what is counted, and what is done with a chunk of it; for labelled samples `Classified`, which holds
            model, samples, look and replay.
        settings: device, seed, batch size, examples, budgets, store, engine.
        rule: says when the outcomes settle the claim, and what is decided.
        identity: all that outcomes depend on besides units, model and seed, made of plain values and attacks, threats,
            shifts or cues: what the store keeps them by. None where nothing may be remembered.
        here: whether state is kept from chunk to chunk, so that they are measured in this process on any engine.
        baseline: what the outcomes are compared with; None where nothing is.
    """

    statement: str
    units: Units
    settings: Settings
    rule: Rule
    identity: object = None
    here: bool = False
    baseline: Compared | None = None

    def against(
        self,
        no_worse_than: Baseline | None,
        tolerance: float,
        *,
        asked: bool,
        groups: tuple[tuple[str, NDArray[np.int64]], ...] = (),
        columns: tuple[str, ...] = ("held",),
        parts: tuple[tuple[str, tuple[str, ...]], ...] = (),
        together: bool = True,
        level: float | None = None,
        scored: str = "",
    ) -> Plan:
        """The same, compared with a baseline or another model; a baseline that is being made needs every unit.

        Args:
            no_worse_than: the baseline's file, or another model; None compares with nothing.
            tolerance: the fall from it that is allowed, in 0..1.
            asked: whether the number itself has a threshold.
            groups, columns, parts, together, level: as in `robustest.decisions.BaselineRule`.
            scored: the name of the mean of the column "score", e.g. "mean score": compare that in place of outcomes, as
                `robustest.decisions.ScoreBaselineRule` does. Empty for outcomes.

        Raises:
            ConfigError, StoreError: as `robustest.run.remembered.comparison.compared`.
        """
        baseline = compared(
            self.rule,
            self.settings,
            asked=asked,
            statement=self.statement,
            units=self.units,
            terms=terms_of(self.settings),
            no_worse_than=no_worse_than,
            tolerance=tolerance,
            groups=groups,
            columns=columns,
            parts=parts,
            together=together,
            level=level,
            scored=scored,
            by=measured_by(self.identity, getattr(self.units, "task", None)),
        )
        identity = self.identity
        if baseline.other is not None and identity is not None:
            identity = (identity, "every counterexample")  # which the chunks hold
        return replace(
            self,
            rule=baseline.rule,
            settings=baseline.settings,
            units=baseline.units,
            identity=identity,
            baseline=baseline,
        )

    def of_other(self) -> Plan | None:
        """Return the plan of the model that this one is compared with: every sample, and nothing claimed of them.

        None where there is no such model.
        """
        if self.baseline is None or self.baseline.other is None:
            return None
        return replace(
            self,
            statement=f"{self.statement}, by the model of no_worse_than",
            units=self.baseline.other,
            rule=ShareRule(threshold=None, at_least=True, terms=terms_of(self.settings)),
            baseline=None,
        )
