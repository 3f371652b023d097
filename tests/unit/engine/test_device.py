"""Where a measurement runs."""

from __future__ import annotations

import pytest
import torch

from robustest import DeviceError
from robustest.engine.evaluator import resolve

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
    with pytest.raises(DeviceError, match=r"mps.*--robust-device=cpu"):
        resolve("mps", CPU)
