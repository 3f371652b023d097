"""Replay of known counterexamples, before any search: they may break a sample, never support a claim."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from robustest import context, rng
from robustest.data import Samples
from robustest.engine.chunks import Chunk, load
from robustest.engine.evaluator import Evaluator
from robustest.engine.shrink import Budget, pixels_changed, shrink, shrinks, with_fewer_edits
from robustest.run.evidence import REPLAYED, Exhibit, Observation, answers_of, exhibits_of
from robustest.settings import Settings
from robustest.store.corpus import Corpus, Kept, from_levels, levels
from robustest.tasks import CLASSIFICATION, Task
from robustest.threats import Columns, Threat, is_discrete, per_row, within

if TYPE_CHECKING:
    from robustest.data.coding import Coding

_BATCH = 512
NOT_SMALLEST = "counterexamples not yet the smallest: budget spent (shrink_budget={share:g} of the verdict's passes)"
"""A note of counterexamples that might still be made smaller."""
# Part of the corpus that one claim may fill.
_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class ReplayedInput:
    """A known counterexample that still breaks its sample: input (*S), size, margin, and prediction (*T)."""

    x: Tensor
    size: float
    margin: float
    predicted: Tensor


class Replay:
    """The counterexamples of one claim: known ones, and those found now.

    Args:
        threat: must contain them.
        settings: with the corpus.
        certifies: True if the claim also proves samples; a replayed sample is then not proven.

    Attributes:
        counterexamples: those that still break, by position in the data; filled by `replay`.
    """

    def __init__(
        self, threat: Threat, settings: Settings, task: Task = CLASSIFICATION, *, certifies: bool = False
    ) -> None:
        self.threat = threat
        self.counterexamples: dict[int, ReplayedInput] = {}
        self._certifies = certifies
        self._task = task
        self._found: list[Kept] = []
        self._settings = settings
        self._corpus: Corpus | None = None
        if settings.corpus is not None and (shrinks(threat) or _of_strings(threat) or isinstance(threat, Columns)):
            self._corpus = Corpus(Path(settings.corpus), settings.corpus_max_mb)
        of = "" if task == CLASSIFICATION else f" {task.name}"
        self._name = f"{context.current().claimant} {type(threat).__name__}{of}"

    @property
    def polishes(self) -> bool:
        """True if counterexamples are made smaller: in norm balls, and of texts."""
        return shrinks(self.threat) or _of_strings(self.threat)

    def anew(self) -> Replay:
        return type(self)(self.threat, self._settings, self._task, certifies=self._certifies)

    @property
    def notices(self) -> tuple[str, ...]:
        return () if self._corpus is None else self._corpus.notices

    def replay(self, evaluator: Evaluator, samples: Samples, bounds: tuple[float, float]) -> set[int]:
        """Return the positions of samples that still break, with one forward pass for each counterexample."""
        kept = None if self._corpus is None else self._corpus.load(self._name)
        if kept is None:
            return set()
        # Each is checked against the current data and threat: same label, inside bounds and threat, and a wrong
        # prediction.
        fits = (kept.ids < len(samples)) & (kept.ids >= 0)
        # The corpus may be of other data by now: positions beyond its end are skipped, labels are compared below.
        for rows in torch.split(fits.nonzero().squeeze(1), _BATCH):
            ids = kept.ids[rows]
            how: dict[str, Any] = {"bounds": bounds, "seed": self._settings.seed, "device": evaluator.device}
            chunk = load(samples, ids, **how, whole=_of_strings(self.threat), room=getattr(self.threat, "room", 0))
            known = kept.x[rows]
            if chunk.coding is not None:  # however long the longest text was then
                known = chunk.coding.fitted(known, chunk.x.shape[1])
            if known.shape[1:] != chunk.x.shape[1:]:
                return set()
            x = known.to(chunk.x)
            low, high = chunk.bounds
            region = self.threat.region(chunk.x, chunk.bounds)
            size = self.threat.size(x, region)
            # A change of size 0 is the sample itself: if it is wrong, no counterexample is to blame.
            inside = within(size, self.threat) & (size > 0) & ((x >= low) & (x <= high)).flatten(1).all(1)
            # Whatever the codes of a row meant then, it must be allowed now.
            if (feasible := getattr(self.threat, "feasible", None)) is not None:
                inside &= feasible(x, region)
            same = kept.y[rows].to(chunk.ids) == marks(chunk.y)
            part = (inside & same.to(inside.device)).nonzero().squeeze(1)
            if len(part) == 0:
                continue
            tried, x = chunk.rows(part), x[part]
            if not evaluator.classes:
                evaluator.logits(x[:1])
            evaluator.check_labels(tried.y)
            judgement = evaluator.judge(x, tried.y)
            size = self.threat.size(x, self.threat.region(tried.x, tried.bounds))
            for row in (~judgement.holds).nonzero().squeeze(1).tolist():
                index = int(tried.ids[row])
                margin, predicted = float(judgement.margin[row]), judgement.predicted[row].cpu()
                one = ReplayedInput(x[row].cpu(), float(size[row]), margin, predicted)
                # Of several counterexamples of a sample the smallest is kept.
                if index not in self.counterexamples or one.size < self.counterexamples[index].size:
                    self.counterexamples[index] = one
        return set(self.counterexamples)

    def observed(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        """Return the outcomes of samples that known counterexamples break, with one more pass for clean predictions."""
        judgement = evaluator.judge(chunk.x, chunk.y)
        clean, right = judgement.predicted, judgement.holds
        known = [self.counterexamples[index] for index in chunk.ids.tolist()]
        size = torch.tensor([one.size for one in known], dtype=torch.float64)
        exhibits = exhibits_of(
            evaluator,
            chunk,
            right,
            clean=clean,
            predicted=torch.stack([one.predicted for one in known]),
            after=torch.stack([one.x for one in known]),
            badness=torch.tensor([-one.margin for one in known]),
            size=size,
        )
        columns = {"held": torch.zeros(len(right), dtype=torch.bool), "clean": right, "size": size}
        if self._certifies:
            columns["proven"] = torch.zeros_like(columns["held"])
        return Observation(
            columns | self.further(torch.stack([one.predicted for one in known])), exhibits, {REPLAYED: len(right)}
        )

    def further(self, predicted: Tensor) -> dict[str, Tensor]:
        """Return further columns of replayed samples, from their answers (n, *P), as the claim's look has them."""
        return {}

    def polish(
        self,
        evaluator: Evaluator,
        exhibits: list[Exhibit],
        bounds: tuple[float, float],
        coding: Coding | None = None,
        *,
        calls: float = math.inf,
        rows: float = math.inf,
    ) -> list[Exhibit]:
        """Return the same counterexamples made smaller, in norm balls and of texts, without a budget of queries.

        Args:
            exhibits: the most promising first.
            calls, rows: the most work, see `Budget`; what it leaves out is noted.
        """
        if evaluator.model.max_queries is not None:  # its queries are for the attack
            return exhibits
        device = evaluator.device
        ids = torch.tensor([exhibit.index for exhibit in exhibits])
        targets = [torch.tensor(e.label) if e.targets is None else e.targets[0] for e in exhibits]
        part = Chunk(
            ids,
            torch.stack([exhibit.before for exhibit in exhibits]).to(device),
            torch.stack(targets).to(device),
            rng.keys(self._settings.seed, ids).to(device),
            bounds,
        )
        budget = Budget(evaluator, calls=calls, rows=rows)
        # It may be the first pass of all, which sets the number of classes. Made in any case: what is found must not
        # depend on what was measured in this process before.
        evaluator.logits(part.x)
        after = torch.stack([exhibit.after for exhibit in exhibits]).to(device)
        small = (shrink if shrinks(self.threat) else with_fewer_edits)(evaluator, self.threat, part, after, budget)
        if budget.spent:
            evaluator.note(NOT_SMALLEST.format(share=self._settings.shrink_budget))
        polished = []
        for row, exhibit in enumerate(exhibits):
            if row >= len(small.x):
                pixels = None if coding is not None else int(pixels_changed(exhibit.before[None], exhibit.after[None]))
                polished.append(replace(exhibit, pixels=pixels))
                continue
            clean = torch.tensor(exhibit.clean) if exhibit.answers is None else exhibit.answers[0]
            answers = answers_of(evaluator.task, part.y[row].cpu(), clean, small.predicted[row].cpu())
            made: dict[str, Any] = {"after": small.x[row].cpu(), "size": float(small.size[row])}
            if coding is None:
                made["pixels"] = int(small.pixels[row])
            else:
                made["changes"] = coding.changes(exhibit.before, made["after"])
            polished.append(replace(exhibit, **made, **answers))
        return polished

    def collect(
        self, evaluator: Evaluator, chunk: Chunk, x: Tensor, size: Tensor, broken: Tensor, *, every: bool = False
    ) -> Kept | None:
        """Return the counterexamples of a chunk, as many as there is room for, or `every` one."""
        room = self._room(x)
        rows = broken.nonzero().squeeze(1)[: None if every else room]
        if len(rows) == 0:
            return None
        # Nothing to gain by fewer bytes (no file), or values that rounding would change: texts, tables.
        if room == 0 or chunk.coding is not None or is_discrete(self.threat):
            return counterexamples_at(chunk, rows, x, size)
        part = chunk.rows(rows)
        inputs, sizes = rounded(evaluator, self.threat, part, x[rows], size[rows])
        return Kept(ids=part.ids, x=inputs.cpu(), y=marks(part.y), sizes=sizes.cpu())

    def keep(self, kept: Kept) -> None:
        room = self._room(kept.x) - sum(len(part.ids) for part in self._found)
        if room > 0:
            self._found.append(Kept(**{f.name: getattr(kept, f.name)[:room] for f in fields(Kept)}))

    def remember(self, shown: list[Exhibit], bounds: tuple[float, float]) -> None:
        if self._corpus is None or not self._found:
            return
        found = Kept(**{f.name: torch.cat([getattr(part, f.name) for part in self._found]) for f in fields(Kept)})
        # Counterexamples that are shown were made smaller: write these.
        x, sizes = found.x.clone(), found.sizes.clone()
        for exhibit in shown:
            for row in (found.ids == exhibit.index).nonzero().squeeze(1).tolist():
                if exhibit.size is not None and exhibit.size < float(sizes[row]):
                    x[row], sizes[row] = exhibit.after, exhibit.size
        self._corpus.add(self._name, replace(found, x=x, sizes=sizes), bounds=bounds)

    def _room(self, x: Tensor) -> int:
        if self._corpus is None:
            return 0
        return int(_SHARE * self._settings.corpus_max_mb * 1e6 // (x[0].numel() * x.element_size()))


def _of_strings(threat: Threat) -> bool:
    return bool(getattr(threat, "of_strings", False))


def counterexamples_at(chunk: Chunk, rows: Tensor, x: Tensor, size: Tensor) -> Kept:
    """Return counterexamples x (n, *S), of sizes (n,), at rows (m,) of a chunk, unrounded."""
    return Kept(
        ids=chunk.ids[rows.cpu()], x=x[rows].cpu().float(), y=marks(chunk.y[rows]), sizes=size[rows].cpu().double()
    )


def marks(y: Tensor) -> Tensor:
    """Return (n,) int64 on the CPU that distinguish targets (n, *T): the classes, or digests."""
    y = y.cpu()
    if y.ndim == 1 and y.dtype == torch.int64:
        return y
    about = f"{y.dtype} {tuple(y.shape[1:])} ".encode()
    digests = [sha256(about + row.numpy().tobytes()).digest()[:8] for row in y.contiguous()]
    return torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests], dtype=torch.int64)


def rounded(evaluator: Evaluator, threat: Threat, part: Chunk, found: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Round counterexamples to 256 grey levels between the bounds, if they still break their samples.

    Args:
        part: the samples (m).
        found: (m, *S) inputs that break them.
        size: (m,) their sizes.

    Returns:
        The inputs (m, *S) and their sizes (m,).
    """
    # Rounding moves an input, and may move it out of the threat or back to a right answer: both are checked.
    grey = from_levels(levels(found, part.bounds), part.bounds).clamp(*part.bounds)
    grey_size = threat.size(grey, threat.region(part.x, part.bounds))
    good = within(grey_size, threat) & ~evaluator.judge(grey, part.y).holds
    return torch.where(per_row(good, found), grey, found), torch.where(good, grey_size, size)
