"""Robust accuracy and model calls on a URL-like table, beside tabularbench's CAA (CAPGD, then MOEVA2).

tabularbench (Simonetto et al., 2024) needs Python below 3.11 and old libraries, so it runs in an environment of its own
and reads its part from files. Its sets cannot be had offline: a table with the relations of its URL set is drawn here.

    python3.10 -m venv ENV; ENV/bin/pip install numpy==1.23.5 'pandas<2' pymoo==0.5.0 torch==1.12.1 torchattacks==3.4.0
    ENV/bin/pip install 'scikit-learn<1.3' tqdm joblib einops requests; ENV/bin/pip install --no-deps tabularbench
    python benchmarks/tables_caa.py make FOLDER          # table, network and robustest's side
    ENV/bin/python benchmarks/tables_caa.py caa FOLDER   # the other side
    python benchmarks/tables_caa.py compare FOLDER       # judges both by rules written here once more

The threat is tabularbench's own: every column that may change moves by at most EPS of its range (L-infinity between
scaled columns), whole numbers stay whole, and all relations hold. Attacked are right samples of class 1, as there.
A call is one row in one pass of the network; forwards and backwards are counted apart.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

EPS = 0.1
ROWS, PART = 40, 1
TRAIN, TEST = 4000, 1000
SEED = 0

WHOLE = [*range(22), 23, *range(25, 32), 37, 38, 39]
FIXED = [18, 22, 29, 39]
# Linear relations: weights, and the largest value of the sum.
LINEAR: list[tuple[dict[int, int], int]] = [
    ({1: 1, 0: -1}, 0),
    ({**dict.fromkeys(range(3, 18), 1), 19: 3, 0: -1}, 0),
    ({20: 3, 21: 4, 23: 2, 0: -1}, 0),
    ({38: 1, 37: -1}, 0),
    ({20: 3, 0: -1}, 1),
    ({21: 4, 0: -1}, 1),
    ({2: 4, 0: -1}, 1),
    ({23: 2, 0: -1}, 1),
]
# Where the first is positive, so is the second.
IMPLIED = [(21, 3), (23, 13), (19, 25), (2, 25), (28, 25), (31, 26)]


def urls(rng: Any, n: int) -> Any:
    """Return lengths, counts of characters and words, and features of pages, (n, 40)."""
    x = np.zeros((n, 40))
    x[:, 0] = rng.integers(12, 200, n)  # length of the URL
    x[:, 1] = np.floor(x[:, 0] * rng.uniform(0.1, 0.6, n))  # of the host name
    for at in (2, 20, 21, 23):  # words, which take 4, 3, 4 and 2 characters
        x[:, at] = rng.integers(0, 3, n)
    for at in range(3, 18):  # single characters
        x[:, at] = rng.poisson(0.3 + (x[:, 0] - 12) / 300)
    x[:, 18:20] = rng.integers(0, 2, (n, 2))
    x[:, [22, 24, *range(32, 37)]] = rng.random((n, 7))
    for at in range(25, 32):
        x[:, at] = rng.integers(0, 2 + at % 3, n)
    x[:, 37] = rng.integers(3, 40, n)
    x[:, 38] = np.floor(x[:, 37] * rng.random(n))
    x[:, 39] = rng.integers(0, 5000, n)
    for first, second in IMPLIED:
        x[:, second] = np.where(x[:, first] > 0, np.maximum(x[:, second], 1), x[:, second])
    ok = np.ones(n, dtype=bool)
    for weights, most in LINEAR:
        ok &= sum(w * x[:, at] for at, w in weights.items()) <= most
    return x[ok].astype(np.float32)


def table() -> dict[str, Any]:
    """Return rows, labels and ranges of columns."""
    rng = np.random.default_rng(SEED)
    x = urls(rng, TRAIN + 2 * TEST)
    low, high = x.min(0), x.max(0)
    unit = (x - low) / (high - low)
    # A class by pairs of columns and waves: not what a linear model reads.
    weight = rng.normal(size=x.shape[1])
    score = (unit - 0.5) @ weight + 2 * (unit[:, 0] > 0.5) * (unit[:, 3] > 0.3) + np.sin(6 * unit[:, 2])
    y = (score + 0.3 * rng.normal(size=len(x)) > np.median(score)).astype(np.int64)
    return {"x": x, "y": y, "low": low, "high": high}


def infeasible(new: Any, old: Any, made: dict[str, Any]) -> Any:
    """Return (N,) bool: rows that a sample cannot become, judged in float64."""
    new, old = new.astype(float), old.astype(float)
    room = (made["high"] - made["low"]).astype(float)
    bad = (np.abs(new - old) > EPS * room * (1 + 1e-5)).any(1)
    bad |= ((new < made["low"] - 1e-6 * room) | (new > made["high"] + 1e-6 * room)).any(1)
    bad |= (new[:, WHOLE] != new[:, WHOLE].round()).any(1)
    bad |= (new[:, FIXED] != old[:, FIXED]).any(1)
    for weights, most in LINEAR:
        bad |= sum(w * new[:, at] for at, w in weights.items()) > most + 1e-6
    for first, second in IMPLIED:
        bad |= (new[:, first] > 0) & (new[:, second] <= 0)
    return bad


def network(torch: Any, made: dict[str, Any], weights: Any = None) -> Any:
    """Return the network, which scales its columns itself, with weights of a file or trained here."""
    low, high = torch.tensor(made["low"]), torch.tensor(made["high"])

    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(SEED)
            nn = torch.nn
            self.net = nn.Sequential(nn.Linear(len(low), 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))

        def forward(self, x: Any) -> Any:
            return self.net((x - low) / (high - low))

    net = Net()
    if weights is not None:
        net.load_state_dict({key: torch.tensor(weights[key]) for key in net.state_dict()})
        return net.eval()
    optimiser = torch.optim.Adam(net.parameters(), 0.005, weight_decay=1e-4)
    x, y = torch.tensor(made["x"][:-TEST]), torch.tensor(made["y"][:-TEST])
    for _ in range(300):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    return net.eval()


def counting(torch: Any, net: Any, calls: dict[str, int]) -> Any:
    """Return a network that counts its rows."""

    class Counting(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any) -> Any:
            calls["forward"] += len(x)
            out = self.net(x)
            if out.requires_grad:
                out.register_hook(lambda gradient: calls.update(backward=calls["backward"] + len(gradient)))
            return out

    return Counting()


def make(folder: Path) -> None:
    """Attack the rows with robustest."""
    import torch

    from robustest import Columns, find_adversarial
    from robustest.attacks import PGD, Cascade, GreedyMoves, RandomMoves, Stage
    from robustest.threats import Linear, Whole, Within

    made = table()
    net = network(torch, made)
    x, y = made["x"][-TEST:], made["y"][-TEST:]
    right = net(torch.tensor(x)).argmax(1).numpy() == y
    print(f"accuracy {right.mean():.3f}")
    x = x[right & (y == 1)][:ROWS]
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    np.savez(folder / "url.npz", x=x, **state, low=made["low"], high=made["high"])
    rules: dict[Any, Any] = {}
    for at, step in enumerate((EPS * (made["high"] - made["low"])).tolist()):
        if at not in FIXED and (at not in WHOLE or step >= 1):
            rules[at] = Whole(int(step)) if at in WHOLE else Within(-step, step)
    where: list[Any] = [Linear(weights, at_most=most) for weights, most in LINEAR]
    where += [lambda t, a=a, b=b: (t[:, a] <= 0) | (t[:, b] > 0) for a, b in IMPLIED]
    ranges = {at: (float(made["low"][at]), float(made["high"][at])) for at in rules}
    threat = Columns(rules, where=where, ranges=ranges)
    stages = (
        Stage(searcher=PGD(steps=10), rounds=2),
        Stage(searcher=GreedyMoves(queries=450, at_once=50)),
        Stage(searcher=RandomMoves(queries=400)),
    )
    attacks: dict[str, Any] = {"short": Cascade(name="short", stages=stages), "fast": "fast", "standard": "standard"}
    bounds = (float(made["low"].min()), float(made["high"].max()))
    for label, attack in attacks.items():
        found, cost = [], []
        for at in range(0, len(x), PART):
            calls, start = {"forward": 0, "backward": 0}, time.perf_counter()
            part = torch.tensor(x[at : at + PART])
            model, one = counting(torch, net, calls), torch.ones(len(part), dtype=torch.int64)
            found.append(find_adversarial(model, part, one, threat, attack=attack, bounds=bounds).x.numpy())
            cost.append([*calls.values(), time.perf_counter() - start])
        np.savez(folder / f"{label}.npz", x=np.concatenate(found), cost=np.array(cost))


class Probabilities:
    """The network as CAA calls it beside gradients."""

    def __init__(self, torch: Any, net: Any, wrapper_model: Any) -> None:
        self.torch, self.net, self.wrapper_model = torch, net, wrapper_model

    def __call__(self, rows: Any) -> Any:
        with self.torch.no_grad():
            return self.net(self.torch.as_tensor(np.asarray(rows), dtype=self.torch.float32)).softmax(1).numpy()


def caa(folder: Path) -> None:
    """Attack the rows with tabularbench's CAA, in its own environment."""
    import joblib
    import pandas as pd
    import torch
    from tabularbench.attacks.caa.caa import ConstrainedAutoAttack
    from tabularbench.constraints.constraints import get_constraints_from_metadata
    from tabularbench.constraints.relation_constraint import Constant, Feature
    from tabularbench.models.tab_scaler import TabScaler

    torch.set_num_threads(1)
    held = dict(np.load(folder / "url.npz"))
    made = {**table(), "low": held["low"], "high": held["high"]}
    net, x = network(torch, made, held), held["x"]
    types = ["int" if at in WHOLE else "real" for at in range(x.shape[1])]
    features = pd.DataFrame(
        {
            "feature": [str(at) for at in range(x.shape[1])],
            "type": types,
            "mutable": [at not in FIXED for at in range(x.shape[1])],
            "min": made["low"].astype(float),
            "max": made["high"].astype(float),
        }
    )
    relations: list[Any] = []
    for weights, most in LINEAR:
        first, *rest = [Constant(weight) * Feature(at) for at, weight in weights.items()]
        for one in rest:
            first = first + one
        relations.append(first <= Constant(most))
    relations += [(Feature(a) <= Constant(0)) | (Constant(0) < Feature(b)) for a, b in IMPLIED]
    constraints = get_constraints_from_metadata(features, relations)
    constraints.feature_names = None
    scaler = TabScaler(num_scaler="min_max", one_hot_encode=True)
    scaler.fit(torch.tensor(np.stack([made["low"], made["high"]])), x_type=np.array(types))
    calls = {"forward": 0, "backward": 0}
    scaled = counting(torch, net.net, calls)
    attack = ConstrainedAutoAttack(
        constraints=constraints,
        constraints_eval=constraints,
        scaler=scaler,
        model=scaled,
        model_objective=Probabilities(torch, counting(torch, net, calls), scaled),
        n_jobs=1,
        norm="Linf",
        eps=EPS,
        steps=10,
        n_gen=100,
        n_offsprings=100,
        seed=SEED,
    )
    # Each part is kept: a run that is cut off goes on where it ended.
    file = folder / "caa.npz"
    done = dict(np.load(file)) if file.exists() else {"x": x[:0], "cost": np.zeros((0, 3))}
    for at in range(len(done["x"]), len(x), PART):
        calls.update(forward=0, backward=0)
        start, part = time.perf_counter(), torch.tensor(x[at : at + PART])
        with joblib.parallel_backend("sequential"):
            new = attack(part, torch.ones(len(part), dtype=torch.int64)).detach().numpy()
        cost = [[*calls.values(), time.perf_counter() - start]]
        done = {"x": np.concatenate([done["x"], new]), "cost": np.concatenate([done["cost"], cost])}
        np.savez(file, **done)
        print(len(done["x"]), cost, flush=True)


def compare(folder: Path) -> None:
    """Judge all sides alike, on the rows that each of them has done."""
    import torch

    held = dict(np.load(folder / "url.npz"))
    made = {**table(), "low": held["low"], "high": held["high"]}
    net = network(torch, made, held)
    files = {side: folder / f"{side}.npz" for side in ("caa", "short", "fast", "standard")}
    found = {side: dict(np.load(file)) for side, file in files.items() if file.exists()}
    rows = min(len(one["x"]) for one in found.values())
    for side, one in found.items():
        new, old = one["x"][:rows], held["x"][:rows]
        wrong = net(torch.tensor(new)).argmax(1).numpy() != 1
        bad = infeasible(new, old, made) & (new != old).any(1)
        forward, backward, seconds = one["cost"][: rows // PART].sum(0)
        print(
            f"{side:9} {rows} rows, robust accuracy {1 - float((wrong & ~bad).mean()):.3f}, "
            f"{int((wrong & bad).sum())} infeasible, {int(forward):,} rows forward and {int(backward):,} backward, "
            f"{seconds:.1f} s"
        )


if __name__ == "__main__":
    target = Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    {"make": make, "caa": caa, "compare": compare}[sys.argv[1]](target)
