"""The core's tables over all kinds of claims, run on the kinds of this pack."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rare_strata
import robustest_training as pack
import test_api_rules as rules
import test_budget as budget
import test_compare_kinds as compare
import test_kinds as core
import test_population_coverage as coverage
import test_rare_strata as strata
import test_results as results
import test_suggest_kinds as suggest
import test_unsound as unsound
import test_what_is_remembered as remembered
import torch
import training_populations
from rare_trainings import CASES
from robustest_training import (
    measure_nonrobust_reliance,
    measure_robust_generalization,
    measure_smooth_landscape,
    measure_synthetic_covers,
)
from table_entries import check_entries
from torch import Tensor, nn
from training_kinds import KINDS

from robustest import L2, Linf, Result, Verdict, clock
from robustest.extensions import all_of
from robustest.packs import Kind

ASSERTIONS = [name for name in dir(pack) if name.startswith("assert_")]
every_assertion = pytest.mark.parametrize("name", ASSERTIONS)
every_kind = pytest.mark.parametrize("name", KINDS)
digits, bare = unsound.digits, unsound.bare  # fixtures
as_it_was = remembered.as_it_was


def test_robustest_finds_the_kinds_of_the_pack() -> None:
    found = [kind for owner, kind in all_of("robustest_kinds", Kind) if owner == "training"]
    assert sorted(kind.assertion for kind in found) == ASSERTIONS


# The rules of the public interface, as robustest's own assertions keep them.


@pytest.fixture
def in_place_of_robustest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "robustest", pack)
    monkeypatch.setattr(rules, "measure", pack)
    monkeypatch.setattr(
        rules, "FIRST", {f"assert_{name}": ["data"] for name in ("robust_generalization", "synthetic_covers")}
    )


@every_assertion
@pytest.mark.parametrize(
    "rule",
    [
        rules.test_an_assertion_and_its_measurement_are_twins,
        rules.test_a_model_data_and_what_is_varied_are_positional_and_nothing_else,
        rules.test_a_threshold_is_called_by_one_of_four_words,
        rules.test_a_baseline_comes_with_a_tolerance,
        rules.test_a_kind_is_named_as_its_assertion,
    ],
    ids=lambda rule: rule.__name__,
)
@pytest.mark.usefixtures("in_place_of_robustest")
def test_an_assertion_keeps_the_rules_of_the_core(name: str, rule: Callable[[str], None]) -> None:
    rule(name)


# Verdicts, changes between runs, suggested thresholds and the form of results, of a good and a bad model.


@pytest.fixture(autouse=True, scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    compare._STORE.append(tmp_path_factory.mktemp("store"))
    for table in (compare.KINDS, suggest.KINDS, results.KINDS):
        table.update(KINDS)
    yield
    compare._STORE.clear()
    compare.measured.cache_clear()


@every_kind
def test_verdicts_of_a_good_and_a_bad_model(name: str) -> None:
    compare.test_every_kind_is_what_the_table_takes_it_for(name)


CHANGES = compare.test_what_became_of_a_claim.pytestmark[0].args[1]  # type: ignore[attr-defined]


@every_kind
def test_what_compare_says_of_a_claim(name: str) -> None:
    for first, second, change in CHANGES:
        compare.test_what_became_of_a_claim(name, first, second, change)
    compare.test_what_broke_the_old_threshold_as_well_is_worse_whatever_is_asked_now(name)
    pairing = compare.measured(name).evidence.pairing
    assert pairing is not None
    assert not pairing.share
    assert not pairing.groups


@every_kind
def test_a_result_has_the_form_that_the_schema_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results.test_a_result_has_the_form_that_the_schema_says(results.result_of_kind(name))
    results.test_every_reason_is_one_that_is_described(name)
    results.test_a_claim_has_one_name_whatever_its_threshold_and_its_words(name, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(KINDS) - {"synthetic covers"}))
def test_a_suggested_threshold_is_kept_under_other_seeds(name: str) -> None:
    suggest.test_what_is_suggested_is_kept_under_other_seeds(name)


# What a verdict must not cover silently.


def landscape(data: core.Data, **options: Any) -> Result:
    """Two runs of two nets on all samples at once, which learn in a few steps or do not."""

    def wide() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(core.SIDE * core.SIDE, core.CLASSES))

    def narrow() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(core.SIDE * core.SIDE, 8), nn.ReLU(), nn.Linear(8, core.CLASSES))

    course: dict[str, Any] = {"seeds": 2, "train_steps": 20, "learning_rate": 0.5, "reference": narrow}
    return measure_smooth_landscape(wide, [data], loss=nn.functional.cross_entropy, **course, **options)


_NOISE = torch.randn(core.X.shape, generator=torch.Generator().manual_seed(1))
# Other draws: samples to train on that are copies of those to test on, mirrored ones too, are refused.
MORE = ((0.5 + 0.1 * core.TEMPLATES[core.Y] + 0.25 * _NOISE).clamp(0, 1), core.Y)
"""Other samples, of the same classes."""


def means(x: Tensor, y: Tensor, seed: int) -> core.Net:
    """Trained: the mean of each class."""
    centres = [x[y == k].mean(0) if bool((y == k).any()) else torch.zeros_like(x[0]) for k in range(core.CLASSES)]
    return core.Net(10 * (torch.stack(centres) - 0.5)).eval()


TABLE = {
    "robust generalization": core.kind("assert_robust_generalization", "max_gap", 1, exact=False)(
        lambda d, **o: measure_robust_generalization(
            MORE, Linf(0.02), train=means, test_data=d, sizes=[60], seeds=2, min_train_accuracy=0.3, **core.FGSM, **o
        )
    ),
    "nonrobust reliance": core.kind("assert_nonrobust_reliance", "max_transfer", 1, exact=False)(
        lambda d, **o: measure_nonrobust_reliance(
            core.MODEL, MORE, L2(0.5), train=means, test_data=d, seeds=2, iterations=5, **o
        )
    ),
    "synthetic set": core.kind("assert_synthetic_covers", "max_gap", 1, exact=False)(
        lambda d, **o: measure_synthetic_covers(
            *((d[0][at::3], d[1][at::3]) for at in (1, 0)), test_data=(d[0][2::3], d[1][2::3]), splits=2, **o
        )
    ),
    "landscape": core.kind("assert_smooth_landscape", "max_ratio", exact=False)(landscape),
}
every_row = pytest.mark.parametrize("one", TABLE.values(), ids=TABLE)


def test_the_table_has_every_kind() -> None:
    check_entries((one.assertion for one in TABLE.values()), ASSERTIONS, "TABLE here")


@every_row
def test_what_nothing_could_fail_is_neither_green_nor_silent(one: core.Kind) -> None:
    core.test_a_threshold_that_any_model_keeps_is_refused(one)
    for wrong in (float("nan"), float("inf"), True, "0.4", [0.4], 1e6):
        core.test_what_is_no_number_in_range_is_refused(one, wrong)
    core.test_a_fall_says_where_it_starts(one)


@every_row
@pytest.mark.parametrize("scope", ["set", "population"])
def test_a_claim_on_few_samples_is_not_silent(one: core.Kind, scope: str) -> None:
    for n in (1, 2, 9):
        core.test_a_claim_on_few_samples_is_not_silent(one, scope, n)
    core.test_every_result_says_what_it_is_about(one, scope)
    core.test_a_pass_about_the_population_rests_on_a_bound(one)


# Populations of known truth, and rare strata.

FRESH = coverage.Truth(
    "synthetic_covers", training_populations.synthetic_covers, "max_gap", 0.0, other={"max_copies": None}
)


@pytest.mark.parametrize("draws", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_the_truth_is_missed_no_oftener_than_alpha(draws: int) -> None:
    coverage.test_the_truth_is_missed_no_oftener_than_alpha(FRESH, draws)


@pytest.mark.parametrize("n", rare_strata.SIZES)
@pytest.mark.parametrize("one", CASES, ids=lambda one: f"{one.rule}: {one.population}")
def test_few_runs_pass_a_false_claim(one: rare_strata.Case, n: int) -> None:
    strata.test_few_runs_pass_a_false_claim(one, n)


def test_every_kind_has_a_population_that_misleads() -> None:
    check_entries({f"assert_{kind}" for one in CASES for kind in one.kinds}, ASSERTIONS, "CASES in rare_trainings.py")


def test_what_is_about_would_pass_false_claims_of_a_population() -> None:
    found = {
        one.rule for one in CASES if one.about for n in (20, 500) if (rare_strata.measured(one, n, 60).as_set or 0) > 3
    }
    assert {"seeded share", "seeded gap", "decide_ratio"} <= found


# Gradients that mislead the search, budgets, and what is remembered of a training.


def learned(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    """The mean of each class, of nine samples in ten."""
    some = torch.rand(len(x), generator=torch.Generator().manual_seed(seed)) < 0.9
    centres = torch.stack([x[some & (y == k)].flatten(1).mean(0) for k in range(10)])
    head = nn.Linear(centres.shape[1], 10)
    with torch.no_grad():
        head.weight.copy_(centres)
        head.bias.copy_(-centres.square().sum(1) / 2)
    return nn.Sequential(nn.Flatten(), head).eval()


def of_digits(kind: str, model: nn.Module, x: Tensor, y: Tensor) -> Result:
    data, test = (x[::2], y[::2]), (x[1::2], y[1::2])
    if kind == "robust generalization":
        how: dict[str, Any] = {"sizes": [len(data[1])], "seeds": 2, "min_train_accuracy": 0.3, "attack": "pgd"}
        return measure_robust_generalization(
            data, Linf(0.01), train=lambda *_: model, test_data=test, max_gap=0.7, **how
        )
    return measure_nonrobust_reliance(
        model, data, L2(3.0), train=learned, test_data=test, max_transfer=0.5, min_reached=0, iterations=5
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["robust generalization", "nonrobust reliance"])
def test_a_claim_that_follows_gradients_is_judged_as_those_of_the_core(kind: str, bare: Any, digits: Any) -> None:
    net, x, y, _ = bare
    if kind == "nonrobust reliance":
        more = digits.digits()
        x, y = more[0][::2], more[1][::2]
    masked = of_digits(kind, unsound.Features(net).eval(), x, y)
    assert masked.verdict is Verdict.INCONCLUSIVE
    assert "gradient_misleads" in unsound.names(masked)
    plain = of_digits(kind, net, x, y)
    assert (plain.verdict, unsound.names(plain)) == (Verdict.PASSED, set())


def slow(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    model = budget.Slow()
    for _ in range(1000):
        model(x[:4])
    return model


def of_other_code(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    budget.CLOCK.sleep(0.2)  # a training that calls no module
    return budget.Slow(0.0)


@pytest.mark.parametrize(("train", "seeds"), [(slow, 1), (of_other_code, 9)])
def test_a_claim_ends_with_its_time_and_is_open(train: Any, seeds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def claim(**options: Any) -> Result:
        how: dict[str, Any] = {"max_gap": 0.5, "min_train_accuracy": 0.6, "attack": "fgsm", "seeds": seeds}
        return measure_robust_generalization(
            budget.data(64), Linf(0.1), train=train, test_data=budget.data(32, 1), **how, **options
        )

    monkeypatch.setattr(clock, "time", budget.CLOCK)
    budget.ends_in_time(lambda: claim(time_budget=budget.BUDGET))


def trained_by(sign: remembered.Sign) -> Callable[[Tensor, Tensor, int], nn.Module]:
    def train(x: Tensor, y: Tensor, seed: int) -> nn.Module:
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).float()
        scale = 10.0 * sign()
        with torch.no_grad():
            net[1].weight.copy_(torch.tensor([[-scale], [scale]]) / 16)
            net[1].bias.copy_(torch.tensor([scale / 2, -scale / 2]))
        return net

    return train


def of_training(sign: remembered.Sign) -> Result:
    how: dict[str, Any] = {"sizes": [16], "seeds": 1, "min_train_accuracy": 0.6, "attack": "fgsm"}
    return measure_robust_generalization(
        remembered.images(16),
        Linf(0.01),
        train=trained_by(sign),
        test_data=remembered.images(12),
        **how,
        **remembered.QUIET,
    )


@pytest.mark.usefixtures("few_controls")
@pytest.mark.parametrize("name", remembered.CHANGES)
def test_what_changes_is_trained_anew(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(remembered.KINDS, "training", of_training)
    remembered.test_what_changes_is_measured_anew("training", name, tmp_path, monkeypatch)


@pytest.mark.usefixtures("few_controls")
@pytest.mark.parametrize("name", remembered.UNMOVED)
def test_state_that_a_claim_sets_for_itself_moves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(remembered.KINDS, "training", of_training)
    remembered.test_state_that_a_claim_sets_for_itself_moves_nothing("training", name, tmp_path, monkeypatch)


def test_a_users_features_run_in_full_float32() -> None:
    seen: list[tuple[torch.dtype, str]] = []

    def features(x: Tensor) -> Tensor:
        seen.append((torch.get_default_dtype(), torch.get_float32_matmul_precision()))
        return x

    draw = torch.Generator().manual_seed(0)
    x, y = torch.rand(300, 4, generator=draw), torch.arange(300) % 2
    sets = [(x[at : at + 100], y[at : at + 100]) for at in (0, 100, 200)]
    before = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        measure_synthetic_covers(*sets[:2], test_data=sets[2], max_gap=0.5, embedding=features)
        after = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    finally:
        torch.set_default_dtype(before[0])
        torch.set_float32_matmul_precision(before[1])
    assert set(seen) == {(torch.float32, "highest")}
    assert after == (torch.float64, "medium")


def test_checkpoints_take_a_key() -> None:
    from robustest_training.repair import trainer

    for function in (trainer.save_checkpoint, trainer.load_checkpoint):
        assert inspect.signature(function).parameters["file"].annotation == "KeyedFile"
