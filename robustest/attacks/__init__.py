"""Attacks by name; one file each. `protocol` defines an attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from robustest import extensions
from robustest.attacks.alma import ALMA as ALMA
from robustest.attacks.apgd import APGD as APGD
from robustest.attacks.cascades import CASCADES as CASCADES
from robustest.attacks.ddn import DDN as DDN
from robustest.attacks.each_way import EachWay as EachWay
from robustest.attacks.eot import EOT as EOT
from robustest.attacks.fab import FAB as FAB
from robustest.attacks.fgsm import FGSM as FGSM
from robustest.attacks.fmn import FMN as FMN
from robustest.attacks.hop_skip_jump import HopSkipJump as HopSkipJump
from robustest.attacks.moves import Enumeration as Enumeration
from robustest.attacks.moves import GreedyMoves as GreedyMoves
from robustest.attacks.moves import RandomMoves as RandomMoves
from robustest.attacks.odi import ODIMargin as ODIMargin
from robustest.attacks.patch_gradient import PatchGradient as PatchGradient
from robustest.attacks.patch_rs import PatchRS as PatchRS
from robustest.attacks.pgd import PGD as PGD
from robustest.attacks.protocol import Cascade as Cascade
from robustest.attacks.protocol import Evaluation as Evaluation
from robustest.attacks.protocol import Problem as Problem
from robustest.attacks.protocol import Searcher as Searcher
from robustest.attacks.protocol import Stage as Stage
from robustest.attacks.protocol import at_once as at_once
from robustest.attacks.protocol import confined as confined
from robustest.attacks.protocol import decides as decides
from robustest.attacks.protocol import draws_of as draws_of
from robustest.attacks.protocol import enough_queries as enough_queries
from robustest.attacks.protocol import passes as passes
from robustest.attacks.protocol import searches as searches
from robustest.attacks.protocol import suits as suits
from robustest.attacks.protocol import supports as supports
from robustest.attacks.random_draws import RandomDraws as RandomDraws
from robustest.attacks.sigma_zero import SigmaZero as SigmaZero
from robustest.attacks.sparse_rs import SparseRS as SparseRS
from robustest.attacks.spatial import SpatialGradient as SpatialGradient
from robustest.attacks.spatial import SpatialGrid as SpatialGrid
from robustest.attacks.spsa import SPSA as SPSA
from robustest.attacks.square import Square as Square
from robustest.errors import ConfigError, PackError, expected
from robustest.models.classifier import Needs as Needs
from robustest.threats import Threat

_MAKERS: tuple[Callable[[], Searcher], ...] = (
    ALMA,
    APGD,
    DDN,
    FAB,
    FGSM,
    FMN,
    PGD,
    SPSA,
    Enumeration,
    GreedyMoves,
    HopSkipJump,
    ODIMargin,
    PatchGradient,
    PatchRS,
    RandomDraws,
    RandomMoves,
    SigmaZero,
    SparseRS,
    SpatialGradient,
    SpatialGrid,
    Square,
    DDN.outside_in,
    partial(APGD, loss="dlr"),
    partial(APGD, loss="margin"),
    partial(APGD, loss="targeted_dlr"),
    partial(EOT, PGD()),
    partial(FAB, target_rank=0),
    partial(ODIMargin, euclidean=True),
    partial(ODIMargin, target_rank=1),
)

ATTACKS: dict[str, Callable[[], Searcher]] = {make().name: make for make in _MAKERS}
"""The attacks of robustest, by name."""


def as_attack(attack: str | Searcher | Cascade, threat: Threat | None = None) -> Cascade:
    """Return the cascade for a name, a searcher or a cascade; names are those of robustest, then of packs.

    Args:
        threat: adds the stages that packs have for it to a cascade of robustest.

    Raises:
        UnknownNameError: no attack has this name.
        ConfigError: neither a name nor an attack.
        PackError: a pack is broken.
    """
    if isinstance(attack, Cascade):
        return attack
    if isinstance(attack, str):
        if attack in ATTACKS:
            return as_attack(ATTACKS[attack]())
        if attack not in CASCADES:
            name, attack = attack, extensions.made("robustest_attacks", "attack", attack, [*CASCADES, *ATTACKS])
            if isinstance(attack, type) or not isinstance(attack, (Cascade, Searcher)):
                raise PackError(expected(f"the attack {name!r} of a pack to be a searcher object or a cascade", attack))
            return as_attack(attack)
        cascade = CASCADES[attack]
        if threat is None:
            return cascade
        added = extensions.all_of("robustest_searches", Stage, threat=threat)
        # The name says whose stages ran: a verdict must not depend silently on installed packs.
        label = " + ".join([cascade.name, *dict.fromkeys(pack for pack, _ in added)])
        return replace(cascade, name=label, stages=(*cascade.stages, *(stage for _, stage in added)))
    if isinstance(attack, type) or not isinstance(attack, Searcher):
        mend = 'For example "pgd" or PGD(steps=100).'
        raise ConfigError(expected("attack to be a name, a searcher object or a cascade", attack, mend))
    return Cascade(name=attack.name, stages=(Stage(searcher=attack),))
