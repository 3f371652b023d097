"""How few features of a network's last layer a linear head needs (Wong, Santurkar and Madry, ICML 2021).

On one half of the samples, drawn with the seed, linear heads are fitted along a path of elastic-net penalties (section
2). Of these the sparsest is chosen whose validation accuracy, on a fifth of that half, is within a slack of the model's
own; where none is, the most accurate. The other half, which nothing was fitted to or chosen by, judges it against the
model itself, sample by sample.

A head explains; it is not the deployed model. Of features that say the same, which one is kept is chance (see their
stability), and weights alone hardly give a planted cue away: that takes an intervention. Pictures that are made by
gradient steps can be manipulated, and look like noise where a network was not trained robustly.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Unpack

from torch import Tensor

from robustest.checks import checked_whole
from robustest.claims.representations.head_claim import HeadLimits, decided
from robustest.claims.representations.head_fit import FittedHead, HeadOptions, fit_head
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.features import features_of
from robustest.heads.sparse_path import SparseHead
from robustest.kinds import Kind, Quantity
from robustest.results import Fact, Result
from robustest.rules import DropRule
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Observation, exhibits_of
from robustest.run.finish import finish
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Setup
from robustest.run.split_search import Halves, with_search


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
        Quantity.at_most("max_drop", "accuracy lost", "accuracy lost by a sparse head", trivial=1, start="accuracy"),
    ),
    further_claims=("max_features_per_class",),
    together=True,
    lines=_lines,
    hidden=frozenset(
        {"most_features", "most_features_class", "features_per_class", "accuracy", "sparse_accuracy", "fidelity"}
    ),
)
"""The accuracy that a linear head on a few of the model's own features loses."""


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
    """The accuracy that a model loses where its last layer is replaced by one of few features.

    Linear heads are fitted to the inputs of the model's last linear layer on one half of the samples (Wong, Santurkar
    and Madry, ICML 2021, section 2). The sparsest whose validation accuracy is within `slack` of the model's own is
    judged on the other half. It says how few features will do; test what you suspect with
    `measure_no_spurious_feature`.

    Args:
        model: a torch module, or a `Classifier` of one, whose logits are a linear layer's outputs.
        data: as for `measure_robust_accuracy`; best samples that the model was not trained on.
        max_features_per_class: features of a class claimed at most, >= 1 and fewer than there are; with `max_drop`.
        max_drop: fall in accuracy claimed at most, in 0..1; together with `max_features_per_class`, or neither.
        slack: in 0..1; None means .05, or half of `max_drop` where that is less.
        layer: name of the last linear layer, as in `model.named_modules()`; None finds it.
        l1_ratio, n_lambdas: share of absolute values in the penalty, in (0, 1); penalties on the path, >= 2.
        subsamples: fits on half of the rows that tell which features are stable; 0 for none.
        fit_samples: samples fitted on, at most, and never more than half.
        min_per_class: samples of every class there must be in either half, >= 2.
        listed_features, listed_samples: features of each class that the result lists, and samples where each is
            highest, >= 1 each.
        **options: see `robustest.run.plan.Options`; every sample of the other half is looked at.

    Returns:
        The result; the estimate is the fall in accuracy, `outcomes` is None for samples fitted on. `details["heads"]`
        has each class's features with weight, stability and positions of samples, `details["path"]` other penalties.

    Raises:
        ConfigError: an argument is out of range or unknown, or the logits are no linear layer's outputs.
        DataError: a class has too few samples to fit on; else as for `measure_robust_accuracy`.
        ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    limits = HeadLimits.checked(max_features_per_class, max_drop)
    how = HeadOptions(
        layer=layer,
        slack=limits.slack if slack is None else slack,
        l1_ratio=l1_ratio,
        n_lambdas=n_lambdas,
        subsamples=subsamples,
        min_per_class=min_per_class,
        listed_features=listed_features,
        listed_samples=listed_samples,
    )
    checked_whole("fit_samples", fit_samples, 2)
    return _measured(Setup.of(model, data, options), limits, how, fit_samples)


def _measured(setup: Setup, limits: HeadLimits, how: HeadOptions, fit_samples: int) -> Result:
    """Heads fitted on one half, and the one chosen judged on the other."""
    statement = SPARSE_HEAD.quantities[0].state()
    halves = Halves.of(setup.samples, setup.settings.seed, fit_samples)
    name = f"sparse_head-{zlib.crc32(repr(limits).encode()):08x}"
    fitted, tally = fit_head(setup.model, halves, setup.settings, how, name)
    limits.check_features(fitted.features.shape[1])
    look = Judging(fitted=fitted, of=halves.unseen, examples=setup.settings.examples)
    judged = setup.but(exact=True).unpictured().on(halves.view)
    plan = judged.plan(statement, look, DropRule(threshold=limits.drop, terms=setup.terms), here=True)
    evidence = with_search(observe(plan), tally, plan.settings)
    result = finish(
        plan,
        evidence,
        decision=decided(evidence, fitted, limits, how.min_per_class),
        kind=SPARSE_HEAD,
        threshold=limits.drop,
        setting=f"elastic net on {fitted.features.shape[1]} features of the last layer",
        method=f"fitted on {fitted.path.n_train} samples, chosen on {fitted.path.n_validation}, judged on others",
        details=_details(evidence, limits.features) | fitted.details(how),
        notes=fitted.notes,
    )
    return halves.whole(result)


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

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
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
        return Observation({name: column.cpu().numpy() for name, column in columns.items()}, exhibits)


def _scores(head: SparseHead, features: Tensor) -> Tensor:
    return head.logits(features.cpu()).to(features.device)


def _details(evidence: Evidence, most_features: int | None) -> dict[str, Any]:
    columns = evidence.columns
    return {
        "max_features_per_class": most_features,
        "accuracy": evidence.share(columns["clean"]),
        "sparse_accuracy": evidence.share(columns["held"]),
        "best_accuracy": evidence.share(columns["best"]),
        "fidelity": evidence.share(columns["same"]),
    }
