"""No kind that somebody writes can pass on a change that changes nothing, however it is written.

Each kind here is the recipe's, written in another way, most of them wrongly; its change leaves every sample as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from small_subjects import Bright, Constant, pictures

sys.path.pop(0)
from robustest import ConfigError, Result, RobustestError, Verdict
from robustest import packs as rb

MODEL, DATA = Bright().eval(), pictures(60)
Varies = Literal["inputs", "sets", "nothing"]
Look = Callable[[Any, Any, float], dict[str, Any]]
pytestmark = pytest.mark.filterwarnings("ignore::robustest.HealthWarning")


def compares(evaluator: Any, chunk: Any, by: float) -> dict[str, Any]:
    """Asks about both inputs, as the recipe does."""
    before, after = evaluator.logits(chunk.x), evaluator.logits(chunk.x * by)
    return {"held": evaluator.task.predictions(before) == evaluator.task.predictions(after)}


def asks_once(evaluator: Any, chunk: Any, by: float) -> dict[str, Any]:
    """Asks about the changed inputs alone, and compares with the labels."""
    return {"held": evaluator.logits(chunk.x * by).argmax(1) == chunk.y}


def asks_twice_if_changed(evaluator: Any, chunk: Any, by: float) -> dict[str, Any]:
    """Asks about changed inputs only where there are any."""
    before = evaluator.logits(chunk.x)
    after = before if by == 1 else evaluator.logits(chunk.x * by)
    return {"held": before.argmax(1) == after.argmax(1)}


def says_that_all_moved(evaluator: Any, chunk: Any, by: float) -> dict[str, Any]:
    """Says of every sample that it was changed."""
    return {**compares(evaluator, chunk, by), "moved": torch.ones(len(chunk.x), dtype=torch.bool)}


def asks_in_one_batch(evaluator: Any, chunk: Any, by: float) -> dict[str, Any]:
    """Asks about samples and changed samples in one batch."""
    before, after = evaluator.logits(torch.cat([chunk.x, chunk.x * by])).chunk(2)
    return {"held": before.argmax(1) == after.argmax(1)}


def asks_of_itself(evaluator: Any, chunk: Any, by: float) -> dict[str, Any]:
    """Asks the model past the evaluator."""
    with torch.no_grad():
        return {"held": MODEL(chunk.x).argmax(1) == MODEL(chunk.x * by).argmax(1)}


def asks_and_says(evaluator: Any, chunk: Any, by: float) -> dict[str, Any]:
    """Asks the model past the evaluator, and says of every sample that it was changed."""
    return {**asks_of_itself(evaluator, chunk, by), "moved": torch.ones(len(chunk.x), dtype=torch.bool)}


LOOKS = [
    compares,
    asks_once,
    asks_twice_if_changed,
    says_that_all_moved,
    asks_in_one_batch,
    asks_of_itself,
    asks_and_says,
]


@dataclass(frozen=True)
class Dusk:
    """The change of a chunk."""

    look: Look
    by: float

    def __call__(self, evaluator: Any, chunk: Any) -> Any:
        return rb.Observation(self.look(evaluator, chunk, self.by), [])


def measure(look: Look, varies: Varies, by: float, model: Any = MODEL, **more: Any) -> Result:
    """The share of samples that hold where inputs are multiplied with `by`, at least .5 of them."""
    quantity = rb.Quantity.at_least("at_least", "kept at dusk", "kept at dusk", counts="outcomes")
    kind = rb.Kind(name=f"dusk_{look.__name__}_{varies}", varies=varies, quantities=(quantity,))

    @rb.measurement(kind)
    def measure_dusk(model: object, data: object, *, at_least: float, **options: Unpack[rb.Options]) -> Result:
        setup = rb.Setup.of(model, data, options)
        rule = rb.ShareRule(threshold=at_least, at_least=True, terms=setup.terms)
        plan = setup.plan("kept at dusk", Dusk(look, by), rule, identity=("dusk", look.__name__, by))
        evidence = rb.observe(plan)
        words: dict[str, Any] = {"setting": f"light x {by:g}", "method": "paired", "details": {}}
        return rb.finish(plan, evidence, kind=kind, threshold=at_least, **words, **more)

    found: Result = measure_dusk(model, DATA, at_least=0.5, exact=True, cache=False)
    return found


def green(look: Look, varies: Varies, by: float) -> bool:
    """Return True if the claim passes; False if it does not, or is refused."""
    try:
        return measure(look, varies, by).verdict is Verdict.PASSED
    except RobustestError:
        return False


@pytest.mark.parametrize("varies", ["inputs", "sets", "nothing"])
@pytest.mark.parametrize("look", LOOKS)
def test_a_kind_that_is_of_use_does_not_pass_on_a_change_that_changes_nothing(look: Look, varies: Varies) -> None:
    """A kind that no change lets pass is of no use, and nobody's danger."""
    assert not (green(look, varies, 0.9) and green(look, varies, 1.0))


@pytest.mark.parametrize("look", [compares, asks_once, asks_twice_if_changed, says_that_all_moved])
def test_a_change_that_changes_something_passes(look: Look) -> None:
    assert green(look, "inputs", 0.9)


def test_passes_that_are_not_aligned_with_the_samples_need_a_column() -> None:
    with pytest.raises(ConfigError, match="moved"):
        measure(asks_in_one_batch, "inputs", 0.9)


@pytest.mark.parametrize("look", [compares, asks_once, asks_in_one_batch])
def test_a_kind_that_changes_inputs_and_says_nothing_varies_is_refused(look: Look) -> None:
    with pytest.raises(ConfigError, match="varies"):
        measure(look, "nothing", 0.9)


def test_a_kind_says_what_it_varies() -> None:
    quantity = rb.Quantity.at_least("at_least", "kept", "kept")
    with pytest.raises(ConfigError, match="varies"):
        rb.Kind(name="silent", quantities=(quantity,))


@pytest.mark.parametrize("look", [compares, says_that_all_moved])
def test_a_constant_model_does_not_pass(look: Look) -> None:
    try:
        assert measure(look, "inputs", 0.9, Constant().eval()).verdict is not Verdict.PASSED
    except RobustestError:
        return


def test_changes_that_are_only_said_do_not_count() -> None:
    """What a kind reports of its changes is held against what the evaluator saw."""
    said = [rb.Changed(by="dusk", moved=np.ones(60, dtype=bool))]
    assert measure(compares, "inputs", 1.0, changed=said).verdict is not Verdict.PASSED
    assert measure(compares, "inputs", 0.9, changed=said).verdict is Verdict.PASSED


@dataclass(frozen=True)
class Games:
    """Units of a pack: a game is won unless its start is disturbed by more than a half."""

    starts: tuple[float, ...]
    disturbed: float
    tells: bool = True

    def __len__(self) -> int:
        return len(self.starts)

    def load(self, ids: Any) -> list[float]:
        return [self.starts[i] for i in ids]

    def look(self, part: Any) -> dict[str, Any]:
        units = np.array(part.units, dtype=float)
        told = {"moved": np.full(len(units), self.disturbed > 0)} if self.tells else {}
        return {"held": units + self.disturbed < 1.5, **told}


def games(disturbed: float, varies: Varies = "inputs", *, tells: bool = True) -> Result:
    quantity = rb.Quantity.at_least("at_least", "games won", "games won", counts="outcomes")
    kind = rb.Kind(name="games_won_anyway", varies=varies, quantities=(quantity,))

    @rb.measurement(kind)
    def measure_games(units: Games, *, at_least: float, **options: Unpack[rb.Options]) -> Result:
        settings = rb.settings_of(options)
        plan = rb.Plan(
            statement="games won",
            units=rb.OwnUnits(units),
            settings=settings,
            rule=rb.ShareRule(threshold=at_least, at_least=True, terms=rb.Terms.of(settings)),
            identity=("games", disturbed),
        )
        evidence = rb.observe(plan)
        return rb.finish(
            plan, evidence, kind=kind, threshold=at_least, setting="disturbed", method="played", details={}
        )

    found: Result = measure_games(Games((0.0, 1.0) * 40, disturbed, tells), at_least=0.5, exact=True, cache=False)
    return found


def test_units_of_a_pack_that_nothing_disturbed_do_not_pass() -> None:
    assert games(0.0).verdict is not Verdict.PASSED
    assert games(0.2).verdict is Verdict.PASSED


def test_units_of_a_pack_say_what_moved() -> None:
    with pytest.raises(ConfigError, match="moved"):
        games(0.2, tells=False)
