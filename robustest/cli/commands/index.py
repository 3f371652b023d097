"""One page over those of several runs."""

from __future__ import annotations

from pathlib import Path

from robustest.cli.exits import Exit, wrong


def index(folder: str) -> int:
    """Write `index.html` into a folder that has a folder with a page for each run.

    Args:
        folder: which.

    Raises:
        Refused: there is no such folder.
        StoreError: there is no page below it, or another page is in the index's place.
        ConfigError: Jinja2 is not installed.
    """
    from robustest.reports.html import index as pages

    if not Path(folder).is_dir():
        raise wrong(f"Expected a folder with the pages of runs but there is none at {folder}.")
    shown = pages.write(Path(folder))
    print(f"wrote {Path(folder) / 'index.html'}: {len(shown)} runs")  # noqa: T201 - what was asked for
    return Exit.OK
