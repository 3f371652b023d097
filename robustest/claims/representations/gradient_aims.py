"""Where gradients should point: along differences of class means, or inside masks; and the gradients themselves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest.engine.chunks import Chunk, load
from robustest.engine.evaluator import Evaluator
from robustest.errors import DataError, expected
from robustest.models import Classifier
from robustest.run.split_search import Halves
from robustest.settings import Settings

_READ = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Where gradients should point.

    Attributes:
        means: (K, *S) mean images, NaN where a class has none; None with masks.
        masks: (N, ...) values in 0..1; None with means.
        of: (n,) positions in the user's data of the samples of a view; None where it is no view.
    """

    means: Tensor | None = None
    masks: Tensor | None = None
    of: Tensor | None = None

    @classmethod
    def at_masks(cls, masks: Tensor, n: int) -> Aim:
        """Where masks of n samples say.

        Raises:
            DataError: they do not fit.
        """
        return cls(masks=_checked_masks(masks, n))

    @classmethod
    def at_means(cls, classifier: Classifier, halves: Halves, settings: Settings, least: int) -> Aim:
        """Along the differences of class means of one half of the samples, for gradients of the other half.

        Raises:
            DataError: a class has too few samples.
        """
        return cls(means=_class_means(classifier, halves, settings, least), of=halves.unseen)

    @property
    def known(self) -> Tensor | None:
        """(K,) bool: the classes that have a mean."""
        return None if self.means is None else ~self.means.flatten(1).isnan().any(1)

    def alignment(self, gradient: Tensor, chunk: Chunk, runner_up: Tensor) -> Tensor:
        """(n,) how well gradients (n, *S) point there; NaN where they vanish."""
        if self.masks is not None:
            masks = self.masks[chunk.ids].to(gradient).broadcast_to(gradient.shape)
            square = gradient.double().square()
            inside: Tensor = (square * masks).flatten(1).sum(1) / square.flatten(1).sum(1)
            return inside
        assert self.means is not None  # noqa: S101 - one of the two is there
        means = self.means.to(gradient.device)
        return cosine(gradient, means[chunk.y] - means[runner_up])


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """(n,) float64 cosines of rows (n, *S); NaN where one is 0."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    both: Tensor = (a * b).sum(1) / (torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1))
    return both


def gradients(evaluator: Evaluator, chunk: Chunk, aim: Aim) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (n, K), the gradient (n, *S) of a class's logit less the runner-up's, and the runner-up (n,).

    Raises:
        DataError: a class has no mean.
    """
    known = aim.known
    if known is not None and not bool(known[chunk.y.cpu()].all()):
        bad = int(chunk.y.cpu()[~known[chunk.y.cpu()]][0])
        raise DataError(f"Expected samples of class {bad} in both halves but got them in one. Give more samples.")

    def objective(logits: Tensor, part: slice) -> Tensor:
        at = torch.stack([chunk.y[part], _runner_up(logits, chunk.y[part], known)], 1)
        pair = logits.gather(1, at)
        return pair[:, 0] - pair[:, 1]

    logits, gradient = evaluator.gradient(chunk.x, lambda z, _: z, objective)
    return logits, gradient, _runner_up(logits, chunk.y, known)


def _runner_up(logits: Tensor, y: Tensor, known: Tensor | None) -> Tensor:
    """(n,) the class of the highest logit among others, of those that have a mean."""
    scores = logits.detach().scatter(1, y.unsqueeze(1), -torch.inf)
    if known is not None:
        none = torch.ones(logits.shape[1], dtype=torch.bool)
        none[: len(known)] = ~known[: logits.shape[1]]
        scores = scores.masked_fill(none.to(scores.device), -torch.inf)
    return scores.argmax(1)


def _class_means(classifier: Classifier, halves: Halves, settings: Settings, least: int) -> Tensor:
    """(K, *S) float32 means of the images of each class up to the largest label; NaN where there is none.

    Raises:
        DataError: a class has some samples, but fewer than `least`, or there is one class alone.
    """
    sums: dict[int, Tensor] = {}
    counts: dict[int, int] = {}
    for ids in torch.split(halves.searched, _READ):
        chunk = load(halves.samples, ids, bounds=classifier.bounds, seed=settings.seed, device=torch.device("cpu"))
        for k in torch.unique(chunk.y).tolist():
            rows = chunk.x[chunk.y == k].double()
            sums[k] = sums.get(k, torch.zeros(())) + rows.sum(0)
            counts[k] = counts.get(k, 0) + len(rows)
    few = sorted(k for k, count in counts.items() if count < least)
    if few or len(counts) < 2 or min(counts) < 0:
        got = f"{counts[few[0]]} of class {few[0]}" if few else f"classes {sorted(counts)}"
        raise DataError(
            f"Expected {least} samples or more of each of two classes or more, to take means of, but got {got}. Give "
            "more samples, or masks."
        )
    shape = next(iter(sums.values())).shape
    means = torch.full((max(counts) + 1, *shape), torch.nan)
    for k, total in sums.items():
        means[k] = (total / counts[k]).float()
    return means


def _checked_masks(masks: Tensor, n: int) -> Tensor:
    if masks.ndim < 2 or len(masks) != n:
        raise DataError(expected(f"masks to be (N, ...) with N = {n}", tuple(masks.shape)))
    masks = masks.float()
    if not bool(((masks >= 0) & (masks <= 1)).all()):
        raise DataError(expected("masks of values in 0..1", (float(masks.min()), float(masks.max()))))
    return masks
