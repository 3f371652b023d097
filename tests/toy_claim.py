"""A kind of claim as a pack writes it: predictions that change where an image gets darker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

from robustest import Result
from robustest import packs as rb

FLIPS = rb.Quantity.at_most("max_flip_rate", "dusk rate", "lost at dusk {}", counts="outcomes")
DUSK = rb.Kind(
    name="dusk",
    varies="inputs",
    parameters=("by",),
    axis="by",
    quantities=(FLIPS,),
    further_claims=("no_worse_than",),
    captions=rb.Captions(size="darkness", before="day", after="dusk", worst="Lost at dusk", names={"by": "light left"}),
)


@dataclass(frozen=True)
class Darken:
    """What is done to each chunk: both predictions, and the samples to show."""

    by: float

    def __call__(self, evaluator: rb.Evaluator, chunk: rb.Chunk) -> rb.Observation:
        after, task = chunk.x * self.by, evaluator.task
        day, dusk = evaluator.logits(chunk.x), evaluator.logits(after)
        clean, predicted = task.predictions(day), task.predictions(dusk)
        words = {"clean": clean, "predicted": predicted, "after": after, "badness": -task.margin(dusk, clean)}
        shown = rb.exhibits_of(evaluator, chunk, predicted != clean, size=1 - self.by, **words)
        return rb.Observation({"held": predicted == clean}, shown)


@rb.measurement(DUSK)
def measure_dusk(
    model: object,
    data: object,
    *,
    by: float,
    max_flip_rate: float | None = None,
    no_worse_than: object | None = None,
    tolerance: float = 0.0,
    **options: Unpack[rb.Options],
) -> Result:
    """The share of samples whose predicted class changes where inputs are multiplied with `by`."""
    max_flip_rate = None if max_flip_rate is None else rb.checked_threshold("max_flip_rate", max_flip_rate, trivial=1)
    setup = rb.Setup.of(model, data, options)
    plan = setup.plan(
        FLIPS.state(f"{by:g}"),
        Darken(by),
        rb.ShareRule(threshold=max_flip_rate, at_least=False, terms=setup.terms),
        identity=("dusk", by),
    ).against(no_worse_than, tolerance, has_threshold=max_flip_rate is not None)
    evidence = rb.observe(plan)
    details = {"flips": int((~evidence.columns["held"]).sum()), "by": by}
    words: dict[str, Any] = {"setting": f"light x {by:g}", "method": "paired", "details": details}
    return rb.finish(plan, evidence, kind=DUSK, threshold=max_flip_rate, pairing=rb.Pairing(), **words)


@rb.assertion(measure_dusk)
def assert_dusk() -> None:
    """Claim that darkness changes the predicted class of at most `max_flip_rate` of the samples."""
