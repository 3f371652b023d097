"""Predictions that a shift changes, right or wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

from torch import Tensor

from robustest.claims.shifts.shift_accuracy import Shifting
from robustest.decisions import ShareRule, optional_threshold
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Judgement
from robustest.kinds import OUTCOMES, Kind, Quantity, clean_accuracy
from robustest.results import Captions, Pairing, Result
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import Evidence
from robustest.run.finish import Changed, finish
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Setup, deciding, of_task
from robustest.shifts import Shift, ShiftFunction, followed, shift_as_asked
from robustest.tasks import Task

CONSISTENCY = Kind(
    name="consistency",
    quantities=(
        Quantity.at_most("max_flip_rate", "flip rate", "predictions flipped by {}", trivial=1, counts=OUTCOMES),
    ),
    further_claims=("no_worse_than",),
    captions=Captions(names={"lost": "lost by the change", "gained": "gained by it"}),
    lines=clean_accuracy,
    hidden=frozenset({"clean_accuracy"}),
)
"""The share of samples whose predicted class a shift changes."""


@measurement(CONSISTENCY)
def measure_consistency(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction,
    *,
    severity: int | None = None,
    max_flip_rate: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    task: Task | str | None = None,
    **options: Unpack[Options],
) -> Result:
    """The share of samples whose predicted class a shift changes.

    Flips are counted whatever the label says: a wrong answer that becomes another wrong one, or right, flips too
    (Hendrycks and Dietterich, ICLR 2019, section 4.3, count them so between successive frames).

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_shift_accuracy`. Labels serve the details alone.
        shift, severity: as for `measure_shift_accuracy`.
        max_flip_rate: the share of flips claimed at most, in 0..1.
        no_worse_than, tolerance: as for `measure_robust_accuracy`, about the samples that do not flip.
        task: what the answers are, and when they are right, as for `measure_robust_accuracy`; its targets follow
            where a shift moves things.
        **options: see `robustest.run.plan.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    max_flip_rate = optional_threshold("max_flip_rate", max_flip_rate, trivial=1)
    chosen = shift_as_asked(shift, severity)
    setup = Setup.of(model, data, options, deciding(task))
    plan = setup.plan(
        CONSISTENCY.quantities[0].state(chosen) + of_task(setup.task),
        Flipping(shift=chosen, examples=setup.settings.examples),
        ShareRule(threshold=max_flip_rate, at_least=False, terms=setup.terms),
        identity=("consistency", chosen),
    ).against(no_worse_than, tolerance, has_threshold=max_flip_rate is not None)
    evidence = observe(plan)
    moved = evidence.columns["moved"]
    return finish(
        plan,
        evidence,
        kind=CONSISTENCY,
        threshold=max_flip_rate,
        setting=str(chosen),
        method="paired with the unshifted samples",
        details=_details(evidence),
        pairing=Pairing(under=of_task(setup.task).strip(", ")),
        changed=[
            Changed(by=f"the shift {chosen}", moved=moved, cut=evidence.columns["cut"], worst=float(moved.mean()))
        ],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Flipping(Shifting):
    """Predictions of a chunk, unshifted and shifted; what flipped with the largest margin is shown first."""

    def aimed_at(self, task: Task, chunk: Chunk, before: Judgement, moved: Tensor) -> Tensor:
        """(B, *T) what the model said of the samples unshifted, where it is by now."""
        return followed(task, self.shift, chunk.x, before.predicted, chunk.key, bounds=chunk.bounds)

    def columns(self, task: Task, before: Judgement, shifted: Judgement, moved: Tensor) -> dict[str, Tensor]:
        """(B,) bools of each sample, by name."""
        return {"held": shifted.holds, "clean": before.holds, "shifted": task.right(shifted.predicted, moved)}

    def broken(self, columns: dict[str, Tensor]) -> Tensor:
        """(B,) bool: every flip, of a wrong answer too."""
        return ~columns["held"]


def _details(evidence: Evidence) -> dict[str, Any]:
    held, clean, shifted = (evidence.columns[name] for name in ("held", "clean", "shifted"))
    return {
        "flips": int((~held).sum()),
        "lost": int((clean & ~shifted).sum()),
        "gained": int((shifted & ~clean).sum()),
        "wrong_to_wrong": int((~held & ~clean & ~shifted).sum()),
        "clean_accuracy": evidence.share(clean),
        "shifted_accuracy": evidence.share(shifted),
    }
