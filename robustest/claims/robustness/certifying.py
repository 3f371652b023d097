"""What of the samples that an attack leaves is proven: the look, and what a result says of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from robustest import context
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError, expected
from robustest.run.chunk_measurement import Look
from robustest.run.evidence import Evidence, Observed
from robustest.run.remembered.replay import Replay
from robustest.store.corpus import Kept
from robustest.threats import Threat

WAYS = ("auto", "linear")


def checked_certify(how: str | None, draws: int) -> str | None:
    """The way in which samples are proven: the call's, or the settings' where it names none.

    Raises:
        ConfigError: no such way, or the model is said to answer at random.
    """
    how = context.current().settings.certify if how is None else how
    if how is None:
        return None
    if how not in WAYS:
        raise ConfigError(expected(f"certify to be one of {', '.join(WAYS)}, or None", how))
    if draws > 1:
        raise ConfigError(
            f"Expected an attack on single answers with certify={how!r} but got one that averages {draws} draws. "
            "Bounds are of a model that answers alike every time: leave certify out."
        )
    return how


@dataclass(frozen=True, slots=True, kw_only=True)
class Certifying:
    """An attack on a chunk, then bounds of what it left.

    Attributes:
        attack: the attack's own look, with the columns "held" and "clean".
        threat: what is allowed.
        replay: known counterexamples, for the attack.
    """

    attack: Look
    threat: Threat
    replay: Replay | None = None

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observed:
        """What became of a chunk; the column "proven" holds what no attack can break."""
        from robustest.engine.proving import prove_rows  # here, as no other claim needs it

        attack: Any = self.attack
        observed = replace(attack, replay=self.replay)(evaluator, chunk)
        clean = torch.from_numpy(observed.columns["clean"].astype(bool)).to(chunk.x.device)
        held = torch.from_numpy(observed.columns["held"].astype(bool)).to(chunk.x.device)
        right = clean.nonzero().squeeze(1)
        proven = np.zeros(len(clean), dtype=bool)
        if len(right):
            part = chunk.rows(right)
            margin = evaluator.task.margin(evaluator.logits(part.x), part.y)
            found = prove_rows(evaluator, part, self.threat, held[right], margin)
            proven[right.cpu().numpy()] = found.rows.cpu().numpy()
            if found.note and found.note not in evaluator.notes:
                evaluator.notes.append(found.note)
        columns = {**observed.columns, "proven": proven}
        return Observed(columns, observed.exhibits, observed.counts, observed.kept)

    def auditor(self, evaluator: Evaluator, chunk: Chunk) -> Look | None:
        """Return the attack's own auditor: what is proven needs none."""
        attack: Any = self.attack
        found: Look | None = attack.auditor(evaluator, chunk)
        return found

    def keeping(self) -> Certifying:
        """As `Searching.keeping`."""
        attack: Any = self.attack
        return replace(self, attack=attack.keeping())

    def tried(self, evaluator: Evaluator, chunk: Chunk, kept: Kept) -> Observed:
        """As `Searching.tried`; the driver refuses what breaks a sample that is proven."""
        attack: Any = self.attack
        found: Observed = attack.tried(evaluator, chunk, kept)
        return found


def certified_details(evidence: Evidence) -> dict[str, Any]:
    """What was proven, what was broken or wrong, and what is open, of the samples looked at."""
    proven, held = (evidence.columns[name].astype(bool) for name in ("proven", "held"))
    return {
        "certified": evidence.share(proven),
        "attacked": evidence.share(held),
        "proven": int(proven.sum()),
        "looked_at": evidence.n,
        "not_held": int((~held).sum()),
        "open": int((held & ~proven).sum()),
    }
