"""Populations of known truth for claims on what people answer: about images, about models, about cues."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from image_populations import LOOKUP, Ints, N, Random, carrying, drawn
from robustest_people import Annotations, Responses, measure

from robustest import Result


def said(label: Ints, other: Ints) -> Responses:
    """What 12 people select of each sample: 7 the label, 5 another class."""
    item = np.repeat(np.arange(len(label)), 12)
    answer = np.where(np.tile(np.arange(12), len(label)) < 7, label[item], other[item])
    return Responses.from_columns(item, answer, size=len(label), classes=4)


def label_agreement(random: Random, **claim: Any) -> Result:
    """The model says the label (.7), the other class that people select (.15), or a third (.15)."""
    label = np.arange(N) % 4
    answer = (label + random.choice([0, 1, 2], N, p=[0.7, 0.15, 0.15])) % 4
    return measure.measure_label_agreement(
        LOOKUP, (carrying(answer), torch.from_numpy(label)), said(label, (label + 1) % 4), **claim
    )


def label_quality(random: Random, **claim: Any) -> Result:
    """People look at 80 of 300 labels of which a tenth is wrong in the population."""
    looked, label = np.sort(random.choice(300, N, replace=False)), np.arange(300) % 4
    right = (label + drawn(random, 0.1, 300)) % 4
    item = np.repeat(looked, 3)
    responses = Responses.from_columns(item, right[item], size=300, classes=4)
    return measure.measure_label_quality(torch.from_numpy(label), responses, **claim)


def several_objects(random: Random, **claim: Any) -> Result:
    """Samples of one object or two; the model says one of them in .7 of cases, and a class that is not there else."""
    label, two = np.arange(N) % 4, random.random(N) < 0.5
    sets = np.zeros((N, 4), bool)
    sets[np.arange(N), label] = True
    sets[two, (label[two] + 1) % 4] = True
    shown = np.where(two & (random.random(N) < 0.5), label + 1, label)
    answer = np.where(random.random(N) < 0.7, shown, label + 2) % 4
    return measure.measure_multilabel_accuracy(LOOKUP, (carrying(answer), sets), **claim)


def simulatable(random: Random, **claim: Any) -> Result:
    """Twenty people who foresee .7 in the mean, one more than another."""
    item, who = np.divmod(np.arange(20 * 20), 20)
    held = random.random(len(item)) < random.beta(7, 3, 20)[who]
    answer = np.where(held, item % 4, (item + 1) % 4)
    study = Responses.from_columns(item, answer, size=20, classes=4, annotator=who, truth=item % 4)
    return measure.measure_simulatable(study, **claim)


def cue_noticed(random: Random, **claim: Any) -> Result:
    """Twenty people call the null cue spurious in .2 of cases, the cue in .5, the planted one in .8, one more so."""
    row = np.arange(20 * 3 * 8)
    who, asked = row % 20, row // 20 % 3
    share = np.stack([random.beta(8 * p, 8 * (1 - p), 20) for p in (0.2, 0.5, 0.8)])
    called = random.random(len(row)) < share[asked, who]
    names = ("null", "logo", "planted")
    study = Responses.from_columns(row // 60, called.astype(int), size=8, classes=names, label=asked, annotator=who)
    return measure.measure_cue_noticed(study, "logo", **claim)


def selection_gap(random: Random, **claim: Any) -> Result:
    """Where the model errs, people select the label .2 more often than what it says; images and people differ."""
    n, people = 30, 20
    item, who = np.divmod(np.arange(n * people), people)
    liking = 0.3 * (random.random(n)[item] - 0.5) + 0.3 * (random.random(people)[who] - 0.5)
    draws = random.random(len(item))
    label = np.arange(n) % 4
    answer = (label[item] + np.where(draws < 0.5 + liking, 0, np.where(draws < 0.8, 1, 2))) % 4
    responses = Responses.from_columns(item, answer, size=n, classes=4, annotator=who)
    return measure.measure_selection_gap(
        LOOKUP, (carrying((label + 1) % 4), torch.from_numpy(label)), responses, **claim
    )


def replication(random: Random, **claim: Any) -> Result:
    """At every selection frequency accuracy is .1 less on the replication, whose items are as hard."""
    held, says = [], []
    for base in (0.5, 0.4):
        frequency = random.beta(3, 2, 2 * N)
        held.append(random.random(2 * N) < base + 0.4 * frequency)
        selected = random.binomial(20, frequency)
        says.append(Annotations(selected=selected, shown=np.full(2 * N, 20), independent=True))
    return measure.measure_replication_gap(
        (held[0], held[1]), None, None, annotations=(says[0], says[1]), resamples=100, **claim
    )
