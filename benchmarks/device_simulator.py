"""How many samples a second one core feeds to a fast device: the host's own work for each image of 224 x 224 pixels.

The device is simulated (`tests/second_device.py`): its model sleeps 1 / rate a row, and what torch computes on its
tensors (shifts, cues, comparisons, copies to it) is computed here but taken for the device's, so that only the work of
the host counts: reading, checks, digests, and the calls that order the device to compute. All of it runs on one core.

For each kind of claim:

    host ms     CPU time of the process for an image, without that of the device's operations
    passes      rows that the model passes for an image
    samples/s   at rates of one H100, as the longer of host and device allows: n / max(host, device)

Each number is the difference between a claim on many and one on few images, the least of a few rounds each, which
leaves out what a claim costs once. CPU time is counted, but caches and memory are shared: a loaded machine gives more.

    python benchmarks/device_simulator.py [--profile CLAIM] [--claims CLAIM ...] [--images bytes|floats ...]
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter

from robustest import devices
from robustest.cues import PixelPatch
from robustest.data.buffers import Buffers
from robustest.measure import (
    measure_accuracy,
    measure_no_spurious_feature,
    measure_shift_accuracy,
    measure_worst_group_accuracy,
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from second_device import FAR, Counter, Far, far_device

SIDE, CLASSES = 224, 10
FEW, MANY, ROUNDS = 512, 2048, 3
RATES = (3_000, 10_000)
"""Rows a second of a ResNet-50 in float32, and of a smaller net, on one H100."""
LAUNCH = 10e-6
"""Seconds of the host for one operation of the device, about what CUDA takes."""
BAR_MS, BAR_RATE = 0.3, 3_000
# Values from one image to the next one in the memory that they share: images overlap, so that many fit into memory, and
# no two are equal.
_STRIDE = 31_013


class Metered(Counter):
    """Adds up the CPU time of all operations on far tensors: of a card the host only orders them, in `LAUNCH` each."""

    seconds = 0.0
    launches = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        started = time.thread_time()
        asked = (kwargs or {}).get("device")
        near = asked is None or torch.device(asked).type != FAR.type
        if near and not any(isinstance(one, Far) for one in tree_iter((args, kwargs))):
            Metered.seconds += time.thread_time() - started
            return function(*args, **kwargs or {})
        try:
            return super().__torch_dispatch__(function, types, args, kwargs)
        finally:
            Metered.launches += 1
            Metered.seconds += time.thread_time() - started


def _freed(far: Far) -> None:
    """Give back the memory of a far tensor, in the time of the device."""
    started = time.thread_time()
    vars(far).pop("near", None)
    Metered.seconds += time.thread_time() - started


class Sleeping(nn.Module):
    """A model that takes its time, but none of the host's: its logits are pixels."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.rows = rate, 0

    def forward(self, x: Tensor) -> Tensor:
        self.rows += len(x)
        time.sleep(len(x) / self.rate)
        return x[:, 0, SIDE // 2, :CLASSES]


def images(n: int, kind: str, side: int = SIDE) -> Tensor:
    """Return (n, 3, side, side) floats in 0..1: of 8-bit pictures ("bytes"), or any ("floats")."""
    size = 3 * side * side
    shared = torch.rand(size + n * _STRIDE, generator=torch.Generator().manual_seed(0))
    if kind == "bytes":
        shared = (shared * 255).round().div(255)
    return shared.as_strided((n, 3, side, side), (_STRIDE, side * side, side, 1))


Claim = Callable[[nn.Module, Tensor, Tensor], object]


def claims(**options: Any) -> dict[str, Claim]:
    """Return the claims on a model, images and labels by name, with further options."""
    alike: dict[str, Any] = {"exact": True, "batch_size": 512, **options}
    return {
        "accuracy": lambda model, x, y: measure_accuracy(model, (x, y), **alike),
        "groups": lambda model, x, y: measure_worst_group_accuracy(
            model, (x, y), groups=np.arange(len(x)) % 4, **alike
        ),
        "a noise shift": lambda model, x, y: measure_shift_accuracy(model, (x, y), "gaussian_noise", **alike),
        "a cue": lambda model, x, y: measure_no_spurious_feature(model, (x, y), PixelPatch(top=1, left=1), **alike),
    }


@dataclass(frozen=True)
class Cost:
    """Seconds of one claim: CPU of the host and of the device's operations, by the clock, and rows passed."""

    host: float
    device: float
    clock: float
    rows: int

    def since(self, less: Cost) -> Cost:
        return Cost(*(mine - its for mine, its in zip(vars(self).values(), vars(less).values(), strict=True)))


def measured(claim: Claim, x: Tensor, rate: float) -> Cost:
    model = Sleeping(rate)
    y = x[:, 0, SIDE // 2, :CLASSES].argmax(1)
    with far_device(Metered):
        Metered.seconds, Metered.launches = 0.0, 0
        started, cpu = time.perf_counter(), time.process_time()
        claim(model, x, y)
        cpu = time.process_time() - cpu
    host = cpu - Metered.seconds + LAUNCH * Metered.launches
    return Cost(host, Metered.seconds, time.perf_counter() - started, model.rows)


def profiled(claim: Claim, x: Tensor) -> None:
    """Print the host's dearest functions in the thread of the claim, and in those that it starts."""
    measured(claim, x[:128], RATES[-1])
    profile = cProfile.Profile(time.thread_time)
    others: list[cProfile.Profile] = []

    def begin(*_: Any) -> None:
        sys.setprofile(None)
        own = cProfile.Profile(time.thread_time)
        others.append(own)
        own.enable()

    threading.setprofile(begin)
    try:
        profile.runcall(measured, claim, x, RATES[-1])
    finally:
        threading.setprofile(None)
    for own in (profile, *others):
        pstats.Stats(own).sort_stats("tottime").print_stats(22)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", metavar="CLAIM", help="print a profile of one claim instead")
    parser.add_argument("--images", choices=("bytes", "floats"), nargs="*", default=["bytes", "floats"])
    parser.add_argument("--claims", choices=tuple(claims()), nargs="*", default=list(claims()), metavar="CLAIM")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    devices.default = lambda: FAR
    Far.__del__ = _freed  # type: ignore[attr-defined]
    pinned = Buffers()  # torch keeps pinned memory for the next chunks
    devices.staging = lambda shape, dtype, _: pinned.empty(shape, dtype)
    if given.profile:
        profiled(claims()[given.profile], images(MANY, given.images[0]))
        return
    print(f"torch {torch.__version__}, {MANY - FEW} float32 images of 3 x {SIDE} x {SIDE}, one core")
    rates = "".join(f"{f'at {rate:,}/s':>12}" for rate in RATES)
    print(f"{'':28}{'host ms':>9}{'passes':>8}{rates}{'':4}samples/s")
    kept = True
    for kind in given.images:
        x = images(MANY, kind)
        for name in given.claims:
            claim = claims()[name]
            measured(claim, x[:128], RATES[-1])
            few, many = (
                min((measured(claim, x[:n], RATES[-1]) for _ in range(ROUNDS)), key=lambda cost: cost.host)
                for n in (FEW, MANY)
            )
            n, more = MANY - FEW, many.since(few)
            host, passes = more.host / n, more.rows / n
            kept = kept and 1000 * host <= BAR_MS and 1 / host >= BAR_RATE
            fed = "".join(f"{1 / max(host, passes / rate):12,.0f}" for rate in RATES)
            print(f"{f'{name}, {kind}':28}{1000 * host:9.3f}{passes:8.2f}{fed}", flush=True)
    print(f"the bars of {BAR_MS} ms and {BAR_RATE:,} samples/s by the host are {'met' if kept else 'NOT met'}")


if __name__ == "__main__":
    main()
