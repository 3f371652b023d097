"""Corruption robustness, on a model that brightness alone decides and shifts whose effect is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import ConfigError, ModelError, StoreError, Verdict, adapting, assert_corruption_robustness
from robustest.claims.shifts.corruptions import Grid
from robustest.data import ALEXNET_ON_IMAGENET_C, CorruptedBenchmark, as_samples
from robustest.decisions.corruption_error import mean_corruption_error, relative_mean_corruption_error
from robustest.measure import measure_corruption_robustness, measure_shift_accuracy
from robustest.shifts import COMMON_CORRUPTIONS, CORRUPTIONS, Shift

VALUES = (0.25, 0.44, 0.56, 0.75)
X = torch.tensor(VALUES).repeat(25).view(-1, 1, 1, 1).expand(-1, 1, 32, 32).contiguous()
Y = (X[:, 0, 0, 0] > 0.5).long()


def model(x: Tensor) -> Tensor:
    z = 10 * (x.flatten(1).mean(1) - 0.5)
    return torch.stack([-z, z], 1)


def measured(**options: Any) -> Any:
    return measure_corruption_robustness(model, (X, Y), **{"corruptions": ["brightness"], **options})


def test_brightness_breaks_what_it_lifts_over_the_boundary() -> None:
    """Dark images become bright: those of 0.44 from an early severity on, those of 0.25 later; bright ones stay."""
    result = measured(exact=True)
    table = result.details["by_severity"]["brightness"]
    accuracies = [table[str(severity)]["accuracy"] for severity in range(1, 6)]
    assert set(accuracies) <= {0.5, 0.75, 1.0}
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-1] < accuracies[0] or accuracies[0] < 1.0
    assert result.estimate == pytest.approx(sum(accuracies) / 5)
    assert result.details["clean_accuracy"] == 1.0
    for entry in table.values():
        low, high = entry["interval"]
        assert low <= entry["accuracy"] <= high
    assert result.outcomes.count(True) == sum(
        sum(a >= share for a in accuracies) >= 3 for share in (1.0, 0.75, 0.5, 0.5) for _ in range(25)
    )


def test_thresholds_are_judged_on_the_mean_of_all_cells() -> None:
    mean = measured(exact=True).estimate
    for name, good, bad in (
        ("min_accuracy", mean, mean + 0.001),
        ("max_drop", 1 - mean, 0.999 - mean),
    ):
        assert measured(exact=True, **{name: round(good, 9)}).verdict is Verdict.PASSED
        assert measured(exact=True, **{name: bad}).verdict is Verdict.FAILED


def test_a_model_is_as_good_as_itself() -> None:
    errors = measured().details["errors"]
    result = measured(max_mce=1.0, reference=errors, exact=True)
    assert (result.verdict, result.estimate) == (Verdict.PASSED, pytest.approx(1.0))
    assert result.details["mce"] == pytest.approx(1.0)
    assert result.details["relative_mce"] == pytest.approx(1.0)
    assert result.numbers.quantity == "mean corruption error"
    twice = {name: [min(1.0, 2 * rate) for rate in rates] for name, rates in errors.items()}
    assert measured(max_mce=0.55, reference=twice, exact=True).verdict is Verdict.PASSED
    assert measured(max_mce=0.45, reference=twice, exact=True).verdict is Verdict.FAILED


def test_errors_are_by_severity_in_whatever_order_they_were_asked_for() -> None:
    errors = measured().details["errors"]["brightness"]
    assert errors[0] < errors[-1]
    assert measured(severities=[4, 2, 5, 1, 3]).details["errors"]["brightness"] == errors


def test_a_baseline_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "errors.json"
    path.write_text(json.dumps(measured().details["errors"]))
    assert measured(max_mce=1.0, reference=path, exact=True).verdict is Verdict.PASSED
    path.write_text("{")
    with pytest.raises(StoreError, match=r"errors\.json"):
        measured(max_mce=1.0, reference=path)


@pytest.mark.parametrize(("names", "clean", "comparisons"), [(2, True, 4), (2, False, 3), (1, True, 2)])
def test_comparisons_with_a_baseline_share_their_error(names: int, clean: bool, comparisons: int) -> None:
    corruptions = ["gaussian_noise", "fog"][:names]
    grid = Grid.of((X, Y), corruptions, [1], reference=None, max_drop=None)
    assert grid.each(0.06, clean=clean)["level"] == pytest.approx(0.06 / comparisons)


def test_it_stops_early_and_shows_no_number() -> None:
    result = measured(min_accuracy=0.55)
    assert (result.verdict, result.estimate) == (Verdict.PASSED, None)
    assert result.numbers.n < result.numbers.n_total
    assert "by_severity" not in result.details


def test_the_sets_are_those_of_the_benchmark() -> None:
    data = (X[:4], Y[:4])
    common = measure_corruption_robustness(model, data, severities=[1])
    assert list(common.details["by_severity"]) == list(COMMON_CORRUPTIONS)
    everything = measure_corruption_robustness(model, data, corruptions="all", severities=[1])
    assert list(everything.details["by_severity"]) == list(CORRUPTIONS)
    assert (len(COMMON_CORRUPTIONS), len(CORRUPTIONS)) == (15, 19)
    assert "errors" not in common.details  # of one severity they are no baseline


def test_batches_make_no_difference() -> None:
    one = measure_corruption_robustness(model, (X, Y), corruptions=["gaussian_noise", "fog"], batch_size=7)
    other = measure_corruption_robustness(model, (X, Y), corruptions=["gaussian_noise", "fog"], batch_size=100)
    assert one.outcomes == other.outcomes
    assert one.details["by_severity"] == other.details["by_severity"]


def test_shown_are_samples_that_were_right_each_once() -> None:
    result = measured(exact=True, examples=5)
    assert len({shown.index for shown in result.counterexamples}) == len(result.counterexamples) == 5
    assert all(shown.clean == shown.label != shown.predicted for shown in result.counterexamples)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_accuracy": 0.5, "max_drop": 0.1}, "one threshold but got min_accuracy and max_drop"),
        ({"max_mce": 1.0}, "reference= for max_mce"),
        ({"max_mce": -1.0, "reference": {"brightness": [0.1] * 5}}, "max_mce to be a number > 0"),
        ({"max_mce": 1.0, "reference": {"fog": [0.1] * 5}}, "five error rates"),
        ({"max_mce": 1.0, "reference": {"brightness": [0.0] * 5}}, "errs under"),
        ({"min_accuracy": 1.5}, "min_accuracy in 0..1"),
        ({"max_mce": 1.0, "reference": {"brightness": [0.1, None, 0.1, 0.1, 0.1]}}, "five error rates"),
        ({"corruptions": ["fog", Shift("fog", parameters="32")]}, "each corruption once but got 'fog' twice"),
        ({"severities": []}, "one corruption and one severity"),
        ({"severities": [6]}, "severity"),
    ],
    ids=str,
)
def test_mistakes_are_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        measured(**options)


def test_an_assertion_needs_something_to_claim() -> None:
    with pytest.raises(ConfigError, match="nothing to claim"):
        assert_corruption_robustness(model, (X, Y))
    assert assert_corruption_robustness(model, (X, Y), corruptions="brightness", min_accuracy=0.6).verdict == "passed"


PAPERS = {
    "ResNet-50": (
        76.7,
        (29.29, 27.03, 23.81, 38.75, 26.79, 38.67, 36.24, 32.53, 38.14, 45.83, 68.02, 39.06, 45.25, 44.79, 53.41),
    ),
    "Speckle": (
        68.3,
        (54.93, 58.07, 49.03, 42.55, 31.63, 39.86, 36.48, 34.05, 41.21, 45.55, 67.98, 40.59, 46.96, 48.67, 57.90),
    ),
    "ANT": (
        62.5,
        (64.77, 65.73, 63.95, 47.02, 36.98, 43.30, 40.56, 36.71, 45.50, 44.20, 69.66, 42.12, 48.89, 54.65, 62.36),
    ),
    "ANT + SIN": (
        61.2,
        (64.45, 64.99, 63.45, 46.47, 37.54, 45.84, 39.25, 42.07, 46.86, 48.98, 68.91, 46.51, 50.23, 57.41, 60.09),
    ),
}
"""mCE as printed, and the accuracy under each of the 15 corruptions in their order, in per cent: Rusak et al., "A
simple way to make neural networks robust against diverse image corruptions", ECCV 2020, and the results of
bethgelab/game-of-noise.
"""


@pytest.mark.parametrize("name", PAPERS)
def test_the_mce_of_published_errors_is_the_published_one(name: str) -> None:
    printed, accuracies = PAPERS[name]
    rates = {
        (corruption, severity): 1 - accuracy / 100
        for corruption, accuracy in zip(COMMON_CORRUPTIONS, accuracies, strict=True)
        for severity in range(1, 6)
    }
    assert 100 * mean_corruption_error(rates, ALEXNET_ON_IMAGENET_C) == pytest.approx(printed, abs=0.1)
    if name == "ResNet-50":  # Hendrycks and Dietterich, ICLR 2019, table 1: relative mCE 105.0, clean error 23.9 %
        relative = relative_mean_corruption_error(rates, 1 - 0.7613, ALEXNET_ON_IMAGENET_C)
        assert relative is not None
        assert 100 * relative == pytest.approx(105.0, abs=0.1)


def test_alexnets_rows_have_the_means_that_the_benchmark_is_normalised_by() -> None:
    means = (
        *(0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360),
        *(0.866816, 0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500),
    )
    for corruption, mean in zip(COMMON_CORRUPTIONS, means, strict=True):
        assert sum(ALEXNET_ON_IMAGENET_C[corruption]) / 5 == pytest.approx(mean, abs=1e-6)


def thousand(x: Tensor) -> Tensor:
    return torch.cat([model(x), torch.full((len(x), 998), -50.0)], 1)


def test_alexnets_errors_are_for_models_and_images_like_its_own() -> None:
    large = X[:20].repeat(1, 3, 3, 3), Y[:20]
    result = measure_corruption_robustness(
        thousand, large, corruptions=["brightness"], max_mce=1.5, reference="alexnet", exact=True
    )
    errors = result.details["errors"]["brightness"]
    assert result.details["mce"] == pytest.approx(sum(errors) / sum(ALEXNET_ON_IMAGENET_C["brightness"]))
    assert (
        "over 1 corruptions and severities 1, 2, 3, 4, 5, where papers' mCE has 15 and 1 to 5" in result.words.caveats
    )
    with pytest.raises(ConfigError, match="1000 classes for AlexNet's errors but it has 2"):
        measure_corruption_robustness(model, large, corruptions=["brightness"], max_mce=1.0, reference="alexnet")
    with pytest.raises(ConfigError, match=r"65 pixels or more for AlexNet's errors but got \(1, 32, 32\)"):
        measured(max_mce=1.0, reference="alexnet")
    with pytest.raises(ConfigError, match=r"papers' 76.7 is 0.767"):
        measure_corruption_robustness(thousand, large, corruptions=["fog"], max_mce=76.7, reference="alexnet")


def stored(*, clean: bool) -> CorruptedBenchmark:
    """Brightness as the shift makes it, in cells of their own."""
    cells = {}
    for severity in range(1, 6):
        made = Shift("brightness", severity).apply(X, torch.zeros(len(X), dtype=torch.int64), (0.0, 1.0))
        cells["brightness", severity] = as_samples((made, Y))
    return CorruptedBenchmark(
        name="own", cells=cells, clean=as_samples((X, Y)) if clean else None, classes=("a", "b"), published=len(X)
    )


def test_a_benchmarks_cells_are_measured_as_they_are() -> None:
    ours = measured(exact=True)
    theirs = measure_corruption_robustness(model, stored(clean=True), exact=True)
    assert theirs.outcomes == ours.outcomes
    assert theirs.details["by_severity"] == ours.details["by_severity"]
    assert theirs.details["clean_accuracy"] == 1.0
    blind = measure_corruption_robustness(model, stored(clean=False), exact=True, min_accuracy=0.5)
    assert blind.details["clean_accuracy"] is None
    assert blind.details["by_severity"] == ours.details["by_severity"]
    with pytest.raises(ConfigError, match="clean images for max_drop"):
        measure_corruption_robustness(model, stored(clean=False), max_drop=0.5)
    with pytest.raises(ConfigError, match="Unknown corruption of own 'fog'"):
        measure_corruption_robustness(model, stored(clean=True), corruptions=["fog"])


class Tuning:
    """Subtracts the running mean of all that it was shown since it was reset: the longer, the darker it sees."""

    def __init__(self) -> None:
        self.resets, self.shown = 0, 0.0

    def reset(self) -> None:
        self.resets += 1
        self.shown = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        self.shown += 0.01 * len(x)
        return model(x - self.shown)


def test_a_model_that_adapts_is_not_compared_with_another() -> None:
    """Its answers hang on what it was shown before; without this its comparison would be with nothing."""
    still = nn.Sequential(nn.Flatten(), nn.Linear(X[0].numel(), 2))
    moody = adapting(still, reset=lambda: None)
    for first, second in ((moody, still), (still, moody)):
        with pytest.raises(ConfigError, match="adapts to what it is shown"):
            measure_corruption_robustness(first, (X, Y), corruptions=["gaussian_noise"], no_worse_than=second)


def test_a_model_that_adapts_is_fresh_in_each_cell_and_said_to_adapt() -> None:
    tuning = Tuning()
    with pytest.raises(ModelError, match=r"robustest\.adapting"):
        measure_corruption_robustness(tuning, (X, Y), corruptions=["brightness"], exact=True)
    tuning = Tuning()
    result = measure_corruption_robustness(adapting(tuning), (X, Y), corruptions=["brightness"], min_accuracy=0.1)
    assert any("adapts to what it is shown" in note for note in result.words.notes)
    assert tuning.shown == 0.0
    alone = measure_corruption_robustness(
        adapting(Tuning()), (X, Y), corruptions=["brightness"], severities=[4], min_accuracy=0.1
    )
    assert alone.details["by_severity"]["brightness"]["4"] == {
        **result.details["by_severity"]["brightness"]["4"],
        "interval": alone.details["by_severity"]["brightness"]["4"]["interval"],
    }
    assert result.details["clean_accuracy"] == alone.details["clean_accuracy"]
    again = adapting(Tuning())
    with pytest.raises(ConfigError, match='scope="set"'):
        measure_corruption_robustness(again, (X, Y), corruptions=["fog"], scope="population")
    with pytest.raises(ConfigError, match="this one adapts"):
        measure_shift_accuracy(adapting(Tuning()), (X, Y), "fog", at_least=0.5)


def dimmed(x: Tensor) -> Tensor:
    """What is barely bright becomes dark: a quarter of the samples is lost."""
    return x * 0.8


def test_a_function_without_severities_is_one_cell_and_names_none() -> None:
    """Five cells of it would be five that are alike, under severities that it never got."""
    result = measured(corruptions=dimmed, exact=True)
    assert result.subject.statement == "mean accuracy over dimmed"
    assert (result.estimate, result.details["cells"]) == (0.75, 1)
    assert result.details["by_severity"] == {}
    assert result.details["by_corruption"] == {"dimmed": 0.75}
    assert result.details["errors"] == {"clean": [0.0], "dimmed": [0.25] * 5}
    assert {one.size for one in result.counterexamples} == {None}
    beside = measured(corruptions=["brightness", dimmed], severities=[1, 2], exact=True)
    assert beside.subject.statement == "mean accuracy over 2 corruptions, severities 1, 2"
    assert (beside.details["cells"], set(beside.details["by_severity"])) == (3, {"brightness"})


def test_the_corruption_error_of_a_function_is_relative_to_its_own() -> None:
    same = measured(corruptions=[dimmed], max_mce=1.0, reference={"dimmed": [0.25] * 5}, exact=True)
    assert (same.verdict, same.details["mce"]) == (Verdict.PASSED, pytest.approx(1.0))
    better = measured(corruptions=[dimmed], max_mce=1.0, reference={"dimmed": [0.125] * 5}, exact=True)
    assert (better.verdict, better.details["mce"]) == (Verdict.FAILED, pytest.approx(2.0))


def test_images_of_a_benchmark_that_are_the_clean_ones_are_no_corruption() -> None:
    """Files of another cell, or copied by mistake: of each severity by itself, where the clean images are there."""
    cells = {("spots", level): as_samples((X if level == 2 else X * 0.8, Y)) for level in range(1, 6)}

    def bench(clean: Any) -> CorruptedBenchmark:
        return CorruptedBenchmark(name="own", cells=cells, clean=clean, classes=("dark", "bright"), published=100)

    beside = measure_corruption_robustness(model, bench(as_samples((X, Y))), corruptions="all", min_accuracy=0.7)
    assert beside.verdict is Verdict.INCONCLUSIVE
    assert "nothing was tested: spots, severity 2 changes none of" in beside.rule
    alone = measure_corruption_robustness(model, bench(None), corruptions="all", min_accuracy=0.7)
    assert (alone.verdict, alone.details["changed"]) == (Verdict.PASSED, {"spots": 100})


def test_files_without_clean_images_are_taken_at_their_word() -> None:
    """One cell as well, whose images are the data that the model is asked about."""
    cells = {("spots", 3): as_samples((X * 0.8, Y))}
    bench = CorruptedBenchmark(name="own", cells=cells, clean=None, classes=("dark", "bright"), published=100)
    one = measure_corruption_robustness(model, bench, corruptions="all", severities=[3], min_accuracy=0.7, exact=True)
    assert (one.verdict, one.rule, one.estimate) == (Verdict.PASSED, "certain: exact on this set", 0.75)


@pytest.mark.parametrize("threshold", [{"min_accuracy": 0.5}, {"max_drop": 0.4}], ids=str)
def test_a_model_that_adapts_is_not_robust_to_what_changes_nothing(threshold: dict[str, float]) -> None:
    def same(x: Tensor) -> Tensor:
        return x

    result = measure_corruption_robustness(
        adapting(model, reset=lambda: None), (X, Y), corruptions=[dimmed, same], **threshold
    )
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "nothing was tested: same changes none of 100 samples" in result.rule
