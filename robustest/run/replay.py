"""Counterexamples of earlier runs, tried first: they may break a sample, and never show one to be robust."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from robustest import context, rng
from robustest.data import Samples
from robustest.engine.chunks import Chunk, load
from robustest.engine.evaluator import Evaluator
from robustest.engine.shrink import shrink, shrinks
from robustest.run.evidence import REPLAYED, Exhibit, Observation, exhibits_of, said
from robustest.settings import Settings
from robustest.store.corpus import Corpus, Kept, from_levels, levels
from robustest.tasks import CLASSIFICATION, Task
from robustest.threats import Threat, per_row, within

_BATCH = 512
_SHARE = 0.25
"""One claim's share of the corpus."""


@dataclass(frozen=True, slots=True)
class Known:
    """A counterexample that still breaks: the input, its size and margin, and what the model says of it (*T)."""

    x: Tensor
    size: float
    margin: float
    predicted: Tensor


class Replay:
    """The counterexamples of one claim: those known before, and those found now.

    Attributes:
        threat: what they must lie inside.
        known: what still breaks, by position in the data, once replayed.
    """

    def __init__(
        self, threat: Threat, settings: Settings, task: Task = CLASSIFICATION, *, certifies: bool = False
    ) -> None:
        self.threat = threat
        self._certifies = certifies  # then every sample looked at is proven or not, and what is broken is not
        self._task = task
        self.known: dict[int, Known] = {}
        self._found: list[Kept] = []
        self._settings = settings
        self._corpus: Corpus | None = None
        if settings.corpus is not None and shrinks(threat):
            self._corpus = Corpus(Path(settings.corpus), settings.corpus_max_mb)
        of = "" if task == CLASSIFICATION else f" {task.name}"
        self._name = f"{context.current().claimant} {type(threat).__name__}{of}"

    def anew(self) -> Replay:
        """Return the counterexamples of the same claim, to be tried on another model."""
        return Replay(self.threat, self._settings, self._task, certifies=self._certifies)

    @property
    def notices(self) -> tuple[str, ...]:
        """What is wrong with the corpus."""
        return () if self._corpus is None else self._corpus.notices

    def replay(self, evaluator: Evaluator, samples: Samples, bounds: tuple[float, float]) -> set[int]:
        """Positions in the data of what still breaks, with one forward pass of each counterexample.

        Each is checked against the current data and threat: the sample has the same label, the input lies inside the
        bounds and the threat, and the model's answer is wrong.
        """
        kept = None if self._corpus is None else self._corpus.load(self._name)
        if kept is None:
            return set()
        fits = (kept.ids < len(samples)) & (kept.ids >= 0)
        for rows in torch.split(fits.nonzero().squeeze(1), _BATCH):
            ids = kept.ids[rows]
            chunk = load(samples, ids, bounds=bounds, seed=self._settings.seed, device=evaluator.device)
            if kept.x.shape[1:] != chunk.x.shape[1:]:
                return set()
            x = kept.x[rows].to(chunk.x)
            inside = self._inside(chunk, x, kept.y[rows])
            self._try(evaluator, chunk.rows(inside), x[inside])
        return set(self.known)

    def _inside(self, chunk: Chunk, x: Tensor, y: Tensor) -> Tensor:
        low, high = chunk.bounds
        size = self.threat.size(x, self.threat.region(chunk.x, chunk.bounds))
        inside = within(size, self.threat) & (size > 0)
        same = y.to(chunk.ids) == marks(chunk.y)
        ok = inside & ((x >= low) & (x <= high)).flatten(1).all(1) & same.to(inside.device)
        return ok.nonzero().squeeze(1)

    def _try(self, evaluator: Evaluator, chunk: Chunk, x: Tensor) -> None:
        if len(x) == 0:
            return
        if not evaluator.classes:
            evaluator.logits(x[:1])
        evaluator.check_labels(chunk.y)
        seen = evaluator.judged(x, chunk.y)
        size = self.threat.size(x, self.threat.region(chunk.x, chunk.bounds))
        for row in (~seen.holds).nonzero().squeeze(1).tolist():
            index = int(chunk.ids[row])
            one = Known(x[row].cpu(), float(size[row]), float(seen.margin[row]), seen.predicted[row].cpu())
            if index not in self.known or one.size < self.known[index].size:
                self.known[index] = one

    def observed(self, evaluator: Evaluator, chunk: Chunk, examples: int) -> Observation:
        """What is to be said of samples that known counterexamples break; one more pass tells their clean class."""
        seen = evaluator.judged(chunk.x, chunk.y)
        clean, right = seen.predicted, seen.holds
        found = [self.known[index] for index in chunk.ids.tolist()]
        size = torch.tensor([one.size for one in found], dtype=torch.float64)
        exhibits = exhibits_of(
            chunk,
            right,
            clean=clean,
            predicted=torch.stack([one.predicted for one in found]),
            before=chunk.x,
            after=torch.stack([one.x for one in found]),
            badness=torch.tensor([-one.margin for one in found]),
            size=size,
            most=examples,
            task=evaluator.task,
        )
        columns = {"held": torch.zeros(len(right), dtype=torch.bool), "clean": right.cpu(), "size": size}
        if self._certifies:
            columns["proven"] = torch.zeros_like(columns["held"])
        arrays = {name: column.numpy() for name, column in columns.items()}
        return Observation(arrays, exhibits, {REPLAYED: len(right)})

    def polish(self, evaluator: Evaluator, exhibits: list[Exhibit], bounds: tuple[float, float]) -> list[Exhibit]:
        """The same counterexamples made smaller, in norm balls, with models that have no budget of queries."""
        if not shrinks(self.threat) or evaluator.model.max_queries is not None:  # a budget is for the attack
            return exhibits
        device = evaluator.device
        ids = torch.tensor([exhibit.index for exhibit in exhibits])
        part = Chunk(
            ids,
            torch.stack([exhibit.before for exhibit in exhibits]).to(device),
            torch.stack([_target(exhibit) for exhibit in exhibits]).to(device),
            rng.keys(self._settings.seed, ids).to(device),
            bounds,
        )
        evaluator.logits(part.x)  # it may be the first pass of all
        small = shrink(evaluator, self.threat, part, torch.stack([e.after for e in exhibits]).to(device))
        return [
            replace(
                exhibit,
                after=small.x[row].cpu(),
                size=float(small.size[row]),
                pixels=int(small.pixels[row]),
                **said(evaluator.task, part.y[row].cpu(), _clean(exhibit), small.predicted[row].cpu()),
            )
            for row, exhibit in enumerate(exhibits)
        ]

    def found(
        self, evaluator: Evaluator, chunk: Chunk, x: Tensor, size: Tensor, broken: Tensor, *, every: bool = False
    ) -> Kept | None:
        """Return the counterexamples of a chunk that are kept: as many as there is room for, or `every` one."""
        room = self._room(x)
        rows = broken.nonzero().squeeze(1)[: None if every else room]
        if len(rows) == 0:
            return None
        if room == 0:  # no file will hold them: nothing is gained by fewer bytes
            return kept_of(chunk, rows, x, size)
        part = chunk.rows(rows)
        inputs, sizes = rounded(evaluator, self.threat, part, x[rows], size[rows])
        return Kept(ids=part.ids, x=inputs.cpu(), y=marks(part.y), sizes=sizes.cpu())

    def keep(self, kept: Kept) -> None:
        """Take what a chunk found, as long as there is room."""
        room = self._room(kept.x) - sum(len(part.ids) for part in self._found)
        if room > 0:
            self._found.append(Kept(**{f.name: getattr(kept, f.name)[:room] for f in fields(Kept)}))

    def remember(self, shown: list[Exhibit], bounds: tuple[float, float]) -> None:
        """Write what was taken, what is shown in its smaller form."""
        if self._corpus is None or not self._found:
            return
        found = Kept(**{f.name: torch.cat([getattr(part, f.name) for part in self._found]) for f in fields(Kept)})
        x, sizes = found.x.clone(), found.sizes.clone()
        for exhibit in shown:
            for row in (found.ids == exhibit.index).nonzero().squeeze(1).tolist():
                if exhibit.size is not None and exhibit.size < float(sizes[row]):
                    x[row], sizes[row] = exhibit.after, exhibit.size
        self._corpus.add(self._name, replace(found, x=x, sizes=sizes), bounds=bounds)

    def _room(self, x: Tensor) -> int:
        """How many samples like those of x (n, *S) one claim may keep."""
        if self._corpus is None:
            return 0
        return int(_SHARE * self._settings.corpus_max_mb * 1e6 // (x[0].numel() * x.element_size()))


def kept_of(chunk: Chunk, rows: Tensor, x: Tensor, size: Tensor) -> Kept:
    """Return the counterexamples x (n, *S), of sizes (n,), of a chunk's rows (m,) as they are."""
    return Kept(
        ids=chunk.ids[rows.cpu()], x=x[rows].cpu().float(), y=marks(chunk.y[rows]), sizes=size[rows].cpu().double()
    )


def marks(y: Tensor) -> Tensor:
    """(n,) int64 on the CPU that tell targets (n, *T) from others: classes themselves, or a digest."""
    y = y.cpu()
    if y.ndim == 1 and y.dtype == torch.int64:
        return y
    about = f"{y.dtype} {tuple(y.shape[1:])} ".encode()
    digests = [sha256(about + row.numpy().tobytes()).digest()[:8] for row in y.contiguous()]
    return torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests], dtype=torch.int64)


def _target(exhibit: Exhibit) -> Tensor:
    return torch.tensor(exhibit.label) if exhibit.answers is None else exhibit.answers[0]


def _clean(exhibit: Exhibit) -> Tensor:
    return torch.tensor(exhibit.clean) if exhibit.answers is None else exhibit.answers[1]


def rounded(evaluator: Evaluator, threat: Threat, part: Chunk, found: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Counterexamples on the 256 grey levels between the bounds where they still break there, else as they are.

    Args:
        evaluator: makes the model's passes.
        threat: what they must lie inside.
        part: the samples (m).
        found: (m, *S) inputs that break them.
        size: (m,) their sizes.

    Returns:
        The inputs (m, *S) and their sizes (m,).
    """
    grey = from_levels(levels(found, part.bounds), part.bounds).clamp(*part.bounds)
    grey_size = threat.size(grey, threat.region(part.x, part.bounds))
    good = within(grey_size, threat) & ~evaluator.judged(grey, part.y).holds
    return torch.where(per_row(good, found), grey, found), torch.where(good, grey_size, size)
