"""The loop that all repairs share."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from robustest_training.repair import Checkpoint, Recipe, adversarial_training, shift_training
from robustest_training.repair.log import RepairLog
from robustest_training.repair.trainer import shuffled
from torch import Tensor, nn

from robustest import L2, ConfigError, DataError, Linf, ModelError, StoreError, as_classifier, assert_robust_accuracy
from robustest.measure import measure_shift_accuracy
from robustest.results import Result

SHORT = Recipe(epochs=2, batch_size=32, learning_rate=0.01)


def weights(module: nn.Module) -> list[Tensor]:
    return [value.clone() for value in module.state_dict().values()]


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(weights(a), weights(b), strict=True))


def test_the_given_model_and_all_random_states_stay(
    task: Any, make_net: Callable[..., nn.Sequential], snapshot: Callable[[nn.Module], dict[str, Any]]
) -> None:
    model = make_net(dropout=0.3, norm=True).train()
    model[1].weight.requires_grad_(False)
    before = snapshot(model)
    states = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    repaired, log = shift_training(model, task, "gaussian_noise", recipe=SHORT)
    assert snapshot(model) == before
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert random.getstate() == states[2]
    assert not any(part.training for part in repaired.modules())
    assert torch.equal(repaired[1].weight, model[1].weight)  # it was not to be trained
    assert not torch.equal(repaired[1].bias, model[1].bias)
    assert len(log.epochs) == 2


def test_what_comes_back_is_of_the_type_given(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    model = make_net()
    given = as_classifier(model, preprocessing=([0.5], [0.25]))
    repaired = shift_training(given, task, "gaussian_noise", recipe=SHORT).model
    assert repaired.preprocessing == given.preprocessing
    assert repaired.module is not model
    assert repaired.call is repaired.module


def test_the_same_call_gives_the_same_weights_and_another_seed_others(
    task: Any, make_net: Callable[..., nn.Sequential]
) -> None:
    model = make_net(dropout=0.2)
    runs = [
        shift_training(model, task, "gaussian_noise", recipe=Recipe(epochs=1, seed=seed)).model for seed in (3, 3, 4)
    ]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


class Stop(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("stop_at", [1, 7, 8, 11])
def test_a_run_that_was_stopped_anywhere_ends_with_the_same_weights(
    task: Any, make_net: Callable[..., nn.Sequential], tmp_path: Path, optimizer: Any, stop_at: int
) -> None:
    model, path = make_net(dropout=0.2, norm=True), tmp_path / "place.safetensors"
    recipe = Recipe(epochs=2, batch_size=32, learning_rate=0.01, optimizer=optimizer)
    whole, log = adversarial_training(model, task, Linf(0.1), steps=2, recipe=recipe)

    def stop(done: int, total: int, loss: float) -> None:
        assert total == 16
        if done == stop_at + 1:
            raise Stop

    place = Checkpoint(path=path, seconds=0)
    with pytest.raises(Stop):
        adversarial_training(model, task, Linf(0.1), steps=2, recipe=recipe, checkpoint=place, progress=stop)
    resumed, later = adversarial_training(model, task, Linf(0.1), steps=2, recipe=recipe, checkpoint=place)
    assert later.resumed == stop_at
    assert same(resumed, whole)
    assert [(e.loss, e.accuracy) for e in later.epochs] == [(e.loss, e.accuracy) for e in log.epochs]
    again, last = adversarial_training(model, task, Linf(0.1), steps=2, recipe=recipe, checkpoint=place)
    assert last.resumed == 16  # it is done: nothing is trained any more
    assert same(again, whole)


def test_a_checkpoint_of_another_training_is_refused(
    task: Any, make_net: Callable[..., nn.Sequential], tmp_path: Path
) -> None:
    model, path = make_net(), tmp_path / "place.safetensors"
    adversarial_training(model, task, Linf(0.1), steps=1, recipe=SHORT, checkpoint=path)
    others: list[tuple[Any, Any, Any, Recipe]] = [
        (make_net(seed=1), task, Linf(0.1), SHORT),
        (model, (1 - task.x, task.y), Linf(0.1), SHORT),
        (model, task, Linf(0.2), SHORT),
        (model, task, L2(0.1), SHORT),
        (model, task, Linf(0.1), Recipe(epochs=3, batch_size=32, learning_rate=0.01)),
    ]
    for net, data, threat, recipe in others:
        with pytest.raises(StoreError, match="another one"):
            adversarial_training(net, data, threat, steps=1, recipe=recipe, checkpoint=path)


def test_a_damaged_checkpoint_is_refused(task: Any, make_net: Callable[..., nn.Sequential], tmp_path: Path) -> None:
    path = tmp_path / "place.safetensors"
    shift_training(make_net(), task, "gaussian_noise", recipe=SHORT, checkpoint=path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(StoreError, match="Delete it"):
        shift_training(make_net(), task, "gaussian_noise", recipe=SHORT, checkpoint=path)


def test_a_checkpoint_that_cannot_be_written_is_an_error(
    task: Any, make_net: Callable[..., nn.Sequential], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"Expected to (write|read)"):
        shift_training(make_net(), task, "gaussian_noise", recipe=SHORT, checkpoint=tmp_path / "file" / "place")


def test_a_function_that_no_bytes_stand_for_cannot_have_a_checkpoint(
    task: Any, make_net: Callable[..., nn.Sequential], tmp_path: Path
) -> None:
    draws = (float(number % 2) for number in range(10_000))  # where a generator stands cannot be read

    def shift(x: Tensor) -> Tensor:
        return x + 0.01 * next(draws)

    shift_training(make_net(), task, shift, recipe=SHORT)
    with pytest.raises(ConfigError, match="Train without checkpoint="):
        shift_training(make_net(), task, shift, recipe=SHORT, checkpoint=tmp_path / "place")


def test_a_training_that_counts_has_no_checkpoint(
    task: Any, make_net: Callable[..., nn.Sequential], tmp_path: Path
) -> None:
    """It would go on with another count than that at which it was left."""
    count = [0]

    def shift(x: Tensor) -> Tensor:
        count[0] += 1
        return x + 0.01 * (count[0] % 3)

    with pytest.raises(ConfigError, match=r"changes again and again.*Train without checkpoint="):
        shift_training(make_net(), task, shift, recipe=SHORT, checkpoint=tmp_path / "place")
    assert not (tmp_path / "place").exists()

    def loaded(x: Tensor) -> Tensor:
        count[0] = 7
        return x + 0.01 * count[0]

    count[0], place = 0, Checkpoint(path=tmp_path / "place", seconds=0)
    first = shift_training(make_net(), task, loaded, recipe=SHORT, checkpoint=place).model
    count[0] = 0
    again = shift_training(make_net(), task, loaded, recipe=SHORT, checkpoint=place)
    assert same(first, again.model)
    assert again.log.resumed > 0


@pytest.mark.parametrize("outside", ["variable", "file"])
def test_a_training_does_not_go_on_after_a_change_of_what_it_read(
    outside: str,
    task: Any,
    make_net: Callable[..., nn.Sequential],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held, place = tmp_path / "held", tmp_path / "place"

    def set_to(text: str) -> None:
        held.write_text(text)
        monkeypatch.setenv("ROBUSTEST_TEST_INVERT", text)

    def shift(x: Tensor) -> Tensor:
        text = os.environ["ROBUSTEST_TEST_INVERT"] if outside == "variable" else held.read_text()
        return 1 - x if text == "invert" else x

    def trained() -> nn.Module:
        return shift_training(make_net(), task, shift, recipe=SHORT, checkpoint=place).model

    set_to("keep")
    first = trained()
    assert same(first, trained())  # unchanged, it goes on
    set_to("invert")
    with pytest.raises(StoreError, match="ROBUSTEST_TEST_INVERT has changed" if outside == "variable" else "held has"):
        trained()
    set_to("keep")
    assert same(first, trained())


def test_bfloat16_trains_float32_weights(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    recipe = Recipe(epochs=12, batch_size=32, learning_rate=0.02, precision="bf16")
    model, log = adversarial_training(make_net(), task, Linf(0.1), steps=3, recipe=recipe)
    assert log.precision == "bf16"
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert log.epochs[-1].accuracy > 0.95
    full = adversarial_training(
        make_net(), task, Linf(0.1), steps=3, recipe=Recipe(epochs=12, batch_size=32, learning_rate=0.02)
    ).model
    assert not same(model, full)  # it did compute otherwise


def test_the_claim_is_measured_on_the_new_model(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    seen: list[Any] = []

    def claim(model: Any) -> Result:
        seen.append(model)
        return measure_shift_accuracy(model, task, "gaussian_noise", severity=1, at_least=1.0)

    model, log = shift_training(make_net(), task, "gaussian_noise", recipe=SHORT, claim=claim)
    assert seen == [model]
    assert log.claim is not None
    assert log.claim.ruling.threshold == 1.0


def test_a_claim_that_still_fails_is_in_the_log(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    log = shift_training(
        make_net(),
        task,
        "gaussian_noise",
        recipe=SHORT,
        claim=lambda model: assert_robust_accuracy(model, task, Linf(0.9), at_least=0.9),
    ).log
    assert log.claim is not None
    assert str(log.claim.verdict) == "failed"


def test_a_claim_that_gives_no_result_is_refused(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    with pytest.raises(ConfigError, match="to return a Result"):
        shift_training(make_net(), task, "gaussian_noise", recipe=SHORT, claim=len)


def test_the_log_is_plain(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    log = shift_training(make_net(), task, "gaussian_noise", recipe=SHORT).log
    plain = json.loads(json.dumps(log.to_dict()))
    assert plain["settings"]["epochs"] == 2
    assert plain["samples"] == 256
    assert plain["device"] == "cpu"
    assert log.seconds > 0
    assert isinstance(log, RepairLog)


def test_an_order_has_every_sample_once_and_is_the_epochs_own() -> None:
    first, second, other = shuffled(0, 50, 7), shuffled(1, 50, 7), shuffled(0, 50, 8)
    for order in (first, second, other):
        assert order.sort().values.tolist() == list(range(50))
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


def test_no_batch_is_left_with_one_sample(make_net: Callable[..., nn.Sequential], make_task: Any) -> None:
    """Batch norm refuses to learn from one."""
    shift_training(make_net(norm=True), make_task(65), "gaussian_noise", recipe=Recipe(epochs=1, batch_size=64))


def test_a_callable_is_no_model_to_train(task: Any) -> None:
    with pytest.raises(ConfigError, match="a torch module to train a copy of"):
        shift_training(lambda x: x, task, "gaussian_noise")


def test_a_model_without_free_weights_is_refused(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    with pytest.raises(ConfigError, match="requires_grad=False"):
        shift_training(make_net().requires_grad_(False), task, "gaussian_noise")


def test_labels_that_are_no_class_are_refused(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    with pytest.raises(DataError, match=r"labels in 0\.\.1"):
        shift_training(make_net(), (task.x, task.y + 1), "gaussian_noise", recipe=SHORT)


def test_a_loss_that_explodes_is_an_error(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    with pytest.raises(ModelError, match="finite"):
        shift_training(
            make_net(),
            task,
            "gaussian_noise",
            recipe=Recipe(epochs=20, learning_rate=1e30, optimizer="sgd", warm_up=0.0),
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 1.5),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", True),
        ("weight_decay", -1.0),
        ("warm_up", 1.0),
        ("optimizer", "lion"),
        ("precision", "fp16"),
        ("seed", 0.5),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"Expected {name}"):
        Recipe(**{name: value})


def test_the_rate_rises_then_falls_to_nothing() -> None:
    recipe = Recipe(learning_rate=0.5, warm_up=0.25)
    rates = [recipe.rate(done, 99) for done in range(99)]
    assert max(rates) == pytest.approx(0.5)
    assert rates.index(max(rates)) == 24
    assert rates == sorted(rates[:25]) + sorted(rates[25:], reverse=True)
    assert 0 < rates[-1] < 1e-3
