"""Units of a plugin's own: what is refused, and what their randomness depends on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from robustest import ConfigError, DataError, Settings, rng
from robustest.decisions import ShareRule, Terms
from robustest.identity.fingerprint import Fingerprint
from robustest.kinds import Kind, Quantity
from robustest.run.driver import observe
from robustest.run.finish import finish
from robustest.run.options import settings_of
from robustest.run.plan import Plan
from robustest.run.units import OwnUnits, Part, PartJob
from robustest.run.workers import Work, versions


def held(part: Part) -> dict[str, Any]:
    return {"held": (rng.uniform(part.keys, ()) < 0.75).numpy()}


@dataclass(frozen=True)
class Draws:
    """Units that are their positions, and hold by a draw of their own."""

    n: int = 600
    give: Callable[[Part], Any] = held
    read: Callable[[int], Any] = int
    seen: list[tuple[int, ...]] = field(default_factory=list)

    def __len__(self) -> int:
        return self.n

    def load(self, ids: Sequence[int]) -> list[Any]:
        return [self.read(index) for index in ids]

    def look(self, part: Part) -> Any:
        self.seen.append(tuple(part.units))
        return self.give(part)


def measured(draws: Draws, **options: Any) -> Any:
    settings = Settings(store=None, **options)
    rule = ShareRule(threshold=0.5, at_least=True, terms=Terms.of(settings))
    return observe(Plan(statement="draws", units=OwnUnits(draws), settings=settings, rule=rule))


def test_every_unit_is_looked_at_once_and_its_draw_is_that_of_seed_and_position() -> None:
    draws = Draws()
    evidence = measured(draws, exact=True, seed=3)
    assert sorted(unit for part in draws.seen for unit in part) == list(range(600))
    expected = rng.uniform(rng.keys(3, torch.arange(600)), ()) < 0.75
    assert evidence.columns["held"].tolist() == expected.tolist()
    assert evidence.ids.tolist() == list(range(600))
    assert len(evidence.data) == 64


def test_a_clear_claim_stops_early() -> None:
    evidence = measured(Draws(5000))
    assert evidence.n < 1000


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, 'a column "held"'),
        ({"held": [True] * 64}, 'a column "held"'),
        ({"held": np.ones(64)}, 'a column "held"'),
        ({"held": np.ones(63, dtype=bool)}, 'a column "held"'),
        ({"held": np.ones(64, dtype=bool), "why": np.array(["x"] * 64)}, "a column 'why'"),
        ({"held": np.ones(64, dtype=bool), "why": np.ones(3)}, "a column 'why'"),
    ],
)
def test_columns_that_no_rule_can_read_are_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        measured(Draws(give=lambda _: columns))


def test_units_that_change_when_they_are_read_again_are_refused() -> None:
    count = iter(range(10**6))
    with pytest.raises(DataError, match="read twice"):
        measured(Draws(read=lambda _: next(count)))


def test_units_that_no_digest_tells_apart_are_refused() -> None:
    with pytest.raises(DataError, match="plain values"):
        measured(Draws(read=lambda index: (one for one in [index])))


def test_a_unit_for_each_position_is_asked_for() -> None:
    class Short(Draws):
        def load(self, ids: Sequence[int]) -> list[Any]:
            return list(ids)[1:]

    with pytest.raises(DataError, match="a unit for each of"):
        measured(Short())


def test_nothing_to_count_is_refused() -> None:
    with pytest.raises(ConfigError, match="one unit or more"):
        OwnUnits(Draws(0))
    assert len(OwnUnits(Draws(1))) == 1


def test_options_about_a_classifiers_inputs_are_unknown() -> None:
    with pytest.raises(ConfigError, match="bounds"):
        settings_of({"bounds": (0.0, 1.0)})
    assert settings_of({"seed": 4}).seed == 4


def test_a_worker_where_they_are_something_else_is_refused() -> None:
    settings = Settings(store=None)
    told = OwnUnits(Draws(6)).fingerprint(settings, exported=False).digest
    assert told
    PartJob(Draws(6), told, settings, versions()).start("cpu")
    with pytest.raises(ConfigError, match="Draws to be on every worker"):
        PartJob(Draws(7), told, settings, versions()).start("cpu")


@dataclass(frozen=True)
class Glanced(Draws):
    """Units that have a glance."""

    glances: list[int] = field(default_factory=list)

    def glance(self, part: Part) -> dict[str, Any]:
        self.glances.append(len(part.ids))
        return {"told": np.zeros(len(part.ids))}


def test_what_has_a_glance_is_not_looked_at_to_see_whether_it_answers_as_it_did() -> None:
    for draws, looks in ((Draws(4), 2), (Glanced(4), 1)):
        with OwnUnits(draws).open(Settings(store=None)) as opened:
            part = opened.load(torch.arange(4))
            opened.measure(part, first=True)
            told = opened.glance(part)
        assert len(draws.seen) == looks
        assert ("told" in told) is isinstance(draws, Glanced)


@pytest.mark.parametrize(("words", "lowest"), [({}, 0.0), ({"least": -1800.0}, -1800.0), ({"least": 0.6}, 0.6)])
def test_a_value_that_a_search_bounds_from_above_may_be_as_small_as_there_is(
    words: dict[str, float], lowest: float
) -> None:
    settings = Settings(store=None)
    rule = ShareRule(threshold=0.5, at_least=True, terms=Terms.of(settings))
    plan = Plan(statement="draws", units=OwnUnits(Draws()), settings=settings, rule=rule)
    kind = Kind(name="draws", varies="nothing", quantities=(Quantity.at_least("x", "draws", "draws"),))
    told: Any = {"kind": kind, "setting": "", "method": "drawn", "details": {}, "threshold": 0.5}
    assert finish(plan, observe(plan), **told, bounds="above", **words).interval[0] == lowest


def test_time_is_that_of_the_look() -> None:
    units = OwnUnits(Draws(6))
    part = units.load(torch.arange(6))
    assert 0 <= units.measure(part, first=True)[1].seconds < 60


@pytest.mark.parametrize(("told", "taken"), [("", True), ("same", True), ("other", False), ("none here", True)])
def test_a_worker_has_the_code_that_was_sent(told: str, taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(store=None, device="cpu")
    here = OwnUnits(Draws(6)).fingerprint(settings, exported=False).digest
    if told == "none here":
        monkeypatch.setattr(OwnUnits, "fingerprint", lambda *_, **__: Fingerprint(None, "odd"))
    for device in ("cpu", ""):
        job = PartJob(Draws(6), {"": "", "same": here or ""}.get(told, "ab"), settings, versions())
        with nullcontext() if taken else pytest.raises(ConfigError, match="to be on every worker what it is here"):
            found = job.start(device)(Work(0, torch.arange(6)))
            assert len(found.observation.columns["held"]) == 6
    assert OwnUnits(Draws(6)).job().digest == ("" if told == "none here" else here)


def test_a_look_that_breaks_down_is_not_asked_about() -> None:
    """The measurement raises its error; the question about what is remembered has no answer."""
    heard: list[Any] = []

    def broken(part: Part) -> Any:
        raise ZeroDivisionError

    memory: Any = SimpleNamespace(ask=lambda hear, marks: heard.append((hear(True), hear(False), marks)))
    for give, answers in ((held, True), (broken, False)):
        draws = Draws(20, give=give)
        units = OwnUnits(draws)
        units.ask(memory, units.load(torch.arange(20)), [b"a"])
        every, few, marks = heard.pop()
        assert [len(one) for one in draws.seen] == [8, 4]
        assert (every is not None, few is not None, marks) == (answers, answers, [b"a"])


@pytest.mark.parametrize(("n", "sizes"), [(20, [8, 4, 8]), (8, [8, 4, 8]), (5, [5, 4, 5]), (3, [3, 3, 3])])
def test_eight_units_are_asked_about_and_four_are_watched(n: int, sizes: list[int]) -> None:
    draws, told = Glanced(n), []  # type: ignore[var-annotated]

    def ask(hear: Any, marks: Any) -> None:
        told.extend([hear(True), hear(False), hear(True), marks])

    with OwnUnits(draws).open(Settings(store=None)) as opened:
        opened.ask(SimpleNamespace(ask=ask), opened.load(torch.arange(n)), [b"a"])  # type: ignore[arg-type]
    assert draws.glances == sizes
    assert told[0] == told[2]
    assert (told[0] == told[1]) is (sizes[0] == sizes[1])
    assert (told[0].gradient, len(told[0].digests), told[3]) == (1, 1, [b"a"])
