"""Image files in folders, and the classes of benchmarks among a model's outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from robustest.errors import ConfigError, DataError, ModelError, expected

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
RESIZED, SHOWN = 256, 224
"""Pixels of the shorter side, and of the square in its middle that a model is shown."""

View = Callable[[Image.Image], Any]
"""Function from a PIL image in RGB to a model's input: a tensor (C, H, W) of floats, or another PIL image."""


@dataclass(frozen=True, slots=True)
class Centre:
    """ImageNet's usual view: the shorter side to 256 pixels, and the 224 x 224 in the middle."""

    border: int = 0  # pixels cut off every side first

    def __call__(self, image: Image.Image) -> Image.Image:
        if self.border:
            image = image.crop((self.border, self.border, image.width - self.border, image.height - self.border))
        # The images of ImageNet-C are cut already; resizing would blur their corruption.
        if image.size == (SHOWN, SHOWN):
            return image
        shorter = min(image.size)
        width, height = (max(1, side * RESIZED // shorter) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = round((width - SHOWN) / 2), round((height - SHOWN) / 2)
        return image.crop((left, top, left + SHOWN, top + SHOWN))


def as_it_is(image: Image.Image) -> Image.Image:
    """Return the whole image."""
    return image


def read_image(path: Path, view: View) -> Tensor:
    """Return (3, H, W) float32 in [0, 1] of a file, through a view, or raise DataError."""
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except OSError as error:
        raise DataError(f"Expected an image in {path} but got: {error}. Unpack the archive again.") from error
    return shown(view, image)


def shown(view: View, image: Image.Image) -> Tensor:
    """Return (3, H, W) float32 in [0, 1] of an image in RGB, through a view, or raise DataError."""
    made = view(image)
    if isinstance(made, Image.Image):
        return torch.from_numpy(np.array(made.convert("RGB"))).permute(2, 0, 1).float().div_(255)
    if not isinstance(made, Tensor) or not made.is_floating_point():
        raise DataError(f"Expected view= to give a PIL image or a tensor of floats but got {type(made).__name__}.")
    return made.float()


@dataclass(frozen=True, eq=False)
class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Images of a folder; files are paths under root, labels (N,) int64."""

    root: Path
    files: tuple[str, ...] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    view: View = field(repr=False)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def targets(self) -> list[int]:
        """The labels, under torchvision's name."""
        return list(map(int, self.labels))

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return read_image(self.root / self.files[i], self.view), int(self.labels[i])


def missing_images(benchmark: Any, what: str = "images") -> tuple[str, ...]:
    """Return the caveat for every line about a benchmark of which samples are missing; none for a whole one."""
    here, published = len(benchmark), benchmark.published
    return () if here == published else (f"{here:,} of {benchmark.name}'s {published:,} {what}",)


def folders_in(root: Path) -> list[str]:
    """Return the sorted names of the folders in a folder, without hidden ones."""
    if not root.is_dir():
        raise DataError(f"Expected a folder at {root} but there is none. Unpack the archive, or correct the path.")
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def class_files(
    root: Path, classes: Sequence[str], what: str, *, others: bool = False, suffixes: frozenset[str] = SUFFIXES
) -> list[tuple[str, int]]:
    """Return (path under root, label) of the images, by class and name; see `class_names`."""
    listed = zip(classes, class_names(root, classes, what, others=others, suffixes=suffixes), strict=True)
    return [(f"{name}/{image}", label) for label, (name, images) in enumerate(listed) for image in images]


def class_names(
    root: Path, classes: Sequence[str], what: str, *, others: bool = False, suffixes: frozenset[str] = SUFFIXES
) -> Iterator[list[str]]:
    """Yield the sorted names of each class's images; root has a folder for each class.

    Args:
        others: True to allow folders of other classes.
        suffixes: endings of files, in lower case.

    Raises:
        DataError: a class has no folder or no image, or a folder is of no class.
    """
    there = set(folders_in(root))
    absent, foreign = [name for name in classes if name not in there], sorted(there.difference(classes))
    parts = [f"{len(absent)} are missing (the first: {absent[0]})"] if absent else []
    if foreign and not others:
        parts.append(f"{len(foreign)} are of no such class (the first: {foreign[0]})")
    if parts:
        raise DataError(
            f"Expected {len(classes)} folders, one for each class of {what}, in {root} but {'; '.join(parts)}."
        )
    endings = tuple(suffixes)
    for name in classes:
        # Benchmarks have millions of files: no `Path` and no `splitext` for each. Hidden files are no images.
        listed = os.listdir(root / name)
        images = sorted(image for image in listed if image.lower().endswith(endings) and image[0] != ".")
        if not images:
            raise DataError(f"Expected files of class {name} of {what} in {root / name} but there are none.")
        yield images


def beside(root: Path, *inside: str) -> Path:
    """Return the first of these folders under root that exists, or root itself, since some archives have no folder."""
    return next((root / name for name in inside if (root / name).is_dir()), root)


SUBSETS = {"imagenet-a": "a", "imagenet-r": "r"}
"""Benchmarks of 200 of ImageNet's classes, and their letters in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMap:
    """The outputs of a model for each class of a benchmark; an answer is right if the largest output is one of these.

    Attributes:
        names: names of the benchmark's classes, in the order of its labels.
        groups: outputs of the model by class; several if a class covers several of the model's.
        outputs: number of outputs of the model.

    Raises:
        ConfigError: the numbers of groups and names differ, a group is empty, or an output is in two groups or outside
            0..outputs-1.
    """

    names: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    outputs: int = 1000
    _index: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        flat = [at for group in self.groups for at in group]
        if len(self.groups) != len(self.names) or len(self.names) < 2 or not all(self.groups):
            raise ConfigError(expected("two classes or more, each with outputs of its own", self.groups))
        if len(set(flat)) != len(flat) or not 0 <= min(flat) <= max(flat) < self.outputs:
            raise ConfigError(f"Expected outputs in 0..{self.outputs - 1}, each of one class, but got {sorted(flat)}.")
        width = max(map(len, self.groups))
        # Repeat the first output of a group up to the width: a maximum does not change by it.
        rows = [[*group, *[group[0]] * (width - len(group))] for group in self.groups]
        object.__setattr__(self, "_index", torch.tensor(rows))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def whole(self) -> bool:
        """True if every output is a class, in the model's order."""
        return self.groups == tuple((at,) for at in range(self.outputs))

    def restrict(self, logits: Tensor) -> Tensor:
        """Return (B, K) the largest logit of each class's outputs, of (B, outputs)."""
        if logits.ndim != 2 or logits.shape[1] != self.outputs:
            raise ModelError(
                f"Expected a model of {self.outputs} classes, of which {len(self)} are the benchmark's, but its logits "
                f"have the shape {tuple(logits.shape)}. Give the model with all its outputs: they are picked here."
            )
        # All other outputs are left out, as the authors of such benchmarks do: a model of 1,000 classes, asked for one
        # of 200, would mostly be wrong for naming classes that the benchmark does not have.
        return logits[:, self._index.to(logits.device)].amax(-1)

    def labels(self, given: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (N,) labels 0..K-1 for labels 0..outputs-1; -1 for a label that is no class of the benchmark."""
        table = np.full(self.outputs, -1)
        for label, group in enumerate(self.groups):
            table[list(group)] = label
        return table[given]


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the WordNet ids of ImageNet's 1,000 classes, in the order of a model's outputs."""
    return tuple(row[0] for row in _rows())


@cache
def imagenet_subset(name: str) -> ClassMap:
    """Return the 200 classes of "imagenet-a" or "imagenet-r", or all of them for any other name."""
    letter = SUBSETS.get(name, "")
    rows = [(at, row[0]) for at, row in enumerate(_rows()) if letter in "".join(row[1:])]
    return ClassMap(names=tuple(wnid for _, wnid in rows), groups=tuple((at,) for at, _ in rows))


@cache
def _rows() -> tuple[tuple[str, ...], ...]:
    text = files("robustest.data.benchmarks").joinpath("tables/imagenet.txt").read_text(encoding="utf-8")
    return tuple(tuple(line.split()) for line in text.splitlines() if not line.startswith("#"))


def shared_classes(mappings: Path) -> ClassMap:
    """Return the classes that ObjectNet (Barbu et al., NeurIPS 2019) shares with ImageNet, by folder."""
    try:
        # The archive maps a folder to a label, a label to labels of ImageNet, each of these to a line in ImageNet's
        # list, and a line to an output of the usual models.
        label_of = _json(mappings / "folder_to_objectnet_label.json")
        shared = _json(mappings / "objectnet_to_imagenet_1k.json")
        line_of = _json(mappings / "pytorch_to_imagenet_2012_id.json")
        lines = (mappings / "imagenet_to_label_2012_v2").read_text(encoding="utf-8").splitlines()
        output = {lines[int(line)].strip(): int(index) for index, line in line_of.items()}
        folder = {label: name for name, label in label_of.items()}
        chosen = sorted((folder[label], [output[one] for one in names.split("; ")]) for label, names in shared.items())
    except (OSError, ValueError, IndexError, KeyError, AttributeError) as error:
        raise DataError(
            f"Expected ObjectNet's four mappings in {mappings} but got {type(error).__name__}: {error}. They are part "
            "of its archive."
        ) from error
    return ClassMap(names=tuple(name for name, _ in chosen), groups=tuple(tuple(group) for _, group in chosen))


def _json(path: Path) -> dict[str, str]:
    return dict(json.loads(path.read_text(encoding="utf-8")))
