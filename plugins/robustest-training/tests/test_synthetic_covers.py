"""A synthetic set that stands in for real data, and sets that do not, each for a reason of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from robustest_training import assert_synthetic_covers, measure_synthetic_covers
from robustest_training.synthetic_sets import Draws, Fits, OwnLearner, read_sets
from torch import Tensor, nn

from robustest import (
    ClaimFailed,
    ClaimInconclusive,
    ConfigError,
    DataError,
    ModelError,
    Result,
    Settings,
    StoreError,
    Verdict,
    as_classifier,
    devices,
)
from robustest.context import Context, running
from robustest.packs import Observation, Tally
from robustest.reports.html.figures import curves_of

Data = tuple[Tensor, Tensor]

K, D = 4, 6
CENTRES = 1.2 * torch.randn(K, D, generator=torch.Generator().manual_seed(1))


def drawn(n: int, seed: int) -> Data:
    random = torch.Generator().manual_seed(seed)
    y = torch.randint(K, (n,), generator=random)
    return CENTRES[y] + torch.randn(n, D, generator=random), y


TRAIN, TEST, FRESH = drawn(240, 1), drawn(600, 2), drawn(240, 3)


def measure(synthetic: Data = FRESH, data: Data = TRAIN, test: Data = TEST, **claim: Any) -> Result:
    return measure_synthetic_covers(
        data, synthetic, test_data=test, **{"max_gap": 0.15, "max_copies": 0.1, "splits": 2, **claim}
    )


def part(result: Result, name: str) -> dict[str, Any]:
    return next(row for row in result.details["parts"] if row["part"] == name)


def jitter(data: Data, noise: float = 0.02) -> Data:
    return data[0] + noise * torch.randn(data[0].shape, generator=torch.Generator().manual_seed(9)), data[1]


def test_fresh_samples_stand_in_for_real_ones() -> None:
    asked = {"max_gap": 0.1, "max_label_shift": 0.2, "max_diversity_factor": 8.0, "max_copies": 0.05}
    result = assert_synthetic_covers(TRAIN, FRESH, test_data=TEST, **asked)
    assert (result.verdict, result.subject.scope, result.numbers.n) == (Verdict.PASSED, "set", 600)
    assert [row["verdict"] for row in result.details["parts"]] == ["passed"] * 4
    low, high = result.interval
    assert low < 0 < high < 0.1
    assert "about alpha = 0.01" in result.rule
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()


def test_the_gap_and_the_factor_show_nothing_of_a_population() -> None:
    asked = {"max_gap": 0.3, "max_diversity_factor": 10.0, "max_copies": None}
    assert [part(measure(**asked), name)["verdict"] for name in ("accuracy gap", "diversity factor")] == ["passed"] * 2
    of_others = measure(**asked, scope="population")
    assert (of_others.verdict, of_others.subject.scope) == (Verdict.INCONCLUSIVE, "population")
    for name in ("accuracy gap", "diversity factor"):
        assert part(of_others, name)["verdict"] == "inconclusive"
        assert f"{name}: not shown for the population" in of_others.rule


def test_wrong_labels_are_a_gap() -> None:
    wrong = torch.rand(240, generator=torch.Generator().manual_seed(0)) < 0.5
    with pytest.raises(ClaimFailed, match=r"accuracy gap 0\.\d+ \[.*at most 0\.05 claimed") as failed:
        assert_synthetic_covers(
            TRAIN, (FRESH[0], torch.where(wrong, (FRESH[1] + 1) % K, FRESH[1])), test_data=TEST, max_gap=0.05
        )
    assert not isinstance(failed.value, ClaimInconclusive)


def test_a_class_that_is_left_out_shifts_the_labels_and_is_the_worst_one() -> None:
    few = FRESH[1] != 2
    result = measure((FRESH[0][few], FRESH[1][few]), max_label_shift=0.05)
    assert result.verdict is Verdict.FAILED
    assert part(result, "label shift")["verdict"] == "failed"
    assert result.details["label_shift"] > 0.2 > 3 * result.details["label_shift_by_chance"]
    assert result.details["worst_class"]["class"] == 2
    assert result.details["worst_class"]["synthetic"] == 0
    assert result.details["worst_class"]["synthetic share"] == 0


def test_samples_that_teach_little_are_worth_few() -> None:
    """Of the labels .48 are the next class's: much fewer right ones teach as much."""
    x, y = drawn(400, 33)
    wrong = torch.rand(400, generator=torch.Generator().manual_seed(0)) < 0.48
    sets = ((x, torch.where(wrong, (y + 1) % K, y)), drawn(400, 31), drawn(4000, 32))
    result = measure(*sets, max_gap=0.5, max_diversity_factor=1.5, max_copies=None, splits=8)
    assert part(result, "diversity factor")["verdict"] == "failed"
    low, high = result.details["diversity_factor_interval"]
    assert low > 1.5
    assert high is None or low < high <= 64


def test_equal_samples_stay_together_in_halves() -> None:
    """Else halves of a set of few that are repeated would be alike, and its draw taken to be certain."""
    few = (FRESH[0][:12].repeat(20, 1), FRESH[1][:12].repeat(20))
    draws = Draws.of(read_sets(few, TRAIN, TEST), 8, seed=0)
    for pair in draws.synthetic_halves:
        left, right = (set(ids.remainder(12).tolist()) for ids in pair)
        assert not left & right
        assert min(len(left), len(right)) == 6
    assert all(len(left) == len(right) == 120 for left, right in draws.real_halves)


def test_a_generator_that_repeats_one_sample_does_not_pass() -> None:
    """Nine of ten synthetic samples are the same: they stay in one half, and the other one is no empty set."""
    often = torch.where(torch.arange(240) % 10 > 0, 0, torch.arange(240))
    result = measure((FRESH[0][often], FRESH[1][often]), max_gap=0.02, max_label_shift=0.2)
    assert result.verdict is Verdict.FAILED
    assert part(result, "label shift")["verdict"] == "failed"


def test_copies_are_found() -> None:
    for synthetic in (jitter(TRAIN), (TRAIN[0][:200], TRAIN[1][:200])):
        result = measure(synthetic)
        assert result.verdict is Verdict.FAILED
        assert part(result, "accuracy gap")["verdict"] == "passed"
        assert result.details["copies"] > 0.9
        first = result.counterexamples[0]
        assert first.size is not None
        assert first.size < result.details["copies_below"]
        assert first.label == first.clean


def test_copies_of_samples_that_are_there_twice_are_found() -> None:
    """Of a training sample that is repeated, a near copy has two neighbours at the same distance."""
    twice = (TRAIN[0].repeat(2, 1), TRAIN[1].repeat(2))
    assert measure(jitter(TRAIN), twice).details["copies"] > 0.9


def test_what_is_merely_bland_is_no_copy() -> None:
    """Class means with little noise are close to everything."""
    y = FRESH[1]
    bland = CENTRES[y] + 0.3 * torch.randn(240, D, generator=torch.Generator().manual_seed(5))
    assert measure((bland, y)).details["copies"] <= 0.02


def test_nothing_passes_where_real_samples_teach_nothing() -> None:
    noise = torch.randint(K, (240,), generator=torch.Generator().manual_seed(4))
    with pytest.raises(ClaimInconclusive, match="no more than always to answer the largest class"):
        assert_synthetic_covers((TRAIN[0], noise), (FRESH[0], noise.flip(0)), test_data=TEST, max_gap=0.3)


def test_nothing_passes_that_could_not_have_failed() -> None:
    with pytest.raises(ClaimInconclusive, match="nothing could have failed it"):
        assert_synthetic_covers(TRAIN, FRESH, test_data=TEST, max_gap=0.9)


def test_few_test_samples_settle_neither_gap_nor_copies() -> None:
    few = (TEST[0][:60], TEST[1][:60])
    assert measure(test=few, max_gap=0.02).verdict is Verdict.INCONCLUSIVE
    copies = part(measure(test=few, max_gap=0.4), "copies")
    assert copies["verdict"] == "inconclusive"
    with pytest.raises(ClaimInconclusive, match="fewer than 100"):
        assert_synthetic_covers(TRAIN, FRESH, test_data=few, max_gap=0.4, max_copies=0.1, splits=2)


def test_few_test_samples_that_are_all_right_do_not_pass_a_small_gap() -> None:
    """Both learners are right on all of 20: no difference is seen, and little is known."""
    far = [(20 * CENTRES[y] + x - CENTRES[y], y) for x, y in (FRESH, TRAIN, (TEST[0][:20], TEST[1][:20]))]
    result = measure(*far, max_gap=0.1, max_copies=None)
    assert result.estimate == 0
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.interval[1] > 0.2


def test_a_flat_curve_resolves_no_factor() -> None:
    """Classes so far apart that a handful of samples teaches all there is."""
    far = [(20 * CENTRES[y] + x - CENTRES[y], y) for x, y in (FRESH, TRAIN, TEST)]
    result = measure(*far, max_diversity_factor=3.0)
    assert result.details["diversity_factor"] is None
    assert part(result, "diversity factor")["verdict"] == "inconclusive"
    assert "not resolved" in result.rule
    assert "not resolved" in " ".join(result.words.notes)


def test_a_factor_beyond_the_curve_is_not_claimed_in_vain() -> None:
    assert "the real learning curve tells factors of" in measure(max_diversity_factor=500.0).rule


def test_a_population_asks_for_the_intervals_of_labels_and_copies() -> None:
    """They pass by what this very set holds, else not."""
    asked = {"max_label_shift": 0.1, "max_gap": 0.15}
    assert part(measure(**asked), "label shift")["verdict"] == "passed"
    assert part(measure(**asked, scope="population"), "label shift")["verdict"] == "inconclusive"


def test_equally_many_samples_are_compared() -> None:
    """A set of a quarter of the size teaches less in all, and as much each."""
    result = measure((FRESH[0][:120], FRESH[1][:120]), splits=8)
    assert result.verdict is Verdict.PASSED
    assert result.details["samples"] == 120
    assert result.subject.setting == "120 samples of either kind, logistic regression"
    assert [row["samples"] for row in result.details["learning_curve"]][-1] == 240


def test_the_verdict_does_not_depend_on_the_batch_size() -> None:
    found = [measure(batch_size=size, embedding=mixed) for size in (1, 7, None)]
    assert [one.to_dict() | {"cost": None} for one in found[1:]] == [found[0].to_dict() | {"cost": None}] * 2


def mixed(x: Tensor) -> Tensor:
    return torch.cat([x, x[:, :2] * x[:, 2:4]], 1)


def test_another_seed_draws_other_subsets() -> None:
    one, other = measure(seed=0), measure(seed=1)
    assert one.interval != other.interval
    assert one.estimate == other.estimate  # all samples of either set


def test_features_are_where_distances_are_measured() -> None:
    """Copies that hide behind noise which a person would not see."""
    random = torch.Generator().manual_seed(6)
    *sets, test = [
        (torch.cat([x, 50 * torch.randn(len(x), 3, generator=random)], 1), y) for x, y in (jitter(TRAIN), TRAIN, TEST)
    ]
    assert measure(*sets, test).details["copies"] < 0.05
    assert measure(*sets, test, embedding=lambda x: x[:, :D]).details["copies"] > 0.9


def descended(data: Data, steps: int) -> nn.Module:
    """A linear net after some gradient steps from a random start."""
    x, y = data
    net = nn.Linear(x.shape[1], K)
    for _ in range(steps):
        grads = torch.autograd.grad(nn.functional.cross_entropy(net(x), y), list(net.parameters()))
        with torch.no_grad():
            for weight, grad in zip(net.parameters(), grads, strict=True):
                weight.sub_(0.5 * grad)
    return net


class Trainer:
    """Trains, and counts how often."""

    def __init__(self) -> None:
        self.called = 0

    def __call__(self, x: Tensor, y: Tensor, seed: int) -> nn.Module:
        self.called += 1
        return descended((x, y), 15)


def test_a_learner_of_the_users_own() -> None:
    before = torch.random.get_rng_state()
    trainer = Trainer()
    result = measure(train=trainer)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert result.verdict is Verdict.PASSED
    assert result.subject.setting == "240 samples of either kind, Trainer"
    assert result.subject.method == f"{trainer.called - 6} trainings, 2 splits of each set, 6 controls"
    assert measure(train=Trainer()).interval == result.interval


def stored(folder: Path, **more: Any) -> Context:
    return Context(settings=Settings(store=str(folder), recheck=0.0, **more))


@pytest.mark.usefixtures("few_controls")
def test_a_second_run_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(stored(tmp_path)):
        first = measure()
        monkeypatch.setattr(Fits, "_train", None)
        again = measure(max_gap=0.2)  # another threshold, the same trainings
    assert not first.evidence.cached
    assert again.evidence.cached
    assert (again.interval, again.details["learning_curve"]) == (first.interval, first.details["learning_curve"])
    assert again.cost == first.cost


@pytest.mark.usefixtures("few_controls")
def test_other_samples_are_trained_on_anew(tmp_path: Path) -> None:
    moved = (FRESH[0] + 0.001, FRESH[1])
    with running(stored(tmp_path)):
        first, other, seeded = measure(), measure(moved), measure(seed=5)
        unread = measure(cache=False)
    assert [one.evidence.cached for one in (first, other, seeded, unread)] == [""] * 4
    assert first.evidence.model != other.evidence.model


@dataclass(frozen=True)
class Stated:
    """Says what it is, whatever it does: what it reads from elsewhere is no part of that."""

    steps: int

    def robustest_fingerprint(self) -> str:
        return "a linear net"

    def __call__(self, x: Tensor, y: Tensor, seed: int) -> nn.Module:
        return descended((x, y), self.steps)


def test_a_users_learner_is_asked_once_before_it_is_taken_at_its_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    train = Fits._train

    def counted(self: Fits, x: Tensor, *more: Any) -> Any:
        trained.append(len(x))
        return train(self, x, *more)

    monkeypatch.setattr(Fits, "_train", counted)  # not the learner's method: its code is part of the key
    with running(stored(tmp_path)):
        first = measure(train=Stated(5))
        many = len(trained)
        again = measure(train=Stated(5))
        assert len(trained) == many + 1
        other = measure(train=Stated(8))
        controls = 6 * (other.verdict is Verdict.PASSED)  # no others are trained
        assert len(trained) == 2 * many + 2 + controls
    assert again.evidence.cached
    assert again.interval == first.interval
    assert not other.evidence.cached
    assert any(
        note.startswith("measured anew: a remembered training comes out otherwise") for note in other.words.notes
    )


@pytest.mark.usefixtures("few_controls")
def test_a_learner_that_is_trained_again_by_lot_must_come_out_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def zeros(self: Fits, *_: Any) -> tuple[Observation, Tally]:
        return Observation({"predicted": torch.zeros_like(self.test.y)}, []), Tally()

    with running(Context(settings=Settings(store=str(tmp_path), recheck=1.0))):
        first, again = measure(), measure()
        assert again.evidence.cached
        assert again.interval == first.interval
        monkeypatch.setattr(Fits, "_train", zeros)
        with pytest.raises(StoreError, match="a remembered training to come out alike"):
            measure()


@pytest.mark.usefixtures("few_controls")
def test_a_file_that_a_learner_reads_is_named_once_it_is_another(tmp_path: Path) -> None:
    path = tmp_path / "steps"

    def train(x: Tensor, y: Tensor, seed: int) -> nn.Module:
        with path.open() as file:
            return descended((x, y), int(file.read()))

    with running(stored(tmp_path / "store")):
        path.write_text("5")
        first = measure(train=train)
        assert measure(train=train).evidence.cached
        path.write_text("8")
        other = measure(train=train)
    assert not other.evidence.cached
    assert f"measured anew: {path}, which was read in training, is not what it was" in other.words.notes
    assert other.interval != first.interval


def test_a_learner_that_cannot_be_told_is_not_remembered(tmp_path: Path) -> None:
    steps = (5 for _ in range(10_000))

    def drawing(x: Tensor, y: Tensor, seed: int) -> nn.Module:
        return descended((x, y), next(steps))

    with running(stored(tmp_path / "store")):
        first, again = measure(train=drawing), measure(train=drawing)
    assert not again.evidence.cached
    assert any(note.startswith("trainings are not remembered") for note in first.words.notes)


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        ({"data": (TRAIN[0], torch.ones_like(TRAIN[1]))}, "train samples of two classes or more"),
        ({"synthetic": (FRESH[0], torch.zeros_like(FRESH[1]))}, "synthetic samples of two classes or more"),
        ({"test": (TEST[0], torch.zeros_like(TEST[1]))}, "test samples of two classes or more"),
        ({"synthetic": (torch.where(FRESH[1][:, None] == 1, torch.nan, FRESH[0]), FRESH[1])}, "NaN .*synthetic set"),
        ({"test": (torch.full_like(TEST[0], torch.inf), TEST[1])}, "sample 0 has NaN or infinite .*the test set"),
        ({"data": (torch.cat([TRAIN[0], TEST[0][:3]]), torch.cat([TRAIN[1], TEST[1][:3]]))}, "3 of 600 .* train ones"),
        ({"synthetic": (torch.cat([FRESH[0], TEST[0][5:6]]), torch.cat([FRESH[1], TEST[1][5:6]]))}, "test sample 5"),
        ({"data": (TRAIN[0][:1].repeat(240, 1), TRAIN[1])}, "train samples that differ"),
        ({"synthetic": TRAIN}, "the training samples themselves"),
        ({"synthetic": (TRAIN[0].flip(0), TRAIN[1].flip(0))}, "the training samples themselves"),
        ({"synthetic": (FRESH[0][:, :4], FRESH[1])}, "of one shape"),
        ({"synthetic": (FRESH[0], FRESH[1] + 1)}, "synthetic labels among the 4 classes"),
        ({"synthetic": (FRESH[0], FRESH[1] - 1)}, "labels 0 or more"),
        ({"synthetic": (FRESH[0][:15], FRESH[1][:15])}, "Expected 16 synthetic and real training samples"),
    ],
)  # fmt: skip
def test_data_of_which_no_number_could_be_trusted_are_refused(sets: dict[str, Data], told: str) -> None:
    with pytest.raises(DataError, match=told):
        measure(**sets)


def test_arguments_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="train to be a function"):
        measure(train=3)
    with pytest.raises(ConfigError, match="samples, labels and a seed"):
        measure(train=lambda data: data)
    with pytest.raises(ConfigError, match="together with train="):
        measure(preprocessing=(0.5, 0.5))
    with pytest.raises(ConfigError, match="splits"):
        measure(splits=1)
    with pytest.raises(ConfigError, match="max_diversity_factor"):
        measure(max_diversity_factor=0)
    with pytest.raises(ConfigError, match="max_copies"):
        measure(max_copies=1)
    with pytest.raises(TypeError, match="max_gap"):
        assert_synthetic_covers(TRAIN, FRESH, test_data=TEST)  # type: ignore[call-arg]


def test_models_and_features_that_are_none_are_errors() -> None:
    with pytest.raises(ModelError, match="4 classes, which the data have"):
        measure(train=lambda *_: nn.Linear(D, 2))
    with pytest.raises(ModelError, match="finite"):
        measure(train=lambda *_: lambda x: torch.full((len(x), K), torch.nan))
    with pytest.raises(ModelError, match="Expected features of"):
        measure(embedding=lambda x: x.sum())
    with pytest.raises(ModelError, match="Expected finite features"):
        measure(embedding=lambda x: x / 0)


def test_the_report_has_the_curve_with_the_set_on_it_and_the_nearest_pairs(tmp_path: Path) -> None:
    images = [(torch.sigmoid(x).view(-1, 1, 2, 3), y) for x, y in (jitter(TRAIN), TRAIN, TEST)]
    with running(Context(settings=Settings(pictures=str(tmp_path)), test="t")):
        result = measure(*images)
    (told,) = result.details["pictures"]
    assert Path(told["image"]).is_file() or (Path.cwd() / told["image"]).is_file()
    assert result.counterexamples[0].image is not None
    judged = type("Judged", (), {"number": 1, "test": "t", "result": result, "verdict": "failed"})()
    (curve,) = curves_of([judged])
    (at,) = [point for point in curve.points if point.verdict == "other"]
    assert at.y == result.details["synthetic_accuracy"]
    assert np.isclose(at.x, 240 / result.details["diversity_factor"])
    assert [point.x for point in curve.points] == sorted(point.x for point in curve.points)
    assert {fact.label for fact in result.words.facts if fact.leads} >= {"label shift", "copies", "diversity factor"}


def test_a_function_that_a_training_returns_is_asked_where_its_module_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "default", lambda: torch.device("meta"))
    net = nn.Linear(D, K)
    learner = OwnLearner(fit=lambda *_: lambda x: -net(x), as_model=as_classifier, device="auto")
    predict = learner.train(*TRAIN, K, torch.zeros(1, dtype=torch.int64))
    assert torch.equal(predict(TEST[0]), net(TEST[0]).argmin(1))
