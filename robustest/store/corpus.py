"""Adversarial inputs of earlier runs, replayed on the next model.

They may break a claim, never support it. Files are named after their contents and never changed, so that branches and
workers merge by copying.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustest.errors import ConfigError, DataError, RobustestError, expected
from robustest.identity.fingerprint import digest
from robustest.store.entries import pack, unpack
from robustest.store.files import Damaged, Folder

# Inputs kept per sample: if the smallest does not break the next model, the other may.
EACH = 2


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Adversarial inputs of one test.

    Attributes:
        ids: (m,) int64, positions of the samples in the data.
        x: (m, *S) float32.
        y: (m,) int64, labels.
        sizes: (m,) float64, distances from the samples, in the threat's unit.

    Raises:
        DataError: a tensor has another type or number of rows.
    """

    ids: Tensor
    x: Tensor
    y: Tensor
    sizes: Tensor

    def __post_init__(self) -> None:
        kinds = {"ids": torch.int64, "x": torch.float32, "y": torch.int64, "sizes": torch.float64}
        for name, dtype in kinds.items():
            held = getattr(self, name)
            fits = isinstance(held, Tensor) and held.dtype == dtype and held.ndim >= 1 and len(held) == len(self.ids)
            if not fits or (held.ndim == 1) == (name == "x"):
                raise DataError(expected(f"{name} to hold one row of {dtype} for each input", held))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape[1:])

    def rows(self, which: Tensor | list[int]) -> Kept:
        index = torch.as_tensor(which, dtype=None if isinstance(which, Tensor) else torch.int64)
        return Kept(*(getattr(self, field.name).detach().cpu()[index] for field in fields(self)))


def levels(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return the nearest of 256 evenly spaced levels between the bounds, as uint8."""
    low, high = bounds
    return ((x.double() - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8)


def from_levels(k: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return the float32 inputs of levels: k / 255 for bounds 0 and 1."""
    low, high = bounds
    return (k.double() / 255 * (high - low) + low).float()


def on_levels(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return (m,) bool: rows of x (m, *S) that equal their levels to the last bit."""
    return (from_levels(levels(x, bounds), bounds) == x).flatten(1).all(1)


def smallest(parts: Sequence[Kept]) -> tuple[Kept, list[int]]:
    """Return the two smallest inputs of each sample and label, by sample and size, and their positions among all."""
    everything = Kept(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Kept)))
    # Two stable sorts: by sample, and within a sample by size.
    by_size = everything.sizes.argsort(stable=True)
    order = by_size[everything.ids[by_size].argsort(stable=True)].tolist()
    owners = list(zip(everything.ids.tolist(), everything.y.tolist(), strict=True))
    chosen: dict[tuple[int, int], list[int]] = {}
    for row in order:
        others = chosen.setdefault(owners[row], [])
        # Two equal inputs are one chance, not two.
        if len(others) < EACH and not any(torch.equal(everything.x[row], everything.x[other]) for other in others):
            others.append(row)
    which = [row for row in order if row in chosen[owners[row]]]
    return everything.rows(which), which


def news(kept: Kept, stock: Kept | None) -> list[int]:
    """Return the rows of `kept` with no known input of the same sample and label, or only larger ones."""
    # By label too: after a relabelling, old inputs of a sample say nothing.
    best: dict[tuple[int, int], float] = {}
    if stock is not None:
        for sample, label, size in zip(stock.ids.tolist(), stock.y.tolist(), stock.sizes.tolist(), strict=True):
            best[sample, label] = min(size, best.get((sample, label), size))
    rows = enumerate(zip(kept.ids.tolist(), kept.y.tolist(), kept.sizes.tolist(), strict=True))
    return [row for row, (sample, label, size) in rows if size < best.get((sample, label), float("inf"))]


_KIND = "corpus"
_MB = 1_000_000
Bounds = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One row of `Corpus.listing`: `inputs` as `load` returns them for the most frequent shape, `size` in bytes."""

    name: str
    files: int
    samples: int
    inputs: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """The number of deleted files, bytes freed and bytes left."""

    files: int
    freed: int
    left: int


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    name: str
    kept: Kept
    bounds: Bounds
    size: int
    age: float


class Corpus:
    """A folder of adversarial inputs; a damaged file or folder is a `StoreWarning`, not an error.

    Args:
        folder: created by the first addition.
        max_mb: largest size, in millions of bytes, >= 0.

    Raises:
        ConfigError: max_mb is invalid.
    """

    def __init__(self, folder: Path, max_mb: float) -> None:
        self._folder = Folder(folder)
        self._limit = _bytes(max_mb)

    @property
    def notices(self) -> tuple[str, ...]:
        return tuple(self._folder.notices)

    def load(self, name: str, *, shape: tuple[int, ...] | None = None) -> Kept | None:
        """Return at most two inputs of each sample and label, by sample and size; None if there are none.

        Args:
            name: as given to `add`.
            shape: S, of one input; None: the most frequent shape.
        """
        found = [file.kept for file in self._files(_place(name), name)]
        alike = _of_shape(found, shape)
        return smallest(alike)[0] if alike else None

    def add(self, name: str, kept: Kept, *, bounds: Bounds = (0.0, 1.0)) -> bool:
        """Keep inputs of samples that have none or only larger ones; return True if the corpus holds them now.

        Beyond the limit the oldest files are deleted, with a `StoreWarning`; of a file above the limit, the largest
        sizes.

        Args:
            name: for `load`.
            kept: the inputs.
            bounds: smallest and largest input value.
        """
        # Of this addition first, then against the stored inputs: a larger input of a known sample is no news.
        ours, _ = smallest([kept.rows(torch.arange(len(kept)))])
        fresh = news(ours, self.load(name, shape=kept.shape))
        if not fresh:
            return True
        ours = ours.rows(fresh)
        small = on_levels(ours.x, bounds)
        # A file above the whole limit would be deleted at once.
        place, data, left_out = _fitting(name, ours, small, bounds, self._limit)
        if left_out:
            self._report(f"left out the {left_out} inputs of largest size of {name!r}")
        path = self._folder.root / place
        if data is None or not self._folder.write(path, data):
            return False
        # The new file is spared: it is about the current model.
        pruned = self._prune(self._limit, spared=path)
        if pruned.files:
            self._report(f"dropped {pruned.files} files, the oldest ({pruned.freed:,} bytes)")
        return True

    def names(self) -> list[str]:
        return [row.name for row in self.listing()]

    def listing(self) -> list[Listed]:
        by_name: dict[str, list[_File]] = {}
        for file in self._files("*", None):
            by_name.setdefault(file.name, []).append(file)
        rows = []
        for name in sorted(by_name):
            files = by_name[name]
            kept, _ = smallest(_of_shape([file.kept for file in files], None))
            samples, size = len(set(kept.ids.tolist())), sum(file.size for file in files)
            rows.append(Listed(name=name, files=len(files), samples=samples, inputs=len(kept), size=size))
        return rows

    def prune(self, max_mb: float) -> Pruned:
        """Delete superseded files, the oldest, then the largest sizes, until `max_mb` million bytes are left."""
        return self._prune(_bytes(max_mb), spared=None)

    def _prune(self, limit: int, spared: Path | None) -> Pruned:
        before = total = sum(self._folder.size(path) for path in self._folder.find("*/*.safetensors"))
        if total <= limit:
            return Pruned(files=0, freed=0, left=total)
        files = [file for file in self._files("*", None) if file.path != spared]
        # Files with no input that `load` would return.
        idle = _superseded(files)
        count = 0
        for file in sorted(files, key=lambda file: (file.path not in idle, file.age, file.path)):
            if total <= limit:
                break
            if spared is None and file.size == total:  # the last: what fits of it stays
                small = on_levels(file.kept.x, file.bounds)
                path, data, _ = _fitting(file.name, file.kept, small, file.bounds, limit)
                if data is not None and self._folder.write(self._folder.root / path, data):
                    total += len(data)
            count += self._folder.remove(file.path)
            total -= file.size
        left = sum(self._folder.size(path) for path in self._folder.find("*/*.safetensors"))
        return Pruned(files=count, freed=before - left, left=left)

    def _report(self, what: str) -> None:
        self._folder.say(
            f"Expected {self._folder.root} to stay under {self._limit / _MB:g} MB; {what}. Raise the limit."
        )

    def _files(self, place: str, name: str | None) -> Iterator[_File]:
        for path in self._folder.find(f"{place}/*.safetensors"):
            content = self._folder.read(path)
            if content is None:
                continue
            try:
                found, arrays, meta = unpack(_KIND, name, content.data)
                if path.parent.name != _place(found):
                    raise Damaged(f"what belongs under the name {found}")
                kept, bounds = _inputs(arrays, meta)
            except Damaged as damage:
                self._folder.set_aside(content, str(damage))
            else:
                yield _File(path, found, kept, bounds, len(content.data), self._folder.age(path))


def _inputs(arrays: Mapping[str, Tensor], meta: Mapping[str, Any]) -> tuple[Kept, Bounds]:
    try:
        low, high = meta["bounds"]
        # In the order of `_packed`: rows on levels first.
        x = torch.cat([from_levels(arrays["x8"], (low, high)), arrays["x32"]])
        return Kept(arrays["ids"], x, arrays["y"], arrays["sizes"]), (low, high)
    except (RobustestError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise Damaged(f"a file without its inputs ({error})") from error


def _fitting(name: str, kept: Kept, small: Tensor, bounds: Bounds, limit: int) -> tuple[str, bytes | None, int]:
    # The smallest inputs that fit; the number left out is returned for the warning.
    order = kept.sizes.argsort(stable=True)
    count = len(kept)
    while count:
        which = order[:count].sort().values
        path, data = _packed(name, kept.rows(which), small[which], bounds)
        if len(data) <= limit:
            return path, data, len(kept) - count
        # Bytes grow in proportion to inputs: a good first guess, then down one by one.
        count = min(count - 1, int(count * limit / len(data)))
    return "", None, len(kept)


def _packed(name: str, kept: Kept, small: Tensor, bounds: Bounds) -> tuple[str, bytes]:
    # Inputs on the 256 levels take one byte per element, the others four.
    order = torch.cat([small.nonzero().flatten(), (~small).nonzero().flatten()])
    kept, few = kept.rows(order), int(small.sum())
    arrays = {
        "ids": kept.ids,
        "y": kept.y,
        "sizes": kept.sizes,
        "x8": levels(kept.x[:few], bounds),
        "x32": kept.x[few:],
    }
    meta = {"bounds": [float(edge) for edge in bounds]}
    # Named by contents: equal additions of two workers are one file.
    return f"{_place(name)}/{digest((name, arrays, meta))[:32]}.safetensors", pack(_KIND, name, arrays, meta)


def _of_shape(found: list[Kept], shape: tuple[int, ...] | None) -> list[Kept]:
    if shape is None:
        counts = Counter[tuple[int, ...]]()
        for kept in found:
            counts[kept.shape] += len(kept)
        shape = max(sorted(counts), key=lambda one: counts[one], default=())
    return [kept for kept in found if kept.shape == tuple(shape)]


def _superseded(files: list[_File]) -> set[Path]:
    idle = {file.path for file in files}
    for group in {(file.name, file.kept.shape) for file in files}:
        alike = [file for file in files if (file.name, file.kept.shape) == group]
        owner = [file.path for file in alike for _ in range(len(file.kept))]
        idle -= {owner[row] for row in smallest([file.kept for file in alike])[1]}
    return idle


def _place(name: str) -> str:
    # Readable, and different for names with one slug.
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return f"{slug}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _bytes(max_mb: object) -> int:
    if isinstance(max_mb, bool) or not isinstance(max_mb, (int, float)) or not 0 <= max_mb < math.inf:
        raise ConfigError(expected("a number of megabytes >= 0", max_mb))
    return int(max_mb * _MB)
