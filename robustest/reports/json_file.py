"""All results of a run as one JSON file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from robustest.account import STATES, Account
from robustest.history import Origin
from robustest.reports.text import Chance
from robustest.safe_files import write_atomic
from robustest.settings import Settings
from robustest.typed import to_plain
from robustest.version import VERSION

SCHEMA = 5
"""Version of the format in `result.schema.json`; files of another version are refused.

Version 4 identified claims by their words alone, so a reader could not tell two results of one claim apart.
"""


def write(
    path: str,
    account: Account,
    settings: Settings,
    *,
    shard: Mapping[str, Any] | None = None,
    origin: Origin | None = None,
) -> None:
    """Write the file whole or not at all, and create missing folders.

    Args:
        shard: "index" and "count", ids of all "tests" of the run, and the ids "reported" here; None for a whole run.
        origin: time and commit of the run, if known.
    """
    counts = Counter(row.state for row in account.rows)
    content = {
        "schema": SCHEMA,
        "robustest": VERSION,
        "origin": to_plain(origin),
        "settings": {**asdict(settings), "suppress": list(settings.suppress)},
        "shard": None if shard is None else dict(shard),
        "pytest": to_plain(account.session),
        "counts": {name: counts[name] for name in STATES if counts[name]},
        # A reader must treat a file with losses as red, whatever its rows say.
        "lost": list(account.lost),
        "chance": to_plain(Chance.of(row.result for row in account.results)),
        "tests": to_plain(account.endings),
        "results": to_plain(account.results),
    }
    write_atomic(Path(path), f"{json.dumps(content, indent=1)}\n".encode())
