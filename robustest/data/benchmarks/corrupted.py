"""Benchmarks of corrupted images and of perturbation sequences, as published."""

# In a `CorruptedBenchmark` (ImageNet-C) every cell of corruption and severity has the same images. A
# `SequenceBenchmark` (ImageNet-P) has an image and its frames under a perturbation.

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from robustest.data.benchmarks.images import (
    ImageFiles,
    View,
    class_files,
    class_names,
    folders_in,
    missing_images,
    shown,
)
from robustest.data.hierarchies import own_labels
from robustest.data.samples import Samples, as_samples
from robustest.errors import DataError, not_installed

ALEXNET_ON_IMAGENET_C: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "clean": (0.43478,),
        "gaussian_noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
        "shot_noise": (0.71224, 0.85108, 0.93574, 0.98182, 0.99146),
        "impulse_noise": (0.78374, 0.89808, 0.94870, 0.98720, 0.99548),
        "defocus_blur": (0.65624, 0.73202, 0.85036, 0.91364, 0.94714),
        "glass_blur": (0.64308, 0.75054, 0.88806, 0.91622, 0.93344),
        "motion_blur": (0.58430, 0.70048, 0.82108, 0.89750, 0.92638),
        "zoom_blur": (0.70008, 0.76992, 0.80784, 0.84198, 0.87198),
        "snow": (0.71726, 0.88392, 0.86468, 0.91870, 0.94952),
        "frost": (0.61390, 0.79734, 0.88790, 0.89942, 0.93430),
        "fog": (0.67474, 0.76050, 0.84378, 0.87260, 0.94500),
        "brightness": (0.45140, 0.48502, 0.54048, 0.62166, 0.72440),
        "contrast": (0.64548, 0.76150, 0.88874, 0.97760, 0.99270),
        "elastic_transform": (0.52596, 0.70116, 0.55686, 0.64076, 0.80554),
        "pixelate": (0.52218, 0.54620, 0.73728, 0.87092, 0.91262),
        "jpeg_compression": (0.51002, 0.54718, 0.57294, 0.65458, 0.74778),
    }
)
"""Error rates at severities 1 to 5, of torchvision's AlexNet on the published 224-pixel files.

Hendrycks and Dietterich, ICLR 2019, and issue 10 of hendrycks/robustness; mean corruption errors are relative to these.
The clean error is on ImageNet's validation set.
"""

PUBLISHED: Mapping[str, Mapping[str, tuple[float, ...]]] = MappingProxyType({"alexnet": ALEXNET_ON_IMAGENET_C})
"""Published errors by the name of the baseline."""

IMAGENET_CLASSES = 1000
"""Number of classes of models that may be compared with published errors on ImageNet-C."""


SEVERITIES = (1, 2, 3, 4, 5)
Cell = tuple[str, int]
"""A corruption at a severity, 1..5."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CorruptedBenchmark:
    """The cells of a benchmark such as ImageNet-C, data of `assert_corruption_robustness`."""

    name: str  # as for `benchmark`
    # samples of each corruption at each severity: the same images in the same order, with the same labels
    cells: Mapping[Cell, Samples] = field(repr=False)
    clean: Samples | None = field(repr=False)  # the same samples without a corruption; None if unknown
    classes: tuple[str, ...] = field(repr=False)  # names of the classes, in the order of the labels
    published: int  # published number of samples of a cell
    baseline: str = ""  # name of the published errors for the relative mean corruption error; may be empty

    def __len__(self) -> int:
        return len(next(iter(self.cells.values())))

    @property
    def corruptions(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name, _ in self.cells))

    @property
    def caveats(self) -> tuple[str, ...]:
        return missing_images(self)

    def samples(self) -> Samples:
        """Return the clean samples, or those of the first cell if there are none: the population of a claim."""
        return next(iter(self.cells.values())) if self.clean is None else self.clean


def folder_cells(
    root: Path, folders: Mapping[Cell, str], classes: tuple[str, ...], view: View, what: str
) -> dict[Cell, Samples]:
    """Return the cells of a tree of images, root/corruption/severity/class/file.

    Args:
        folders: of cells, below root.

    Raises:
        DataError: a cell lacks a folder or a class, or has other files than the first cell.
    """
    cells: dict[Cell, Samples] = {}
    first: list[list[str]] = []
    paths: tuple[str, ...] = ()
    labels = np.zeros(0, dtype=np.int64)
    for cell, folder in folders.items():
        if not (root / folder).is_dir():
            raise DataError(f"Expected {what}'s {cell[0]} at severity {cell[1]} in {root / folder} but there is none.")
        found = list(class_names(root / folder, classes, what))
        if not first:
            first, paths, labels = found, _paths(classes, found), np.repeat(np.arange(len(found)), [*map(len, found)])
        here = paths  # one tuple of names for all cells: ImageNet-C has 75 with 50,000 images each
        if found != first:
            _check_stems(found, first, classes, what, root / folder)
            here = _paths(classes, found)
        cells[cell] = as_samples(ImageFiles(root / folder, here, labels, view))
    return cells


def _paths(classes: Sequence[str], names: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(f"{name}/{image}" for name, images in zip(classes, names, strict=True) for image in images)


def _check_stems(
    found: Sequence[Sequence[str]], first: Sequence[Sequence[str]], classes: Sequence[str], what: str, folder: Path
) -> None:
    """Raise DataError unless two lists of names differ only in endings: cells may store an image as JPEG or PNG."""
    stems, others = ([os.path.splitext(path)[0] for path in _paths(classes, names)] for names in (found, first))
    if stems != others:
        differs = min(set(stems).symmetric_difference(others), default=stems[0])
        raise DataError(
            f"Expected the same images in every cell of {what} but {folder} and the first cell differ in {differs}: "
            "one of the two has it and the other has not."
        )


def only_severities(root: Path, corruption: str) -> dict[Cell, str]:
    """Return the folders of a corruption's five severities, named 1 to 5 or (ImageNet-C-bar) by rising numbers."""
    names = folders_in(root / corruption)
    try:
        ordered = sorted(names, key=float)
    except ValueError:
        ordered = []
    if len(ordered) != 5:
        raise DataError(
            f"Expected five folders of severities in {root / corruption} but got {', '.join(names) or 'none'}."
        )
    return {(corruption, level): f"{corruption}/{name}" for level, name in zip(SEVERITIES, ordered, strict=True)}


@dataclass(frozen=True, eq=False)
class ArrayBlock(Dataset[tuple[Tensor, int]]):
    """One severity's block of a `.npy` file of images (N, H, W, C) uint8; labels (n,) int64."""

    path: Path
    start: int
    labels: NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def targets(self) -> NDArray[np.int64]:
        return self.labels

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image = np.array(mapped(self.path)[self.start + i])
        return torch.from_numpy(image).permute(2, 0, 1).float().div_(255), int(self.labels[i])


def array_cells(root: Path, corruptions: tuple[str, ...], classes: int, what: str) -> dict[Cell, Samples]:
    """Return the cells of CIFAR-10-C or -100-C: a file for each corruption, five blocks of the same images by severity.

    Raises:
        DataError: a file is absent or misshapen, or labels are wrong.
    """
    labels = opened(root / "labels.npy", what)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) % 5 or not len(labels):
        raise DataError(
            f"Expected five blocks of whole labels in {root / 'labels.npy'} but got {labels.dtype} {labels.shape}."
        )
    blocks = labels.astype(np.int64).reshape(5, -1)
    # Cells are paired image by image, which needs the same labels in every block.
    if (blocks != blocks[0]).any() or blocks.min() < 0 or blocks.max() >= classes:
        raise DataError(f"Expected labels in 0..{classes - 1}, the same in all five blocks, in {root / 'labels.npy'}.")
    cells: dict[Cell, Samples] = {}
    for name in corruptions:
        path = root / f"{name}.npy"
        images = opened(path, what)
        if images.dtype != np.uint8 or images.shape != (len(labels), 32, 32, 3):
            raise DataError(
                f"Expected uint8 images {(len(labels), 32, 32, 3)} in {path} but got {images.dtype} {images.shape}."
            )
        for level in SEVERITIES:
            cells[name, level] = as_samples(ArrayBlock(path, (level - 1) * blocks.shape[1], blocks[0]))
    return cells


def paired(clean: object, cells: Mapping[Cell, Samples], what: str) -> Samples:
    """Return clean samples after a check that they are those of the cells, else raise DataError."""
    samples, first = as_samples(clean), next(iter(cells.values()))
    # A fall pairs outcomes image by image, so clean images in another order would give a wrong result in silence.
    # Labels are all that can be compared.
    ours, theirs = own_labels(clean, samples), own_labels(first.source, first)
    if len(ours) != len(theirs):
        raise DataError(f"Expected the {len(theirs):,} clean images of {what} but got {len(ours):,}.")
    if len(differ := np.flatnonzero(ours != theirs)):
        at = differ[0]
        raise DataError(
            f"Expected clean images in the order of {what} but {len(differ):,} labels differ, the first of image {at}: "
            f"{ours[at]} where {what} has {theirs[at]}."
        )
    return samples


def paired_folder(
    root: Path, cells: Mapping[Cell, Samples], classes: tuple[str, ...], view: View, what: str
) -> Samples:
    """Return the clean images of a tree's cells, in root/class/file; raise DataError if they are others."""
    found = class_files(root, classes, what)
    first = next(iter(cells.values())).source
    names = {os.path.splitext(name)[0] for name in first.files}
    kept = [(name, label) for name, label in found if os.path.splitext(name)[0] in names]
    if len(kept) != len(names):
        absent = len(names) - len(kept)
        raise DataError(f"Expected the {len(names):,} clean images of {what} in {root} but {absent:,} are not there.")
    labels = np.array([label for _, label in kept])
    return paired(ImageFiles(root, tuple(name for name, _ in kept), labels, view), cells, what)


def mapped(path: Path) -> NDArray[np.uint8]:
    """Return a memory-mapped `.npy` file."""
    # A mapping outlives the replacement of its file, so the state of the file is part of the cache's key.
    status = path.stat()
    return _mapped(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=32)
def _mapped(path: Path, state: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def opened(path: Path, what: str) -> NDArray[np.generic]:
    """Return a memory-mapped `.npy` file, or raise DataError."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise DataError(f"Expected an array of {what} in {path} but got: {error}. Unpack the archive again.") from error


PERTURBATIONS = (
    *("gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "snow"),
    *("brightness", "translate", "rotate", "tilt", "scale"),
)
"""The ten perturbations of ImageNet-P (Hendrycks and Dietterich, ICLR 2019, section 3.2)."""

CIFAR_PERTURBATIONS = tuple("spatter" if name == "snow" else name for name in PERTURBATIONS)
"""The ten perturbations of CIFAR-10-P and -100-P."""


class SequenceFrames(Protocol):
    """The sequences of one perturbation."""

    def __len__(self) -> int:
        """Return the number of sequences."""

    def __getitem__(self, i: int) -> Tensor:
        """Return (T, C, H, W) float32 in [0, 1]: the frames of a sequence, T >= 2."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SequenceBenchmark:
    """Sequences of frames by perturbation, of the same images; data of `assert_stable_under_perturbations`."""

    name: str  # as for `benchmark`
    sequences: Mapping[str, SequenceFrames] = field(repr=False)  # sequences by perturbation
    published: int  # published number of sequences of a perturbation

    def __post_init__(self) -> None:
        # Sequences of all perturbations are compared image by image.
        sizes = {name: len(frames) for name, frames in self.sequences.items()}
        if len(set(sizes.values())) != 1:
            raise DataError(f"Expected as many sequences of each perturbation of {self.name} but got {sizes}.")

    def __len__(self) -> int:
        return len(next(iter(self.sequences.values())))

    @property
    def caveats(self) -> tuple[str, ...]:
        return missing_images(self, "sequences")

    def samples(self) -> Samples:
        """Return the first frames of the first perturbation, with label 0: sequences are counted, not classes."""
        return as_samples(First(next(iter(self.sequences.values()))))


@dataclass(frozen=True, eq=False)
class First(Dataset[tuple[Tensor, int]]):
    """The first frame of each sequence."""

    frames: SequenceFrames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.frames[i][0], 0


@dataclass(frozen=True, eq=False)
class ArrayFrames:
    """A `.npy` file of sequences (N, T, H, W, C) uint8."""

    path: Path

    def __len__(self) -> int:
        return len(mapped(self.path))

    def __getitem__(self, i: int) -> Tensor:
        return torch.from_numpy(np.array(mapped(self.path)[i])).permute(0, 3, 1, 2).float().div_(255)


@dataclass(frozen=True, eq=False)
class VideoFrames:
    """A tree of videos, root/class/file.mp4; files are paths under root."""

    root: Path
    files: tuple[str, ...] = field(repr=False)
    view: View = field(repr=False)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Tensor:
        return torch.stack([shown(self.view, Image.fromarray(frame)) for frame in _decoded(self.root / self.files[i])])


def array_sequences(root: Path, what: str) -> SequenceBenchmark:
    """Return CIFAR-10-P or -100-P: a file for each perturbation; raise DataError for absent or misshapen files."""
    for name in CIFAR_PERTURBATIONS:
        array = opened(root / f"{name}.npy", what)
        if array.dtype != np.uint8 or array.ndim != 5 or array.shape[2:] != (32, 32, 3) or array.shape[1] < 2:
            raise DataError(
                f"Expected uint8 sequences (N, T, 32, 32, 3) in {root / f'{name}.npy'} but got "
                f"{array.dtype} {array.shape}."
            )
    sequences = {name: ArrayFrames(root / f"{name}.npy") for name in CIFAR_PERTURBATIONS}
    return SequenceBenchmark(name=what, sequences=sequences, published=10_000)


def video_sequences(root: Path, classes: tuple[str, ...], view: View, what: str) -> SequenceBenchmark:
    """Return ImageNet-P: a folder for each perturbation, with a folder of videos for each class.

    Raises:
        ConfigError: OpenCV is not installed.
        DataError: folders are absent, or two perturbations have other videos.
    """
    try:
        import cv2  # noqa: F401 - before any folder is read
    except ImportError:
        raise not_installed("OpenCV to read ImageNet-P's videos", "video") from None
    sequences: dict[str, SequenceFrames] = {}
    first: tuple[str, ...] = ()
    for name in PERTURBATIONS:
        files = tuple(file for file, _ in class_files(root / name, classes, what, suffixes=frozenset({".mp4"})))
        first = first or files
        if files != first:
            differs = min(set(files).symmetric_difference(first))
            raise DataError(
                f"Expected the same videos in {root / name} as in {PERTURBATIONS[0]} but {differs} is in one."
            )
        sequences[name] = VideoFrames(root / name, files, view)
    return SequenceBenchmark(name=what, sequences=sequences, published=50_000)


def _decoded(path: Path) -> list[np.ndarray]:
    """Return the frames of a video, (H, W, 3) uint8 in RGB; raise DataError if there are fewer than two."""
    import cv2

    video, frames = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = video.read()
        if not there:
            break
        # OpenCV decodes to BGR.
        frames.append(np.ascontiguousarray(frame[..., ::-1]))
    video.release()
    if len(frames) < 2:
        raise DataError(f"Expected a video of two frames or more in {path} but got {len(frames)}.")
    return frames
