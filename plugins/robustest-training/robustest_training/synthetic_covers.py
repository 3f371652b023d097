"""The claim that a synthetic set stands in for real data (Santurkar, Schmidt and Madry, ICML 2018).

- *boundary* (section 2.3): the accuracy on real test samples of a learner of real samples minus that of one of equally
  many synthetic ones. The interval covers other draws of both training sets, estimated from random halves, and of the
  test set.
- *labels* (section 2.2): the total variation of the class shares of both sets.
- *diversity factor*: the number of synthetic samples to one real sample that teaches as much, read off the real
  learning curve; not resolved where the curve is flat.
- *copies*: the share of synthetic samples whose ratio of distances to the nearest and second nearest training sample is
  below the 1 % quantile of test samples. Plain distances would accuse a bland generator. Copies of near twins in the
  training set are not detected.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from math import inf
from typing import Any, Unpack, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from robustest import Result, Settings, Verdict, as_classifier
from robustest.errors import ConfigError
from robustest.packs import (
    Captions,
    Controls,
    Decision,
    Evidence,
    Exhibit,
    Fact,
    Kind,
    Neighbours,
    Options,
    Quantity,
    Tally,
    Terms,
    assertion,
    check_train,
    checked_threshold,
    checked_whole,
    current,
    digest,
    finish,
    measurement,
    number,
    save_sheet,
    settings_of,
)
from robustest_training.synthetic_rule import UNUSUAL, CoversRule, Part, chance_variation, share_below
from robustest_training.synthetic_sets import (
    DrawLearners,
    Draws,
    Fits,
    Learner,
    Logistic,
    OwnLearner,
    Sets,
    features_of,
    learned,
    read_sets,
)
from robustest_training.trainings import TrainFn

# The report on a synthetic set: numbers of all parts, recall by class, the curve, nearest pairs.


# Nearest pairs in the picture.
_PAIRS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """Measurements of all parts."""

    sets: Sets  # the samples, as inputs
    learned: DrawLearners
    near: Neighbours  # near, held_out: nearest training samples of synthetic and of test samples
    held_out: Neighbours
    parts: tuple[Part, ...]  # gap, labels, copies, diversity
    alpha: float  # error on each side of intervals

    @property
    def cut(self) -> float:
        return share_below(self.near.ratio, self.held_out.ratio, UNUSUAL)[1]

    @property
    def nearest(self) -> NDArray[np.int64]:
        return np.argsort(self.near.ratio, kind="stable")


def details_of(found: Found) -> dict[str, Any]:
    """Return the numbers of all parts, and their tables."""
    _, labels, copies, factor = found.parts
    real, synthetic = found.learned.real, found.learned.synthetic
    classes = sorted(_by_class(found), key=lambda row: row["synthetic"] - row["real"])
    chance = chance_variation(found.sets.counts(found.sets.synthetic), found.sets.counts(found.sets.train))
    details: dict[str, Any] = {
        "samples": real.size,
        "real_accuracy": real.accuracy,
        "synthetic_accuracy": synthetic.accuracy,
        "label_shift": labels.value,
        "label_shift_interval": list(labels.interval),
        "label_shift_by_chance": chance,
        "copies": copies.value,
        "copies_interval": list(copies.interval),
        "copies_below": found.cut,
        "diversity_factor": factor.value,
        "diversity_factor_interval": list(factor.interval),
        "worst_class": classes[0],
        "parts": [part.told() for part in found.parts],
        "by_class": classes,
        "learning_curve": list(_points(found)),
        "nearest_pairs": list(_pairs(found)),
        "curves": [_curve(found)],
    }
    return details


def notes_of(found: Found, scope: str) -> Iterator[str]:
    """Yield notes for the reader."""
    factor, size = found.parts[3], found.learned.synthetic.size
    if factor.value is None:
        low, high = ("?" if end is None else f"{end:.2g}" for end in factor.interval)
        yield f"diversity factor not resolved: between {low} and {high}"
    else:
        yield f"{size} synthetic samples teach as much as about {size / factor.value:.0f} real ones"
    if scope == "set":
        yield "labels and copies may pass by what this very set holds; the gap is of other draws too"


def exhibits_of_copies(found: Found, most: int) -> list[Exhibit]:
    """Return exhibits of copies, each beside its training sample, the closest first."""
    sets, ratio = found.sets, found.near.ratio
    rows = [int(row) for row in found.nearest[:most] if ratio[row] < found.cut or ratio[row] == 0]
    return [
        Exhibit(
            index=row,
            label=int(sets.synthetic.y[row]),
            clean=int(sets.train.y[at]),
            predicted=int(sets.train.y[at]),
            size=float(ratio[row]),
            before=sets.synthetic.x[row],
            after=sets.train.x[at],
            badness=1 - float(ratio[row]),
        )
        for row, at in ((row, int(found.near.nearest[row])) for row in rows)
    ]


def pictures_of(found: Found, settings: Settings, bounds: tuple[float, float]) -> dict[str, Any]:
    """Return a sheet of the nearest pairs, synthetic above real, if pictures are kept."""
    if settings.pictures is None:
        return {}
    rows = found.nearest[:_PAIRS]
    sheet = [list(found.sets.synthetic.x[rows]), list(found.sets.train.x[found.near.nearest[rows]])]
    name = f"synthetic_covers-{zlib.crc32(found.near.ratio.tobytes()):08x}-nearest"
    save = partial(save_sheet, settings.pictures, name, sheet, bounds)
    path = current().picture(save, settings.pictures)
    if path is None:
        return {}
    caption = "the synthetic samples that are closest to one training sample, and below each that sample"
    return {"pictures": [{"caption": caption, "image": path}]}


def _by_class(found: Found) -> Iterator[dict[str, Any]]:
    sets, labels = found.sets, found.sets.test.y.numpy()
    shares = {name: sets.counts(one) / len(one.y) for name, one in (("s", sets.synthetic), ("r", sets.train))}
    for k in np.unique(labels).tolist():
        of = labels == k
        yield {
            "class": k,
            "real": float(found.learned.real.right[of].mean()),
            "synthetic": float(found.learned.synthetic.right[of].mean()),
            "tested": int(of.sum()),
            "real share": float(shares["r"][k]),
            "synthetic share": float(shares["s"][k]),
        }


def _points(found: Found) -> Iterator[dict[str, Any]]:
    for one in found.learned.curve:
        ends = list(one.interval(found.alpha))
        yield {"samples": one.size, "accuracy": one.accuracy, "interval": ends, "learners": one.draws}


def _pairs(found: Found) -> Iterator[dict[str, Any]]:
    for row in found.nearest[:_PAIRS].tolist():
        at = int(found.near.nearest[row])
        labels = int(found.sets.synthetic.y[row]), int(found.sets.train.y[at])
        yield {"synthetic": row, "train": at, "ratio": float(found.near.ratio[row]), "labels": list(labels)}


def _curve(found: Found) -> dict[str, Any]:
    """Return the learning curve, with the synthetic set at the size of real samples that teach as much."""
    factor, synthetic = found.parts[3].value, found.learned.synthetic
    points = [{"x": row["samples"], "y": row["accuracy"], "interval": row["interval"]} for row in _points(found)]
    if factor is not None:
        ends = list(synthetic.interval(found.alpha))
        points.append({"x": synthetic.size / factor, "y": synthetic.accuracy, "interval": ends, "verdict": "other"})
    title = f"real samples; filled: {synthetic.size} synthetic ones, where as many real ones would teach as much"
    return {"title": title, "x": "training samples", "y": "accuracy", "points": points}


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    factor, worst = details["diversity_factor"], details["worst_class"]
    return [
        Fact("accuracy", f"{number(details['real_accuracy'])} real, {number(details['synthetic_accuracy'])} synthetic"),
        Fact("label shift", f"{number(details['label_shift'])}, by chance {number(details['label_shift_by_chance'])}"),
        Fact("copies", f"{number(details['copies'])}"),
        Fact("diversity factor", "not resolved" if factor is None else f"{factor:.2f}"),
        Fact(
            "worst class",
            f"{worst['class']}: recall {number(worst['real'])} real, {number(worst['synthetic'])} synthetic",
        ),
    ]


SYNTHETIC_COVERS = Kind(
    name="synthetic_covers",
    varies="nothing",
    quantities=(
        Quantity.at_most(
            "max_gap",
            "accuracy gap",
            "accuracy lost by training on synthetic samples",
            trivial=1,
            start="real_accuracy",
        ),
    ),
    limits=("max_label_shift", "max_copies", "max_diversity_factor"),
    captions=Captions(
        size="ratio of distances",
        before="synthetic",
        after="nearest real",
        answered="label of the nearest",
        worst="Synthetic samples that are copies of training samples",
        names={
            "by_class": "recall by class",
            "label_shift_by_chance": "label shift by chance",
            "controls": Controls.CAPTION,
        },
    ),
    lines=_lines,
    hidden=frozenset({"worst_class", "real_accuracy", "synthetic_accuracy"}),
)


@measurement(SYNTHETIC_COVERS)
def measure_synthetic_covers(
    data: object,
    synthetic: object,
    *,
    test_data: object,
    max_gap: float | None = None,
    max_label_shift: float | None = None,
    max_copies: float | None = 0.02,
    max_diversity_factor: float | None = None,
    train: TrainFn | None = None,
    embedding: Callable[[Tensor], object] | None = None,
    splits: int = 8,
    **options: Unpack[Options],
) -> Result:
    """Measure the accuracy on real data that a learner loses by training on synthetic samples (Santurkar et al., ICML
    2018).

    Four parts, of which those with a threshold must all hold: the accuracy gap, the shift of labels, the share of
    copies, and the diversity factor (see the module).

    Args:
        data: real samples, as for `measure_robust_accuracy`; those that the generator was made from, or copies are not
            detected.
        synthetic: labelled samples that stand in for them.
        test_data: real samples for neither generator nor learner; 100 or more for a claim on copies.
        max_gap: largest loss of accuracy, in 0..1.
        max_label_shift: largest total variation, in 0..1; None for no claim, here as below.
        max_copies: largest share of copies, in 0..1: more than the 0.01 of real samples.
        max_diversity_factor: largest factor, > 0.
        train: as for `measure_robust_generalization`: trains the learner, about 60 times; None takes a multinomial
            logistic regression on inputs or features.
        embedding: maps inputs (B, *S) to (B, D), for distances and the logistic regression; None takes the inputs.
        splits: random halvings of each training set, to estimate its draws, >= 2.
        **options: see `robustest.run.options.Options`. The intervals of gap and factor cover other draws, and are
            approximate: no claim about the population passes by them. With `scope="set"` labels and copies pass by
            their measured values.

    Returns:
        The result. Its estimate is the gap; an outcome is True if the learner of synthetic samples is right on a test
            sample; `details` has "parts", "learning_curve" and, with recall, "by_class".

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: NaN, a single class, too few samples, other shapes or classes, or samples of one set in another.
        ModelError: features or a model of `train` are malformed.
        StoreError: a cached training is contradicted.
    """
    limits = Limits.checked(max_gap, max_label_shift, max_copies, max_diversity_factor)
    checked_whole("splits", splits, 2)
    settings = settings_of(options, inputs=True)
    chosen = _learner(train, options, settings)
    inputs = read_sets(synthetic, data, test_data)
    mapped = inputs if embedding is None else features_of(inputs, embedding)
    sets = mapped if train is None else inputs
    draws = Draws.of(sets, splits, settings.seed)
    fits = _fits(chosen, sets, settings, draws.trainings)
    rule = CoversRule(parts=limits.claimed, terms=Terms.of(settings), seed=settings.seed)
    found = _all_parts(rule, limits, inputs, mapped, learned(fits, sets, draws))
    decision = rule.decide(found.parts)
    controls: Controls | None = None
    if decision.verdict is Verdict.PASSED and train is not None and limits.gap is not None:
        controls = fits.controls(sets)
        taught = found.learned.real.accuracy
        if doubt := controls.doubt(taught=taught, allowed=limits.gap):
            decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=doubt)
    evidence = _evidence(found, decision, fits, options.get("bounds", (0.0, 1.0)), passes=draws.trainings)
    method = f"{draws.trainings} trainings, {splits} splits of each set"
    if controls is not None:
        method += f", {len(controls.sets)} controls"
    return _result(found, evidence, limits, fits, method=method, controls=controls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The claimed upper limits by part; None for no claim."""

    gap: float | None
    label_shift: float | None
    copies: float | None
    factor: float | None

    @classmethod
    def checked(cls, gap: float | None, shift: float | None, copies: float | None, factor: float | None) -> Limits:
        """Return a user's limits. Raises ConfigError if one is out of range."""
        shares = {"max_gap": gap, "max_label_shift": shift, "max_copies": copies}
        checked = [checked_threshold(name, one, trivial=1, optional=True) for name, one in shares.items()]
        factor = checked_threshold("max_diversity_factor", factor, within=(0.0, inf), optional=True)
        return cls(gap=checked[0], label_shift=checked[1], copies=checked[2], factor=factor)

    @property
    def claimed(self) -> int:
        return sum(one is not None for one in (self.gap, self.label_shift, self.copies, self.factor))


def _learner(train: object, options: Options, settings: Settings) -> Learner:
    if train is None:
        if options.get("preprocessing") is not None:
            raise ConfigError(
                "Expected preprocessing= together with train=, for whose model it is, but got it alone. To map the "
                "inputs, pass embedding=."
            )
        return Logistic()
    check_train(train)
    as_model = partial(as_classifier, bounds=options.get("bounds"), preprocessing=options.get("preprocessing"))
    return OwnLearner(fit=cast("TrainFn", train), as_model=as_model, device=settings.device)


def _fits(chosen: Learner, sets: Sets, settings: Settings, trainings: int) -> Fits:
    watch, done = current().progress, count(1)

    def tell() -> None:
        if watch is not None:
            watch("learners of real and synthetic samples", next(done), trainings, 0)

    own = not isinstance(chosen, OwnLearner)
    return Fits(learner=chosen, own=own, test=sets.test, classes=sets.classes, settings=settings, tell=tell)


def _all_parts(rule: CoversRule, limits: Limits, inputs: Sets, mapped: Sets, taught: DrawLearners) -> Found:
    train = mapped.train.x.flatten(1)
    near = Neighbours.of(mapped.synthetic.x.flatten(1), train)
    held_out = Neighbours.of(mapped.test.x.flatten(1), train)
    idle = float(inputs.counts(inputs.test).max() / len(inputs.test.y))
    parts = (
        rule.boundary(taught.real, taught.synthetic, limits.gap, idle=idle),
        rule.labels(inputs.counts(inputs.synthetic), inputs.counts(inputs.train), limits.label_shift),
        rule.copies(near.ratio, held_out.ratio, limits.copies),
        rule.diversity(taught.curve, taught.synthetic, limits.factor),
    )
    return Found(sets=inputs, learned=taught, near=near, held_out=held_out, parts=parts, alpha=rule.terms.alpha)


def _evidence(found: Found, decision: Decision, fits: Fits, bounds: tuple[float, float], *, passes: int) -> Evidence:
    right = found.learned.synthetic.right > 0.5
    # The units are test samples. The synthetic set stands in place of a model: it is compared between runs.
    sets, ids = found.sets, np.arange(len(right))
    return Evidence(
        decision=decision,
        columns={"held": right, "id": ids},
        ids=ids,
        total=len(ids),
        exhibits=exhibits_of_copies(found, fits.settings.examples),
        tally=Tally(forward=passes * len(ids), seconds=fits.seconds, notes=fits.remembered.notices),
        bounds=bounds,
        cached=fits.remembered.when,
        data=digest([(one.x, one.y) for one in (sets.train, sets.test)]),
        model=digest((sets.synthetic.x, sets.synthetic.y, fits.model)) if fits.model else "",
    )


def _result(
    found: Found,
    evidence: Evidence,
    limits: Limits,
    fits: Fits,
    *,
    method: str,
    controls: Controls | None,
) -> Result:
    settings, sets = fits.settings, found.sets
    result = finish(
        settings,
        evidence,
        decision=evidence.decision,
        kind=SYNTHETIC_COVERS,
        statement=SYNTHETIC_COVERS.quantities[0].state(),
        threshold=limits.gap,
        setting=f"{sets.n} samples of either kind, {fits.learner.name}",
        method=method,
        details=details_of(found)
        | pictures_of(found, settings, evidence.bounds)
        | {"scope_of_parts": settings.scope}
        | ({} if controls is None else controls.details),
        further={"to judge by": len(sets.test.y)},
    )
    return result.but(notes=(*result.words.notes, *notes_of(found, settings.scope)))


@assertion(measure_synthetic_covers)
def assert_synthetic_covers() -> None:
    """Claim that a synthetic set stands in for real data: in training, in its labels, and without copies.

    Raises:
        ClaimFailed: one part does not hold.
        ClaimInconclusive: too few samples to decide a part, or real samples teach nothing either.
    """
