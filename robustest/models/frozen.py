"""The user's model and random state, left as they were found."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def frozen(module: nn.Module | None) -> Iterator[list[str]]:
    """Eval mode, frozen weights, full float32 inside; modes, gradient flags, random states restored after.

    Gradients are neither written nor cleared: no parameter asks for one inside the block. The global
    random states of torch, numpy and Python are put back, whatever the model drew from them.

    Args:
        module: the model; None for a callable without one.

    Yields:
        What a reader of the result must know, in sentences; empty where nothing had to be changed.
    """
    notes: list[str] = []
    with _random_states(), _full_float32():
        if module is None:
            yield notes
            return
        # Frozen TorchScript has no modes.
        modes = [(part, part.training) for part in module.modules() if hasattr(part, "training")]
        flags = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
        try:
            if any(training for _, training in modes):
                notes.append("the model was in train mode; it was measured in eval mode and put back")
                _eval(module, notes)
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


def _eval(module: nn.Module, notes: list[str]) -> None:
    try:
        module.eval()
    except NotImplementedError:  # exported programs have no modes
        notes[-1] = "the model is an exported program in train mode; its mode could not be changed"


@contextmanager
def _full_float32() -> Iterator[None]:
    """TF32 off: its 10-bit mantissa is no ground for a verdict."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


@contextmanager
def _random_states() -> Iterator[None]:
    python, legacy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count())
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
