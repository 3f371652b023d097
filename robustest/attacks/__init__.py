"""Attacks by name; one file each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points

from robustest.attacks.cascade import Cascade as Cascade
from robustest.attacks.cascade import Stage as Stage
from robustest.attacks.cascades import CASCADES as CASCADES
from robustest.attacks.eot import EOT as EOT
from robustest.attacks.gradient.alma import ALMA as ALMA
from robustest.attacks.gradient.apgd import APGD as APGD
from robustest.attacks.gradient.ddn import DDN as DDN
from robustest.attacks.gradient.each_way import EachWay as EachWay
from robustest.attacks.gradient.fab import FAB as FAB
from robustest.attacks.gradient.fgsm import FGSM as FGSM
from robustest.attacks.gradient.fmn import FMN as FMN
from robustest.attacks.gradient.odi import ODIMargin as ODIMargin
from robustest.attacks.gradient.patch import PatchGradient as PatchGradient
from robustest.attacks.gradient.pgd import PGD as PGD
from robustest.attacks.gradient.sigma_zero import SigmaZero as SigmaZero
from robustest.attacks.gradient.spatial import SpatialGradient as SpatialGradient
from robustest.attacks.gradient.spatial import SpatialGrid as SpatialGrid
from robustest.attacks.protocol import Evaluation as Evaluation
from robustest.attacks.protocol import Problem as Problem
from robustest.attacks.protocol import Searcher as Searcher
from robustest.attacks.protocol import at_once as at_once
from robustest.attacks.protocol import confined as confined
from robustest.attacks.protocol import draws_of as draws_of
from robustest.attacks.protocol import enough_queries as enough_queries
from robustest.attacks.protocol import passes as passes
from robustest.attacks.protocol import searches as searches
from robustest.attacks.protocol import suits as suits
from robustest.attacks.protocol import supports as supports
from robustest.attacks.queries.draws import RandomDraws as RandomDraws
from robustest.attacks.queries.hop_skip_jump import HopSkipJump as HopSkipJump
from robustest.attacks.queries.patch_rs import PatchRS as PatchRS
from robustest.attacks.queries.sparse_rs import SparseRS as SparseRS
from robustest.attacks.queries.spsa import SPSA as SPSA
from robustest.attacks.queries.square import Square as Square
from robustest.errors import ConfigError, expected, unknown
from robustest.models.needs import Needs as Needs

_MAKERS: tuple[Callable[[], Searcher], ...] = (
    ALMA,
    APGD,
    DDN,
    FAB,
    FGSM,
    FMN,
    PGD,
    SPSA,
    HopSkipJump,
    ODIMargin,
    PatchGradient,
    PatchRS,
    RandomDraws,
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
"""The attacks robustest brings, by name."""


def as_attack(attack: str | Searcher | Cascade) -> Cascade:
    """The cascade that a name, a searcher or a cascade stands for; a lone searcher is a cascade of one.

    Names are looked up among our own cascades and attacks, then in the entry-point group `robustest.attacks`.

    Raises:
        UnknownNameError: no attack has this name.
        ConfigError: neither a name nor an attack.
    """
    if isinstance(attack, Cascade):
        return attack
    if isinstance(attack, str):
        return CASCADES[attack] if attack in CASCADES else _alone(_named(attack))
    if isinstance(attack, type) or not isinstance(attack, Searcher):
        mend = 'For example "pgd" or PGD(steps=100).'
        raise ConfigError(expected("attack to be a name, a searcher object or a cascade", attack, mend))
    return _alone(attack)


def _alone(searcher: Searcher) -> Cascade:
    return Cascade(name=searcher.name, stages=(Stage(searcher=searcher),))


def _named(name: str) -> Searcher:
    if name in ATTACKS:
        return ATTACKS[name]()
    plugins = {point.name: point for point in entry_points(group="robustest.attacks")}
    if name not in plugins:
        raise unknown("attack", name, [*CASCADES, *ATTACKS, *plugins])
    loaded: Searcher = plugins[name].load()()
    return loaded
