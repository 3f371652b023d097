"""Trainings that packs remember: made once, recalled while nothing has changed, and made again by lot."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from robustest import Settings
from robustest.errors import StoreError
from robustest.run.evidence import Observation, Tally
from robustest.run.remembered import Outcomes, Remembered


def making(*held: bool, level: float = 0.5) -> Callable[[], Outcomes]:
    """A training with these outcomes."""
    columns = {"held": torch.tensor(held), "level": torch.tensor([level], dtype=torch.float64)}
    return lambda: (Observation(columns, []), Tally(forward=3))


def trainings(folder: Path | None, *, recheck: float = 0.0, about: object = 1, **how: Any) -> Remembered:
    settings = Settings(store=None if folder is None else str(folder), recheck=recheck)
    return Remembered("toy", {"about": about}, settings, **how)


def held(found: Outcomes) -> list[bool]:
    return [bool(one) for one in found[0].columns["held"]]


def test_a_training_is_made_once_and_recalled_with_its_cost_and_date(tmp_path: Path) -> None:
    first = trainings(tmp_path)
    assert held(first.outcomes(("a", 0), making(True, False))) == [True, False]
    assert (first.made, first.when, first.notices) == (1, "", ())
    again = trainings(tmp_path)
    found = again.outcomes(("a", 0), making(False, False))
    assert held(found) == [True, False]
    assert found[1].forward == 3
    assert again.made == 0
    assert again.when
    assert not again.notices
    again.outcomes(("b", 0), making(True, True))
    assert (again.made, again.when) == (1, "")  # a date is that of outcomes that were all recalled


@pytest.mark.parametrize("change", ["what", "about", "kind"])
def test_another_training_is_not_recalled(tmp_path: Path, change: str) -> None:
    trainings(tmp_path).outcomes(("a", 0), making(True, False))
    other = trainings(tmp_path, about=2 if change == "about" else 1)
    if change == "kind":
        other = Remembered("other", {"about": 1}, Settings(store=str(tmp_path), recheck=0.0))
    assert held(other.outcomes(("a", int(change == "what")), making(False, False))) == [False, False]
    assert other.made == 1


def test_without_a_store_each_training_is_made() -> None:
    here = trainings(None)
    assert held(here.outcomes(("a",), making(True))) == [True]
    assert held(here.outcomes(("a",), making(False))) == [False]
    assert (here.made, here.notices) == (2, ())


@pytest.mark.parametrize("of", ["about", "what"])
def test_a_training_that_cannot_be_told_is_made_and_said(tmp_path: Path, of: str) -> None:
    unknowable = (one for one in range(3))
    here = trainings(tmp_path, about=unknowable if of == "about" else 1)
    what = (unknowable,) if of == "what" else ("a",)
    for outcome in (True, False):
        assert held(here.outcomes(what, making(outcome))) == [outcome]
    assert here.made == 2
    assert [notice.partition(":")[0] for notice in here.notices] == ["trainings are not remembered"]


def test_one_that_comes_out_otherwise_once_others_were_counted_is_an_error(tmp_path: Path) -> None:
    trainings(tmp_path).outcomes(("a",), making(True, True, False))
    assert held(trainings(tmp_path, recheck=1.0).outcomes(("a",), making(True, True, False))) == [True, True, False]
    with pytest.raises(StoreError, match="again but 2 of its outcomes differ"):
        trainings(tmp_path, recheck=1.0).outcomes(("a",), making(False, False, False))


def test_one_that_is_random_is_made_anew(tmp_path: Path) -> None:
    trainings(tmp_path).outcomes(("a",), making(True, True))
    outcomes = iter([making(False, True)(), making(True, False)(), making(False, False)()])
    here = trainings(tmp_path, recheck=1.0)
    assert held(here.outcomes(("a",), outcomes.__next__)) == [False, False]
    assert here.made == 1
    assert here.notices == ("measured anew: a training that was made again comes out otherwise each time",)


def test_the_first_that_comes_out_otherwise_makes_all_be_measured_anew(tmp_path: Path) -> None:
    before = trainings(tmp_path)
    for name in ("a", "b"):
        before.outcomes((name,), making(True, True))
    here = trainings(tmp_path, first=True)
    assert held(here.outcomes(("a",), making(True, False))) == [True, False]
    assert held(here.outcomes(("b",), making(False, False))) == [False, False]
    assert here.made == 2
    (notice,) = here.notices
    assert notice == "measured anew: a remembered training comes out otherwise now (1 of its outcomes)"


def test_one_that_comes_out_alike_at_first_is_not_made_again(tmp_path: Path) -> None:
    before = trainings(tmp_path)
    for name in ("a", "b"):
        before.outcomes((name,), making(True, True))
    here = trainings(tmp_path, first=True)
    assert held(here.outcomes(("a",), making(True, True))) == [True, True]
    assert held(here.outcomes(("b",), making(False, False))) == [True, True]
    assert here.made == 0


@pytest.mark.parametrize("exact", [False, True])
def test_numbers_with_a_fraction_are_compared_where_they_must_be_exact(tmp_path: Path, exact: bool) -> None:
    trainings(tmp_path).outcomes(("a",), making(True, level=0.5))
    here = trainings(tmp_path, recheck=1.0, exact=exact)
    if exact:
        with pytest.raises(StoreError, match="again but 1 of its outcomes differ"):
            here.outcomes(("a",), making(True, level=0.5000001))
    else:
        assert float(here.outcomes(("a",), making(True, level=0.5000001))[0].columns["level"][0]) == 0.5


COUNT = [0]


def counting() -> int:
    """A training that reads and writes a global."""
    COUNT[0] += 1
    return COUNT[0]


def once_warmed() -> int:
    """A training that writes a global the first time, and finds it as it is later."""
    COUNT[0] = COUNT[0] or 5
    return COUNT[0]


def numbers(folder: Path | None, train: Callable[[], int], *names: str) -> tuple[list[int], Remembered]:
    """Return the outcomes of trainings in a process that has made none yet."""
    COUNT[0] = 0
    here = trainings(folder, about=train)

    def make() -> Outcomes:
        return Observation({"number": torch.tensor([train()])}, []), Tally()

    return [int(here.outcomes((name,), make)[0].columns["number"][0]) for name in names], here


@pytest.mark.parametrize("names", ["ab", "ba", "bc", "b"])
@pytest.mark.parametrize("train", [counting, once_warmed])
def test_a_training_that_reads_what_an_earlier_one_wrote_is_as_without_a_store(
    tmp_path: Path, train: Callable[[], int], names: str
) -> None:
    numbers(tmp_path, train, "a", "b", "c")
    assert numbers(tmp_path, train, *names)[0] == numbers(None, train, *names)[0]


def test_a_training_that_changes_what_it_starts_from_is_made_again_and_the_others_are_recalled(tmp_path: Path) -> None:
    why = (
        "a training is not remembered where it changes what it starts from: a global or an attribute that it writes, "
        "or a module that it is the first to import"
    )
    for train, made in ((counting, [3, 3]), (once_warmed, [3, 1])):
        runs = [numbers(tmp_path, train, "a", "b", "c")[1] for _ in made]
        assert [run.made for run in runs] == made
        assert [run.notices for run in runs] == [(why,)] * 2


def test_a_training_that_fills_a_cache_is_not_remembered(tmp_path: Path) -> None:
    @functools.cache
    def drawn() -> int:
        return int(torch.randint(1 << 30, ()))

    here = trainings(tmp_path, about=drawn)
    for number in (0, 1):
        here.outcomes((number,), lambda: (Observation({"number": torch.tensor([drawn()])}, []), Tally()))
    assert not list(tmp_path.rglob("*.safetensors"))
    (notice,) = here.notices
    assert notice.startswith("trainings are not remembered: ")
    assert "a cache that holds answers already" in notice


def test_a_file_that_was_read_in_training_is_named_once_it_is_another(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_text("1")

    def reading() -> Outcomes:
        return making(given.read_text() == "1")()

    store = tmp_path / "store"
    assert held(trainings(store).outcomes(("a",), reading)) == [True]
    given.write_text("22")
    here = trainings(store)
    assert held(here.outcomes(("a",), reading)) == [False]
    assert any(one.startswith("measured anew: ") and "given" in one for one in here.notices)
