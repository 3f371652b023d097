"""Benchmarks of sequences: an image and the frames that a perturbation makes of it, as ImageNet-P has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from robustest.data.benchmarks.corrupted import mapped, opened
from robustest.data.benchmarks.images import View, class_files, shown
from robustest.data.samples import Samples, as_samples
from robustest.errors import ConfigError, DataError

PERTURBATIONS = (
    *("gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "snow"),
    *("brightness", "translate", "rotate", "tilt", "scale"),
)
"""The ten of ImageNet-P's benchmark (Hendrycks and Dietterich, ICLR 2019, section 3.2)."""

CIFAR_PERTURBATIONS = tuple("spatter" if name == "snow" else name for name in PERTURBATIONS)
"""The ten of CIFAR-10-P and -100-P."""


class Frames(Protocol):
    """The sequences of one perturbation."""

    def __len__(self) -> int:
        """How many sequences there are."""

    def __getitem__(self, i: int) -> Tensor:
        """(T, C, H, W) float32 in [0, 1]: the frames of a sequence, T >= 2."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SequenceBenchmark:
    """Sequences of frames by perturbation, of the same images; `assert_stable_under_perturbations` takes it.

    Attributes:
        name: as `benchmark` knows it.
        sequences: of each perturbation.
        published: how many sequences a perturbation has as published.
    """

    name: str
    sequences: Mapping[str, Frames] = field(repr=False)
    published: int

    def __post_init__(self) -> None:
        sizes = {name: len(frames) for name, frames in self.sequences.items()}
        if len(set(sizes.values())) != 1:
            raise DataError(f"Expected as many sequences of each perturbation of {self.name} but got {sizes}.")

    def __len__(self) -> int:
        return len(next(iter(self.sequences.values())))

    @property
    def caveats(self) -> tuple[str, ...]:
        """As `Benchmark.caveats`."""
        return () if len(self) == self.published else (f"{len(self):,} of {self.name}'s {self.published:,} sequences",)

    def samples(self) -> Samples:
        """The first frames of the first perturbation, with a label that says nothing: what is counted is sequences."""
        return as_samples(First(next(iter(self.sequences.values()))))


@dataclass(frozen=True, eq=False)
class First(Dataset[tuple[Tensor, int]]):
    """The first frame of each sequence."""

    frames: Frames

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
    """CIFAR-10-P or -100-P: a file a perturbation.

    Raises:
        DataError: a file is absent, or has another shape or type.
    """
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
    """ImageNet-P: a folder a perturbation, in it a folder a class with its videos.

    Raises:
        ConfigError: OpenCV is not installed.
        DataError: a perturbation or a class is absent, or two perturbations have other videos.
    """
    _opencv()
    sequences: dict[str, Frames] = {}
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


def _opencv() -> object:
    try:
        import cv2
    except ImportError:
        raise ConfigError(
            "Expected OpenCV to read ImageNet-P's videos but it is not installed: pip install 'robustest[video]'."
        ) from None
    return cv2


def _decoded(path: Path) -> list[np.ndarray]:
    """The frames of a video, (H, W, 3) uint8 in RGB.

    Raises:
        DataError: there are fewer than two.
    """
    import cv2

    video, frames = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = video.read()
        if not there:
            break
        frames.append(np.ascontiguousarray(frame[..., ::-1]))
    video.release()
    if len(frames) < 2:
        raise DataError(f"Expected a video of two frames or more in {path} but got {len(frames)}.")
    return frames
