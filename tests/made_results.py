"""Results of evidence that is written by hand, for tests of what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from robustest.decisions import Decision
from robustest.kinds import Kind, Quantity
from robustest.results import NOT_PAIRED, Result, Verdict
from robustest.run.evidence import Evidence
from robustest.run.finish import result_of
from robustest.settings import Settings

UP = Quantity.at_least("at_least", "accuracy", "accuracy")
DOWN = Quantity.at_most("at_most", "error", "error")
KIND = Kind(name="made", varies="nothing", quantities=(UP, DOWN))
PASS = Decision(verdict=Verdict.PASSED, rule="all evaluated", estimate=0.75, interval=(0.6, 0.9))
FAIL, OPEN = replace(PASS, verdict=Verdict.FAILED), replace(PASS, verdict=Verdict.INCONCLUSIVE)


def evidence(held: Any = (True, True, True, False) * 5, *, total: int | None = None, **fields: Any) -> Evidence:
    """Return evidence with these outcomes of the first samples; further columns in `columns`."""
    outcomes = np.asarray(held)
    columns = {"held": outcomes, **fields.pop("columns", {})}
    ids, total = np.arange(len(outcomes)), len(outcomes) if total is None else total
    return Evidence(decision=PASS, columns=columns, ids=ids, total=total, **fields)


def finished(
    found: Evidence | None = None,
    decision: Decision = PASS,
    *,
    threshold: float | None = 0.5,
    settings: Mapping[str, Any] | None = None,
    compared: Any = None,
    claim: Any = None,
    **about: Any,
) -> Result:
    """Return the result of evidence and a decision; without `about` it is of the kind `KIND`, and varies nothing."""
    about = {"kind": KIND, "setting": "here", "method": "by hand", "details": {}, "pairing": NOT_PAIRED, **about}
    given = Settings().but({"scope": "set", **(settings or {})})
    found = evidence() if found is None else found
    return result_of(
        found, decision, given, statement="it", threshold=threshold, compared=compared, claim=claim, **about
    )
