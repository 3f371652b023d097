"""Metadata of every distribution from `robustest/version.py`: urls, authors, and absolute links in its README.

Each project's hook for hatchling, `hatch_build.py`, calls `set_address`; robustest's own is in `backend.py`.
"""

from __future__ import annotations

import posixpath
import re
import runpy
from pathlib import Path
from typing import Any

_FENCED = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s]+)\)")
_PICTURES = (".png", ".svg")


def absolute(text: str, home: str, folder: str) -> str:
    """Return a page of Markdown whose relative links lead to the repository at `home`.

    Args:
        text: the page.
        home: address of the repository.
        folder: the page's folder below the repository's root, "." for the root.
    """

    def led(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link[1]))
        return f"]({home}/{'raw' if path.endswith(_PICTURES) else 'blob'}/main/{path})"

    prose_and_code = _FENCED.split(text)
    prose_and_code[::2] = [_LINK.sub(led, prose) for prose in prose_and_code[::2]]
    return "".join(prose_and_code)


def set_address(metadata: dict[str, Any], project: Path) -> None:
    """Set urls, authors and the long description of the project in this folder, in place."""
    if "urls" in metadata:  # of PKG-INFO
        return
    root = Path(__file__).resolve().parents[1]
    about = runpy.run_path(str(root / "robustest" / "version.py"))
    home, (name, email) = about["HOME"], about["AUTHORS"]
    folder = project.resolve().relative_to(root).as_posix()
    pack = folder.startswith("plugins/")
    metadata["urls"] = {
        "Documentation": f"{home}/tree/main/{folder if pack else 'docs'}",
        "Changelog": f"{home}/blob/main/CHANGELOG.md",
        "Issues": f"{home}/issues",
        "Source": home,
    }
    metadata["authors"] = [{"name": name, "email": email}]
    page = (project / "README.md").read_text(encoding="utf-8")
    metadata["readme"] = {"content-type": "text/markdown", "text": absolute(page, home, folder)}
