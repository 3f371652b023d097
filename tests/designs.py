"""A standing adversary: models that hide how easily they break, drawn at random, each with inputs that prove it.

A design is a model, samples, a threat, and witnesses: inputs inside the threat, made by an attack that knows the
design's parts. The model itself answers at each witness, so that the share of samples that are right at all of them is
an upper bound of the robust accuracy, without trust in the attack that made them. A claim above that bound is false.

    gate      a hard threshold of a mean, a contrast, a wave or a window in front of a weaker or a wrong branch
    router    two networks, each trained on one side of such a threshold
    mask      elements that count only where the mean of their neighbours is large
    coarse    scores that are rounded, saturated, clipped, one-hot, or remembered
    cells     trees and sums of stumps, whose truth is enumerated
    mixture   experts weighed by a steep threshold, or a vote
    refusal   a robust fallback for inputs that look noisy or far from what is known
    sound     the same parts without anything hidden
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from robustest import L2, Linf, scores_model

N, OF_SCORES = 150, 60  # samples of a design; fewer where each takes thousands of queries
SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "table": ((8,), (14,), (30,)),
    "image": ((1, 8, 8), (3, 8, 8), (1, 12, 12)),
    "series": ((1, 32), (1, 48), (2, 40)),
}
Scalar = Callable[[Tensor], Tensor]  # samples (n, *S) to numbers (n,)


@dataclass(frozen=True)
class Design:
    """A model with samples, a threat, and inputs at which it may be wrong.

    Attributes:
        model: as a user gives it.
        answer: maps inputs (n, *S) to its classes (n,) int64.
        witnesses: (W, N, *S) inputs; those outside the threat do not count.
    """

    name: str
    model: object
    answer: Callable[[Tensor], Tensor]
    x: Tensor
    y: Tensor
    threat: Linf | L2
    witnesses: Tensor

    def broken(self) -> Tensor:
        """Return (N,) bool: samples that are wrong as they are, or at a witness inside the threat."""
        region = self.threat.region(self.x, (0.0, 1.0))
        broken = self.answer(self.x) != self.y
        for z in self.witnesses:
            inside = (z >= 0).flatten(1).all(1) & (z <= 1).flatten(1).all(1)
            inside &= self.threat.size(z, region) <= self.threat.radius
            broken |= inside & (self.answer(z) != self.y)
        return broken

    @property
    def truth(self) -> float:
        """The upper bound of the robust accuracy."""
        return 1 - float(self.broken().double().mean())


# Parts


class Line(nn.Module):
    """The margin scale * (w . (x - middle)) of the second class."""

    def __init__(self, weight: Tensor, middle: float = 0.5) -> None:
        super().__init__()
        self.weight, self.middle = nn.Parameter(weight, requires_grad=False), middle

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight * (x - self.middle)).flatten(1).sum(1)


def quantity(name: str, shape: tuple[int, ...], draw: np.random.Generator) -> Scalar:
    """Return a quantity that gates and routers read."""
    last, ones = shape[-1], torch.ones(shape)
    at = torch.arange(last) / (last - 1)
    window = torch.zeros(shape)
    width = max(2, int(last * draw.uniform(0.3, 0.6)))
    start = int(draw.integers(0, last - width + 1))
    window[..., start : start + width] = 1
    if len(shape) == 3 and draw.random() < 0.5:
        other = int(draw.integers(0, shape[1] - width + 1)) if width < shape[1] else 0
        window[:, :other] = 0
        window[:, other + width :] = 0
    if len(shape) == 1:  # some columns, in no order
        window = window[torch.from_numpy(draw.permutation(last))]
    channel = ones.clone()
    if shape[0] > 1 and len(shape) > 1:
        channel[1:] = -1 / (shape[0] - 1)
    weights = {
        "bright": ones,
        "dark": -ones,
        "window": window,
        "dark window": -window,
        "half against half": torch.where(at < 0.5, 1.0, -1.0).expand(shape),
        "rising": (2 * at - 1).expand(shape),
        "wave": torch.cos(2 * math.pi * at).expand(shape),
        "colour": channel,
    }
    if name in weights:
        weight = weights[name] / weights[name].abs().sum()
        return lambda x: (weight * x).flatten(1).sum(1)
    sign = -1.0 if name.startswith("little") else 1.0
    return lambda x: sign * x.flatten(1).std(1)


QUANTITIES = (
    "bright",
    "dark",
    "window",
    "dark window",
    "half against half",
    "rising",
    "wave",
    "colour",
    "contrast",
    "little contrast",
)
_ORDERED = {"half against half", "rising", "wave"}  # of no meaning for columns


class Gated(nn.Module):
    """`before` where a quantity is at most an edge, else `behind`; a hard choice, or a steep mixture."""

    def __init__(self, read: Scalar, edge: float, before: nn.Module, behind: nn.Module, steep: float = 0.0) -> None:
        super().__init__()
        self.read, self.edge, self.before, self.behind, self.steep = read, edge, before, behind, steep

    def forward(self, x: Tensor) -> Tensor:
        over = self.read(x) - self.edge
        if self.steep:
            part = torch.sigmoid(self.steep * over)
            return part * self.behind(x) + (1 - part) * self.before(x)
        return torch.where(over > 0, self.behind(x), self.before(x))


class Masked(nn.Module):
    """A margin of the elements whose neighbours' mean is above an edge; `slope` makes the mask soft."""

    def __init__(self, inner: nn.Module, edge: float, size: int) -> None:
        super().__init__()
        self.inner, self.edge, self.size = inner, edge, size
        self.slope = 0.0

    def forward(self, x: Tensor) -> Tensor:
        pool = nn.functional.avg_pool2d if x.ndim == 4 else nn.functional.avg_pool1d
        rows = x.unsqueeze(1) if x.ndim == 2 else x
        mean = pool(rows, self.size, 1, self.size // 2, count_include_pad=False).view_as(x)
        over = mean - self.edge
        mask = torch.sigmoid(self.slope * over) if self.slope else (over > 0).to(x)
        out: Tensor = self.inner(x * mask)
        return out


class Two(nn.Module):
    """The two scores of a margin."""

    def __init__(self, margin: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.margin, self.scale = margin, nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        lead = self.scale * self.margin(x)
        return torch.stack([-lead, lead], 1)


# Witnesses


def steered(
    x: Tensor, threat: Linf | L2, raises: Sequence[tuple[float, Scalar]], *, steps: int = 6, start: Tensor | None = None
) -> list[Tensor]:
    """Return inputs on the way of projected steps that raise a weighted sum of quantities, each on its own scale."""
    region, z, out = threat.region(x, (0.0, 1.0)), x if start is None else start, []
    for step in range(steps):
        way = torch.zeros_like(x)
        for weight, what in raises:
            point = z.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(what(point).sum(), point)
            size = slope.abs().flatten(1).mean(1).clamp(min=1e-30).view(-1, *[1] * (x.ndim - 1))
            way += weight * slope / size
        length = threat.stride(region) * (2.0 if step == 0 else 0.5 * (1 + math.cos(math.pi * step / steps)))
        z = threat.project(z + length.view(-1, *[1] * (x.ndim - 1)) * threat.ascent(way), region)
        out.append(z)
    return out


_PARTS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 4.0, 8.0)


def through(x: Tensor, y: Tensor, threat: Linf | L2, read: Scalar, behind: nn.Module) -> list[Tensor]:
    """Return inputs that are steered through a gate, and to the other class behind it, with several weights."""
    sign = (2 * y - 1).to(x)
    out = []
    for part in _PARTS:
        out += steered(x, threat, [(part, read), (1.0, lambda z: -sign * behind(z))])
    for part in (0.3, 1.0, 3.0):
        out += steered(x, threat, [(part, lambda z: -read(z)), (1.0, lambda z: -sign * behind(z))])
    return [*out, *steered(x, threat, [(1.0, read)])]


# Samples and networks


def samples(kind: str, draw: np.random.Generator, n: int = N) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Return samples (n, *S) inside [.1, .9], classes, and the shape: a smooth part of each class, and noise."""
    shape = SHAPES[kind][int(draw.integers(len(SHAPES[kind])))]
    make = torch.Generator().manual_seed(int(draw.integers(2**31)))
    y = torch.arange(n) % 2
    texture = torch.rand(shape, generator=make) - 0.5
    light = float(draw.choice([0.0, 0.05, 0.15])) * (2 * torch.rand(n, generator=make) - 1)
    noise = float(draw.uniform(0.1, 0.4)) * (torch.rand(n, *shape, generator=make) - 0.5)
    each = [1] * len(shape)
    x = 0.5 + 0.3 * texture + (2 * y - 1).view(-1, *each) * 0.1 * texture.roll(1, -1) + light.view(-1, *each) + noise
    return x.clamp(0.05, 0.95), y, shape


def network(x: Tensor, y: Tensor, seed: int, *, width: int = 24, steps: int = 120) -> nn.Module:
    """Return a small network whose output is the margin of the second class."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), width), nn.ReLU(), nn.Linear(width, 1), nn.Flatten(0))
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.softplus(-(2 * y - 1) * net(x)).mean().backward()
            optimizer.step()
    return net.eval().requires_grad_(False)


def sure(x: Tensor, y: Tensor, draw: np.random.Generator, eps: float) -> tuple[Tensor, Line]:
    """Return samples whose first elements tell the classes apart by far, and the margin that reads them."""
    few = int(draw.integers(1, 4))
    weight = torch.zeros(x.shape[1:])
    weight.flatten()[:few] = 1 / few
    x = x.clone()
    x.flatten(1)[:, :few] = (0.5 + (2 * y - 1) * (2.2 * eps)).unsqueeze(1).to(x).clamp(0.02, 0.98)
    return x, Line(weight)


def _threat(x: Tensor, draw: np.random.Generator) -> tuple[Linf | L2, float]:
    eps = float(draw.choice([0.01, 0.02, 0.04, 0.08, 0.15]))
    if draw.random() < 0.2:
        return L2(eps * math.sqrt(x[0].numel()) * 0.6), eps
    return Linf(eps), eps


def _torch(name: str, margin: nn.Module, x: Tensor, y: Tensor, threat: Linf | L2, witnesses: list[Tensor]) -> Design:  # noqa: PLR0917
    model = Two(margin, 10.0).eval()

    def answer(z: Tensor) -> Tensor:
        with torch.no_grad():
            return model(z).argmax(1)

    return Design(name, model, answer, x, y, threat, torch.stack(witnesses))


def _edge(read: Scalar, x: Tensor, threat: Linf | L2, draw: np.random.Generator) -> float:
    """Return an edge that the samples lie before, and that a part of the way across the threat reaches for most."""
    top = steered(x, threat, [(1.0, read)])[-1]
    now, then = read(x), read(top)
    middle = now + float(draw.uniform(0.3, 0.8)) * (then - now)
    return float(max(middle.quantile(float(draw.uniform(0.3, 0.9))), now.quantile(0.95)))


# The kinds of designs


def gate(kind: str, draw: np.random.Generator) -> Design:
    x, y, shape = samples(kind, draw)
    threat, eps = _threat(x, draw)
    x, before = sure(x, y, draw, eps)
    names = [one for one in QUANTITIES if kind != "table" or one not in _ORDERED]
    name = str(draw.choice(names))
    read = quantity(name, shape, draw)
    fine = torch.randn(shape, generator=torch.Generator().manual_seed(int(draw.integers(2**31))))
    behind: nn.Module
    what = str(draw.choice(["weak", "wrong", "network"]))
    if what == "wrong":  # the other class
        behind = Line(-before.weight)
    elif what == "weak":
        share = float(draw.uniform(0.02, 0.3))
        weight = share * fine / fine.abs().sum() + (0.05 * before.weight)
        behind = Line(weight - (weight.mean() if what == "weak" else 0))
    else:
        behind = network(x, y, int(draw.integers(2**31)))
    edge = _edge(read, x, threat, draw)
    model = Gated(read, edge, before, behind, float(draw.choice([0.0, 0.0, 1e4])))
    return _torch(f"{kind} gate {name} {what} {threat}", model, x, y, threat, through(x, y, threat, read, behind))


def router(kind: str, draw: np.random.Generator) -> Design:
    x, y, shape = samples(kind, draw, 400)
    threat, _ = _threat(x, draw)
    name = str(draw.choice([one for one in QUANTITIES if kind != "table" or one not in _ORDERED]))
    read = quantity(name, shape, draw)
    # Days and nights: half of the samples are moved along the quantity.
    point = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(read(point).sum(), point)
    far = float(draw.uniform(0.5, 2.0)) * 0.06 * slope / slope.abs().flatten(1).amax(1).view(-1, *[1] * len(shape))
    x = (x + torch.where((torch.arange(400) % 4 < 2).view(-1, *[1] * len(shape)), far, -far)).clamp(0, 1)
    edge = float(read(x).quantile(float(draw.uniform(0.3, 0.7))))
    nets = [network(x[side], y[side], int(draw.integers(2**31))) for side in (read(x) <= edge, read(x) > edge)]
    x, y = x[:N], y[:N]
    witnesses = through(x, y, threat, read, nets[1]) + through(x, y, threat, lambda z: -read(z), nets[0])
    return _torch(f"{kind} router {name} {threat}", Gated(read, edge, *nets), x, y, threat, witnesses)


def mask(kind: str, draw: np.random.Generator) -> Design:
    x, y, shape = samples(kind, draw, 300)
    threat, eps = _threat(x, draw)
    size = int(draw.choice([3, 5]))
    inner = Masked(nn.Flatten(), 0.0, size)
    # Around the samples' own means, so that what the threat moves is at stake.
    inner.edge = float(x.mean() + float(draw.uniform(-0.5, 1.0)) * eps)
    with torch.no_grad():
        seen = inner(x).view(-1, *shape)
    net = network(seen, y, int(draw.integers(2**31)))
    x, y = x[:N], y[:N]
    model, sign = Masked(net, inner.edge, size), (2 * y - 1).to(x)
    witnesses = []
    for slope, begin in itertools.product((3.0, 10.0, 30.0, 100.0), (None, 1.0, -1.0)):
        model.slope = slope / eps
        start = None if begin is None else threat.project(x + begin * eps, threat.region(x, (0.0, 1.0)))
        witnesses += steered(x, threat, [(1.0, lambda z: -sign * model(z))], steps=20, start=start)
    model.slope = 0.0
    return _torch(f"{kind} mask {size} {threat}", model, x, y, threat, witnesses)


def refusal(kind: str, draw: np.random.Generator) -> Design:
    x, y, shape = samples(kind, draw)
    threat, eps = _threat(x, draw)
    x, fallback = sure(x, y, draw, eps)
    known = x.clone()
    what = str(draw.choice(["noise", "far"])) if kind != "table" else "far"
    noise = Line(torch.zeros(shape))

    def rough(z: Tensor) -> Tensor:
        return (z[..., 1:] - z[..., :-1]).abs().flatten(1).mean(1)

    def far(z: Tensor) -> Tensor:
        return torch.cdist(z.flatten(1), known.flatten(1)).amin(1)

    read = rough if what == "noise" else far
    smooth = torch.cos(math.pi * torch.arange(shape[-1]) / (shape[-1] - 1)).expand(shape)
    weight = (
        smooth / smooth.abs().sum()
        + 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(int(draw.integers(2**31)))) / smooth.numel()
    )
    del noise
    # The weak branch sees the sure elements a little: all samples are right before a change.
    trusted = Line(float(draw.uniform(0.05, 0.3)) * weight - 0.0)
    lead = Line(0.1 * fallback.weight)
    middle = trusted(x).detach()
    weak = _Sum(trusted, lead, float(middle.median()))
    around = threat.project(
        x + threat.radius * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).sign(),
        threat.region(x, (0.0, 1.0)),
    )
    top = read(around)
    edge = float((read(x) + float(draw.uniform(0.3, 0.9)) * (top - read(x))).quantile(0.5))
    model = Gated(read, edge, weak, fallback)
    sign = (2 * y - 1).to(x)
    witnesses = []
    for part in (0.0, 0.1, 0.3, 1.0, 3.0):
        witnesses += steered(x, threat, [(1.0, lambda z: -sign * weak(z)), (part, lambda z: -read(z))], steps=12)
    smaller = [x + share * (z - x) for share in (0.9, 0.7, 0.5, 0.3, 0.2) for z in witnesses[5::6]]
    return _torch(f"{kind} refusal {what} {threat}", model, x, y, threat, witnesses + smaller)


class _Sum(nn.Module):
    def __init__(self, one: nn.Module, other: nn.Module, off: float) -> None:
        super().__init__()
        self.one, self.other, self.off = one, other, off

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.one(x) - self.off + self.other(x)
        return out


class _Vote(nn.Module):
    """The share of members for the second class, less a half."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([(one(x) > 0).to(x) for one in self.members]).mean(0) - 0.5


def _against(x: Tensor, y: Tensor, threat: Linf | L2, nets: Sequence[nn.Module]) -> list[Tensor]:
    sign, out = (2 * y - 1).to(x), []
    for chosen in itertools.product((0.0, 1.0, 2.0), repeat=len(nets)):
        raises: list[tuple[float, Scalar]] = [
            (weight, lambda z, net=net: -sign * net(z)) for weight, net in zip(chosen, nets, strict=True) if weight
        ]
        if raises:
            out += steered(x, threat, raises, steps=8)
    return out


def mixture(kind: str, draw: np.random.Generator) -> Design:
    x, y, shape = samples(kind, draw, 300)
    threat, _ = _threat(x, draw)
    nets = [network(x[k::3], y[k::3], int(draw.integers(2**31))) for k in range(3)]
    if draw.random() < 0.5:
        x, y = x[:OF_SCORES], y[:OF_SCORES]
        made = _torch(f"{kind} vote {threat}", _Vote(nets), x, y, threat, _against(x, y, threat, nets))
        return replace(made, model=without_gradients(made.model))
    x, y = x[:N], y[:N]
    read = quantity("bright" if draw.random() < 0.5 else "window", shape, draw)
    model = Gated(read, _edge(read, x, threat, draw), nets[0], nets[1], float(draw.choice([50.0, 1e3, 1e5])))
    witnesses = through(x, y, threat, read, nets[1]) + _against(x, y, threat, nets[:2])
    return _torch(f"{kind} mixture {model.steep:g} {threat}", model, x, y, threat, witnesses)


# Scores without gradients


def without_gradients(model: object) -> object:
    """Return a model that gives the scores of a module alone."""

    def scores(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(rows)).numpy()  # type: ignore[operator,no-any-return]

    return scores_model(scores)


def _softmax(lead: np.ndarray, slope: float) -> np.ndarray:
    share = 1 / (1 + np.exp(-np.clip(slope * lead.astype(np.float64), -700, 700)))
    return np.stack([1 - share, share], 1)


def coarsely(form: str, known: np.ndarray, eps: float) -> Callable[[Callable[[np.ndarray], np.ndarray]], object]:
    """Return what turns a function of scores (n, 2) of inputs (n, D) into one that tells less.

    Args:
        form: "round K" to K decimals, "plateau", "saturated", "one-hot", "logs K", "grid" and "memory".
        known: inputs (m, D), of which "memory" remembers the answers.
    """
    name, _, number = form.partition(" ")

    def made(scores: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        if name == "round":
            return lambda x: np.round(scores(x), int(number))
        if name == "logs":
            return lambda x: np.round(np.log(scores(x).clip(1e-12)), int(number))
        if name == "plateau":
            return lambda x: np.clip(scores(x), 0.3, 0.7)
        if name == "saturated":
            return lambda x: (1 / (1 + np.exp(-120 * (scores(x) - 0.5)))).astype(np.float32)
        if name == "one-hot":
            return lambda x: np.eye(2)[scores(x).argmax(1)]
        if name == "grid":  # answers by an input that is rounded
            return lambda x: scores(np.round(x / (eps / 1.5)) * (eps / 1.5))
        kept = scores(known)  # the answer to the nearest known input, where that is near

        def remembered(x: np.ndarray) -> np.ndarray:
            apart = np.abs(x[:, None] - known[None]).max(2)
            near = apart.argmin(1)
            return np.where((apart.min(1) <= 0.7 * eps)[:, None], kept[near], scores(x))

        return remembered

    return made


FORMS = (*(f"round {k}" for k in range(1, 7)), "plateau", "saturated", "one-hot", "logs 1", "logs 3", "grid", "memory")


def coarse(kind: str, draw: np.random.Generator) -> Design:
    form = str(draw.choice(FORMS))
    x, y, shape = samples(kind, draw, 300)
    threat, eps = _threat(x, draw)
    if form in ("grid", "memory"):
        threat = Linf(eps)
    net = network(x, y, int(draw.integers(2**31)), steps=60)
    x, y = x[:OF_SCORES], y[:OF_SCORES]
    slope = float(draw.choice([1.0, 3.0, 10.0]))

    def plain(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return _softmax(net(torch.from_numpy(rows.astype(np.float32)).view(-1, *shape)).numpy(), slope)

    scores: Callable[[np.ndarray], np.ndarray] = coarsely(form, x.flatten(1).numpy(), eps)(plain)  # type: ignore[assignment]

    def answer(z: Tensor) -> Tensor:
        return torch.from_numpy(scores(z.flatten(1).numpy()).astype(np.float32).argmax(1))

    model = scores_model(lambda z: scores(np.asarray(z).reshape(len(z), -1)))
    sign = (2 * y - 1).to(x)
    witnesses = steered(x, threat, [(1.0, lambda z: -sign * net(z))], steps=20)
    return Design(f"{kind} {form} x{slope:g} {threat}", model, answer, x, y, threat, torch.stack(witnesses))


def cells(kind: str, draw: np.random.Generator) -> Design:
    """Sums of stumps: the worst value of each column is looked up."""
    columns = int(draw.choice([5, 10, 25]))
    stumps = int(draw.choice([20, 60]))
    make = np.random.default_rng(int(draw.integers(2**31)))
    x = make.random((400, columns)).astype(np.float32)
    column, edge = make.integers(0, columns, stumps), make.random(stumps)
    toward = make.normal(size=columns)
    height = np.abs(make.normal(size=stumps)) * np.sign(toward[column])

    def margin(rows: np.ndarray) -> np.ndarray:
        return np.where(rows[:, column] > edge, height, -height).sum(1)

    middle = float(np.median(margin(x)))
    lead = margin(x) - middle
    eps = float(draw.choice([0.02, 0.05, 0.1]))
    rows = np.argsort(-np.abs(lead))[:240][make.permutation(240)[:OF_SCORES]]
    x, y = x[rows], (lead[rows] > 0).astype(int)
    worst = x.copy()
    for row, place in itertools.product(range(OF_SCORES), range(columns)):
        at, sign = column == place, 2 * y[row] - 1
        low, high = max(0.0, x[row, place] - eps), min(1.0, x[row, place] + eps)
        inside = edge[at][(edge[at] > low) & (edge[at] < high)]
        points = np.array([low, high, x[row, place], *(inside + 1e-6), *(inside - 1e-6)], dtype=np.float32)
        points = points[np.abs(points.astype(np.float64) - float(x[row, place])) <= eps * (1 - 1e-6)]
        points = np.append(points, x[row, place])
        value = sign * np.where(points[:, None] > edge[at], height[at], -height[at]).sum(1)
        worst[row, place] = points[value.argmin()]
    slope = float(draw.choice([0.3, 1.0, 5.0]))
    form = str(draw.choice(["exact", "round 2", "round 4", "one-hot"]))

    def plain(rows: np.ndarray) -> np.ndarray:
        return _softmax(margin(rows) - middle, slope)

    scores = plain if form == "exact" else coarsely(form, x, eps)(plain)

    def answer(z: Tensor) -> Tensor:
        return torch.from_numpy(scores(z.numpy()).astype(np.float32).argmax(1))  # type: ignore[operator]

    return Design(
        f"table stumps {stumps} of {columns} {form} {Linf(eps)}",
        scores_model(scores),  # type: ignore[arg-type]
        answer,
        torch.from_numpy(x),
        torch.from_numpy(y),
        Linf(eps),
        torch.from_numpy(worst).unsqueeze(0),
    )


def sound(kind: str, draw: np.random.Generator) -> Design:
    """A network, a robust line, or scores of one, with nothing hidden."""
    x, y, _ = samples(kind, draw, 300)
    threat, eps = _threat(x, draw)
    # Of more elements than 64, `fast` makes too few queries of scores to say anything.
    what = str(draw.choice(["network", "line", "network's scores"][: 3 if x[0].numel() <= 64 else 2]))
    net: nn.Module
    if what == "line":
        x, net = sure(x, y, draw, eps)
    else:
        net = network(x, y, int(draw.integers(2**31)), steps=60)
    n = OF_SCORES if what == "network's scores" else N
    x, y = x[:n], y[:n]
    # A sample may lie where the network is flat: the way towards a sample of the other class leads out.
    towards, sign = threat.project(x.roll(1, 0), threat.region(x, (0.0, 1.0))), (2 * y - 1).to(x)
    witnesses = _against(x, y, threat, [net])
    witnesses += steered(x, threat, [(1.0, lambda z: -sign * net(z))], steps=8, start=towards)
    made = _torch(f"{kind} sound {what} {threat}", net, x, y, threat, witnesses)
    return replace(made, model=without_gradients(made.model)) if what == "network's scores" else made


KINDS: dict[str, Callable[[str, np.random.Generator], Design]] = {
    "gate": gate,
    "router": router,
    "mask": mask,
    "coarse": coarse,
    "cells": cells,
    "mixture": mixture,
    "refusal": refusal,
}
_AMONG = ("gate", "coarse", "router", "mask", "gate", "refusal", "coarse", "mixture", "gate", "cells")
"""Kinds of designs by number, in turn."""


def design(number: int) -> Design:
    """Return the design of a number; its truth leaves room for a false claim."""
    make, kinds = KINDS[_AMONG[number % len(_AMONG)]], tuple(SHAPES)
    for again in itertools.count():
        draw = np.random.default_rng([number, again])
        made = make(kinds[int(draw.integers(len(kinds)))], draw)
        clean = float((made.answer(made.x) == made.y).double().mean())
        # A truth near 0 is easily found, but for one in a few designs.
        if made.truth <= 0.85 * clean and clean > 0.85 and (made.truth > 0.03 or draw.random() < 0.2):
            return made
    raise AssertionError


def sound_design(number: int) -> Design:
    """Return the sound design of a number, of which much is robust."""
    for again in itertools.count():
        draw = np.random.default_rng([number, again, 1])
        made = sound(tuple(SHAPES)[int(draw.integers(len(SHAPES)))], draw)
        if made.truth > 0.6:
            return made
    raise AssertionError
