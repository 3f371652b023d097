"""Class trees: read from what people have, refused where they are no hierarchy over classes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustest import ConfigError, DataError
from robustest.data.hierarchies import ClassTree

WORDNET = Path(__file__).parent / "wordnet"
PETS = {"dog": {"hound": ["beagle", "basset"], "toy": ["pug"]}, "cat": ["tabby", "lion"]}


def test_a_nested_dict_is_a_tree_over_classes_in_the_order_written() -> None:
    tree = ClassTree.from_dict(PETS)
    assert tree.root == "root"
    assert tree.children == {
        "root": ("cat", "dog"),
        "dog": ("hound", "toy"),
        "hound": ("basset", "beagle"),
        "toy": ("pug",),
        "cat": ("lion", "tabby"),
    }
    assert tree.classes == {"beagle": 0, "basset": 1, "pug": 2, "tabby": 3, "lion": 4}
    assert tree.levels() == {
        "root": 0, "dog": 1, "cat": 1, "hound": 2, "toy": 2, "tabby": 2, "lion": 2, "beagle": 3, "basset": 3, "pug": 3,
    }  # fmt: skip
    assert tree.leaves("dog") == ["basset", "beagle", "pug"]
    assert tree.leaves("pug") == ["pug"]
    assert tree.at_level(2) == ["hound", "lion", "tabby", "toy"]
    assert tree.at_level(2, ancestor="dog") == ["hound", "toy"]


def test_classes_take_their_indices_from_the_data_set() -> None:
    names = ["lion", "pug", "basset", "car", "tabby", "beagle"]
    tree = ClassTree.from_dict(PETS, classes=names)
    assert tree.classes == {name: names.index(name) for name in ("lion", "pug", "basset", "tabby", "beagle")}


def test_a_class_may_be_written_with_its_index_or_with_none() -> None:
    tree = ClassTree.from_dict({"dog": {"beagle": 7, "pug": 3}, "cat": {"tabby": None}})
    assert tree.classes == {"beagle": 7, "pug": 3, "tabby": 2}


def test_a_json_file_holds_the_same(tmp_path: Path) -> None:
    path = tmp_path / "pets.json"
    path.write_text(json.dumps(PETS), encoding="utf-8")
    assert ClassTree.from_json(path) == ClassTree.from_dict(PETS)
    assert ClassTree.from_json(str(path), classes=["pug", "tabby", "lion", "beagle", "basset"]).classes["pug"] == 0


def test_wordnet_files_are_a_tree() -> None:
    """The files have a node of two kinds (tabby: cat and pet), a branch without classes, and a class without place."""
    tree = ClassTree.from_wordnet(WORDNET)
    assert tree.root == "n00000001"
    assert tree.missing == ("n00000999",)
    assert len(tree.classes) == 17
    assert tree.classes["n00000401"] == 0
    assert {"n00000060", "n00000098", "n00000099"} & {*tree.children, *tree.levels()} == set()
    assert [tree.name(node) for node in tree.at_level(2)] == ["dog", "cat", "bird", "car, automobile", "pet"]
    assert tree.name("n00000104") == "pug, pug-dog"
    assert tree.name("unheard of") == "unheard of"
    assert tree.leaves("n00000050") == ["n00000201"]
    assert tree.levels()["n00000201"] == 5, "the longest path counts: by the dummy and the house cats, not by the pets"


@pytest.mark.parametrize("names", ["abc", "cba", "bca", "acb"])
def test_the_longest_path_counts_in_whatever_order_it_is_walked(names: str) -> None:
    short, long, longer = names
    edges = [("top", short), (short, "x"), ("top", long), (long, longer), (longer, "x"), ("top", "x")]
    levels = ClassTree.from_edges(edges, {"x": 0}).levels()
    assert levels == {"top": 0, short: 1, long: 1, longer: 2, "x": 3}


def test_a_root_below_the_top_cuts_the_tree() -> None:
    tree = ClassTree.from_wordnet(WORDNET, root="n00000003")
    assert sorted(tree.classes) == ["n00000401", "n00000402", "n00000403", "n00000404"]
    assert tree.at_level(1) == ["n00000040"]
    assert "n00000101" in tree.missing


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 4), min_size=1, max_size=5), st.data())
def test_leaves_are_what_the_walk_finds(kinds: dict[str, int], data: st.DataObject) -> None:
    nested = {f"k-{kind}": [f"{kind}-{i}" for i in range(n)] for kind, n in kinds.items()}
    tree = ClassTree.from_dict(nested)
    assert tree.leaves("root") == sorted(leaf for leaves in nested.values() for leaf in leaves)
    kind = data.draw(st.sampled_from(sorted(nested)))
    assert tree.leaves(kind) == sorted(nested[kind])
    assert tree.below(kind) == {kind, *nested[kind]}


@pytest.mark.parametrize(
    ("nested", "message"),
    [
        ({"dog": {"small": ["pug"]}, "cat": {"small": ["tabby"]}}, "'small' stands below 'dog' and 'cat'"),
        ({"dog": ["root"]}, "'root' stands below 'nothing' and 'dog'"),
        ({"dog": {}}, "classes below 'dog' but it is empty"),
        ({"dog": {"pug": 1, "beagle": 1}}, "class index of its own"),
        ({"dog": {"pug": -1}}, "class index of its own"),
        ({"dog": "pug"}, "below 'dog' but got 'pug'"),
        ({"dog": {"pug": True}}, "below 'pug' but got True"),
        ({"dog": [3]}, "name of a class but got 3"),
        ({}, "classes in it but found none"),
        (["dog"], "nested dicts but got"),
    ],
)
def test_what_is_no_tree_is_refused(nested: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ClassTree.from_dict(nested)  # type: ignore[arg-type]


def test_a_class_that_the_data_set_lacks_is_refused() -> None:
    with pytest.raises(DataError, match="'pug' is not one of them"):
        ClassTree.from_dict({"dog": ["beagle", "pug"]}, classes=["beagle"])


@pytest.mark.parametrize(
    ("edges", "classes", "root", "message"),
    [
        ([("a", "b"), ("b", "c"), ("c", "b"), ("b", "x")], {"x": 0}, "a", "in a circle, through '[bc]'"),
        ([("a", "b"), ("b", "a"), ("b", "x")], {"x": 0}, None, "got 0: a circle"),
        ([("a", "x"), ("b", "x")], {"x": 0}, None, "got 2: a, b. Say root="),
        ([("a", "x")], {"x": 0}, "z", "root to be a node above the classes but got 'z'"),
        ([("a", "x"), ("x", "y")], {"x": 0, "y": 1}, None, "'x' has others below it"),
        ([("a", "b")], {"x": 0}, None, "found none"),
    ],
)
def test_edges_that_make_no_hierarchy_are_refused(
    edges: list[tuple[str, str]], classes: dict[str, int], root: str | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        ClassTree.from_edges(edges, classes, root=root)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("class_hierarchy.txt", "a b c\n", "line 1 of class_hierarchy.txt"),
        ("node_names.txt", "\nn00000001 entity\n", "line 2 of node_names.txt"),
        ("dataset_class_info.json", '{"a": 1}', r"\[class index, id, name\]"),
        ("dataset_class_info.json", "[[1, 2", "Expected JSON in dataset_class_info.json"),
        ("node_names.txt", None, "a file node_names.txt"),
    ],
)
def test_files_that_are_not_wordnets_are_refused(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    shutil.copytree(WORDNET, tmp_path / "w")
    (tmp_path / "w" / name).unlink()
    if text is not None:
        (tmp_path / "w" / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        ClassTree.from_wordnet(tmp_path / "w")


def test_a_json_list_is_no_tree(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(DataError, match="nested objects in list"):
        ClassTree.from_json(tmp_path / "list.json")


def test_nodes_that_are_not_there_are_named() -> None:
    tree = ClassTree.from_dict(PETS)
    with pytest.raises(ConfigError, match="a node of the class tree but got 'horse'"):
        tree.leaves("horse")
    with pytest.raises(ConfigError, match="'horse'"):
        tree.at_level(1, ancestor="horse")
