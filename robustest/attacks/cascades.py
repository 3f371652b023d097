"""The cascades of robustest."""

# Cheap stages first; only survivors go on, and the expensive stages begin with those of smallest margin. Each cascade
# holds a searcher of every kind: gradients from diverse starts, a minimum-norm walk along the boundary, queries without
# gradients. Sources: Liu et al. (CVPR 2022), restarts over survivors; Croce and Hein (ICML 2020), no single kind of
# attack suffices. The budgets are our measurements (benchmarks/strength.py). Short attacks with a target each often
# break what restarts without one find by luck: which class those end in is chance.
#

# `on` restricts a stage to threats, where its searcher supports others that have better stages.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from robustest.attacks.alma import ALMA
from robustest.attacks.apgd import APGD
from robustest.attacks.coherent import CoherentMoves, CoherentStarts
from robustest.attacks.ddn import DDN
from robustest.attacks.each_way import EachWay
from robustest.attacks.fab import FAB
from robustest.attacks.fmn import FMN
from robustest.attacks.hop_skip_jump import HopSkipJump
from robustest.attacks.moves import Enumeration, GreedyMoves, RandomMoves
from robustest.attacks.odi import ODIMargin
from robustest.attacks.patch_gradient import PatchGradient
from robustest.attacks.patch_rs import PatchRS
from robustest.attacks.pgd import PGD
from robustest.attacks.protocol import Cascade, Stage
from robustest.attacks.random_draws import RandomDraws
from robustest.attacks.sigma_zero import SigmaZero
from robustest.attacks.sparse_rs import SparseRS
from robustest.attacks.spatial import SpatialGradient, SpatialGrid
from robustest.attacks.spread import SpreadDraws
from robustest.attacks.square import Square
from robustest.models.classifier import Needs
from robustest.threats import L0, L1, Append, Discrete, Edits, Euclidean, Insert, Linf, Patch, Spatial, Unbounded

_QUICK = ODIMargin(start_steps=1, steps_after=7)
_BACK = ODIMargin(start_steps=0, steps_after=8, leave_flats=True)
_FROM_MOVES = replace(_BACK, coherent=0.5)
_FACES = ODIMargin(start_steps=0, steps_after=20, step_scale=0.15, euclidean=True)
_SMALL = ODIMargin(start_steps=0, steps_after=20, step_scale=0.15)
_WIDE = ODIMargin(start_steps=4, steps_after=20)
_WIDE_BACK = replace(_WIDE, leave_flats=True)
_LONG = ODIMargin(start_steps=2, steps_after=40)
_FEW = 16
_COVER = RandomDraws(queries=1000, at_once=50)
_INWARD = DDN.outside_in(steps=20)
# More queries where they may pay: four times as many about halve the margin that Square reaches.
_MORE = Stage(searcher=Square(), only=Needs.GRADIENT, on=(Linf,), earned=True, near=2.0)


def _inward(steps: int, step_size: float) -> DDN:
    return replace(_INWARD, steps=steps, step_size=step_size)


def _other(rank: int) -> ODIMargin:
    return ODIMargin(start_steps=0, steps_after=12, step_scale=0.5, target_rank=rank)


def _towards(rank: int, steps: int) -> APGD:
    return APGD(steps=steps, loss="targeted_dlr", target_rank=rank)


def _few_features(effort: int) -> tuple[Stage, ...]:
    return (
        Stage(searcher=_FACES, rounds=20 * effort, features=_FEW),
        Stage(searcher=_SMALL, rounds=20 * effort, features=_FEW),
        *(Stage(searcher=_other(rank), rounds=4 * effort, features=_FEW) for rank in (1, 2, 3)),
        Stage(searcher=_INWARD, rounds=10 * effort, features=_FEW, on=(Euclidean,)),
        Stage(searcher=RandomDraws(queries=4000 * effort, at_once=50), features=_FEW),
    )


def _sparse(queries: int, smallest: float = 1.0) -> tuple[Stage, ...]:
    return (
        Stage(searcher=SparseRS(queries=queries, at_once=4), smallest=smallest, only=Needs.GRADIENT, on=(L0, L1)),
        Stage(searcher=PatchRS(queries=queries, at_once=4), smallest=smallest, only=Needs.GRADIENT, on=(Patch,)),
    )


def _by_moves(effort: int) -> tuple[Stage, ...]:
    """Return stages for discrete threats; gradients add what moves did not find."""
    return (
        Stage(searcher=Enumeration(queries=256 * effort, at_once=32), on=(Discrete,)),
        Stage(searcher=GreedyMoves(queries=1000 * effort, at_once=50, sweeps=3, focus=0.5), on=(Edits, Append, Insert)),
        Stage(searcher=GreedyMoves(queries=600 * effort, at_once=50), on=(Discrete,)),
        Stage(searcher=RandomMoves(queries=600 * effort), on=(Discrete,)),
        Stage(searcher=RandomDraws(queries=100 * effort, at_once=50), on=(Discrete,)),
        Stage(searcher=PGD(steps=10 * effort), rounds=2 * effort, on=(Discrete,)),
    )


def _rest(effort: int) -> tuple[Stage, ...]:
    few = (Needs.SCORES, Needs.LABELS) if effort == 1 else ()  # the other cascades bring their own draws
    return (
        Stage(searcher=SpatialGrid(), on=(Spatial,)),
        Stage(searcher=SpatialGradient(), on=(Spatial,)),
        Stage(searcher=PGD(steps=20 * effort), on=(Unbounded,)),
        Stage(searcher=RandomDraws(queries=50 * effort), on=(Spatial, Unbounded)),
        Stage(searcher=RandomDraws(queries=50 * effort), on=(L0, L1, Patch), only=Needs.LABELS),
        Stage(searcher=Square(queries=1000 * effort), on=(Linf, Euclidean, Unbounded), only=Needs.SCORES),
        Stage(searcher=SparseRS(queries=1000 * effort), only=Needs.SCORES, on=(L0, L1)),
        Stage(searcher=PatchRS(queries=1000 * effort), only=Needs.SCORES, on=(Patch,)),
        Stage(searcher=HopSkipJump(queries=1000 * effort), only=Needs.LABELS),
        *(
            Stage(searcher=CoherentMoves(queries=16, at_once=16), on=(Linf, Euclidean, L1), only=gives)
            for gives in (Needs.SCORES, Needs.LABELS)
        ),
        *(Stage(searcher=_COVER, features=_FEW, on=(Linf, Euclidean, L1, L0), only=gives) for gives in few),
    )


def _of_scores(effort: int) -> tuple[Stage, ...]:
    """Return stages for the audit of a model that gives scores alone.

    Labels do not share the blind spots of scores, and other draws along scores find about half of what one search left.
    """
    return (
        Stage(searcher=Square(queries=1000 * effort), only=Needs.SCORES, on=(Linf, Euclidean)),
        Stage(searcher=HopSkipJump(queries=1000), only=Needs.SCORES, on=(Linf, Euclidean)),
    )


# For a threat of a user's own, with a region, a projection and a size: steps along gradients, and draws.
# Its proposals may be few points in a row of numbers, along which rounding leaves no gradient.
def _any(effort: int) -> tuple[Stage, ...]:
    return (
        Stage(searcher=PGD(steps=20), rounds=1 + effort),
        Stage(searcher=CoherentMoves(queries=8, at_once=8)),
        Stage(searcher=SpreadDraws(queries=900 * effort), only=Needs.GRADIENT),
        Stage(searcher=SpreadDraws(queries=900 * effort), only=Needs.SCORES),
        Stage(searcher=RandomDraws(queries=200 * effort, at_once=50)),
    )


# What no search above sees: another branch behind a gate, a mask or a router.
_COHERENT = Stage(searcher=CoherentStarts(), only=Needs.GRADIENT)
# Where such a branch shows, all of it is looked for.
_BRANCHES = Stage(searcher=CoherentStarts(starts=23, kept=6, steps_each=16), only=Needs.GRADIENT, earned=True)
# At half of the price, for an audit of many samples.
_SHORT = (
    Stage(searcher=CoherentStarts(starts=10, kept=1, steps_each=7), only=Needs.GRADIENT, on=(Linf, Euclidean)),
    Stage(searcher=HopSkipJump(queries=150), only=Needs.SCORES, on=(Linf, Euclidean)),
)
# A few moves of every sample, and all of them where these break any. Masks and several labels are searched by pixel or
# label: there moves are left to the audit.
_SOME = Stage(
    searcher=CoherentMoves(queries=4, at_once=4, drawn=True),
    only=Needs.GRADIENT,
    on=(Linf, Euclidean),
    of_classes=True,
)
_ALL = replace(_SOME, searcher=CoherentMoves(queries=24, at_once=24), paid=True)
# A branch in which a sample is hardly right still is one that a move has reached.
_REACHED = Stage(
    searcher=CoherentStarts(kept=2, steps_each=8),
    smallest=0.03,
    go_on=0.2,
    only=Needs.GRADIENT,
    on=(Linf, Euclidean),
    of_classes=True,
)

FAST = Cascade(
    name="fast",
    otherwise=_any(1),
    stages=(
        *_by_moves(1),
        Stage(searcher=_QUICK),
        Stage(searcher=_FROM_MOVES, on=(Linf,)),
        Stage(searcher=ODIMargin(start_steps=0, steps_after=8, coherent=0.5), on=(Euclidean,)),
        _SOME,
        _ALL,
        _REACHED,
        Stage(searcher=EachWay(ways=4, steps_each=3)),
        Stage(searcher=_INWARD, rounds=2, on=(Euclidean,)),
        Stage(searcher=FAB(steps=10), smallest=0.04, on=(Linf,)),
        Stage(
            searcher=Square(queries=100, at_once=4), smallest=0.08, only=Needs.GRADIENT, on=(Linf, Euclidean, Unbounded)
        ),
        Stage(searcher=SparseRS(queries=80, at_once=4), only=Needs.GRADIENT, on=(L1,)),
        Stage(searcher=APGD(steps=40, loss="margin"), on=(L1,)),
        Stage(searcher=SparseRS(queries=120, at_once=4), only=Needs.GRADIENT, on=(L0,)),
        Stage(searcher=SigmaZero(steps=26), on=(L0,)),
        Stage(searcher=PatchRS(queries=120, at_once=4), only=Needs.GRADIENT, on=(Patch,)),
        Stage(searcher=PatchGradient(places=32, kept=3), on=(Patch,)),
        *_rest(1),
    ),
    audit=(
        Stage(searcher=Enumeration(queries=256, at_once=32), on=(Discrete,)),
        Stage(searcher=Enumeration(queries=10_000, part=2000), on=(Discrete,)),
        Stage(searcher=GreedyMoves(queries=1500, beam=6, sweeps=6), on=(Discrete,)),
        Stage(searcher=RandomMoves(queries=1000), on=(Discrete,)),
        Stage(searcher=replace(_BACK, start_steps=1, steps_after=12, step_scale=0.5), on=(Linf,)),
        Stage(searcher=_INWARD, on=(Euclidean,)),
        Stage(searcher=Square(queries=60, at_once=4), only=Needs.GRADIENT, on=(Linf, Euclidean)),
        _COHERENT,
        _BRANCHES,
        Stage(searcher=SparseRS(queries=400, at_once=4), only=Needs.GRADIENT, on=(L0, L1)),
        Stage(searcher=SigmaZero(steps=40), on=(L0,)),
        Stage(searcher=APGD(steps=20, loss="margin"), on=(L1,)),
        Stage(searcher=PatchRS(queries=400, at_once=4), only=Needs.GRADIENT, on=(Patch,)),
        Stage(searcher=PatchGradient(places=32, kept=3), on=(Patch,)),
        *_of_scores(1),
        Stage(searcher=_FACES, rounds=2, features=_FEW, only=Needs.GRADIENT),
        Stage(searcher=RandomDraws(queries=400, at_once=50), features=_FEW, only=Needs.GRADIENT),
    ),
    audit_of_many=_SHORT,
)
"""For pull requests: a few points weaker than the reference, at a fraction of its cost."""

STANDARD = Cascade(
    name="standard",
    otherwise=_any(3),
    stages=(
        *_by_moves(3),
        Stage(searcher=Enumeration(queries=100_000), on=(Discrete,)),
        Stage(searcher=_QUICK, on=(Linf,)),
        Stage(searcher=_FROM_MOVES, on=(Linf,)),
        Stage(searcher=_QUICK, rounds=3, on=(Euclidean,)),
        _SOME,
        _ALL,
        _REACHED,
        # For answers that are no single class.
        Stage(searcher=EachWay(steps_each=6)),
        Stage(searcher=APGD(steps=60, loss="segpgd"), on=(Linf, Euclidean)),
        Stage(searcher=APGD(steps=60, loss="ce_right"), on=(Linf, Euclidean)),
        Stage(searcher=_INWARD, rounds=3, on=(Euclidean,)),
        Stage(searcher=_inward(40, 1.0), rounds=2, on=(Euclidean,)),
        Stage(searcher=_inward(60, 0.5), rounds=6, smallest=0.12, on=(Euclidean,)),
        *(Stage(searcher=_towards(rank, 10), smallest=0.25, on=(Linf,)) for rank in range(3)),
        Stage(searcher=_WIDE_BACK, smallest=0.12, on=(Linf,)),
        Stage(searcher=FAB(steps=20), smallest=0.06, on=(Linf,)),
        Stage(searcher=Square(queries=200, at_once=4), smallest=0.1, only=Needs.GRADIENT, on=(Linf,)),
        Stage(searcher=_WIDE_BACK, rounds=3, together=True, smallest=0.12, on=(Linf,), earned=True),
        Stage(searcher=_WIDE, rounds=3, together=True, smallest=0.12, on=(Linf,), earned=True),
        Stage(searcher=_LONG, rounds=6, together=True, smallest=0.06, on=(Linf,), earned=True, near=0.8),
        *(Stage(searcher=_towards(rank, 40), smallest=0.12, on=(Linf,), earned=True) for rank in range(2)),
        Stage(searcher=_FACES, rounds=4, together=True, smallest=0.03, earned=True),
        replace(_MORE, searcher=Square(queries=800, at_once=8), smallest=0.05),
        replace(_MORE, searcher=Square(queries=3500, at_once=14), smallest=0.03, go_on=0.75),
        Stage(searcher=_SMALL, rounds=2, together=True, smallest=0.08, on=(Euclidean,)),
        Stage(searcher=_other(1), rounds=2, together=True, smallest=0.05, on=(Euclidean,)),
        Stage(searcher=_other(2), rounds=2, together=True, smallest=0.05, on=(Euclidean,)),
        Stage(searcher=_SMALL, rounds=2, together=True, smallest=0.03, on=(Euclidean,)),
        Stage(searcher=Square(queries=500, at_once=5), smallest=0.05, only=Needs.GRADIENT, on=(Euclidean,)),
        Stage(searcher=APGD(steps=40, loss="margin"), rounds=2, on=(L1,)),
        *_sparse(200),
        Stage(searcher=SigmaZero(steps=80), on=(L0,)),
        Stage(searcher=FMN(steps=30), on=(L1,)),
        Stage(searcher=PatchGradient(), on=(Patch,)),
        *_sparse(1000, smallest=0.1),
        *_few_features(1),
        *_rest(2),
    ),
    audit=(
        Stage(searcher=CoherentMoves(queries=1), only=Needs.GRADIENT),
        replace(_COHERENT, searcher=CoherentStarts(kept=2, steps_each=8)),
        _BRANCHES,
        *_of_scores(2),
    ),
    audit_of_many=_SHORT,
)
"""The reference: at least AutoAttack's strength."""

THOROUGH = Cascade(
    name="thorough",
    stages=(
        *STANDARD.stages,
        *_few_features(2),
        Stage(searcher=ODIMargin(), rounds=10),
        Stage(searcher=APGD(steps=100, loss="ce")),
        *(Stage(searcher=_towards(rank, 100)) for rank in range(9)),
        *(Stage(searcher=_other(rank), rounds=2) for rank in range(1, 9)),
        Stage(searcher=FAB(steps=100)),
        *(Stage(searcher=FAB(steps=60, target_rank=rank)) for rank in range(9)),
        Stage(searcher=_inward(100, 0.5), rounds=5, on=(Euclidean,)),
        Stage(searcher=SigmaZero(steps=300), on=(L0,)),
        Stage(searcher=PatchGradient(tries=12, kept=8), on=(Patch,)),
        Stage(searcher=Square(queries=5000)),
        Stage(searcher=SparseRS(queries=5000), on=(L0, L1)),
        Stage(searcher=PatchRS(queries=5000), on=(Patch,)),
        Stage(searcher=HopSkipJump(queries=5000), only=Needs.LABELS),
    ),
)
"""For the night: the reference, then more restarts, nine target classes, and queries for all survivors."""

AUTOATTACK = Cascade(
    name="autoattack",
    stages=(
        Stage(searcher=APGD(steps=100, loss="ce"), on=(Linf, Euclidean)),
        Stage(searcher=APGD(steps=100, loss="ce"), rounds=5, on=(L1,)),
        *(
            Stage(searcher=_towards(rank, 100), on=(Linf, Euclidean, L1) if rank < 5 else (Linf, Euclidean))
            for rank in range(9)
        ),
        *(Stage(searcher=FAB(steps=100, target_rank=rank)) for rank in range(9)),
        Stage(searcher=Square(queries=5000), on=(Linf, Euclidean, L1)),
    ),
)
"""The recipe of published numbers, stage by stage (Croce and Hein, ICML 2020, section 6; L1: ICML 2021)."""

CASCADES: dict[str, Cascade] = {cascade.name: cascade for cascade in (FAST, STANDARD, THOROUGH, AUTOATTACK)}
"""The cascades of robustest, by name."""

MINIMUM: Mapping[str, Cascade] = {
    "l1": Cascade(
        name="minimum-l1",
        stages=(Stage(searcher=FMN(gamma=0.2, random_start=True)), Stage(searcher=FAB())),
    ),
    "l2": Cascade(
        name="minimum-l2",
        stages=(
            Stage(searcher=DDN.outside_in(steps=40), rounds=2),
            Stage(searcher=ALMA()),
            Stage(searcher=FAB(steps=40)),
        ),
    ),
    "linf": Cascade(
        name="minimum-linf",
        stages=(Stage(searcher=FMN(gamma=0.1, random_start=True)), Stage(searcher=FAB())),
    ),
}
"""Searches for the smallest perturbation by norm: every stage on every sample, the smallest result is kept."""
