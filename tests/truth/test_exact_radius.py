"""No attack breaks what cannot be broken, and `standard` breaks nearly all that can: measured on exact radii."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robustest import L2, Linf, find_adversarial
from robustest.attacks import ATTACKS, supports

sys.path.insert(0, str(Path(__file__).parent))
import exact

COUNT = 250
THREATS = {"linf": Linf, "l2": L2}
SEEDS = st.integers(0, 2**32 - 1)
LOOSE = {"bounds": (-20.0, exact.SPACING * COUNT + 20.0), "suppress": ("unbounded_attack_fails",)}


@pytest.mark.parametrize("norm", list(THREATS))
def test_the_enumeration_agrees_with_a_fine_grid(norm: str) -> None:
    rng = np.random.default_rng(5)
    for hidden in (0, 3, 8):
        net = exact.random_net(rng, hidden, 3)
        x = 0.3 * rng.normal(size=2)
        radius = exact.exact_radius(net, x, norm)
        label = net.logits(x[None])[0].argmax()
        reach = 1.2 * min(radius, 3.0)
        axis = np.linspace(-reach, reach, 801)
        grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
        size = np.linalg.norm(grid, np.inf if norm == "linf" else 2, axis=1)
        other = net.logits(x + grid).argmax(1) != label
        assert not other[size < radius * (1 - 1e-9)].any()
        if radius < 3.0:
            assert size[other].min() <= radius + 2 * (axis[1] - axis[0])


@pytest.mark.slow
@pytest.mark.parametrize("norm", list(THREATS))
@settings(max_examples=2)
@given(seed=SEEDS)
def test_standard_finds_what_is_there_and_nothing_else(norm: str, seed: int) -> None:
    """Two norms, two draws, 250 nets each: 1,000 cases."""
    model, x, y = exact.many(seed, COUNT, norm)
    inside = find_adversarial(model, x, y, THREATS[norm](0.999 * exact.RADIUS), attack="standard", **LOOSE)
    assert not inside.broken.any()
    outside = find_adversarial(model, x, y, THREATS[norm](1.05 * exact.RADIUS), attack="standard", **LOOSE)
    assert outside.broken.mean() >= 0.99, outside.stages


@pytest.mark.thinned
@pytest.mark.parametrize("norm", list(THREATS))
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name == "hop-skip-jump" else ()) for name in ATTACKS],  # seconds
)
def test_no_attack_breaks_inside_the_exact_radius(name: str, norm: str) -> None:
    threat = THREATS[norm](0.999 * exact.RADIUS)
    attack = ATTACKS[name]()
    if not supports(attack, threat):
        assert norm in THREATS  # nothing to claim: the contract table holds that every attack serves some threat
        return
    model, x, y = exact.many(11, 40, norm)
    options = {**LOOSE, "suppress": ("unbounded_attack_fails", "random_forward")}
    found = find_adversarial(model, x, y, threat, attack=attack, **options)
    assert not found.broken.any()
    with torch.no_grad():
        assert (model(found.x).argmax(1) == y).all()
