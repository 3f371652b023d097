"""After any claim the process computes as before: precision, flags, threads, randomness, however a user sets them."""

from __future__ import annotations

import random
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robustest import Linf, assert_robust_accuracy
from robustest.errors import ClaimFailed, ModelError
from robustest.measure import measure_robust_accuracy, measure_shift_accuracy
from robustest.models.frozen import full_float32, tensor_float32, unchanged_process

pytestmark = pytest.mark.usefixtures("short_shrinking")
_NEW = hasattr(torch._C, "_get_fp32_precision_getter")
_GENERIC = ("generic", "all")
_PLACES = [_GENERIC, *((backend, op) for backend in ("cuda", "mkldnn") for op in ("all", "matmul", "conv", "rnn"))]


def _place(backend: str, op: str, value: str) -> Callable[[], object]:
    return lambda: torch._C._set_fp32_precision_setter(backend, op, value)


def _both() -> None:
    torch.set_float32_matmul_precision("medium")
    _place("cuda", "matmul", "ieee")()


def _twice() -> None:
    _place(*_GENERIC, "tf32")()
    _place("mkldnn", "all", "ieee")()
    _place("mkldnn", "conv", "bf16")()


WAYS: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "matmul precision medium": lambda: torch.set_float32_matmul_precision("medium"),
    "matmul precision high": lambda: torch.set_float32_matmul_precision("high"),
    "cuda.matmul.allow_tf32": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "cudnn.allow_tf32": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "cudnn.deterministic": lambda: setattr(torch.backends.cudnn, "deterministic", True),
    "cudnn.benchmark": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "cudnn.enabled": lambda: setattr(torch.backends.cudnn, "enabled", False),
    "mkldnn.deterministic": lambda: setattr(torch.backends.mkldnn, "deterministic", True),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "deterministic algorithms, warn only": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "no filled memory": lambda: setattr(torch.utils.deterministic, "fill_uninitialized_memory", False),
    "threads": lambda: torch.set_num_threads(2),
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "no gradients": lambda: torch.set_grad_enabled(False),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "flash attention": lambda: torch.backends.cuda.enable_flash_sdp(False),
    "torch's generator": lambda: torch.manual_seed(3),
    "numpy's generator": lambda: np.random.seed(3),
    "python's generator": lambda: random.seed(3),
    "warning filters": lambda: warnings.simplefilter("error", ResourceWarning),
    "numpy's errors": lambda: np.seterr(divide="ignore", under="raise"),
}
if _NEW:
    WAYS |= {
        "backends.fp32_precision ieee": lambda: setattr(torch.backends, "fp32_precision", "ieee"),
        "backends.fp32_precision tf32": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
        "cuda.matmul.fp32_precision": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
        "cudnn.fp32_precision": lambda: setattr(torch.backends.cudnn, "fp32_precision", "ieee"),
        "cudnn.conv.fp32_precision": lambda: setattr(torch.backends.cudnn.conv, "fp32_precision", "ieee"),
        "cudnn.rnn.fp32_precision": lambda: setattr(torch.backends.cudnn.rnn, "fp32_precision", "ieee"),
        "mkldnn.fp32_precision": lambda: setattr(torch.backends.mkldnn, "fp32_precision", "bf16"),
        "mkldnn/all": _place("mkldnn", "all", "bf16"),
        "mkldnn.matmul.fp32_precision": lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
        "mkldnn.conv.fp32_precision": lambda: setattr(torch.backends.mkldnn.conv, "fp32_precision", "tf32"),
        "both interfaces": _both,
        "three floors": _twice,
    }


def _read(get: Callable[[], Any]) -> object:
    try:
        value = get()
    except Exception as error:  # the legacy getters raise where the interfaces disagree: that is a state too
        return type(error)
    return value.tolist() if isinstance(value, torch.Tensor) else value


def state() -> dict[str, object]:
    """Return all that a user can read, and what places inherit: parents that are set later must reach them."""
    get: dict[str, Callable[[], Any]] = {
        "matmul": torch.get_float32_matmul_precision,
        "cuda.matmul": lambda: torch.backends.cuda.matmul.allow_tf32,
        "cudnn": lambda: torch.backends.cudnn.allow_tf32,
        "cudnn flags": lambda: [getattr(torch.backends.cudnn, n) for n in ("deterministic", "benchmark", "enabled")],
        "mkldnn": lambda: [torch.backends.mkldnn.deterministic, torch.backends.mkldnn.enabled],
        "deterministic": torch.get_deterministic_debug_mode,
        "filled": lambda: torch.utils.deterministic.fill_uninitialized_memory,
        "threads": torch.get_num_threads,
        "dtype": torch.get_default_dtype,
        "gradients": torch.is_grad_enabled,
        "anomaly": torch.is_anomaly_enabled,
        "autocast": lambda: torch.is_autocast_enabled("cpu"),
        "flash": torch.backends.cuda.flash_sdp_enabled,
        "torch": torch.get_rng_state,
        "numpy": lambda: [str(part) for part in np.random.get_state()],
        "python": random.getstate,
        "filters": lambda: list(warnings.filters),
        "numpy errors": np.geterr,
    }
    found = {name: _read(one) for name, one in get.items()}
    if _NEW:
        places = torch._C._get_fp32_precision_getter
        found |= {"/".join(place): places(*place) for place in _PLACES}
        generic = places(*_GENERIC)
        for value in ("ieee", "tf32"):
            _place(*_GENERIC, value)()
            found |= {f"{'/'.join(place)} under {value}": places(*place) for place in _PLACES}
        _place(*_GENERIC, generic)()
    return found


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    threads, filters, errors = torch.get_num_threads(), list(warnings.filters), np.geterr()
    yield
    torch.set_float32_matmul_precision("highest")
    for place in _PLACES if _NEW else ():
        if place not in (("cuda", "conv"), ("cuda", "rnn")):
            _place(*place, "none")()
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.deterministic = torch.backends.cudnn.benchmark = torch.backends.mkldnn.deterministic = False
    torch.backends.cudnn.enabled = torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.autograd.set_detect_anomaly(False)
    torch.set_autocast_enabled("cpu", False)
    torch.backends.cuda.enable_flash_sdp(True)
    warnings.resetwarnings()
    warnings.filters[:] = filters
    np.seterr(**errors)


class Meddling(nn.Module):
    """Right on bright samples; it sets whatever it can reach while it is measured."""

    def __init__(self, *, nan: bool = False) -> None:
        super().__init__()
        self.nan = nan
        self.seen: list[object] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value = x.flatten(1).mean(1)
        if not self.seen:
            self._meddle()
        logits = torch.stack([0.5 - value, value - 0.5], 1)
        return logits * float("nan") if self.nan else logits

    def _meddle(self) -> None:
        torch.set_num_threads(3 - min(2, torch.get_num_threads()))
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        np.seterr(all="ignore")
        warnings.filterwarnings("ignore", "nothing")
        if _NEW:
            self.seen = [
                torch._C._get_fp32_precision_getter(*place)
                for place in [("cuda", "matmul"), *_PLACES]
                if place[0] == "mkldnn" or place == ("cuda", "matmul")
            ]
        self.seen.append(torch.get_float32_matmul_precision())


def _claim(outcome: str) -> Meddling:
    """Make a claim that passes, fails, cannot be measured, or is interrupted."""
    value = torch.tensor([0.2, 0.3, 0.7, 0.8]).repeat(2).float()
    x, y = value.view(-1, 1).expand(-1, 4).contiguous(), (value > 0.5).long()
    model = Meddling(nan=outcome == "error")
    if outcome == "interrupted":
        model.register_forward_hook(_interrupt)
    raises = {"failed": ClaimFailed, "error": ModelError, "interrupted": KeyboardInterrupt}
    suppress = ("saturated_softmax", "quantised_input", "loss_does_not_rise")
    eps = 0.4 if outcome == "failed" else 0.01
    if outcome == "passed":
        assert_robust_accuracy(model, (x, y), Linf(eps), at_least=0.9, attack="fgsm", suppress=suppress, device="cpu")
    else:
        with pytest.raises(raises[outcome]):
            assert_robust_accuracy(model, (x, y), Linf(eps), at_least=0.9, attack="fgsm", suppress=suppress)
    return model


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("way", WAYS)
def test_the_process_is_as_the_user_left_it_after_every_claim(way: str) -> None:
    WAYS[way]()
    before = state()
    for outcome in ("passed", "failed", "error", "interrupted"):
        model = _claim(outcome)
        after = state()
        changed = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
        assert changed == {}, outcome
        assert set(model.seen) <= {"ieee", "highest"}, "float32 is full while something is measured"


def test_full_float32_holds_inside_and_the_precision_comes_back() -> None:
    torch.set_float32_matmul_precision("medium")
    a, b = torch.rand(64, 64), torch.rand(64, 64)
    before = state()
    with full_float32():
        assert torch.get_float32_matmul_precision() == "highest"
        exact = (a.double() @ b.double()).float()
        assert float((a @ b - exact).abs().max()) < 1e-4
    assert state() == before


def test_a_users_functions_beside_the_model_run_in_full_float32_too() -> None:
    seen: list[tuple[torch.dtype, str]] = []

    def shift(x: torch.Tensor, severity: int, key: torch.Tensor) -> torch.Tensor:
        seen.append((torch.get_default_dtype(), torch.get_float32_matmul_precision()))
        return 0.9 * x

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 2)).float().eval()
    x, y = torch.rand(20, 4, dtype=torch.float32), torch.arange(20) % 2
    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("medium")
    before = state()
    measure_shift_accuracy(model, (x, y), shift)
    assert set(seen) == {(torch.float32, "highest")}
    assert state() == before


def test_blocks_of_two_threads_do_not_restore_each_others_state() -> None:
    inside, seen = threading.Event(), []

    def second() -> None:
        with unchanged_process():
            inside.set()
            seen.append(torch.get_default_dtype())

    with unchanged_process():
        torch.set_default_dtype(torch.float64)
        thread = threading.Thread(target=second)
        thread.start()
        assert not inside.wait(0.1)
    thread.join()
    assert seen == [torch.float32]


def test_a_measurement_gives_a_reproducible_value_beside_one_in_another_thread(toy: Any) -> None:
    """The mode of the model is the process's, too: one claim must not put it back to training under another's hands."""
    toy.model.train()
    found: list[float | None] = []

    def measured() -> None:
        found.append(measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.01), attack="fgsm", exact=True).estimate)

    threads = [threading.Thread(target=measured) for _ in range(3)]
    for thread in threads:
        thread.start()
        time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 == len(found) - 2
    assert toy.model.training


def test_in_a_block_with_tf32_a_model_may_read_either_interface() -> None:
    """Torch raises where its two interfaces disagree, which would be an error of the model."""
    products = torch.backends.cuda.matmul

    def read() -> tuple[str, ...]:
        new = (products.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision) if _NEW else ()
        return str(products.allow_tf32), torch.get_float32_matmul_precision(), *new

    with full_float32():
        before = read()
        with tensor_float32():
            assert read() == ("True", "high", *(("tf32", "ieee") if _NEW else ()))
        assert read() == before == ("False", "highest", *(("ieee", "ieee") if _NEW else ()))
