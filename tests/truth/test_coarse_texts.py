"""No claim above the truth passes for texts whose scores are rounded, saturated, flat or remembered."""

# A text is ten words of a vocabulary, each with a weight; the lead of class 1 is their sum. A threat replaces up to two
# words by others of their group: some 1,200 texts, more than `fast` enumerates, and few enough to ask about all here.

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from robustest import Edits, Verdict, scores_model
from robustest.measure import measure_robust_accuracy

WORDS, GROUP, LENGTH, EDITS = 60, 6, 10, 2
Scores = Callable[[Sequence[str]], np.ndarray]


class World:
    """A vocabulary with its weights, a threat, and texts of which about half can be turned."""

    def __init__(self, seed: int, n: int = 20) -> None:
        draw = np.random.default_rng(seed)
        self.names = [f"w{chr(97 + at // 26)}{chr(97 + at % 26)}" for at in range(WORDS)]
        self.weight = dict(zip(self.names, draw.normal(size=WORDS).tolist(), strict=True))
        groups = [self.names[at : at + GROUP] for at in range(0, WORDS, GROUP)]
        self.others = {one: tuple(word for word in group if word != one) for group in groups for one in group}
        self.threat = Edits(EDITS, kinds=(), words=self.others)
        drawn = [" ".join(self.names[at] for at in draw.integers(0, WORDS, LENGTH)) for _ in range(50 * n)]
        self.texts = [text for text in drawn if 3.0 < abs(self.lead(text)) < 10.0][:n]
        self.labels = [int(self.lead(text) > 0) for text in self.texts]

    def truth(self, served: Scores) -> float:
        """The share of texts that are right under every edit."""
        pairs = zip(self.texts, self.labels, strict=True)
        return float(np.mean([(served(self.edited(text)).argmax(1) == label).all() for text, label in pairs]))

    def edited(self, text: str) -> list[str]:
        words, out = text.split(), [text]
        for places in itertools.combinations(range(LENGTH), EDITS):
            for made in itertools.product(*((words[at], *self.others[words[at]]) for at in places)):
                new = words.copy()
                for at, word in zip(places, made, strict=True):
                    new[at] = word
                out.append(" ".join(new))
        return out

    def lead(self, text: str) -> float:
        return sum(self.weight.get(word, 0.0) for word in text.split())

    def scores(self, slope: float) -> Scores:
        def plain(texts: Sequence[str]) -> np.ndarray:
            lead = slope * np.array([self.lead(text) for text in texts])
            share = 1 / (1 + np.exp(-lead.clip(-700, 700)))
            return np.stack([1 - share, share], 1)

        return plain


def remembered(world: World, plain: Scores, letters: int) -> Scores:
    """Answer by the letters at the beginning, for texts that begin like a known one: a cache with a bad key."""
    kept = dict(zip([text[:letters] for text in world.texts], plain(world.texts), strict=True))

    def served(texts: Sequence[str]) -> np.ndarray:
        pairs = zip(texts, plain(texts), strict=True)
        return np.array([kept.get(text[:letters], answer) for text, answer in pairs])

    return served


def coarse(world: World, form: str) -> Scores:
    name, _, number = form.partition(" ")
    plain = world.scores(1.0)
    if name == "round":
        return lambda texts: np.round(plain(texts), int(number))
    if name == "logs":
        return lambda texts: np.round(np.log(plain(texts).clip(1e-12)), int(number))
    if name == "plateau":
        return lambda texts: np.clip(plain(texts), 0.3, 0.7)
    if name == "saturated":
        return lambda texts: world.scores(120.0)(texts).astype(np.float32)
    if name == "one-hot":
        return lambda texts: np.eye(2)[plain(texts).argmax(1)]
    if name == "memory":
        return remembered(world, plain, int(number))
    if name == "counted":  # as a vote of ten
        return lambda texts: np.round(10 * plain(texts)) / 10
    raise ValueError(form)


FORMS = (
    *(f"round {k}" for k in range(1, 7)),
    "plateau",
    "saturated",
    "one-hot",
    "logs 1",
    "logs 3",
    "counted",
    "memory 16",
)
DAILY = {("round 2", 0)}


@pytest.mark.parametrize(
    ("form", "seed"),
    [
        pytest.param(form, seed, marks=() if (form, seed) in DAILY else pytest.mark.slow)
        for form in FORMS
        for seed in range(3)
    ],
)
def test_no_claim_above_the_truth_passes(form: str, seed: int) -> None:
    world = World(seed)
    served = coarse(world, form)
    truth = world.truth(served)
    assert truth < 0.9
    found = measure_robust_accuracy(
        scores_model(served),  # type: ignore[arg-type]
        (world.texts, world.labels),
        world.threat,
        at_least=truth + 0.05,
        exact=True,
        cache=False,
        suppress=("constant_answer",),
    )
    assert found.verdict is not Verdict.PASSED, (form, truth, found.estimate)
    assert found.estimate is None or found.estimate >= truth - 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_claim_below_the_truth_passes_where_scores_tell(seed: int) -> None:
    world = World(seed)
    truth = world.truth(world.scores(1.0))
    result: Any = measure_robust_accuracy(
        scores_model(world.scores(1.0)),  # type: ignore[arg-type]
        (world.texts, world.labels),
        world.threat,
        at_least=truth - 0.05,
        exact=True,
        cache=False,
        suppress=("constant_answer",),
    )
    assert result.verdict is Verdict.PASSED, (result.rule, truth, result.details["health"])
    assert result.estimate == pytest.approx(truth, abs=0.01)
