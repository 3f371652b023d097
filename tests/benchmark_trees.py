"""Small trees of the published layouts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from robustest.data.benchmarks.images import imagenet_classes, imagenet_subset

TINY = tuple(f"n{at:08d}" for at in range(200))


def image(path: Path, label: int, *, side: int = 4, shade: float = 0.0) -> None:
    """An image whose colour says the class: red the hundreds and tens, green the ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (label // 10 * 2, label % 10 * 20, round(255 * shade))
    Image.new("RGB", (side, side), colour).save(path)


def class_tree(root: Path, classes: Sequence[str], *, suffix: str = ".png", side: int = 4, shade: float = 0.0) -> Path:
    """A folder a class with one image; of the first class two."""
    for label, name in enumerate(classes):
        for copy in range(2 if label == 0 else 1):
            image(root / name / f"image_{copy}{suffix}", label, side=side, shade=shade)
    return root


def corrupted_tree(root: Path, corruptions: Sequence[str], classes: Sequence[str], severities: Sequence[str]) -> Path:
    """A tree of corruption/severity/class/file in which blue says the severity."""
    for corruption in corruptions:
        for level, severity in enumerate(severities, 1):
            class_tree(root / corruption / severity, classes, shade=level / 10)
    return root


def objectnet(root: Path) -> Path:
    """Four of ObjectNet's folders with its mappings: one class is two of ImageNet's, one is one, others none."""
    lines = [f"label {at}, of line {at}" for at in range(1000)]
    mappings = {
        "folder_to_objectnet_label.json": {
            "alarm_clock": "Alarm clock",
            "backpack": "Backpack",
            "air_freshener": "Air freshener",
            "basket": "Basket",
        },
        "objectnet_to_imagenet_1k.json": {"Alarm clock": f"{lines[7]}; {lines[3]}", "Backpack": lines[500]},
        "pytorch_to_imagenet_2012_id.json": {str(at): (at + 1) % 1000 for at in range(1000)},
    }
    for name, content in mappings.items():
        (root / "mappings").mkdir(parents=True, exist_ok=True)
        (root / "mappings" / name).write_text(json.dumps(content))
    (root / "mappings" / "imagenet_to_label_2012_v2").write_text("\n".join(lines) + "\n")
    for folder in mappings["folder_to_objectnet_label.json"]:
        framed = np.zeros((12, 12, 3), dtype=np.uint8)
        framed[:, :, 0] = 255  # the red border
        framed[2:-2, 2:-2] = (0, 200, 0)
        path = root / "images" / folder / "photo.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(framed).save(path)
    return root


def cifar_c(root: Path, names: Sequence[str], *, n: int = 6, classes: int = 10) -> Path:
    """Arrays in five blocks of the same images; red says which image, green the severity."""
    root.mkdir(parents=True, exist_ok=True)
    labels = np.tile(np.arange(n) % classes, 5)
    np.save(root / "labels.npy", labels)
    images = np.zeros((5 * n, 32, 32, 3), dtype=np.uint8)
    images[..., 0] = np.tile(np.arange(n) * 10, 5)[:, None, None]
    images[..., 1] = np.repeat(np.arange(1, 6) * 20, n)[:, None, None]
    for name in names:
        np.save(root / f"{name}.npy", images)
    return root


R = imagenet_subset("imagenet-r")
A = imagenet_subset("imagenet-a")
ALL = imagenet_classes()
