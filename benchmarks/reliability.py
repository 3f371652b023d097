"""How often claims on runs of items and on judged rates err, and how wide their intervals are.

For each population a truth is known, and claims a hair above and below it are decided: a false pass, a false red.
Beside the rules of robustest stand asymptotic intervals of publications, which bound no error in finite samples: for
reliability the mean of items with a clustered standard error (Miller 2024), and the empirical Bernstein bound of Maurer
and Pontil (2009), which does; for a judge's errors Lang and Reiczigel (2014); for labels drawn at random PPI++
(Angelopoulos, Duchi and Zrnic 2023), and the exact interval of the labels alone. Widths are means of lengths.

    python benchmarks/reliability.py                # 10,000 runs a row: ten minutes on one core
    python benchmarks/reliability.py --runs 1000 --part pass|clusters|judge|labels
"""

from __future__ import annotations

import sys
import time
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, betabinom, norm

from robustest.decisions import bets, clusters
from robustest.decisions.bets import fall_interval
from robustest.decisions.judged import (
    _ALONE,
    Count,
    Verdicts,
    _weights,
    corner_interval,
    powered_interval,
    rogan_gladen_interval,
    rogan_gladen_refuted,
)
from robustest.decisions.reliability import chance_of_draws
from robustest.decisions.share import clopper_pearson

Random = np.random.Generator
Floats = NDArray[np.float64]

ALPHA = 0.01
Z = float(norm.isf(ALPHA))
BATCH, WIDTHS = 500, 40


def errors(larger: Floats, smaller: Floats) -> str:
    """Return the shares of runs in which the truth is said to be larger, and smaller."""
    return f"{larger.mean():.4f} / {smaller.mean():.4f}"


def normal(mean: Floats, error: Floats, truth: float) -> tuple[Floats, Floats]:
    return mean - Z * error > truth, mean + Z * error < truth


# Reliability: items have chances that are drawn, and runs.

LAWS: dict[str, Any] = {
    "Beta(8, 1)": (8.0, 1.0),
    "Beta(.8, .2)": (0.8, 0.2),
    "1 in 20 never, else .995": None,
}


def chances(random: Random, law: Any, shape: tuple[int, int]) -> Floats:
    return np.where(random.random(shape) < 0.05, 0.0, 0.995) if law is None else random.beta(*law, shape)


def truth_of(law: Any, k: int, needed: int) -> float:
    if law is None:
        from scipy.stats import binom

        return float(0.95 * binom.sf(needed - 1, k, 0.995))
    return float(betabinom.sf(needed - 1, k, *law))


def pass_k(runs: int) -> None:
    print(
        "\n| items | runs, k, needed | chances | truth | robustest | clustered normal "
        "| width: robustest | Bernstein | normal |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for m in (25, 100, 400):
        for n, k, needed in ((5, 5, 5), (8, 4, 4), (8, 4, 1), (5, 3, 2)):
            for name, law in LAWS.items():
                random = np.random.default_rng([m, n, k, needed, len(name)])
                truth, table = (
                    truth_of(law, k, needed),
                    np.array([chance_of_draws(c, n, k, needed) for c in range(n + 1)]),
                )
                found: list[tuple[Any, ...]] = []
                widths: dict[str, list[float]] = {"own": [], "bernstein": [], "normal": []}
                for _ in range(max(1, runs // BATCH)):
                    h = table[random.binomial(n, chances(random, law, (m, BATCH)))]
                    mean, error = h.mean(0), h.std(0, ddof=1) / sqrt(m)
                    if n == k:
                        events = np.rint(h.sum(0))
                        own = (
                            beta.ppf(ALPHA, events, m - events + 1) > truth,
                            beta.ppf(1 - ALPHA, events + 1, m - events) < truth,
                        )
                    else:
                        null = np.full(BATCH, 1 - 2 * truth)
                        own = bets.refuted(1 - 2 * h, null, ALPHA), bets.refuted(2 * h - 1, -null, ALPHA)
                    found.append((*own, *normal(mean, error, truth)))
                    reach = np.sqrt(2 * error**2 * np.log(2 / ALPHA)) + 7 * np.log(2 / ALPHA) / (3 * (m - 1))
                    ends = np.minimum(mean + reach, 1) - np.maximum(mean - reach, 0)
                    widths["bernstein"].append(float(ends.mean()))
                    widths["normal"].append(float((2 * Z * error).mean()))
                for one in h.T[:WIDTHS]:
                    if n == k:
                        widths["own"].append(float(np.ptp(clopper_pearson(int(np.rint(one.sum())), m, ALPHA))))
                    else:
                        widths["own"].append(float(np.ptp(fall_interval(1 - 2 * one, ALPHA, 0.0))) / 2)
                low, high, normal_low, normal_high = (
                    np.concatenate([np.asarray(one[i], float) for one in found]) for i in range(4)
                )
                means = " | ".join(f"{np.mean(one):.3f}" for one in widths.values())
                print(
                    f"| {m} | {n}, {k}, {needed} | {name} | {truth:.4f} | {errors(low, high)} "
                    f"| {errors(normal_low, normal_high)} | {means} |",
                    flush=True,
                )
                WORST.append(("reliability", float(max(low.mean(), high.mean()))))


def by_cluster(runs: int) -> None:
    """Items of one cluster have one chance, four runs each; k = 2."""
    print("\n| clusters | items each | truth | by cluster | as items |")
    print("|---|---|---|---|---|")
    n, k = 4, 2
    table = np.array([chance_of_draws(c, n, k, k) for c in range(n + 1)])
    truth = truth_of((4.0, 1.0), k, k)
    for number in (10, 30, 100):
        for name in ("10", "1..20"):
            random, found = np.random.default_rng([number, len(name)]), []
            for _ in range(max(1, runs // BATCH)):
                sizes = np.full((number, BATCH), 10) if name == "10" else random.integers(1, 21, (number, BATCH))
                p = random.beta(4.0, 1.0, (number, BATCH))
                h = table[random.binomial(n, np.broadcast_to(p, (20, number, BATCH)))]
                there = np.arange(20)[:, None, None] < sizes
                sums, most = (h * there).sum(0), sizes.max(0)
                null = np.full(BATCH, truth)
                own = (
                    clusters.refuted(sums / most, sizes / most, null, ALPHA),
                    clusters.refuted((sizes - sums) / most, sizes / most, 1 - null, ALPHA),
                )
                items, mean = sizes.sum(0), sums.sum(0) / sizes.sum(0)
                spread = np.sqrt(((h - mean) ** 2 * there).sum((0, 1)) / (items - 1))
                found.append((*own, *normal(mean, spread / np.sqrt(items), truth)))
            low, high, as_low, as_high = (
                np.concatenate([np.asarray(one[i], float) for one in found]) for i in range(4)
            )
            print(f"| {number} | {name} | {truth:.3f} | {errors(low, high)} | {errors(as_low, as_high)} |", flush=True)
            WORST.append(("clusters", float(max(low.mean(), high.mean()))))


def lang_reiczigel(shares: tuple[Floats, Floats, Floats], sizes: tuple[int, int, int]) -> tuple[Floats, Floats]:
    """Return the adjusted interval of Lang and Reiczigel (2014), of q, s and c."""
    (q, s, c), (n, n1, n0) = shares, sizes
    q, n_q = (n * q + Z**2 / 2) / (n + Z**2), n + Z**2
    s, c = (n1 * s + 1) / (n1 + 2), (n0 * c + 1) / (n0 + 2)
    better = np.maximum(s + c - 1, 1e-9)
    rate = (q + c - 1) / better
    var_s, var_c = s * (1 - s) / (n1 + 2), c * (1 - c) / (n0 + 2)
    shift = 2 * Z**2 * (rate * var_s - (1 - rate) * var_c)
    error = np.sqrt(q * (1 - q) / n_q + rate**2 * var_s + (1 - rate) ** 2 * var_c) / better
    return np.clip(rate + shift - Z * error, 0, 1), np.clip(rate + shift + Z * error, 0, 1)


def judge(runs: int) -> None:
    print(
        "\n| items | labels right, wrong | s, c | truth | robustest | Lang, Reiczigel | uncorrected "
        "| width: robustest | Bonferroni | Lang, Reiczigel |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for n, n1, n0, s, c, rate in (
        (300, 50, 50, 0.9, 0.9, 0.9), (1000, 160, 40, 0.95, 0.85, 0.8), (1000, 100, 100, 0.95, 0.8, 0.95),
        (1000, 100, 100, 0.8, 0.7, 0.5), (5000, 400, 100, 0.98, 0.9, 0.85), (500, 60, 20, 0.95, 0.7, 0.99),
    ):  # fmt: skip
        random = np.random.default_rng([n, n1, n0])
        q = rate * s + (1 - rate) * (1 - c)
        accepted, right, wrong = (random.binomial(of, p, runs) for of, p in ((n, q), (n1, s), (n0, 1 - c)))
        counts = [
            (Count(a, n), Verdicts(Count(b, n1), Count(e, n0)))
            for a, b, e in zip(accepted.tolist(), right.tolist(), wrong.tolist(), strict=True)
        ]
        # The test takes the worst of all points with this rate: one near the counts refutes no more than it does. So
        # runs whose estimate is within 1.4 standard errors, where the limit is 2.7, are not decided.
        share, better = right / n1, np.maximum(right / n1 - wrong / n0, 1e-9)
        estimate, off = (accepted / n - wrong / n0) / better, wrong / n0
        spread = q * (1 - q) / n + rate**2 * share * (1 - share) / n1 + (1 - rate) ** 2 * off * (1 - off) / n0
        far = np.abs(estimate - rate) > 1.4 * np.sqrt(spread) / better
        own = [np.zeros(runs), np.zeros(runs)]
        for side, above in enumerate((True, False)):
            for place in np.flatnonzero(far & ((estimate > rate) == above)).tolist():
                own[side][place] = rogan_gladen_refuted(*counts[place], rate, alpha=ALPHA, above=above)
        low, high = lang_reiczigel((accepted / n, right / n1, 1 - wrong / n0), (n, n1, n0))
        plain = (
            beta.ppf(ALPHA, accepted, n - accepted + 1) > rate,
            beta.ppf(1 - ALPHA, accepted + 1, n - accepted) < rate,
        )
        widths = np.array([np.ptp(rogan_gladen_interval(*one, ALPHA)) for one in counts[:WIDTHS]])
        corners = []
        for count, verdicts in counts[:WIDTHS]:
            known = {
                "accepted": count,
                "accepted_right": verdicts.accepted_right,
                "rejected_wrong": verdicts.rejected_wrong,
            }
            corners.append(np.ptp(corner_interval(lambda name, level, known=known: known[name].interval(level), ALPHA)))
        print(
            f"| {n} | {n1}, {n0} | {s:g}, {c:g} | {rate:g} | {errors(*own)} "
            f"| {errors(low > rate, high < rate)} | {errors(*plain)} "
            f"| {widths.mean():.3f} | {np.mean(corners):.3f} | {(high - low)[:WIDTHS].mean():.3f} |", flush=True,
        )  # fmt: skip
        WORST.append(("judge", float(max(one.mean() for one in own))))


def labels(runs: int) -> None:
    print(
        "\n| items | labels | judge s, c | truth | robustest | PPI++ normal "
        "| width: robustest | PPI++ normal | labels alone, exact |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for n, g, s, c, rate in (
        (400, 40, 0.95, 0.8, 0.9), (1000, 100, 0.95, 0.85, 0.8), (1000, 200, 0.95, 0.85, 0.95),
        (1000, 200, 0.5, 0.5, 0.8), (5000, 500, 0.98, 0.9, 0.85), (1000, 100, 0.99, 0.9, 0.99),
    ):  # fmt: skip
        random, found = np.random.default_rng([n, g, int(100 * s)]), []
        for _ in range(max(1, runs // BATCH)):
            truth = random.random((n, BATCH)) < rate
            score = np.where(truth, random.random((n, BATCH)) < s, random.random((n, BATCH)) > c).astype(float)
            label, own = truth[:g].astype(float), score[:g]
            size = 1 + np.bincount(np.arange(n - g) % g, minlength=g)
            rest = np.stack([score[g + i :: g].sum(0) for i in range(g)])
            mean = (own + rest) / size[:, None]
            apart = mean - own
            weight = np.stack([_weights(a, y) for a, y in zip(apart.T, label.T, strict=True)], 1)
            value = label + weight * apart
            reach = 1 - 1 / int(size.max())
            scale = 1 + 2 * reach
            null, level = np.full(BATCH, 1 - 2 * (rate + reach) / scale), (1 - _ALONE) * ALPHA
            inside = 1 - 2 * (value + reach) / scale
            events = label.sum(0)
            low = bets.refuted(inside, null, level) | (beta.ppf(_ALONE * ALPHA, events, g - events + 1) > rate)
            high = bets.refuted(-inside, -null, level) | (beta.ppf(1 - _ALONE * ALPHA, events + 1, g - events) < rate)
            covariance = ((own - own.mean(0)) * (label - label.mean(0))).sum(0) / (g - 1)
            best = np.clip(covariance / np.maximum(score.var(0, ddof=1), 1e-9) / (1 + g / (n - g)), 0, 1)
            others = score[g:]
            center = label.mean(0) + best * (others.mean(0) - own.mean(0))
            error = np.sqrt((label - best * own).var(0, ddof=1) / g + best**2 * others.var(0, ddof=1) / (n - g))
            found.append((low, high, *normal(center, error, rate), error))
        widths, alone = [], []
        for run in range(min(WIDTHS, BATCH)):
            known = np.where(np.arange(n) < g, truth[:, run], np.nan)
            widths.append(np.ptp(powered_interval(score[:, run], known, ALPHA, seed=run)[1]))
            alone.append(np.ptp(clopper_pearson(int(label[:, run].sum()), g, ALPHA)))
        own_low, own_high, low, high, error = (
            np.concatenate([np.asarray(one[i], float) for one in found]) for i in range(5)
        )
        print(
            f"| {n} | {g} | {s:g}, {c:g} | {rate:g} | {errors(own_low, own_high)} | {errors(low, high)} "
            f"| {np.mean(widths):.3f} | {2 * Z * error.mean():.3f} | {np.mean(alone):.3f} |", flush=True,
        )  # fmt: skip
        WORST.append(("labels", float(max(own_low.mean(), own_high.mean()))))


WORST: list[tuple[str, float]] = []
PARTS = {"pass": pass_k, "clusters": by_cluster, "judge": judge, "labels": labels}


def main(runs: int, part: str | None) -> None:
    bar = ALPHA + 3 * sqrt(ALPHA * (1 - ALPHA) / runs)
    print(f"{runs:,} runs a row, alpha {ALPHA} a side; with three standard errors {bar:.4f}. Rates: false pass / red.")
    for name, measure in PARTS.items():
        if part in (None, name):
            started = time.process_time()
            measure(runs)
            print(f"\n{name}: {time.process_time() - started:.0f} CPU s", flush=True)
    for name in dict.fromkeys(one for one, _ in WORST):
        print(f"largest rate of {name}: {max(rate for one, rate in WORST if one == name):.4f}")
    if max(rate for _, rate in WORST) > bar:
        raise SystemExit("A rate is above alpha.")


if __name__ == "__main__":
    given = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    main(int(given.get("--runs", 10_000)), given.get("--part"))
