"""Claims on labels: how often intervals cover, what samples settle, who is seen among annotators, and what it takes.

python benchmarks/labels.py            # simulations; half a minute on one core
python benchmarks/labels.py DATA       # also CIFAR-10H, in the folder with models.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from robustest_people import Responses, aggregate
from robustest_people.label_quality import decide_wrong
from robustest_people.selection_gap import Answers, decide_selection_gap, selection_gap

import robustest
from robustest import Verdict
from robustest.decisions import Terms

TERMS = Terms(scope="population", alpha=0.01, fail_alpha=0.01)
WORLDS, IMAGES, SPREAD, BY_IMAGE = 200, 400, 0.1, 0.2


def world(seed: int, annotators: int, gap: float) -> Answers:
    """Everybody answers about every image; images and annotators lean to label or prediction."""
    random = np.random.default_rng(seed)
    lean = gap + random.normal(0, SPREAD, annotators) + random.normal(0, BY_IMAGE, (IMAGES, 1))
    draw = random.random(lean.shape)
    label = draw < (0.9 + np.clip(lean, -0.9, 0.9)) / 2
    item, who = np.divmod(np.arange(label.size), annotators)
    every = np.ones(label.size, dtype=bool)
    return Answers(
        item=item,
        annotator=who,
        about_label=every,
        about_prediction=every,
        label=label.ravel(),
        prediction=(~label & (draw < 0.9)).ravel(),
    )


def gaps() -> None:
    print("annotators | covered of 98 % | equal at the edge | equal at a gap of 0, margin .1")
    for annotators in (10, 30, 50):
        covered = edge = equal = 0
        for seed in range(WORLDS):
            low, high = selection_gap(world(seed, annotators, 0.05)).gap.interval(0.01)
            covered += low <= 0.05 <= high
            at_edge = decide_selection_gap(selection_gap(world(10_000 + seed, annotators, 0.05)), 0.05, terms=TERMS)
            edge += at_edge.verdict is Verdict.PASSED
            none = decide_selection_gap(selection_gap(world(20_000 + seed, annotators, 0.0)), 0.1, terms=TERMS)
            equal += none.verdict is Verdict.PASSED
        print(f"{annotators:10} | {covered / WORLDS:.3f} | {edge / WORLDS:.3f} | {equal / WORLDS:.3f}")


def quality() -> None:
    random = np.random.default_rng(0)
    draws = random.hypergeometric(79, 9921, 1000, size=2000).tolist()
    found = {seen: decide_wrong(seen, 0, 1000, 10_000, 0.02, scope="set", alpha=0.01) for seen in set(draws)}
    passed = np.mean([found[seen].verdict is Verdict.PASSED for seen in draws])
    below = np.mean([found[seen].interval[1] < 0.0079 for seen in draws])
    median = np.median([found[seen].interval[1] for seen in draws])
    few = decide_wrong(3, 0, 300, 10_000, 0.02, scope="set", alpha=0.01).verdict
    print(f"label quality: passed {passed:.3f}, bound below the truth {below:.4f}, median bound {median:.4f}")
    print(f"3 wrong of 300: {few}")


def crowds() -> None:
    print("20 of 50 annotators | majority | Dawid and Skene | checks | CPU s of Dawid and Skene")
    for bad in ("always class 0", "guess", "copy one another"):
        rows = [_crowd(seed, bad) for seed in range(5)]
        print(f"{bad:19} | " + " | ".join(f"{np.mean(column):.3f}" for column in zip(*rows, strict=True)))


def _crowd(seed: int, bad: str) -> tuple[float, ...]:
    random = np.random.default_rng(seed)
    items, k, annotators = 2000, 10, 50
    truth, skill = random.integers(0, k, items), random.uniform(0.8, 0.95, annotators)
    item = np.repeat(np.arange(items), 5)
    who = np.concatenate([random.choice(annotators, 5, replace=False) for _ in range(items)])
    right = random.random(len(item)) < skill[who]
    answer = np.where(right, truth[item], (truth[item] + random.integers(1, k, len(item))) % k)
    copied = random.integers(0, k, items)[item]
    worse = {"always class 0": 0 * answer, "guess": random.integers(0, k, len(item)), "copy one another": copied}[bad]
    passed = random.random((annotators, 10)) < np.where(np.arange(annotators) < 20, 1 / k, skill)[:, None]
    says = Responses.from_columns(
        [*item, *[None] * passed.size],
        [*np.where(who < 20, worse, answer), *[0] * passed.size],
        size=items,
        classes=k,
        annotator=[*who, *np.repeat(np.arange(annotators), 10)],
        check=[*[None] * len(item), *passed.ravel().tolist()],
        checks_at_least=None,
    )
    start = time.process_time()
    aggregate(says, "dawid-skene")
    seconds = time.process_time() - start
    shares = [
        float((aggregate(says, method).labels == truth).mean()) for method in ("majority", "dawid-skene", "checks")
    ]
    return *shares, seconds


def all_claims(folder: Path) -> None:
    """10,000 samples with some 50 answers each, given to 64 people who do not exist."""
    counts = np.load(folder / "cifar10h_counts.npy")
    labels = np.load(folder / "cifar10_test_set_original_labels.npy").astype(np.int64)
    scores = np.load(folder / "cifar10_test_set_pyx.npy")
    k = counts.shape[1]
    cell = np.repeat(np.arange(counts.size), counts.ravel())
    item, answer = cell // k, cell % k
    who = (np.arange(len(item)) - np.searchsorted(item, np.arange(len(labels)))[item] + item) % 64
    data = (torch.from_numpy(scores).float().log().view(-1, k, 1, 1), torch.from_numpy(labels))
    bounds: Any = {"bounds": (-200.0, 0.0)}

    def model(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)

    def timed(what: str, call: Any) -> Any:
        start = time.process_time()
        found = call()
        print(f"  {what}: {time.process_time() - start:.2f} CPU s")
        return found

    robustest.measure.measure_label_agreement(
        model, data, Responses.from_counts(counts), **bounds
    )  # what is loaded once
    start = time.process_time()
    columns: Any = {"size": len(labels), "classes": k, "annotator": who}
    says = timed("reading 511,400 answers", lambda: Responses.from_columns(item, answer, **columns))
    for threshold in ("min_contained", "min_main", "max_unsupported"):
        more = {threshold: 0.5, "exact": True, **bounds}
        timed(threshold, lambda more=more: robustest.measure.measure_label_agreement(model, data, says, **more))
    timed("selection gap", lambda: robustest.measure.measure_selection_gap(model, data, says, at_most=0.05, **bounds))
    timed("label quality", lambda: robustest.measure.measure_label_quality(data, says, max_error_rate=0.02))
    study: Any = {"truth": scores.argmax(1)}
    timed("simulatable", lambda: robustest.measure.measure_simulatable(says, at_least=0.5, **study))
    print(f"all claims: {time.process_time() - start:.2f} CPU s")
    start = time.process_time()
    found = robustest.data.suspects(labels, scores, out_of_sample=True)
    print(f"{len(found)} suspects: {time.process_time() - start:.2f} CPU s, cleanlab's import included")


def main() -> None:
    torch.set_num_threads(1)
    gaps()
    quality()
    crowds()
    if len(sys.argv) > 1:
        all_claims(Path(sys.argv[1]) / "images")


if __name__ == "__main__":
    main()
