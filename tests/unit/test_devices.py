"""Where a measurement runs, and the one module that knows the kinds of devices."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from robustest import DeviceError, devices
from robustest.devices import resolve
from robustest.identity import keys

CPU = torch.device("cpu")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """As many CUDA devices as the test's parameter says."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)


@pytest.mark.parametrize("cuda", [0], indirect=True)
@pytest.mark.parametrize("own", [None, CPU])
def test_auto_is_the_cpu_where_nothing_faster_is(cuda: None, own: torch.device | None) -> None:
    assert resolve("auto", own) == CPU


@pytest.mark.parametrize("cuda", [2], indirect=True)
@pytest.mark.parametrize(
    ("own", "want"),
    [(None, "cuda:0"), (CPU, "cuda:0"), (torch.device("cuda", 1), "cuda:1"), (torch.device("mps"), "mps")],
    ids=str,
)
def test_auto_stays_on_an_accelerator_and_leaves_the_cpu(cuda: None, own: torch.device | None, want: str) -> None:
    assert resolve("auto", own) == torch.device(want)


@pytest.mark.parametrize("cuda", [2], indirect=True)
@pytest.mark.parametrize(("name", "want"), [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")])
def test_a_device_asked_for_is_the_device_used(cuda: None, name: str, want: str) -> None:
    assert resolve(name, torch.device("cuda", 1)) == torch.device(want)


@pytest.mark.parametrize("cuda", [0], indirect=True)
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_an_absent_gpu_is_an_error_that_says_what_to_do(cuda: None, name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        resolve(name, CPU)
    for word in (repr(name), torch.__version__, "--robust-device=cpu"):
        assert word in str(caught.value)


@pytest.mark.parametrize("cuda", [2], indirect=True)
def test_a_gpu_beyond_the_last_is_an_error(cuda: None) -> None:
    with pytest.raises(DeviceError, match=r"below 2 but got 'cuda:2'"):
        resolve("cuda:2", CPU)


def test_an_absent_apple_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"an Apple GPU for 'mps'.*--robust-device=cpu"):
        resolve("mps", CPU)


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:3", "cuda:all", "mps", "xpu:1", "xla"])
def test_names_of_devices(name: str) -> None:
    assert devices.is_name(name)


@pytest.mark.parametrize("name", ["gpu", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:0 ", "", "cdua", 0, None])
def test_other_names_are_refused(name: object) -> None:
    assert not devices.is_name(name)


def test_auto_takes_whatever_accelerator_torch_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_own_kind", lambda: "xpu")
    monkeypatch.setattr(devices, "count", lambda kind: int(kind == "xpu"))
    monkeypatch.setattr(devices, "_has_float64", lambda _: True)
    assert resolve("auto", CPU) == torch.device("xpu", 0)


def test_a_device_without_float64_is_taken_neither_by_name_nor_by_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes of changes are measured in float64: on such a device the first claim would end in an error of torch."""
    monkeypatch.setattr(devices, "_own_kind", lambda: "mps")
    monkeypatch.setattr(devices, "count", lambda kind: int(kind == "mps"))
    monkeypatch.setattr(devices, "_has_float64", lambda _: False)
    assert resolve("auto", CPU) == CPU
    with pytest.raises(DeviceError, match=r"float64.*'mps'.*--robust-device=cpu"):
        resolve("mps", CPU)


@pytest.mark.parametrize(
    ("supported", "fast"),
    [
        (lambda including_emulation=True: including_emulation, False),  # a card of 2017
        (lambda including_emulation=True: including_emulation in (True, False), True),
        (lambda: True, True),  # a kind that emulates nothing
        (None, False),
    ],
)
def test_bfloat16_that_is_emulated_is_not_taken(monkeypatch: pytest.MonkeyPatch, supported: Any, fast: bool) -> None:
    module = SimpleNamespace() if supported is None else SimpleNamespace(is_bf16_supported=supported)
    monkeypatch.setattr(devices, "_module", lambda _: module)
    device = torch.device("cuda", 0)
    assert (devices.fast_in_bfloat16(device), devices.reduces(device)) == (fast, fast)
    assert not devices.reduces(CPU)


def test_batches_are_shared_on_accelerators_that_compile_no_shapes() -> None:
    assert [devices.gathers(torch.device(kind)) for kind in ("cpu", "cuda", "xpu", "xla")] == [False, True, True, False]


def test_the_users_default_device_is_that_of_the_users_code_alone() -> None:
    there = torch.device("meta")
    before = keys._flags()["device"]()
    with there, devices.default_on_host():
        assert torch.zeros(1).device == CPU
        assert devices.default_of_user() == there
        assert keys._flags()["device"]() == there != before
        with devices.users_default():
            assert torch.zeros(1).device == there
    with devices.users_default():
        assert torch.zeros(1).device == CPU == devices.default_of_user()


@pytest.mark.parametrize("cuda", [1], indirect=True)
def test_where_no_memory_can_be_pinned_the_host_waits_for_copies(cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.Tensor, "pin_memory", refuse)
    x = torch.rand(3)
    assert devices.pinned(x, torch.device("cuda", 0)) is x


def test_no_other_module_tests_for_a_kind_of_device() -> None:
    """What a device can do is asked of `robustest.devices`, so that no kind is forgotten in one place."""
    # Backends of torch's precision, which are flags of the process, are no devices, and a "meta" tensor is on none.
    known = re.compile(
        r"""torch\.(cuda|mps|xpu|accelerator)\b|backends\.mps|torch_xla|\.is_cuda\b|"""
        r"""device\.type\s*(==|!=|in|not)(?!\s*"meta")|[!=]=\s*["'](cuda|mps|xpu|xla)\b|startswith\(["']cuda"""
    )
    root = Path(__file__).resolve().parents[2]
    folders = [root / "robustest", *root.glob("plugins/*/robustest_*")]
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()}"
        for folder in folders
        for path in folder.rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if known.search(line) and path != root / "robustest" / "devices.py"
    ]
    assert found == []
    assert known.search('if x.device.type == "cuda" and torch.cuda.is_available():')  # it would find one
