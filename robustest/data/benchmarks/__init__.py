"""Named benchmarks, read from their unpacked archives: samples and classes, the layout of files, and readers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.checks import require
from robustest.data.benchmarks.corrupted import ALEXNET_ON_IMAGENET_C as ALEXNET_ON_IMAGENET_C
from robustest.data.benchmarks.corrupted import CorruptedBenchmark as CorruptedBenchmark
from robustest.data.benchmarks.corrupted import SequenceBenchmark as SequenceBenchmark
from robustest.data.benchmarks.corrupted import (
    array_cells,
    array_sequences,
    folder_cells,
    only_severities,
    paired,
    paired_folder,
    video_sequences,
)
from robustest.data.benchmarks.images import (
    Centre,
    ImageFiles,
    View,
    as_it_is,
    beside,
    class_files,
    folders_in,
    imagenet_classes,
    imagenet_subset,
    missing_images,
    shared_classes,
)
from robustest.data.benchmarks.images import ClassMap as ClassMap
from robustest.data.hierarchies import own_labels
from robustest.data.samples import Samples, as_samples
from robustest.errors import ConfigError, DataError, expected, unknown


@dataclass(frozen=True, eq=False, kw_only=True)
class Benchmark(ImageFiles):
    """The samples of a named benchmark, with its classes; a map-style data set for any loader.

    A claim on it restricts the model's outputs to the benchmark's classes.
    """

    name: str  # as for `benchmark`
    classes: ClassMap = field(repr=False)  # the classes, and the model's outputs for each label 0..K-1
    published: int  # published number of samples

    @property
    def caveats(self) -> tuple[str, ...]:
        return missing_images(self)

    def matching(self, source: object) -> Samples:
        """Return another data set's samples of this benchmark's classes, with this benchmark's labels.

        Args:
            source: as for `as_samples`; with the model's outputs 0..999 as labels, or a `Benchmark`.

        Raises:
            DataError: a label is out of range, or no sample is of these classes.
        """
        samples, given = as_samples(source), own_outputs(source)
        if len(given) and not 0 <= given.min() <= given.max() < self.classes.outputs:
            raise DataError(
                f"Expected labels in 0..{self.classes.outputs - 1}, the model's classes, but got "
                f"{int(given.min())}..{int(given.max())}."
            )
        labels = self.classes.labels(given)
        kept = np.flatnonzero(labels >= 0)
        if not len(kept):
            raise DataError(f"Expected samples of the {len(self.classes)} classes of {self.name} but there are none.")
        ids, ours = torch.from_numpy(kept), torch.from_numpy(labels[kept])

        def take(rows: Tensor) -> tuple[Tensor, Tensor]:
            return samples.take(ids[rows])[0], ours[rows]

        return Samples(take, len(kept))


def own_outputs(source: object) -> NDArray[np.int64]:
    """Return (N,) the model's output for each sample's label; the first if a class has several."""
    if isinstance(source, Benchmark):
        first = np.array([group[0] for group in source.classes.groups])
        return first[source.labels]
    return own_labels(source, as_samples(source))


_C = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
_C_EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
_C_BAR = (
    *("blue_noise_sample", "brownish_noise", "caustic_refraction", "checkerboard_cutout", "cocentric_sine_waves"),
    *("inverse_sparkles", "perlin_noise", "plasma_noise", "single_frequency_greyscale", "sparkles"),
)
_3DCC = (
    *("near_focus", "far_focus", "bit_error", "color_quant", "flash", "fog_3d"),
    *("h265_abr", "h265_crf", "iso_noise", "low_light", "xy_motion_blur", "z_motion_blur"),
)
# Names of ImageNet-C's archives, each of which may be unpacked into a separate folder of that name.
_GROUPS = ("noise", "blur", "weather", "digital", "extra")


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """The unpacked archive of a benchmark: the arguments of `benchmark`."""

    name: str
    root: Path
    view: View | None
    clean: Any

    def refuse_clean(self) -> None:
        if self.clean is not None:
            raise ConfigError(
                f"Expected no clean= for {self.name} but got it: its images are not corrupted versions of others. "
                "Leave it out."
            )

    def refuse_view(self) -> None:
        if self.view is not None:
            raise ConfigError(f"Expected no view= for {self.name} but got it: its images are arrays. Leave it out.")


def benchmark(
    name: str,
    root: str | os.PathLike[str],
    *,
    view: View | None = None,
    clean: object = None,
) -> Benchmark | CorruptedBenchmark | SequenceBenchmark:
    """Return a named benchmark, read from its unpacked archive; nothing is downloaded.

    Args:
        name: one of `BENCHMARKS`: "imagenet" (its validation set), "imagenet-a", "imagenet-r", "imagenet-v2",
            "imagenet-sketch", "objectnet"; "cifar-10-c", "cifar-100-c", "imagenet-c", "imagenet-c-bar",
            "imagenet-3dcc", "tiny-imagenet-c"; "imagenet-p", "cifar-10-p", "cifar-100-p".
        root: the folder with the benchmark's own folders or files, or the one above it.
        view: function from a PIL image in RGB to a float tensor (C, H, W) or a PIL image. None takes ImageNet's usual
            view, the shorter side to 256 pixels and the 224 x 224 in the middle, unless images have 64 or 224 pixels.
            Arrays have no view.
        clean: for corrupted benchmarks, the same images without corruption, as data or as a folder with a folder for
            each class; drops from clean accuracy and the relative mCE need it.

    Returns:
        A `Benchmark`, which is a data set; a `CorruptedBenchmark` for `assert_corruption_robustness`; or a
        `SequenceBenchmark` for `assert_stable_under_perturbations`.

    Raises:
        UnknownNameError: no benchmark has this name.
        ConfigError: an argument that this benchmark does not take.
        DataError: classes, cells or files are absent, or labels are in another order.
    """
    if name not in BENCHMARKS:
        raise unknown("benchmark", name, BENCHMARKS)
    require(isinstance(root, (str, os.PathLike)), "root to be the path of a folder", root)
    if view is not None and not callable(view):
        raise ConfigError(expected("view to be a function of a PIL image", view))
    path = Path(root)
    if not path.is_dir():
        raise DataError(
            f"Expected {name} unpacked in {path} but there is no such folder. Unpack it there, or name another folder."
        )
    return BENCHMARKS[name](Archive(name=name, root=path, view=view, clean=clean))


def _folders(what: str, published: int, *inside: str) -> Callable[[Archive], Benchmark]:
    def read(archive: Archive) -> Benchmark:
        archive.refuse_clean()
        classes = imagenet_subset(archive.name)
        root = beside(archive.root, *inside)
        return _benchmark(archive, root, class_files(root, classes.names, what), classes, published=published)

    return read


def _imagenet_v2(archive: Archive) -> Benchmark:
    archive.refuse_clean()
    variants = ("matched-frequency", "threshold-0.7", "threshold0.7", "top-images", "topimages")
    root = beside(archive.root, *(f"imagenetv2-{one}-format-val" for one in variants))
    # Folders are named by class index: sorted as texts, 10 would come before 2.
    files = class_files(root, [str(at) for at in range(1000)], "ImageNet-V2")
    return _benchmark(archive, root, files, imagenet_subset(archive.name), published=10_000)


def _objectnet(archive: Archive) -> Benchmark:
    archive.refuse_clean()
    root = beside(archive.root, "objectnet-1.0")
    classes = shared_classes(root / "mappings")
    files = class_files(root / "images", classes.names, "ObjectNet that ImageNet has too", others=True)
    # ObjectNet's images have a red border of two pixels.
    return _benchmark(archive, root / "images", files, classes, published=18_574, view=Centre(border=2))


def _benchmark(
    archive: Archive,
    root: Path,
    files: list[tuple[str, int]],
    classes: ClassMap,
    *,
    published: int,
    view: View | None = None,
) -> Benchmark:
    return Benchmark(
        name=archive.name,
        root=root,
        files=tuple(name for name, _ in files),
        labels=np.array([label for _, label in files]),
        classes=classes,
        published=published,
        view=archive.view or view or Centre(),
    )


def _arrays(classes: int) -> Callable[[Archive], CorruptedBenchmark]:
    def read(archive: Archive) -> CorruptedBenchmark:
        archive.refuse_view()
        root = beside(archive.root, f"CIFAR-{classes}-C")
        # Four further corruptions are in the archive and not in the benchmark; they are read if present.
        extra = tuple(name for name in _C_EXTRA if (root / f"{name}.npy").is_file())
        cells = array_cells(root, (*_C, *extra), classes, archive.name)
        clean = None if archive.clean is None else paired(archive.clean, cells, archive.name)
        names = tuple(map(str, range(classes)))
        return CorruptedBenchmark(name=archive.name, cells=cells, clean=clean, classes=names, published=10_000)

    return read


def _trees(
    corruptions: tuple[str, ...], what: str, *inside: str, baseline: str = ""
) -> Callable[[Archive], CorruptedBenchmark]:
    def read(archive: Archive) -> CorruptedBenchmark:
        root = beside(archive.root, *inside)
        return _corrupted(archive, root, corruptions, imagenet_classes(), view=Centre(), about=(what, 50_000, baseline))

    return read


def _tiny(archive: Archive) -> CorruptedBenchmark:
    root = beside(archive.root, "Tiny-ImageNet-C")
    first = _cells(root, _C[:1], "Tiny-ImageNet-C")[_C[0], 1]
    classes = tuple(folders_in(root / first))
    # The archive has no list of its classes: they are the sorted folders of the first cell.
    if len(classes) != 200:
        raise DataError(f"Expected Tiny-ImageNet-C's 200 classes in {root / first} but got {len(classes)} folders.")
    return _corrupted(archive, root, _C, classes, view=as_it_is, about=("Tiny-ImageNet-C", 10_000, ""))


def _corrupted(
    archive: Archive,
    root: Path,
    corruptions: tuple[str, ...],
    classes: tuple[str, ...],
    *,
    view: View,
    about: tuple[str, int, str],
) -> CorruptedBenchmark:
    what, published, baseline = about
    shown = archive.view or view
    cells = folder_cells(root, _cells(root, corruptions, what), classes, shown, what)
    clean = archive.clean
    if isinstance(clean, (str, os.PathLike)):
        clean = paired_folder(beside(Path(clean), "val"), cells, classes, shown, what)
    elif clean is not None:
        clean = paired(clean, cells, what)
    return CorruptedBenchmark(
        name=archive.name, cells=cells, clean=clean, classes=classes, published=published, baseline=baseline
    )


def _cells(root: Path, corruptions: tuple[str, ...], what: str) -> dict[tuple[str, int], str]:
    """Return the folders of all cells; ImageNet-C's archives may have a folder for each group of corruptions."""
    folders: dict[tuple[str, int], str] = {}
    for name in corruptions:
        # ImageNet-C is published as one archive for each group.
        group = next((f"{one}/" for one in _GROUPS if (root / one / name).is_dir()), "")
        if not (root / group / name).is_dir():
            raise DataError(f"Expected {what}'s {name} in {root / name} but there is no such folder.")
        found = only_severities(root / group, name)
        folders |= {cell: f"{group}{folder}" for cell, folder in found.items()}
    return folders


def _videos(archive: Archive) -> SequenceBenchmark:
    archive.refuse_clean()
    return video_sequences(
        beside(archive.root, "ImageNet-P"), imagenet_classes(), archive.view or Centre(), archive.name
    )


def _array_sequences(classes: int) -> Callable[[Archive], SequenceBenchmark]:
    def read(archive: Archive) -> SequenceBenchmark:
        archive.refuse_clean()
        archive.refuse_view()
        return array_sequences(beside(archive.root, f"CIFAR-{classes}-P"), archive.name)

    return read


BENCHMARKS: Mapping[str, Callable[[Archive], Benchmark | CorruptedBenchmark | SequenceBenchmark]] = {
    "imagenet": _folders("ImageNet", 50_000, "val"),
    "imagenet-a": _folders("ImageNet-A", 7_500, "imagenet-a"),
    "imagenet-r": _folders("ImageNet-R", 30_000, "imagenet-r"),
    "imagenet-v2": _imagenet_v2,
    "imagenet-sketch": _folders("ImageNet-Sketch", 50_889, "sketch", "imagenet-sketch"),
    "objectnet": _objectnet,
    "cifar-10-c": _arrays(10),
    "cifar-100-c": _arrays(100),
    "imagenet-c": _trees(_C, "ImageNet-C", "ImageNet-C", "imagenet-c", baseline="alexnet"),
    "imagenet-c-bar": _trees(_C_BAR, "ImageNet-C-bar", "ImageNet-C-Bar", "imagenet-c-bar"),
    "imagenet-3dcc": _trees(_3DCC, "ImageNet-3DCC", "ImageNet-3DCC", "imagenet-3dcc"),
    "tiny-imagenet-c": _tiny,
    "imagenet-p": _videos,
    "cifar-10-p": _array_sequences(10),
    "cifar-100-p": _array_sequences(100),
}
"""The benchmarks that can be read."""
