"""All results of a run as one JSON file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from robustest.settings import Settings
from robustest.version import VERSION

SCHEMA = 1


class Writable(Protocol):
    """A row that knows its plain form."""

    def to_dict(self) -> dict[str, Any]: ...


def write(
    path: str,
    rows: Sequence[Writable],
    lost: Sequence[str],
    settings: Settings,
    *,
    shard: Mapping[str, Any] | None = None,
) -> None:
    """Write the file whole or not at all.

    Args:
        path: where to; folders are made.
        rows: one per claim.
        lost: what did not arrive, in sentences; a reader must not trust a file that lost something.
        settings: the run's.
        shard: "index" of "count" shards, and all "tests" of the run before they were shared out; None where the run
            is whole.
    """
    content = {
        "schema": SCHEMA,
        "robustest": VERSION,
        "settings": {**asdict(settings), "suppress": list(settings.suppress)},
        "shard": None if shard is None else dict(shard),
        "lost": list(lost),
        "results": [row.to_dict() for row in rows],
    }
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(target)
