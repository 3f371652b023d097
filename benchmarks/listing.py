"""Time and memory of the names of ImageNet-C's files: 75 cells of 50,000 images, in a tree of empty files.

    python benchmarks/listing.py [--images 5000] [FOLDER]

A tree of 50,000 images has 3.75 million files in 75,000 folders; a smaller one has as many images in a class, and fewer
classes, so that time and memory grow in proportion.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import tracemalloc
from pathlib import Path

from robustest.data.benchmarks.corrupted import folder_cells
from robustest.data.benchmarks.images import read_image

CELLS, PER_CLASS = 75, 50


def grown(root: Path, images: int) -> tuple[dict[tuple[str, int], str], tuple[str, ...]]:
    """Make the tree; return the folders of its cells, and its classes."""
    classes = tuple(f"n{number:08}" for number in range(images // PER_CLASS))
    cells = [(f"corruption_{cell // 5}", cell % 5 + 1) for cell in range(CELLS)]
    folders = {(name, severity): f"{name}/{severity}" for name, severity in cells}
    for folder in folders.values():
        for place, name in enumerate(classes):
            (inside := root / folder / name).mkdir(parents=True)
            for one in range(PER_CLASS):
                os.mknod(inside / f"ILSVRC2012_val_{place * PER_CLASS + one:08}.JPEG")
    return folders, classes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("folder", nargs="?", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        folders, classes = grown(Path(made), options.images)
        started, cpu = time.perf_counter(), time.process_time()
        cells = folder_cells(Path(made), folders, classes, read_image, "the tree")
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        assert len(cells) == CELLS
        del cells
        tracemalloc.start()
        cells = folder_cells(Path(made), folders, classes, read_image, "the tree")
        kept, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert sum(len(one) for one in cells.values()) == CELLS * options.images
    share = 50_000 / options.images
    print(f"{options.images:,} x {CELLS} files: {seconds:.2f} s, {cpu:.2f} s of CPU")
    print(f"names: {kept / 1e6:.1f} MB kept, {most / 1e6:.1f} MB at most")
    megabytes = f"{share * kept / 1e6:.0f} MB, {share * most / 1e6:.0f} MB at most"
    print(f"50,000 x {CELLS} in proportion: {share * seconds:.1f} s, {megabytes}")


if __name__ == "__main__":
    main()
