"""The images of a study, made alike: one format, one size in pixels, no metadata, and a number for a name.

An attention check often comes from elsewhere. Were its file served as it is, its size, format or metadata would tell it
from the rest, so each image is decoded, fitted into one box and encoded anew.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robustest.errors import DataError
from robustest.packs import UnsafeFile, read_below

if TYPE_CHECKING:
    from PIL import Image

LARGEST = 64 * 2**20
"""Bytes of an image's file that is read."""
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_MOST_PIXELS = 50_000_000
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")
_WIDEST = 512  # pixels of a side as shown; what is smaller is not enlarged


def copy(folder: Path, names: Sequence[str], target: Path) -> None:
    """Write images as `0.png`, `1.png`, ... in the order of the names.

    Args:
        folder: where the names start; no name leads out of it.
        names: files in it: PNG, JPEG, WebP, GIF (its first picture) or BMP.
        target: a folder that is there.

    Raises:
        DataError: a file is missing, lies elsewhere, or is no image that can be shown.
    """
    sizes = [_open(folder, name).size for name in names]
    box = (min(_WIDEST, max(w for w, _ in sizes)), min(_WIDEST, max(h for _, h in sizes)))
    for number, name in enumerate(names):
        image = _fit(_flat(_open(folder, name), name), box)
        image.save(target / f"{number}.png", format="PNG")


def _open(folder: Path, name: str) -> Image.Image:
    """An image whose pixels are not decoded yet."""
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(read_below(folder, name, most=LARGEST)), formats=_FORMATS)
    except UnsafeFile as unfit:
        raise DataError(f"Expected images below {folder} but {unfit}.") from unfit
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"Expected an image at {folder / name} but got {type(error).__name__}: {error}.") from error
    if image.width * image.height > _MOST_PIXELS:
        raise DataError(
            f"Expected images of at most {_MOST_PIXELS:,} pixels but {name!r} is {image.width} x {image.height}."
        )
    return image


def _flat(image: Image.Image, name: str) -> Image.Image:
    """RGB as a viewer shows it: turned as its camera says, on white where it is transparent."""
    from PIL import Image, ImageOps

    try:
        turned = ImageOps.exif_transpose(image)
        # What Pillow's `has_transparency_data` says from 10.1 on.
        if turned.mode not in _TRANSPARENT and "transparency" not in turned.info:
            return turned.convert("RGB")
        white = Image.new("RGBA", turned.size, "white")
        return Image.alpha_composite(white, turned.convert("RGBA")).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:  # SyntaxError: Pillow's, of a PNG that is damaged
        raise DataError(f"Expected a whole image but {name!r} is damaged: {error}.") from error


def _fit(image: Image.Image, box: tuple[int, int]) -> Image.Image:
    """The image amid grey, as large as the box lets it be."""
    from PIL import Image, ImageOps

    if image.size == box:
        return image
    inside = ImageOps.contain(image, box, Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", box, (128, 128, 128))
    sheet.paste(inside, ((box[0] - inside.width) // 2, (box[1] - inside.height) // 2))
    return sheet
