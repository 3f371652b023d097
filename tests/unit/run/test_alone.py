"""Suites of claims, judged whole, in part and one by one in this process: each claim is judged as it is alone.

Runs of pytest on real projects are in tests/plugin/test_alone.py; here are many suites, drawn by hypothesis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustest import Settings
from robustest.context import Context, running
from robustest.measure import measure_transfer_accuracy, measure_worst_group_accuracy
from robustest.run import plan
from robustest.store.baselines import BaselineEntry


class Bright(nn.Module):
    """Calls an image bright where its mean exceeds one half."""

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1).mean(1, keepdim=True) - 0.5
        return torch.cat([-z, z], 1)


@dataclass(frozen=True)
class Small:
    """A claim on n images of which some are labelled wrongly.

    Attributes:
        n, wrong: images, and how many of them.
        least: the accuracy claimed.
        lost: right ones among them that a baseline calls right before; None compares with none.
        scope: "set" or "population".
        seed: of the order.
    """

    n: int
    wrong: int
    least: float
    lost: int | None
    scope: str
    seed: int

    def data(self) -> tuple[Tensor, Tensor]:
        value = torch.tensor([0.25, 0.75]).repeat(self.n)[: self.n]
        label = (value > 0.5).long()
        label[: self.wrong] = 1 - label[: self.wrong]
        return value.view(-1, 1, 1, 1), label

    def before(self) -> tuple[bool, ...]:
        """What the baseline has: so many of those that are wrong now were right."""
        held = np.arange(self.n) >= self.wrong
        held[: min(self.lost or 0, self.wrong)] = True
        return tuple(held.tolist())


@st.composite
def smalls(draw: st.DrawFn) -> Small:
    n = draw(st.integers(40, 400))
    wrong = draw(st.integers(0, n // 2))
    near = (n - wrong) / n + draw(st.sampled_from([-0.3, -0.1, -0.05, -0.02, 0.0, 0.01, 0.02, 0.05, 0.1, 0.3]))
    return Small(
        n=n,
        wrong=wrong,
        least=round(min(1.0, max(0.01, near)), 3),
        lost=draw(st.none() | st.integers(0, 20)),
        scope=draw(st.sampled_from(["set", "set", "set", "population"])),
        seed=draw(st.integers(0, 50)),
    )


def judged(small: Small, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """Verdict, samples, interval and rule of a claim, in the running test."""
    data, options = small.data(), {"scope": small.scope, "seed": small.seed, "device": "cpu"}
    if small.lost is None:
        one = data[0][:1], data[1][:1]
        result = measure_transfer_accuracy(Bright(), one, data, at_least=small.least, **options)
    else:
        monkeypatch.setattr(plan, "entry_in", lambda *_, **__: _entry(small))
        groups = np.arange(small.n) % 2
        result = measure_worst_group_accuracy(
            Bright(), data, groups, at_least=small.least, min_group_size=1, no_worse_than=Path("baseline"), **options
        )
    return result.verdict, result.numbers.n, result.interval, result.rule, result.ruling.at_alpha


class _Anything(str):
    """A digest that equals any other: which samples a baseline is of is not the matter here."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def _entry(small: Small) -> BaselineEntry:
    values: dict[str, Any] = dict.fromkeys(("test", "claim", "quantity", "method", "date"), "")
    values |= {"outcomes": small.before(), "data": _Anything(), "model": None, "seed": 0, "commit": ""}
    values["measured_by"] = _Anything()
    return BaselineEntry(**values, estimate=None, interval=(0.0, 1.0))


def run_of(
    tests: Sequence[tuple[int, Sequence[Small]]], monkeypatch: pytest.MonkeyPatch
) -> dict[int, list[tuple[object, ...]]]:
    """What each test finds, in this order and process."""
    found = {}
    for name, claims in tests:
        with running(Context(settings=Settings(), test=f"test_{name}")):
            found[name] = [judged(claim, monkeypatch) for claim in claims]
    return found


def chosen(tests: Sequence[Any], which: Iterable[int]) -> list[Any]:
    return [tests[place] for place in which]


def hold(tests: list[tuple[int, list[Small]]], data: st.DataObject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, reversed, a selection, each shard, a few alone and in another place of their test."""
    whole = run_of(tests, monkeypatch)
    few = data.draw(st.lists(st.integers(0, len(tests) - 1), min_size=1, max_size=4, unique=True))
    count = data.draw(st.integers(2, 4))
    parts = [chosen(tests, few), *(tests[k::count] for k in range(count))]
    for part in parts:
        assert run_of(list(reversed(part)), monkeypatch) == {name: whole[name] for name, _ in part}
    for name, claims in chosen(tests, few[:2]):
        place = data.draw(st.integers(0, len(claims) - 1))
        assert run_of([(name, [claims[place]])], monkeypatch) == {name: [whole[name][place]]}
        assert judged(claims[place], monkeypatch) == whole[name][place], "outside any test"


def suites(size: int) -> st.SearchStrategy[list[tuple[int, list[Small]]]]:
    """Tests of one to three claims, `size` claims in all or up to two more."""
    tests = st.lists(st.lists(smalls(), min_size=1, max_size=3), min_size=max(1, size // 2), max_size=size)
    return tests.map(lambda drawn: list(enumerate(drawn)))


QUICK = settings(
    deadline=None,
    max_examples=5,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("size", [1, pytest.param(10, marks=pytest.mark.slow)])
@QUICK
@given(data=st.data())
def test_a_claim_in_a_small_suite_is_judged_as_it_is_alone(
    size: int, data: st.DataObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(data.draw(suites(size)), data, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 10, 100])
def test_three_hundred_suites(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred of each size."""

    @settings(QUICK, max_examples=100, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(data=st.data(), seed=st.integers(0, 2**32))
    def check(data: st.DataObject, seed: int) -> None:
        random = np.random.default_rng(seed)
        tests = [[_drawn(random) for _ in range(random.integers(1, 4))] for _ in range(-(-size // 2))]
        hold(list(enumerate(tests)), data, monkeypatch)

    check()


def _drawn(random: np.random.Generator) -> Small:
    """As `smalls`, but for hypothesis, which is too slow for ten thousand claims."""
    n = int(random.integers(40, 400))
    wrong = int(random.integers(0, n // 2))
    near = (n - wrong) / n + float(random.choice([-0.3, -0.1, -0.05, -0.02, 0.0, 0.01, 0.02, 0.05, 0.1, 0.3]))
    return Small(
        n=n,
        wrong=wrong,
        least=round(min(1.0, max(0.01, near)), 3),
        lost=None if random.random() < 0.5 else int(random.integers(0, 21)),
        scope="population" if random.random() < 0.25 else "set",
        seed=int(random.integers(0, 50)),
    )
