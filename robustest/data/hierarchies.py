"""Trees of classes: what is a kind of what, from a nested dict, from JSON or from WordNet files."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from robustest.errors import ConfigError, DataError, expected

CLASSES_FILE, EDGES_FILE, NAMES_FILE = "dataset_class_info.json", "class_hierarchy.txt", "node_names.txt"
"""The files of a WordNet hierarchy, as the BREEDS benchmarks name them."""


@dataclass(frozen=True, slots=True)
class ClassTree:
    """A hierarchy over the classes of a data set; a node may stand under several others.

    Build it with `from_dict`, `from_json`, `from_edges` or `from_wordnet`, which check it.

    Attributes:
        root: the node above all others.
        children: the nodes below each node that has any, sorted; every path down ends at a class.
        classes: the data set's class index, >= 0, of each node at the end.
        names: what people call a node; nodes that are missing go by their ids.
        missing: classes of the data set that the hierarchy has no place for.
    """

    root: str
    children: Mapping[str, tuple[str, ...]]
    classes: Mapping[str, int]
    names: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, nested: Mapping[str, object], *, classes: Sequence[str] | None = None) -> ClassTree:
        """A tree written as nested dicts, e.g. `{"dog": {"hound": ["beagle", "basset"], "toy": ["pug"]}}`.

        The keys of the outermost dict are at level 1, below a node called "root". Below a node stand: a dict of
        nodes; a list of classes; or the class's index in the data set, which makes the node itself a class.

        Args:
            nested: the dict; every name in it appears once.
            classes: names of the data set's classes in the order of their indices; None numbers the classes that
                have no index of their own in the order in which they are written.

        Raises:
            DataError: a name appears twice, a class has no index or one that is taken, or nothing is in it.
        """
        if not isinstance(nested, Mapping):
            raise DataError(expected("a class tree as nested dicts", nested))
        edges = list(_edges("root", nested))
        _check_once(edges)
        indices = _indices(edges, classes)
        return cls.from_edges([(parent, child) for parent, child, _ in edges], indices, root="root")

    @classmethod
    def from_json(cls, path: str | Path, *, classes: Sequence[str] | None = None) -> ClassTree:
        """The tree of a JSON file that holds what `from_dict` takes.

        Raises:
            DataError: there is no such file, it is not JSON, or it holds no tree.
        """
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
        """The part of a graph of "is a" edges that leads to classes.

        Args:
            edges: (node, node below it) pairs.
            classes: class indices of the nodes that are classes of the data set.
            names: what people call the nodes.
            root: the node above all others; None takes the only one that stands under none.

        Raises:
            DataError: there is no such root or no single one, the edges go in a circle, two classes share an index,
                or a class stands below another.
        """
        above: dict[str, set[str]] = {}
        below: dict[str, set[str]] = {}
        for parent, child in edges:
            above.setdefault(child, set()).add(parent)
            below.setdefault(parent, set()).add(child)
        known = {node for node in classes if node in above or node in below}
        top = _root(root, above, known)
        inside = _reach({top}, below) & _reach(known, above)
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
        """The hierarchy of a folder of WordNet files, such as ImageNet's in the BREEDS benchmarks.

        It holds `dataset_class_info.json` (a list of [class index, id, name]), `class_hierarchy.txt` (on each line an
        id and the id of a node below it) and `node_names.txt` (on each line an id, a tab and a name).

        Args:
            folder: where the files are.
            root: the id of the node above all others; None takes the only one that stands under none.

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
        """What people call a node."""
        return self.names.get(node, node)

    def below(self, node: str) -> set[str]:
        """A node and all that stand below it.

        Raises:
            ConfigError: there is no such node.
        """
        if node not in self.children and node not in self.classes:
            raise ConfigError(expected("a node of the class tree", node))
        return _reach({node}, self.children)

    def leaves(self, node: str) -> list[str]:
        """The classes below a node, or the node itself if it is one; sorted by id.

        Raises:
            ConfigError: there is no such node.
        """
        return sorted(self.below(node) & self.classes.keys())

    def levels(self) -> dict[str, int]:
        """Each node's level: the number of edges on the longest path to it from the root."""
        level = {self.root: 0}
        for node in _downwards(self.root, self.children):
            for child in self.children.get(node, ()):
                level[child] = max(level.get(child, 0), level[node] + 1)
        return level

    def at_level(self, level: int, *, ancestor: str | None = None) -> list[str]:
        """The nodes at a level, sorted by id.

        Args:
            level: 0 is the root.
            ancestor: a node that they must stand below; None takes all.

        Raises:
            ConfigError: there is no such ancestor.
        """
        within = self.below(self.root if ancestor is None else ancestor)
        return sorted(node for node, at in self.levels().items() if at == level and node in within)


def _edges(parent: str, under: object) -> Iterator[tuple[str, str, object]]:
    """(node, node below it, what stands below that: a class index or None for a class, else a dict)."""
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


def _check_once(edges: Sequence[tuple[str, str, object]]) -> None:
    parents = {"root": ""}
    for parent, child, _ in edges:
        if child in parents:
            raise DataError(
                f"Expected every name once but {child!r} stands below {parents[child] or 'nothing'!r} and {parent!r}. "
                "Give them two names, or use ClassTree.from_edges for a node that is of both kinds."
            )
        parents[child] = parent


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
    seen, todo = set(start), list(start)
    while todo:
        for node in following.get(todo.pop(), ()):
            if node not in seen:
                seen.add(node)
                todo.append(node)
    return seen


def _downwards(root: str, children: Mapping[str, Sequence[str]]) -> list[str]:
    """Every node before those below it; nodes on a circle are left out."""
    waiting: dict[str, int] = {}
    for under in children.values():
        for child in under:
            waiting[child] = waiting.get(child, 0) + 1
    order, todo = [], [root] if not waiting.get(root) else []
    while todo:
        node = todo.pop()
        order.append(node)
        for child in children.get(node, ()):
            waiting[child] -= 1
            if waiting[child] == 0:
                todo.append(child)
    return order


def _check(tree: ClassTree) -> None:
    """Refuse what is no hierarchy over classes."""
    nodes = {tree.root, *tree.children, *(child for under in tree.children.values() for child in under)}
    if circle := sorted(nodes - set(_downwards(tree.root, tree.children))):
        raise DataError(f"Expected a hierarchy but its edges go in a circle, through {circle[0]!r}.")
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
