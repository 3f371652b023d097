"""An attack on a chunk of samples at known distances: every column, count and exhibit of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import ConfigError, Linf, Snr, find_adversarial, rng
from robustest.attacks import EOT, FGSM, PGD, Cascade, Stage
from robustest.claims.robustness.attacking import (
    Attacking,
    Certifying,
    audit_of,
    certified_details,
    check_certify,
    check_threat,
    draws_in,
    sizes_found,
)
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.models import as_classifier
from robustest.run.evidence import REPLAYED
from robustest.run.replay import ReplayedInput
from robustest.store.corpus import Kept

DISTANCES = [0.05, -0.20, 0.30, 0.15, 0.02, -0.01]
RIGHT = [True, False, True, True, True, False]
BROKEN = [True, False, False, False, True, False]


class Line(nn.Module):
    """Class 0 below .5 in the first feature."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        away = (0.5 - x[:, 0]) * self.one
        return torch.stack([away, -away], 1)


def setting() -> tuple[Evaluator, Chunk]:
    evaluator = Evaluator(
        as_classifier(Line()), torch.device("cpu"), batch_size=None, suppress=(), notes=[], examples=5
    )
    ids = torch.arange(10, 16)
    x = torch.tensor([[0.5 - d, 0.5] for d in DISTANCES])
    evaluator.logits(x[:1])
    return evaluator, Chunk(ids, x, torch.zeros(6, dtype=torch.int64), rng.keys(0, ids), (0.0, 1.0))


STEP = Cascade(name="step", stages=(Stage(searcher=FGSM()),), audit=(Stage(searcher=PGD()),))
ATTACK = Attacking(cascade=STEP, threat=Linf(0.1))


def test_only_what_is_right_is_attacked_and_only_that_is_broken() -> None:
    evaluator, chunk = setting()
    found = ATTACK(evaluator, chunk)
    held = [right and not broken for right, broken in zip(RIGHT, BROKEN, strict=True)]
    assert found.columns["held"].tolist() == held
    assert found.columns["clean"].tolist() == RIGHT
    assert found.columns["size"].tolist() == pytest.approx([0.1, 0, 0, 0, 0.1, 0])
    assert set(found.columns) == {"held", "clean", "size"}
    assert found.counts == {"fgsm": 2}
    assert found.kept is None
    assert [one.index for one in found.exhibits] == [14, 10]  # the furthest beyond the boundary first
    assert [one.badness for one in found.exhibits] == pytest.approx([0.16, 0.1], abs=1e-5)
    assert [one.size for one in found.exhibits] == pytest.approx([0.1, 0.1])
    assert found.exhibits[0].after[0] == pytest.approx(0.58)
    assert evaluator.health.counts("quantised_input") == (0, 6)
    assert evaluator.health.counts("unbounded_attack_fails") == (0, 2)
    assert evaluator.health.counts("weak_search") == (0, 2)


def test_inputs_are_kept_where_they_are_asked_for() -> None:
    evaluator, chunk = setting()
    found = Attacking(cascade=STEP, threat=Linf(0.1), keep=True)(evaluator, chunk)
    moved = found.columns["x"][:, 0] - chunk.x[:, 0].numpy()
    # The best attempt on survivors, the sample itself where it is wrong unchanged.
    assert moved.tolist() == pytest.approx([0.1, 0, 0.1, 0.1, 0.1, 0], abs=1e-6)
    assert found.columns["size"].tolist() == pytest.approx([0.1, 0, 0.1, 0.1, 0.1, 0])
    kept = ATTACK.keeping()(*setting()).kept
    assert kept is not None
    assert kept.ids.tolist() == [10, 14]
    assert ATTACK.keeping().every
    assert not ATTACK.every


def test_without_experiments_no_health_check_of_theirs_counts() -> None:
    evaluator, chunk = setting()
    Attacking(cascade=STEP, threat=Linf(0.1), probing=False)(evaluator, chunk)
    assert evaluator.health.counts("quantised_input") == (0, 0)
    assert evaluator.health.counts("unbounded_attack_fails") == (0, 0)
    assert evaluator.health.counts("weak_search") == (0, 2)


def test_a_known_counterexample_takes_the_place_of_the_attack_where_the_sample_is_right() -> None:
    evaluator, chunk = setting()
    known = ReplayedInput(x=torch.tensor([0.55, 0.5]), size=0.07, margin=-0.09, predicted=torch.tensor(1))
    collected: list[Any] = []

    def collect(evaluator: Any, chunk: Any, after: Tensor, size: Tensor, broken: Tensor, *, every: bool) -> None:
        collected.append((after[:, 0].tolist(), size.tolist(), broken.tolist(), every))

    replay: Any = SimpleNamespace(counterexamples={12: known, 11: known}, collect=collect)
    found = Attacking(cascade=STEP, threat=Linf(0.1), replay=replay)(evaluator, chunk)
    assert found.columns["held"].tolist() == [False, False, False, True, False, False]
    assert found.columns["size"].tolist() == pytest.approx([0.1, 0, 0.07, 0, 0.1, 0])
    assert found.counts == {"fgsm": 2, REPLAYED: 1}
    assert [one.index for one in found.exhibits] == [14, 10, 12]
    ((after, size, broken, every),) = collected
    assert after == pytest.approx([0.55, 0.7, 0.55, 0.35, 0.58, 0.51])
    assert size == pytest.approx([0.1, 0, 0.07, 0, 0.1, 0])
    assert (broken, every) == ([True, False, True, False, True, False], False)


class Draws(nn.Module):
    """Answers class 0, then class 1, in turn, on the rows whose second feature is larger than .5."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.calls = nn.Parameter(torch.ones(())), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        away = (0.5 - x[:, 0]) * self.one * torch.where((x[:, 1] > 0.5) & (self.calls % 2 == 0), -1.0, 1.0)
        return torch.stack([away, -away], 1)


def test_draws_are_judged_by_majority_and_counted_where_they_end() -> None:
    evaluator = Evaluator(
        as_classifier(Draws()), torch.device("cpu"), batch_size=None, suppress=("random_forward",), notes=[]
    )
    ids = torch.arange(2)
    x = torch.tensor([[0.2, 0.5], [0.2, 0.6]])
    evaluator.logits(x)
    chunk = Chunk(ids, x, torch.zeros(2, dtype=torch.int64), rng.keys(0, ids), (0.0, 1.0))
    averaged = Cascade(name="eot", stages=(Stage(searcher=EOT(FGSM(), draws=4)),))
    found = Attacking(cascade=averaged, threat=Linf(0.1), probing=False)(evaluator, chunk)
    assert found.columns["clean"].tolist() == [True, True]  # two of four are a tie, in its favour
    assert found.columns["missed"].tolist() == [0, 2]
    assert found.columns["held"].tolist() == [True, True]


def test_inputs_of_another_model_are_judged_as_they_are() -> None:
    evaluator, chunk = setting()
    kept = Kept(
        ids=chunk.ids, x=torch.tensor([[0.6, 0.5], [0.4, 0.5], [0.5 - 1e-3, 0.5], [0.7, 0.5], [0.1, 0.5], [0.9, 0.5]]),
        y=chunk.y, sizes=torch.arange(6, dtype=torch.float64),
    )  # fmt: skip
    found = ATTACK.transfer(evaluator, chunk, kept)
    assert found.columns["held"].tolist() == [False, True, True, False, True, False]
    assert found.columns["size"].tolist() == [0, 1, 2, 3, 4, 5]
    assert [one.index for one in found.exhibits] == [15, 13, 10]
    assert [one.badness for one in found.exhibits] == pytest.approx([0.8, 0.4, 0.2])
    assert set(found.columns) == {"held", "size"}


def test_inputs_of_another_model_are_judged_by_fresh_draws_of_a_random_one() -> None:
    evaluator = Evaluator(
        as_classifier(Draws()), torch.device("cpu"), batch_size=None, suppress=("random_forward",), notes=[], examples=5
    )
    ids, x = torch.arange(3), torch.tensor([[0.2, 0.5], [0.2, 0.6], [0.9, 0.5]])
    evaluator.logits(x)
    chunk = Chunk(ids, x, torch.zeros(3, dtype=torch.int64), rng.keys(0, ids), (0.0, 1.0))
    kept = Kept(ids=ids, x=x, y=chunk.y, sizes=torch.ones(3, dtype=torch.float64))
    averaged = Cascade(name="eot", stages=(Stage(searcher=EOT(FGSM(), draws=4)),))
    found = Attacking(cascade=averaged, threat=Linf(0.1)).transfer(evaluator, chunk, kept)
    assert found.columns["missed"].tolist() == [0, 2, 4]
    assert found.columns["held"].tolist() == [True, True, False]  # two of four are a tie, in its favour
    assert [(one.index, one.predicted) for one in found.exhibits] == [(2, 1)]


def test_an_audit_runs_its_stages_without_experiments() -> None:
    evaluator, chunk = setting()
    audit = ATTACK.auditor(evaluator, chunk)
    assert audit is not None
    assert (audit.cascade.name, audit.cascade.stages, audit.probing) == ("step audit", STEP.audit, False)
    assert audit_of(STEP, Linf(0.0), evaluator, chunk) is None
    assert audit_of(Cascade(name="c", stages=STEP.stages), Linf(0.1), evaluator, chunk) is None
    assert (ATTACK.gathers, ATTACK.whole_inputs, ATTACK.room, ATTACK.probing) == (True, False, 0, True)
    assert not Certifying(cascade=STEP, threat=Linf(0.1)).gathers


def test_proofs_are_a_column_beside_the_attack() -> None:
    evaluator, chunk = setting()
    found = Certifying(cascade=STEP, threat=Linf(0.1))(evaluator, chunk)
    assert found.columns["proven"].tolist() == [False, False, True, True, False, False]
    assert found.columns["held"].tolist() == [False, False, True, True, False, False]
    wrong = Chunk(chunk.ids, chunk.x, 1 - chunk.y, chunk.key, chunk.bounds)
    found = Certifying(cascade=STEP, threat=Linf(0.1))(*(evaluator, wrong))
    assert found.columns["proven"].tolist() == [False, True, False, False, False, False]


def test_proven_broken_and_open_samples_are_counted() -> None:
    evidence: Any = SimpleNamespace(
        columns={"proven": np.array([1, 1, 0, 0, 0]), "held": np.array([1, 1, 1, 0, 0])},
        n=5,
        share=lambda c: float(c.mean()),
    )
    assert certified_details(evidence) == {
        "certified": 0.4, "attacked": 0.6, "proven": 2, "looked_at": 5, "not_held": 2, "open": 1,
    }  # fmt: skip


def test_averages_over_draws_are_those_of_every_stage() -> None:
    one, two, three = (Stage(searcher=s) for s in (FGSM(), EOT(FGSM(), draws=2), EOT(FGSM(), draws=3)))
    for stages, draws in (((), 1), ((one,), 1), ((two, three), 3), ((two, one), 1)):
        assert draws_in(Cascade(name="c", stages=stages)) == draws


@pytest.mark.parametrize(("how", "certify"), [(None, False), ("auto", True), ("linear", True)])
def test_proofs_are_made_where_they_are_asked_for(how: str | None, certify: bool) -> None:
    assert check_certify(how, 1) == certify
    with pytest.raises(ConfigError, match="auto, linear, or None"):
        check_certify("exact", 1)
    if certify:
        with pytest.raises(ConfigError, match="averages 2 draws"):
            check_certify(how, 2)


def test_sizes_and_radii_have_their_unit() -> None:
    sizes = np.array([0.05, 0.1])
    assert sizes_found(Linf(0.2), sizes) == {"largest_size": 0.1, "radius": 0.2}
    assert sizes_found(Linf(0.2), sizes[:0]) == {"largest_size": None, "radius": 0.2}
    found = sizes_found(Snr(12), sizes)
    assert found == {"lowest_db": pytest.approx(20.0), "db": 12.0}
    for nothing in (sizes[:0], np.zeros(2)):
        assert sizes_found(Snr(12), nothing) == {"lowest_db": None, "db": 12.0}
    for wrong in (Linf, 0.1, "linf"):
        with pytest.raises(ConfigError, match="threat model"):
            check_threat(wrong)
    check_threat(Linf(0.1))


@pytest.mark.parametrize("kind", ["tensor", "float64", "array"])
def test_inputs_come_back_as_they_were_given(kind: str) -> None:
    _, chunk = setting()
    x: Any = {"tensor": chunk.x, "float64": chunk.x.double(), "array": chunk.x.numpy().astype(np.float64)}[kind]
    found = find_adversarial(Line(), x, chunk.y, Linf(0.1), attack=STEP)
    assert type(found.x) is type(x)
    assert found.x.dtype == x.dtype
    assert found.broken.tolist() == [True, True, False, False, True, True]  # wrong unchanged as well
    assert found.norms.tolist() == pytest.approx([0.1, 0, 0.1, 0.1, 0.1, 0])
    assert dict(found.stages) == {"fgsm": 2}
