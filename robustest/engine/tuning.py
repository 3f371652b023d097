"""The batch size and the precision of gradients that suit a device, by passes of a few samples for their cost."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial

from torch import Tensor, nn

from robustest import devices
from robustest.engine.evaluator import Evaluator
from robustest.errors import ModelError
from robustest.models import Needs

# The batch size of an accelerator
#
# Small networks leave most of a card idle at the usual batch, and large ones do not fit into it. So the batch is the
# largest power of two whose gradients take a quarter of the memory that the card has: not of the memory that is free,
# since sums are rounded by the size of the batch, and a run must be repeatable. If less is free, batches are halved.

# Samples of the pass that is measured, the share of the memory, and the batches that are chosen from.
_MEASURED = 32
_OF_MEMORY = 1 / 4
_LEAST_BATCH, _MOST_BATCH = 32, 4096


def choose_batch(evaluator: Evaluator, x: Tensor, y: Tensor) -> None:
    """Set the batch size by the memory that gradients of the first samples x (N, *S) with targets y (N, *T) take.

    A setting goes before. Draws of a model that answers at random depend on the batch, one that adapts would adapt to
    these passes, and a function that is no module may be an endpoint, or count its queries.
    """
    memory, model = devices.memory(evaluator.device), evaluator.model
    if memory is None or evaluator.batch_chosen or evaluator.random or not len(x):
        return
    if model.module is None or model.reset is not None or model.max_queries is not None:
        return
    x = x[:_MEASURED]
    usual = evaluator.batch_size
    with evaluator.trial():
        for _ in range(2):  # the first pass keeps what the libraries need for themselves
            bytes_ = devices.peak(evaluator.device, partial(_pass, evaluator, x, y))
    if evaluator.batch_size < usual:  # these samples did not fit, or their outputs are large
        return
    fits = int(memory * _OF_MEMORY * len(x) / max(1, bytes_))
    evaluator.batch_size = min(_MOST_BATCH, max(_LEAST_BATCH, (1 << fits.bit_length()) // 2))


def _pass(evaluator: Evaluator, x: Tensor, y: Tensor) -> None:
    """Pass samples for nothing but the cost, with a gradient if the model has one."""
    loss = evaluator.task.losses["ce" if evaluator.task.one_class else "margin"]
    if evaluator.model.gives is Needs.GRADIENT:
        with suppress(ModelError):
            evaluator.gradient(x, lambda z, _: z, lambda logits, part: loss(logits, y[part]))
            return
    evaluator.logits(x)


# Gradients in bfloat16


def choose_precision(evaluator: Evaluator, x: Tensor, y: Tensor, setting: str) -> None:
    """Set `low_precision` and `channels_last` by the setting "fp32", "bf16" or "auto"."""
    # Never the meaning of "broken": inputs found in bfloat16 are predicted again in float32. What bfloat16 leaves is
    # attacked again in float32: all of it ("bf16"), or a few samples of each chunk ("auto", see `engine.cascade`).
    if setting == "auto" and devices.reduces(evaluator.device) and not evaluator.random:
        evaluator.low_precision = "alone"
        evaluator.channels_last = _takes_channels_last(evaluator, x, y)
    if setting == "bf16":
        evaluator.low_precision = "first"
        evaluator.channels_last = _faster_with_channels_last(evaluator, x, y)


def _takes_channels_last(evaluator: Evaluator, x: Tensor, y: Tensor) -> bool:
    """Return True for a network of convolutions that takes images with their channels last in memory."""
    # Convolutions in bfloat16 are fast with the channels last. Not by timing: rounding differs with the layout, and a
    # default must choose the same one each time.
    modules = () if evaluator.model.module is None else evaluator.model.module.modules()
    if x.ndim != 4 or not any(isinstance(part, nn.Conv2d) for part in modules):
        return False
    evaluator.channels_last = True
    try:
        _seconds(evaluator, x[:2], y)
    except ModelError:  # `view` needs the usual layout
        return False
    return True


def _faster_with_channels_last(evaluator: Evaluator, x: Tensor, y: Tensor) -> bool:
    """Return True if a gradient pass is faster with the channels last: of wide convolutions, not of small ones."""
    evaluator.channels_last = False
    try:
        usual = _seconds(evaluator, x, y)
        if x.ndim != 4:
            return False
        evaluator.channels_last = True
        return _seconds(evaluator, x, y) < usual
    except ModelError:  # no gradients, or none in this layout
        return False


def _seconds(evaluator: Evaluator, x: Tensor, y: Tensor) -> float:
    """Return the least wall-clock time of three gradient passes of 32 samples in bfloat16."""
    x = x[:32]
    loss = evaluator.task.losses["ce" if evaluator.task.one_class else "margin"]
    best = float("inf")
    with evaluator.trial(), evaluator.low(True):
        for _ in range(3):  # the first pays for set-up
            started = time.perf_counter()
            evaluator.gradient(x, lambda z, _: z, lambda logits, part: loss(logits, y[part]))
            devices.wait(evaluator.device)
            best = min(best, time.perf_counter() - started)
    return best
