"""Devices: their names and presence, random states, memory, and abilities.

A tensor is on the host (`cpu`) or on an accelerator: one that `torch.accelerator` names (cuda, mps, xpu, ...), or
"xla", which the package torch_xla brings. No other module tests for a kind of device. Torch is imported by the
functions, since settings check names before it is loaded.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from functools import cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from robustest.errors import DeviceError

if TYPE_CHECKING:
    import torch

NAMES = "auto, cpu, cuda, cuda:N, cuda:all, mps, xpu, xla or another accelerator of torch"
"""The names of devices, for messages."""

# Kinds that torch parses and that may compute. A build of torch with a backend of another name has that name besides.
_KINDS = ("cuda", "mps", "xpu", "xla", "hpu", "mtia", "maia")
_NAME = re.compile(r"([a-z]\w*)(:\d+|:all)?")
_WORDS = {"cuda": "a CUDA device", "mps": "an Apple GPU", "xpu": "an Intel GPU", "xla": "an XLA device"}
# Rows of one pass, by default (see `choose_batch` of the evaluator); what does not fit halves them.
_BATCH = {"cpu": 128, "mps": 256}
_ACCELERATOR_BATCH = 512
_AS_IT_IS = nullcontext()


def is_name(value: object) -> bool:
    """Return True if a setting is the name of a device, present or not."""
    if value in ("auto", "cpu"):
        return True
    match = _NAME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return False
    kind = match[1]
    return kind in _KINDS or ("torch" in sys.modules and kind == _own_kind())


def kind_of(name: str) -> str:
    """Return the kind of device that a name asks for: "cuda" of "cuda:1"."""
    return name.partition(":")[0]


def on_host(place: torch.Tensor | torch.device) -> bool:
    """Return True for a device, or the device of a tensor, whose numbers the host can read at no cost."""
    return getattr(place, "device", place).type == "cpu"


def count(kind: str) -> int:
    """Return the number of accelerators of a kind that this torch can use."""
    if kind == "xla":
        return len(_xla().devices()) if find_spec("torch_xla") is not None else 0
    module = _module(kind)
    if kind == "mps":
        return int(module is not None)
    return int(module.device_count()) if module is not None and module.is_available() else 0


def present_kind(name: str) -> bool:
    """Return True if this process has a device of the kind that a setting asks for, or may choose one."""
    return name in ("auto", "cpu") or count(kind_of(name)) > 0


def default() -> torch.device | None:
    """Return the accelerator that "auto" takes for a model on the host; None if there is none that can be used."""
    import torch

    kind = "cuda" if count("cuda") else _own_kind()
    if kind is None or not count(kind):
        return None
    device = torch.device(kind, 0)
    return device if _has_float64(device) else None


def resolve(name: str, own: torch.device | None) -> torch.device:
    """Return the device of a setting.

    Args:
        name: "auto", "cpu", a kind of accelerator, one with an index ("cuda:1"), or "cuda:all" (for this process, the
            first).
        own: the model's device, if it has parameters. "auto" stays there unless it is the host and there is an
            accelerator.

    Raises:
        DeviceError: the device is absent, or cannot do what robustest needs.
    """
    import torch

    if name == "auto":
        if own is not None and not on_host(own):
            return own
        return default() or torch.device("cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, place = name.partition(":")
    there, index = count(kind), int(place) if place.isdigit() else 0
    what = _WORDS.get(kind, f"a device of the kind {kind}")
    if not there:
        install = "pip install torch_xla" if kind == "xla" else "install a build of torch for it"
        raise DeviceError(
            f"Expected {what} for {name!r} but this torch ({torch.__version__}) sees none. "
            f"Use --robust-device=cpu or auto, or {install}."
        )
    if index >= there:
        raise DeviceError(f"Expected {what} below {there} but got {name!r}.")
    device = torch.device(kind, index)
    if not _has_float64(device):
        raise DeviceError(
            f"Expected a device with float64, in which the sizes of changes are measured, but {name!r} has none. "
            "Use --robust-device=cpu."
        )
    return device


# The device on which torch makes tensors for the user's code, while a claim makes its own on the host; or None.
_of_user: ContextVar[torch.device | None] = ContextVar("of_user", default=None)


@contextmanager
def default_on_host() -> Iterator[None]:
    """Let torch make tensors on the host inside the block, where the user has set another default; see `users_default`.

    A default holds for one thread: without the block, a thread that reads or measures would have another one.
    """
    import torch

    default = torch_default()
    if on_host(default):
        yield
        return
    token = _of_user.set(default)
    try:
        with torch.device("cpu"):
            yield
    finally:
        _of_user.reset(token)


def torch_default() -> torch.device:
    """Return the device on which torch makes tensors now."""
    import torch

    # `torch.get_default_device` of torch 2.5 knows no blocks, and fails where a default was taken back.
    return torch.empty(0).device


def default_of_user() -> torch.device:
    """Return the device on which torch makes tensors for the user's code."""
    return _of_user.get() or torch_default()


def users_default() -> AbstractContextManager[object]:
    """Return a block for the user's code, in which torch makes tensors on the device that the user has set."""
    return _of_user.get() or _AS_IT_IS


VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The environment variable that names the GPUs of a process."""
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # CUDA, CUDA in WSL, ROCm


def may_be_shared(name: str) -> bool:
    """Return True if processes that run with the device of a setting may each get a GPU by `VISIBLE`."""
    return name in ("auto", "cuda")


def shared_out(name: str) -> list[str]:
    """Return the GPUs that such processes share, as `VISIBLE` names them; empty for other devices."""
    # Loading torch takes seconds, so only a machine with a driver does it.
    if not may_be_shared(name) or not (sys.platform == "win32" or any(map(os.path.exists, _DRIVERS))):
        return []
    given = os.environ.get(VISIBLE)
    if given is not None:
        named = [one.strip() for one in given.split(",")]
        return named[: next((at for at, one in enumerate(named) if one in ("", "-1")), len(named))]
    return [str(index) for index in range(count("cuda"))]


def of_worker(name: str) -> str:
    """Return the device of a worker that sees one GPU alone, or "" for settings that name no GPU."""
    return "cuda:0" if kind_of(name) == "cuda" else ""


def hardware(device: torch.device) -> str:
    """Return the name of a device's hardware, as "NVIDIA H100"; its kind where there is no such name."""
    module = _module(device.type)
    name = getattr(module, "get_device_name", None)
    return str(name(device)) if name is not None and count(device.type) else device.type


def present() -> list[str]:
    """Return the hardware of each accelerator of this torch."""
    import torch

    kind = "cuda" if count("cuda") else _own_kind()
    return [] if kind is None else [hardware(torch.device(kind, index)) for index in range(count(kind))]


def default_batch(device: torch.device) -> int:
    """Return the number of rows of one pass unless a setting gives one."""
    return _BATCH.get(device.type, _ACCELERATOR_BATCH)


@cache  # asked in every pass
def casts(device: torch.device) -> bool:
    """Return True if `torch.autocast` works on a device."""
    import torch

    return torch.amp.is_autocast_available(device.type)


def fast_in_bfloat16(device: torch.device) -> bool:
    """Return True if a device has units for bfloat16."""
    supported = getattr(_module(device.type), "is_bf16_supported", None)
    if supported is None:
        return False
    try:
        return bool(supported(including_emulation=False))
    except TypeError:  # of a kind that emulates nothing
        return bool(supported())


def reduces(device: torch.device) -> bool:
    """Return True if gradients in bfloat16 are much faster on a device than in float32."""
    return not on_host(device) and casts(device) and fast_in_bfloat16(device)


def has_tf32(device: torch.device) -> bool:
    """Return True if a device may round the factors of float32 products to TF32."""
    return device.type == "cuda"


def rounds_factors(device: torch.device) -> bool:
    """Return True if a device rounds the factors of float32 products, as TF32 does, whatever torch's settings say."""
    import torch

    if on_host(device):
        return False
    exact = torch.full((64, 64), 1 + 2**-12, device=device)  # TF32 has 10 bits behind the point, bfloat16 7
    middle = torch.zeros(1, 1, 3, 3, device=device)
    middle[..., 1, 1] = 1
    products = exact @ torch.eye(64, device=device), torch.conv2d(exact[None, None], middle, padding=1)[0, 0]
    # The fast ways of convolution, by Winograd's or Fourier's transform, lose up to four of float32's 23 bits. Bounds
    # allow for six (2^-17 of the terms of a sum).
    return any(bool(((product - exact).abs() > 2**-18).any()) for product in products)


def gathers(device: torch.device) -> bool:
    """Return True if a small batch costs a device as much as a large one, and batches may have any size."""
    return not on_host(device) and device.type != "xla"  # XLA compiles each shape


def wait(device: torch.device) -> None:
    """Wait until a device has done everything that was asked of it."""
    if device.type == "xla":
        _xla().sync(wait=True)
    elif not on_host(device) and (module := _module(device.type)) is not None:
        module.synchronize(*(() if device.type == "mps" else (device,)))


def free(device: torch.device) -> None:
    """Give memory that torch holds in reserve on a device back to it."""
    if not on_host(device) and hasattr(module := _module(device.type), "empty_cache"):
        module.empty_cache()


def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor of the host on a device; the host does not wait for it where its memory is pinned."""
    return tensor if on_host(device) else tensor.to(device, non_blocking=tensor.is_pinned())


def row_sums(rows: torch.Tensor) -> torch.Tensor:
    """Return (n,) int64, the sum of each of some rows (n, *S), as whole numbers of 64 bits: in any order the same."""
    import torch

    flat = (rows.flatten(1) if rows.ndim > 1 else rows.unsqueeze(1)).contiguous()
    # Words as wide as the rows allow: their sum needs no conversion, and may overflow.
    wide = flat.shape[1] * flat.element_size()
    kind = torch.int64 if wide % 8 == 0 else torch.int32 if wide % 4 == 0 else torch.uint8
    if flat.dtype is torch.bool or flat.storage_offset() * flat.element_size() % 8:
        flat = flat.clone()
    return flat.view(kind).sum(1, dtype=torch.int64)


def arrived(here: Sequence[torch.Tensor], there: Sequence[torch.Tensor], known: torch.Tensor | None = None) -> bool:
    """Return True unless the copies of some tensors (n, *S) on a device differ from those of the host: one wait.

    They are compared by a sum of their bits, weighted by row; `known` are the `row_sums` of the first one.
    """
    import torch

    # XLA's copies wait, and it computes a view of another type on the host, for which all would come down again.
    if on_host(there[0]) or there[0].device.type == "xla":
        return True

    def checksum(rows: torch.Tensor) -> torch.Tensor:
        return (rows * torch.arange(1, len(rows) + 1, device=rows.device)).sum()

    sums = [row_sums(here[0]) if known is None else known, *map(row_sums, here[1:])]
    want = torch.stack([checksum(one) for one in sums])
    return torch.equal(want, torch.stack([checksum(row_sums(one)) for one in there]).cpu())


# CUDA has no deterministic way of some operations, and refuses them under `torch.use_deterministic_algorithms`.


def running_sum(values: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the cumulative sum of floats along an axis, made on the host where the device would refuse."""
    import torch

    if on_host(values) or not torch.are_deterministic_algorithms_enabled():
        return values.cumsum(dim)
    return values.cpu().cumsum(dim).to(values.device)


def median(values: torch.Tensor, dim: int, *, keepdim: bool = False) -> torch.Tensor:
    """Return the median along an axis, of an even number the lower one."""
    if on_host(values):
        return values.median(dim, keepdim).values
    found = values.sort(dim).values.narrow(dim, (values.shape[dim] - 1) // 2, 1)
    return found if keepdim else found.squeeze(dim)


def memory(device: torch.device) -> int | None:
    """Return the bytes of a device's memory; None if it does not say, or does not count what is in use."""
    module = _module(device.type)
    if on_host(device) or not hasattr(module, "max_memory_allocated"):
        return None
    return int(module.get_device_properties(device).total_memory)


def peak(device: torch.device, work: Callable[[], object]) -> int:
    """Return the most bytes that a function takes on a device, which has `memory`, beside those in use before."""
    module = _module(device.type)
    module.reset_peak_memory_stats(device)
    before = int(module.memory_allocated(device))
    work()
    wait(device)
    return int(module.max_memory_allocated(device)) - before


def pinned(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor in memory that a device can read while the host goes on, if there is such memory."""
    if device.type == "cuda" and count("cuda"):
        with suppress(RuntimeError):  # no more memory that may be pinned
            return tensor.pin_memory()
    return tensor


def staging(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return memory of the host, with any values, from which a device copies while the host goes on, if it can."""
    import torch

    if device.type == "cuda" and count("cuda"):
        with suppress(RuntimeError):  # no more memory that may be pinned
            return torch.empty(*shape, dtype=dtype, pin_memory=True)  # torch keeps it for the next ones
    return torch.empty(*shape, dtype=dtype)


def seed_device(device: torch.device, number: int) -> None:
    """Seed an accelerator's generator; that of the host stays."""
    import torch

    if device.type == "xla":
        _xla_model().set_rng_state(number % (1 << 31), str(device))
    elif not on_host(device) and count(device.type):
        state = torch.Generator(device).manual_seed(number).get_state()
        module = _module(device.type)
        module.set_rng_state(state, *(() if device.type == "mps" else (device,)))


def random_states() -> Callable[[], None]:
    """Read the random states of all accelerators, and return a function that restores them."""
    restores: list[Callable[[], object]] = []
    for kind in filter(None, {"cuda", _own_kind()}):
        module = _module(kind)
        if not count(kind):
            continue
        if hasattr(module, "get_rng_state_all"):
            restores.append(partial(module.set_rng_state_all, module.get_rng_state_all()))
        elif hasattr(module, "get_rng_state"):
            restores.append(partial(module.set_rng_state, module.get_rng_state()))
    if "torch_xla" in sys.modules:
        restores.append(partial(_xla_model().set_rng_state, _xla_model().get_rng_state()))

    def restore() -> None:
        for one in restores:
            one()

    return restore


def kinds() -> tuple[str, ...]:
    """Return the kinds of devices whose settings of `torch.autocast` a measurement may change: "cpu" first."""
    import torch

    others = dict.fromkeys(["cuda", _own_kind() or "cuda", *(["xla"] if "torch_xla" in sys.modules else [])])
    return ("cpu", *(kind for kind in others if torch.amp.is_autocast_available(kind)))


def _own_kind() -> str | None:
    """Return the kind of accelerator that this torch was built for; None if there is none here."""
    import torch

    if hasattr(torch, "accelerator"):  # torch 2.6
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return None if device is None else str(device.type)
    return next((kind for kind in ("cuda", "xpu", "mps") if count(kind)), None)


def _module(kind: str) -> Any:
    """Return `torch.cuda` or its like for another kind; None if this torch has none."""
    import torch

    module = getattr(torch, kind, None)
    if kind != "mps":
        return module if hasattr(module, "is_available") else None
    with suppress(AttributeError):
        if torch.backends.mps.is_available():
            return module
    return None


def _has_float64(device: torch.device) -> bool:
    if device.type in ("cuda", "xla"):
        return True
    import torch

    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):  # Metal, and some chips of Intel
        return False
    return True


def _xla() -> Any:
    import torch_xla  # type: ignore[import-not-found, import-untyped, unused-ignore]

    return torch_xla


def _xla_model() -> Any:
    from torch_xla.core import xla_model  # type: ignore[import-not-found, import-untyped, unused-ignore]

    return xla_model
