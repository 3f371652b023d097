"""Chunks that share their model passes on an accelerator have the outcomes that each has alone.

The host stands in for the accelerator: it may gather, and computes each row by itself (no sum of products in blocks),
so that outcomes must be those of chunks measured one by one, to the bit.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import Linf, ModelError, devices, rng, scores_model
from robustest.attacks import PGD
from robustest.engine import chunks, gathering
from robustest.engine.evaluator import filled_size
from robustest.measure import measure_accuracy, measure_robust_accuracy
from robustest.results import Verdict
from robustest.run import driver, measured_chunks

SIDE, CLASSES = 12, 3


class Rows(nn.Module):
    """Two layers by sums along the last axis: a row's numbers do not depend on the rows beside it. Notes its passes."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(8, SIDE, generator=generator))
        self.last = nn.Parameter(torch.randn(CLASSES, 8, generator=generator))
        self.passes: list[int] = []
        self.threads: set[int] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.passes.append(len(x))
        self.threads.add(threading.get_ident())
        hidden = (x.unsqueeze(1) * self.first).sum(2).sin()
        return (hidden.unsqueeze(1) * self.last).sum(2)


def data(n: int) -> tuple[Tensor, Tensor]:
    x = torch.rand(n, SIDE, generator=torch.Generator().manual_seed(1))
    return x, Rows()(x).argmax(1)


@pytest.fixture
def gathers(monkeypatch: pytest.MonkeyPatch) -> Any:
    def switch(on: bool) -> None:
        monkeypatch.setattr(devices, "gathers", lambda _: on)

    return switch


def columns(monkeypatch: pytest.MonkeyPatch, model: nn.Module, n: int, **options: Any) -> Any:
    """Measure; return the result and the evidence's columns."""
    kept: list[Any] = []
    evidence = driver.Measurement.evidence
    monkeypatch.setattr(
        driver.Measurement, "evidence", lambda run, decision: kept.append(evidence(run, decision)) or kept[-1]
    )
    result = measure_robust_accuracy(model, data(n), Linf(0.05), **options)
    monkeypatch.setattr(driver.Measurement, "evidence", evidence)
    return result, kept[0]


@pytest.mark.thinned
@pytest.mark.parametrize("batch_size", [100, 512])
@pytest.mark.parametrize("attack", [PGD(steps=6), "fast", pytest.param("standard", marks=pytest.mark.slow)], ids=str)
def test_outcomes_are_those_of_each_chunk_alone(
    gathers: Any, monkeypatch: pytest.MonkeyPatch, attack: Any, batch_size: int
) -> None:
    found = []
    for on in (False, True):
        gathers(on)
        model = Rows()
        result, evidence = columns(monkeypatch, model, 300, attack=attack, exact=True, batch_size=batch_size)
        found.append((result, evidence, model))
    (one, alone, by_one), (other, joint, together) = found
    assert 0.1 < one.estimate < 0.9
    for name, column in alone.columns.items():
        assert np.array_equal(column, joint.columns[name]), name
    assert one.verdict is other.verdict
    assert one.details["health"] == other.details["health"]
    assert (one.cost.forward, one.cost.backward) == (other.cost.forward, other.cost.backward)
    assert alone.counts == joint.counts
    assert max(together.passes) <= batch_size
    # Of five chunks of at most 64 the last four share their passes; at a batch of 100, their last rows do.
    assert len(together.passes) < (0.6 if batch_size == 512 else 0.8) * len(by_one.passes)
    assert len(together.threads) == 1  # the model is called by the claim's thread alone


@pytest.mark.parametrize("smallest", [32, 64, 128])
def test_gradient_steps_do_not_depend_on_the_size_of_chunks(
    gathers: Any, monkeypatch: pytest.MonkeyPatch, smallest: int
) -> None:
    """A single stage decides nothing by chunk."""
    gathers(False)
    attack = PGD(steps=6)
    want = columns(monkeypatch, Rows(), 300, attack=attack, exact=True)[1]
    gathers(True)
    monkeypatch.setattr(chunks, "_SMALLEST", smallest)
    got = columns(monkeypatch, Rows(), 300, attack=attack, exact=True)[1]
    for name in ("held", "clean", "size"):
        assert np.array_equal(want.columns[name], got.columns[name]), name


@pytest.mark.parametrize(("megabytes", "batch"), [(1.0, 256), (1.5, 128), (1e-3, 4096), (100.0, 32)])
def test_a_batch_takes_a_quarter_of_an_accelerators_memory(
    gathers: Any, monkeypatch: pytest.MonkeyPatch, megabytes: float, batch: int
) -> None:
    """By the gradients of 32 samples; outcomes do not depend on it."""

    def peak(device: torch.device, work: Any) -> int:
        before = len(model.passes)
        work()
        return int(model.passes[before] * megabytes * 2**20)

    gathers(True)
    model = Rows()
    want = columns(monkeypatch, model, 700, attack=PGD(steps=4), exact=True, batch_size=128)[1]
    assert max(model.passes) <= 128
    monkeypatch.setattr(devices, "memory", lambda _: 2**30)
    monkeypatch.setattr(devices, "peak", peak)
    model = Rows()
    got = columns(monkeypatch, model, 700, attack=PGD(steps=4), exact=True)[1]
    later = model.passes[40:]  # behind the first chunk's checks
    assert min(batch, 256) / 2 < max(later) <= batch
    assert np.array_equal(want.columns["held"], got.columns["held"])
    model = Rows()
    columns(monkeypatch, model, 700, attack=PGD(steps=4), exact=True, batch_size=100)  # a setting goes before
    assert max(model.passes) <= 100


def test_a_function_that_is_no_module_keeps_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be an endpoint, which is not to be sent thousands of rows."""
    monkeypatch.setattr(devices, "memory", lambda _: 2**40)
    model = Rows()
    measure_accuracy(scores_model(lambda x: model(torch.from_numpy(x)).detach().numpy()), data(1000), exact=True)
    assert 0 < max(model.passes) <= 128


def test_the_last_rows_of_a_chunk_do_not_run_alone(gathers: Any) -> None:
    """Of 1,024 samples, most passes are half full or more at a batch of 128."""
    fill = {}
    for on in (False, True):
        gathers(on)
        model = Rows()
        measure_robust_accuracy(model, data(1024), Linf(0.05), attack=PGD(steps=20), exact=True, batch_size=128)
        first = sum(model.passes[: len(model.passes) // 8])
        fill[on] = (sum(model.passes) - first) / len(model.passes) / 128
    assert fill[True] > 1.3 * fill[False]


# Rows of the checks that compare a model's answers in batches of different sizes.
CHECKS = {1, 2, 4, 8}


@pytest.mark.parametrize("attack", [PGD(steps=20), pytest.param("fast", marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("batch_size", [512, 100])
def test_a_claim_makes_passes_of_six_sizes(gathers: Any, attack: Any, batch_size: int) -> None:
    """Beside those of the checks. Rows that fill a pass up are neither counted nor more than a batch takes."""
    gathers(True)
    model = Rows()
    result: Any = measure_robust_accuracy(
        model, data(600), Linf(0.05), attack=attack, exact=True, batch_size=batch_size
    )
    assert 0.1 < result.estimate < 0.9  # rows are dropped on the way
    sizes = {batch_size >> halved for halved in range(6)}
    assert set(model.passes) <= sizes | CHECKS
    assert len(set(model.passes) - CHECKS) > 3
    assert sum(model.passes) > result.cost.forward


@pytest.mark.parametrize(
    ("n", "batch_size", "size"),
    [(1, 512, 16), (16, 512, 16), (17, 512, 32), (300, 512, 512), (513, 512, 513), (3, 100, 3), (4, 100, 6), (1, 8, 1)],
)
def test_a_pass_is_filled_up_to_the_least_size_that_holds_it(n: int, batch_size: int, size: int) -> None:
    assert filled_size(n, batch_size) == size


def test_rows_that_fill_a_pass_up_take_no_memory_from_those_asked_for(gathers: Any) -> None:
    """Chunks of 64 rows and fewer fit, where no joint pass and no filled one does."""
    gathers(True)
    model = Card(room=150)
    result = measure_robust_accuracy(model, data(300), Linf(0.05), attack=PGD(steps=6), exact=True, batch_size=100)
    assert model.refused
    assert not any("out of memory" in note for note in result.words.notes)


class Crowded(Rows):
    """In a batch of more than 100, those behind the 64th have another answer, or no gradient."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        if len(x) <= 100 or not self.way:
            return super().forward(x)
        if self.way == "answers":
            return torch.cat([super().forward(x[:64]), super().forward(x[64:]).flip(1)])
        return torch.cat([super().forward(x[:64]), super().forward(x[64:].detach())])


@pytest.mark.parametrize("way", ["", "answers", "gradients"])
def test_a_model_that_is_another_in_large_batches_is_noticed(gathers: Any, way: str) -> None:
    """The checks before the measurement pass few samples at once, where this model is what it should be."""
    gathers(True)
    options: dict[str, Any] = {"attack": PGD(steps=6), "exact": True, "batch_size": 512, "at_least": 0.6}
    result = measure_robust_accuracy(Crowded(way), data(500), Linf(0.02), **options)
    found = [one["name"] for one in result.details.get("health", [])]
    assert ("batch_dependence" in found) == bool(way)
    assert (result.verdict is Verdict.PASSED) == (not way)


def test_an_early_verdict_ends_the_threads(gathers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gathers(True)
    begun: list[int] = []
    chunks = measured_chunks.MeasuredChunks
    loaded = chunks._loaded
    monkeypatch.setattr(chunks, "_loaded", lambda self, work: begun.append(len(work.ids)) or loaded(self, work))
    before = set(threading.enumerate())
    x, y = data(600)
    result = measure_robust_accuracy(Rows(), (x, y), Linf(0.05), attack=PGD(steps=6), at_least=0.99)
    assert result.numbers.n < 600
    assert sum(begun) <= result.numbers.n + 2 * 64  # at most two chunks were begun in vain
    assert set(threading.enumerate()) == before


class Fails(Rows):
    """Fails in its own way on a batch with the marked sample, in passes with a gradient."""

    def __init__(self, marked: Tensor, error: str) -> None:
        super().__init__()
        self.marked, self.error = marked, error

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        near = (x - self.marked).abs().amax(1) < 0.06
        if self.error == "nan":
            return torch.where(near.unsqueeze(1) & x.requires_grad, float("nan"), out)
        if x.requires_grad and (bool(near.any()) if self.error == "raises" else len(x) > 70):
            raise RuntimeError("out of memory" if self.error == "memory" else "no kernel for this batch")
        return out


@pytest.mark.parametrize(("error", "message"), [("nan", "nan_values"), ("raises", "no kernel for this batch")])
def test_an_error_is_that_of_its_chunk(gathers: Any, error: str, message: str) -> None:
    """No pass with the sample, and no verdict."""
    x, _ = data(300)
    order = torch.cat(list(chunks.partition(rng.permutation(0, 300))))
    told = []
    for on in (False, True):
        gathers(on)
        model = Fails(x[order[200]], error)
        with pytest.raises(ModelError, match=message) as caught:
            measure_robust_accuracy(model, data(300), Linf(0.05), attack=PGD(steps=4), exact=True)
        told.append(str(caught.value))
    assert (error == "nan") <= (told[0] == told[1])
    assert not [one for one in threading.enumerate() if isinstance(one, gathering.Member)]


def test_an_error_behind_an_early_verdict_is_none(gathers: Any) -> None:
    """A chunk that is measured in vain may fail."""
    x, _ = data(600)
    order = torch.cat(list(chunks.partition(rng.permutation(0, 600))))
    found = []
    for on in (False, True):
        gathers(on)
        model = Fails(x[order[200]], "raises")
        options: dict[str, Any] = {"attack": PGD(steps=6), "at_least": 0.99}
        found.append(measure_robust_accuracy(model, data(600), Linf(0.05), **options))
    assert found[0].outcomes == found[1].outcomes
    assert found[0].numbers.n == found[1].numbers.n <= 192


def test_memory_that_runs_out_in_a_joint_pass_changes_no_outcome(gathers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gathers(False)
    want = columns(monkeypatch, Rows(), 300, attack=PGD(steps=6), exact=True)[1]
    gathers(True)
    model = Fails(torch.full((SIDE,), 9.0), "memory")
    result, got = columns(monkeypatch, model, 300, attack=PGD(steps=6), exact=True)
    assert np.array_equal(want.columns["held"], got.columns["held"])
    assert max(model.passes) > 70  # it was tried, with a gradient, or passed without
    assert not any("out of memory" in note for note in result.words.notes)  # no chunk ran out of it alone


class Card(Rows):
    """Holds memory for two layers of a pass with a gradient, as long as anything refers to it."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.used, self.refused = room, 0, 0

    def layer(self, rows: int) -> Tensor:
        if self.used + rows > self.room:
            self.refused += 1
            raise RuntimeError("out of memory")
        self.used += rows
        held = torch.empty(rows)
        weakref.finalize(held, self.free, rows)
        return held

    def free(self, rows: int) -> None:
        self.used -= rows

    def forward(self, x: Tensor) -> Tensor:
        kept = [self.layer(len(x)), self.layer(len(x))] if x.requires_grad else []
        out = super().forward(x)
        del kept
        return out


def test_a_joint_pass_that_failed_leaves_its_memory_to_each_chunk(gathers: Any) -> None:
    """Two chunks of 64 rows do not fit together; each fits alone, but not beside what the joint pass has left."""
    gathers(True)
    model = Card(room=150)
    result = measure_robust_accuracy(model, data(300), Linf(0.05), attack=PGD(steps=6), exact=True)
    assert model.refused
    assert not any("out of memory" in note for note in result.words.notes)
    assert model.used == 0


def test_a_batch_that_did_not_fit_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "memory", lambda _: 2**40)
    monkeypatch.setattr(devices, "peak", lambda _, work: [work(), 2**20][1])
    model = Card(room=40)
    measure_robust_accuracy(model, data(200), Linf(0.05), attack=PGD(steps=4), exact=True)
    assert model.refused == 1


def test_later_chunks_begin_with_the_batch_that_fitted(gathers: Any) -> None:
    gathers(True)
    model = Card(room=70)
    result = measure_robust_accuracy(model, data(1000), Linf(0.05), attack=PGD(steps=6), exact=True)
    assert sum("out of memory" in note for note in result.words.notes) == 1
    assert model.refused < 10  # of 15 chunks, those that were under way together


def test_time_that_is_up_ends_all_chunks(gathers: Any) -> None:
    gathers(True)

    class Slow(Rows):
        def forward(self, x: Tensor) -> Tensor:
            threading.Event().wait(0.02)
            return super().forward(x)

    result = measure_robust_accuracy(
        Slow(), data(600), Linf(0.05), attack=PGD(steps=20), at_least=0.5, exact=True, time_budget=1.0
    )
    assert result.verdict is not Verdict.PASSED
    assert not [one for one in threading.enumerate() if isinstance(one, gathering.Member)]


def test_models_whose_passes_have_an_order_are_measured_chunk_by_chunk(gathers: Any) -> None:
    gathers(True)
    model = Rows()
    measure_robust_accuracy(
        model, data(300), Linf(0.05), attack=PGD(steps=4), exact=True, batch_size=512, suppress=("random_forward",)
    )
    assert max(model.passes) <= 64
