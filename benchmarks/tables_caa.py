"""Robust accuracy and model calls on URL-like and LCLD-like tables, beside tabularbench's CAA (CAPGD, then MOEVA2).

tabularbench (Simonetto et al., 2024) needs Python below 3.11 and old libraries, so it runs in an environment of its own
and reads its part from files. Its sets cannot be had offline: tables with the same relations are drawn here.

    python3.10 -m venv ENV; ENV/bin/pip install numpy==1.23.5 'pandas<2' pymoo==0.5.0 torch==1.12.1 torchattacks==3.4.0
    ENV/bin/pip install 'scikit-learn<1.3' tqdm joblib einops requests; ENV/bin/pip install --no-deps tabularbench
    python benchmarks/tables_caa.py make FOLDER          # tables, networks and robustest's side
    ENV/bin/python benchmarks/tables_caa.py caa FOLDER   # the other side
    python benchmarks/tables_caa.py compare FOLDER       # judges both by rules written here once more

The threat is tabularbench's own: every column that may change moves by at most EPS of its range (L-infinity between
scaled columns), whole numbers stay whole, and all relations hold. Attacked are samples of the class 1, as there.
A call is one row in one pass of the network, forwards and backwards counted apart.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

EPS = 0.1
ROWS = 100
TRAIN = 4000
SEED = 0


# Tables


def url(rng: Any, n: int) -> Any:
    """Columns of a URL in the manner of tabularbench's URL set: lengths, counts of characters, and what a page has."""
    x = np.zeros((n, 40))
    x[:, 0] = rng.integers(12, 200, n)  # length of the URL
    x[:, 1] = np.floor(x[:, 0] * rng.uniform(0.1, 0.6, n))  # of the host name
    spare = x[:, 0] - 12
    for at in (2, 20, 21, 23):  # longer words, counted by 4, 3, 4 and 2 characters
        x[:, at] = rng.integers(0, 3, n)
    for at in range(3, 18):  # single characters
        x[:, at] = rng.poisson(0.3 + spare / 300)
    x[:, 18] = rng.integers(0, 2, n)
    x[:, 19] = rng.integers(0, 2, n)
    x[:, 22] = rng.random(n)
    x[:, 24] = rng.random(n)
    for at in (25, 26, 27, 28, 29, 30, 31):
        x[:, at] = rng.integers(0, 2 + at % 3, n)
    for at in range(32, 37):
        x[:, at] = rng.random(n)
    x[:, 37] = rng.integers(3, 40, n)
    x[:, 38] = np.floor(x[:, 37] * rng.random(n))
    x[:, 39] = rng.integers(0, 5000, n)
    return x


URL_WHOLE = [*range(22), 23, *range(25, 32), 37, 38, 39]
URL_FIXED = [18, 22, 29, 39]
# Linear relations: weights and the largest value of their sum.
URL_LINEAR = [
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
URL_IMPLIED = [(21, 3), (23, 13), (19, 25), (2, 25), (28, 25), (31, 26)]


LOAN = ("amount", "term", "rate", "income", "open", "total", "bankrupt", "records", "months", "grade", "dti", "delay")
LOAN_DERIVED = ("installment", "amount_income", "open_total", "records_months", "bankrupt_months", "bankrupt_records")
LOAN_WHOLE = [0, 1, 3, 4, 5, 6, 7, 8, 9, 11]
LOAN_FIXED = [1, 8, 9]
LOAN_LINEAR = [({4: 1, 5: -1}, 0), ({6: 1, 7: -1}, 0)]


def loan(rng: Any, n: int) -> Any:
    """Columns of a loan in the manner of tabularbench's LCLD set, without those that are computed from others."""
    total = rng.integers(2, 40, n)
    records = rng.poisson(0.6, n)
    return np.stack(
        [
            rng.integers(1000, 35_000, n),
            rng.choice([36, 60], n),
            rng.uniform(5, 30, n),
            rng.integers(15_000, 200_000, n),
            np.floor(total * rng.uniform(0.2, 1, n)),
            total,
            np.floor(records * rng.random(n)),
            records,
            rng.integers(24, 400, n),
            rng.integers(0, 7, n),
            rng.uniform(0, 40, n),
            rng.poisson(0.5, n),
        ],
        1,
    ).astype(float)


def derived(x: Any, where: Any) -> list[Any]:
    """Return LCLD's computed columns of rows x (N, 12) of NumPy or torch; `where` is the library's."""
    rate, term = x[:, 2] / 1200, x[:, 1]
    growth = (1 + rate) ** term
    records = where(x[:, 7] > 0, x[:, 7], x[:, 7] * 0 + 1)
    share = where(x[:, 7] > 0, x[:, 6] / records, x[:, 7] * 0 - 1)
    return [
        x[:, 0] * rate * growth / (growth - 1),
        x[:, 0] / x[:, 3],
        x[:, 4] / x[:, 5],
        x[:, 7] / x[:, 8],
        x[:, 6] / x[:, 8],
        share,
    ]


def table(name: str) -> dict[str, Any]:
    """Return rows, labels and rules of a set; rows of the loans have their computed columns behind the others."""
    rng = np.random.default_rng(SEED)
    n = TRAIN + 20 * ROWS
    if name == "url":
        x = url(rng, n)
        ok = np.ones(n, dtype=bool)
        for weights, most in URL_LINEAR:
            ok &= sum(w * x[:, at] for at, w in weights.items()) <= most
        for first, second in URL_IMPLIED:
            x[:, second] = np.where(x[:, first] > 0, np.maximum(x[:, second], 1), x[:, second])
        for weights, most in URL_LINEAR:
            ok &= sum(w * x[:, at] for at, w in weights.items()) <= most
        x, whole, fixed, free = x[ok], URL_WHOLE, URL_FIXED, 40
    else:
        x = loan(rng, n)
        x = np.concatenate([x, np.stack(derived(x, np.where), 1)], 1)
        whole, fixed, free = LOAN_WHOLE, LOAN_FIXED, 12
    x = x.astype(np.float32)
    low, high = x.min(0), x.max(0)
    unit = (x - low) / (high - low)
    # A class of pairs of columns and of steps: not what a linear model reads.
    weight = rng.normal(size=x.shape[1])
    score = (unit - 0.5) @ weight + 2 * (unit[:, 0] > 0.5) * (unit[:, 3] > 0.3) + np.sin(6 * unit[:, 2])
    y = (score + 0.3 * rng.normal(size=len(x)) > np.median(score)).astype(np.int64)
    return {"x": x, "y": y, "low": low, "high": high, "whole": whole, "fixed": fixed, "free": free}


def broken_rules(name: str, new: Any, old: Any, made: dict[str, Any]) -> Any:
    """Return (N,) bool: rows that no sample may become, judged in float64."""
    new, old, free = new.astype(float), old.astype(float), made["free"]
    room = (made["high"] - made["low"]).astype(float)
    bad = (np.abs(new - old) > EPS * room * (1 + 1e-5))[:, :free].any(1)
    bad |= ((new < made["low"] - 1e-6 * room) | (new > made["high"] + 1e-6 * room))[:, :free].any(1)
    bad |= (new[:, made["whole"]] != new[:, made["whole"]].round()).any(1)
    bad |= (new[:, made["fixed"]] != old[:, made["fixed"]]).any(1)
    for weights, most in URL_LINEAR if name == "url" else LOAN_LINEAR:
        bad |= sum(w * new[:, at] for at, w in weights.items()) > most + 1e-6
    for first, second in URL_IMPLIED if name == "url" else ():
        bad |= (new[:, first] > 0) & (new[:, second] <= 0)
    if name != "url":
        right = np.stack(derived(new, np.where), 1)
        off = np.abs(new[:, free:] - right)
        off[:, 0] -= 0.01  # LCLD's own tolerance of the instalment
        bad |= (off > 1e-4).any(1)
    return bad


def network(torch: Any, made: dict[str, Any], weights: Any = None) -> Any:
    """Return the network, which scales its columns itself, with weights of a file or trained here."""
    low, high = torch.tensor(made["low"]), torch.tensor(made["high"])

    class Net(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(SEED)
            nn, d = torch.nn, len(low)
            self.net = nn.Sequential(nn.Linear(d, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))

        def forward(self, x: Any) -> Any:
            return self.net((x - low) / (high - low))

    net = Net()
    if weights is not None:
        net.load_state_dict({key: torch.tensor(weights[key]) for key in net.state_dict()})
        return net.eval()
    optimiser = torch.optim.Adam(net.parameters(), 0.005, weight_decay=1e-4)
    x, y = torch.tensor(made["x"][: -ROWS * 10]), torch.tensor(made["y"][: -ROWS * 10])
    for _ in range(300):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    return net.eval()


def counting(torch: Any, net: Any, calls: dict[str, int], *, complete: bool = False) -> Any:
    """Return a network that counts its rows; with `complete` it computes a loan's other columns from those given."""

    class Counting(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any) -> Any:
            calls["forward"] += len(x)
            out = self.net(torch.cat([x, torch.stack(derived(x, torch.where), 1)], 1) if complete else x)
            if out.requires_grad:
                out.register_hook(lambda gradient: calls.update(backward=calls["backward"] + len(gradient)))
            return out

    return Counting()


# robustest's side


def make(folder: Path, names: Sequence[str]) -> None:
    import torch

    from robustest import Columns, find_adversarial
    from robustest.attacks import PGD, Cascade, GreedyMoves, RandomMoves, Stage
    from robustest.threats import Linear, Whole, Within

    for name in names:
        made = table(name)
        net = network(torch, made)
        test = made["x"][-ROWS * 10 :]
        right = (net(torch.tensor(test)).argmax(1).numpy() == made["y"][-ROWS * 10 :]) & (made["y"][-ROWS * 10 :] == 1)
        x = test[right][:ROWS]
        state = {key: value.numpy() for key, value in net.state_dict().items()}
        np.savez(folder / f"{name}.npz", x=x, **state, **{key: np.array(made[key]) for key in ("low", "high")})
        room = made["high"] - made["low"]
        rules: dict[Any, Any] = {}
        for at in range(made["free"]):
            step = float(EPS * room[at])
            if at in made["fixed"] or (at in made["whole"] and step < 1):
                continue
            rules[at] = Whole(int(step)) if at in made["whole"] else Within(-step, step)
        where: list[Any] = [
            Linear(weights, at_most=most) for weights, most in (URL_LINEAR if name == "url" else LOAN_LINEAR)
        ]
        if name == "url":
            where += [lambda t, a=a, b=b: (t[:, a] <= 0) | (t[:, b] > 0) for a, b in URL_IMPLIED]
        ranges = {at: (float(made["low"][at]), float(made["high"][at])) for at in rules}
        threat = Columns(rules, where=where, ranges=ranges)
        stages = (
            Stage(searcher=PGD(steps=10), rounds=2),
            Stage(searcher=GreedyMoves(queries=450, at_once=50)),
            Stage(searcher=RandomMoves(queries=400)),
        )
        attacks: dict[str, Any] = {
            "short": Cascade(name="short", stages=stages),
            "fast": "fast",
            "standard": "standard",
        }
        for label, attack in attacks.items():
            calls, start = {"forward": 0, "backward": 0}, time.perf_counter()
            bounds = (float(made["low"].min()), float(made["high"].max()))
            free = torch.tensor(x[:, : made["free"]])
            found = find_adversarial(
                counting(torch, net, calls, complete=name != "url"),
                free,
                torch.ones(len(x), dtype=torch.int64),
                threat,
                attack=attack,
                bounds=bounds,
            )
            new = found.x.numpy()
            new = new if name == "url" else np.concatenate([new, np.stack(derived(new, np.where), 1)], 1)
            seconds = time.perf_counter() - start
            np.savez(folder / f"{name}-{label}.npz", x=new.astype(np.float32), **calls, seconds=seconds)


# tabularbench's side, in its own environment


class Probabilities:
    """The network as CAA calls it beside gradients."""

    wrapper_model: Any

    def __init__(self, torch: Any, net: Any) -> None:
        self.torch, self.net = torch, net

    def __call__(self, rows: Any) -> Any:
        with self.torch.no_grad():
            return self.net(self.torch.as_tensor(np.asarray(rows), dtype=self.torch.float32)).softmax(1).numpy()


def caa(folder: Path, names: Sequence[str]) -> None:
    import pandas as pd
    import torch
    from tabularbench.attacks.caa.caa import ConstrainedAutoAttack
    from tabularbench.constraints.constraints import get_constraints_from_metadata
    from tabularbench.constraints.relation_constraint import Constant, EqualConstraint, Feature, SafeDivision
    from tabularbench.models.tab_scaler import TabScaler

    def sum_of(weights: dict[int, float]) -> Any:
        terms = [Constant(w) * Feature(at) for at, w in weights.items()]
        total = terms[0]
        for one in terms[1:]:
            total = total + one
        return total

    torch.set_num_threads(1)
    for name in names:
        held = dict(np.load(folder / f"{name}.npz"))
        made = {**table(name), "low": held["low"], "high": held["high"]}
        net, x = network(torch, made, held), held["x"]
        at = range(x.shape[1])
        types = ["int" if one in made["whole"] else "real" for one in at]
        features = pd.DataFrame(
            {
                "feature": [str(one) for one in at],
                "type": types,
                "mutable": [one not in made["fixed"] for one in at],
                "min": made["low"].astype(float),
                "max": made["high"].astype(float),
            }
        )
        relations: list[Any] = [
            sum_of(weights) <= Constant(most) for weights, most in (URL_LINEAR if name == "url" else LOAN_LINEAR)
        ]
        if name == "url":
            relations += [(Feature(a) <= Constant(0)) | (Constant(0) < Feature(b)) for a, b in URL_IMPLIED]
        else:
            rate = Feature(2) / Constant(1200)
            growth = (Constant(1) + rate) ** Feature(1)
            relations += [
                EqualConstraint(Feature(12), Feature(0) * ((rate * growth) / (growth - Constant(1))), Constant(0.01)),
                Feature(13) == (Feature(0) / Feature(3)),
                Feature(14) == (Feature(4) / Feature(5)),
                Feature(15) == (Feature(7) / Feature(8)),
                Feature(16) == (Feature(6) / Feature(8)),
                Feature(17) == SafeDivision(Feature(6), Feature(7), Constant(-1)),
            ]
        constraints = get_constraints_from_metadata(features, relations)
        constraints.feature_names = None
        scaler = TabScaler(num_scaler="min_max", one_hot_encode=True)
        scaler.fit(torch.tensor(np.stack([made["low"], made["high"]])), x_type=np.array(types))
        calls = {"forward": 0, "backward": 0}

        scaled, objective = counting(torch, net.net, calls), Probabilities(torch, counting(torch, net, calls))
        objective.wrapper_model = scaled
        start = time.perf_counter()
        attack = ConstrainedAutoAttack(
            constraints=constraints,
            constraints_eval=constraints,
            scaler=scaler,
            model=scaled,
            model_objective=objective,
            n_jobs=1,
            norm="Linf",
            eps=EPS,
            steps=10,
            n_gen=100,
            n_offsprings=100,
            seed=SEED,
        )
        new = attack(torch.tensor(x), torch.ones(len(x), dtype=torch.int64)).detach().numpy()
        seconds = time.perf_counter() - start
        np.savez(folder / f"{name}-caa.npz", x=new, **calls, seconds=seconds)
        print(name, json.dumps(calls), attack._autoattack.robust_accuracies, f"{seconds:.0f} s", flush=True)


# Both judged alike


def compare(folder: Path, names: Sequence[str]) -> None:
    import torch

    for name in names:
        held = dict(np.load(folder / f"{name}.npz"))
        made = {**table(name), "low": held["low"], "high": held["high"]}
        net, x = network(torch, made, held), held["x"]
        for side in ("caa", "short", "fast", "standard"):
            file = folder / f"{name}-{side}.npz"
            if not file.exists():
                continue
            found = dict(np.load(file))
            new = found["x"]
            changed = (new != x).any(1)
            wrong = net(torch.tensor(new)).argmax(1).numpy() != 1
            bad = broken_rules(name, new, x, made) & changed
            print(
                f"{name:5} {side:9} robust accuracy {1 - float((wrong & ~bad).mean()):.3f}, "
                f"{int((wrong & bad).sum())} infeasible, {int(found['forward']):,} rows forward and "
                f"{int(found['backward']):,} backward, {float(found['seconds']):.1f} s"
            )


if __name__ == "__main__":
    sides = {"make": make, "caa": caa, "compare": compare}
    target = Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    sides[sys.argv[1]](target, sys.argv[3:] or ["url", "lcld"])
