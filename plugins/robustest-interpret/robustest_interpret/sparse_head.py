"""The number of features of a network's last layer that a linear head needs (Wong, Santurkar and Madry, ICML 2021)."""

# 1. On one half of the samples, linear heads are fitted along a path of elastic-net penalties (section 2;
#    `robustest_interpret.heads`).
# 2. The sparsest head whose validation accuracy, on a fifth of that half, is within a slack of the model's own is
#    chosen; if there is none, the most accurate.
# 3. The other half compares it with the model, sample by sample.
#
# A head explains; it is not the deployed model. Weights alone hardly give a planted cue away: that takes an
# intervention.

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import Classifier, Result, Settings, Verdict
from robustest.errors import ConfigError, DataError, expected
from robustest.first_party import DropRule, Halves
from robustest.packs import (
    Chunk,
    Decision,
    Evaluator,
    Evidence,
    Fact,
    Features,
    Kind,
    Observation,
    Options,
    Quantity,
    Setup,
    Tally,
    assertion,
    checked_real,
    checked_threshold,
    checked_whole,
    clopper_pearson,
    current,
    exhibits_of,
    finish,
    measurement,
    number,
    observe,
)
from robustest.tasks import CLASSIFICATION
from robustest_interpret.feature_pictures import Gallery, highest
from robustest_interpret.heads import (
    SparseHead,
    SparsePath,
    Stability,
    fit_sparse_head,
    sparse_stability,
    stratified_split,
)

# Validation accuracy given up for fewer features (Wong et al., section 2.2).
_SLACK = 0.05

# Share of the samples fitted on that choose the penalty: a tenth of a few hundred would be too coarse a measure.
_VALIDATION = 0.2

# Relative duality gap of a fit that has converged.
_TOLERANCE = 1e-4

# Penalties of the path that a result lists.
_PENALTIES_LISTED = 12

# Classes whose features are pictured, those with the most features first, and features of each.
_CLASSES_PICTURED, _FEATURES_PICTURED = 10, 3


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    most, of = details["most_features"], details["most_features_class"]
    facts = [Fact("features", f"{most} in class {of}, {details['features_per_class']:.1f} a class on average")]
    if details["accuracy"] is not None:
        own, sparse, same = (details[name] for name in ("accuracy", "sparse_accuracy", "fidelity"))
        facts.append(
            Fact("accuracy", f"{number(own)} of the model, {number(sparse)} of the head; they agree on {number(same)}")
        )
    return facts


SPARSE_HEAD = Kind(
    name="sparse_head",
    varies="nothing",
    quantities=(
        Quantity.at_most("max_drop", "accuracy lost", "accuracy lost by a sparse head", trivial=1, start="accuracy"),
    ),
    further_claims=("max_features_per_class",),
    together=True,
    lines=_lines,
    hidden=frozenset(
        {"most_features", "most_features_class", "features_per_class", "accuracy", "sparse_accuracy", "fidelity"}
    ),
)


@measurement(SPARSE_HEAD)
def measure_sparse_head(
    model: object,
    data: object,
    *,
    max_features_per_class: int | None = None,
    max_drop: float | None = None,
    slack: float | None = None,
    layer: str | None = None,
    l1_ratio: float = 0.99,
    n_lambdas: int = 100,
    subsamples: int = 20,
    fit_samples: int = 10_000,
    min_per_class: int = 10,
    listed_features: int = 5,
    listed_samples: int = 5,
    **options: Unpack[Options],
) -> Result:
    """Measure the accuracy that a model loses with a last layer of few features.

    Linear heads are fitted to the inputs of the model's last linear layer on one half of the samples (Wong, Santurkar
    and Madry, ICML 2021, section 2). The sparsest whose validation accuracy is within `slack` of the model's own is
    compared with the model on the other half.

    Args:
        model: a torch module, or a `Classifier` of one, whose logits are a linear layer's outputs.
        data: as for `measure_robust_accuracy`; best samples that the model was not trained on.
        max_features_per_class: features of a class claimed at most, >= 1 and fewer than there are; with `max_drop`.
        max_drop: fall in accuracy claimed at most, in 0..1; with `max_features_per_class`.
        slack: in 0..1; None means 0.05, or half of `max_drop` if that is less.
        layer: name of the last linear layer, as in `model.named_modules()`; None finds it.
        l1_ratio, n_lambdas: share of absolute values in the penalty, in (0, 1); penalties on the path, >= 2.
        subsamples: fits on half of the rows that measure the stability of features; 0 for none.
        fit_samples: most samples fitted on, and never more than half.
        min_per_class: least number of samples of every class in either half, >= 2.
        listed_features, listed_samples: features listed per class, and samples listed for each, >= 1.
        **options: see `robustest.run.options.Options`; every sample of the other half is evaluated.

    Returns:
        The result; the estimate is the fall in accuracy, `outcomes` is None for samples fitted on. `details["heads"]`
            has each class's features with weight, stability and positions of samples.

    Raises:
        ConfigError: an argument is out of range, or the logits are no linear layer's outputs.
        DataError: a class has too few samples to fit on.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    if (max_features_per_class is None) != (max_drop is None):
        given = f"max_features_per_class={max_features_per_class}, max_drop={max_drop}"
        raise ConfigError(
            f"Expected max_features_per_class= and max_drop= together, or neither, but got {given}. Any head is sparse "
            "if it may be wrong, and right if it may be dense."
        )
    if max_features_per_class is not None:
        checked_whole("max_features_per_class", max_features_per_class, 1)
    max_drop = checked_threshold("max_drop", max_drop, trivial=1, optional=True)
    if slack is None:  # a head chosen at the very limit would be beyond it half of the time
        slack = _SLACK if max_drop is None else min(_SLACK, max_drop / 2)
    how = HeadOptions(
        layer=layer,
        slack=slack,
        l1_ratio=l1_ratio,
        n_lambdas=n_lambdas,
        subsamples=subsamples,
        min_per_class=min_per_class,
        listed_features=listed_features,
        listed_samples=listed_samples,
    )
    checked_whole("fit_samples", fit_samples, 2)
    setup = Setup.of(model, data, options)
    halves = Halves.of(setup.samples, setup.settings.seed, fit_samples)
    name = f"sparse_head-{zlib.crc32(repr((max_features_per_class, max_drop)).encode()):08x}"
    fitted, tally = fit_head(setup.model, halves, setup.settings, how, name)
    features = fitted.features.shape[1]
    if max_features_per_class is not None and max_features_per_class >= features:
        limit = f"max_features_per_class to be less than the {features} features that there are"
        raise ConfigError(
            expected(limit, max_features_per_class, "No head has more, so that nothing is claimed of them.")
        )
    look = SparseHeadMeasurement(fitted=fitted, of=halves.unseen)
    other_half = setup.but(exact=True).unpictured().on(halves.view)
    rule = DropRule(threshold=max_drop, terms=setup.terms)
    plan = other_half.plan(SPARSE_HEAD.quantities[0].state(), look, rule, here=True)
    evidence = observe(plan).with_search(tally, plan.settings)
    columns, limits = evidence.columns, (max_features_per_class, max_drop, min_per_class)
    decision = _decision(evidence, fitted, *limits)
    notes, seen = fitted.notes, columns["seen"]
    if seen.any():
        counted = f"{int(seen.sum())} of {len(seen)} samples judged are copies, to the bit, of samples fitted on"
        notes = (*notes, counted)
        rest = without_seen(evidence, rule)
        shown = rest is not None and _decision(rest, fitted, *limits).verdict is Verdict.PASSED
        if decision.verdict is Verdict.PASSED and not shown:
            why = f"{counted}: not shown by the others"
            decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=why, reasons=("copies",))
    result = finish(
        plan,
        evidence,
        decision=decision,
        kind=SPARSE_HEAD,
        threshold=max_drop,
        setting=f"elastic net on {features} features of the last layer",
        method=f"fitted on {fitted.path.n_train} samples, chosen on {fitted.path.n_validation}, judged on others",
        details={
            "max_features_per_class": max_features_per_class,
            "accuracy": evidence.share(columns["clean"]),
            "sparse_accuracy": evidence.share(columns["held"]),
            "best_accuracy": evidence.share(columns["best"]),
            "fidelity": evidence.share(columns["same"]),
        }
        | fitted.details(how),
        notes=notes,
    )
    return halves.whole(result)


@assertion(measure_sparse_head)
def assert_sparse_head() -> None:
    """Claim that a linear head on a few of the model's own features classifies nearly as well as the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOptions:
    """Options of the fit and the choice of a head; see `measure_sparse_head`."""

    layer: str | None
    slack: float
    l1_ratio: float
    n_lambdas: int
    subsamples: int
    min_per_class: int
    listed_features: int
    listed_samples: int

    def __post_init__(self) -> None:
        checked_real("slack", self.slack, 0.0, 1.0)
        for name, low in (("subsamples", 0), ("min_per_class", 2), ("listed_features", 1), ("listed_samples", 1)):
            checked_whole(name, getattr(self, name), low)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedHead:
    """The head that was chosen, and the path and samples it was fitted on.

    Attributes:
        best: the head of the highest validation accuracy, the sparsest of equals.
        features, ids: (M, D) and (M,) of the samples fitted on.
        inputs: digests of their inputs; none where two draws may be equal.
    """

    read: Features
    path: SparsePath
    index: int
    head: SparseHead
    best: SparseHead
    stability: Stability | None
    features: Tensor
    ids: Tensor
    inputs: frozenset[bytes]
    pictures: list[dict[str, str]]
    notes: tuple[str, ...]

    @property
    def gap(self) -> float:
        # Each fit starts from the one before: any gap on the way counts.
        return max(self.path.gaps[: self.index + 1])

    def details(self, options: HeadOptions) -> dict[str, Any]:
        counts, path = self.head.counts, self.path
        assert path.accuracies is not None  # noqa: S101 - it was fitted with validation rows
        # A dozen penalties evenly over the path, and the chosen one.
        steps = {round(i * (len(path) - 1) / (_PENALTIES_LISTED - 1)) for i in range(_PENALTIES_LISTED)}
        return {
            "features": self.features.shape[1],
            "features_per_class": float(counts.double().mean()),
            "most_features": int(counts.max()),
            "most_features_class": int(counts.argmax()),
            "validation_accuracy": path.accuracies[self.index],
            "fitted_on": path.n_train,
            "chosen_on": path.n_validation,
            "lambda": path.lambdas[self.index],
            "gap": self.gap,
            "layer": self.read.name,
            "path": [
                {
                    "lambda": path.lambdas[i],
                    "features_per_class": path.nonzeros[i] / len(counts),
                    "validation_accuracy": path.accuracies[i],
                    "chosen": i == self.index,
                }
                for i in sorted(steps | {self.index})
            ],
            "heads": [
                self._row(k, j, weight, options.listed_samples)
                for k in range(len(counts))
                for j, weight in self.head.top(k, options.listed_features)
            ],
            "pictures": self.pictures,
        }

    def _row(self, k: int, j: int, weight: float, top: int) -> dict[str, Any]:
        row = {"class": k, "feature": j, "weight": weight}
        if self.stability is not None:
            chosen = self.stability.positive if weight > 0 else self.stability.negative
            row["stability"] = float(chosen[k, j])
        return row | {"top_samples": self.ids[highest(self.features[:, j], top)].tolist()}


def fit_head(
    classifier: Classifier, halves: Halves, settings: Settings, options: HeadOptions, name: str
) -> tuple[FittedHead, Tally]:
    """Fit heads on one half of the samples, choose one, and picture its features.

    Raises:
        ConfigError: the logits are no linear layer's outputs, or an option is out of range.
        DataError: a class has fewer samples to fit on than `min_per_class`.
    """
    started = time.perf_counter()
    with Evaluator.opened(classifier, settings) as evaluator:
        first = next(Chunk.each(halves.samples, evaluator, seed=settings.seed, ids=torch.zeros(1, dtype=torch.int64)))
        read = Features.of(evaluator, first.x, layer=options.layer)
        features, labels, inputs = _samples_to_fit(evaluator, read, halves, settings.seed, options.min_per_class)

        # The path, chosen by held-out rows on which the model's own accuracy is known too.
        watch = current().progress
        train, rest = stratified_split(labels, _VALIDATION, settings.seed)
        path = fit_sparse_head(
            features[train],
            labels[train],
            validation=(features[rest], labels[rest]),
            l1_ratio=options.l1_ratio,
            n_lambdas=options.n_lambdas,
            classes=read.layer.out_features,
            tolerance=_TOLERANCE,
            device=evaluator.device,
            progress=None if watch is None else lambda done, total: watch("penalties of sparse heads", done, total, 0),
        )
        # The model's own accuracy on these rows, by its last layer: their features are here already.
        bias = None if read.layer.bias is None else read.layer.bias.detach().cpu().double()
        logits = F.linear(features[rest].double(), read.layer.weight.detach().cpu().double(), bias)
        own = float(CLASSIFICATION.holds(logits, labels[rest]).double().mean())
        index = path.select(slack=options.slack, reference=own)
        stability: Stability | None = None
        if options.subsamples:
            stability = sparse_stability(
                features,
                labels,
                path.lambdas[index],
                l1_ratio=options.l1_ratio,
                subsamples=options.subsamples,
                device=evaluator.device,
                seed=settings.seed,
            )

        head, gallery = path.head(index), Gallery(evaluator, read, halves.samples, settings, name)
        if settings.pictures is not None:
            order = head.counts.argsort(descending=True, stable=True)[:_CLASSES_PICTURED].tolist()
            for k in sorted(k for k in order if int(head.counts[k])):
                top = head.top(k, _FEATURES_PICTURED)
                caption = ", ".join(f"feature {j} ({weight:+.2f})" for j, weight in top)
                samples = [halves.searched[highest(features[:, j], options.listed_samples)] for j, _ in top]
                gallery.add(f"class{k}", f"class {k}: {caption}", [j for j, _ in top], samples)
        evaluator.require_finite()
        tally = Tally.of(evaluator).since(Tally(), time.perf_counter() - started)
    assert path.accuracies is not None  # noqa: S101 - it was fitted with validation rows
    fitted = FittedHead(
        read=read,
        path=path,
        index=index,
        head=head,
        best=path.head(path.accuracies.index(max(path.accuracies))),
        stability=stability,
        features=features,
        ids=halves.searched,
        inputs=inputs,
        pictures=gallery.sheets,
        notes=tuple(gallery.notes),
    )
    return fitted, tally


def _samples_to_fit(
    evaluator: Evaluator, read: Features, halves: Halves, seed: int, min_per_class: int
) -> tuple[Tensor, Tensor, frozenset[bytes]]:
    """Return features, labels and digests of the inputs."""
    rows, labels, inputs = [], [], set[bytes]()
    for chunk in Chunk.each(halves.samples, evaluator, seed=seed, ids=halves.searched):
        if not evaluator.classes:
            evaluator.logits(chunk.x[:1])
        evaluator.check_labels(chunk.y)
        inputs.update(_inputs(chunk))
        rows.append(read(chunk.x).cpu())
        labels.append(chunk.y.cpu())
    y = torch.cat(labels)
    counts = torch.bincount(y, minlength=evaluator.classes)
    few = (counts < min_per_class).nonzero().flatten().tolist()
    if few:
        raise DataError(
            f"Expected {min_per_class} samples or more of each of the model's {evaluator.classes} classes among the "
            f"{len(y)} that heads are fitted on but got fewer of {few[:10]} (class {few[0]}: {int(counts[few[0]])}). "
            "Give more samples: a head on a handful of them has few features whatever the model uses."
        )
    return torch.cat(rows), y, frozenset(inputs)


def _inputs(chunk: Chunk) -> list[bytes]:
    """Return digests of inputs; none where two draws may be equal."""
    if chunk.may_repeat:
        return []
    return [sha256(one.tobytes()).digest() for one in chunk.x.cpu().contiguous().numpy()]


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseHeadMeasurement:
    """The answers of the model and of two heads on its features to a chunk."""

    fitted: FittedHead
    of: Tensor

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        fitted = self.fitted
        chunk = replace(chunk, ids=self.of[chunk.ids])
        task = evaluator.task
        clean = task.predictions(evaluator.logits(chunk.x))
        features = fitted.read.on(evaluator)(chunk.x)
        scores, best = (head.logits(features.cpu()).to(features.device) for head in (fitted.head, fitted.best))
        sparse = task.predictions(scores)
        exhibits = exhibits_of(
            evaluator,
            chunk,
            (clean == chunk.y) & (sparse != chunk.y),
            clean=clean,
            predicted=sparse,
            # No pictures: the samples were not changed.
            before=chunk.x.new_empty(len(chunk.y), 0),
            after=chunk.x.new_empty(len(chunk.y), 0),
            badness=-task.margin(scores, chunk.y),
        )
        columns = {
            "held": sparse == chunk.y,
            "clean": clean == chunk.y,
            "best": task.holds(best, chunk.y),
            "same": sparse == clean,
            "label": chunk.y,
            # The head may know these by heart.
            "seen": np.array([one in fitted.inputs for one in _inputs(chunk)] or [False] * len(chunk.y)),
        }
        return Observation(columns, exhibits)


def _decision(
    evidence: Evidence, fitted: FittedHead, max_features: int | None, max_drop: float | None, min_per_class: int
) -> Decision:
    decision = evidence.decision
    if max_features is None or max_drop is None:
        return decision
    counts = fitted.head.counts
    count, largest = int(counts.max()), int(counts.argmax())
    if count > max_features:
        rule = f"class {largest} has {count} features in the sparsest head that is accurate enough"
        decision = replace(decision, verdict=Verdict.FAILED, rule=rule, reasons=("limit",))
    if decision.verdict is Verdict.INCONCLUSIVE:
        return decision
    # A number beyond the limits is a finding only if samples and fit are sound.
    doubt = _unfit_samples(evidence, fitted, min_per_class)
    if not doubt and decision.verdict is Verdict.FAILED:
        doubt = _poor_fit(evidence, fitted, max_drop)
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=doubt, reasons=("unfit",)) if doubt else decision


def without_seen(evidence: Evidence, rule: DropRule) -> Evidence | None:
    """Return the evidence of samples that the head was not fitted on; None if there are none."""
    kept = ~evidence.columns["seen"]
    if evidence.copies is not None and rule.terms.scope != "set":
        kept &= ~evidence.copies
    n, columns = int(kept.sum()), {name: column[kept] for name, column in evidence.columns.items()}
    if not n:
        return None
    return replace(
        evidence, columns=columns, ids=evidence.ids[kept], total=n, decision=rule.decide(columns, n, None), copies=None
    )


def _unfit_samples(evidence: Evidence, fitted: FittedHead, min_per_class: int) -> str:
    """Return the reason why these samples cannot decide, or an empty text."""
    label, classes = evidence.columns["label"], len(fitted.head.bias)
    counts = np.bincount(label, minlength=classes)
    if int(counts.min()) < min_per_class:
        few = int(counts.argmin())
        return f"class {few} has {counts[few]} samples to judge by, fewer than {min_per_class}"
    n, chance = len(label), int(counts.max()) / len(label)
    # A model that is no better than the largest class has no accuracy to lose.
    for who, column in (("the model", "clean"), ("the sparse head", "held")):
        right = int(evidence.columns[column].sum())
        if clopper_pearson(right, n, 0.01)[0] <= chance:
            return (
                f"{who} is no better than chance: right on {right} of {n}, where the largest class has {number(chance)}"
            )
    return ""


def _poor_fit(evidence: Evidence, fitted: FittedHead, max_drop: float) -> str:
    """Return the reason why a failure may be due to the fit alone, or an empty text."""
    # A fit short of the optimum may have other features, and lose more.
    if fitted.gap > _TOLERANCE:
        return f"the fit did not converge: it may be {fitted.gap:.1e} above the least objective"
    columns = evidence.columns
    lost = int(columns["clean"].sum()) - int(columns["best"].sum())
    # Features that even the best head of the path cannot use need more samples, and not another model.
    if lost / evidence.n > max_drop:
        return (
            f"no head fitted on {fitted.path.n_train} samples comes near: the best one on the path loses "
            f"{number(lost / evidence.n, max_drop)}; give more samples"
        )
    return ""
