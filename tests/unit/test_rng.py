"""Counter-based randomness: reproducible from (seed, sample, use) alone, and random enough.

Draws are deterministic, so a test either always passes or never does; tolerances are those that an ideal
generator would break once in more than a million choices of its seed (five standard errors, or p < 1e-6).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from robustest import rng

MASK = (1 << 64) - 1
FIVE_SIGMA = 5.0
DRAWS = {
    "bits": lambda key: rng.bits(key, (3, 5)),
    "uniform": lambda key: rng.uniform(key, (3, 5)),
    "normal": lambda key: rng.normal(key, (3, 5)),
    "signs": lambda key: rng.signs(key, (3, 5)),
    "integers": lambda key: rng.integers(key, (3, 5), 10),
}


@pytest.fixture(params=[0, rng._FEW], ids=["torch", "numpy"], scope="module")
def mixed_by(request: pytest.FixtureRequest) -> Iterator[None]:
    """Few numbers are mixed by NumPy on the host, all others by torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rng, "_FEW", request.param)
        patch.setattr(rng, "_MOST", request.param)  # the limit where torch has one thread
        yield


def many(n: int = 1000, *, seed: int = 0, use: str = "test") -> Tensor:
    return rng.fold(rng.keys(seed, torch.arange(n)), use)


def splitmix64(state: int) -> int:
    """The output function of SplitMix64 in Python's own integers."""
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def murmur3_finaliser(h: int) -> int:
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return h ^ (h >> 16)


@pytest.mark.usefixtures("mixed_by")
@given(st.integers(0, MASK), st.integers(0, MASK))
def test_folding_is_splitmix64_in_whole_numbers(key: int, use: int) -> None:
    def signed(value: int) -> int:
        return value - (1 << 64) if value >> 63 else value

    got = rng.fold(torch.tensor([signed(key)]), torch.tensor([signed(use)]))
    assert int(got[0]) & MASK == splitmix64(key ^ splitmix64(use))


def test_splitmix64_is_the_published_one() -> None:
    assert splitmix64(0) == 0xE220A8397B1DCDAF  # the first output of the reference code from state 0


@pytest.mark.usefixtures("mixed_by")
@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(1, 9))
def test_bits_are_two_rounds_of_the_finaliser_over_a_weyl_sequence(key: int, n: int) -> None:
    low, high = key & 0xFFFFFFFF, (key >> 32) & 0xFFFFFFFF
    want = [murmur3_finaliser(murmur3_finaliser((i * 0x9E3779B9 + low) & 0xFFFFFFFF) ^ high) for i in range(n)]
    got = rng.bits(torch.tensor([key]), (n,))
    assert [int(value) & 0xFFFFFFFF for value in got[0]] == want


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_sample_draws_the_same_in_any_batch_and_order(draw: object) -> None:
    ids = torch.arange(50)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    whole = draw(rng.keys(3, ids))
    assert torch.equal(draw(rng.keys(3, ids[order])), whole[order])
    assert torch.equal(torch.cat([draw(rng.keys(3, i.view(1))) for i in ids]), whole)


def test_few_and_many_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rng, "_MOST", rng._FEW)
    key = many(3, use="few")
    n = rng._FEW // 3
    for width in (n, n + 1):
        assert torch.equal(rng.bits(key, (width,))[:, :5], rng.bits(key, (5,)))
    ids = torch.arange(rng._FEW + 1)
    assert torch.equal(rng.fold(rng.keys(-7, ids), ids)[:-1], rng.fold(rng.keys(-7, ids[:-1]), ids[:-1]))
    assert torch.equal(rng.fold(key[::2], "part"), rng.fold(key, "part")[::2])


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_numpy_and_torch_draw_the_same(draw: object, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for limit in (0, rng._FEW):
        monkeypatch.setattr(rng, "_FEW", limit)
        monkeypatch.setattr(rng, "_MOST", limit)
        drawn.append(draw(many(4)))
    assert torch.equal(*drawn)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_shapes_are_batch_first_and_may_be_empty(draw: object) -> None:
    assert draw(many(4)).shape == (4, 3, 5)
    assert draw(many(0)).shape == (0, 3, 5)


def test_no_global_generator_is_drawn_from() -> None:
    before = torch.get_rng_state()
    for draw in DRAWS.values():
        draw(many(3))
    rng.permutation(0, 10)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63, 2**64 - 1, -(2**63), 10**40])
def test_any_whole_number_is_a_seed(seed: int) -> None:
    assert len(set(rng.keys(seed, torch.arange(1000)).tolist())) == 1000


def test_keys_differ_for_every_pair_of_seed_and_sample() -> None:
    ids = torch.arange(200)
    keys = torch.stack([rng.keys(seed, ids) for seed in range(200)])
    assert len(set(keys.flatten().tolist())) == 200 * 200


def test_uses_differ_whether_named_or_counted() -> None:
    key = rng.keys(0, torch.arange(20))
    uses = [rng.fold(key, use) for use in ("start", "direction", 0, 1, 2, 1000)]
    assert len(set(torch.cat(uses).tolist())) == 20 * len(uses)


def test_counters_may_differ_from_row_to_row() -> None:
    key = rng.keys(0, torch.arange(3))
    mixed = rng.fold(key, torch.tensor([5, 6, 7]))
    assert mixed.tolist() == [int(rng.fold(key, step)[row]) for row, step in enumerate((5, 6, 7))]


def test_uniform_draws_are_uniform() -> None:
    u = rng.uniform(many(), (1000,))
    assert u.dtype == torch.float32
    assert float(u.min()) >= 0
    assert float(u.max()) < 1
    n = u.numel()
    assert abs(float(u.double().mean()) - 0.5) < FIVE_SIGMA / math.sqrt(12 * n)
    assert abs(float(u.double().var()) - 1 / 12) < FIVE_SIGMA / math.sqrt(180 * n)
    assert stats.kstest(u[:100].double().flatten().numpy(), "uniform").pvalue > 1e-6


@given(st.sampled_from([(-1.0, 1.0), (2.0, 5.0), (-0.5, 0.0)]), st.integers(0, 1000))
def test_uniform_draws_keep_their_limits(limits: tuple[float, float], seed: int) -> None:
    low, high = limits
    u = rng.uniform(many(2, seed=seed), (100,), low, high)
    assert bool(((u >= low) & (u < high)).all())
    unit = rng.uniform(many(2, seed=seed), (100,))
    assert torch.allclose(u, low + (high - low) * unit, atol=1e-6)


def test_normal_draws_are_normal() -> None:
    z = rng.normal(many(), (1001,)).double()  # an odd number: pairs are cut
    assert bool(torch.isfinite(z).all())
    n = z.numel()
    assert abs(float(z.mean())) < FIVE_SIGMA / math.sqrt(n)
    assert abs(float(z.var()) - 1) < FIVE_SIGMA * math.sqrt(2 / n)
    assert abs(float(z.pow(3).mean())) < FIVE_SIGMA * math.sqrt(15 / n)
    assert abs(float(z.pow(4).mean()) - 3) < FIVE_SIGMA * math.sqrt(96 / n)
    assert stats.kstest(z[:100].flatten().numpy(), "norm").pvalue > 1e-6


def test_signs_are_fair_coins() -> None:
    s = rng.signs(many(), (1000,))
    assert set(s.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(s.mean())) < FIVE_SIGMA / math.sqrt(s.numel())


@pytest.mark.parametrize("high", [2, 7, 10])
def test_integers_fall_evenly_on_all_values(high: int) -> None:
    counts = torch.bincount(rng.integers(many(), (100,), high).flatten(), minlength=high)
    assert len(counts) == high
    assert stats.chisquare(counts.numpy()).pvalue > 1e-6


def test_below_one_there_is_only_zero() -> None:
    assert torch.equal(rng.integers(many(10), (3,), 1), torch.zeros(10, 3, dtype=torch.int64))


def test_integers_take_a_limit_for_each_sample() -> None:
    high = torch.tensor([[1], [3], [1000]])
    drawn = rng.integers(many(3), (500,), high)
    assert bool(((drawn >= 0) & (drawn < high)).all())
    assert int(drawn[0].max()) == 0
    assert set(drawn[1].tolist()) == {0, 1, 2}
    assert int(drawn[2].max()) > 500


def correlation(a: Tensor, b: Tensor) -> float:
    return abs(float(torch.corrcoef(torch.stack([a.double().flatten(), b.double().flatten()]))[0, 1]))


def other_seed(key: Tensor) -> Tensor:
    return rng.normal(many(100, seed=1), (1000,))


def other_use(key: Tensor) -> Tensor:
    return rng.normal(many(100, use="other"), (1000,))


def next_sample(key: Tensor) -> Tensor:
    return rng.normal(many(101), (1000,))[1:]


def next_step(key: Tensor) -> Tensor:
    return rng.normal(rng.fold(key, 1), (1000,))


def next_element(key: Tensor) -> Tensor:
    return rng.normal(key, (1001,))[:, 1:]


@pytest.mark.parametrize("other", [other_seed, other_use, next_sample, next_step, next_element])
def test_streams_are_not_correlated(other: object) -> None:
    key = many(100)
    mine = rng.normal(key, (1000,))
    assert correlation(mine, other(key)) < FIVE_SIGMA / math.sqrt(mine.numel())


def test_samples_under_one_seed_are_not_those_of_another_under_theirs() -> None:
    """Sample a under seed b and sample b under seed a have nothing in common."""
    mine = rng.normal(rng.keys(3, torch.arange(100, 200)), (100,))
    other = torch.cat([rng.normal(rng.keys(seed, torch.tensor([3])), (100,)) for seed in range(100, 200)])
    assert correlation(mine, other) < FIVE_SIGMA / math.sqrt(mine.numel())


@given(st.integers(-5, 5), st.integers(0, 300))
def test_permutations_hold_everybody_once(seed: int, n: int) -> None:
    assert rng.permutation(seed, n).sort().values.tolist() == list(range(n))


def test_permutations_differ_by_seed_and_repeat() -> None:
    orders = [tuple(rng.permutation(seed, 20).tolist()) for seed in range(100)]
    assert len(set(orders)) == 100
    assert orders[7] == tuple(rng.permutation(7, 20).tolist())


def test_every_sample_comes_first_equally_often() -> None:
    first = torch.stack([rng.permutation(seed, 5)[0] for seed in range(2000)])
    assert stats.chisquare(torch.bincount(first, minlength=5).numpy()).pvalue > 1e-6


@pytest.mark.parametrize("use", [0, 1, 4, -1, 2**40, -(2**63), 2**63 - 1])
def test_a_number_is_mixed_in_python_as_a_tensor_is_on_the_device(use: int) -> None:
    key = rng.keys(1, torch.arange(5))
    assert torch.equal(rng.fold(key, use), rng.fold(key, torch.full((5,), use)))
