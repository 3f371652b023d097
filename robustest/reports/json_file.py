"""All results of a run as one JSON file."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from robustest.history import Origin
from robustest.reports.chance import Chance
from robustest.reports.states import STATES, Reported, state
from robustest.results import Result
from robustest.settings import Settings
from robustest.version import VERSION

SCHEMA = 5
"""The version of the form, which `result.schema.json` beside this module describes. Files of another are refused: 4 had
claims in words alone, so that no reader could tell which two results are of one claim."""


class Writable(Protocol):
    """A value that knows its plain form."""

    def to_dict(self) -> dict[str, Any]: ...


class Measured(Writable, Protocol):
    """A claim that was measured."""

    @property
    def result(self) -> Result | None: ...


class Told(Protocol):
    """What there is to tell of a run; see `robustest.account.Account`."""

    @property
    def results(self) -> Sequence[Measured]: ...
    @property
    def endings(self) -> Sequence[Writable]: ...
    @property
    def session(self) -> Writable | None: ...
    @property
    def lost(self) -> Sequence[str]: ...
    @property
    def rows(self) -> Sequence[Reported]: ...


def write(
    path: str,
    account: Told,
    settings: Settings,
    *,
    shard: Mapping[str, Any] | None = None,
    origin: Origin | None = None,
) -> None:
    """Write the file whole or not at all.

    Args:
        path: where to; folders are made.
        account: the run's; a reader must not trust a file that lost something.
        settings: the run's.
        shard: "index" of "count" shards, and all "tests" of the run before they were shared out; None where the run
            is whole.
        origin: when and of what commit the run was; None where that is not known.
    """
    counts = Counter(state(row) for row in account.rows)
    content = {
        "schema": SCHEMA,
        "robustest": VERSION,
        "origin": None if origin is None else origin.to_dict(),
        "settings": {**asdict(settings), "suppress": list(settings.suppress)},
        "shard": None if shard is None else dict(shard),
        "pytest": None if account.session is None else account.session.to_dict(),
        "counts": {name: counts[name] for name in STATES if counts[name]},
        "lost": list(account.lost),
        "chance": Chance.of(row.result for row in account.results).to_dict(),
        "tests": [ending.to_dict() for ending in account.endings],
        "results": [row.to_dict() for row in account.results],
    }
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(target)
