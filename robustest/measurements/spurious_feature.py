"""Reliance on a cue, proved by intervention: the same samples with the cue on and off, on the deployed model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.data import as_samples
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import margins
from robustest.errors import ConfigError, expected
from robustest.features import Cue
from robustest.measurements.driver import observe
from robustest.measurements.finish import result_of
from robustest.measurements.observed import Observed, exhibits_of
from robustest.measurements.options import Options, apply, terms_of
from robustest.results import Result, Verdict
from robustest.verdicts import (
    Decision,
    Settled,
    ShareClaim,
    Terms,
    checked_threshold,
    decide_drop,
    decide_share,
    mcnemar,
)
from robustest.verdicts.claims import Columns
from robustest.verdicts.fixed import beyond, clopper_pearson


def measure_spurious_feature(
    model: object,
    data: object,
    cue: Cue,
    *,
    max_flip: float | None = None,
    max_recall_drop: float | None = None,
    target: int | None = None,
    **options: Unpack[Options],
) -> Result:
    """How far a model's predictions hang on a cue (Wong, Santurkar and Madry, ICML 2021, made an intervention).

    Every sample is classified twice, with the cue on and with it off. The flip rate is the share of samples
    whose prediction the cue changes: towards `target`, among samples of other classes, where a target is
    given; to any class, among all samples, where not. The recall drop is the recall of the target class
    with the cue on minus that with it off; of the class where it is largest, where no target is given.

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_robust_accuracy`.
        cue: what to switch, e.g. `PixelPatch(top=0, left=0, height=2, width=2)`.
        max_flip: the flip rate claimed at most, in 0..1.
        max_recall_drop: the recall drop claimed at most, in 0..1. Where both are given, both must hold.
        target: the class the cue is suspected to stand for.
        **options: see `robustest.measurements.options.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown, or target is no class.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    max_flip = None if max_flip is None else checked_threshold("max_flip", max_flip)
    max_recall_drop = None if max_recall_drop is None else checked_threshold("max_recall_drop", max_recall_drop)
    if isinstance(cue, type) or not isinstance(cue, Cue):
        raise ConfigError(expected("a cue such as PixelPatch(top=0, left=0)", cue))
    if target is not None and (type(target) is not int or target < 0):
        raise ConfigError(expected("target to be a class index", target))
    classifier, settings = apply(model, options)

    def look(evaluator: Evaluator, chunk: Chunk) -> Observed:
        return cue_chunk(evaluator, chunk, cue, target, examples=settings.examples)

    towards = "" if target is None else f" towards class {target}"
    statement = f"reliance on {cue.name}{towards}"
    claim = CueClaim(max_flip=max_flip, max_recall_drop=max_recall_drop, target=target, terms=terms_of(settings))
    identity = ("spurious feature", cue, target)
    evidence = observe(statement, classifier, as_samples(data), settings, look, claim=claim, identity=identity)
    limits = (("flips", max_flip), ("recall drop", max_recall_drop))
    parts = [f"{what} <= {limit:g}" for what, limit in limits if limit is not None]
    by_recall = max_flip is None and max_recall_drop is not None
    return result_of(
        evidence,
        evidence.decision,
        settings,
        claim="no_spurious_feature",
        statement=f"{statement}: {', '.join(parts)}" if parts else statement,
        quantity="recall drop" if by_recall else "flip rate",
        threshold=max_recall_drop if by_recall else max_flip,
        comparison="<=",
        setting=cue.name,
        method="paired intervention, cue on and off",
        details=details_of(count_pairs(evidence.columns, target), claim, whole=evidence.whole),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Counts over the paired predictions.

    Attributes:
        flips, of: predictions the cue changes, among how many samples.
        lost, gained, members: (K,) by class: right only with the cue on, only with it off, samples.
        drawn, driven: (K,) predictions the cue moves into a class, and out of it.
        target: the class suspected, or None.
        accuracy: accuracies with the cue on and off.
    """

    flips: int
    of: int
    lost: NDArray[np.int64]
    gained: NDArray[np.int64]
    members: NDArray[np.int64]
    drawn: NDArray[np.int64]
    driven: NDArray[np.int64]
    target: int | None
    accuracy: tuple[float, float]


def cue_chunk(evaluator: Evaluator, chunk: Chunk, cue: Cue, target: int | None, *, examples: int) -> Observed:
    """Predictions of a chunk with the cue on and off."""
    on, off = (_inside(switch(chunk.x), chunk, cue) for switch in (cue.on, cue.off))
    logits_on, logits_off = evaluator.logits(on), evaluator.logits(off)
    if target is not None and target >= evaluator.classes:
        raise ConfigError(f"Expected target in 0..{evaluator.classes - 1} but got {target}.")
    with_cue, without = logits_on.argmax(1), logits_off.argmax(1)
    flipped = with_cue != without
    if target is not None:
        flipped = flipped & (with_cue == target) & (chunk.y != target)
    exhibits = exhibits_of(
        chunk,
        flipped,
        clean=without,
        predicted=with_cue,
        before=off,
        after=on,
        badness=margins(logits_on, with_cue),
        size=None,
        most=examples,
    )
    columns = {
        "held": (~flipped).cpu().numpy(),
        "on": with_cue.cpu().numpy(),
        "off": without.cpu().numpy(),
        "label": chunk.y.cpu().numpy(),
    }
    return Observed(columns, exhibits)


def _inside(x: Tensor, chunk: Chunk, cue: Cue) -> Tensor:
    low, high = chunk.bounds
    if x.shape != chunk.x.shape or not bool(((x >= low) & (x <= high)).all()):
        raise ConfigError(
            f"Expected the cue ({cue.name}) to give inputs of shape {tuple(chunk.x.shape)} inside [{low:g}, {high:g}] "
            f"but got shape {tuple(x.shape)}, values [{float(x.min()):.4g}, {float(x.max()):.4g}]."
        )
    return x.to(torch.float32)


def count_pairs(columns: Columns, target: int | None) -> Pairs:
    """The counts that verdict and report rest on."""
    on, off, label = (columns[name].astype(np.int64) for name in ("on", "off", "label"))
    classes = int(max(on.max(), off.max(), label.max())) + 1

    def by_class(of: NDArray[np.int64], where: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(of[where], minlength=classes).astype(np.int64)

    moved = on != off
    everyone = np.ones(len(label), dtype=bool)
    return Pairs(
        flips=int((~columns["held"].astype(bool)).sum()),
        of=len(label) if target is None else int((label != target).sum()),
        lost=by_class(label, (on == label) & moved),
        gained=by_class(label, (off == label) & moved),
        members=by_class(label, everyone),
        drawn=by_class(on, moved),
        driven=by_class(off, moved),
        target=target,
        accuracy=(float((on == label).mean()), float((off == label).mean())),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CueClaim:
    """A claim on the flip rate, on the recall drop, or on both.

    Attributes:
        max_flip: the flip rate claimed at most, or None.
        max_recall_drop: the recall drop claimed at most, or None.
        target: the class suspected, or None.
        terms: what the verdict may rest on.
    """

    max_flip: float | None
    max_recall_drop: float | None
    target: int | None
    terms: Terms

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Claim.settled`; only flips among all samples are known to be so many of so many before the end."""
        if self.target is not None or self.max_recall_drop is not None:
            return None
        return self._flips().settled(columns, n)

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Claim.decide`.

        Raises:
            ConfigError: there are no samples to judge on (none outside, or none of, the target class).
        """
        if len(columns["held"]) < n:
            return self._partly(columns, n, settled)
        pairs = count_pairs(columns, self.target)
        flip, drops, worst = self.parts(pairs)
        asked = [flip] * (self.max_flip is not None) + list(drops.values()) * (self.max_recall_drop is not None)
        lead = drops[worst] if self.max_flip is None and self.max_recall_drop is not None else flip
        return Decision(verdict=_all(asked), rule=lead.rule, estimate=lead.estimate, interval=lead.interval)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`; nothing is known of a cue before it is switched."""
        return False

    def _partly(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """The verdict where not every sample was looked at: flips among those that count; nothing is said of recall."""
        if self.target is not None:
            others = columns["label"] != self.target
            columns = {name: column[others] for name, column in columns.items()}
        if self.target is None and self.max_recall_drop is None:
            return self._flips().decide(columns, n, settled)
        read = len(columns["held"])
        interval = (0.0, 1.0)
        if read:
            interval = clopper_pearson(int((~columns["held"].astype(bool)).sum()), read, self.terms.alpha)
        rule = f"budget: {read} of {n} samples looked at"
        verdict = Verdict.INCONCLUSIVE
        if self.max_recall_drop is None and self.max_flip is not None and self.terms.claim != "set":
            flips = int((~columns["held"].astype(bool)).sum())
            wider = clopper_pearson(flips, read, self.terms.fail_alpha) if read else interval
            verdict = beyond(interval, self.max_flip, at_least=False, wider=wider)
            rule = f"population, alpha = {self.terms.alpha:g} a side; {rule}"
        return Decision(verdict=verdict, rule=rule, estimate=None, interval=interval)

    def parts(self, pairs: Pairs) -> tuple[Decision, dict[int, Decision], int]:
        """The verdicts on the flip rate and on the recall drop of each class, and the class where it is largest.

        Raises:
            ConfigError: as for `decide`.
        """
        present = [k for k in range(len(pairs.members)) if pairs.members[k]]
        classes = present if pairs.target is None else [pairs.target]
        if pairs.of == 0 or not set(classes) <= set(present):
            raise ConfigError(f"Expected samples of class {pairs.target} and of others but the data lack one of them.")
        flip = decide_share(pairs.flips, pairs.of, self.max_flip, at_least=False, **self.terms.of())
        each = {  # the class with the largest drop is picked after looking
            **self.terms.of(),
            "alpha": self.terms.alpha / len(classes),
            "fail_alpha": self.terms.fail_alpha / len(classes),
        }
        drops = {
            k: decide_drop(
                int(pairs.lost[k]), int(pairs.gained[k]), int(pairs.members[k]), self.max_recall_drop, **each
            )
            for k in classes
        }
        return flip, drops, max(classes, key=lambda k: drops[k].estimate or 0.0)

    def _flips(self) -> ShareClaim:
        return ShareClaim(threshold=self.max_flip, at_least=False, terms=self.terms)


def details_of(pairs: Pairs, claim: CueClaim, *, whole: bool) -> dict[str, Any]:
    """The numbers behind a verdict; rates only where every sample was looked at."""
    present = [k for k in range(len(pairs.members)) if pairs.members[k]]
    classes = present if pairs.target is None else [pairs.target]
    most_drawn = max(classes, key=lambda k: int(pairs.drawn[k] - pairs.driven[k]) if k < len(pairs.drawn) else 0)
    p_value = mcnemar(int(pairs.drawn[most_drawn]), int(pairs.driven[most_drawn]))
    counts = {
        "max_flip": claim.max_flip,
        "max_recall_drop": claim.max_recall_drop,
        "flips": pairs.flips,
        "of": pairs.of,
        "most_drawn_class": most_drawn,
        "drawn": int(pairs.drawn[most_drawn]),
        "driven_away": int(pairs.driven[most_drawn]),
        "mcnemar_p": min(1.0, p_value * len(classes)),
    }
    if not whole:
        return counts
    flip, drops, worst = claim.parts(pairs)
    return {
        **counts,
        "flip_rate": flip.estimate,
        "recall_drop": drops[worst].estimate,
        "recall_drop_class": worst,
        "recall_drop_interval": list(drops[worst].interval),
        "accuracy_on": pairs.accuracy[0],
        "accuracy_off": pairs.accuracy[1],
    }


def _all(decisions: list[Decision]) -> Verdict:
    verdicts = {decision.verdict for decision in decisions}
    for verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.PASSED if verdicts else Verdict.INCONCLUSIVE
