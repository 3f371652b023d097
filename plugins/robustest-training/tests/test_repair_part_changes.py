"""What repairs cost: every class and group before and after, with its number, and those that surely lost by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from robustest_training.repair import (
    Recipe,
    Repaired,
    adversarial_training,
    balanced_training,
    counterfactual_training,
    frequency_weighted_training,
    group_dro,
    last_layer_retraining,
    logit_adjusted_training,
    logit_adjustment,
    multilabel_training,
    shift_training,
)
from torch import Tensor, nn

from robustest import ConfigError, DataError, Linf, assert_worst_group_accuracy
from robustest.context import Context, running
from robustest.cues import PixelPatch
from robustest.measure import measure_worst_group_accuracy
from robustest.settings import Settings

QUICK = Recipe(epochs=1, batch_size=64)
Nets = Callable[..., nn.Sequential]


def stripes(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = 0.3 * torch.rand(n, 1, 6, 6, generator=generator)
    x[torch.arange(n), 0, 2 + y] += 0.4
    return x, y


TRAIN, HELD_OUT = stripes(240, 0), stripes(200, 1)
SIDES = torch.arange(240) % 4 // 2
SETS = torch.nn.functional.one_hot(TRAIN[1], 2).bool() | (torch.arange(240) % 5 == 0).view(-1, 1)
HELD_SETS = torch.nn.functional.one_hot(HELD_OUT[1], 2).bool() | (torch.arange(200) % 5 == 0).view(-1, 1)


class Answers:
    """As `robustest_people.Annotations` has them: nine of ten select each sample for its label."""

    frequency, shown, independent = np.full(240, 0.9), np.full(240, 10), True

    def __len__(self) -> int:
        return 240


ANSWERS = Answers()

METHODS: dict[str, Callable[..., Repaired]] = {
    "adversarial": lambda m, **how: adversarial_training(m, TRAIN, Linf(0.05), method="fast", recipe=QUICK, **how),
    "shifts": lambda m, **how: shift_training(m, TRAIN, "brightness", recipe=QUICK, **how),
    "counterfactual": lambda m, **how: counterfactual_training(
        m, TRAIN, PixelPatch(top=0, left=0), recipe=QUICK, **how
    ),
    "balanced": lambda m, **how: balanced_training(m, TRAIN, recipe=QUICK, **how),
    "logit adjusted": lambda m, **how: logit_adjusted_training(m, TRAIN, recipe=QUICK, **how),
    "post hoc": lambda m, **how: logit_adjustment(m, TRAIN, **how),
    "group dro": lambda m, **how: group_dro(m, TRAIN, SIDES, recipe=QUICK, **how),
    "last layer": lambda m, **how: last_layer_retraining(m, TRAIN, SIDES, repeats=1, n_lambdas=3, **how),
    "frequencies": lambda m, **how: frequency_weighted_training(m, TRAIN, ANSWERS, recipe=QUICK, **how),
    "soft labels": lambda m, **how: multilabel_training(m, TRAIN, ANSWERS, loss="soft", recipe=QUICK, **how),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_lists_each_class_before_and_after_on_held_out_data(method: Any, make_net: Nets) -> None:
    model = make_net()
    log = method(model, held_out=HELD_OUT).log
    assert log.measured_on == "held-out data"
    assert [(row.part, row.n) for row in log.by_class] == [("class 0", 100), ("class 1", 100)]
    with torch.no_grad():
        right = model(HELD_OUT[0]).argmax(1) == HELD_OUT[1]
    assert [row.before for row in log.by_class] == [float(right[HELD_OUT[1] == k].double().mean()) for k in (0, 1)]
    for row in log.by_class:
        assert row.after == pytest.approx(row.before + (row.gained - row.lost) / row.n)
        assert row.interval[0] <= row.after - row.before <= row.interval[1]
    assert json.loads(json.dumps(log.to_dict()))["by_class"][0]["n"] == 100
    assert "class 1" in str(log)
    assert "held-out data" in str(log)


def test_without_held_out_data_it_says_what_it_measured_on(make_net: Nets) -> None:
    log = balanced_training(make_net(), TRAIN, recipe=QUICK).log
    assert [row.n for row in log.by_class] == [120, 120]
    assert log.measured_on == "the data that the repair was given"
    assert any("held_out=" in note for note in log.notes)
    assert not any(
        "held_out=" in note for note in balanced_training(make_net(), TRAIN, recipe=QUICK, held_out=HELD_OUT).log.notes
    )


def test_what_the_repair_was_given_is_no_held_out_data(make_net: Nets) -> None:
    """Not even a part of it: what was fitted says nothing of what it costs on others."""
    mixed = (torch.cat([HELD_OUT[0], TRAIN[0][:3]]), torch.cat([HELD_OUT[1], TRAIN[1][:3]]))
    for method in ("balanced", "post hoc", "last layer"):
        with pytest.raises(DataError, match="3 of 203"):
            METHODS[method](make_net(), held_out=mixed)
    with pytest.raises(DataError, match="240 of 240"):
        multilabel_training(make_net(), (TRAIN[0], SETS), recipe=QUICK, held_out=(TRAIN[0], SETS))


def test_groups_are_listed_where_they_are_known(make_net: Nets) -> None:
    own = group_dro(make_net(), TRAIN, SIDES, recipe=QUICK).log
    assert [(row.part, row.n) for row in own.by_group] == [("0", 120), ("1", 120)]
    fitted = last_layer_retraining(make_net(), TRAIN, SIDES, repeats=1, n_lambdas=3).log
    assert [(row.part, row.n) for row in fitted.by_group] == [("0", 120), ("1", 120)]
    given = logit_adjustment(make_net(), TRAIN, held_out=HELD_OUT, held_out_groups=["a"] * 50 + ["b"] * 150).log
    assert [(row.part, row.n) for row in given.by_group] == [("a", 50), ("b", 150)]
    with pytest.raises(ConfigError, match="held_out_groups"):
        logit_adjustment(make_net(), TRAIN, held_out_groups=SIDES)
    with pytest.raises(DataError):
        logit_adjustment(make_net(), TRAIN, held_out=HELD_OUT, held_out_groups=SIDES)


class Bright(nn.Module):
    """Two logits: the mean pixel's distance from a cut, either way."""

    def __init__(self) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        z = 8 * (x.flatten(1).mean(1) - 0.5) + self.free
        return torch.stack([-z, z], 1)


def dim(n: int, frequent: float, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = (torch.rand(n, generator=generator) > frequent).long()
    level = 0.42 + 0.16 * y + 0.08 * torch.randn(n, generator=generator)
    return level.view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clamp(0, 1).clone(), y


def test_a_class_that_surely_lost_is_named_and_one_that_gained_is_not() -> None:
    """What the rare class gains the frequent one loses."""
    held_out = dim(2000, 0.5, 1)
    log = logit_adjustment(Bright(), dim(2000, 0.95, 0), held_out=held_out).log
    zero, one = log.by_class
    assert zero.after < zero.before - 0.05
    assert one.after > one.before
    assert (zero.worse, one.worse) == (True, False)
    named = [note for note in log.notes if "lost" in note]
    assert len(named) == 1
    assert "class 0" in named[0]
    assert f"{zero.before:.3f} -> {zero.after:.3f}" in named[0]
    assert "class 1" not in named[0]


def test_chance_accuses_no_class() -> None:
    """A change of a few answers either way, in one class of two."""
    few = dim(60, 0.5, 2)
    log = logit_adjustment(Bright(), dim(2000, 0.6, 0), held_out=few).log
    assert any(row.lost for row in log.by_class)
    assert not any(row.worse for row in log.by_class)
    assert not [note for note in log.notes if "lost" in note]


def test_sets_are_judged_class_by_class_and_by_the_number_of_objects(make_net: Nets) -> None:
    log = multilabel_training(make_net(), (TRAIN[0], SETS), recipe=QUICK, held_out=(HELD_OUT[0], HELD_SETS)).log
    assert [(row.part, row.n) for row in log.by_class] == [("class 0", 120), ("class 1", 120)]  # samples that show it
    assert [(row.part, row.n) for row in log.by_group] == [("1 object", 160), ("2 objects", 40)]
    own = multilabel_training(make_net(), (TRAIN[0], SETS), recipe=QUICK, loss="soft").log
    assert sum(row.n for row in own.by_group) == 240


def test_the_recorded_claim_has_the_rows_for_the_page(make_net: Nets) -> None:
    def claim(model: Any) -> Any:
        return assert_worst_group_accuracy(model, HELD_OUT, HELD_OUT[1], at_least=0.01)

    with running(Context(settings=Settings(), test="tests/test_repair.py::test_one")) as context:
        log = logit_adjustment(make_net(), TRAIN, held_out=HELD_OUT, claim=claim).log
    assert len(context.results) == 1
    rows = context.results[0].details["classes_before_and_after_the_repair"]
    assert [row["part"] for row in rows] == ["class 0", "class 1"]
    assert log.claim is context.results[0]
    assert not context.ungated


def test_the_terminal_shows_them(make_net: Nets, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    logit_adjustment(make_net(), TRAIN, held_out=HELD_OUT)
    assert not capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    logit_adjustment(make_net(), TRAIN, held_out=HELD_OUT)
    assert "class 1" in capsys.readouterr().err


def test_the_models_and_random_states_stay_as_they_were(make_net: Nets, snapshot: Any) -> None:
    model = make_net(dropout=0.5, norm=True)
    model.train()
    before, state = snapshot(model), torch.get_rng_state()
    made = balanced_training(model, TRAIN, recipe=QUICK, held_out=HELD_OUT)
    assert snapshot(model) == before
    assert torch.equal(torch.get_rng_state(), state)
    again = balanced_training(model, TRAIN, recipe=QUICK)
    for one, other in zip(made.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_claim_measured_again_is_the_one_in_the_log(make_net: Nets) -> None:
    log = logit_adjustment(
        make_net(), TRAIN, claim=lambda model: measure_worst_group_accuracy(model, HELD_OUT, HELD_OUT[1])
    ).log
    assert log.claim is not None
    assert "classes_before_and_after_the_repair" in log.claim.details
