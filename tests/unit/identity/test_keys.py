"""Keys: made in one place, of everything, and of what surrounds a computation where nothing asks it again."""

from __future__ import annotations

import ast
import os
from contextlib import suppress
from functools import lru_cache
from os import access, stat
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

import robustest
from robustest.identity.dependencies import Dependencies
from robustest.identity.keys import Key, Unhashable, key_of
from robustest.settings import Settings

listed = [stat]
HOME = Path(robustest.__file__).parent


def test_no_key_is_made_but_by_key_of() -> None:
    with pytest.raises(TypeError, match="key_of"):
        Key(lambda: "ab" * 32, Dependencies(), recheck=True, maker=object())
    with pytest.raises(TypeError):
        type("Mine", (Key,), {})  # else a class of one's own would pass for a key


def test_no_other_module_makes_a_key_or_writes_entries() -> None:
    """Files of the store are written by functions that take a key, or hold what is not recalled as evidence."""
    makers, writers = set(), set()
    for path in HOME.rglob("*.py"):
        name, text = path.relative_to(HOME).as_posix(), path.read_text(encoding="utf-8")
        if not any(word in text for word in ("Key(", "_MAKER", "pack(", "write_atomic(")):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called == "Key" or "_MAKER" in {getattr(one, "id", "") for one in ast.walk(node)}:
                    makers.add(name)
                # Reports and the command write pages and pictures with the same function, none of them into a store.
                writes = called == "pack" or (called == "write_atomic" and not name.startswith(("reports/", "cli/")))
                if writes and isinstance(node.func, ast.Name):
                    writers.add(name)
    assert makers == {"identity/keys.py"}
    assert writers == {
        "store/entries.py",  # by key
        "store/corpus.py",  # counterexamples, which are passed through the model before they count
        "store/keyed_file.py",  # checkpoints, by key
        "store/files.py",  # writes what the others hand it
        "store/baselines.py",  # results to compare with, by name
        "store/history.py",  # past runs, to be shown
    }


def test_the_places_that_store_take_a_key() -> None:
    from robustest.store.entries import Store

    for function in (Store.save, Store.load):
        assert function.__annotations__["key"] == "Key"


def name(*, recheck: bool, **about: object) -> str:
    return key_of("test", about, Settings(), recheck=recheck).name


CHANGES = {
    "threads": (lambda: torch.set_num_threads(2), lambda: torch.set_num_threads(1)),
    "dtype": (lambda: torch.set_default_dtype(torch.float64), lambda: torch.set_default_dtype(torch.float32)),
    "determinism": (
        lambda: torch.use_deterministic_algorithms(True, warn_only=True),
        lambda: torch.use_deterministic_algorithms(False),
    ),
    "a flag of a backend": (
        lambda: setattr(torch.backends.cudnn, "benchmark", True),
        lambda: setattr(torch.backends.cudnn, "benchmark", False),
    ),
    "denormal numbers": (lambda: torch.set_flush_denormal(True), lambda: torch.set_flush_denormal(False)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_surrounds_counts_where_nothing_is_asked(change: str) -> None:
    there, back = CHANGES[change]
    before = name(recheck=False), name(recheck=True)
    try:
        there()
        after = name(recheck=False), name(recheck=True)
    finally:
        back()
    assert after[0] != before[0]
    assert after[1] == before[1]
    assert name(recheck=False) == before[0]


@pytest.mark.parametrize("place", ["torch.nn.functional.gelu", "torch.optim.SGD.step", "numpy.var", "random.gauss"])
def test_a_function_that_was_replaced_in_a_package_counts(place: str) -> None:
    before = name(recheck=False)
    with patch(place, lambda *args, **kwargs: None):  # noqa: ARG005 - whatever it is called with
        assert name(recheck=False) != before
    with patch(place), suppress(Unhashable):  # a mock: nobody can read what it will do
        assert name(recheck=False) != before
    assert name(recheck=False) == before


def test_a_cache_that_holds_answers_has_no_identity_where_nothing_is_asked(tmp_path: Path) -> None:
    @lru_cache
    def read() -> str:
        return os.fspath(tmp_path)

    def train() -> str:
        return read()

    assert name(recheck=False, train=train)
    read()
    with pytest.raises(Unhashable, match="a cache that holds answers already"):
        name(recheck=False, train=train)
    assert name(recheck=True, train=train)
    read.cache_clear()
    assert name(recheck=False, train=train)


@pytest.mark.parametrize("held", [stat, access, listed], ids=["stat", "access", "stat in a list"])
@pytest.mark.parametrize("recheck", [True, False])
def test_a_function_that_is_not_seen_to_ask_has_no_identity(held: object, recheck: bool) -> None:
    def through_os() -> bool:
        return os.stat("weights").st_size > 0

    def by_itself() -> object:
        return held

    assert name(recheck=recheck, train=through_os)
    with pytest.raises(Unhashable, match=r"taken out of os, so that its calls are not seen"):
        name(recheck=recheck, train=by_itself)


def test_parts_are_told_from_each_other_and_share_what_was_read(tmp_path: Path) -> None:
    whole, path = key_of("test", {}, None, recheck=False), tmp_path / "read"
    path.touch()
    one, two = whole.part(1), whole.part(2)
    assert len({whole.name, one.name, two.name, whole.part(1, 2).name}) == 4
    assert whole.part(1).name == one.name
    with one.watching(), path.open():
        pass
    assert f"file {path}" in two.dependencies.stamps


@pytest.mark.parametrize("setting", [{"seed": 3}, {"precision": "bf16"}, {"suppress": ("random_forward",)}])
def test_settings_that_outcomes_depend_on_count(setting: dict[str, object]) -> None:
    one, other = (key_of("test", {}, used, recheck=True).name for used in (Settings(), Settings(**setting)))  # type: ignore[arg-type]
    assert one != other
