"""Which samples bounds prove, of those that an attack left; and that nothing was both proven and broken."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest.bounds import Ball, NoBound, Proof, ball_of, nothing_shown, prove
from robustest.clock import check as check_clock
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.reading import Reading, reading_of
from robustest.errors import ModelError
from robustest.threats import Threat

_PILOT = 8
"""Of a chunk's samples, how many are tried first; where none of them is proven, bounds are given up for the others."""
_HOPELESS = 30.0
"""Of a chunk's clearest sample, which is bounded on its own first: where its bound lies so many times its margin below
zero, the others are not tried. Where 2 of 20 samples were proven, one was seen at 14 times."""
_BATCH = 32
_BROKEN = 4
"""Of a chunk's broken samples, how many are bounded too: were one proven, no proof could be trusted."""


@dataclass(frozen=True, slots=True)
class Proven:
    """What bounds say of samples.

    Attributes:
        rows: (B,) bool: no input that the threat allows breaks the sample.
        note: why nothing more could be proven; empty where everything was tried.
    """

    rows: Tensor
    note: str = ""


def prove_rows(evaluator: Evaluator, chunk: Chunk, threat: Threat, held: Tensor, margin: Tensor) -> Proven:
    """Which of a chunk's samples that are held no attack can break.

    The same for any batch size: what is bounded together follows from the chunk alone.

    Args:
        evaluator: of the model.
        chunk: B samples, all of them right when unchanged.
        threat: what may be done to them.
        held: (B,) bool: whether the attack left the sample.
        margin: (B,) of the unchanged samples; those of large margin are tried first.

    Raises:
        ModelError: a sample that the attack broke is proven: the bounds are wrong for this model.
    """
    ball = ball_of(threat, chunk.x, chunk.bounds)
    rows = torch.zeros(len(chunk.x), dtype=torch.bool, device=chunk.x.device)
    if ball is None:
        return Proven(rows, f"no bound: {type(threat).__name__} is no ball in L-inf, L2 or L1")
    reading = reading_of(evaluator, chunk)
    if reading.refused():
        return Proven(rows, reading.why)
    order = margin.argsort(descending=True, stable=True)
    left, broken = order[held[order]], order[~held[order]][:_BROKEN]
    proof = _Proving(reading, ball, evaluator, chunk)
    pilot = left[:_PILOT]
    tried = _begun(proof, pilot, rows, margin)
    if reading.refused():
        return Proven(torch.zeros_like(rows), reading.why)
    if len(left) and not bool(rows.any()):
        return Proven(rows, f"no bound: given up where none of a chunk's {tried} clearest samples was proven")
    for start in range(_PILOT, len(left), _BATCH):
        part = left[start : start + _BATCH]
        check_clock()
        rows[part] = proof.of(part).proven
    if bool((wrong := proof.of(broken).proven).any()) and proof.confirmed():
        index = int(chunk.ids[broken[wrong][0]])
        raise ModelError(
            f"Expected no sample both proven and broken but sample {index} is: the attack's input breaks it, and the "
            "bounds say that none can. Measure without certify=, and report the model with this message."
        )
    return Proven(rows & (not reading.refused()), reading.why)


def _begun(proof: _Proving, pilot: Tensor, rows: Tensor, margin: Tensor) -> int:
    """How many samples of a pilot were tried, the clearest on its own first; marks in rows (B,) those proven."""
    first = _tried(proof, pilot[:1])
    rows[pilot[:1]] = first.proven
    if bool((torch.isfinite(first.margin) & (first.margin < -_HOPELESS * margin[pilot[:1]].abs())).any()):
        return 1
    rows[pilot[1:]] = _tried(proof, pilot[1:]).proven
    return len(pilot)


def _tried(proof: _Proving, pilot: Tensor) -> Proof:
    """What is shown of a pilot's rows, by a network that was confirmed before the first proof counts."""
    try:
        found = proof.of(pilot)
    except Exception:  # of a graph that is another than the model's, which is to be said; else of ours
        if proof.confirmed():
            raise
    else:
        if not bool(found.proven.any()) or proof.confirmed():
            return found
    return nothing_shown(pilot)


@dataclass(frozen=True, slots=True)
class _Proving:
    reading: Reading
    ball: Ball
    evaluator: Evaluator
    chunk: Chunk

    def confirmed(self) -> bool:
        """Whether the network is the model's."""
        return self.reading.confirm(self.evaluator, self.chunk)

    def of(self, rows: Tensor) -> Proof:
        """What is shown of rows (R,)."""
        if len(rows) and self.reading.network is not None:
            try:
                y, classes = self.chunk.y[rows], self.evaluator.classes
                return prove(self.reading.network, self.ball.pick(rows), y, classes)
            except NoBound as why:
                self.reading.refuse(str(why))
        return nothing_shown(rows)
