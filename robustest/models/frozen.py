"""Freezing: during a measurement the model is in eval mode and the process computes in full float32.

Afterwards both are as the user left them. Torch keeps the precision of float32 in several places, with inheritance:

    generic/all  <-  cuda/all    <-  cuda/matmul, cuda/conv, cuda/rnn
                 <-  mkldnn/all  <-  mkldnn/matmul, mkldnn/conv, mkldnn/rnn          (torch 2.9 and newer)
    float32_matmul_precision, cudnn.allow_tf32                                       (the legacy interface)

A getter returns the inherited value, not the stored one, and a legacy getter raises RuntimeError if the interfaces
disagree. So `_Precision.now` reads in two steps, and restores everything:

1. The stored value of a place: vary its parent; a value that follows the parent is inherited.
2. The legacy values: set every place to "ieee". Then the getter of matrix products is always defined, and that of cuDNN
   if and only if its value is False.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import CodeType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.module import register_module_forward_pre_hook

from robustest import devices, process
from robustest.clock import check as check_clock
from robustest.clock import left


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Restore the numerical state of the process after the block, also after an error or an interrupt.

    This covers precision, determinism, autocast, threads, default dtype and device, gradient mode, random states of
    torch, NumPy and Python, warning filters, and NumPy's errors.
    """
    with process.unchanged(_precision, _flags, _random_states):
        yield


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute in full float32 on every backend inside the block."""
    # TF32 has a mantissa of 10 bits and bfloat16 one of 7 (mkldnn uses either on CPUs): no verdict can rest on them.
    restore, dtype = _precision(), torch.get_default_dtype()
    casting = [kind for kind in devices.kinds() if torch.is_autocast_enabled(kind)]
    try:
        for kind in casting:  # shifts and threats multiply too, and a thread that reads ahead casts nothing
            torch.set_autocast_enabled(kind, False)
        torch.set_default_dtype(torch.float32)  # tensors that a search makes get the type of the samples
        torch.set_float32_matmul_precision("highest")
        # Without CUDA, cuDNN's places lower no precision, and the state that they begin in cannot be restored.
        if devices.count("cuda"):
            torch.backends.cudnn.allow_tf32 = False
        if _NEW:
            for place in (*_PLACES, ("mkldnn", "all")):
                if place[0] == "mkldnn" or devices.count("cuda") or place not in _CUDNN:
                    _set(place, "ieee")
        yield
    finally:
        torch.set_default_dtype(dtype)
        for kind in casting:
            torch.set_autocast_enabled(kind, True)
        restore()


@contextmanager
def tensor_float32() -> Iterator[None]:
    """Let CUDA round the factors of float32 products to TF32 in a block inside `full_float32`: for gradients alone."""
    matmul, cudnn, has_cuda = torch.backends.cuda.matmul, torch.backends.cudnn, bool(devices.count("cuda"))
    places = (_CUDA, *(_CUDNN if has_cuda else ())) if _NEW else ()

    def allow(tf32: bool) -> None:
        # By both interfaces: a model that reads the other one, as compiled ones do, would get an error of torch.
        matmul.allow_tf32 = tf32
        if has_cuda:
            cudnn.allow_tf32 = tf32
        for place in places:
            _set(place, "tf32" if tf32 else "ieee")

    try:
        allow(True)
        yield
    finally:
        allow(False)


_NEW = hasattr(torch._C, "_get_fp32_precision_getter")
_GENERIC = ("generic", "all")
_CUDNN = (("cuda", "conv"), ("cuda", "rnn"))
_CUDA = ("cuda", "matmul")
_PLACES = (_CUDA, *_CUDNN, ("mkldnn", "matmul"), ("mkldnn", "conv"), ("mkldnn", "rnn"))
# State of cuDNN's places in a new process: TF32 unless a parent differs. No setter leads to it.
_UNSET = "unset"


def _get(place: tuple[str, str]) -> str:
    return str(torch._C._get_fp32_precision_getter(*place))  # type: ignore[attr-defined, unused-ignore]


def _set(place: tuple[str, str], value: str) -> None:
    torch._C._set_fp32_precision_setter(*place, value)  # type: ignore[attr-defined, unused-ignore]


@dataclass(frozen=True, slots=True)
class _Precision:
    """Precision settings of both torch interfaces; `stored` is "none" for a place that inherits."""

    stored: dict[tuple[str, str], str]
    matmul: str
    cudnn: bool

    @classmethod
    def now(cls) -> _Precision:
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
        now = _Precision.now()
        if now == self:
            return
        # The legacy setters also write into the new places, and so go first.
        if now.matmul != self.matmul:
            torch.set_float32_matmul_precision(self.matmul)
        if now.cudnn != self.cudnn:
            torch._C._set_cudnn_allow_tf32(self.cudnn)
        lost = {place: "tf32" for place in _CUDNN if self.stored[place] == _UNSET != now.stored[place]}
        _put(self.stored | lost)


def _stored(place: tuple[str, str], parent: tuple[str, str]) -> str:
    # Afterwards the parent is "none".
    states = []
    for value in ("ieee", "tf32", "none"):
        _set(parent, value)
        states.append(_get(place))
    if states[:2] != ["ieee", "tf32"]:
        return states[2]
    return "none" if states[2] == "none" else _UNSET


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
    pairs: list[tuple[Callable[[], Any], Callable[[Any], object]]] = [
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        (torch.is_grad_enabled, torch._C._set_grad_enabled),
        (torch.is_anomaly_enabled, torch.set_anomaly_enabled),
        (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    ]
    for kind in devices.kinds():
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
        (devices.torch_default, torch.set_default_device),
    ]
    before = [get() for get, _ in pairs]

    def restore() -> None:
        for (get, put), value in zip(pairs, before, strict=True):
            # Some setters have side effects: unchanged flags are not set.
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
    cpu, accelerators = torch.get_rng_state(), devices.random_states()

    def restore() -> None:
        torch.set_rng_state(cpu)
        accelerators()

    return restore


# Methods that may read or set the mode without an effect on outputs.
_NOT_ANSWERING = frozenset({"__init__", "__repr__", "__setstate__", "eval", "extra_repr", "train", "training"})
# Names of dropout probabilities; zero means no dropout.
_CHANCES = ("p", "dropout", "drop_prob")
# In these the mode selects an implementation, not a result; their dropouts are separate modules.
_FAST_PATHS = (nn.TransformerEncoder, nn.TransformerEncoderLayer)


class Handover(list[str]):
    """Notes for the result about the model's mode, in sentences.

    Attributes:
        modal: number of submodules with outputs that depend on the mode.
        training: number of those that eval mode did not reach.
    """

    modal = 0
    training = 0


@contextmanager
def frozen(module: nn.Module | None) -> Iterator[Handover]:
    """Put a model in eval mode, freeze its weights, compute in full float32; restore everything after the block.

    Yields:
        Notes, and counts for the health check `train_mode`.
    """
    notes = Handover()
    with unchanged_process(), full_float32():
        if module is None:
            # A training by the user's code does not check the time limit, so every forward call of a module does.
            handle = None if left() is None else register_module_forward_pre_hook(lambda *_: check_clock())
            try:
                yield notes
            finally:
                if handle is not None:
                    handle.remove()
            return
        # Frozen TorchScript has no modes.
        modes = [(part, part.training) for part in module.modules() if hasattr(part, "training")]
        # Weights made in inference mode have no gradient, whatever their flag says, and no flag could be put back.
        flags = [(weight, weight.requires_grad) for weight in module.parameters() if not weight.is_inference()]
        try:
            if any(training for _, training in modes):
                notes.append("the model was in train mode; it was measured in eval mode and put back")
                try:
                    module.eval()
                except NotImplementedError:  # exported programs have no modes
                    notes[-1] = "the model is an exported program in train mode; its mode could not be changed"
                stayed = [part.training for part, _ in modes if is_modal(part)]
                notes.modal, notes.training = len(stayed), sum(stayed)
            # Without requires_grad inside the block, the user's gradients are neither written nor cleared.
            for parameter, flag in flags:
                if flag:
                    parameter.requires_grad_(False)
            yield notes
        finally:
            for part, training in modes:
                if part.training != training:
                    part.training = training
            for parameter, flag in flags:
                if parameter.requires_grad != flag:
                    parameter.requires_grad_(flag)


def is_modal(part: nn.Module) -> bool:
    """Return True if a module's output depends on its mode, submodules aside.

    That is so if the code of its class reads `training`, unless a dropout probability of zero, or a norm without
    running statistics, makes both modes equal.
    """
    if isinstance(part, torch.jit.ScriptModule):
        try:
            return "training" in part.code
        except (AttributeError, RuntimeError):  # without a forward method
            return False
    if not _reads_mode(type(part)) or isinstance(part, _FAST_PATHS):
        return False
    if isinstance(part, _NormBase):
        return part.running_mean is not None
    chances = [vars(part)[name] for name in _CHANCES if isinstance(vars(part).get(name), (int, float))]
    return not chances or any(chance > 0 for chance in chances)


def _reads_mode(kind: type[nn.Module]) -> bool:
    own = (base for base in kind.__mro__ if base not in nn.Module.__mro__)
    methods = ((name, getattr(method, "__code__", None)) for base in own for name, method in vars(base).items())
    return any(code is not None and name not in _NOT_ANSWERING and _reads(code) for name, code in methods)


def _reads(code: CodeType) -> bool:
    inner = (value for value in code.co_consts if isinstance(value, CodeType))
    return "training" in code.co_names or any(_reads(value) for value in inner)
