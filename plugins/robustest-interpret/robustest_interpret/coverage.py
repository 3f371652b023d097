"""Simulated controls: the smallest share of a class at which a search finds a planted cue of each family."""

# A cue is planted in a share of one class of the samples searched on, and of as many unseen ones. The same search runs
# on the first; on the second a simulated model, which answers the class wherever the cue is present and is right in all
# else, confirms its proposals by the rule of the claim. Neither asks the model: only the search for carrying parts
# does, with answers that are the class wherever the cue is.

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from robustest.cues import for_samples, switched
from robustest.first_party import Bench, CuePairs
from robustest.packs import Chunk
from robustest_interpret.controls import SHARES, PlantedCue, plant_cues
from robustest_interpret.discovery.carrying_parts import find_carrying_parts, recurring_marks
from robustest_interpret.discovery.proposals import Proposal

KEEPS = 2.0
"""Least ratio of the share of other predictions that a cue draws to its class to the share that it drives out of it."""

# Images that controls of whole images and of fixed places are searched on, in all and of each class at least. Fewer
# than the claim has: what is found here would be found there.
_SEARCHED_ON, _OF_EACH_CLASS = 720, 60

FOLLOWED = 0.6
"""Share of images in which a simulated model follows a cue that a part of an image carries: networks miss some."""

# Expected donors with a planted cue.
_DONORS_WITH_IT = 6

# Least flip rate of a recurring mark, as a part of it.
_WHOLE = 0.7


@dataclass(frozen=True, slots=True)
class ConfirmedProposal:
    """A proposal that the simulated model confirms, with its flip rate in 0..1."""

    proposal: Proposal
    flip_rate: float


@dataclass(frozen=True, slots=True)
class SimulatedControls:
    """Searches for cues that are planted in the samples of a claim.

    Attributes:
        ready: the claim's model with the samples searched on.
        unseen: samples that confirm.
        search: maps a bench and the families wanted to proposals, without asking the model.
        least: classes with fewer samples among those searched on are not searched.
    """

    ready: Bench
    unseen: Chunk
    search: Callable[[Bench, Collection[str]], Sequence[Proposal]]
    alpha: float
    seed: int
    least: int

    def confirmed(self, planted: Sequence[PlantedCue], share: float) -> list[ConfirmedProposal]:
        """Return the confirmed proposals of the search where cues are planted in a share of their classes."""
        chunk = self._fewer()
        shown = plant_cues(planted, chunk.ids, chunk.x, chunk.y, seed=self.seed, share=share)
        found = self.search(Bench(self.ready.evaluator, replace(chunk, x=shown)), {cue.family for cue in planted})
        return self._confirm(found, planted, share)

    def _fewer(self) -> Chunk:
        chunk = self.ready.chunk
        counts = torch.bincount(chunk.y)
        most = max(_OF_EACH_CLASS, math.ceil(_SEARCHED_ON / int((counts > 0).sum())))
        kept = torch.cat([(chunk.y == k).nonzero().squeeze(1)[:most] for k in range(len(counts))])
        return chunk.rows(kept.sort().values)

    def smaller_shares(self, planted: Sequence[PlantedCue], least: float) -> dict[str, float]:
        """Return the smallest share below the first at which the search finds each cue, for those that it finds.

        Args:
            least: smaller shares are not tried: no gap of the search is as small.
        """
        left, shares = list(planted), dict[str, float]()
        for share in SHARES[1:]:
            if share < least or not left:
                break
            # Each round has a cue in each class, as in the claim's first controls.
            rounds: list[list[PlantedCue]] = []
            for cue in left:
                group = next((one for one in rounds if cue.label not in {other.label for other in one}), None)
                if group is None:
                    rounds.append([cue])
                else:
                    group.append(cue)
            left = [cue for group in rounds for cue in self._found(group, share)]
            shares |= {cue.family: share for cue in left}
        return shares

    def smallest_of_local(self, planted: Sequence[PlantedCue]) -> dict[str, float]:
        """Return the smallest share at which the search for carrying parts finds each cue, for those that it finds."""
        shares = {}
        for cue in planted:
            # Most cues are found at the smallest share, and most others not at the largest: few need a third search.
            largest, *middle, smallest = SHARES
            if self._carried(cue, smallest):
                shares[cue.family] = smallest
            elif self._carried(cue, largest):
                found = (share for share in reversed(middle) if self._carried(cue, share))
                shares[cue.family] = next(found, largest)
        return shares

    def _found(self, planted: Sequence[PlantedCue], share: float) -> list[PlantedCue]:
        proposals = [one.proposal for one in self.confirmed(planted, share)]
        return [cue for cue in planted if any(cue.matches(one) for one in proposals)]

    def _carried(self, cue: PlantedCue, share: float) -> bool:
        chunk = self.ready.chunk
        counts = torch.bincount(chunk.y)
        labels = [k for k, n in enumerate(counts.tolist()) if n >= self.least]
        if cue.label not in labels or len(labels) < 2:
            return False
        shown = plant_cues([cue], chunk.ids, chunk.x, chunk.y, seed=self.seed, share=share)

        def answers(x: Tensor) -> tuple[Tensor, Tensor]:
            predictions, logits = self.ready.answers(x)
            has = cue.present(x) & (_fraction(x) < FOLLOWED)
            logits, predictions = logits.clone(), torch.where(has, cue.label, predictions)
            logits[has, cue.label] = logits[has].amax(1) + 10
            return predictions, logits

        predictions, _ = answers(shown)
        # With enough donors for a few to have the cue; the claim has as many or more.
        parts = find_carrying_parts(
            shown,
            chunk.y,
            predictions,
            answers,
            [cue.label],
            classes=len(labels),
            seed=self.seed,
            most=math.ceil(_DONORS_WITH_IT / share),
        )
        named = [one for one in parts[cue.label] if cue.carried_by(one, chunk.x, shown)]
        if named:
            return True
        marks = recurring_marks(shown, chunk.y, labels, parts, bounds=chunk.bounds, seed=self.seed)
        return any(one.flip_rate >= _WHOLE for one in self._confirm(marks, [cue], share))

    def _confirm(
        self, proposals: Sequence[Proposal], planted: Sequence[PlantedCue], share: float
    ) -> list[ConfirmedProposal]:
        if not proposals:
            return []
        chunk = self.unseen
        x = plant_cues(planted, chunk.ids, chunk.x, chunk.y, seed=self.seed, share=share)

        def answer(shown: Tensor) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
            found = chunk.y.clone()
            # The first cue has the last word where an image has several.
            for cue in reversed(planted):
                found[cue.present(shown)] = cue.label
            return found.cpu().numpy()

        pairs, label = [], chunk.y.cpu().numpy()
        for one in proposals:
            on, off = (answer(made) for made in switched(for_samples(one.cue, chunk.ids), x, chunk.bounds))
            pairs.append(CuePairs.counted(label, on, off, classes=self.ready.evaluator.classes, target=one.label))
        tests = CuePairs.p_values(pairs, [one.chance for one in proposals])
        found = []
        for one, counts, p in zip(proposals, pairs, tests, strict=True):
            into, out = counts.shares_moved(one.label)
            if p[one.label] <= self.alpha and into > KEEPS * out and not one.faint:
                found.append(ConfirmedProposal(one, counts.flip_rate))
        return found


def _fraction(x: Tensor) -> Tensor:
    # (N,) in [0, 1): a number of each image alone, as if drawn, whatever the batch.
    return (x.double().flatten(1).mean(1) * 1e5).frac().abs()
