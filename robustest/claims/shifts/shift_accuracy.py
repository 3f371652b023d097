"""Claims on one shift: accuracy or scores under it, their drop, and the predictions that it flips, right or wrong."""

# Each sample is evaluated unshifted and shifted, with a random key per sample, so that the two are paired: the drop is
# `decisions.drop`, accuracy and flip rate are `decisions.share`.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Unpack, cast

import numpy as np
from torch import Tensor

from robustest.decisions import DropRule, Rule, ShareRule, checked_not_both, checked_threshold, mcnemar
from robustest.decisions.average_precision import by_id, figures
from robustest.decisions.drop import AboveChanceRule, share_of_largest_class
from robustest.decisions.precision_fall import CLEAN_ANSWERS, CLEAN_TARGETS, PrecisionDropRule, pair_of
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator, Judgement
from robustest.errors import ConfigError
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
from robustest.run.scores import (
    HALF,
    Metric,
    check_paired,
    claims_scores,
    mean_of,
    named_score,
    rule_of,
    scores_of,
    set_columns,
    set_details,
)
from robustest.shifts import Shift, ShiftFunction, follow_targets, requested_shift
from robustest.tasks import Task, as_targets, top_of

# Other batches round differently: a smaller fall of a score is none.
_LOWERED = 1e-9

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
        Quantity.at_least("at_least", "mean score", "mean {} under {}", constant=True),
        Quantity.at_most("max_drop", "fall of the mean", "mean {} lost to {}", trivial=1, start="clean_map"),
    ),
    further_claims=("no_worse_than",),
    captions=Captions(
        size="severity",
        names={
            "lost": "lost by the change",
            "gained": "gained by it",
            "mcnemar_p": "McNemar p",
            "clean_map": "mean average precision unshifted",
        },
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
    metric: Metric = "mean",
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
        task: as for `measure_robust_accuracy`; targets that are places follow the shift. Without a floor scores are
            claimed.
        metric: "mean", "miou" or "map", as for `measure_robust_score`; of scores, only "map" takes max_drop.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: the metric does not fit the task, or scores are claimed with max_drop and another metric than
            "map", or with max_drop and no_worse_than.
        ConfigError, DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    checked_not_both(at_least=at_least, max_drop=max_drop)
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    max_drop = checked_threshold("max_drop", max_drop, trivial=1, optional=True)
    chosen = requested_shift(shift, severity)
    setup = Setup.of(model, data, options, task)
    if claims_scores(metric, task, setup.task):
        return _measure_scores(
            setup,
            chosen,
            metric,
            at_least=at_least,
            max_drop=max_drop,
            no_worse_than=no_worse_than,
            tolerance=tolerance,
        )
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


def _measure_scores(
    setup: Setup,
    shift: Shift,
    metric: str,
    *,
    at_least: float | None,
    max_drop: float | None,
    no_worse_than: Baseline | None,
    tolerance: float,
) -> Result:
    """Measure scores of shifted samples, by a metric; arguments as for `measure_shift_accuracy`."""
    check_paired(metric, no_worse_than)
    rule = rule_of(metric, at_least, setup)
    by_drop, threshold = max_drop is not None, at_least if max_drop is None else max_drop
    if by_drop:
        if metric != "map":
            raise ConfigError(
                f'Expected at_least= for scores by metric="{metric}" under a shift but got max_drop=. Give the task a '
                "floor to claim a drop in accuracy, or claim the score under the shift."
            )
        if no_worse_than is not None:
            raise ConfigError(
                "Expected at_least=, or no threshold, with no_worse_than= and mean average precision under a shift "
                "but got max_drop=: a drop has two ends. Compare each by an assertion of its own: assert_accuracy and "
                "assert_shift_accuracy with no_worse_than=."
            )
        rule = PrecisionDropRule(threshold=max_drop, terms=setup.terms)
    quantity = SHIFT_ACCURACY.quantities[3 if by_drop else 2]
    plan = setup.plan(
        quantity.state(mean_of(setup.task, metric, setup.settings.scope), shift),
        ShiftScoring(shift=shift, metric=metric),
        rule,
        identity=("shift scores", shift, metric),
    ).against(no_worse_than, tolerance, has_threshold=threshold is not None, scored=named_score(metric))
    evidence = observe(plan)
    columns, moved = evidence.columns, evidence.columns["moved"]
    details: dict[str, Any] = {}
    if evidence.whole:
        means = {"clean_score": "clean score", "mean_score": "score"}
        details = {name: float(columns[column].mean()) for name, column in means.items()}
        details |= {"lowest_score": float(columns["score"].min()), **set_details(metric, columns)}
        if metric == "map":
            before = figures(pair_of(columns).before)
            details |= {f"clean_{name}": before[name] for name in ("map", "map_by_class")}
    # The value of a model that is wrong on every changed sample: its scores are 0, and its boxes are not found.
    worst = float((columns["score"] * ~moved).mean()) if metric == "mean" else None
    if metric == "map":
        pair = pair_of(columns)
        worst = float(np.nan_to_num(pair.now.without_answers(moved[by_id(columns)]).mean()))
        worst = pair.before.mean() - worst if by_drop else worst
    return finish(
        plan,
        evidence,
        kind=SHIFT_ACCURACY,
        quantity=quantity,
        threshold=threshold,
        setting=str(shift),
        method="paired with the unshifted samples",
        details=details,
        changed=[Changed(by=f"the shift {shift}", moved=moved, cut=columns["cut"], worst=worst)],
        caveats=shortfall(shift, evidence),
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
        before = self.judged(evaluator, chunk.x, chunk.y)
        shifted = self.judged(evaluator, after, self.aimed_at(task, chunk, before, moved))
        columns = self.columns(task, before, shifted, chunk.y, moved)
        exhibits = exhibits_of(
            evaluator,
            chunk,
            self.broken(columns),
            clean=before.predicted,
            predicted=shifted.predicted,
            after=after,
            badness=self.badness(columns, shifted),
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

    def judged(self, evaluator: Evaluator, x: Tensor, y: Tensor) -> Judgement:
        return evaluator.judge(x, y)

    def aimed_at(self, task: Task, chunk: Chunk, before: Judgement, moved: Tensor) -> Tensor:
        return moved

    def columns(self, task: Task, before: Judgement, shifted: Judgement, y: Tensor, moved: Tensor) -> dict[str, Tensor]:
        return {"held": shifted.holds, "clean": before.holds}

    def broken(self, columns: dict[str, Tensor]) -> Tensor:
        return columns["clean"] & ~columns["held"]

    def badness(self, columns: dict[str, Tensor], shifted: Judgement) -> Tensor:
        # The most confident error first.
        return -shifted.margin


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftScoring(Shifting):
    """Scores of a chunk, unshifted and shifted, with the columns of a metric; largest falls are shown first."""

    metric: str = "mean"

    def judged(self, evaluator: Evaluator, x: Tensor, y: Tensor) -> Judgement:
        return scores_of(evaluator, x, y, least=HALF)

    def columns(self, task: Task, before: Judgement, shifted: Judgement, y: Tensor, moved: Tensor) -> dict[str, Tensor]:
        scores = {"score": cast("Tensor", shifted.score), "clean score": cast("Tensor", before.score)}
        clean = {CLEAN_ANSWERS: before.predicted, CLEAN_TARGETS: y} if self.metric == "map" else {}
        return {"held": shifted.holds, **scores, **clean, **set_columns(task, self.metric, shifted.predicted, moved)}

    def broken(self, columns: dict[str, Tensor]) -> Tensor:
        return columns["score"] < columns["clean score"] - _LOWERED

    def badness(self, columns: dict[str, Tensor], shifted: Judgement) -> Tensor:
        return columns["clean score"] - columns["score"]


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

    def columns(self, task: Task, before: Judgement, shifted: Judgement, y: Tensor, moved: Tensor) -> dict[str, Tensor]:
        return {"held": shifted.holds, "clean": before.holds, "shifted": task.right(shifted.predicted, moved)}

    def broken(self, columns: dict[str, Tensor]) -> Tensor:
        return ~columns["held"]
