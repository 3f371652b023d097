"""A green says something, whatever the kind of claim: every kind of the package, and the toy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from says_something import SaysSomething, Table
from toy_claim import DUSK, assert_dusk

sys.path.pop(0)
sys.path.pop(0)
import robustest
from robustest import Result
from robustest.claims import kinds
from robustest.kinds import Kind


def claims() -> Iterator[tuple[Kind, Callable[..., Result]]]:
    """Yield every kind of the package with its assertion, and the toy's."""
    every = [getattr(robustest, name) for name in robustest.__all__ if name.startswith("assert_")]
    for assertion in every:
        yield kinds()[assertion.__name__.removeprefix("assert_")], assertion
    yield DUSK, assert_dusk


class TestOfThePackage(SaysSomething):
    table = Table(
        assertions={kind.name: (kind, assertion) for kind, assertion in claims()},
        without_labels={
            "ood_rejected": "it reads confidences alone",
            "stable_under_perturbations": "it compares answers",
        },
        of_given_items={"worst_item_rate": "each item has a chance of its own, which its own runs show"},
    )
