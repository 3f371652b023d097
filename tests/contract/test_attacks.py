"""One table runs every attack on every threat it supports: what holds for all of them, holds here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from pairwise import covering, thinned
from table_entries import check_entries
from torch import Tensor, nn

from robustest import Linf, find_adversarial
from robustest import threats as threat_models
from robustest.attacks import ATTACKS, RandomDraws, Searcher, Square, supports
from robustest.attacks.coherent import CoherentMoves, CoherentStarts
from robustest.threats import Threat

SMALL = {"steps": 6, "queries": 40, "steps_after": 4}
"""Budgets of the contract: enough to walk, not to win."""

EVERY: dict[str, Callable[[], Searcher]] = {
    **ATTACKS,
    "square-at-once": partial(Square, at_once=5),
    "random-draws-at-once": partial(RandomDraws, at_once=5),
    "coherent-moves": CoherentMoves,
    "coherent-moves-drawn": partial(CoherentMoves, queries=23, at_once=4, drawn=True),
    "coherent-starts": CoherentStarts,
}
"""All attacks by name, those that can make several proposals at once doing so, and those of cascades alone."""

SHAPES = {
    "images": ((1, 6, 6), 3, 9),
    "batch of one": ((1, 6, 6), 3, 1),
    "odd shapes": ((2, 5, 9), 3, 7),
    "two classes": ((1, 6, 6), 2, 9),
    "100 classes": ((3, 4, 4), 100, 9),
    "tabular": ((11,), 4, 9),
}


def shortened(attack: Searcher) -> Searcher:
    """The attack with a small budget."""
    fields = {f.name for f in dataclasses.fields(attack) if f.init}  # type: ignore[arg-type]
    changes: dict[str, Any] = {name: value for name, value in SMALL.items() if name in fields}
    if "at_once" in fields:
        changes["at_once"] = min(attack.at_once, SMALL["queries"])  # type: ignore[attr-defined]
    if "searcher" in fields:
        changes["searcher"] = shortened(attack.searcher)  # type: ignore[attr-defined]
    return dataclasses.replace(attack, **changes)  # type: ignore[type-var]


def threats_for(shape: tuple[int, ...]) -> list[Threat]:
    """One threat of every kind that makes sense for a shape."""
    balls: list[Threat] = [
        threat_models.Linf(0.1),
        threat_models.L2(0.5),
        threat_models.Snr(18),
        threat_models.L1(1.5),
        threat_models.L0(3),
        threat_models.Unbounded(),
    ]
    images: list[Threat] = [
        threat_models.Patch(2, 2),
        threat_models.Patch(2, 2, top=1, left=1),
        threat_models.Spatial(),
    ]
    return balls + images if len(shape) == 3 else [*balls, COLUMNS]


COLUMNS = threat_models.Columns(
    {0: threat_models.AnyOf(0, 1), 1: threat_models.Within(-0.1, 0.2), 4: threat_models.Relative(0.5)}, max_changed=2
)


CASES: list[tuple[str, Threat, str]] = [
    (name, threat, kind)
    for name, make in EVERY.items()
    for kind, (shape, _, _) in SHAPES.items()
    for threat in threats_for(shape)
    if supports(make(), threat)
]
every_case = pytest.mark.parametrize(
    ("name", "threat", "kind"), thinned(CASES, [f"{name}-{threat}-{kind}" for name, threat, kind in CASES])
)


class Mlp(nn.Module):
    """Two layers in float64: its answers do not depend on the batch's shape."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(classes)
        self.first = nn.Parameter(torch.randn(24, inputs, generator=generator, dtype=torch.float64))
        self.second = nn.Parameter(torch.randn(classes, 24, generator=generator, dtype=torch.float64))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        hidden = (x.flatten(1).to(self.first.dtype) - 0.5) @ self.first.T
        return self.drop(hidden.relu()) @ self.second.T


def setting(kind: str) -> tuple[Mlp, Tensor, Tensor]:
    """A model in train mode and samples it gets right in eval mode; values at and off the bounds."""
    shape, classes, n = SHAPES[kind]
    model = Mlp(math.prod(shape), classes)
    x = torch.rand((n, *shape), generator=torch.Generator().manual_seed(1))
    x[:, ..., 0] = x[:, ..., 0].round()
    model.eval()
    with torch.no_grad():
        y = model(x).argmax(1)
    return model.train(), x, y


def run(name: str, threat: Threat, kind: str, **options: Any) -> tuple[Any, Mlp, Tensor, Tensor]:
    model, x, y = setting(kind)
    options.setdefault("seed", 3)
    found = find_adversarial(
        model, x, y, threat, attack=shortened(EVERY[name]()), suppress=("random_forward",), **options
    )
    return found, model, x, y


FIRST = {CASES[at][0]: CASES[at] for at in reversed(covering(CASES))}
"""The first case of each attack."""


@every_case
def test_what_is_found_is_inside_and_breaks_and_is_the_same_for_any_batch(name: str, threat: Threat, kind: str) -> None:
    before = torch.get_rng_state()
    found, model, x, y = run(name, threat, kind, batch_size=64)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert found.x.shape == x.shape
    assert found.x.dtype == x.dtype
    assert float(found.x.min()) >= 0
    assert float(found.x.max()) <= 1
    assert (found.norms <= threat.radius * (1 + 1e-6)).all()
    if isinstance(threat, (threat_models.Linf, threat_models.L2, threat_models.L1)):
        difference = (found.x.double() - x.double()).flatten(1)
        order = {threat_models.Linf: math.inf, threat_models.L2: 2, threat_models.L1: 1}[type(threat)]
        own = torch.linalg.vector_norm(difference, ord=order, dim=1)
        assert bool((own <= threat.eps * (1 + 1e-6)).all())
    if isinstance(threat, threat_models.L0):
        changed = (found.x != x).flatten(2).any(1) if x.ndim > 2 else found.x != x
        assert bool((changed.flatten(1).sum(1) <= threat.pixels).all())
    assert len(x) == len(found.broken)
    model.eval()
    with torch.no_grad():
        again = model(found.x).argmax(1) != y
    assert again[torch.from_numpy(found.broken)].all()
    # One by one is dear: of each attack's cases it is asked of the first, and all are asked in parts.
    for batch_size in (4, 1) if FIRST[name] == (name, threat, kind) else (4,):
        other, _, _, _ = run(name, threat, kind, batch_size=batch_size)
        assert (other.broken == found.broken).all()
        assert torch.allclose(other.x, found.x, atol=1e-6)


@pytest.mark.thinned
@pytest.mark.parametrize("name", list(EVERY))
@pytest.mark.parametrize("kind", ["images", "tabular"])
def test_a_radius_of_zero_changes_nothing(name: str, kind: str) -> None:
    shape = SHAPES[kind][0]
    zero: list[Threat] = [threat_models.Linf(0.0), threat_models.L2(0.0), threat_models.L1(0.0), threat_models.L0(0)]
    if len(shape) == 3:
        zero.append(threat_models.Spatial(rotation=0.0, translation=0.0, scale=0.0))
    tried = 0
    for threat in zero:
        if supports(EVERY[name](), threat):
            found, _, x, _ = run(name, threat, kind)
            assert torch.equal(found.x, x), threat
            assert not found.broken.any(), threat
            tried += 1
    patches = supports(EVERY[name](), threat_models.Patch(2, 2))
    assert tried or patches or kind == "tabular" or supports(EVERY[name](), COLUMNS)


@pytest.mark.parametrize("name", list(EVERY))
@pytest.mark.parametrize("kind", ["images", "tabular"])
def test_flat_samples_in_wide_bounds_are_searched(name: str, kind: str) -> None:
    """What has no contrast has no direction, and the width of the bounds over nothing is no number."""
    shape, classes, n = SHAPES[kind]
    model = Mlp(math.prod(shape), classes).eval()
    x = torch.zeros(n, *shape)
    x[1:4] += torch.tensor([1.0, -255.0, 1e4]).view(-1, *(1 for _ in shape))
    x[4, ..., 0] = 1e4
    with torch.no_grad():
        y = model(x).argmax(1)
    for threat in threats_for(shape):
        if supports(EVERY[name](), threat):
            options: dict[str, Any] = {"bounds": (-1e4, 1e4), "suppress": ("random_forward",)}
            found = find_adversarial(model, x, y, threat, attack=shortened(EVERY[name]()), **options)
            assert bool(torch.isfinite(found.x).all()), threat


def test_the_table_has_every_attack() -> None:
    check_entries({name for name, _, _ in CASES}, EVERY, "the threats and shapes here (none is one that it serves)")
    assert all(isinstance(make(), Searcher) for make in EVERY.values())


def test_the_contract_notices_a_bad_attack() -> None:
    """A searcher that draws from the global generator is caught by the check that the others pass."""

    @dataclasses.dataclass(frozen=True)
    class Careless:
        name = "careless"
        steps = 1
        needs = EVERY["pgd"]().needs

        def init(self, problem: Any, key: Tensor) -> dict[str, Tensor]:
            return {"z": problem.x + 0.1 * torch.rand_like(problem.x)}

        def ask(self, problem: Any, state: dict[str, Tensor]) -> Tensor:
            return state["z"]

        def objective(self, problem: Any, state: dict[str, Tensor], logits: Tensor) -> Tensor:
            return -logits.gather(1, problem.y.unsqueeze(1)).squeeze(1)

        def tell(self, problem: Any, state: dict[str, Tensor], seen: Any) -> dict[str, Tensor]:
            return {"z": seen.z + 0.1 * torch.rand_like(seen.z)}

    model, x, y = setting("images")
    first = find_adversarial(model, x, y, Linf(0.1), attack=Careless(), seed=3)
    torch.rand(5)
    second = find_adversarial(model, x, y, Linf(0.1), attack=Careless(), seed=3, batch_size=1)
    assert not torch.allclose(first.x, second.x, atol=1e-6)
