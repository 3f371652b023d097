"""Every kind of claim of this pack on small nets and small data, good and bad: rows for core's tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from core_tests import load
from robustest_people import Annotations, Responses
from robustest_people.measure import (
    measure_cue_noticed,
    measure_label_agreement,
    measure_label_quality,
    measure_multilabel_accuracy,
    measure_replication_gap,
    measure_selection_gap,
    measure_simulatable,
)
from torch import nn

from robustest import Result

core = load("contract/kinds.py")
CLASSES, Kind, N, Net, samples = core.CLASSES, core.Kind, core.N, core.Net, core.samples


def _replication(good: bool, draw: int, **more: Any) -> Result:
    random = np.random.default_rng(draw)

    def edition(n: int, lost: float) -> tuple[Any, Annotations]:
        easy = random.beta(4, 1.5, n)
        right = random.random(n) < 0.4 + 0.5 * easy - lost
        return right, Annotations(selected=random.binomial(20, easy), shown=np.full(n, 20), independent=True)

    (first, of_first), (second, of_second) = edition(2000, 0.0), edition(2000, 0.0 if good else 0.3)
    return measure_replication_gap((first, second), None, None, annotations=(of_first, of_second), **more)


def _chosen(labels: Any, other: float, draw: int) -> Responses:
    """What 20 people choose of each sample: its label, or else the next class."""
    random = np.random.default_rng(draw)
    item, who = np.divmod(np.arange(20 * len(labels)), 20)
    answer = (labels[item] + (random.random(len(item)) < other)) % CLASSES
    return Responses.from_columns(item, answer, size=len(labels), classes=CLASSES, annotator=who)


def _agreement(good: bool, draw: int, **more: Any) -> Result:
    x, y = samples(draw)
    return measure_label_agreement(Net(good=good), (x, y), _chosen(y.numpy(), 0.05, draw), **more)


def _gap(good: bool, draw: int, **more: Any) -> Result:
    """A model that says the next class, which people choose as often as the label, or seldom."""
    x, y = samples(draw)
    says = _chosen(y.numpy(), 0.5 if good else 0.1, draw)
    return measure_selection_gap(lambda batch: batch[:, 0, 0, :CLASSES].roll(1, 1), (x, y), says, **more)


def _quality(good: bool, draw: int, **more: Any) -> Result:
    """150 of 200 labels that people looked at, of which few or many are wrong."""
    y = samples(draw)[1].numpy()
    wrong = np.arange(N) % (50 if good else 4) == 0
    looked = _chosen((y + wrong) % CLASSES, 0.05, draw)
    some = np.isin(looked.item, np.random.default_rng(draw).choice(N, 150, replace=False))
    says = Responses.from_columns(
        looked.item[some], looked.answer[some], size=N, classes=CLASSES, annotator=looked.annotator[some]
    )
    return measure_label_quality(y, says, **more)


def _several(good: bool, draw: int, **more: Any) -> Result:
    """Every fifth sample shows a second class, and says so."""
    x, y = samples(draw)
    sets = nn.functional.one_hot(y, CLASSES)
    sets[::5] |= sets[::5].roll(1, 1)
    return measure_multilabel_accuracy(Net(good=good), (x, sets), **more)


def _foreseen(good: bool, draw: int, **more: Any) -> Result:
    study = _chosen(np.arange(N) % CLASSES, 0.1 if good else 0.8, draw)
    return measure_simulatable(study, truth=np.arange(N) % CLASSES, **more)


def _noticed(good: bool, draw: int, **more: Any) -> Result:
    """Twenty people call each of three cues spurious on 30 pictures, more or less often."""
    random = np.random.default_rng(draw)
    at, label = np.arange(1800), np.arange(1800) // 600
    calls = random.random(1800) < np.array([0.05, 0.9, 0.7 if good else 0.1])[label]
    names = ("null", "planted", "logo")
    study = Responses.from_columns(at, calls, size=1800, classes=names, label=label, annotator=at % 20)
    return measure_cue_noticed(study, "logo", **more)


KINDS: dict[str, Kind] = {
    "replication": Kind(_replication, "at_most", 0.15, 0.001),
    "label agreement": Kind(_agreement, "min_contained", 0.8, 0.99),
    "selection gap": Kind(_gap, "at_most", 0.3, 0.001),
    "label quality": Kind(_quality, "max_error_rate", 0.1, 0.001),
    "several objects": Kind(_several, "at_least", 0.9, 0.999),
    "simulatable": Kind(_foreseen, "at_least", 0.6, 0.99),
    "cue noticed": Kind(_noticed, "at_least", 0.3, 0.95),
}
