"""How many workers `-n auto` means under --robust, and what each of them may use."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from robustest import Settings, devices
from robustest.pytest_plugin import xdist
from robustest.pytest_plugin.xdist import cores, process_count, share_machine


@dataclass
class Spec:
    """What execnet's specification of a worker offers."""

    popen: bool = True
    env: dict[str, str] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six cores, no GPU, nothing set."""
    monkeypatch.setattr(xdist, "cores", lambda: 6)
    monkeypatch.setattr(devices, "_DRIVERS", ())
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_DRIVERS", (os.devnull,))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


@pytest.mark.parametrize(("quota", "left"), [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("", 8)])
def test_cores_are_those_of_the_affinity_and_the_quota(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, left: int
) -> None:
    (tmp_path / "cpu.max").write_text(quota, encoding="utf-8")
    monkeypatch.setattr(xdist, "_QUOTA", tmp_path / "cpu.max")
    # Zero is this process.
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(0 if pid else 8)), raising=False)
    assert cores() == left


def test_there_is_a_core_without_affinity_and_cgroups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(xdist, "_QUOTA", tmp_path / "none")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


@pytest.mark.parametrize(
    ("settings", "workers"),
    [
        (Settings(), 6),
        (Settings(device="cpu"), 6),
        (Settings(device="mps"), 1),
        (Settings(device="cuda:1"), 1),
        (Settings(device="cuda:all"), 1),
        (Settings(engine="ray"), 1),
        (Settings(workers=2), 3),
        (Settings(workers=8), 1),
    ],
)
def test_one_worker_for_each_core_or_device(settings: Settings, workers: int) -> None:
    assert process_count(settings) == workers


@pytest.mark.usefixtures("four_gpus")
def test_one_worker_for_each_gpu_where_claims_may_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process_count(Settings()) == process_count(Settings(device="cuda")) == 4
    assert process_count(Settings(device="cpu")) == 6
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-ab")
    assert process_count(Settings()) == 2


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(
    ("given", "named"), [("", []), ("-1", []), ("2", ["2"]), ("3, MIG-1,-1,0", ["3", "MIG-1"]), ("7,1", ["7", "1"])]
)
def test_gpus_are_those_the_caller_lets_be_seen(monkeypatch: pytest.MonkeyPatch, given: str, named: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert devices.shared_out("auto") == named


@pytest.mark.parametrize(("workers", "threads"), [(1, "6"), (2, "3"), (4, "1"), (12, "1")])
def test_threads_of_all_workers_are_no_more_than_cores(workers: int, threads: str) -> None:
    specs = [Spec() for _ in range(workers)]
    share_machine(specs, Settings())
    assert [spec.env for spec in specs] == [{"OMP_NUM_THREADS": threads}] * workers


@pytest.mark.usefixtures("four_gpus")
def test_each_worker_has_a_gpu_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    specs = [Spec() for _ in range(3)]
    share_machine(specs, Settings())
    assert [spec.env["CUDA_VISIBLE_DEVICES"] for spec in specs] == ["2", "0", "2"]
    pinned = Spec()
    share_machine([pinned], Settings(device="cuda:1"))
    assert "CUDA_VISIBLE_DEVICES" not in pinned.env


@pytest.mark.usefixtures("four_gpus")
def test_what_the_user_set_stays_and_other_machines_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    own, far = Spec(env={"CUDA_VISIBLE_DEVICES": "3", "OMP_NUM_THREADS": "5"}), Spec(popen=False)
    share_machine([own, far], Settings())
    assert own.env == {"CUDA_VISIBLE_DEVICES": "3", "OMP_NUM_THREADS": "5"}
    assert far.env == {}
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    spec = Spec()
    share_machine([spec], Settings(device="cpu"))
    assert spec.env == {}


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(("given", "named"), [("2", [None, None]), ("2,0", ["0", "2"]), ("3,1,0", ["1", "0"])])
def test_a_single_gpu_is_nobodys_share(monkeypatch: pytest.MonkeyPatch, given: str, named: list[str | None]) -> None:
    """Workers of another machine, here the first, are counted and left alone."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    far, *specs = Spec(popen=False), Spec(), Spec()
    share_machine([far, *specs], Settings())
    assert [spec.env.get("CUDA_VISIBLE_DEVICES") for spec in specs] == named
    assert [spec.env.get("OMP_NUM_THREADS") for spec in (far, *specs)] == [None, "2", "2"]
