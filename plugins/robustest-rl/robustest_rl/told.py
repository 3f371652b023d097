"""The result of a claim on returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from robustest import Result, Verdict
from robustest.packs import Changed, Decision, Evidence, Plan, finish
from robustest_rl.asking import FALL, ROBUST_RETURN, Asked, words_of
from robustest_rl.chosen import Tuned
from robustest_rl.heedless import signs
from robustest_rl.judged import Episodes
from robustest_rl.mildest import mildest_dynamics
from robustest_rl.pictures import film_strips
from robustest_rl.plots import curves_by_radius, picture_of
from robustest_rl.replays import kept_of
from robustest_rl.threats import Dynamics, Threat
from robustest_rl.worst import worst_episodes


def told(
    plan: Plan,
    evidence: Evidence,
    counted: Episodes,
    tuned: Tuned | None,
    *,
    asked: Asked,
    threat: Threat | None,
    one_start: bool = False,
) -> Result:
    """Return the result, with all attacks tried, the worst episodes, and the mildest dynamics that fail."""
    settings = plan.settings
    details = _details(counted, evidence, tuned, settings.examples)
    doubts = {} if tuned is None else dict(tuned.signs)
    if evidence.decision.verdict is Verdict.PASSED:
        doubts.update(signs(counted, evidence, asked, threat))
    failed = evidence.decision.verdict.value == "failed"
    if tuned is not None and isinstance(tuned.adversary.threat, Dynamics) and failed and asked.threshold is not None:
        found = mildest_dynamics(counted, tuned.adversary.threat, plan.rule, evidence.columns, settings.seed)
        details["mildest"] = None if found is None else str(found)
    evidence = replace(evidence, exhibits=film_strips(counted, details["worst"], settings.pictures))
    details |= picture_of(details, plan.statement, settings.pictures)
    # A search finds some adversary and may miss a worse one, so attacked returns only bound the truth from above.
    searched = tuned is not None and bool(tuned.adversary.threat.searched)
    low, high = asked.given or (0.0, 1.0)
    bounds: dict[str, Any] = {"bounds": "above", "least": low} if searched else {}
    if asked.quantity is FALL and searched:
        bounds = {"bounds": "below", "widest": high - low}
    return finish(
        plan,
        evidence,
        decision=_fallible(evidence.decision, details["mean_untouched"], low, asked),
        kind=ROBUST_RETURN,
        quantity=asked.quantity,
        threshold=asked.threshold,
        setting=words_of(threat),
        method="played" if tuned is None else tuned.name,
        details=details,
        notes=_notes(counted, one_start=one_start),
        changed=[] if threat is None else [Changed(by=str(threat), moved=np.full(evidence.n, not threat.idle))],
        doubts=_mended(doubts),
        scope="population",
        **bounds,
    )


def _fallible(decision: Decision, untouched: float, low: float, asked: Asked) -> Decision:
    """Return a decision on a fall that is inconclusive if no larger fall than the allowed one was possible."""
    if asked.quantity is not FALL or asked.threshold is None or decision.verdict is not Verdict.PASSED:
        return decision
    if untouched - low > asked.threshold:
        return decision
    rule = (
        f"nothing could have failed it: untouched episodes return {untouched:.4g}, the lowest return is {low:.4g}, and "
        f"a fall of {asked.threshold:g} is allowed. Allow less, or claim the return itself"
    )
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, reasons=("no_fall",))


def _details(counted: Episodes, evidence: Evidence, tuned: Tuned | None, worst: int) -> dict[str, Any]:
    columns = evidence.columns
    details: dict[str, Any] = {
        "mean_untouched": float(columns["untouched"].mean()),
        "mean_attacked": float(columns["return"].mean()),
        "lowest return": float(columns["return"].min()),
        "attack": "no attack" if tuned is None else tuned.name,
        "worst": worst_episodes(counted, evidence, worst),
        "returns": _returns(evidence),
        "replay": kept_of(counted),
    }
    if tuned is None:
        return details
    details |= {"tried": tuned.rows, "by_radius": tuned.curve, "share of the radius": tuned.share}
    return details | curves_by_radius(tuned.curve)


def _notes(counted: Episodes, *, one_start: bool) -> list[str]:
    notes = []
    if one_start:
        notes.append("the environment draws nothing: the claim is about one start, over draws of the threat and policy")
    if counted.scene.block > 1 or counted.scene.stochastic:
        return notes
    return [*notes, "the policy is asked about one observation at a time: its last bits depend on places in a batch"]


def _returns(evidence: Evidence) -> dict[str, list[Any]]:
    order = np.argsort(evidence.ids)
    columns: Any = evidence.columns
    return {
        "episode": np.asarray(evidence.ids)[order].tolist(),
        "untouched": columns["untouched"][order].tolist(),
        "attacked": columns["return"][order].tolist(),
    }


def _mended(found: Mapping[str, str]) -> dict[str, str]:
    weak = "Try agent-standard, or more steps"
    mend = {
        "constant_answer": "Claim more, or of an environment in which actions count",
    }
    return {name: f"{seen}. {mend.get(name, weak)}" for name, seen in found.items()}
