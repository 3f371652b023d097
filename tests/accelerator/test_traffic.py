"""How often the host waits for an accelerator, and what it copies: counted on the simulated far device.

A wait and a copy down are both a synchronisation. Looks are the scheduled ones: every fifth step of a search the host
asks how many samples are left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from second_device import FAR, Counter, Counts, Far, far_device, sent
from torch import nn

from robustest import L1, Classifier, DeviceError, Linf, ModelError, devices, find_adversarial
from robustest.attacks import FAB, FMN, PGD, Cascade, Stage
from robustest.cues import PixelPatch
from robustest.data import as_samples, levels
from robustest.engine import cascade
from robustest.engine.chunks import read
from robustest.engine.inspection import marks_of
from robustest.measure import (
    measure_certified_accuracy,
    measure_no_spurious_feature,
    measure_robust_accuracy,
    measure_shift_accuracy,
)

SHAPE = (3, 8, 8)
X = torch.rand(128, *SHAPE, generator=torch.Generator().manual_seed(0))
Counted = Callable[..., Counts]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Counts the traffic of a claim: `counted(measure, n, ...)`."""
    monkeypatch.setattr(devices, "default", lambda: FAR)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 4))
    y = model(X).argmax(1)

    def count(measure: Callable[..., object], n: int, *arguments: Any, **options: Any) -> Counts:
        with far_device() as counter:
            measure(model, (X[:n], y[:n]), *arguments, exact=True, **options)
        return counter.counts

    return count


def stages(count: int) -> Cascade:
    return Cascade(name="stages", stages=(Stage(searcher=PGD(steps=4)),) * count)


def test_a_gradient_step_waits_for_nothing_and_copies_nothing(counted: Counted) -> None:
    """Nothing breaks at this radius, so that no batch is cut."""
    short, long = (counted(measure_robust_accuracy, 64, Linf(1e-4), attack=PGD(steps=steps)) for steps in (20, 40))
    more = long.since(short)
    assert more.copies == 0
    assert more.waits == 20 // 5
    assert more.operations > 20


@pytest.mark.parametrize("eps", [1e-4, 1e-2])
def test_a_stage_is_waited_for_twice(counted: Counted, eps: float) -> None:
    """Besides its looks: for its successes, which are predicted again, and for its outcome."""
    two, four = (counted(measure_robust_accuracy, 64, Linf(eps), attack=stages(count)) for count in (2, 4))
    more = four.since(two)
    assert more.waits + more.downloads <= 2 * 2


@pytest.mark.slow
def test_fast_waits_twice_for_each_stage_and_each_look(counted: Counted) -> None:
    """The work around the stages is that of an attack of one stage; `fast` has three more searches and eight looks."""
    one, fast = (
        counted(measure_robust_accuracy, 128, Linf(1e-4), attack=attack).since(
            counted(measure_robust_accuracy, 64, Linf(1e-4), attack=attack)
        )
        for attack in (stages(1), "fast")
    )
    more, looks, searches = fast.since(one), 8, 3
    assert more.waits + more.downloads <= 2 * searches + looks


@pytest.mark.parametrize(
    ("measure", "argument", "options"),
    [
        (measure_robust_accuracy, Linf(1e-4), {"attack": "fgsm"}),
        (measure_shift_accuracy, "gaussian_noise", {}),
        (measure_shift_accuracy, "rotation", {}),
        (measure_no_spurious_feature, PixelPatch(top=1, left=1), {}),
    ],
    ids=["attack", "corruption", "rotation", "cue"],
)
def test_a_sample_goes_up_once_and_comes_down_only_as_a_result(
    counted: Counted, measure: Any, argument: Any, options: dict[str, Any]
) -> None:
    small, large = (counted(measure, n, argument, **options) for n in (64, 128))
    more = large.since(small)  # one more chunk of 64 samples
    sample = 4 * 192 + 8 + 8  # the input, its label, and the key of its randomness
    assert 64 * sample <= more.up_bytes <= 64 * (sample + 16)  # and places of rows, of 8 bytes
    assert more.down_bytes < 64 * 4 * 192 / 4  # columns of outcomes, but no inputs


def planted_step(monkeypatch: pytest.MonkeyPatch, act: Callable[[torch.Tensor], object]) -> None:
    tell = PGD.tell

    def telling(self: PGD, problem: Any, state: Any, evaluation: Any) -> Any:
        act(evaluation.z)
        return tell(self, problem, state, evaluation)

    monkeypatch.setattr(PGD, "tell", telling)


def planted_stage(monkeypatch: pytest.MonkeyPatch, act: Callable[[torch.Tensor], object]) -> None:
    search: Any = vars(cascade)["search"]

    def searching(evaluator: Any, searcher: Any, threat: Any, x: torch.Tensor, *rest: Any, **options: Any) -> Any:
        act(x)
        return search(evaluator, searcher, threat, x, *rest, **options)

    monkeypatch.setattr(cascade, "search", searching)


ACTS: dict[str, Callable[[torch.Tensor], object]] = {
    "a number": lambda z: z.sum().item(),
    "a mask": lambda z: z[z > 0.5],
    "a copy down": lambda z: z.cpu(),
    "a copy up": lambda z: z + torch.ones(1).to(z.device),
}


@pytest.mark.parametrize("name", ACTS)
def test_one_planted_in_each_step_fails_the_test(counted: Counted, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    planted_step(monkeypatch, ACTS[name])
    with pytest.raises(AssertionError):
        test_a_gradient_step_waits_for_nothing_and_copies_nothing(counted)


def test_waits_planted_in_each_stage_fail_the_test(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    planted_stage(monkeypatch, ACTS["a copy down"])
    with pytest.raises(AssertionError):
        test_a_stage_is_waited_for_twice(counted, 1e-4)


@pytest.mark.parametrize("act", [lambda x: x.cpu(), lambda x: x.cpu().to(x.device)], ids=["down", "up"])
def test_a_second_copy_of_the_samples_fails_the_test(
    counted: Counted, monkeypatch: pytest.MonkeyPatch, act: Callable[[torch.Tensor], object]
) -> None:
    planted_stage(monkeypatch, act)
    with pytest.raises(AssertionError):
        test_a_sample_goes_up_once_and_comes_down_only_as_a_result(
            counted, measure_robust_accuracy, Linf(1e-4), {"attack": "fgsm"}
        )


# Faults of a device, and models that are not on it alone


@pytest.mark.parametrize("late", [0, 1], ids=["samples", "labels"])
def test_samples_that_arrive_too_late_are_an_error(
    counted: Counted, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    """A copy that goes on beside the computation gives the device what was there before: the last chunk."""
    in_time, last = devices.upload, dict[bool, torch.Tensor]()

    def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        kind = tensor.is_floating_point()
        if not kind and tensor.max() >= 4:  # keys
            return in_time(tensor, device)
        before, last[kind] = last.get(kind, tensor), tensor
        return in_time(before if kind is not bool(late) else tensor, device)

    monkeypatch.setattr(devices, "upload", upload)
    with pytest.raises(DeviceError, match="the samples that were copied there"):
        counted(measure_robust_accuracy, 128, Linf(1e-4), attack="fgsm")


def test_a_device_that_rounds_factors_proves_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """As TF32 does, and the default of some devices, while torch's settings say float32."""
    exactly = Counter.__torch_dispatch__

    def rounded(value: Any) -> Any:
        if isinstance(value, Far) and value.dtype == torch.float32:
            return Far(((value.near.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32))
        return value

    def dispatch(self: Counter, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.overloadpacket.__name__ in ("mm", "addmm", "bmm", "convolution"):
            args = tuple(map(rounded, args))
        return exactly(self, function, types, args, kwargs)

    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 4))
    y, options = model(X).argmax(1), {"attack": PGD(steps=4), "exact": True}
    claim: Any = (X[:32], y[:32]), Linf(1e-3)
    monkeypatch.setattr(devices, "default", lambda: FAR)
    with far_device():
        exact = measure_certified_accuracy(sent(model), *claim, **options)  # type: ignore[arg-type]
        monkeypatch.setattr(Counter, "__torch_dispatch__", dispatch)
        coarse = measure_certified_accuracy(sent(model), *claim, **options)  # type: ignore[arg-type]
    says = ["rounds the factors" in " ".join(one.words.notes) for one in (exact, coarse)]
    assert exact.details["proven"] > 16
    assert (coarse.details["proven"], says) == (0, [False, True])


@pytest.mark.parametrize(("lost", "rounds"), [(0.0, False), (2e-6, False), (2**-17, True), (2**-13, True)])
def test_a_device_that_loses_the_last_bits_of_a_sum_rounds_no_factors(
    monkeypatch: pytest.MonkeyPatch, lost: float, rounds: bool
) -> None:
    """As convolutions by Winograd's transform do, which cuDNN takes where they are fast."""
    exactly = Counter.__torch_dispatch__

    def dispatch(self: Counter, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = exactly(self, function, types, args, kwargs)
        return Far(out.near * (1 + lost)) if function.overloadpacket.__name__ == "convolution" else out

    monkeypatch.setattr(Counter, "__torch_dispatch__", dispatch)
    with far_device():
        assert devices.rounds_factors(FAR) == rounds


class Halves(nn.Module):
    """Two layers, the second of which may stay on the host."""

    def __init__(self, *, stays: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.stays = stays
        self.first = nn.Parameter(torch.randn(192, 16, generator=generator))
        self.last = nn.Parameter(torch.randn(16, 4, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = (x.flatten(1) @ self.first).relu()
        return (hidden.cpu() if self.stays else hidden) @ self.last


@pytest.mark.parametrize("answers", ["there", "here"])
def test_a_model_on_two_devices_is_measured_as_on_one(answers: str) -> None:
    """A fault, such as a buffer that was left behind, is an error and no answer."""
    model, options = Halves(stays=False), {"attack": PGD(steps=4), "exact": True}
    y = model(X).argmax(1)
    want = measure_robust_accuracy(model, (X, y), Linf(0.02), device="cpu", **options)  # type: ignore[arg-type]
    with far_device():
        far = sent(Halves(stays=answers == "here"))
        far.last = nn.Parameter(model.last.detach().clone())
        if answers == "there":
            with pytest.raises(ModelError, match="all tensors on one device"):
                measure_robust_accuracy(far, (X, y), Linf(0.02), **options)  # type: ignore[arg-type]
            return
        got = measure_robust_accuracy(far, (X, y), Linf(0.02), **options)  # type: ignore[arg-type]
    assert 0 < (want.estimate or 0) < 1
    assert got.outcomes == want.outcomes


@pytest.mark.parametrize("way", ["function", "classifier"])
def test_a_function_is_measured_where_its_module_is(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(devices, "default", lambda: FAR)
    net, options = Halves(stays=False), {"attack": PGD(steps=4), "exact": True}
    y = (-net(X)).argmax(1)
    model = Classifier(call=lambda x: -net(x), module=net if way == "classifier" else None)
    want = measure_robust_accuracy(model, (X, y), Linf(0.02), device="cpu", **options)  # type: ignore[arg-type]
    with far_device() as counter:
        got = measure_robust_accuracy(model, (X, y), Linf(0.02), **options)  # type: ignore[arg-type]
    assert 0 < (want.estimate or 0) < 1
    assert got.outcomes == want.outcomes
    assert counter.counts.copies == 0


def test_batches_shrink_to_a_few_sizes(monkeypatch: pytest.MonkeyPatch, toys: Any, watched: Any) -> None:
    """An accelerator's libraries choose, and compilers make, a kernel for each size."""
    monkeypatch.setattr(devices, "default", lambda: FAR)
    monkeypatch.setattr(cascade, "probe_gradient", lambda evaluator, *_, **__: vars(evaluator).update(probed=True))
    toy = toys(64)
    with far_device():
        model = sent(watched(toy.model))
        attack = PGD(steps=40, step_size=0.01, random_start=False)
        found = find_adversarial(model, toy.x, toy.y, Linf(0.4), attack=attack, batch_size=64)
    assert found.broken.all()  # else the judge, who looks at the broken ones alone, adds a size
    assert set(model.calls) <= {64, 32, 16, 8, 4, 2, 1}
    assert len(set(model.calls)) >= 4


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize(
    ("threat", "attack"),
    [(Linf(0.02), "fast"), (L1(0.5), FAB(steps=3)), (L1(0.5), FMN(steps=3))],
    ids=str,
)
def test_torch_may_be_told_to_be_deterministic(monkeypatch: pytest.MonkeyPatch, threat: Any, attack: Any) -> None:
    monkeypatch.setattr(devices, "default", lambda: FAR)
    model = Halves(stays=False)
    claim: dict[str, Any] = {"attack": attack, "exact": True}
    data = X[:40], model(X[:40]).argmax(1)
    want = measure_robust_accuracy(model, data, threat, device="cpu", **claim)
    with far_device():
        assert measure_robust_accuracy(sent(model), data, threat, **claim).outcomes == want.outcomes


@pytest.mark.usefixtures("deterministic")
def test_medians_and_running_sums_are_those_of_torch() -> None:
    x = torch.rand(4, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for dim in (0, 1, -1):
        with far_device():
            found = [devices.median(Far(x), dim), devices.median(Far(x), dim, keepdim=True)]
            found.append(devices.running_sum(Far(x), dim))
        want = x.median(dim).values, x.median(dim, keepdim=True).values, x.cumsum(dim)
        for one, other in zip(found, want, strict=True):
            assert one.device == FAR
            assert torch.equal(one.near, other)  # type: ignore[attr-defined]


class OnDefault(nn.Module):
    """Makes a tensor on torch's default device in each pass, and in each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Halves(stays=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + torch.arange(4)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        x = X[index].to(devices.torch_default()) + torch.zeros(SHAPE)
        return x, index % 4

    def __len__(self) -> int:
        return len(X)


@pytest.mark.parametrize("way", ["set", "block"])
def test_torchs_default_device_may_be_the_accelerator(way: str) -> None:
    """Model and data set make their tensors there as without a claim, also in the thread that reads ahead."""
    model, options = OnDefault(), {"attack": PGD(steps=4), "exact": True, "seed": 1}
    y = model(X).argmax(1)
    arrays: tuple[Any, ...] = (X, y), Linf(0.02)
    want = measure_robust_accuracy(model, *arrays, **options)  # type: ignore[arg-type]
    read = measure_robust_accuracy(model, model, Linf(0.02), **options)  # type: ignore[arg-type]
    with far_device():
        far = sent(model)
        if way == "set":
            torch.set_default_device(FAR)
        try:
            with FAR if way == "block" else contextlib.nullcontext():
                got = measure_robust_accuracy(far, *arrays, **options)  # type: ignore[arg-type]
                also = measure_robust_accuracy(far, far, Linf(0.02), **options)  # type: ignore[arg-type]
                assert devices.torch_default() == FAR
        finally:
            torch.set_default_device(None)
    assert 0 < (want.estimate or 0) < 1
    assert (got.outcomes, also.outcomes) == (want.outcomes, read.outcomes)


# The far device itself


def test_the_far_device_refuses_what_a_card_refuses() -> None:
    with far_device():
        far = X.to(FAR)
        assert far.device == FAR
        with pytest.raises(RuntimeError, match="all tensors on one device"):
            _ = far + X
        with pytest.raises((RuntimeError, TypeError)):
            far.numpy()
        assert torch.equal((far * 2 + torch.tensor(1.0)).cpu(), X * 2 + 1)  # a number may come along


@pytest.mark.parametrize(
    ("act", "waits", "up", "down"),
    [
        (lambda far: float(far.sum()), 1, 0, 0),
        (lambda far: bool((far > 2).any()), 1, 0, 0),
        (lambda far: far.nonzero(), 1, 0, 0),
        (lambda far: far[far > 0.5], 1, 0, 0),
        (lambda far: far[torch.tensor([0, 1])], 0, 1, 0),
        (lambda far: torch.tensor([1.0], device=far.device), 0, 1, 0),
        (lambda far: far.cpu(), 0, 0, 1),
        (lambda far: far.tolist(), 0, 0, 1),
        (lambda far: (far * 2).sum(1).argmax(0), 0, 0, 0),
    ],
)
def test_the_far_device_counts(act: Any, waits: int, up: int, down: int) -> None:
    with far_device() as counter:
        far, before = X.to(FAR), Counts(**vars(counter.counts))
        act(far)
    found = counter.counts.since(before)
    assert (found.waits, found.uploads, found.downloads) == (waits, up, down)


class Overflowing(nn.Module):
    """Not finite from the second pass with a gradient on: the host learns of it when it next reads."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(192, 4, generator=torch.Generator().manual_seed(0)))
        self.passes = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes += x.requires_grad
        out = x.flatten(1) @ self.weight
        return out * float("nan") if self.passes > 8 and x.requires_grad else out


def test_an_answer_that_is_not_finite_is_an_error_on_an_accelerator_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "default", lambda: FAR)
    model = Overflowing()
    y = model(X).argmax(1)
    with far_device(), pytest.raises(ModelError, match="nan_values"):
        measure_robust_accuracy(model, (X, y), Linf(0.01), attack=PGD(steps=10), exact=True)


@pytest.mark.parametrize("pictures", [True, False])
def test_pictures_go_up_as_bytes(pictures: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are the same floats there: outcomes are those of the host."""
    monkeypatch.setattr(devices, "default", lambda: FAR)
    x = torch.rand(192, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    x = x.mul(255).round().div(255) if pictures else x
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 24, 4)).eval()
    y, found = model(x).argmax(1).roll(1), []
    for n in (64, 192):
        with far_device() as counter:
            found.append((counter.counts, measure_shift_accuracy(model, (x[:n], y[:n]), "gaussian_noise", exact=True)))
    more = found[1][0].since(found[0][0])
    a_picture, label_and_key = 3 * 24 * 24 * (1 if pictures else 4), 16
    assert more.up_bytes == 128 * (a_picture + label_and_key)
    here = measure_shift_accuracy(model, (x, y), "gaussian_noise", exact=True, device="cpu")
    assert here.outcomes == found[1][1].outcomes


def test_a_device_that_decodes_otherwise_gets_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "exact_on", lambda _: False)
    x, y = torch.ones(4, 3, 24, 24), torch.zeros(4, dtype=torch.int64)
    chunk = read(as_samples((x, y)), torch.arange(4), bounds=(0.0, 1.0), seed=0, marked=True, device=FAR)
    assert (chunk.x.dtype, chunk.sums) == (torch.float32, None)
    assert chunk.marks == marks_of(x, y)


def test_bytes_that_arrive_otherwise_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.ones(4, 3, 24, 24), torch.zeros(4, dtype=torch.int64)
    with far_device():
        chunk = read(as_samples((x, y)), torch.arange(4), bounds=(0.0, 1.0), seed=0, device=FAR)
        assert torch.equal(chunk.on(FAR).x.cpu(), x)
        monkeypatch.setattr(devices, "upload", lambda one, device: (one + (one.dtype is torch.uint8)).to(device))
        with pytest.raises(DeviceError, match="copied there"):
            chunk.on(FAR)
