"""The unit of work: a chunk of samples, read and checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robustest import devices, rng
from robustest.data import Samples, decoded, levels
from robustest.engine.inspection import Inspection, first_of, rows_of_block
from robustest.errors import DataError, DeviceError
from robustest.threats import Bounds

if TYPE_CHECKING:
    from robustest.data.coding import Coding
    from robustest.engine.evaluator import Evaluator

# Fixed sizes, not batches: statistics are computed after each chunk, and must not depend on the memory of a device.
_SMALLEST, _LARGEST = 64, 512
# A chunk is at most this fraction of the samples before it: an early verdict evaluates little beyond its point.
_SHARE = 6
# float32 holds every whole number below it.
EXACT = 2**24
# Blocks of samples that are taken at once from memory, on their way to a device.
_BLOCKS_AT_ONCE = 8
# Samples that the check for data that change reads twice.
_READ_TWICE = 16


@dataclass(frozen=True, slots=True)
class Chunk:
    """Samples with the keys of their randomness, in the order of evaluation.

    Attributes:
        ids: (n,) int64 on the CPU, indices in the user's data.
        x: (n, *S) float32, inside the bounds; on its way to an accelerator, 8-bit pictures are uint8
            (`robustest.data.levels`).
        y: (n, *T) the task's targets: (n,) int64 classes in classification.
        key: (n,) int64.
        coding: of samples that are no tensors; or None.
        sample_rate: of waveforms, in Hz; else None.
        marks: digests of the samples, see `inspection.Inspection`; None if they were not asked for.
        sums: (n,) int64, the checksums of x on its way; or None.
    """

    ids: Tensor
    x: Tensor
    y: Tensor
    key: Tensor
    bounds: Bounds
    coding: Coding | None = None
    sample_rate: int | None = None
    marks: list[bytes] | None = field(default=None, repr=False)
    sums: Tensor | None = field(default=None, repr=False)

    @classmethod
    def of(cls, samples: Samples, ids: Tensor, *, bounds: Bounds, seed: int, device: torch.device) -> Chunk:
        """Return samples by index, ids (n,) int64, on a device; see `read`."""
        return read(samples, ids, bounds=bounds, seed=seed).on(device)

    @classmethod
    def each(cls, samples: Samples, evaluator: Evaluator, *, seed: int, ids: Tensor | None = None) -> Iterator[Chunk]:
        """Yield all samples, or those at ids (M,), in this order, checked and on an evaluator's device."""
        bounds, device = evaluator.model.bounds, evaluator.device
        for part in torch.split(torch.arange(len(samples)) if ids is None else ids, _LARGEST):
            yield cls.of(samples, part, bounds=bounds, seed=seed, device=device)

    @classmethod
    def whole(cls, samples: Samples, *, bounds: Bounds) -> Chunk:
        """Return all samples, on the host; the first few are read twice.

        Raises:
            DataError: as for `read`, or samples change when they are read again.
        """
        ids = torch.arange(len(samples))
        check_data(samples, ids)
        parts = [read(samples, part, bounds=bounds, seed=0) for part in torch.split(ids, _LARGEST)]
        x, y, key = (torch.cat([getattr(part, name) for part in parts]) for name in ("x", "y", "key"))
        return cls(ids, x, y, key, bounds, samples.coding, samples.sample_rate)

    def on(self, device: torch.device) -> Chunk:
        """Return this chunk of the host on a device.

        Raises:
            DeviceError: other numbers arrived there.
        """
        here = (self.x, self.y, self.key)
        x, y, key = sent = [devices.upload(one, device) for one in here]
        # A copy that goes on beside the computation may come too late: that would be a verdict on other samples.
        if not devices.arrived(here, sent, self.sums):
            raise DeviceError(
                f"Expected {device} to have the samples that were copied there but it has others. Measure on another "
                "device, with --robust-device=cpu, say: no number of this one can be trusted."
            )
        there = replace(self, x=x, y=y, key=key, sums=None)
        return replace(there, x=there.floats())

    def floats(self) -> Tensor:
        """Return x (n, *S) as float32, also on its way."""
        return levels.decoded(self.x) if self.x.dtype is torch.uint8 else self.x

    @property
    def may_repeat(self) -> bool:
        """True if two draws may be equal: rows (n, D) of a table and short texts may, images and sounds not."""
        return may_repeat(self.x, self.sample_rate)

    def rows(self, which: Tensor) -> Chunk:
        x, y, key = self.x[which], self.y[which], self.key[which]
        return Chunk(self.ids[which.cpu()], x, y, key, self.bounds, self.coding, self.sample_rate)


def may_repeat(x: Tensor, sample_rate: int | None) -> bool:
    """Return True if two draws may be equal: rows (n, D) of a table and short texts may, images and sounds not."""
    return x.ndim <= 2 and sample_rate is None


def partition(order: Tensor) -> Iterator[Tensor]:
    """Yield the chunks of an order of samples: small at first, so that an early verdict is cheap, then growing."""
    start = 0
    while start < len(order):
        # By the place in the order alone, so that workers, batches, and resumed runs cut the same chunks.
        size = min(_LARGEST, max(_SMALLEST, start // _SHARE // _SMALLEST * _SMALLEST))
        yield order[start : start + size]
        start += size


def load(
    samples: Samples,
    ids: Tensor,
    *,
    bounds: Bounds,
    seed: int,
    device: torch.device,
    whole: bool = False,
    room: int = 0,
) -> Chunk:
    """Return samples by index, ids (n,) int64, on a device; see `read`."""
    return read(samples, ids, bounds=bounds, seed=seed, whole=whole, room=room, device=device).on(device)


def read(
    samples: Samples,
    ids: Tensor,
    *,
    bounds: Bounds,
    seed: int,
    whole: bool = False,
    room: int = 0,
    taken: tuple[Tensor, Tensor] | None = None,
    marked: bool = False,
    device: torch.device | None = None,
) -> Chunk:
    """Read samples by index, ids (n,) int64, on the host, and check them.

    Args:
        whole: inputs may be whole numbers, which have no gradient and are in no ball.
        room: columns of padding behind texts, for longer ones.
        taken: the samples as `Samples.take` returns them, if they were read already.
        marked: make the digests of samples that have no coding.
        device: to which the chunk will go; None for the host.

    Raises:
        DataError: values are NaN, infinite or out of bounds, or the number of samples or labels is wrong.
    """
    plain = samples.coding is None
    far = device if plain and device is not None and not devices.on_host(device) and levels.exact_on(device) else None
    look: Inspection | None = None
    ys = list[Tensor]()
    for part in _parts(samples, ids, whole=far is None or taken is not None or samples.slow, taken=taken):
        x, y = part
        if room and samples.coding is not None:
            x = samples.coding.padded(x, room)
        x, inside = _as_floats(x, bounds, coded=not plain, whole=whole)
        x, y = x.cpu().contiguous(), y.cpu().contiguous()
        if look is None:
            about = "" if samples.sample_rate is None else f"{samples.sample_rate} Hz "
            look = Inspection(ids, inside, marked=marked and plain, about=about, device=far)
        look.look(x, y)
        if far is None:  # all of it in one part
            collected = x
        ys.append(y)
    if look is None:
        raise ValueError("Expected one sample or more")
    if far is not None:
        collected = look.collected()
    return Chunk(
        ids,
        collected,
        ys[0] if len(ys) == 1 else torch.cat(ys),
        rng.keys(seed, ids),
        inside,
        samples.coding,
        samples.sample_rate,
        marks=look.marks if marked and plain else None,
        sums=None if far is None else devices.row_sums(collected),
    )


def _parts(
    samples: Samples, ids: Tensor, *, whole: bool, taken: tuple[Tensor, Tensor] | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the samples at ids (n,) int64 in parts that a cache holds, or all at once."""
    # Samples in memory that go on to a device leave the cache as bytes, if they are pictures: no float is written to
    # memory again. Large ones are looked at where they lie: they fill a block each, and a copy would be read again.
    memory = None if whole else samples.memory
    if memory is not None and rows_of_block(memory[0][0]) == 1:
        x, y = memory
        for row in ids.tolist():
            yield x[row : row + 1], y[row : row + 1]
        return
    first = samples.take(ids[:1]) if not whole and len(ids) > 1 else None
    if first is None or not devices.on_host(first[0]):
        x, y = samples.take(ids) if taken is None else taken
        if len(x) != len(ids) or len(y) != len(ids):
            raise DataError(f"Expected {len(ids)} samples and labels but the data gave {len(x)} and {len(y)}.")
        yield x, y
        return
    for part in torch.split(ids, _BLOCKS_AT_ONCE * rows_of_block(first[0][0])):
        x, y = samples.take(part)
        if len(x) != len(part) or len(y) != len(part):
            raise DataError(f"Expected {len(part)} samples and labels but the data gave {len(x)} and {len(y)}.")
        yield x, y


def _as_floats(x: Tensor, bounds: Bounds, *, coded: bool, whole: bool) -> tuple[Tensor, Bounds]:
    """Return samples x (n, *S) as float32, with their bounds."""
    if x.ndim < 2:
        raise DataError(f"Expected samples of one axis or more but got a number for each, {tuple(x.shape)} in all.")
    if x.is_floating_point():
        return x, bounds
    if not whole:
        if coded:
            raise DataError(
                "Expected inputs that move by fractions of one but got texts, bytes or whole numbers. Claim "
                "accuracy, shifts or groups, or a threat of edits."
            )
        raise DataError(
            "Expected floating-point inputs but got torch.int64: this claim moves inputs by fractions of one. "
            "Divide 8-bit images by 255, give floats and their bounds=(low, high), or claim groups, transfer, cues "
            "or shifts."
        )
    # Models get float32: larger whole numbers (identifiers, say) would be rounded without notice.
    if x.numel() and int(x.abs().max()) >= EXACT:
        raise DataError(f"Expected whole numbers below {EXACT:,} but got {int(x.abs().max()):,}.")
    return x.float(), (-float(EXACT), float(EXACT)) if bounds == (0.0, 1.0) else bounds  # the default bounds


def check_data(samples: Samples, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Read the first few samples of an order, ids (n,) int64, and once more in reverse; return them.

    Raises:
        DataError: values, shapes or labels differ between the two reads.
    """
    # A verdict on samples that change with each read could not be repeated.
    few = ids[:_READ_TWICE]
    found = samples.take(few)
    with decoded.anew():
        # In reverse: from a collate function that sorts its batch a position gets the sample of another one, so that
        # groups and baselines would be of other samples.
        x, y = samples.take(few.flip(0))
    again = x.flip(0), y.flip(0)
    try:
        check_same(found, again, few)
    except DataError:
        if not decoded.recalled():
            raise
        # They may have changed since an earlier claim, in a way that no stamp shows.
        decoded.forget()
        found = samples.take(few)
        check_same(found, again, few)
    return found


def check_same(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], ids: Tensor) -> None:
    """Raise DataError unless two reads of the samples at ids (n,) int64 gave the same."""
    for first, again in zip(one, other, strict=True):
        got = ""
        if first.shape != again.shape:
            got = f"shapes {tuple(first.shape)} and {tuple(again.shape)}"
        else:
            # Equal NaN is no change; `load` reports it.
            changed = ~torch.isclose(first, again, rtol=0, atol=0, equal_nan=True).flatten(1 if first.ndim > 1 else 0)
            changed = changed.any(1) if changed.ndim > 1 else changed
            if bool(changed.any()):
                got = f"{int(changed.sum())} of {len(ids)} changed, the first of them {first_of(ids, changed)}"
        if got:
            raise DataError(
                f"Expected the data to give the same samples when they are read twice but got: {got}. Switch off "
                "random transforms (crops, flips, noise), draws in __getitem__ and sorting in collate_fn, or collect "
                "the samples into (x, y) first."
            )
