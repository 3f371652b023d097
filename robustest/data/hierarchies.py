"""Class hierarchies, and splits of superclasses into subclasses for training and for testing."""

# `breeds_split` follows Santurkar, Tsipras and Madry (ICLR 2021, "BREEDS: Benchmarks for Subpopulation Shift", section
# 3 and appendix A):
#
# 1. Superclasses are the nodes at one level of the hierarchy with enough classes below them.
# 2. The classes of each are divided between a source and a target domain.
# 3. Draws are those of numpy's `RandomState`, whose streams are fixed, so that the published seed gives the published
#    splits.

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from robustest.checks import checked_whole, require
from robustest.data.samples import Samples, as_samples
from robustest.errors import ConfigError, DataError, expected, unknown

CLASSES_FILE, EDGES_FILE, NAMES_FILE = "dataset_class_info.json", "class_hierarchy.txt", "node_names.txt"
"""The files of a WordNet hierarchy, as the BREEDS benchmarks name them."""


@dataclass(frozen=True, slots=True)
class ClassTree:
    """A hierarchy over the classes of a data set; a node may be below several others.

    Build it with `from_dict`, `from_json`, `from_edges` or `from_wordnet`, which check it.
    """

    root: str  # the node above all others
    children: Mapping[str, tuple[str, ...]]  # the sorted nodes below each inner node; every path down ends at a class
    classes: Mapping[str, int]  # the data set's class index, >= 0, of each leaf
    names: Mapping[str, str] = field(default_factory=dict)  # readable names of nodes; other nodes have their ids only
    missing: tuple[str, ...] = ()  # classes of the data set without a place in the hierarchy

    @classmethod
    def from_dict(cls, nested: Mapping[str, object], *, classes: Sequence[str] | None = None) -> ClassTree:
        """Return a tree from nested dicts, e.g. `{"dog": {"hound": ["beagle", "basset"], "toy": ["pug"]}}`.

        Keys of the outermost dict are at level 1, below a node called "root". Below a node is a dict of nodes; a list
        of classes; or the class's index in the data set, which makes the node itself a class.

        Args:
            nested: the dict; every name in it appears once.
            classes: names of the data set's classes in the order of their indices; None numbers the classes without an
                index in the order of writing.

        Raises:
            DataError: a name appears twice, a class has no index or one that is taken, or the tree is empty.
        """
        if not isinstance(nested, Mapping):
            raise DataError(expected("a class tree as nested dicts", nested))
        edges = list(_edges("root", nested))
        parents = {"root": ""}
        for parent, child, _ in edges:
            if child in parents:
                raise DataError(
                    f"Expected every name once but {child!r} stands below {parents[child] or 'nothing'!r} and "
                    f"{parent!r}. Give them two names, or use ClassTree.from_edges for a node that is of both kinds."
                )
            parents[child] = parent
        indices = _indices(edges, classes)
        return cls.from_edges([(parent, child) for parent, child, _ in edges], indices, root="root")

    @classmethod
    def from_json(cls, path: str | Path, *, classes: Sequence[str] | None = None) -> ClassTree:
        """Return the tree of a JSON file in the form that `from_dict` takes."""
        nested = _read_json(Path(path))
        if not isinstance(nested, Mapping):
            raise DataError(expected(f"a class tree as nested objects in {Path(path).name}", nested))
        return cls.from_dict(nested, classes=classes)

    @classmethod
    def from_edges(
        cls,
        edges: Iterable[tuple[str, str]],
        classes: Mapping[str, int],
        *,
        names: Mapping[str, str] | None = None,
        root: str | None = None,
    ) -> ClassTree:
        """Return the part of a graph of "is a" edges that leads to classes.

        Args:
            edges: (node, node below it) pairs.
            classes: class indices of the nodes that are classes of the data set.
            names: readable names of nodes.
            root: the node above all others; None takes the only one without a node above.

        Raises:
            DataError: there is no such root or no single one, the edges go in a circle, two classes share an index, or
                a class is below another.
        """
        above: dict[str, set[str]] = {}
        below: dict[str, set[str]] = {}
        for parent, child in edges:
            above.setdefault(child, set()).add(parent)
            below.setdefault(parent, set()).add(child)
        goals = {node for node in classes if node in above or node in below}
        top = _root(root, above, goals)
        # Nodes below the root that lead to a class; WordNet has many that do not.
        inside = _reach({top}, below) & _reach(goals, above)
        placed = {node: index for node, index in classes.items() if node in inside}
        children = {node: tuple(sorted(below.get(node, set()) & inside)) for node in inside}
        tree = cls(
            top,
            {node: under for node, under in children.items() if under},
            placed,
            {node: name for node, name in (names or {}).items() if node in inside},
            tuple(sorted(set(classes) - set(placed))),
        )
        _check(tree)
        return tree

    @classmethod
    def from_wordnet(cls, folder: str | Path, *, root: str | None = None) -> ClassTree:
        """Return the hierarchy of a folder of WordNet files, such as ImageNet's in the BREEDS benchmarks.

        The files are `dataset_class_info.json` (a list of [class index, id, name]), `class_hierarchy.txt` (on each line
        an id and the id of a node below it) and `node_names.txt` (on each line an id, a tab and a name).

        Raises:
            DataError: a file is missing or misshapen, or the edges make no hierarchy (see `from_edges`).
        """
        home = Path(folder)
        rows = _read_json(home / CLASSES_FILE)
        if not isinstance(rows, list) or not all(isinstance(r, list) and len(r) == 3 for r in rows):
            raise DataError(f"Expected {CLASSES_FILE} to hold a list of [class index, id, name].")
        names = dict(_rows(home / NAMES_FILE, separator="\t"))
        names |= {str(node): str(name) for _, node, name in rows}
        edges = _rows(home / EDGES_FILE, separator=None)
        return cls.from_edges(edges, {str(node): int(index) for index, node, _ in rows}, names=names, root=root)

    def name(self, node: str) -> str:
        return self.names.get(node, node)

    def below(self, node: str) -> set[str]:
        """Return a node and all nodes below it; raise ConfigError for an unknown node."""
        if node not in self.children and node not in self.classes:
            raise ConfigError(expected("a node of the class tree", node))
        return _reach({node}, self.children)

    def leaves(self, node: str) -> list[str]:
        """Return the classes below a node, or the node itself if it is one; sorted by id."""
        return sorted(self.below(node) & self.classes.keys())

    def levels(self) -> dict[str, int]:
        """Return each node's level: the number of edges on the longest path to it from the root."""
        level = {self.root: 0}
        # In this order all paths to a node are known before its children.
        for node in _downwards(self.children):
            for child in self.children.get(node, ()):
                level[child] = max(level.get(child, 0), level[node] + 1)
        return level

    def at_level(self, level: int, *, ancestor: str | None = None) -> list[str]:
        """Return the nodes at a level (0 is the root) below an ancestor, or all, sorted by id."""
        within = self.below(self.root if ancestor is None else ancestor)
        return sorted(node for node, at in self.levels().items() if at == level and node in within)


def _edges(parent: str, under: object) -> Iterator[tuple[str, str, object]]:
    """Yield (node, node below, its contents): a class index or None for a class, else a dict."""
    if isinstance(under, Mapping):
        for child, rest in under.items():
            leaf = rest is None or (isinstance(rest, int) and not isinstance(rest, bool))
            yield parent, _node(child), rest if leaf else {}
            if not leaf:
                yield from _edges(_node(child), rest)
    elif isinstance(under, Sequence) and not isinstance(under, str):
        for child in under:
            yield parent, _node(child), None
    else:
        raise DataError(expected(f"a dict, a list of classes or a class index below {parent!r}", under))


def _node(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise DataError(expected("the name of a class", name))
    return name


def _indices(edges: Sequence[tuple[str, str, object]], classes: Sequence[str] | None) -> dict[str, int]:
    inner = {parent for parent, _, _ in edges}
    ends = [(child, rest) for _, child, rest in edges if child not in inner]
    if empty := [child for child, rest in ends if isinstance(rest, Mapping)]:
        raise DataError(f"Expected classes below {empty[0]!r} but it is empty. Write None for a class.")
    if classes is None:
        return {child: rest if isinstance(rest, int) else i for i, (child, rest) in enumerate(ends)}
    numbers = {name: i for i, name in enumerate(classes)}
    if strange := [child for child, rest in ends if not isinstance(rest, int) and child not in numbers]:
        raise DataError(f"Expected the tree to end at classes of the data set but {strange[0]!r} is not one of them.")
    return {child: rest if isinstance(rest, int) else numbers[child] for child, rest in ends}


def _root(root: str | None, above: Mapping[str, set[str]], classes: Collection[str]) -> str:
    if not classes:
        raise DataError("Expected a class tree with classes in it but found none.")
    lines = _reach(classes, above)
    tops = sorted(node for node in lines if not above.get(node))
    if root is None and len(tops) != 1:
        shown = ", ".join(tops[:5])
        raise DataError(f"Expected one node above all others but got {len(tops)}: {shown or 'a circle'}. Say root=...")
    if root is not None and root not in lines:
        raise DataError(expected("root to be a node above the classes", root))
    return tops[0] if root is None else root


def _reach(start: Collection[str], following: Mapping[str, Collection[str]]) -> set[str]:
    reached, todo = set(start), list(start)
    while todo:
        fresh = set(following.get(todo.pop(), ())) - reached
        reached |= fresh
        todo += fresh
    return reached


def _downwards(children: Mapping[str, Sequence[str]]) -> list[str]:
    try:
        return list(TopologicalSorter(children).static_order())[::-1]
    except CycleError as circle:
        raise DataError(
            f"Expected a hierarchy but its edges go in a circle, through {sorted(circle.args[1])[0]!r}."
        ) from None


def _check(tree: ClassTree) -> None:
    _downwards(tree.children)  # a later walk down a tree with a circle would never end
    if inner := sorted(tree.children.keys() & tree.classes.keys()):
        raise DataError(f"Expected classes at the ends of the tree but {inner[0]!r} has others below it.")
    owner: dict[int, str] = {}
    for node, index in tree.classes.items():
        if index < 0 or index in owner:
            raise DataError(expected(f"a class index of its own, >= 0, for {node!r}", index, "Is it given twice?"))
        owner[index] = node


def _read_json(path: Path) -> object:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"Expected JSON in {path.name} but got: {error}") from error


def _rows(path: Path, *, separator: str | None) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        parts = line.strip().split(separator)
        if len(parts) != 2:
            raise DataError(f"Expected two fields on line {number} of {path.name} but got {line.strip()!r}.")
        yield parts[0], parts[1]


def _text(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"Expected a file {path.name} in {path.parent.name or '.'!r} but there is none.")
    return path.read_text(encoding="utf-8")


Kind = Literal["good", "bad", "rand"]


@dataclass(frozen=True, slots=True)
class Preset:
    """A published benchmark."""

    superclasses: int  # number of superclasses
    level: int  # their level
    subclasses: int  # number of classes of each, both domains together
    ancestor: str | None  # WordNet id of the node above them; None for all


BREEDS: Mapping[str, Preset] = {
    "entity-13": Preset(13, 3, 20, None),
    "entity-30": Preset(30, 4, 8, None),
    "living-17": Preset(17, 5, 4, "n00004258"),
    "non-living-26": Preset(26, 5, 4, "n00021939"),
}
"""The benchmarks of the paper (table 2), for the hierarchy that comes with it; their seed is 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreedsSplit:
    """Superclasses, each with the data set's classes of its two domains.

    Raises:
        ConfigError: the numbers of superclasses and lists differ, or a class is in two lists.
    """

    superclasses: tuple[str, ...]  # their ids; the positions are the labels for training
    # class indices of the data set, by superclass; target is empty without a split
    source: tuple[tuple[int, ...], ...]
    target: tuple[tuple[int, ...], ...] = ()
    names: Mapping[str | int, str]  # readable names of superclasses, and of subclasses by class index

    def __post_init__(self) -> None:
        sizes = {len(self.source), *([len(self.target)] if self.target else [])}
        if sizes != {len(self.superclasses)} or not self.superclasses:
            raise ConfigError(expected("as many lists of subclasses as superclasses, one or more", sizes))
        classes = [index for domain in (self.source, self.target) for under in domain for index in under]
        if len(set(classes)) != len(classes):
            raise ConfigError("Expected every class in one superclass and one domain but one is in two.")

    def name(self, which: str | int) -> str:
        """Return the readable name of a superclass (by id) or a subclass (by class index)."""
        return self.names.get(which, str(which))

    def table(self, domain: Literal["source", "target"]) -> dict[int, int]:
        """Return the superclass label of each class index of a domain."""
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
    seed: int = 2,
) -> BreedsSplit:
    """Return superclasses of a class tree, with the classes for training and for testing.

    The classes of a superclass are divided by the branches below its first fork: "good" halves each branch, so that
    both domains know it; "bad" gives whole branches, the largest first, to the emptier domain; "rand" draws classes and
    halves them.

    Args:
        tree: the hierarchy.
        preset: one of `BREEDS`; sets level, subclasses and ancestor.
        level: level of the superclasses (longest path from the root); needed without a preset.
        subclasses: number of classes of each superclass, both domains together; even for a split. None: the fewest of
            any node of the level (two or more).
        ancestor: a node above the superclasses.
        split: "good", "bad" or "rand"; None draws classes and makes one domain.
        seed: seed of the draws, 0..2**32 - 1.

    Raises:
        ConfigError: an argument is missing, unknown or out of range.
        DataError: no superclass has enough classes, or the hierarchy is not the preset's.
    """
    if preset is not None:
        if preset not in BREEDS:
            raise unknown("BREEDS preset", preset, BREEDS)
        if (level, subclasses, ancestor) != (None, None, None):
            raise ConfigError(f"Expected {preset} alone but got level=, subclasses= or ancestor= with it.")
        level, subclasses, ancestor = BREEDS[preset].level, BREEDS[preset].subclasses, BREEDS[preset].ancestor
    elif level is None:
        raise ConfigError("Expected level= or the name of a preset but got neither.")
    if split is not None and split not in ("good", "bad", "rand"):
        raise unknown("split", split, ("good", "bad", "rand"))
    checked_whole("level", level, 0)
    if subclasses is not None:
        checked_whole("subclasses", subclasses, 1)
        require(split is None or subclasses % 2 == 0, "an even number of subclasses, as they are halved", subclasses)
    require(type(seed) is int and 0 <= seed < 2**32, "seed to be a whole number in 0..2**32 - 1", seed)
    nodes = tree.at_level(level, ancestor=ancestor)
    counts = {node: len(tree.leaves(node)) for node in nodes}
    if not nodes:
        raise DataError(f"Expected nodes at level {level} of the class tree but there are none.")
    least = min(counts.values())
    wanted = subclasses or max(2, least - least % 2)  # the most that every superclass has, an even number
    chosen = [node for node in nodes if counts[node] >= wanted]
    if preset is not None and len(chosen) != BREEDS[preset].superclasses:
        raise DataError(
            f"Expected the {BREEDS[preset].superclasses} superclasses of {preset} but this hierarchy has {len(chosen)} "
            f"with {wanted} classes. Presets are for the hierarchy that BREEDS published; give level= and subclasses=."
        )
    if not chosen:
        raise DataError(f"Expected a node at level {level} with {wanted} classes but none has as many.")
    random = np.random.RandomState(seed)  # one stream through all superclasses, in their order
    parts = [_divide(tree, node, wanted, split, random) for node in chosen]
    names: dict[str | int, str] = {}
    for node, (source, target) in zip(chosen, parts, strict=True):
        names[node] = tree.name(node)
        names |= {tree.classes[leaf]: tree.name(leaf) for leaf in (*source, *target)}
    return BreedsSplit(
        superclasses=tuple(chosen),
        source=tuple(tuple(tree.classes[leaf] for leaf in source) for source, _ in parts),
        target=() if split is None else tuple(tuple(tree.classes[leaf] for leaf in target) for _, target in parts),
        names=names,
    )


def _divide(
    tree: ClassTree, node: str, wanted: int, split: Kind | None, random: np.random.RandomState
) -> tuple[list[str], list[str]]:
    """Return source and target leaves of a superclass, `wanted` of them."""
    # Ids are sorted wherever an order could matter, or the published seed would not give the published split.
    leaves = tree.leaves(node)
    half = wanted // 2
    if split is None or split == "rand":
        count = 2 * half if split else wanted
        drawn = [leaves[i] for i in random.permutation(len(leaves))[:count]]
        return (drawn[:half], drawn[half:]) if split else (drawn, [])
    branches = _branches(tree, node)
    return _halved(branches, half) if split == "good" else _whole(branches, half)


def _branches(tree: ClassTree, node: str) -> list[list[str]]:
    under = tree.children[node]
    while len(under) == 1:
        under = tree.children[under[0]]
    taken: set[str] = set()
    branches = []
    for child in under:
        # A class below two branches counts once.
        branches.append([leaf for leaf in tree.leaves(child) if leaf not in taken])
        taken.update(branches[-1])
    return sorted(branches, key=len, reverse=True)


def _halved(branches: list[list[str]], half: int) -> tuple[list[str], list[str]]:
    source: list[str] = []
    target: list[str] = []
    spare: list[str] = []
    for leaves in branches:
        room = half - len(source)
        cut = min(room, 1 if len(leaves) == 1 else len(leaves) // 2)
        end = cut + half - len(target)
        source, target = source + leaves[:cut], target + leaves[cut:end]
        spare += leaves[end:]
    return source + spare[: half - len(source)], target


def _whole(branches: list[list[str]], half: int) -> tuple[list[str], list[str]]:
    domains: tuple[list[str], list[str]] = ([], [])
    spare: list[str] = []
    for leaves in branches:
        emptier = domains[0] if len(domains[0]) <= len(domains[1]) else domains[1]
        room = half - len(emptier)
        emptier += leaves[:room]
        spare += leaves[room:]
    source, target = domains
    source += spare[: half - len(source)]
    rest = [leaf for leaf in spare if leaf not in source]
    return source, target + rest[: half - len(target)]


# Number of samples read at a time if only their labels are needed.
_BLOCK = 256


class Domain(Dataset[tuple[Tensor, int]]):
    """The samples of one domain of a split, with superclasses as labels; a map-style data set for any loader.

    Attributes:
        ids: (n,) int64, positions in the original data, ascending.
        labels: (n,) int64, superclasses, 0..K-1.
        subclasses: (n,) int64, the data's own labels.
    """

    def __init__(self, samples: Samples, ids: Tensor, labels: Tensor, subclasses: Tensor) -> None:
        self._samples = samples
        self.ids, self.labels, self.subclasses = ids, labels, subclasses

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        x, _ = self._samples.take(self.ids[torch.tensor([i])])
        return x[0], int(self.labels[i])

    def samples(self) -> Samples:
        """Return the same samples for the engine, which reads them in blocks."""

        def take(rows: Tensor) -> tuple[Tensor, Tensor]:
            return self._samples.take(self.ids[rows])[0], self.labels[rows]

        return Samples(take, len(self))

    def arrays(self) -> tuple[Tensor, Tensor]:
        """Return all samples in memory: x (n, *S) float32, labels (n,) int64."""
        return self.samples().take(torch.arange(len(self)))


def domains(data: object, split: BreedsSplit) -> tuple[Domain, Domain]:
    """Return both domains, source first; raise DataError without a target or without samples of a subclass."""
    if not split.target:
        raise DataError('Expected a split into source and target but it has one domain. Pass split="rand", say.')
    samples = as_samples(data)
    labels = own_labels(data, samples)
    return (
        _domain(samples, labels, split.table("source"), "source"),
        _domain(samples, labels, split.table("target"), "target"),
    )


def own_labels(data: Any, samples: Samples) -> NDArray[np.int64]:
    """Return (N,) labels of all samples."""
    targets = getattr(data, "targets", None)
    # `data.targets`, as in torchvision, saves reading every image, but ignores a target transform.
    if targets is not None and getattr(data, "target_transform", None) is None and len(targets) == len(samples):
        return np.asarray(targets).astype(np.int64)
    blocks = torch.split(torch.arange(len(samples)), _BLOCK)
    return np.concatenate([samples.take(ids)[1].numpy() for ids in blocks]).astype(np.int64)


def _domain(samples: Samples, labels: NDArray[np.int64], table: Mapping[int, int], which: str) -> Domain:
    if absent := sorted(set(table) - set(labels.tolist())):
        shown = ", ".join(map(str, absent[:5]))
        raise DataError(f"Expected samples of every subclass of the {which} domain but there are none of {shown}.")
    ids = np.flatnonzero(np.isin(labels, list(table)))
    under = [table[int(label)] for label in labels[ids]]
    return Domain(samples, torch.from_numpy(ids), torch.tensor(under), torch.from_numpy(labels[ids]))
