"""Worker processes find what this one finds, whatever becomes of them."""

# ruff: noqa: ARG005 - what takes the place of a function has its arguments

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from robustest import ConfigError, DeviceError, Factory, Linf, Settings, Verdict, devices, find_adversarial
from robustest.attacks import PGD, Cascade, Stage
from robustest.context import Context, over, running
from robustest.measure import measure_robust_accuracy, measure_shift_accuracy
from robustest.run.workers import Processes, threads_of

N = 400
SLOW = """
import time
import torch
from torch import nn

class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))

    def forward(self, x):
        time.sleep(0.05)
        return self.body(x)
"""


@pytest.fixture(scope="module")
def case() -> Any:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 5))
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5
    x = torch.rand(N, 1, 8, 8, generator=generator)
    with torch.no_grad():
        return net.eval(), x, net(x).argmax(1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def _no_worker_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The same two workers serve all tests: each takes three seconds to begin. They find the module `slow_net`."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "slow_net.py").write_text(SLOW, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield
        over()


@pytest.mark.parametrize(("workers", "threads"), [(1, 6), (2, 3), (4, 1), (9, 1)])
def test_workers_share_the_threads_of_this_process(workers: int, threads: int) -> None:
    """They may not go by the machine's cores: under pytest-xdist this process has but a part of them."""
    torch.set_num_threads(6)
    assert threads_of(workers) == threads


def attacked(case: Any, **settings: Any) -> Any:
    net, x, y = case
    with running(Context(settings=Settings(**settings), test="test")):
        return find_adversarial(net, x, y, Linf(0.05), attack="fast")


def test_two_workers_one_of_them_killed_find_the_same(case: Any) -> None:
    alone = attacked(case)
    killed = threading.Event()

    def worker() -> psutil.Process | None:
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):  # a child of a test before, which has ended by now
                if "spawn_main" in " ".join(child.cmdline()):
                    return child
        return None

    def kill() -> None:
        while (child := worker()) is None:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        killed.set()

    thread = threading.Thread(target=kill)
    thread.start()
    found = attacked(case, workers=2)
    thread.join()
    assert killed.is_set()
    assert torch.equal(found.x, alone.x)
    assert (found.broken == alone.broken).all()
    assert 0 < found.broken.sum() < N
    assert (found.cost.forward, found.cost.backward) == (alone.cost.forward, alone.cost.backward)
    assert found.stages == alone.stages


@pytest.mark.slow
def test_a_model_handed_over_in_train_mode_is_told_of_once(case: Any) -> None:
    net, x, y = case
    dropping = nn.Sequential(net, nn.Dropout(0.1)).train()

    def told(**settings: Any) -> Any:
        with running(Context(settings=Settings(**settings), test="test")):
            return measure_robust_accuracy(dropping, (x, y), Linf(0.001), at_least=0.1, attack="fgsm")

    here, there = told(), told(workers=2)
    assert [note for note in here.words.notes if "train mode" in note]
    assert here.details["health"] == []  # eval mode reaches every part
    assert there.details["health"] == here.details["health"]
    assert there.words.notes == here.words.notes


def test_an_audit_does_and_costs_the_same_wherever_the_chunks_were_measured(case: Any) -> None:
    """The audit runs in this process, whose copy of the model has measured no chunk where a worker has."""
    net, x, y = case
    weak = Cascade(name="weak", stages=(Stage(searcher=PGD(steps=2)),), audit=(Stage(searcher=PGD(steps=5)),))

    def audited(**settings: Any) -> Any:
        with running(Context(settings=Settings(**settings), test="test")):
            return measure_robust_accuracy(net, (x, y), Linf(0.01), at_least=0.3, attack=weak, exact=True)

    here, there = audited(), audited(workers=2)
    assert there.details["audit"] == here.details["audit"]
    assert (there.cost.forward, there.cost.backward) == (here.cost.forward, here.cost.backward)


def test_clusters_are_drawn_and_counted_alike_wherever_they_were_measured(case: Any) -> None:
    """A chunk ends inside a cluster, and chunks come back in any order: neither may move what is counted."""
    x, ids = case[1], torch.arange(N) // 5
    by_brightness = nn.Linear(64, 2)
    by_brightness.weight.data = torch.tensor([[-1.0], [1.0]]).expand(2, 64).clone()
    by_brightness.bias.data = torch.tensor([32.0, -32.0])
    net, y = nn.Sequential(nn.Flatten(), by_brightness).eval(), (x.flatten(1).mean(1) > 0.5).long()

    def counted(**settings: Any) -> Any:
        with running(Context(settings=Settings(**settings, max_samples=300), test="test")):
            how: dict[str, Any] = {"scope": "population", "cluster": ids}
            return measure_robust_accuracy(net, (x, y), Linf(0.001), at_least=0.6, attack="fgsm", **how)

    here, there = counted(), counted(workers=2)
    assert here.verdict is Verdict.PASSED
    assert here.details["clusters"] == f"{here.numbers.n // 5} clusters of 5 units"
    assert there.numbers.n == here.numbers.n
    for field in ("verdict", "rule", "outcomes", "interval", "details"):
        assert getattr(there, field) == getattr(here, field), field


def test_a_factory_of_a_module_in_train_mode_builds_the_same_model_everywhere(tmp_path: Path) -> None:
    model = Factory("torch.nn:LayerNorm", normalized_shape=3)
    x = torch.rand(70, 3)
    data = x, x.argmax(1)
    with running(Context(settings=Settings(workers=2, store=str(tmp_path)), test="test")):
        assert measure_robust_accuracy(model, data, Linf(0.001), at_least=0.8, attack="fgsm").verdict is Verdict.PASSED


def test_what_cannot_travel_is_named(case: Any) -> None:
    net, x, y = case
    with running(Context(settings=Settings(workers=2))), pytest.raises(ConfigError, match="sent to worker processes"):
        measure_shift_accuracy(net, (x, y), lambda images: images, at_least=0.5)


def test_all_gpus_of_a_machine_without_one() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with running(Context(settings=Settings(device="cuda:all"))), pytest.raises(DeviceError, match="Expected a CUDA"):
        attacked((nn.Linear(2, 2), torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64)), device="cuda:all")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs that do not exist, under names of the environment."""
    monkeypatch.setattr(devices, "resolve", lambda name, own: torch.device("cuda", 0))
    monkeypatch.setattr(devices, "count", lambda kind: 2)
    monkeypatch.setattr(devices, "hardware", lambda device: "a card")
    monkeypatch.setattr(devices, "shared_out", lambda name: ["3", "GPU-5", "9"])  # CUDA stops at the first unknown name


@pytest.mark.usefixtures("two_gpus")
def test_each_worker_sees_one_gpu() -> None:
    """A process that sees several opens a context on each of them."""
    engine = Processes.of(Settings(device="cuda:all", workers=3))
    assert [(one.device, one.visible) for one in engine._workers] == [
        ("cuda:0", "3"),
        ("cuda:0", "GPU-5"),
        ("cuda:0", "3"),
    ]


@pytest.mark.usefixtures("two_gpus")
def test_a_worker_process_begins_with_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []

    class Pool:
        def __init__(self, *_: Any, initializer: Any, initargs: Any) -> None:
            monkeypatch.setenv(devices.VISIBLE, "0,1")
            initializer(*initargs)
            begun.append((os.environ[devices.VISIBLE], torch.get_num_threads()))

        def submit(self, *_: Any) -> None:
            pass

    monkeypatch.setattr("robustest.run.workers.ProcessPoolExecutor", Pool)
    engine = Processes.of(Settings(device="cuda:all"))
    for worker in engine._workers:
        worker.submit((1, b""), None)
    assert begun == [("3", 1), ("GPU-5", 1)]


@pytest.mark.slow
@pytest.mark.usefixtures("two_gpus")
def test_the_environment_of_a_worker_names_its_gpu() -> None:
    engine = Processes.of(Settings(device="cuda:all", workers=1))
    job = SimpleNamespace(start=partial(dict.get, {"cuda:0": os.getenv}))
    try:
        assert list(engine.imap_unordered(engine.put(job), [devices.VISIBLE] * 2)) == ["3", "3"]
    finally:
        engine.close()


@pytest.mark.usefixtures("two_gpus")
def test_workers_of_another_kind_of_accelerator_get_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "resolve", lambda name, own: torch.device("xpu", 0))
    monkeypatch.setattr(devices, "shared_out", lambda name: [])
    engine = Processes.of(Settings(device="xpu:all"))
    assert [(one.device, one.visible) for one in engine._workers] == [("xpu:0", None), ("xpu:1", None)]


def test_a_time_budget_ends_a_claim_of_worker_processes() -> None:
    model = Factory("slow_net:Slow")
    x = torch.rand(N, 1, 8, 8)
    y = model.build().body(x).argmax(1)
    with running(Context(settings=Settings(workers=2), test="test")):
        measure_robust_accuracy(model, (x, y), Linf(0.0), at_least=0.5, attack="fgsm")  # the workers have started
        started = time.monotonic()
        result = measure_robust_accuracy(
            model, (x, y), Linf(1e-3), at_least=0.5, attack="thorough", suppress=("quantised_input",), time_budget=1.0
        )
        took = time.monotonic() - started
        assert (result.verdict, result.estimate) == (Verdict.INCONCLUSIVE, None)
        assert "the clock" in result.rule or result.rule.startswith("budget")
        assert took < 1.0 + 2.0
