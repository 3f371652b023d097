"""The git repository of a project, and the place of the project in it: its service."""

from __future__ import annotations

from pathlib import Path


def service_of(root: Path) -> str:
    """Return the place of a folder in its git repository, "services/a"; "" for its root, or without one."""
    there = root.resolve()
    found = there.relative_to(repository_of(there)).as_posix()
    return "" if found == "." else found


def repository_of(root: Path) -> Path:
    """Return the root of the git repository with a folder, resolved; the folder itself, as given, if it is the root."""
    there = root.resolve()
    top = next((folder for folder in (there, *there.parents) if (folder / ".git").exists()), there)
    return root if top == there else top
