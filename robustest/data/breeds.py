"""Splits of superclasses into subclasses seen in training and subclasses seen first in testing.

Santurkar, Tsipras and Madry (ICLR 2021, "BREEDS: Benchmarks for Subpopulation Shift", section 3 and appendix A):
superclasses are the nodes of a class hierarchy at one level, and each one's subclasses are divided between a source
and a target domain. The draws are those of numpy's `RandomState`, whose streams numpy keeps for ever, so that the
published seed gives the published splits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robustest.checks import checked_whole
from robustest.data.hierarchies import ClassTree
from robustest.errors import ConfigError, DataError, expected, unknown

Kind = Literal["good", "bad", "rand"]


@dataclass(frozen=True, slots=True)
class Preset:
    """A published benchmark.

    Attributes:
        superclasses: how many superclasses the BREEDS hierarchy gives.
        level: their level.
        subclasses: subclasses of each, both domains together.
        ancestor: WordNet id of the node they stand below; None for all.
    """

    superclasses: int
    level: int
    subclasses: int
    ancestor: str | None


BREEDS: Mapping[str, Preset] = {
    "entity-13": Preset(13, 3, 20, None),
    "entity-30": Preset(30, 4, 8, None),
    "living-17": Preset(17, 5, 4, "n00004258"),
    "non-living-26": Preset(26, 5, 4, "n00021939"),
}
"""The benchmarks of the paper (table 2), for the hierarchy that comes with it; their seed is 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreedsSplit:
    """Superclasses, each with the data set's classes that its two domains are made of.

    Attributes:
        superclasses: ids of the superclasses; their positions are the labels a model is trained on.
        source, target: class indices of the data set, by superclass; target is empty where nothing is split.
        names: what people call the superclasses, and, by class index, the subclasses.

    Raises:
        ConfigError: as many superclasses as lists of subclasses are not there, or a class is in two of them.
    """

    superclasses: tuple[str, ...]
    source: tuple[tuple[int, ...], ...]
    target: tuple[tuple[int, ...], ...] = ()
    names: Mapping[str | int, str]

    def __post_init__(self) -> None:
        sizes = {len(self.source), *([len(self.target)] if self.target else [])}
        if sizes != {len(self.superclasses)} or not self.superclasses:
            raise ConfigError(expected("as many lists of subclasses as superclasses, one or more", sizes))
        classes = [index for domain in (self.source, self.target) for under in domain for index in under]
        if len(set(classes)) != len(classes):
            raise ConfigError("Expected every class in one superclass and one domain but one is in two.")

    def name(self, which: str | int) -> str:
        """What people call a superclass (by id) or a subclass (by class index)."""
        return self.names.get(which, str(which))

    def table(self, domain: Literal["source", "target"]) -> dict[int, int]:
        """The superclass label of each class index of a domain."""
        under = self.source if domain == "source" else self.target
        return {index: label for label, indices in enumerate(under) for index in indices}


def breeds_split(
    tree: ClassTree,
    preset: str | None = None,
    *,
    level: int | None = None,
    subclasses: int | None = None,
    ancestor: str | None = None,
    split: Kind | None = None,
    balanced: bool = True,
    seed: int = 2,
) -> BreedsSplit:
    """Superclasses of a class tree, and which of their classes are seen in training and which later.

    Superclasses are the nodes at a level (longest path from the root) with enough classes below them. The classes
    below the first fork in a superclass are divided by its branches: "good" halves each branch, so that both domains
    know it; "bad" gives whole branches, the largest first, to the emptier domain; "rand" draws classes and halves
    them. Ids are sorted wherever an order could matter.

    Args:
        tree: the hierarchy.
        preset: one of `BREEDS`; it says level, subclasses and ancestor.
        level: the level of the superclasses; needed without a preset.
        subclasses: classes of each superclass, both domains together; even where they are split. None takes the
            fewest that any node of the level has (two or more).
        ancestor: a node that the superclasses stand below.
        split: "good", "bad" or "rand"; None draws classes and makes one domain.
        balanced: whether all superclasses get as many subclasses; else each gets all that it has.
        seed: seeds the draws, 0..2**32 - 1.

    Raises:
        ConfigError: an argument is missing, unknown or out of range.
        DataError: no superclass has enough classes, or the hierarchy is not the one a preset was made for.
    """
    recipe = _recipe(preset, level, subclasses, ancestor)
    if split is not None and split not in ("good", "bad", "rand"):
        raise unknown("split", split, ("good", "bad", "rand"))
    _check_numbers(recipe["level"], recipe["subclasses"], seed, halved=split is not None)
    nodes = tree.at_level(recipe["level"], ancestor=recipe["ancestor"])
    counts = {node: len(tree.leaves(node)) for node in nodes}
    if not nodes:
        raise DataError(f"Expected nodes at level {recipe['level']} of the class tree but there are none.")
    wanted = recipe["subclasses"] or _fewest(min(counts.values()), split, balanced)
    chosen = [node for node in nodes if counts[node] >= wanted]
    if preset is not None and len(chosen) != BREEDS[preset].superclasses:
        raise DataError(
            f"Expected the {BREEDS[preset].superclasses} superclasses of {preset} but this hierarchy has {len(chosen)} "
            f"with {wanted} classes. Presets are for the hierarchy that BREEDS published; give level= and subclasses=."
        )
    if not chosen:
        raise DataError(f"Expected a node at level {recipe['level']} with {wanted} classes but none has as many.")
    random = np.random.RandomState(seed)  # one stream through all superclasses, in their order
    parts = [_divide(tree, node, wanted if balanced else None, split, random) for node in chosen]
    return BreedsSplit(
        superclasses=tuple(chosen),
        source=tuple(tuple(tree.classes[leaf] for leaf in source) for source, _ in parts),
        target=() if split is None else tuple(tuple(tree.classes[leaf] for leaf in target) for _, target in parts),
        names=dict(_names(tree, chosen, parts)),
    )


def _recipe(preset: str | None, level: int | None, subclasses: int | None, ancestor: str | None) -> dict[str, Any]:
    if preset is None:
        if level is None:
            raise ConfigError("Expected level= or the name of a preset but got neither.")
        return {"level": level, "subclasses": subclasses, "ancestor": ancestor}
    if preset not in BREEDS:
        raise unknown("BREEDS preset", preset, BREEDS)
    if (level, subclasses, ancestor) != (None, None, None):
        raise ConfigError(f"Expected {preset} alone but got level=, subclasses= or ancestor= with it.")
    known = BREEDS[preset]
    return {"level": known.level, "subclasses": known.subclasses, "ancestor": known.ancestor}


def _check_numbers(level: object, subclasses: object, seed: object, *, halved: bool) -> None:
    checked_whole("level", level, 0)
    if subclasses is not None and (type(subclasses) is not int or subclasses < 1):
        raise ConfigError(expected("subclasses to be a whole number >= 1", subclasses))
    if halved and isinstance(subclasses, int) and subclasses % 2:
        raise ConfigError(expected("an even number of subclasses, as they are halved", subclasses))
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise ConfigError(expected("seed to be a whole number in 0..2**32 - 1", seed))


def _fewest(least: int, split: Kind | None, balanced: bool) -> int:
    if not balanced:
        return 1 if split is None else 2
    return max(2, least - least % 2)


def _divide(
    tree: ClassTree, node: str, wanted: int | None, split: Kind | None, random: np.random.RandomState
) -> tuple[list[str], list[str]]:
    """Source and target leaves of a superclass; `wanted` of them, or as many as there are."""
    leaves = tree.leaves(node)
    if split is None:
        return _draw(leaves, wanted or len(leaves), random), []
    half = (wanted or len(leaves)) // 2
    if split == "rand":
        drawn = _draw(leaves, 2 * half, random)
        return drawn[:half], drawn[half:]
    branches = _branches(tree, node)
    return _halved(branches, half) if split == "good" else _whole(branches, half)


def _draw(leaves: list[str], n: int, random: np.random.RandomState) -> list[str]:
    order: NDArray[np.int64] = random.permutation(len(leaves))[:n]
    return [leaves[i] for i in order]


def _branches(tree: ClassTree, node: str) -> list[list[str]]:
    """The leaves of each branch below the first fork, most leaves first; a leaf of two branches is in the first."""
    under = tree.children[node]
    while len(under) == 1:
        under = tree.children[under[0]]
    taken: set[str] = set()
    branches = []
    for child in under:
        branches.append([leaf for leaf in tree.leaves(child) if leaf not in taken])
        taken.update(branches[-1])
    return sorted(branches, key=len, reverse=True)


def _halved(branches: list[list[str]], half: int) -> tuple[list[str], list[str]]:
    """Each branch in both domains, its odd leaf in the target; single leaves fill the source first."""
    source: list[str] = []
    target: list[str] = []
    spare: list[str] = []
    for leaves in branches:
        room = half - len(source)
        cut = min(room, 1 if len(leaves) == 1 else len(leaves) // 2)
        end = cut + half - len(target)
        source, target = source + leaves[:cut], target + leaves[cut:end]
        spare += leaves[end:]
    return _filled(source, spare, half), target


def _whole(branches: list[list[str]], half: int) -> tuple[list[str], list[str]]:
    """Each branch in the emptier domain, the source where they are even; what finds no room fills what is left."""
    domains: tuple[list[str], list[str]] = ([], [])
    spare: list[str] = []
    for leaves in branches:
        emptier = domains[0] if len(domains[0]) <= len(domains[1]) else domains[1]
        room = half - len(emptier)
        emptier += leaves[:room]
        spare += leaves[room:]
    source = _filled(domains[0], spare, half)
    return source, _filled(domains[1], [leaf for leaf in spare if leaf not in source], half)


def _filled(domain: list[str], spare: list[str], half: int) -> list[str]:
    return domain + spare[: half - len(domain)]


def _names(
    tree: ClassTree, chosen: list[str], parts: list[tuple[list[str], list[str]]]
) -> Iterator[tuple[str | int, str]]:
    for node, (source, target) in zip(chosen, parts, strict=True):
        yield node, tree.name(node)
        yield from ((tree.classes[leaf], tree.name(leaf)) for leaf in (*source, *target))
