"""Claims on one shift: accuracy under it, its drop, and the predictions that it flips, right or wrong."""

# Each sample is evaluated unshifted and shifted, with a random key per sample, so that the two are paired: the drop is
# `decisions.drop`, accuracy and flip rate are `decisions.share`.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

from torch import Tensor

from robustest.decisions import DropRule, Rule, ShareRule, checked_not_both, checked_threshold, mcnemar
from robustest.decisions.drop import AboveChanceRule, share_of_largest_class
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator, Judgement
from robustest.kinds import Kind, Quantity, clean_accuracy
from robustest.results import Captions, Pairing, Result
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import Observation, exhibits_of
from robustest.run.finish import fall_from, finish
from robustest.run.grounds import Changed, shortfall
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options
from robustest.run.plan import Setup, deciding, of_task
from robustest.shifts import Shift, ShiftFunction, follow_targets, requested_shift
from robustest.tasks import Task, as_targets, top_of

SHIFT_ACCURACY = Kind(
    name="shift_accuracy",
    varies="inputs",
    quantities=(
        Quantity.at_least("at_least", "accuracy", "accuracy under {}", counts="outcomes", constant=True),
        Quantity.at_most(
            "max_drop",
            "accuracy drop",
            "accuracy lost to {}",
            trivial=1,
            counts=("lost", "gained"),
            fall=True,
            start="clean_accuracy",
        ),
    ),
    further_claims=("no_worse_than",),
    captions=Captions(
        size="severity",
        names={"lost": "lost by the change", "gained": "gained by it", "mcnemar_p": "McNemar p"},
    ),
    lines=clean_accuracy,
    hidden=frozenset({"clean_accuracy"}),
)


@measurement(SHIFT_ACCURACY)
def measure_shift_accuracy(
    model: object,
    data: object,
    shift: str | Shift | ShiftFunction,
    *,
    severity: int | None = None,
    at_least: float | None = None,
    max_drop: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    task: Task | str | None = None,
    **options: Unpack[Options],
) -> Result:
    """Measure the accuracy on shifted samples, or its drop from the accuracy on the same samples unshifted.

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_robust_accuracy`; images (N, C, H, W) for shifts by name.
        shift: a name ("gaussian_noise"), a `Shift`, or a function of (x, severity, key) with inputs and outputs in the
            data's units and shape. The claim is inconclusive if the samples that the shift leaves unchanged suffice for
            it.
        severity: 1..5; None: the `Shift`'s, or 3; not for a function without a severity argument.
        at_least: accuracy claimed under the shift, in 0..1.
        max_drop: largest drop in accuracy claimed, in [0, 1); not together with at_least. It does not bound the
            accuracy before the drop, and a model unshifted no better than chance plus max_drop does not pass.
        no_worse_than, tolerance: as for `measure_robust_accuracy`; with max_drop samples are compared unshifted as
            well; alpha covers all comparisons.
        task: as for `measure_robust_accuracy`; targets that are places follow the shift.
        **options: see `robustest.run.options.Options`.
    """
    checked_not_both(at_least=at_least, max_drop=max_drop)
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    max_drop = checked_threshold("max_drop", max_drop, trivial=1, optional=True)
    chosen = requested_shift(shift, severity)
    setup = Setup.of(model, data, options, deciding(task))
    quantity = SHIFT_ACCURACY.quantity_of("at_least" if max_drop is None else "max_drop")
    threshold = at_least if max_drop is None else max_drop
    rule: Rule = ShareRule(threshold=at_least, at_least=True, terms=setup.terms)
    compared: dict[str, Any] = {}
    if max_drop is not None:
        # A drop proves nothing for a model that has nothing to lose.
        drop = DropRule(threshold=max_drop, terms=setup.terms)
        rule = AboveChanceRule(other=drop, threshold=max_drop, terms=setup.terms)
        # A drop has two ends, and each must be no worse.
        parts = ("shifted samples", ("held",)), ("unshifted samples", ("clean",))
        compared = {"columns": ("held", "clean"), "parts": parts, "together": False, "level": setup.terms.alpha / 2}
    plan = setup.plan(
        quantity.state(chosen) + of_task(setup.task),
        Shifting(shift=chosen),
        rule,
        identity=("shift accuracy", chosen),
    ).against(no_worse_than, tolerance, has_threshold=threshold is not None, **compared)
    evidence = observe(plan)
    moved, held, clean = (evidence.columns[name] for name in ("moved", "held", "clean"))
    # Only pairs with different outcomes say anything about a change (McNemar).
    lost, gained = int((clean & ~held).sum()), int((held & ~clean).sum())
    # For a model that is wrong on every changed sample, the drop is the share of samples both right and changed.
    worst = float((held & ~moved).mean() if max_drop is None else (clean & moved).mean())
    under = of_task(setup.task).strip(", ")
    return finish(
        plan,
        evidence,
        kind=SHIFT_ACCURACY,
        quantity=quantity,
        threshold=threshold,
        setting=str(chosen),
        method="paired with the unshifted samples",
        details={
            "clean_accuracy": evidence.share(clean),
            "shifted_accuracy": evidence.share(held),
            "without_looking": share_of_largest_class(evidence.columns),
            "lost": lost,
            "gained": gained,
            "mcnemar_p": mcnemar(lost, gained),
        },
        pairing=Pairing(under=under) if max_drop is None else fall_from(evidence, "clean", under=under),
        changed=[Changed(by=f"the shift {chosen}", moved=moved, cut=evidence.columns["cut"], worst=worst)],
        caveats=shortfall(chosen, evidence),
    )


@assertion(measure_shift_accuracy)
def assert_shift_accuracy() -> None:
    """Claim that accuracy under a shift is at least `at_least`, falls at most `max_drop`, or not below a baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shifting:
    """Predictions of a chunk, unshifted and shifted."""

    whole_inputs: ClassVar[bool] = True

    shift: Shift

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        changed = self.shift.shifted(chunk.x, chunk.key, chunk.bounds, chunk.coding, chunk.sample_rate)
        after, task = changed.x, evaluator.task
        moved = follow_targets(task, self.shift, chunk.x, chunk.y, chunk.key, bounds=chunk.bounds)
        before = evaluator.judge(chunk.x, chunk.y)
        shifted = evaluator.judge(after, self.aimed_at(task, chunk, before, moved))
        columns = self.columns(task, before, shifted, moved)
        exhibits = exhibits_of(
            evaluator,
            chunk,
            self.broken(columns),
            clean=before.predicted,
            predicted=shifted.predicted,
            after=after,
            # The most confident error first.
            badness=-shifted.margin,
            size=self.shift.level,
            moved=moved,
        )
        # For `finish`: a shift that changes too few samples tests nothing.
        columns |= {"moved": changed.moved, "cut": changed.cut}
        if changed.size is not None:
            columns["size that arrives"] = changed.size
        if top_of(task):
            columns["label"] = chunk.y
        return Observation(columns, exhibits)

    def aimed_at(self, task: Task, chunk: Chunk, before: Judgement, moved: Tensor) -> Tensor:
        return moved

    def columns(self, task: Task, before: Judgement, shifted: Judgement, moved: Tensor) -> dict[str, Tensor]:
        return {"held": shifted.holds, "clean": before.holds}

    def broken(self, columns: dict[str, Tensor]) -> Tensor:
        return columns["clean"] & ~columns["held"]


CONSISTENCY = Kind(
    name="consistency",
    varies="inputs",
    quantities=(
        Quantity.at_most("max_flip_rate", "flip rate", "predictions flipped by {}", trivial=1, counts="outcomes"),
    ),
    further_claims=("no_worse_than",),
    captions=Captions(names={"lost": "lost by the change", "gained": "gained by it"}),
    lines=clean_accuracy,
    hidden=frozenset({"clean_accuracy"}),
)


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
    """Measure the share of samples with another predicted class after a shift.

    Right and wrong predictions count (as Hendrycks and Dietterich, ICLR 2019, section 4.3, count flips between frames).

    Args:
        model: as for `measure_robust_accuracy`.
        data, shift, severity, task: as for `measure_shift_accuracy`. Labels are used in the details alone.
        max_flip_rate: largest share of flips claimed, in 0..1.
        no_worse_than, tolerance: as for `measure_robust_accuracy`, about the samples that do not flip.
        **options: see `robustest.run.options.Options`.
    """
    max_flip_rate = checked_threshold("max_flip_rate", max_flip_rate, trivial=1, optional=True)
    chosen = requested_shift(shift, severity)
    setup = Setup.of(model, data, options, deciding(task))
    plan = setup.plan(
        CONSISTENCY.quantities[0].state(chosen) + of_task(setup.task),
        Flipping(shift=chosen),
        ShareRule(threshold=max_flip_rate, at_least=False, terms=setup.terms),
        identity=("consistency", chosen),
    ).against(no_worse_than, tolerance, has_threshold=max_flip_rate is not None)
    evidence = observe(plan)
    moved, held, clean, shifted = (evidence.columns[name] for name in ("moved", "held", "clean", "shifted"))
    return finish(
        plan,
        evidence,
        kind=CONSISTENCY,
        threshold=max_flip_rate,
        setting=str(chosen),
        method="paired with the unshifted samples",
        details={
            "flips": int((~held).sum()),
            "lost": int((clean & ~shifted).sum()),
            "gained": int((shifted & ~clean).sum()),
            "wrong_to_wrong": int((~held & ~clean & ~shifted).sum()),
            "clean_accuracy": evidence.share(clean),
            "shifted_accuracy": evidence.share(shifted),
        },
        pairing=Pairing(under=of_task(setup.task).strip(", ")),
        changed=[
            Changed(by=f"the shift {chosen}", moved=moved, cut=evidence.columns["cut"], worst=float(moved.mean()))
        ],
        caveats=shortfall(chosen, evidence),
    )


@assertion(measure_consistency)
def assert_consistency() -> None:
    """Claim that a shift changes the predicted class of few samples, or of no more than in a baseline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flipping(Shifting):
    """Predictions of a chunk; flips with the largest margin are shown first."""

    def aimed_at(self, task: Task, chunk: Chunk, before: Judgement, moved: Tensor) -> Tensor:
        # The unshifted predictions, moved with the shift.
        return follow_targets(
            task, self.shift, chunk.x, as_targets(task, before.predicted), chunk.key, bounds=chunk.bounds
        )

    def columns(self, task: Task, before: Judgement, shifted: Judgement, moved: Tensor) -> dict[str, Tensor]:
        return {"held": shifted.holds, "clean": before.holds, "shifted": task.right(shifted.predicted, moved)}

    def broken(self, columns: dict[str, Tensor]) -> Tensor:
        return ~columns["held"]
