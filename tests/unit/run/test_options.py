"""What every measurement takes besides its own arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robustest import ConfigError, Linf, Settings, UnknownNameError
from robustest.context import Context, running
from robustest.cues import PixelPatch
from robustest.measure import measure_no_spurious_feature, measure_robust_accuracy, measure_shift_accuracy

MEASUREMENTS: dict[str, Callable[..., Any]] = {
    "attack": lambda m, d, **o: measure_robust_accuracy(m, d, Linf(0.01), **{"attack": "fgsm", **o}),
    "shift": lambda m, d, **o: measure_shift_accuracy(m, d, "brightness", **o),
    "cue": lambda m, d, **o: measure_no_spurious_feature(
        m, d, PixelPatch(top=0, left=0), max_flip_rate=0.99, max_recall_drop=0.99, **o
    ),
}
every_measurement = pytest.mark.parametrize("measure", MEASUREMENTS.values(), ids=MEASUREMENTS)


@every_measurement
def test_a_call_says_more_than_the_running_test_and_that_more_than_the_default(
    measure: Callable[..., Any], toy: Any
) -> None:
    data = (toy.x, toy.y)
    assert measure(toy.model, data).evidence.seed == 0
    with running(Context(settings=Settings(seed=1, alpha=0.1), test="t")):
        assert measure(toy.model, data).evidence.seed == 1
        result = measure(toy.model, data, seed=2)
        assert result.evidence.seed == 2
        wide = measure(toy.model, data, alpha=0.001)
    assert wide.interval[0] <= result.interval[0] <= result.interval[1] <= wide.interval[1]
    assert wide.interval != result.interval


@every_measurement
@pytest.mark.parametrize(
    ("option", "near"), [("batchsize", "batch_size"), ("sed", "seed"), ("supress", "suppress"), ("bound", "bounds")]
)
def test_an_unknown_option_gets_the_nearest(measure: Callable[..., Any], option: str, near: str, toy: Any) -> None:
    with pytest.raises(UnknownNameError, match=f"Unknown option '{option}'. Did you mean '{near}'"):
        measure(toy.model, (toy.x, toy.y), **{option: 1})


@every_measurement
@pytest.mark.parametrize("option", ["profile", "pictures"])
def test_what_belongs_to_a_run_is_no_option(measure: Callable[..., Any], option: str, toy: Any) -> None:
    with pytest.raises(UnknownNameError, match=f"Unknown option '{option}'"):
        measure(toy.model, (toy.x, toy.y), **{option: "x"})


@pytest.mark.parametrize("name", ["shift", "cue"])
def test_an_attack_is_an_option_of_attacks_alone(name: str, toy: Any) -> None:
    with pytest.raises(UnknownNameError, match="Unknown option 'attack'"):
        MEASUREMENTS[name](toy.model, (toy.x, toy.y), attack="pgd")


@every_measurement
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("seed", 1.5),
        ("device", "gpu"),
        ("batch_size", 0),
        ("scope", "all"),
        ("alpha", 1),
        ("examples", -1),
        ("suppress", 5),
        ("suppress", ("everything",)),
        ("bounds", (1, 0)),
        ("preprocessing", 3),
    ],
    ids=str,
)
def test_values_are_checked_before_any_work(
    measure: Callable[..., Any], option: str, value: Any, toy: Any, watched: Callable[..., Any]
) -> None:
    model = watched(toy.model)
    with pytest.raises(ConfigError) as caught:
        measure(model, (toy.x, toy.y), **{option: value})
    assert option in str(caught.value) or "health check" in str(caught.value)
    assert model.calls == []
