"""A new last layer on a network's features, fitted to groups of equal size.

Deep feature reweighting (Kirichenko, Izmailov and Wilson, ICLR 2023):

1. Heads are fitted on a balanced draw from half of each group, along a path of penalties.
2. The weakest penalty is chosen whose worst-group accuracy on the other half is within a standard error of the best.
3. Heads fitted to balanced draws from all of the data at this penalty are averaged.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from robustest_interpret.heads import SparseHead, SparsePath, fit_sparse_head
from torch import Tensor, nn

from robustest import Classifier, as_classifier, rng
from robustest.data import Samples, as_samples
from robustest.errors import DataError
from robustest.packs import Chunk, Evaluator, Features, Groups, checked_whole
from robustest.tasks import CLASSIFICATION
from robustest_training.repair.log import EpochLog, Repaired, RepairLog
from robustest_training.repair.trainer import handed_back, module_of
from robustest_training.repair.training import Claim, Judged
from robustest_training.trainings import Preprocessing, asked_on

# Fewest samples of a group: two to fit on and two to choose the penalty by.
_LEAST = 4


def last_layer_retraining(
    model: object,
    data: object,
    groups: object,
    *,
    layer: str | None = None,
    repeats: int = 10,
    n_lambdas: int = 20,
    l1_ratio: float = 0.99,
    device: str = "auto",
    seed: int = 0,
    claim: Claim | None = None,
    progress: Callable[[int, int], None] | None = None,
    bounds: tuple[float, float] | None = None,
    preprocessing: Preprocessing | None = None,
    held_out: object | None = None,
    held_out_groups: object | None = None,
) -> Repaired:
    """Fit the last layer anew on groups of equal size (DFR: Kirichenko, Izmailov and Wilson, ICLR 2023).

    The new layer is the mean of `repeats` heads, each fitted to a balanced draw. Give data that the network was not
    trained on.

    Args:
        model, data, claim, bounds, preprocessing, held_out, held_out_groups: as for `adversarial_training`.
        groups: as for `assert_worst_group_accuracy`, at most one per sample: class and cue, say, as tuples.
        layer: name of the last linear layer; None finds it.
        repeats: balanced draws, >= 1.
        n_lambdas: penalties to choose from, >= 2.
        l1_ratio: share of absolute values in the penalty, in (0, 1).
        device, seed: as in `Recipe`; the seed is of splits and draws.
        progress: called with heads fitted, and heads in all.

    Raises:
        As `adversarial_training`, and ConfigError: the logits are no linear layer's outputs; DataError: groups overlap,
            have fewer than four samples, or leave a class without any.
    """
    checked_whole("repeats", repeats, 1)
    checked_whole("n_lambdas", n_lambdas, 2)
    started, classifier = time.monotonic(), as_classifier(model, bounds=bounds, preprocessing=preprocessing)
    place = classifier.place(device)
    copied, samples = _copied(classifier, place), as_samples(data)
    named = _checked(Groups.of(groups, len(samples)))
    judged = Judged.of(held_out, held_out_groups, samples=samples, groups=named)
    features, labels, linear, notes = _features(copied, samples, place, layer=layer, seed=seed)
    heads = _Heads(
        features=features, labels=labels, classes=linear.out_features, l1_ratio=l1_ratio, n_lambdas=n_lambdas, seed=seed
    )
    members = [torch.from_numpy(ids) for ids in named.members]
    chosen = heads.chosen(members)
    _set_layer(linear, *heads.averaged(members, chosen.lambdas, repeats, progress, like=linear))
    asked = {"repeats": repeats, "n_lambdas": n_lambdas, "l1_ratio": l1_ratio, "seed": seed, "layer": layer}
    right = _accuracy(linear, features, labels)
    log = RepairLog(
        method=f"last layer retrained on {len(named.names)} groups of one size",
        settings={**asked, "groups": dict(zip(named.names, named.sizes, strict=True))},
        epochs=(EpochLog(loss=chosen.loss, accuracy=right, seconds=time.monotonic() - started),),
        samples=len(samples),
        device=str(place),
        notes=tuple(notes),
        details={**chosen.details(), "weights": int((linear.weight != 0).sum())},
    )
    repaired = Repaired(handed_back(model, copied), log)
    return judged.finished(model, repaired, claim=claim, bounds=bounds, preprocessing=preprocessing)


@dataclass(frozen=True, slots=True)
class _Chosen:
    lambdas: tuple[float, ...]  # the penalties down to it
    worst: list[float]  # worst-group accuracies of all penalties
    loss: float  # the head's objective at the chosen penalty

    def details(self) -> dict[str, Any]:
        accuracy = self.worst[len(self.lambdas) - 1]
        return {"lambda": self.lambdas[-1], "worst_group_accuracy": accuracy, "by_lambda": self.worst}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heads:
    features: Tensor  # features, labels: (N, D) and (N,) of all samples
    labels: Tensor
    classes: int
    l1_ratio: float  # l1_ratio, n_lambdas: as for `fit_sparse_head`
    n_lambdas: int
    seed: int  # of splits and draws

    def chosen(self, members: Sequence[Tensor]) -> _Chosen:
        """Choose the penalty by heads fitted on half of each group and judged on the other."""
        firsts, rests = zip(*(_halves(ids, self.seed) for ids in members), strict=True)
        path = self._fitted(_balanced(firsts, self.seed, 0))
        worst = [_worst(path.head(i), self.features, self.labels, rests) for i in range(len(path))]
        best = densest(worst, min(len(rest) for rest in rests))
        return _Chosen(path.lambdas[: best + 1], worst, path.objectives[best])

    def averaged(
        self,
        members: Sequence[Tensor],
        lambdas: Sequence[float],
        repeats: int,
        progress: Callable[[int, int], None] | None,
        *,
        like: nn.Linear,
    ) -> tuple[Tensor, Tensor]:
        """Return weights (K, D) and biases (K,) on raw features: the mean of heads at the last penalty."""
        weight, bias = torch.zeros_like(like.weight), torch.zeros(self.classes, device=like.weight.device)
        for number in range(repeats):
            rows = _balanced(members, self.seed, number + 1)
            # The whole path down to the penalty: each fit starts at the one before.
            _add(self._fitted(rows, list(lambdas)).head(len(lambdas) - 1), weight, bias, repeats)
            if progress is not None:
                progress(number + 1, repeats)
        return weight, bias

    def _fitted(self, rows: Tensor, lambdas: Sequence[float] | None = None) -> SparsePath:
        return fit_sparse_head(
            self.features[rows],
            self.labels[rows],
            validation_share=0.0,
            l1_ratio=self.l1_ratio,
            n_lambdas=self.n_lambdas,
            lambdas=lambdas,
            classes=self.classes,
        )


def densest(worst: Sequence[float], n: int) -> int:
    """Return the weakest penalty whose worst-group accuracy, on n samples, is within one standard error of the best."""
    # Groups are small, so many heads tie by chance; the sparsest of these lack features that the smallest group needs.
    top = max(worst)
    error = (max(top * (1 - top), 1 / n**2) / n) ** 0.5
    return max(i for i, one in enumerate(worst) if one >= top - error)


def _accuracy(linear: nn.Linear, features: Tensor, labels: Tensor) -> float:
    logits = features @ linear.weight.cpu().T + linear.bias.cpu()
    return float(CLASSIFICATION.holds(logits, labels).double().mean())


def _add(head: SparseHead, weight: Tensor, bias: Tensor, of: int) -> None:
    # Heads are fitted on standardised features: fold mean and scale into the layer.
    weight += (head.weight / head.scale).to(weight) / of
    bias += (head.bias - head.weight @ (head.mean / head.scale)).to(bias) / of


def _copied(classifier: Classifier, device: torch.device) -> Classifier:
    module = copy.deepcopy(module_of(classifier)).to(device).eval()
    return replace(classifier, call=module, module=module, device=device)


def _features(
    classifier: Classifier, samples: Samples, device: torch.device, *, layer: str | None, seed: int
) -> tuple[Tensor, Tensor, nn.Linear, list[str]]:
    with Evaluator.opened(classifier, asked_on(str(device))) as evaluator:
        first = next(Chunk.each(samples, evaluator, seed=seed, ids=torch.zeros(1, dtype=torch.int64)))
        read = Features.of(evaluator, first.x, layer=layer)
        parts = [(read(c.x).cpu(), c.y.cpu()) for c in Chunk.each(samples, evaluator, seed=seed)]
    return torch.cat([f for f, _ in parts]), torch.cat([y for _, y in parts]), read.layer, list(evaluator.notes)


def _set_layer(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    with torch.no_grad():
        layer.weight.copy_(weight)
        if "bias" in dict(layer.named_parameters()):
            layer.bias.copy_(bias)
        else:
            layer.bias = nn.Parameter(bias.to(layer.weight))


def _checked(groups: Groups) -> Groups:
    if not groups.disjoint:
        raise DataError("Expected every sample to be in one group at most but some are in two.")
    small = [name for name, size in zip(groups.names, groups.sizes, strict=True) if size < _LEAST]
    if small:
        raise DataError(f"Expected {_LEAST} samples or more in every group but got fewer in {small[:5]}.")
    return groups


def _halves(ids: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    order = ids[rng.fold(rng.keys(seed, ids), "halves").argsort(stable=True)]
    return order[: len(ids) // 2], order[len(ids) // 2 :]


def _balanced(groups: Sequence[Tensor], seed: int, number: int) -> Tensor:
    # As many of each group as the smallest has, without replacement.
    least = min(len(ids) for ids in groups)
    draws = [rng.fold(rng.fold(rng.keys(seed, ids), "balanced"), number) for ids in groups]
    chosen = [ids[draw.argsort(stable=True)[:least]] for ids, draw in zip(groups, draws, strict=True)]
    return torch.cat(chosen).sort().values


def _worst(head: SparseHead, features: Tensor, labels: Tensor, groups: Sequence[Tensor]) -> float:
    right = CLASSIFICATION.holds(head.logits(features), labels)
    return min(float(right[ids].double().mean()) for ids in groups)
