"""A kind of claim as a plugin writes it: predictions that change where an image gets darker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

from robustest.assertions import asserted
from robustest.data import as_samples
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import margins
from robustest.facts import Captions
from robustest.kinds import OUTCOMES, Kind, Quantity
from robustest.results import Pairing, Result
from robustest.rules import ShareRule
from robustest.run.comparison import Baseline, compared
from robustest.run.driver import observe
from robustest.run.evidence import Observed, exhibits_of
from robustest.run.noting import measures
from robustest.run.options import Options, apply, terms_of
from robustest.run.result_building import result_of
from robustest.statistics import checked_threshold

FLIPS = Quantity(name="dusk rate", comparison="<=", threshold="max_flip", statement="lost at dusk {}", counts=OUTCOMES)
DUSK = Kind(
    name="dusk",
    quantities=(FLIPS,),
    asks_too=("no_worse_than",),
    captions=Captions(size="darkness", before="day", after="dusk", worst="Lost at dusk", names={"by": "light left"}),
)


@dataclass(frozen=True)
class Darken:
    """What is done to each chunk: both predictions, and the samples to show."""

    by: float
    examples: int

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observed:
        after = chunk.x * self.by
        day, dusk = evaluator.logits(chunk.x), evaluator.logits(after)
        clean, predicted = day.argmax(1), dusk.argmax(1)
        words = {"clean": clean, "predicted": predicted, "before": chunk.x, "after": after, "most": self.examples}
        shown = exhibits_of(chunk, predicted != clean, badness=-margins(dusk, clean), size=1 - self.by, **words)
        return Observed({"held": (predicted == clean).cpu().numpy()}, shown)


@measures(DUSK)
def measure_dusk(
    model: object,
    data: object,
    *,
    by: float,
    max_flip: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    **options: Unpack[Options],
) -> Result:
    """The share of samples whose predicted class changes where inputs are multiplied with `by`."""
    max_flip = None if max_flip is None else checked_threshold("max_flip", max_flip, trivial=1)
    classifier, settings = apply(model, options)
    samples, terms, statement = as_samples(data), terms_of(settings), FLIPS.says(f"{by:g}")
    rule = ShareRule(threshold=max_flip, at_least=False, terms=terms)
    about = {"asked": max_flip is not None, "statement": statement, "n": len(samples), "terms": terms}
    baseline = compared(rule, settings, **about, no_worse_than=no_worse_than, tolerance=tolerance)
    settings, look = baseline.settings, Darken(by, settings.examples)
    evidence = observe(statement, classifier, samples, settings, look, rule=baseline.rule, identity=("dusk", by))
    says = statement if max_flip is None else f"{statement} <= {max_flip:g}"
    words = {"kind": DUSK, "statement": says, "threshold": max_flip, "setting": f"light x {by:g}", "method": "paired"}
    words["details"] = {"flips": int((~evidence.columns["held"]).sum()), "by": by}
    result = result_of(evidence, evidence.decision, settings, **words, pairing=Pairing())
    return baseline.told(result, evidence)


@asserted(measure_dusk)
def assert_dusk() -> None:
    """Claim that darkness changes the predicted class of at most `max_flip` of the samples."""
