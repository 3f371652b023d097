"""The files that the options of a run ask for; each reporter is loaded only where it has something to write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from robustest.ledger import Row
    from robustest.settings import Settings


def write(
    config: pytest.Config, rows: Sequence[Row], lost: Sequence[str], settings: Settings, *, shard: dict[str, Any] | None
) -> None:
    """Write JSON, page and JUnit file.

    Args:
        config: has the options, and the folder that the run was started in.
        rows: what was recorded, in the order of collection.
        lost: what did not arrive, in sentences.
        settings: the run's.
        shard: which part of a run this is; None where it is the whole.
    """
    json, page, junit = (config.getoption(f"--robust-{kind}") for kind in ("json", "html", "junit"))
    if json:
        from robustest.reports.json_file import write as write_json

        write_json(json, rows, lost, settings, shard=shard)
    if page:
        from robustest.reports import html
        from robustest.store.provenance import commit

        html.write(
            page,
            rows,
            lost,
            settings,
            inline=config.getoption("--robust-html-inline"),
            origin=str(config.invocation_params.dir),
            about={"commit": commit()} if commit() else None,
        )
    if junit:
        from robustest.reports.junit import write as write_junit

        write_junit(junit, rows, lost)
