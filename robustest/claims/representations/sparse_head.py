"""How few features of a network's last layer a linear head needs (Wong, Santurkar and Madry, ICML 2021)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
from torch import Tensor

from robustest.checks import checked_whole
from robustest.claims.representations.head_fit import FittedHead, HeadOptions, fit_head
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.features import features_of
from robustest.errors import ConfigError, expected
from robustest.facts import Fact
from robustest.heads.sparse_path import SparseHead
from robustest.kinds import Kind, Quantity
from robustest.results import Result, Verdict
from robustest.rules import DropRule
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Observed, exhibits_of
from robustest.run.noting import measures
from robustest.run.options import Options
from robustest.run.result_building import finish
from robustest.run.setup import Setup
from robustest.run.split_search import Halves, with_search
from robustest.statistics import Decision, asked_threshold, clopper_pearson, most

_SLACK = 0.05
"""Validation accuracy given up for fewer features (Wong et al., section 2.2)."""


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    """How many features a sparse head has, and how far it can be trusted to stand for the model."""
    most, of = details["most_features"], details["most_features_class"]
    facts = [Fact("features", f"{most} in class {of}, {details['features_per_class']:.1f} a class on average")]
    if details["accuracy"] is not None:
        own, sparse, same = (details[name] for name in ("accuracy", "sparse_accuracy", "fidelity"))
        told = f"{own:.3f} of the model, {sparse:.3f} of the head; they agree on {same:.3f}"
        facts.append(Fact("accuracy", told))
    return facts


SPARSE_HEAD = Kind(
    name="sparse_head",
    quantities=(
        Quantity(
            name="accuracy lost",
            comparison="<=",
            threshold="max_drop",
            trivial=1,
            statement="accuracy lost by a sparse head",
        ),
    ),
    asks_too=("max_features_per_class",),
    together=True,
    lines=_lines,
    told=frozenset(
        {"most_features", "most_features_class", "features_per_class", "accuracy", "sparse_accuracy", "fidelity"}
    ),
)
"""The accuracy that a linear head on a few of the model's own features loses."""


@measures(SPARSE_HEAD)
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
    told: int = 5,
    top: int = 5,
    **options: Unpack[Options],
) -> Result:
    """The accuracy that a model loses where its last layer is replaced by one of few features.

    On one half of the samples, drawn with the seed, linear heads are fitted to the inputs of the model's last linear
    layer along a path of elastic-net penalties (Wong, Santurkar and Madry, ICML 2021, section 2). Of these the
    sparsest is chosen whose validation accuracy, on a fifth of that half, is within `slack` of the model's own; where
    none is, the most accurate. The other half, which nothing was fitted to or chosen by, judges it against the model
    itself, sample by sample.

    The claim holds where no class of the chosen head has more than `max_features_per_class` features and the fall in
    accuracy is at most `max_drop`. So few features can be looked at one by one: the result names them, with the
    samples where each is highest, and how often it is chosen again from half of the rows. Where pictures are kept,
    there is a sheet for each of up to ten classes.

    A head explains; it is not the deployed model. Of features that say the same, which one is kept is chance (see
    their stability), and weights alone hardly give a planted cue away: test what you suspect with
    `measure_spurious_feature`. Pictures that are made by gradient steps can be manipulated, and look like noise where
    a network was not trained robustly.

    Args:
        model: a torch module, or a `Classifier` of one, whose logits are a linear layer's outputs.
        data: as for `measure_robust_accuracy`; best samples that the model was not trained on.
        max_features_per_class: features of a class claimed at most, >= 1 and fewer than there are; together with
            `max_drop`, or neither.
        max_drop: fall in accuracy claimed at most, in 0..1.
        slack: in 0..1; None means .05, or half of `max_drop` where that is less: a head chosen at the very limit would
            be beyond it half of the time.
        layer: name of the last linear layer, as in `model.named_modules()`; None finds it.
        l1_ratio: share of absolute values in the penalty, in (0, 1).
        n_lambdas: penalties on the path, >= 2.
        subsamples: fits on half of the rows that tell which features are stable; 0 for none.
        fit_samples: samples fitted on, at most, and never more than half.
        min_per_class: samples of every class there must be in either half, >= 2.
        told: features of each class that the result lists, >= 1.
        top: samples listed and pictured for each, those where it is highest, >= 1.
        **options: see `robustest.run.options.Options`; every sample of the other half is looked at, early
            verdicts or not.

    Returns:
        The result; the estimate is the fall in accuracy, `outcomes` is None for samples fitted on. It is inconclusive
        where the model or the head is no better than chance, where a class has too few samples to judge by, and,
        instead of failing, where no head fitted on so few samples does any better or the fit did not converge.
        `details["heads"]` has each class's features with weight, stability and the samples (positions in the data)
        where it is highest; `details["path"]` what other penalties give.

    Raises:
        ConfigError: an argument is out of range or unknown, or the logits are no linear layer's outputs.
        DataError: a class has too few samples to fit on; else as for `measure_robust_accuracy`.
        ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    max_drop = _checked_limits(max_features_per_class, max_drop)
    if slack is None:
        slack = _SLACK if max_drop is None else min(_SLACK, max_drop / 2)
    how = HeadOptions(
        layer=layer,
        slack=slack,
        l1_ratio=l1_ratio,
        n_lambdas=n_lambdas,
        subsamples=subsamples,
        min_per_class=min_per_class,
        told=told,
        top=top,
    )
    checked_whole("fit_samples", fit_samples, 2)
    setup = Setup.of(model, data, options)
    statement = SPARSE_HEAD.quantities[0].says()
    if max_drop is not None:
        statement = f"{statement} of at most {max_features_per_class} features a class <= {max_drop:g}"
    halves = Halves.of(setup.samples, setup.settings.seed, fit_samples)
    name = f"sparse_head-{zlib.crc32(statement.encode()):08x}"
    fitted, tally = fit_head(setup.model, halves, setup.settings, how, name)
    _check_features(max_features_per_class, fitted.features.shape[1])
    look = Judging(fitted=fitted, of=halves.unseen, examples=setup.settings.examples)
    judged = setup.but(exact=True).unpictured().on(halves.view)
    plan = judged.plan(statement, look, DropRule(threshold=max_drop, terms=setup.terms), here=True)
    evidence = with_search(observe(plan), tally, plan.settings)
    result = finish(
        plan,
        evidence,
        decision=_decided(evidence, fitted, max_features_per_class, max_drop, min_per_class),
        kind=SPARSE_HEAD,
        statement=statement,
        threshold=max_drop,
        setting=f"elastic net on {fitted.features.shape[1]} features of the last layer",
        method=f"fitted on {fitted.path.n_train} samples, chosen on {fitted.path.n_validation}, judged on others",
        details=_details(evidence, fitted, max_features_per_class) | fitted.details(how),
        notes=fitted.notes,
    )
    return halves.whole(result)


def _check_features(claimed: int | None, features: int) -> None:
    if claimed is not None and claimed >= features:
        limit = f"max_features_per_class to be less than the {features} features that there are"
        raise ConfigError(expected(limit, claimed, "No head has more, so that nothing is claimed of them."))


def _checked_limits(max_features: int | None, max_drop: float | None) -> float | None:
    if (max_features is None) != (max_drop is None):
        given = f"max_features_per_class={max_features}, max_drop={max_drop}"
        raise ConfigError(
            f"Expected max_features_per_class= and max_drop= together, or neither, but got {given}. Any head is "
            "sparse if it may be wrong, and right if it may be dense."
        )
    if max_features is not None:
        checked_whole("max_features_per_class", max_features, 1)
    return asked_threshold("max_drop", max_drop, trivial=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """What the model and two heads on its features say of a chunk.

    Attributes:
        fitted: the heads.
        of: (N,) int64 positions in the user's data of the samples of a view.
        examples: how many samples may be shown.
    """

    fitted: FittedHead
    of: Tensor
    examples: int

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observed:
        """What became of a chunk."""
        fitted = self.fitted
        chunk = replace(chunk, ids=self.of[chunk.ids])
        task = evaluator.task
        clean = task.predictions(evaluator.logits(chunk.x))
        features = features_of(evaluator, fitted.last, chunk.x)
        scores = _scores(fitted.head, features)
        sparse = task.predictions(scores)
        exhibits = exhibits_of(
            chunk,
            (clean == chunk.y) & (sparse != chunk.y),
            clean=clean,
            predicted=sparse,
            before=chunk.x.new_empty(len(chunk.y), 0),
            after=chunk.x.new_empty(len(chunk.y), 0),
            badness=-task.margin(scores, chunk.y),
            size=None,
            most=self.examples,
        )
        columns = {
            "held": sparse == chunk.y,
            "clean": clean == chunk.y,
            "best": task.holds(_scores(fitted.best, features), chunk.y),
            "same": sparse == clean,
            "label": chunk.y,
        }
        return Observed({name: column.cpu().numpy() for name, column in columns.items()}, exhibits)


def _scores(head: SparseHead, features: Tensor) -> Tensor:
    return head.logits(features.cpu()).to(features.device)


def _decided(
    evidence: Evidence, fitted: FittedHead, most_features: int | None, max_drop: float | None, min_per_class: int
) -> Decision:
    """Failed where the head has too many features or loses too much, passed where neither; unless in doubt."""
    decision = evidence.decision
    if most_features is None or max_drop is None:
        return decision
    counts = fitted.head.counts
    count, largest = int(counts.max()), int(counts.argmax())
    if count > most_features:
        rule = f"class {largest} has {count} features in the sparsest head that is accurate enough"
        decision = replace(decision, verdict=Verdict.FAILED, rule=rule)
    if decision.verdict is Verdict.INCONCLUSIVE:
        return decision
    doubt = _doubt(evidence, fitted, min_per_class)
    if not doubt and decision.verdict is Verdict.FAILED:
        doubt = _unfair(evidence, fitted, max_drop)
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=doubt) if doubt else decision


def _doubt(evidence: Evidence, fitted: FittedHead, min_per_class: int) -> str:
    """Why these samples can tell nothing of a head; empty where they can."""
    label, classes = evidence.columns["label"], len(fitted.head.bias)
    counts = np.bincount(label, minlength=classes)
    if int(counts.min()) < min_per_class:
        few = int(counts.argmin())
        return f"class {few} has {counts[few]} samples to judge by, fewer than {min_per_class}"
    n, chance = len(label), int(counts.max()) / len(label)
    for who, column in (("the model", "clean"), ("the sparse head", "held")):
        right = int(evidence.columns[column].sum())
        if clopper_pearson(right, n, 0.01)[0] <= chance:
            return f"{who} is no better than chance: right on {right} of {n}, where the largest class has {chance:.3f}"
    return ""


def _unfair(evidence: Evidence, fitted: FittedHead, max_drop: float) -> str:
    """Why a failure may be the fit's and not the model's; empty where it is not."""
    if not fitted.converged:
        return f"the fit did not converge: it may be {fitted.gap:.1e} above the least objective"
    columns = evidence.columns
    lost = int(columns["clean"].sum()) - int(columns["best"].sum())
    if lost > most(max_drop, evidence.n):
        return (
            f"no head fitted on {fitted.path.n_train} samples comes near: the best one on the path loses "
            f"{lost / evidence.n:.3f}; give more samples"
        )
    return ""


def _details(evidence: Evidence, fitted: FittedHead, most_features: int | None) -> dict[str, Any]:
    columns = evidence.columns
    return {
        "max_features_per_class": most_features,
        "accuracy": evidence.share(columns["clean"]),
        "sparse_accuracy": evidence.share(columns["held"]),
        "best_accuracy": evidence.share(columns["best"]),
        "fidelity": evidence.share(columns["same"]),
    }
