"""The model in `no_worse_than=`: whether it is another one, and counterexamples that both models are tried on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from robustest.decisions.baseline import NoWorse
from robustest.errors import ModelError
from robustest.models import Needs
from robustest.run.evidence import Stream
from robustest.run.grounds import one_model
from robustest.run.memory import Memory
from robustest.run.units import ModelUnits, Units
from robustest.settings import Settings
from robustest.store.corpus import Kept

# Count of samples that counterexamples of the other model broke.
OF_OTHER = "other model"


def why_the_same(own: Units, beside: Units, rule: NoWorse, *, stream: Stream, other: Stream, settings: Settings) -> str:
    """Return why the model in `no_worse_than=` is no other one than the model; "" if it is.

    Args:
        own, beside: units of the model and of the other one.
        stream, other: their outcomes, on every unit.
    """
    if not isinstance(own, ModelUnits) or not isinstance(beside, ModelUnits):
        return ""
    remedy = "Give the model that this one is to replace"
    if own.model.call is beside.model.call or (
        own.model.module is not None and own.model.module is beside.model.module
    ):
        return f"no_worse_than= is the model itself, so that nothing can be lost. {remedy}"
    digests = [one.fingerprint(settings, exported=False).digest for one in (own, beside)]
    if digests[0] is not None and digests[0] == digests[1]:
        return f"no_worse_than= has the weights and the code of the model, so that nothing can be lost. {remedy}"
    # Two models that give labels alone may well agree on all of them; no two others give equal scores throughout,
    # with equal outcomes.
    columns, others = stream.ordered(), other.ordered()
    alike = np.array_equal(rule.of_model(columns), rule.of_model(others))
    if own.model.gives is not Needs.LABELS and alike and one_model(columns, others):
        return f"no_worse_than= gives the scores of the model on every sample, to the bit. {remedy}"
    return ""


def transfer(kept: Sequence[Kept], units: Units, stream: Stream, memory: Memory, *, examples: int) -> int:
    """Try counterexamples of another model on the samples that are left; return the number that became worse.

    Args:
        units: of the model that they are tried on; `stream` has its outcomes, on every unit, and is updated.
        examples: most exhibits.
    """
    count, marked = 0, len(stream.marks) == stream.n
    place = np.argsort(stream.columns["id"])
    for part in kept:
        columns = stream.ordered()
        left = columns["score"] > 0 if "score" in columns else columns["held"]
        rows = part.rows(torch.from_numpy(left[part.ids.numpy()]).nonzero().squeeze(1))
        trial = units.trial(rows) if len(rows) else None
        if trial is None:
            continue
        # Another key than a chunk's: the same inputs on the same samples, of this memory's model.
        what = ("tried", rows.ids, rows.x, [stream.marks[at] for at in place[rows.ids.numpy()]] if marked else [])
        worse = stream.worsen(rows.ids, *memory.once(what, trial), examples=examples)
        if "proven" in columns and bool((wrong := worse & columns["proven"][rows.ids.numpy()]).any()):
            raise ModelError(
                f"Expected no sample both proven and broken but sample {int(rows.ids[wrong.argmax()])} is: an "
                "input that was found with the other model breaks it, and the bounds say that none can. Measure "
                "without certify=, and report the model with this message."
            )
        count += int(worse.sum())
    return count
