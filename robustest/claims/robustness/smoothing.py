"""What of samples is certified for a classifier that answers by the majority under noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from robustest import rng
from robustest.bounds.smoothing import certified_radius
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.smoothing import count_votes
from robustest.run.evidence import Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoothing:
    """Two rounds of noisy answers of each sample of a chunk: which class, then how certain it is.

    Attributes:
        sigma: the noise's standard deviation.
        draws, guesses: answers of the second round, and of the first.
        eps: the L2 radius that counts as proven.
        alpha: the chance, at most, that what is said of one sample is wrong, on either side.
    """

    sigma: float
    draws: int
    guesses: int
    eps: float
    alpha: float

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observed:
        """What became of a chunk.

        A sample is "proven" where its label has the majority within eps, and not "held" where another class is certain
        to have the majority at the sample itself; "clean" is the model's own answer without noise.
        """
        task = evaluator.task
        clean = task.holds(evaluator.logits(chunk.x), chunk.y).cpu().numpy()
        radius, held = np.zeros(len(chunk.y)), np.ones(len(chunk.y), dtype=bool)
        for row, label in enumerate(chunk.y.tolist()):
            guess = int(self._votes(evaluator, chunk, row, "guess", self.guesses).argmax())
            votes = int(self._votes(evaluator, chunk, row, "certify", self.draws)[guess])
            found = certified_radius(votes, self.draws, self.sigma, self.alpha)
            if guess == label:
                radius[row] = found
            elif found > 0:
                held[row] = False
        return Observed({"held": held, "clean": clean, "proven": radius >= self.eps, "radius": radius}, [])

    def _votes(self, evaluator: Evaluator, chunk: Chunk, row: int, use: str, draws: int) -> Tensor:
        key = rng.fold(chunk.key[row : row + 1], use)
        return count_votes(evaluator, chunk.x[row], key, sigma=self.sigma, draws=draws)
