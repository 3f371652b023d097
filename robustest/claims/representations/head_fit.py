"""A sparse head fitted on one half of the samples, and what there is to tell of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import context
from robustest.checks import checked_real, checked_whole
from robustest.claims.representations.feature_pictures import Gallery
from robustest.engine.device import resolve
from robustest.engine.evaluator import Evaluator
from robustest.engine.features import features_of, in_order, seen_by
from robustest.errors import DataError
from robustest.heads.feature_rows import held_out
from robustest.heads.sparse_head import fit_sparse_head
from robustest.heads.sparse_path import SparseHead, SparsePath
from robustest.heads.stability import Stability, sparse_stability
from robustest.models import Classifier, frozen
from robustest.models.last_layer import LastLayer
from robustest.run.evidence import Tally
from robustest.run.split_search import Halves
from robustest.settings import Settings
from robustest.tasks import CLASSIFICATION

_VALIDATION = 0.2
"""Share of the samples fitted on that choose the penalty: a tenth of a few hundred would be too coarse a measure."""
_TOLERANCE = 1e-4
_STEPS_TOLD = 12
"""Penalties of the path that a result lists."""
_PICTURED = 10
"""Classes whose features are pictured, those with the most features first."""
_SHOWN = 3
"""Features of a class that are pictured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOptions:
    """How a head is fitted and chosen.

    Attributes:
        layer: name of the model's last linear layer; None finds it.
        slack: validation accuracy given up, of the model's, for fewer features, in 0..1.
        l1_ratio: share of absolute values in the penalty, in (0, 1).
        n_lambdas: penalties on the path, >= 2.
        subsamples: fits on half of the rows that tell which features are stable; 0 for none.
        min_per_class: samples of each class that a head may be fitted on, at least.
        listed_features: features of each class that the result lists, the largest weights first.
        listed_samples: samples listed for each, those where it is highest.

    Raises:
        ConfigError: a number is out of range.
    """

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
    """The head that was chosen, and what it was fitted on.

    Attributes:
        last: the layer whose inputs are the features.
        path: all heads.
        index: the place of the one chosen on the path.
        head: the one chosen.
        best: the one of the highest validation accuracy, the sparsest of equals.
        stability: how often features are chosen again; None where that was not asked.
        features, ids: (M, D) and (M,) of the samples fitted on, on the CPU; ids are positions in the data.
        pictures: as `Gallery.told`; empty where none are kept.
        notes: what a reader must know.
    """

    last: LastLayer
    path: SparsePath
    index: int
    head: SparseHead
    best: SparseHead
    stability: Stability | None
    features: Tensor
    ids: Tensor
    pictures: list[dict[str, str]]
    notes: tuple[str, ...]

    @property
    def gap(self) -> float:
        """The largest relative duality gap on the way to the chosen head."""
        return max(self.path.gaps[: self.index + 1])

    @property
    def converged(self) -> bool:
        """Whether the solver came as far as it was to."""
        return self.gap <= _TOLERANCE

    def details(self, options: HeadOptions) -> dict[str, Any]:
        """The head's features, class by class, and the path."""
        counts, path = self.head.counts, self.path
        assert path.accuracies is not None  # noqa: S101 - it was fitted with validation rows
        told = sorted({round(i * (len(path) - 1) / (_STEPS_TOLD - 1)) for i in range(_STEPS_TOLD)} | {self.index})
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
            "layer": self.last.name,
            "path": [
                {
                    "lambda": path.lambdas[i],
                    "features_per_class": path.nonzeros[i] / len(counts),
                    "validation_accuracy": path.accuracies[i],
                    "chosen": i == self.index,
                }
                for i in told
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


def highest(values: Tensor, count: int) -> Tensor:
    """The rows (m,) int64 of the largest values, the largest first."""
    return values.argsort(descending=True, stable=True)[:count]


def fit_head(
    classifier: Classifier, halves: Halves, settings: Settings, options: HeadOptions, name: str
) -> tuple[FittedHead, Tally]:
    """Fit heads on one half of the samples, choose one, and picture what it looks at.

    Args:
        classifier: the model.
        halves: the samples.
        settings: device, seed, batch size, pictures.
        options: how.
        name: begins the names of pictures.

    Raises:
        ConfigError: the logits are no linear layer's outputs, or an option is out of range.
        DataError: a class has fewer samples to fit on than `min_per_class`; else as for `measure_robust_accuracy`.
        ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    started, device = time.perf_counter(), resolve(settings.device, classifier.device)
    with torch.inference_mode(False), frozen(classifier.module) as notes:
        evaluator = Evaluator(
            classifier, device, batch_size=settings.batch_size, suppress=settings.suppress, notes=notes
        )
        last = seen_by(evaluator, halves.samples, layer=options.layer, seed=settings.seed)
        features, labels = _read(evaluator, last, halves, settings.seed, options.min_per_class)
        place: dict[str, Any] = {"device": device, "settings": settings}
        path, own = _path(features, labels, last, options, **place)
        index = path.select(slack=options.slack, reference=own)
        stability = _stability(features, labels, options, **place, lam=path.lambdas[index])
        head, gallery = path.head(index), Gallery(evaluator, last, halves.samples, settings, name)
        for k in _pictured(head) if settings.pictures is not None else ():
            rows = [j for j, _ in head.top(k, _SHOWN)]
            about = ", ".join(f"feature {j} ({weight:+.2f})" for j, weight in head.top(k, _SHOWN))
            samples = [halves.searched[highest(features[:, j], options.listed_samples)] for j in rows]
            gallery.add(f"class{k}", f"class {k}: {about}", rows, samples)
        evaluator.settle()
        tally = Tally.of(evaluator).since(Tally(), time.perf_counter() - started)
    assert path.accuracies is not None  # noqa: S101 - it was fitted with validation rows
    fitted = FittedHead(
        last=last,
        path=path,
        index=index,
        head=head,
        best=path.head(path.accuracies.index(max(path.accuracies))),
        stability=stability,
        features=features,
        ids=halves.searched,
        pictures=gallery.told,
        notes=tuple(gallery.notes),
    )
    return fitted, tally


def _read(
    evaluator: Evaluator, last: LastLayer, halves: Halves, seed: int, min_per_class: int
) -> tuple[Tensor, Tensor]:
    """Features and labels of the samples fitted on, on the CPU.

    Raises:
        DataError: a class has too few.
    """
    rows, labels = [], []
    for chunk in in_order(halves.samples, evaluator, seed=seed, ids=halves.searched):
        if not evaluator.classes:
            evaluator.logits(chunk.x[:1])
        evaluator.check_labels(chunk.y)
        rows.append(features_of(evaluator, last, chunk.x).cpu())
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
    return torch.cat(rows), y


def _path(
    features: Tensor, labels: Tensor, last: LastLayer, options: HeadOptions, *, device: torch.device, settings: Settings
) -> tuple[SparsePath, float]:
    """The path, and the model's own accuracy on the rows that a head is chosen by."""
    watch = context.current().progress
    train, rest = held_out(labels, _VALIDATION, settings.seed)
    path = fit_sparse_head(
        features[train],
        labels[train],
        validation=(features[rest], labels[rest]),
        l1_ratio=options.l1_ratio,
        n_lambdas=options.n_lambdas,
        classes=last.layer.out_features,
        tolerance=_TOLERANCE,
        device=device,
        progress=None if watch is None else lambda done, total: watch("penalties of sparse heads", done, total, 0),
    )
    bias = None if last.layer.bias is None else last.layer.bias.detach().cpu().double()
    logits = F.linear(features[rest].double(), last.layer.weight.detach().cpu().double(), bias)
    return path, float(CLASSIFICATION.holds(logits, labels[rest]).double().mean())


def _stability(
    features: Tensor, labels: Tensor, options: HeadOptions, *, device: torch.device, settings: Settings, lam: float
) -> Stability | None:
    if not options.subsamples:
        return None
    return sparse_stability(
        features,
        labels,
        lam,
        l1_ratio=options.l1_ratio,
        subsamples=options.subsamples,
        device=device,
        seed=settings.seed,
    )


def _pictured(head: SparseHead) -> list[int]:
    order = head.counts.argsort(descending=True, stable=True)[:_PICTURED].tolist()
    return sorted(k for k in order if int(head.counts[k]))
