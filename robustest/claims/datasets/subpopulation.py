"""Subpopulation shift: accuracy on subclasses that were not in training (BREEDS).

Santurkar, Tsipras and Madry, "BREEDS: Benchmarks for Subpopulation Shift" (ICLR 2021). Other subclasses would give
another drop, so the interval is by bets on the subclasses' accuracies, each a draw of its domain
(`robustest.decisions.cluster_means`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from robustest.claims.datasets.accuracy import accuracy_of, pair_details
from robustest.data.hierarchies import BreedsSplit, Domain, domains
from robustest.decisions import Decision, Terms, optional_threshold
from robustest.decisions.cluster_means import cluster_difference_interval, fewest_clusters
from robustest.decisions.drop import drop_bounds
from robustest.decisions.groups import GroupShare, group_shares
from robustest.decisions.rule import decide_early
from robustest.decisions.two_set_drop import decide_two_set_drop, two_set_drop
from robustest.errors import ConfigError, expected
from robustest.kinds import Kind, Quantity, no_lines
from robustest.models.training import TrainFn, check_train
from robustest.results import Result, Verdict
from robustest.run.assertion import assertion
from robustest.run.evidence import Evidence
from robustest.run.finish import fallible, few, result_of
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Setup, apply

SUBPOPULATION_SHIFT = Kind(
    name="subpopulation_shift",
    quantities=(
        Quantity.at_most(
            "max_drop",
            "accuracy drop",
            "accuracy lost from the source's subclasses to the target's",
            trivial=1,
            start="source_accuracy",
        ),
    ),
    lines=no_lines,
)


@measurement(SUBPOPULATION_SHIFT)
def measure_subpopulation_shift(
    model: object,
    data: object,
    split: BreedsSplit,
    *,
    max_drop: float | None = None,
    train: TrainFn | None = None,
    train_data: object | None = None,
    oracle: object = None,
    **options: Unpack[Options],
) -> Result:
    """Measure the drop in accuracy from the subclasses of training to others of the same superclasses.

    (Santurkar, Tsipras and Madry, ICLR 2021.) The interval is for subclasses to come, of equal weight; with
    `scope="population"` it decides. The headroom is the accuracy that an oracle gains on the target. Outcomes are
    the target's.

    Args:
        model: as for `measure_robust_accuracy`, trained on the source domain, with a logit per superclass; None with
            `train`.
        data: samples to test on, as for `measure_robust_accuracy`; labels are the subclasses.
        split: superclasses and the subclasses of both domains, e.g. from `breeds_split`.
        max_drop: largest drop in accuracy claimed, in 0..1.
        train: maps samples (n, *S) float32, labels (n,) int64 (superclasses) and a seed to a model; called with each
            domain of `train_data`, in memory.
        train_data: samples to train on, others than `data`; labels are the subclasses.
        oracle: a model trained on the target domain, if `model` is a model; or None.
        **options: see `robustest.run.plan.Options`.

    Raises:
        ConfigError: train is given with a model or an oracle.
        DataError: the split has no target, or a subclass no samples.
        ConfigError, DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    max_drop = optional_threshold("max_drop", max_drop, trivial=1)
    if not isinstance(split, BreedsSplit):
        raise ConfigError(expected("a split such as breeds_split(tree, level=2) gives", split))
    source, target = domains(data, split)
    model, oracle = _trained(model, train, train_data, oracle, split=split, seed=apply(lambda x: x, options)[1].seed)
    setup = Setup.of(model, source.samples(), options)
    measured = _Domains.of(setup, target, None if oracle is None else Setup.of(oracle, target.samples(), options))
    # Shares have simultaneous bounds within each domain, for the table; the verdict is by the bets.
    halves = (
        _DomainShares.of(source, measured.source, split, setup.terms),
        _DomainShares.of(target, measured.target, split, setup.terms),
    )
    decision = _decide(*halves, max_drop, setup.terms)
    decision = fallible(decision, measured.source, max_drop, alpha=setup.terms.alpha)
    result = result_of(
        measured.evidence(target),
        decision,
        setup.settings,
        kind=SUBPOPULATION_SHIFT,
        statement=SUBPOPULATION_SHIFT.quantities[0].state(),
        threshold=max_drop,
        setting=f"{len(split.superclasses)} superclasses; subclasses: {len(halves[0].shares)} in the source, "
        f"{len(halves[1].shares)} in the target",
        method="bets on the accuracies of subclasses",
        details={
            **pair_details(measured.source, measured.target, setup.terms),
            **_headroom(measured.target, measured.oracle, setup.terms),
            "drop_interval": list(decision.interval),
            "subclasses": {"source": halves[0].table(), "target": halves[1].table()},
        },
        caveats=few(measured.source.n, " of the source"),
    )
    worst = halves[1].shares[0]
    notes = [*result.notes, f"worst subclass {worst.name!r}: {worst.held} of {worst.n} samples right"]
    if result.details["headroom"] is None:
        notes.append("no oracle: how much of the fall could be avoided is not known")
    else:
        low, high = result.details["headroom_interval"]
        best = f"an oracle trained on the target has accuracy {result.details['oracle_accuracy']:.3f}"
        notes.append(f"{best}: headroom {result.details['headroom']:.3f} [{low:.3f}, {high:.3f}]")
    return replace(result, notes=tuple(notes))


@assertion(measure_subpopulation_shift)
def assert_subpopulation_shift() -> None:
    """Claim that accuracy falls by at most `max_drop` from the subclasses of training to others of the same classes."""


@dataclass(frozen=True, slots=True)
class _Domains:
    source: Evidence
    target: Evidence
    oracle: Evidence | None

    @classmethod
    def of(cls, source: Setup, target: Domain, oracle: Setup | None) -> _Domains:
        return cls(
            accuracy_of(source, "accuracy on the source's subclasses"),
            accuracy_of(source.on(target.samples()), "accuracy on the target's subclasses"),
            None if oracle is None else accuracy_of(oracle, "the oracle's accuracy"),
        )

    def evidence(self, target: Domain) -> Evidence:
        # Exhibits are numbered within the domain; users know positions in their data.
        shown = [replace(exhibit, index=int(target.ids[exhibit.index])) for exhibit in self.target.exhibits]
        others = [self.source] if self.oracle is None else [self.source, self.oracle]
        return replace(self.target.including(*others), exhibits=shown)


@dataclass(frozen=True, slots=True)
class _DomainShares:
    """One domain's accuracy by subclass.

    Attributes:
        held, counts: (c,) right samples and samples, by evaluated subclass.
        shares: subclasses with simultaneous intervals, worst first.
        read, n: number of evaluated samples, and of all.
    """

    held: NDArray[np.int64]
    counts: NDArray[np.int64]
    shares: list[GroupShare]
    read: int
    n: int

    @property
    def whole(self) -> bool:
        return self.read == self.n

    @classmethod
    def of(cls, domain: Domain, evidence: Evidence, split: BreedsSplit, terms: Terms) -> _DomainShares:
        subclass = domain.subclasses.numpy()[evidence.ids]
        # Subclasses without an evaluated sample are left out: nothing is known of them.
        known, at = np.unique(subclass, return_inverse=True)
        n = np.bincount(at, minlength=len(known)).astype(np.int64)
        held = np.bincount(at[evidence.columns["held"].astype(bool)], minlength=len(known)).astype(np.int64)
        shares = group_shares(
            [split.name(int(index)) for index in known],
            held.tolist(),
            n.tolist(),
            alpha=terms.alpha,
            disjoint=True,
        )
        return cls(held, n, shares, evidence.n, evidence.total)

    def table(self) -> list[dict[str, Any]]:
        return [
            {
                "subclass": group.name,
                "n": group.n,
                "held": group.held,
                "accuracy": group.share if self.whole else None,
                "interval": list(group.interval),
            }
            for group in self.shares
        ]


def _trained(
    model: object, train: TrainFn | None, train_data: object, oracle: object, *, split: BreedsSplit, seed: int
) -> tuple[object, object]:
    if train is None:
        if train_data is not None:
            raise ConfigError("Expected train= with train_data= but got none: nothing else trains on these samples.")
        return model, oracle
    if model is not None or oracle is not None:
        raise ConfigError("Expected model=None and no oracle= with train=, which trains both, but got one.")
    if train_data is None:
        raise ConfigError("Expected train_data= with train= but got none: there is nothing to train on.")
    check_train(train)
    source, target = domains(train_data, split)
    # The same seed for both: model and oracle differ by their data alone.
    return train(*source.arrays(), seed), train(*target.arrays(), seed)


def _decide(source: _DomainShares, target: _DomainShares, max_drop: float | None, terms: Terms) -> Decision:
    both = cluster_difference_interval(source.held / source.counts, target.held / target.counts, terms.alpha)
    if source.whole and target.whole:
        fall = two_set_drop(source.held, source.counts, target.held, target.counts)
        # If subclasses differ in size the drop over samples differs from the one over subclasses, which the bets are
        # about. A claim has to hold for both.
        both = min(both[0], float(fall)), max(both[1], float(fall))
        decision = decide_two_set_drop(fall, max_drop, interval=both, terms=terms)
    else:
        read, n = source.read + target.read, source.n + target.n
        # Samples are missing: only the interval can decide.
        decision = decide_early(max_drop, both, read, n, None, at_least=False, terms=terms)
    if terms.scope == "set" or max_drop is None:
        return decision
    decision = replace(decision, rule=f"{decision.rule}, by subclass, of which each counts alike")
    if decision.verdict is not Verdict.INCONCLUSIVE or not max_drop:
        return decision
    subclasses, needed = len(target.counts), fewest_clusters(max_drop, terms.alpha)
    if subclasses >= needed:
        return decision
    few = (
        f"{subclasses} subclasses in the target, however right the model is on them, show nothing of kinds as rare as "
        f'max_drop={max_drop:g} allows: give {needed} or more, or claim it of these (scope="set")'
    )
    return replace(decision, rule=f"{decision.rule}; {few}")


def _headroom(model: Evidence, oracle: Evidence | None, terms: Terms) -> dict[str, Any]:
    if oracle is None or not (model.whole and oracle.whole):
        return {"oracle_accuracy": None, "headroom": None, "headroom_interval": None}
    right, best = model.columns["held"].astype(bool), oracle.columns["held"].astype(bool)
    # Paired by sample, as McNemar's test: only samples with different outcomes count.
    more, less = int((best & ~right).sum()), int((right & ~best).sum())
    return {
        "oracle_accuracy": float(best.mean()),
        "headroom": (more - less) / len(right),
        "headroom_interval": list(drop_bounds(more, less, len(right), terms.alpha)),
    }
