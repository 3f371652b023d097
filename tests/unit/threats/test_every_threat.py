"""What every threat model owes the engine and the attacks, on images of odd shapes and tabular samples."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustest import ConfigError, rng, threats
from robustest.threats import (
    L0,
    L1,
    L2,
    AnyOf,
    Append,
    Columns,
    Discrete,
    Edits,
    Euclidean,
    Increase,
    Insert,
    Linf,
    Patch,
    Relative,
    Snr,
    Spatial,
    Threat,
    Unbounded,
    is_discrete,
)

BOUNDS = [(0.0, 1.0), (-1.0, 1.0), (-2.1179, 2.64), (0.0, 255.0)]
IMAGES = [(1, 6, 6), (3, 7, 5), (2, 1, 9)]
SHAPES = [*IMAGES, (11,), (1,), (4, 6)]
ANYWHERE: list[Threat] = [Linf(0.1), L2(0.5), L1(0.7), L1(40.0), L0(1), L0(3), L0(1000), Snr(12), Unbounded()]
ON_IMAGES: list[Threat] = [
    Patch(1, 3),
    Patch(1, 2, top=0, left=1),
    Patch(1, 1, left=2),
    Spatial(),
    Spatial(180, 1, 0.9),
]
NOTHING: list[Threat] = [Linf(0), L2(0), L1(0), L0(0)]
NOTHING_ON_IMAGES: list[Threat] = [Patch(0, 3), Patch(1, 0), Patch(0, 0), Spatial(0, 0, 0)]
KEYS = rng.keys(5, torch.arange(6))


class Setting(NamedTuple):
    threat: Threat
    shape: tuple[int, ...]


def settings(anywhere: list[Threat], images: list[Threat]) -> list[Setting]:
    return [Setting(t, s) for s in SHAPES for t in anywhere] + [Setting(t, s) for s in IMAGES for t in images]


ON_ROWS = [
    Columns({0: Increase(0.5), 3: Relative(0.2), 7: AnyOf(0, 1)}),
    Columns({0: Increase(0.5), 3: Relative(0.2)}, max_changed=1),
]
EVERY = [*settings(ANYWHERE, ON_IMAGES), *(Setting(threat, (11,)) for threat in ON_ROWS)]
named = pytest.mark.parametrize("setting", EVERY, ids=lambda s: f"{s.threat}-{s.shape}")


OF_TEXTS = {Append, Edits, Insert}
"""Threats whose contract is in `test_edits.py`."""
PAGE = Path(__file__).resolve().parents[3] / "docs" / "threats.md"


def test_every_threat_is_in_a_table_here_and_on_its_page() -> None:
    """A threat that nobody entered would meet no test of what it owes."""
    public = {one for one in vars(threats).values() if inspect.isclass(one) and hasattr(one, "project")}
    made = {one for one in public if not inspect.isabstract(one) and one not in (Threat, Discrete)}
    assert len(made) > 9
    entered = {type(setting.threat) for setting in EVERY} | OF_TEXTS
    missing = sorted(one.__name__ for one in made - entered)
    assert not missing, f"no entry in ANYWHERE, ON_IMAGES, ON_ROWS or OF_TEXTS for {missing}"
    rows = "".join(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `"))
    unnamed = sorted(one.__name__ for one in made if f"`{one.__name__}(" not in rows)
    assert not unnamed, f"no row in docs/threats.md for {unnamed}"


def samples(shape: tuple[int, ...], bounds: tuple[float, float], n: int = 6, seed: int = 0) -> Tensor:
    """Values between the bounds and, one in three, at them."""
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(n, *shape, generator=generator)
    edge = torch.rand(n, *shape, generator=generator) < 1 / 3
    return (bounds[0] + (bounds[1] - bounds[0]) * torch.where(edge, unit.round(), unit)).clamp(*bounds)


def wild(threat: Threat, x: Tensor, bounds: tuple[float, float], power: float, seed: int = 1) -> Tensor:
    origin = threat.origin(threat.region(x, bounds))
    noise = torch.randn(origin.shape, generator=torch.Generator().manual_seed(seed))
    return origin + noise * 10**power


def check_inside(threat: Threat, z: Tensor, x: Tensor, bounds: tuple[float, float]) -> None:
    region = threat.region(x, bounds)
    shown = threat.render(z, region)
    assert shown.shape == x.shape
    assert shown.dtype == x.dtype
    low, high = torch.tensor(bounds)
    assert bool(((shown >= low) & (shown <= high)).all())
    size = threat.size(z, region)
    assert size.dtype == torch.float64
    assert size.shape == (len(x),)
    assert float(size.max()) <= threat.radius * (1 + 1e-6)


def test_a_threat_is_discrete_where_the_protocol_says_so() -> None:
    threats = [setting.threat for setting in EVERY] + [Insert(2), Edits(1)]
    found = [is_discrete(threat) for threat in threats]
    assert found == [isinstance(threat, Discrete) for threat in threats]
    assert any(found)
    assert not all(found)


@named
@hypothesis.settings(max_examples=30)  # of 63 settings each: more are not worth their minute
@given(st.sampled_from(BOUNDS), st.floats(-6, 5), st.integers(0, 1000))
def test_projections_are_inside(setting: Setting, bounds: tuple[float, float], power: float, seed: int) -> None:
    threat, x = setting.threat, samples(setting.shape, bounds, seed=seed)
    region = threat.region(x, bounds)
    z = threat.project(wild(threat, x, bounds, power, seed), region)
    check_inside(threat, z, x, bounds)
    spacing = max(map(abs, bounds)) * 2.0**-23 if isinstance(threat, Euclidean) else 0
    assert float((threat.project(z, region) - z).abs().max()) <= spacing, "projecting again moved it"


@named
@pytest.mark.parametrize("bounds", BOUNDS)
def test_starts_are_inside(setting: Setting, bounds: tuple[float, float]) -> None:
    threat, x = setting.threat, samples(setting.shape, bounds)
    region = threat.region(x, bounds)
    z = threat.start(region, KEYS)
    assert torch.equal(threat.project(z, region), z) or isinstance(threat, Euclidean)
    check_inside(threat, z, x, bounds)


@named
def test_a_row_has_its_own_start_and_projection_in_any_company(setting: Setting) -> None:
    threat, x = setting.threat, samples(setting.shape, (0.0, 1.0))
    whole, alone = threat.region(x, (0.0, 1.0)), threat.region(x[3:4], (0.0, 1.0))
    assert torch.equal(threat.start(whole, KEYS)[3:4], threat.start(alone, KEYS[3:4]))
    z = wild(threat, x, (0.0, 1.0), 0.0)
    one, other = threat.project(z, whole), threat.project(z[3:4], alone)
    assert torch.equal(one[3:4], other)
    assert torch.equal(threat.render(one, whole)[3:4], threat.render(other, alone))
    assert torch.equal(threat.size(one, whole)[3:4], threat.size(other, alone))
    assert len({tuple(row) for row in threat.start(whole, KEYS).flatten(1).tolist()}) > 1


@named
@pytest.mark.parametrize("bounds", BOUNDS)
def test_the_origin_is_the_sample(setting: Setting, bounds: tuple[float, float]) -> None:
    threat, x = setting.threat, samples(setting.shape, bounds)
    region = threat.region(x, bounds)
    origin = threat.origin(region)
    assert torch.equal(threat.render(origin, region), x)
    assert torch.equal(threat.project(origin, region), origin)
    assert torch.equal(threat.size(origin, region), torch.zeros(6, dtype=torch.float64))


@pytest.mark.parametrize("setting", settings(NOTHING, NOTHING_ON_IMAGES), ids=lambda s: f"{s.threat}-{s.shape}")
@pytest.mark.parametrize("bounds", BOUNDS)
def test_where_nothing_is_allowed_nothing_changes(setting: Setting, bounds: tuple[float, float]) -> None:
    threat, x = setting.threat, samples(setting.shape, bounds)
    region = threat.region(x, bounds)
    for z in (threat.start(region, KEYS), threat.project(wild(threat, x, bounds, 1.0), region)):
        assert torch.equal(threat.render(z, region), x)
        assert float(threat.size(z, region).max()) == 0


@named
def test_the_stride_is_finite_and_no_gradient_is_no_step(setting: Setting) -> None:
    threat, x = setting.threat, samples(setting.shape, (0.0, 1.0))
    region = threat.region(x, (0.0, 1.0))
    stride = threat.stride(region)
    assert stride.shape == (6,)
    assert stride.dtype == x.dtype
    assert bool((stride.isfinite() & (stride > 0)).all())
    still = threat.ascent(torch.zeros_like(threat.origin(region)))
    assert torch.equal(still, torch.zeros_like(still))


@pytest.mark.parametrize("ball", [Linf, L2, L1])
def test_the_stride_of_a_ball_is_eps_as_far_as_the_bounds_have_room(ball: type) -> None:
    x = torch.zeros(3, 16)
    room = {Linf: 2.0, L2: 8.0, L1: 32.0}[ball]  # from corner to corner of [-1, 1]^16
    for eps in (0.0, 0.25, room, 2 * room, 3e38):
        stride = ball(eps).stride(ball(eps).region(x, (-1.0, 1.0)))
        assert stride.tolist() == [min(eps, room)] * 3


def test_the_radius_of_a_ratio_is_each_samples_own() -> None:
    x = torch.stack([torch.full((16,), level) for level in (0.5, 0.01, 0.0)])
    for db in (40.0, 6.0, -3.0):
        threat = Snr(db)
        region = threat.region(x, (-1.0, 1.0))
        far = threat.project(x + torch.randn(3, 16, generator=torch.Generator().manual_seed(1)) * 5, region)
        ratio = 20 * (x.double().norm(dim=1) / (far.double() - x.double()).norm(dim=1)).log10()
        assert ratio[1].item() == pytest.approx(db, abs=1e-3)
        assert ratio[0].item() >= db - 1e-6  # the bounds may be nearer
        assert torch.equal(far[2], x[2])
        assert threat.size(far, region)[1].item() == pytest.approx(10 ** (-db / 20), rel=1e-4)
        assert threat.size(far + 0.1, region)[2] == torch.inf
        assert str(threat) == f"Snr({db:g} dB)"
    for wrong in ("20", True, float("nan"), 1000):
        with pytest.raises(ConfigError, match="db to be a number"):
            Snr(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("ball", [Linf, L2, L1])
def test_a_huge_radius_leaves_the_bounds_alone(ball: type) -> None:
    x = samples((3, 4, 4), (0.0, 1.0))
    region = ball(3e38).region(x, (0.0, 1.0))
    z = wild(ball(3e38), x, (0.0, 1.0), 0.5)
    assert torch.allclose(ball(3e38).project(z, region), z.clamp(0, 1), atol=1e-6)
    start = ball(3e38).start(region, KEYS)
    assert bool(start.isfinite().all())


@pytest.mark.parametrize("threat", [*ANYWHERE, *ON_IMAGES, *ON_ROWS, *NOTHING, *NOTHING_ON_IMAGES], ids=str)
def test_threats_are_values(threat: Threat) -> None:
    assert isinstance(threat, Threat)
    assert type(threat.radius) is float
    twin = copy.deepcopy(threat)
    assert twin == threat
    assert hash(twin) == hash(threat)
    assert pickle.loads(pickle.dumps(threat)) == threat  # noqa: S301 - workers get threats like this
    assert str(twin) == str(threat)


@pytest.mark.parametrize(
    "threat", [Linf(0.1), L2(0.5), L1(0.7), L0(3), Snr(12), Unbounded(), Patch(2, 2), Spatial()], ids=str
)
def test_any_memory_layout_will_do(threat: Threat) -> None:
    x = samples((3, 7, 5), (0.0, 1.0))
    folded = x.to(memory_format=torch.channels_last)
    plain, other = threat.region(x, (0.0, 1.0)), threat.region(folded, (0.0, 1.0))
    z = wild(threat, x, (0.0, 1.0), 0.0)
    one, two = threat.project(z, plain), threat.project(z.contiguous(), other)
    assert torch.allclose(threat.render(one, plain), threat.render(two, other), atol=1e-6)
    assert torch.equal(threat.start(plain, KEYS), threat.start(other, KEYS)) or isinstance(threat, Euclidean)
