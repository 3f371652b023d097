"""Splits of superclasses: by the paper's rules, the same under a seed, and refused where there is nothing to split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from robustest import ConfigError, DataError, UnknownNameError
from robustest.data.hierarchies import BREEDS, BreedsSplit, ClassTree, breeds_split

WORDNET = Path(__file__).parent / "wordnet"

GOLDEN: dict[str | None, tuple[Any, Any]] = {
    # Good and bad follow from the rules by hand; rand and None are what the code published with BREEDS draws.
    "good": (((1, 7), (2, 8), (0, 14)), ((3, 5), (4, 6), (15, 16))),
    "bad": (((1, 3), (2, 4), (0, 15)), ((7, 9), (8, 10), (14, 16))),
    "rand": (((9, 3), (10, 4), (0, 15)), ((7, 5), (6, 8), (14, 16))),
    None: (((9, 3, 7, 5), (10, 4, 6, 8), (0, 15, 14, 16)), ()),
}


@pytest.fixture(scope="module")
def tree() -> ClassTree:
    return ClassTree.from_wordnet(WORDNET)


@pytest.mark.parametrize("kind", GOLDEN)
def test_the_split_under_seed_2(tree: ClassTree, kind: Any) -> None:
    split = breeds_split(tree, level=2, subclasses=4, split=kind)
    assert (split.source, split.target) == GOLDEN[kind]
    assert split.superclasses == ("n00000010", "n00000020", "n00000040")
    assert [split.name(s) for s in split.superclasses] == ["dog", "cat", "car, automobile"]
    assert split.name(3) == "basset"


def test_domains_are_tables_from_classes_to_superclasses(tree: ClassTree) -> None:
    split = breeds_split(tree, level=2, subclasses=4, split="good")
    assert split.table("source") == {1: 0, 7: 0, 2: 1, 8: 1, 0: 2, 14: 2}
    assert split.table("target") == {3: 0, 5: 0, 4: 1, 6: 1, 15: 2, 16: 2}


def test_good_splits_every_branch_and_bad_splits_none() -> None:
    """Two branches of four: good halves both, bad gives each domain one."""
    tree = ClassTree.from_dict({"s": {"a": ["a1", "a2", "a3", "a4"], "b": ["b1", "b2", "b3", "b4"]}})
    good, bad = (breeds_split(tree, level=1, split=kind) for kind in ("good", "bad"))
    assert (good.source, good.target) == (((0, 1, 4, 5),), ((2, 3, 6, 7),))
    assert (bad.source, bad.target) == (((0, 1, 2, 3),), ((4, 5, 6, 7),))


def test_two_branches_of_three_are_halved_as_far_as_they_go() -> None:
    """Each odd leaf wants into the target, which has no room for the second."""
    tree = ClassTree.from_dict({"s": {"a": ["a1", "a2", "a3"], "b": ["b1", "b2", "b3"]}})
    split = breeds_split(tree, level=1, split="good")
    assert (split.source, split.target) == (((0, 3, 5),), ((1, 2, 4),))


def test_what_finds_no_room_fills_the_other_domain() -> None:
    """A branch of five and one of one, by three: the large branch fills the source, its rest the target."""
    tree = ClassTree.from_dict({"s": {"a": [f"a{i}" for i in range(5)], "b": ["b0"]}})
    split = breeds_split(tree, level=1, split="bad")
    assert (split.source, split.target) == (((0, 1, 2),), ((5, 3, 4),))


def test_seeds_draw_differently_and_only_where_there_is_a_draw(tree: ClassTree) -> None:
    splits = {seed: breeds_split(tree, level=2, subclasses=4, split="rand", seed=seed) for seed in range(8)}
    assert len({split.source for split in splits.values()}) > 1
    good = {breeds_split(tree, level=2, subclasses=4, split="good", seed=seed).source for seed in range(8)}
    assert len(good) == 1


branches = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=4)


@given(branches, st.sampled_from(["good", "bad", "rand"]), st.integers(0, 2**32 - 1))
def test_domains_are_disjoint_even_and_of_the_superclass(shape: list[list[int]], kind: Any, seed: int) -> None:
    nested = {
        f"s{i}": {f"s{i}b{j}": [f"s{i}b{j}-{k}" for k in range(n)] for j, n in enumerate(sizes)}
        for i, sizes in enumerate(shape)
    }
    assume(any(sum(sizes) >= 2 for sizes in shape))
    tree = ClassTree.from_dict(nested)
    split = breeds_split(tree, level=1, split=kind, seed=seed)
    for node, source, target in zip(split.superclasses, split.source, split.target, strict=True):
        inside = {tree.classes[leaf] for leaf in tree.leaves(node)}
        assert len(source) == len(target) >= 1
        assert {*source, *target} <= inside
        assert len({*source, *target}) == 2 * len(source)
    assert len({len(source) for source in split.source}) == 1


def write_wordnet(folder: Path, *, groups: dict[str, tuple[int, int, int]]) -> None:
    """Files with, below each (id), so many superclasses at a level, each with so many classes, under single nodes."""
    edges, rows, names = [], [], {"n00001740": "entity"}
    for ancestor, (superclasses, level, subclasses) in groups.items():
        edges.append(("n00001740", ancestor))
        for i in range(superclasses):
            at = ancestor
            for depth in range(2, level):
                edges.append((at, f"{ancestor}-{i}-{depth}"))
                at = edges[-1][1]
            edges.append((at, f"{ancestor}-{i}"))
            names[f"{ancestor}-{i}"] = f"superclass {i}"
            for half in "ab":
                edges.append((f"{ancestor}-{i}", f"{ancestor}-{i}{half}"))
                for k in range(subclasses // 2):
                    leaf = f"{ancestor}-{i}{half}{k:02}"
                    edges.append((f"{ancestor}-{i}{half}", leaf))
                    rows.append([len(rows), leaf, f"class {leaf}"])
    folder.mkdir()
    (folder / "class_hierarchy.txt").write_text("".join(f"{a} {b}\n" for a, b in edges), encoding="utf-8")
    (folder / "node_names.txt").write_text("".join(f"{a}\t{b}\n" for a, b in names.items()), encoding="utf-8")
    (folder / "dataset_class_info.json").write_text(json.dumps(rows), encoding="utf-8")


@pytest.mark.parametrize("name", BREEDS)
@pytest.mark.parametrize("kind", [None, "good", "bad", "rand"])
def test_presets_have_the_published_counts(tmp_path: Path, name: str, kind: Any) -> None:
    preset = BREEDS[name]
    below = preset.ancestor or "n00000007"
    write_wordnet(tmp_path / "w", groups={below: (preset.superclasses, preset.level, preset.subclasses)})
    split = breeds_split(ClassTree.from_wordnet(tmp_path / "w"), name, split=kind)
    published = {"entity-13": (13, 20), "entity-30": (30, 8), "living-17": (17, 4), "non-living-26": (26, 4)}
    every = zip(split.source, split.target or [()] * len(split.source), strict=True)
    assert (len(split.superclasses), {len(source) + len(target) for source, target in every}) == (
        published[name][0],
        {published[name][1]},
    )


def test_a_preset_takes_only_what_is_below_its_ancestor(tmp_path: Path) -> None:
    write_wordnet(tmp_path / "w", groups={"n00004258": (17, 5, 4), "n00021939": (26, 5, 4)})
    tree = ClassTree.from_wordnet(tmp_path / "w")
    assert all(node.startswith("n00004258") for node in breeds_split(tree, "living-17").superclasses)
    assert all(node.startswith("n00021939") for node in breeds_split(tree, "non-living-26").superclasses)


def test_a_preset_on_another_hierarchy_is_refused(tree: ClassTree, tmp_path: Path) -> None:
    write_wordnet(tmp_path / "w", groups={"n00004258": (16, 5, 4)})
    with pytest.raises(DataError, match="17 superclasses of living-17 but this hierarchy has 16"):
        breeds_split(ClassTree.from_wordnet(tmp_path / "w"), "living-17")
    with pytest.raises(ConfigError, match="n00004258"):
        breeds_split(tree, "living-17")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ConfigError, "level= or the name of a preset"),
        ({"preset": "living-71"}, UnknownNameError, "Did you mean 'living-17'"),
        ({"preset": "living-17", "level": 2}, ConfigError, "living-17 alone"),
        ({"level": 2, "split": "god"}, UnknownNameError, "Did you mean 'good'"),
        ({"level": 2, "subclasses": 3, "split": "rand"}, ConfigError, "even number"),
        ({"level": 2, "subclasses": 0}, ConfigError, "subclasses to be a whole number >= 1"),
        ({"level": -1}, ConfigError, "level to be a whole number >= 0"),
        ({"level": True}, ConfigError, "level to be"),
        ({"level": 2, "seed": 2**32}, ConfigError, "seed to be"),
        ({"level": 9}, DataError, "nodes at level 9"),
        ({"level": 2, "subclasses": 8}, DataError, "with 8 classes but none has as many"),
    ],
)
def test_bad_arguments_are_named(
    tree: ClassTree, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        breeds_split(tree, **arguments)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (((0,), (1,)), ((2,),), "as many lists"),
        (((0,), (1,)), ((2,), (0,)), "one is in two"),
        ((), (), "as many lists"),
    ],
)
def test_a_split_of_ones_own_is_checked(source: Any, target: Any, message: str) -> None:
    names = tuple("ab"[: len(source)])
    with pytest.raises(ConfigError, match=message):
        BreedsSplit(superclasses=names, source=source, target=target, names={})
