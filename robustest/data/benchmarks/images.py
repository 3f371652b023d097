"""Image files in folders, as published: which there are, and what a model is shown of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robustest.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
RESIZED, SHOWN = 256, 224
"""Pixels of the shorter side, and of the square in its middle that a model is shown."""

View = Callable[[Image.Image], Any]
"""Maps a PIL image in RGB to what a model is shown: a tensor (C, H, W) of floats, or another PIL image."""


@dataclass(frozen=True, slots=True)
class Centre:
    """ImageNet's usual view: the shorter side to 256 pixels, and the 224 x 224 in the middle.

    An image of 224 x 224 stays as it is: those of ImageNet-C are cut already.

    Attributes:
        border: pixels cut off every side first.
    """

    border: int = 0

    def __call__(self, image: Image.Image) -> Image.Image:
        """What the model is shown."""
        if self.border:
            image = image.crop((self.border, self.border, image.width - self.border, image.height - self.border))
        if image.size == (SHOWN, SHOWN):
            return image
        shorter = min(image.size)
        width, height = (max(1, side * RESIZED // shorter) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = round((width - SHOWN) / 2), round((height - SHOWN) / 2)
        return image.crop((left, top, left + SHOWN, top + SHOWN))


def as_it_is(image: Image.Image) -> Image.Image:
    """The whole image."""
    return image


def read_image(path: Path, view: View) -> Tensor:
    """(3, H, W) float32 in [0, 1] of a file, as a view shows it.

    Raises:
        DataError: it is no image; or as `shown`.
    """
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except OSError as error:
        raise DataError(f"Expected an image in {path} but got: {error}.") from error
    return shown(view, image)


def shown(view: View, image: Image.Image) -> Tensor:
    """(3, H, W) float32 in [0, 1] of an image in RGB, as a view shows it.

    Raises:
        DataError: the view gives neither an image nor a tensor of floats.
    """
    seen = view(image)
    if isinstance(seen, Image.Image):
        return torch.from_numpy(np.array(seen.convert("RGB"))).permute(2, 0, 1).float().div_(255)
    if not isinstance(seen, Tensor) or not seen.is_floating_point():
        raise DataError(f"Expected view= to give a PIL image or a tensor of floats but got {type(seen).__name__}.")
    return seen.float()


def folders_in(root: Path) -> list[str]:
    """The names of the folders in a folder, sorted; hidden ones aside.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"Expected a folder at {root} but there is none.")
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def class_files(
    root: Path, classes: Sequence[str], what: str, *, others: bool = False, suffixes: frozenset[str] = SUFFIXES
) -> list[tuple[str, int]]:
    """(path under root, label) of the images of each class, in the order of the classes, each one's sorted by name.

    Args:
        root: the folder with a folder a class.
        classes: the names of the folders, in the order of the labels.
        what: whose classes these are, for messages.
        others: whether folders of other classes may stand beside.
        suffixes: what the names of the files end in, in lower case.

    Raises:
        DataError: a class has no folder, or no image; or a folder is of no class.
    """
    there = set(folders_in(root))
    absent, foreign = [name for name in classes if name not in there], sorted(there.difference(classes))
    parts = [f"{len(absent)} are missing (the first: {absent[0]})"] if absent else []
    if foreign and not others:
        parts.append(f"{len(foreign)} are of no such class (the first: {foreign[0]})")
    if parts:
        told = "; ".join(parts)
        raise DataError(f"Expected {len(classes)} folders, one for each class of {what}, in {root} but {told}.")
    found: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        images = sorted(e.name for e in os.scandir(root / name) if Path(e.name).suffix.lower() in suffixes)
        if not images:
            raise DataError(f"Expected files of class {name} of {what} in {root / name} but there are none.")
        found += [(f"{name}/{image}", label) for image in images]
    return found


def beside(root: Path, *inside: str) -> Path:
    """The first of these folders under root that is there, or root itself: archives come with a folder or without."""
    return next((root / name for name in inside if (root / name).is_dir()), root)
