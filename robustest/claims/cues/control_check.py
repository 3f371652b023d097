"""Results that passed, held against what the same claim makes of a model that relies on a cue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from robustest.results import Cost, Result, Verdict


def with_control(result: Result, control: Result, *, cue: str, problem: str, more: Mapping[str, Any] = {}) -> Result:
    """A result that passed, with a control's.

    Args:
        result: the claim's.
        control: the same claim's on a model that relies on a cue.
        cue: what it relies on.
        problem: why the control shows nothing; empty where it shows that the claim can fail.
        more: what else is to be told of it.
    """
    told = {"cue": cue, "verdict": str(control.verdict), "measured": control.estimate, "n": control.n, **more}
    known = result.details["sensitivity"]
    details = {**result.details, "sensitivity": {**known, "controls": [*known["controls"], told]}}
    cost = Cost(
        forward=result.cost.forward + control.cost.forward,
        backward=result.cost.backward + control.cost.backward,
        seconds=result.cost.seconds + control.cost.seconds,
    )
    result = replace(result, details=details, cost=cost)
    return replace(result, verdict=Verdict.INCONCLUSIVE, rule=problem, reasons=("control",)) if problem else result
