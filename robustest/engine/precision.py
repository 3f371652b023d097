"""Whether gradients are taken in bfloat16 first.

A verdict never rests on bfloat16: what breaks there is re-predicted in float32, and what is left is attacked
again in float32. So low precision can only save time where much breaks, and never makes a model look safer.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ModelError

_FASTER = 1.5
"""How much faster bfloat16 must be, for a second attack in float32 to be worth it."""


def choose(evaluator: Evaluator, chunk: Chunk, setting: str) -> None:
    """Set `evaluator.low_precision` by the setting "fp32", "bf16" or "auto", and `evaluator.channels_last` by timing.

    "auto" times a gradient pass of a few samples each way; as timings differ between machines, so may the path the
    attack takes, though never what counts as broken. The same goes for how images lie in memory in bfloat16: with
    the channels last wide convolutions are faster, small ones slower.
    """
    if setting == "fp32":
        return
    evaluator.low_precision = setting == "bf16"
    try:
        low = _low_seconds(evaluator, chunk)
        if setting == "bf16":
            return
        full = _seconds(evaluator, chunk, on=False)
    except ModelError:  # no gradients, or none in bfloat16: nothing to choose
        return
    evaluator.low_precision = full > _FASTER * low
    evaluator.notes.append(
        f"precision auto: a gradient pass takes {1000 * full:.1f} ms in fp32, {1000 * low:.1f} ms in bf16; "
        f"{'bf16 first' if evaluator.low_precision else 'fp32'}"
    )


def _low_seconds(evaluator: Evaluator, chunk: Chunk) -> float:
    """Seconds of a gradient pass in bfloat16, in the faster layout, which is kept."""
    evaluator.channels_last = False
    first = _seconds(evaluator, chunk, on=True)
    if chunk.x.ndim != 4:
        return first
    evaluator.channels_last = True
    try:
        second = _seconds(evaluator, chunk, on=True)
    except ModelError:  # `view` needs the usual layout
        second = math.inf
    evaluator.channels_last = second < first
    return min(first, second)


def _seconds(evaluator: Evaluator, chunk: Chunk, *, on: bool) -> float:
    x, y = chunk.x[:32], chunk.y[:32]

    def render(z: Tensor, part: slice) -> Tensor:
        return z

    def objective(logits: Tensor, part: slice) -> Tensor:
        return evaluator.task.losses["ce" if evaluator.task.one_class else "margin"](logits, y[part])

    best = float("inf")
    with evaluator.low(on):
        for _ in range(3):  # the first pays for set-up
            started = time.perf_counter()
            evaluator.gradient(x, render, objective)
            if evaluator.device.type == "cuda":
                torch.cuda.synchronize(evaluator.device)
            best = min(best, time.perf_counter() - started)
    return best
