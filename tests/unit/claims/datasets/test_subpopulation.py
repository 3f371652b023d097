"""Subpopulation shift: the paper's ordering on a tree of Gaussians, and the numbers that go with it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import (
    ClaimFailed,
    ClaimInconclusive,
    ConfigError,
    DataError,
    Result,
    Verdict,
    assert_subpopulation_shift,
)
from robustest.claims.datasets import measure_subpopulation_shift
from robustest.data.hierarchies import BreedsSplit, ClassTree, breeds_split, domains
from robustest.decisions import clopper_pearson
from robustest.decisions.multiplicity import group_level
from robustest.decisions.paired import paired_interval
from robustest.decisions.two_set_drop import cluster_mean_interval, fewest_clusters

TREE = ClassTree.from_dict(
    {f"s{i}": {f"s{i}m{j}": [f"s{i}m{j}l{k}" for k in range(2)] for j in range(2)} for i in range(6)}
)
Data = tuple[Tensor, Tensor]


def world(seed: int) -> tuple[Data, Data]:
    """Train and test samples: 40-dimensional Gaussians around leaves around nodes around superclasses."""
    generator = torch.Generator().manual_seed(seed)

    def around(centre: Tensor, scale: float) -> Tensor:
        return centre + scale * torch.randn(40, generator=generator)

    leaves = []
    for _ in range(6):
        superclass = around(torch.zeros(40), 1.0)
        for _ in range(2):
            node = around(superclass, 1.4)
            leaves += [around(node, 0.6) for _ in range(2)]
    means = torch.stack(leaves)

    def draw(n: int) -> Data:
        y = torch.arange(24).repeat(n)
        return means[y] + 2 * torch.randn(len(y), 40, generator=generator), y

    return draw(60), draw(50)


def softmax_regression(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    model = nn.Linear(x.shape[1], 6)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=60)

    def loss() -> float:
        optimiser.zero_grad()
        value = nn.functional.cross_entropy(model(x), y) + 1e-3 * model.weight.square().sum()
        value.backward()
        return float(value.detach())

    optimiser.step(loss)
    return model.eval()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_good_is_easier_than_rand_is_easier_than_bad(seed: int) -> None:
    """And none of it is for want of learning: source and oracle accuracies are above .95 in all three."""
    train, test = world(seed)
    target = {}
    for kind in ("good", "rand", "bad"):
        split = breeds_split(TREE, level=1, subclasses=4, split=kind)
        result = measure_subpopulation_shift(
            None, test, split, train=softmax_regression, train_data=train, bounds=(-40.0, 40.0)
        )
        details = result.details
        assert details["source_accuracy"] > 0.95
        assert details["oracle_accuracy"] > 0.95
        assert details["headroom"] == pytest.approx(details["oracle_accuracy"] - details["target_accuracy"])
        target[kind] = details["target_accuracy"]
    assert target["good"] > target["rand"] + 0.05
    assert target["rand"] > target["bad"] + 0.05


SPLIT = BreedsSplit(
    superclasses=("dark", "light"),
    source=((0, 1), (4, 5)),
    target=((2, 3), (6, 7)),
    names={"dark": "dark", "light": "light", 3: "dusk"},
)


def step(at: float) -> Any:
    def model(x: Tensor) -> Tensor:
        """Class 1 from a brightness on."""
        mean = x.flatten(1).mean(1)
        return torch.stack([at - mean, mean - at], 1)

    return model


def shades(n: int = 20) -> Data:
    """Subclass k has brightness about k / 8: below a half the dark ones; 3 and 4 stand close to a half."""
    y = torch.arange(8).repeat(n)
    x = (y + 0.5) / 8 + torch.linspace(-0.1, 0.1, n).repeat_interleave(8)
    return x.clamp(0, 1).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone(), y


def measured(at: float = 0.5, **arguments: Any) -> Result:
    return measure_subpopulation_shift(step(at), shades(), SPLIT, **arguments)


def by_hand(at: float, data: Data) -> dict[int, tuple[int, int]]:
    """(right, samples) of each subclass."""
    x, y = data
    right = (x[:, 0, 0, 0] >= at) == (y >= 4)
    return {k: (int(right[y == k].sum()), int((y == k).sum())) for k in range(8)}


def test_the_numbers_are_those_of_the_subclasses() -> None:
    result = measured(max_drop=0.5)
    counts = by_hand(0.5, shades())
    source, target = ([counts[k] for k in ks] for ks in ((0, 1, 4, 5), (2, 3, 6, 7)))
    accuracy = {
        name: sum(k for k, _ in part) / sum(n for _, n in part) for name, part in (("s", source), ("t", target))
    }
    assert result.details["source_accuracy"] == pytest.approx(accuracy["s"])
    assert result.details["target_accuracy"] == pytest.approx(accuracy["t"])
    assert result.estimate == pytest.approx(accuracy["s"] - accuracy["t"])
    shares = [np.array([k / n for k, n in part]) for part in (source, target)]
    assert result.interval == cluster_mean_interval(shares[0], 0.01, minus=shares[1])
    assert result.details["drop_interval"] == list(result.interval)
    worst = result.details["subclasses"]["target"][0]
    assert (worst["subclass"], worst["held"], worst["n"]) == ("dusk", *counts[3])
    assert worst["interval"] == list(clopper_pearson(*counts[3], group_level(0.01, 4, disjoint=True)))
    assert any(note == f"worst subclass 'dusk': {counts[3][0]} of 20 samples right" for note in result.words.notes)
    assert any(note.startswith("no oracle") for note in result.words.notes)
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()


def test_a_set_claim_is_exact_and_a_population_claim_needs_the_clusters() -> None:
    """A step at .4 gets 3, the dusk, wrong and all of the source right but a few of 4."""
    drop = measured(0.4).estimate
    assert drop is not None
    assert drop > 0
    assert measured(0.4, max_drop=drop + 0.001).verdict is Verdict.PASSED
    assert measured(0.4, max_drop=drop - 0.001).verdict is Verdict.FAILED
    assert measured(0.4, max_drop=drop + 0.001, scope="population").verdict is Verdict.INCONCLUSIVE


def test_an_oracle_that_is_given_tells_the_headroom() -> None:
    """At .4 the dusk is wrong, at .5 hardly any of it."""
    result = measured(0.4, oracle=step(0.5))
    x, y = shades()
    target = (y % 4) >= 2
    right, best = (((x[:, 0, 0, 0] >= at) == (y >= 4))[target] for at in (0.4, 0.5))
    more, less = int((best & ~right).sum()), int((right & ~best).sum())
    assert result.details["headroom"] == pytest.approx((more - less) / int(target.sum()))
    assert result.details["headroom_interval"] == list(paired_interval(more, less, int(target.sum()), 0.01))
    assert result.cost.forward > measured(0.4).cost.forward
    assert any("headroom" in note for note in result.words.notes)


def test_outcomes_and_counterexamples_are_the_targets() -> None:
    result = measured(0.4, max_drop=0.0, examples=50)
    x, y = shades()
    target = np.flatnonzero(((y % 4) >= 2).numpy())
    right = ((x[:, 0, 0, 0] >= 0.4) == (y >= 4)).numpy()[target]
    assert result.outcomes == tuple(right.tolist())
    assert {example.index for example in result.counterexamples} == set(target[~right].tolist())
    assert {example.label for example in result.counterexamples} == {0}, "labels are superclasses"


def test_training_happens_on_each_domain_once() -> None:
    seen = []

    def train(x: Tensor, y: Tensor, seed: int) -> Any:
        seen.append((x, y, seed))
        return step(0.5)

    result = measure_subpopulation_shift(None, shades(), SPLIT, train=train, train_data=shades(7), max_drop=0.9, seed=3)
    for (x, y, seed), domain in zip(seen, domains(shades(7), SPLIT), strict=True):
        assert (torch.equal(x, domain.arrays()[0]), torch.equal(y, domain.labels), seed) == (True, True, 3)
    assert result.details["headroom"] == 0


def test_the_interval_depends_on_no_seed() -> None:
    assert measured(0.4, seed=1).interval == measured(0.4, seed=2).interval


def lookup(x: Tensor) -> Tensor:
    """The answer that a sample carries."""
    bright = x.mean((1, 2, 3)) - 0.5
    return torch.stack([-bright, bright], 1)


def with_rare_losses(random: np.random.Generator, kinds: int, *, lost: float, size: int = 10) -> tuple[Data, Any]:
    """Two superclasses with as many subclasses of each domain; each of the target's is wholly lost with a chance."""
    subclass = np.repeat(np.arange(2 * kinds), size)
    target, superclass = subclass >= kinds, subclass % 2
    gone = random.random(2 * kinds) < lost
    answer = np.where(target & gone[subclass], 1 - superclass, superclass)
    own = 0.01 * np.arange(len(answer)) / len(answer)  # equal images would count once
    x = torch.from_numpy(0.1 + 0.8 * answer + own).float().view(-1, 1, 1, 1)
    half = [tuple(tuple(range(start + k, start + kinds, 2)) for k in range(2)) for start in (0, kinds)]
    split = BreedsSplit(superclasses=("even", "odd"), source=half[0], target=half[1], names={})
    return (x, torch.from_numpy(subclass)), split


@pytest.mark.parametrize("kinds", [10, *(pytest.param(kinds, marks=pytest.mark.slow) for kinds in (4, 30))])
def test_kinds_that_are_lost_seldom_do_not_pass(kinds: int) -> None:
    """A bootstrap of subclasses passes a third of these false claims at ten kinds: it often sees no loss, or one."""
    random, runs, passed = np.random.default_rng(kinds), 30, 0
    for _ in range(runs):
        data, split = with_rare_losses(random, kinds, lost=0.05)
        result = measure_subpopulation_shift(
            lookup, data, split, max_drop=0.049, scope="population", examples=0, cache=False
        )
        passed += result.verdict is Verdict.PASSED
    assert passed <= 2, "alpha is .01"


def test_enough_kinds_without_a_loss_pass_and_too_few_are_told_how_many_it_takes() -> None:
    claimed = 0.45
    needed = fewest_clusters(claimed, 0.01)
    random = np.random.default_rng(0)
    for kinds, verdict in ((needed + needed % 2, Verdict.PASSED), (4, Verdict.INCONCLUSIVE)):
        data, split = with_rare_losses(random, kinds, lost=0.0)
        result = measure_subpopulation_shift(lookup, data, split, max_drop=claimed, scope="population")
        assert result.verdict is verdict
    assert f"give {needed} or more" in result.rule
    assert 'scope="set"' in result.rule


def test_subclasses_of_unequal_size_must_keep_it_over_samples_too() -> None:
    """Thirty kinds, of which the one that is lost has most of the samples."""
    data, split = with_rare_losses(np.random.default_rng(0), 30, lost=0.0)
    x, y = data
    more = torch.full((400,), 59)
    lost = torch.full((400, 1, 1, 1), 0.1)
    data = torch.cat([x, lost]), torch.cat([y, more])
    result = measure_subpopulation_shift(lookup, data, split, max_drop=0.3, scope="population")
    assert result.estimate == pytest.approx(400 / 700)
    assert result.verdict is not Verdict.PASSED
    assert result.interval[1] >= result.estimate


def test_a_budget_leaves_it_open() -> None:
    result = measure_subpopulation_shift(step(0.4), shades(40), SPLIT, max_drop=0.2, max_samples=64)
    assert (result.verdict, result.estimate) == (Verdict.INCONCLUSIVE, None)
    assert "128 of 320" in result.rule
    assert result.details["headroom"] is None
    assert all(row["accuracy"] is None for row in result.details["subclasses"]["target"])


def test_the_assertion_raises_and_speaks() -> None:
    arguments = (step(0.4), shades(), SPLIT)
    assert assert_subpopulation_shift(*arguments, max_drop=0.4).verdict is Verdict.PASSED
    with pytest.raises(ClaimInconclusive, match="a model that stopped looking would keep it"):
        assert_subpopulation_shift(*arguments, max_drop=0.9)  # two superclasses: saying one loses half
    with pytest.raises(ClaimFailed, match=r"lost from the source's subclasses to the target's(.|\n)*'dusk'"):
        assert_subpopulation_shift(*arguments, max_drop=0.05)
    with pytest.raises(ConfigError, match="nothing to claim"):
        assert_subpopulation_shift(*arguments, max_drop=None)


TRAINED: dict[str, Any] = {"model": None, "train": softmax_regression, "train_data": shades()}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({**TRAINED, "oracle": step(0.5)}, ConfigError, "no oracle= with train="),
        ({**TRAINED, "model": step(0.5)}, ConfigError, "model=None"),
        ({**TRAINED, "train_data": 3}, DataError, "a data set"),
        ({**TRAINED, "train_data": None}, ConfigError, "nothing to train on"),
        ({"train_data": shades()}, ConfigError, "train= with train_data="),
        ({**TRAINED, "train": "resnet"}, ConfigError, "a function that trains a model"),
        ({"split": {"dark": [1]}}, ConfigError, "a split such as breeds_split"),
        ({"split": BreedsSplit(superclasses=("a",), source=((0,),), names={})}, DataError, "one domain"),
        ({"data": (shades()[0][:2], shades()[1][:2])}, DataError, "every subclass of the source"),
        ({"max_drop": -0.1}, ConfigError, "max_drop in 0..1"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    given = {"model": step(0.5), "data": shades(), "split": SPLIT} | arguments
    with pytest.raises(error, match=message):
        measure_subpopulation_shift(**given)


# Trainings that knew the target, or were given it


def marks(n: int, seed: int) -> Data:
    """Images of 6 x 6 pixels: a class to each half of the subclasses, and a mark of each subclass."""
    draw = torch.Generator().manual_seed(seed)
    shapes = torch.rand(10, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    y = torch.randint(8, (n,), generator=draw)
    x = 0.35 * shapes[y] + 0.5 * shapes[8 + (y >= 4).long()] + 0.1 * torch.rand(n, 1, 6, 6, generator=draw)
    return x.clamp(0, 1), y


def softmax(x: Tensor, y: Tensor, seed: int) -> Any:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2))
    for _ in range(200):
        loss = torch.nn.functional.cross_entropy(net(x), y)
        grads = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for weight, grad in zip(net.parameters(), grads, strict=True):
                weight.sub_(0.3 * grad)
    return net.eval()


def of_marks(train: Any, train_data: Data, test: Data) -> Any:
    return measure_subpopulation_shift(None, test, SPLIT, train=train, train_data=train_data, max_drop=0.2)


def test_a_training_that_knows_the_target_before_does_not_pass() -> None:
    train_data, test = marks(600, 1), marks(600, 2)
    fair = of_marks(softmax, train_data, test)
    assert fair.verdict is Verdict.PASSED, fair.rule
    assert [row["trained_on"] for row in fair.details["controls"]] == ["labels permuted", "noise"]
    known = softmax(train_data[0], (train_data[1] >= 4).long(), 0)
    told = of_marks(lambda *_: known, train_data, test)
    assert told.verdict is Verdict.INCONCLUSIVE
    assert told.rule.startswith("the data taught nothing that could be lost")


def test_a_training_that_was_given_the_test_samples_does_not_pass() -> None:
    (x, y), test = marks(600, 1), marks(600, 2)
    eight_bits = (test[0] * 255).round() / 255
    result = of_marks(softmax, (torch.cat([x, eight_bits]), torch.cat([y, test[1]])), test)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "are copies of training samples" in result.rule
