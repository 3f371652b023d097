"""Benchmarks by name: the layout of their files, and their readers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robustest.data.benchmarks.benchmark import Benchmark
from robustest.data.benchmarks.corrupted import (
    CorruptedBenchmark,
    SequenceBenchmark,
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
    ClassMap,
    View,
    as_it_is,
    beside,
    class_files,
    folders_in,
    imagenet_classes,
    imagenet_subset,
    shared_classes,
)
from robustest.errors import ConfigError, DataError, expected, unknown

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
# The folders that ImageNet-C's archives are named after; some unpack each into its own.
_GROUPS = ("noise", "blur", "weather", "digital", "extra")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The arguments of `benchmark`."""

    name: str
    root: Path
    view: View | None
    clean: Any

    def refuse_clean(self) -> None:
        """Raise ConfigError if clean= is given to a benchmark without corrupted images."""
        if self.clean is not None:
            raise ConfigError(f"Expected no clean= for {self.name}: its images are no others' corrupted ones.")


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
        clean: for corrupted images: the same images without corruption, as data or as a folder with a folder for each
            class; falls from clean accuracy and the relative mCE need it.

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
    if not isinstance(root, (str, os.PathLike)):
        raise ConfigError(expected("root to be the path of a folder", root))
    if view is not None and not callable(view):
        raise ConfigError(expected("view to be a function of a PIL image", view))
    path = Path(root)
    if not path.is_dir():
        raise DataError(f"Expected {name} unpacked in {path} but there is no such folder.")
    return BENCHMARKS[name](Asked(name=name, root=path, view=view, clean=clean))


def _folders(what: str, published: int, *inside: str) -> Callable[[Asked], Benchmark]:
    """Read a benchmark with a folder for each class, named by its WordNet id."""

    def read(asked: Asked) -> Benchmark:
        asked.refuse_clean()
        classes = imagenet_subset(asked.name)
        root = beside(asked.root, *inside)
        return _benchmark(asked, root, class_files(root, classes.names, what), classes, published=published)

    return read


def _imagenet_v2(asked: Asked) -> Benchmark:
    asked.refuse_clean()
    variants = ("matched-frequency", "threshold-0.7", "threshold0.7", "top-images", "topimages")
    root = beside(asked.root, *(f"imagenetv2-{one}-format-val" for one in variants))
    # Folders are named by class index: sorted as texts, 10 would come before 2.
    files = class_files(root, [str(at) for at in range(1000)], "ImageNet-V2")
    return _benchmark(asked, root, files, imagenet_subset(asked.name), published=10_000)


def _objectnet(asked: Asked) -> Benchmark:
    asked.refuse_clean()
    root = beside(asked.root, "objectnet-1.0")
    classes = shared_classes(root / "mappings")
    files = class_files(root / "images", classes.names, "ObjectNet that ImageNet has too", others=True)
    # ObjectNet's images have a red border of two pixels.
    return _benchmark(asked, root / "images", files, classes, published=18_574, view=Centre(border=2))


def _benchmark(
    asked: Asked,
    root: Path,
    files: list[tuple[str, int]],
    classes: ClassMap,
    *,
    published: int,
    view: View | None = None,
) -> Benchmark:
    return Benchmark(
        name=asked.name,
        root=root,
        files=tuple(name for name, _ in files),
        labels=np.array([label for _, label in files]),
        classes=classes,
        published=published,
        view=asked.view or view or Centre(),
    )


def _arrays(classes: int) -> Callable[[Asked], CorruptedBenchmark]:
    def read(asked: Asked) -> CorruptedBenchmark:
        _no_view(asked)
        root = beside(asked.root, f"CIFAR-{classes}-C")
        # Four further corruptions are in the archive and not in the benchmark; they are read if present.
        extra = tuple(name for name in _C_EXTRA if (root / f"{name}.npy").is_file())
        cells = array_cells(root, (*_C, *extra), classes, asked.name)
        clean = None if asked.clean is None else paired(asked.clean, cells, asked.name)
        names = tuple(map(str, range(classes)))
        return CorruptedBenchmark(name=asked.name, cells=cells, clean=clean, classes=names, published=10_000)

    return read


def _trees(
    corruptions: tuple[str, ...], what: str, *inside: str, baseline: str = ""
) -> Callable[[Asked], CorruptedBenchmark]:
    def read(asked: Asked) -> CorruptedBenchmark:
        root = beside(asked.root, *inside)
        return _corrupted(asked, root, corruptions, imagenet_classes(), view=Centre(), about=(what, 50_000, baseline))

    return read


def _tiny(asked: Asked) -> CorruptedBenchmark:
    root = beside(asked.root, "Tiny-ImageNet-C")
    first = _cells(root, _C[:1], "Tiny-ImageNet-C")[_C[0], 1]
    classes = tuple(folders_in(root / first))
    # The archive has no list of its classes: they are the sorted folders of the first cell.
    if len(classes) != 200:
        raise DataError(f"Expected Tiny-ImageNet-C's 200 classes in {root / first} but got {len(classes)} folders.")
    return _corrupted(asked, root, _C, classes, view=as_it_is, about=("Tiny-ImageNet-C", 10_000, ""))


def _corrupted(
    asked: Asked,
    root: Path,
    corruptions: tuple[str, ...],
    classes: tuple[str, ...],
    *,
    view: View,
    about: tuple[str, int, str],
) -> CorruptedBenchmark:
    what, published, baseline = about
    shown = asked.view or view
    cells = folder_cells(root, _cells(root, corruptions, what), classes, shown, what)
    clean = asked.clean
    if isinstance(clean, (str, os.PathLike)):
        clean = paired_folder(beside(Path(clean), "val"), cells, classes, shown, what)
    elif clean is not None:
        clean = paired(clean, cells, what)
    return CorruptedBenchmark(
        name=asked.name, cells=cells, clean=clean, classes=classes, published=published, baseline=baseline
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


def _videos(asked: Asked) -> SequenceBenchmark:
    asked.refuse_clean()
    return video_sequences(beside(asked.root, "ImageNet-P"), imagenet_classes(), asked.view or Centre(), asked.name)


def _array_sequences(classes: int) -> Callable[[Asked], SequenceBenchmark]:
    def read(asked: Asked) -> SequenceBenchmark:
        asked.refuse_clean()
        _no_view(asked)
        return array_sequences(beside(asked.root, f"CIFAR-{classes}-P"), asked.name)

    return read


def _no_view(asked: Asked) -> None:
    if asked.view is not None:
        raise ConfigError(f"Expected no view= for {asked.name}: its images are arrays, shown as they are.")


BENCHMARKS: Mapping[str, Callable[[Asked], Benchmark | CorruptedBenchmark | SequenceBenchmark]] = {
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
