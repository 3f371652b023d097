"""The numerical state of the process: full float32 while something is measured, and as the user left it afterwards.

Torch keeps the precision of float32 in several places, of which some inherit from others:

    generic/all  <-  cuda/all    <-  cuda/matmul, cuda/conv, cuda/rnn
                 <-  mkldnn/all  <-  mkldnn/matmul, mkldnn/conv, mkldnn/rnn          (torch 2.9 and newer)
    float32_matmul_precision, cudnn.allow_tf32                                       (the legacy interface)

A getter returns what a place inherits, not what is stored in it, and a legacy getter raises RuntimeError where the two
interfaces disagree. So `_Precision.now` reads in two steps, and puts all back:

1. What is stored in a place: vary its parent. What follows the parent is inherited.
2. The legacy values: let every place say "ieee". Then the getter of matrix products is defined whatever its value, and
   that of cuDNN is defined if and only if its value is False.
"""

from __future__ import annotations

import os
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

_lock = threading.RLock()


def _in_a_child() -> None:
    global _lock  # noqa: PLW0603 - no thread of a forked child could release what the parent's threads held
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_child)


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Restore the numerical state of the process at the end of the block, also after an error or an interrupt.

    Restored are float32 precision of every backend, flags of determinism, cuDNN, mkldnn and attention, autocast,
    threads, default dtype and device, gradient mode, random states of torch, NumPy and Python, warning filters, and how
    NumPy handles floating-point errors.

    All of this, and the mode of a model that is measured, belongs to the process. So blocks of several threads run one
    after the other: of two at the same time, the second would take for the user's what the first had set.
    """
    with _lock, ExitStack() as stack:
        for read in (_precision, _flags, _random_states, _warning_filters):
            stack.callback(read())
        yield


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute in full float32 on every backend inside the block; restore precision and default dtype after it.

    TF32 has a mantissa of 10 bits and bfloat16 one of 7, and mkldnn uses either on CPUs: no verdict can rest on them.
    """
    restore, dtype = _precision(), torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float32)  # what a search makes beside its samples is of their type
        torch.set_float32_matmul_precision("highest")
        # Without CUDA, cuDNN's places lower no precision, and the state that they begin in cannot be restored.
        if torch.cuda.is_available():
            torch.backends.cudnn.allow_tf32 = False
        if _NEW:
            for place in (*_PLACES, ("mkldnn", "all")):
                if place[0] == "mkldnn" or torch.cuda.is_available() or place not in _CUDNN:
                    _set(place, "ieee")
        yield
    finally:
        torch.set_default_dtype(dtype)
        restore()


_NEW = hasattr(torch._C, "_get_fp32_precision_getter")
_GENERIC = ("generic", "all")
_CUDNN = (("cuda", "conv"), ("cuda", "rnn"))
_PLACES = (("cuda", "matmul"), *_CUDNN, ("mkldnn", "matmul"), ("mkldnn", "conv"), ("mkldnn", "rnn"))
_UNSET = "unset"
"""The state that cuDNN's places have in a new process: TF32 unless a parent says otherwise. No setter leads to it."""


def _get(place: tuple[str, str]) -> str:
    return str(torch._C._get_fp32_precision_getter(*place))  # type: ignore[attr-defined, unused-ignore]


def _set(place: tuple[str, str], value: str) -> None:
    torch._C._set_fp32_precision_setter(*place, value)  # type: ignore[attr-defined, unused-ignore]


@dataclass(frozen=True, slots=True)
class _Precision:
    """Precision settings as both of torch's interfaces hold them.

    Attributes:
        stored: by place, "none" where it inherits.
        matmul: the legacy precision of matrix products.
        cudnn: whether the legacy interface allows TF32 in cuDNN.
    """

    stored: dict[tuple[str, str], str]
    matmul: str
    cudnn: bool

    @classmethod
    def now(cls) -> _Precision:
        """Read what is held, and leave it as it is."""
        stored = {_GENERIC: _get(_GENERIC)}
        for backend in ("cuda", "mkldnn"):
            stored[backend, "all"] = _stored((backend, "all"), _GENERIC)
            for place in _PLACES:
                if place[0] == backend:
                    stored[place] = _stored(place, (backend, "all"))
            _set((backend, "all"), stored[backend, "all"])
        for place, value in stored.items():
            if value != _UNSET:
                _set(place, "ieee")
        try:
            # The getter of torch 2.9 warns of the legacy interface, once in a process.
            with warnings.catch_warnings() if torch.__version__.startswith("2.9") else ExitStack():
                if torch.__version__.startswith("2.9"):
                    warnings.simplefilter("ignore")
                matmul, cudnn = torch.get_float32_matmul_precision(), True
                with suppress(RuntimeError):
                    cudnn = bool(torch._C._get_cudnn_allow_tf32())
        finally:
            _put(stored)
        return cls(stored, matmul, cudnn)

    def restore(self) -> None:
        """Make it all as it was; the legacy setters write into the new places too, and go first."""
        now = _Precision.now()
        if now == self:
            return
        if now.matmul != self.matmul:
            torch.set_float32_matmul_precision(self.matmul)
        if now.cudnn != self.cudnn:
            torch._C._set_cudnn_allow_tf32(self.cudnn)
        lost = {place: "tf32" for place in _CUDNN if self.stored[place] == _UNSET != now.stored[place]}
        _put(self.stored | lost)


def _stored(place: tuple[str, str], parent: tuple[str, str]) -> str:
    """Return what is stored in a place; the parent is "none" afterwards."""
    seen = []
    for value in ("ieee", "tf32", "none"):
        _set(parent, value)
        seen.append(_get(place))
    if seen[:2] != ["ieee", "tf32"]:
        return seen[2]
    return "none" if seen[2] == "none" else _UNSET


def _put(stored: dict[tuple[str, str], str]) -> None:
    for place, value in stored.items():
        if value != _UNSET:
            _set(place, value)


def _precision() -> Callable[[], None]:
    if _NEW:
        return _Precision.now().restore
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    def restore() -> None:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn

    return restore


def _flags() -> Callable[[], None]:
    """Read what has a getter and a setter; what did not change is not set, as some setters do more than that."""
    pairs: list[tuple[Callable[[], Any], Callable[[Any], object]]] = [
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        (torch.is_grad_enabled, torch._C._set_grad_enabled),
        (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
        (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
        (np.geterr, lambda how: np.seterr(**how)),
        (np.geterrcall, np.seterrcall),
    ]
    for kind in ("cpu", "cuda"):
        pairs += [
            (partial(torch.is_autocast_enabled, kind), partial(torch.set_autocast_enabled, kind)),
            (partial(torch.get_autocast_dtype, kind), partial(torch.set_autocast_dtype, kind)),
        ]
    held: list[tuple[object, tuple[str, ...]]] = [
        (torch.backends.cudnn, ("enabled", "benchmark", "benchmark_limit", "deterministic")),
        (torch.backends.mkldnn, ("enabled", "deterministic", "allow_tf32")),
        (torch.utils.deterministic, ("fill_uninitialized_memory",)),
    ]
    named = [(of, name) for of, names in held for name in names if _has(of, name)]
    pairs += [(partial(getattr, of, name), partial(setattr, of, name)) for of, name in named]
    cuda = torch.backends.cuda
    pairs += [
        (cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
        (cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
        (cuda.math_sdp_enabled, cuda.enable_math_sdp),
        (cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp),
        (torch.get_default_device, torch.set_default_device),
    ]
    before = [get() for get, _ in pairs]

    def restore() -> None:
        for (get, put), value in zip(pairs, before, strict=True):
            if get() != value:
                put(value)

    return restore


def _has(of: object, name: str) -> bool:
    try:
        getattr(of, name)
    except (AttributeError, RuntimeError):  # of another version of torch, or of a build without the backend
        return False
    return True


def _random_states() -> Callable[[], None]:
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None

    def restore() -> None:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)

    return restore


def _warning_filters() -> Callable[[], None]:
    held: Any = warnings.filters
    filters, show = list(held), warnings.showwarning

    def restore() -> None:
        warnings.showwarning = show
        if list(warnings.filters) != filters:
            warnings.resetwarnings()  # the only public call after which Python forgets what it has warned of
            held[:] = filters

    return restore
