"""Attacks by name; one file each."""

from __future__ import annotations

from importlib.metadata import entry_points

from robustest.attacks.fgsm import FGSM as FGSM
from robustest.attacks.pgd import PGD as PGD
from robustest.attacks.protocol import Evaluation as Evaluation
from robustest.attacks.protocol import Needs as Needs
from robustest.attacks.protocol import Problem as Problem
from robustest.attacks.protocol import Searcher as Searcher
from robustest.errors import ConfigError, expected, unknown

ATTACKS: dict[str, type[Searcher]] = {attack.name: attack for attack in (FGSM, PGD)}
"""The attacks robustest brings, by name."""


def as_searcher(attack: str | Searcher) -> Searcher:
    """The searcher that a name or an attack object stands for.

    Names are looked up among our own attacks, then in the entry-point group `robustest.attacks`.

    Raises:
        UnknownNameError: no attack has this name.
        ConfigError: neither a name nor a searcher.
    """
    if isinstance(attack, str):
        if attack in ATTACKS:
            return ATTACKS[attack]()
        plugins = {point.name: point for point in entry_points(group="robustest.attacks")}
        if attack not in plugins:
            raise unknown("attack", attack, [*ATTACKS, *plugins])
        loaded: Searcher = plugins[attack].load()()
        return loaded
    if isinstance(attack, type) or not isinstance(attack, Searcher):
        raise ConfigError(
            expected("attack to be a name or a searcher object", attack, 'For example "pgd" or PGD(steps=100).')
        )
    return attack
