"""Paths of saved pictures inside results, which start at one folder or at another."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustest.results import Result


def rebased(result: Result, start: Path, to: Path) -> Result:
    """A result whose pictures are named from another folder.

    Args:
        result: its relative paths begin at `start`.
        start: a folder.
        to: the folder that they are to begin at.
    """
    if os.path.abspath(start) == os.path.abspath(to):
        return result
    worst = tuple(
        one if one.image is None else replace(one, image=_rebase(one.image, start, to))
        for one in result.counterexamples
    )
    details: Mapping[str, Any] = result.details
    sheets = details.get("pictures")
    if isinstance(sheets, (list, tuple)):
        moved = [
            {**one, "image": _rebase(one["image"], start, to)}
            if isinstance(one, Mapping) and isinstance(one.get("image"), str)
            else one
            for one in sheets
        ]
        details = {**details, "pictures": moved}
    return replace(result, counterexamples=worst, details=details)


def _rebase(image: str, start: Path, to: Path) -> str:
    try:
        return Path(os.path.relpath(start / image, to)).as_posix()
    except ValueError:  # another drive, or a path with a NUL in it
        return image
