"""Landscapes of nets that train: which is smoother, and what must not be green."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from robustest_training import assert_smooth_landscape, landscape, measure_smooth_landscape
from robustest_training.landscape import best_constant
from torch import Tensor, nn

from robustest import ClaimFailed, ConfigError, DataError, Factory, ModelError, Result, Settings, StoreError, Verdict
from robustest.context import Context, running

CE = nn.functional.cross_entropy
Y = torch.arange(256) % 4
X = 0.3 * torch.rand(256, 16, generator=torch.Generator().manual_seed(0)) + nn.functional.one_hot(Y, 16)
BATCHES = list(zip(X.split(64), Y.split(64), strict=True))
SHORT: dict[str, Any] = {"seeds": 3, "train_steps": 30, "every": 6, "learning_rate": 0.3, "alpha": 0.05}


def mlp(depth: int, *, norm: bool = False, inside: int = 16, wide: int = 32, out: int = 4) -> Callable[[], nn.Module]:
    """Nets of He's initialisation."""

    def build() -> nn.Module:
        parts: list[nn.Module] = []
        for at in range(depth):
            layer = nn.Linear(wide if at else inside, wide)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
            parts += [layer, *([nn.BatchNorm1d(wide)] if norm else []), nn.ReLU()]
        return nn.Sequential(*parts, nn.Linear(wide, out))

    return build


PLAIN, NORMALISED = mlp(3), mlp(3, norm=True)


def measured(net: object = NORMALISED, reference: object = PLAIN, **options: Any) -> Result:
    return measure_smooth_landscape(net, BATCHES, loss=CE, reference=reference, **(SHORT | options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def smoother() -> Result:
    return measured(max_ratio=0.5)


def test_batch_norm_makes_it_smoother(smoother: Result) -> None:
    assert smoother.verdict is Verdict.PASSED, smoother.rule
    assert smoother.estimate is not None
    assert smoother.interval[0] < smoother.estimate < smoother.interval[1] < 0.5
    assert (smoother.subject.scope, smoother.outcomes, smoother.numbers.n_total) == ("set", (True,) * 3, 3)
    assert "3 samples alone" in smoother.words.caveats
    assert Result.from_dict(smoother.to_dict()) == smoother
    rows = {row["measure"]: row for row in smoother.details["landscape"]}
    assert rows["loss range"]["net"] < rows["loss range"]["reference"]
    assert len(smoother.details["runs"]) == 3


def test_a_few_runs_show_nothing_of_a_population(smoother: Result) -> None:
    assert "about alpha = 0.05" in smoother.rule
    of_others = measured(max_ratio=0.5, scope="population")
    assert (of_others.verdict, of_others.subject.scope) == (Verdict.INCONCLUSIVE, "population")
    assert of_others.interval == smoother.interval
    assert measured(PLAIN, NORMALISED, max_ratio=0.5, scope="population").verdict is Verdict.FAILED


def test_the_other_way_round_it_fails(smoother: Result) -> None:
    assert smoother.estimate is not None
    turned = measured(PLAIN, NORMALISED, max_ratio=0.5)
    assert turned.verdict is Verdict.FAILED
    assert turned.estimate == pytest.approx(1 / smoother.estimate)
    with pytest.raises(ClaimFailed, match=r" > 0\.50: loss range along relative steps, over the reference's\n"):
        assert_smooth_landscape(PLAIN, BATCHES, loss=CE, reference=NORMALISED, max_ratio=0.5, **SHORT)


class Dead(nn.Module):
    """A net whose loss is flat because it hardly looks at its input."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = PLAIN()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x) * 1e-3
        return out


class Stuck(nn.Module):
    """One that begins at a loss of ten, and falls to what a constant answer has."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(4) + torch.tensor([15.0, 0, 0, 0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.start.expand(len(x), 4)


@pytest.mark.parametrize("flat", [Dead, Stuck])
@pytest.mark.parametrize("as_reference", [False, True])
def test_a_net_on_its_plateau_never_passes(flat: Any, as_reference: bool) -> None:
    pair = (NORMALISED, flat) if as_reference else (flat, NORMALISED)
    result = measured(*pair, max_ratio=1e6, train_steps=60, every=20, learning_rate=0.5 if flat is Stuck else 0.1)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.rule.startswith("not learned in 3 of 3 runs: the " + ("reference" if as_reference else "net"))


def test_one_that_leaves_its_plateau_at_the_end_does_not_pass_either() -> None:
    """It ends well, but most of what was looked at is the plateau."""

    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.seen = NORMALISED(), 0

        def forward(self, x: Tensor) -> Tensor:
            self.seen += self.training
            out: Tensor = self.inner(x) * (1e-2 if self.seen < 80 else 1.0)
            return out

    result = measured(Late, max_ratio=1e6, train_steps=60, every=10, learning_rate=0.5)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "no better than a constant answer" in result.rule


def test_one_that_diverges_does_not_pass() -> None:
    ends = set()
    for rate in (2.0, 10.0, 1e4):
        try:
            result = measured(mlp(4), PLAIN, max_ratio=1e6, seeds=2, train_steps=12, learning_rate=rate)
        except ModelError as error:
            ends.add(str(error).partition("but")[0])
        else:
            assert result.verdict is Verdict.INCONCLUSIVE
            ends.add(result.rule.partition(" runs")[0])
    assert ends == {"not learned in 2 of 2", "Expected finite losses and gradients "}


def test_without_a_threshold_nothing_is_claimed(smoother: Result) -> None:
    with running(Context(test="t")) as _:
        result = assert_smooth_landscape(NORMALISED, BATCHES, loss=CE, reference=PLAIN, **SHORT)
    assert (result.verdict, result.rule) == (Verdict.INCONCLUSIVE, "no threshold given")
    assert result.estimate == smoother.estimate, "the same runs, to the last bit"


def test_another_seed_makes_other_runs_and_the_generators_stay(smoother: Result) -> None:
    state = torch.get_rng_state()
    assert measured(seed=1).estimate != smoother.estimate
    assert torch.equal(torch.get_rng_state(), state)
    assert measured(max_ratio=0.5, batch_size=3).estimate == smoother.estimate


def test_a_second_run_trains_nothing_and_a_killed_one_goes_on(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, smoother: Result
) -> None:
    trained: list[int] = []
    real, most = landscape.ProbedTrainings._trained, [2]

    def counted(self: Any, *args: Any) -> Any:
        if len(trained) == most[0]:
            raise KeyboardInterrupt
        trained.append(1)
        return real(self, *args)

    monkeypatch.setattr(landscape.ProbedTrainings, "_trained", counted)
    with running(Context(settings=Settings(store=str(tmp_path), corpus=None, recheck=0.0))):
        with pytest.raises(KeyboardInterrupt):
            measured(max_ratio=0.5)
        most[0] = 100
        whole = measured(max_ratio=0.5)
        assert len(trained) == 6, "of six trainings two were done"
        again = measured(max_ratio=0.4)
        assert len(trained) == 6
        assert again.evidence.cached
        measure_smooth_landscape(NORMALISED, BATCHES, loss=lambda out, y: 2 * CE(out, y), reference=PLAIN, **SHORT)
        assert len(trained) == 12, "of another loss nothing is known"
    assert not whole.evidence.cached
    assert whole.estimate == again.estimate == smoother.estimate


def test_a_factory_that_keeps_its_net_finds_it_as_it_was(snapshot: Any) -> None:
    kept: list[nn.Module] = []

    def keeping() -> nn.Module:
        kept.append(NORMALISED())
        kept.append(kept[-1])
        return kept[-1]

    measured(keeping, max_ratio=0.5, train_steps=2, seeds=2)
    fresh = NORMALISED()
    assert all(torch.equal(net[1].running_mean, fresh[1].running_mean) for net in kept)  # type: ignore[index, union-attr]
    assert all(parameter.grad is None for net in kept for parameter in net.parameters())


def test_the_best_constant_is_the_entropy_of_the_labels() -> None:
    y = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
    found = best_constant(CE, [(torch.zeros(100, 2), y)], torch.zeros(100, 3))
    share = torch.tensor([0.6, 0.3, 0.1])
    assert found == pytest.approx(float(-(share * share.log()).sum()), rel=1e-4)
    with pytest.raises(ModelError, match="positive"):
        best_constant(lambda out, _: -out.square().mean() - 1, [(torch.zeros(4, 2), y[:4])], torch.zeros(4, 3))


FIXED = PLAIN()


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"reference": NORMALISED}, ConfigError, "another factory"),
        ({"reference": FIXED}, ConfigError, "a function of no arguments"),
        ({"reference": lambda: FIXED}, ConfigError, "gave the same ones twice"),
        ({"reference": lambda: 3}, ConfigError, "to build a torch module"),
        ({"reference": nn.Flatten}, ConfigError, "parameters to train"),
        ({"reference": Factory("nowhere:net")}, ConfigError, "to build something"),
        ({"max_ratio": 0}, ConfigError, "max_ratio"),
        ({"seeds": 1}, ConfigError, "seeds"),
        ({"train_steps": 0}, ConfigError, "train_steps"),
        ({"every": 0}, ConfigError, "every"),
        ({"learning_rate": 0.0}, ConfigError, "learning_rate"),
        ({"etas": (0.2, 0.1)}, ConfigError, "etas to rise"),
        ({"etas": ()}, ConfigError, "etas to rise"),
        ({"etas": (1.5,)}, ConfigError, "each of etas"),
        ({"bounds": (0, 1)}, ConfigError, "Unknown option"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], error: type, told: str) -> None:
    with pytest.raises(error, match=told):
        measured(**{"train_steps": 2, "seeds": 2, **arguments})


@pytest.mark.parametrize(
    ("batches", "told"),
    [
        ([], "one or more"),
        ([(X[:4],)], "batch 0 to be"),
        ([(X[:4], Y[:3])], "as many targets"),
        ([BATCHES[0], (X[:4] / 0.0, Y[:4])], "batch 1 has NaN"),
        ([(X[Y == 2], Y[Y == 2])], "every one is 2"),
    ],
    ids=range(5),
)
def test_batches_that_teach_nothing_are_refused(batches: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        measure_smooth_landscape(NORMALISED, batches, loss=CE, reference=PLAIN)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [3, 8])
def test_on_digits_the_range_with_batch_norm_is_a_fifth_at_most(depth: int) -> None:
    datasets: Any = pytest.importorskip(
        "sklearn.datasets", reason="scikit-learn, which has the digits, is not installed"
    )
    digits = datasets.load_digits()
    x, y = torch.tensor(digits.data).float() / 16, torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:1280]
    batches = [(x[ids], y[ids]) for ids in order.split(128)]
    pair = (mlp(depth, norm=norm, inside=64, wide=64, out=10) for norm in (True, False))
    result = measure_smooth_landscape(next(pair), batches, loss=CE, reference=next(pair), max_ratio=0.2)
    assert result.verdict is Verdict.PASSED, result.rule
    assert all(run["ratio"] <= 0.2 for run in result.details["runs"])


def test_what_a_loss_reads_is_part_of_what_is_remembered(tmp_path: Path) -> None:
    """It is opened at the eighth step alone, where the net is not asked beforehand."""
    path, store = tmp_path / "scale", tmp_path / "store"
    calls = [0]

    class Loss:
        def robustest_fingerprint(self) -> str:
            return "scaled"

        def __call__(self, out: Tensor, y: Tensor) -> Tensor:
            calls[0] += 1
            if calls[0] % 50 == 0:
                with path.open() as file:
                    return CE(out, y) * float(file.read())
            return CE(out, y)

    def measured() -> Result:
        calls[0] = 0
        with running(Context(settings=Settings(store=str(store), corpus=None, recheck=0.0))):
            return measure_smooth_landscape(NORMALISED, BATCHES, loss=Loss(), reference=PLAIN, **(SHORT | {"seeds": 2}))

    path.write_text("1")
    first = measured()
    assert measured().evidence.cached
    path.write_text("3")
    changed = measured()
    assert changed.evidence.cached == ""
    assert changed.details["runs"] != first.details["runs"]


def test_a_training_that_is_made_again_by_lot_must_have_the_same_probes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured() -> Result:
        with running(Context(settings=Settings(store=str(tmp_path), corpus=None, recheck=1.0))):
            return measure_smooth_landscape(NORMALISED, BATCHES, loss=CE, reference=PLAIN, **(SHORT | {"seeds": 2}))

    first, again = measured(), measured()
    assert again.evidence.cached
    assert again.estimate == first.estimate
    monkeypatch.setattr(landscape, "put", lambda *_: None)
    with pytest.raises(StoreError, match=r"to come out alike again but \d+ of its outcomes differ"):
        measured()
