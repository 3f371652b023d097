"""Coverage: the searches behind a claim that survivors are safe."""

# A survivor was shown to be safe only by a search that counts for its threat (`attacks.searches`): by its kind, and by
# its number of queries. Where scores say no more than labels (`engine.score_diagnosis`), only searches by labels count.
# The survivors without such a search are the failures of the health check `weak_search`; those that two searches
# without gradients left, and what the second broke, say how far to trust the first.

from __future__ import annotations

import torch
from torch import Tensor

from robustest.attacks import Needs, Stage, enough_queries, passes, searches
from robustest.engine.evaluator import Evaluator
from robustest.engine.score_diagnosis import SOUND, ScoreDiagnosis
from robustest.threats import Threat


class Coverage:
    """The rows that stages that count for the threat searched, and those searched without gradients."""

    def __init__(self, x: Tensor, threat: Threat, diagnosis: ScoreDiagnosis = SOUND) -> None:
        """Prepare for samples x (n, *S), with the diagnosis of the scores that searches of them follow."""
        self._threat, self._features, self._diagnosis = threat, x.shape[1:].numel(), diagnosis
        self._labels_alone = torch.as_tensor(diagnosis.labels_alone).expand(len(x))
        # On the host, which decides with them.
        self._searched = torch.zeros(len(x), dtype=torch.bool)
        self._blind = torch.zeros(len(x), dtype=torch.int64)
        self._broken_again = 0

    def add(self, stage: Stage, rows: Tensor, broken: Tensor) -> None:
        """Add a round of a stage on rows (m,) int64, of which it broke (m,) bool."""
        if not searches(stage.searcher, self._threat, self._features):
            return
        if stage.searcher.needs > Needs.LABELS:
            guided = ~self._labels_alone[rows]
            rows, broken = rows[guided], broken[guided]
        self._searched[rows] = True
        if stage.searcher.needs < Needs.GRADIENT:
            self._broken_again += int((broken & (self._blind[rows] > 0)).sum())
            self._blind[rows] += 1

    def decided(self, rows: Tensor) -> None:
        """Enter rows (n,) bool of which every input was evaluated: no second search can add to that."""
        self._searched |= rows
        self._blind[rows] = self._blind[rows].clamp(min=2)

    def count(self, evaluator: Evaluator, left: Tensor, stages: tuple[Stage, ...]) -> None:
        """Count the searches of survivors `left` (n,) bool for the health checks, and note missing ones."""
        if self._threat.radius == 0:  # there is nothing to search
            return
        health, lost = evaluator.health, left & ~self._searched
        unsearched = int(lost.sum())
        health.count("weak_search", failed=unsearched, tried=int(left.sum()))
        health.searched_twice += int((left & (self._blind > 1)).sum())
        health.broken_again += self._broken_again
        if unsearched:
            reason = self._diagnosis.reason(lost, self._threat)
            evaluator.note(reason or lacking(self._threat, evaluator.model.gives, stages, self._features))


def lacking(threat: Threat, gives: Needs, stages: tuple[Stage, ...], features: int) -> str:
    """Return a note on the search that a threat would take, where the stages that ran do not count."""
    ran, needed = [], []
    for stage in stages:
        least, name = enough_queries(stage.searcher, threat, features), stage.searcher.name
        ran.append(f"{name} with {passes(stage.searcher):,} passes of a sample")
        if least is not None and passes(stage.searcher) >= least:
            needed.append(f"{name} on all samples")
        elif least is not None:
            needed.append(f"{name} with {least:,} or more")
    more = {Needs.LABELS: "scores (scores_model) or gradients", Needs.SCORES: "gradients"}.get(gives)
    other = "an attack that can search it (docs/attacks.md has a table)" + (f", or {more} of the model" if more else "")
    takes = " or ".join(dict.fromkeys(needed)) or other
    return (
        f"weak_search: {threat} of {features:,} features, with a model that gives {gives.name.lower()}, takes {takes}; "
        f"what ran: {', '.join(dict.fromkeys(ran))}"
    )
