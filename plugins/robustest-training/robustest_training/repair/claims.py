"""The failed claim, measured again on the repaired model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from robustest import context
from robustest.errors import ClaimFailed, ConfigError, expected
from robustest.packs import Result
from robustest_training.repair.log import Repaired

Claim = Callable[[Any], Result]
"""Maps a model to the result of a claim: a function around a measurement or an assertion."""


def checked_again(repaired: Repaired, claim: Claim | None) -> Repaired:
    """Return the repair with the result of a claim in its log, whatever the verdict.

    Raises:
        ConfigError: the claim returns no result.
    """
    if claim is None:
        return repaired
    if not callable(claim):
        raise ConfigError(expected("claim to be a function from a model to a result", claim))
    try:
        result: object = claim(repaired.model)
    except ClaimFailed as failed:
        result = failed.result
    if not isinstance(result, Result):
        raise ConfigError(
            expected("claim to return a Result", result, "Return what a measure_ or assert_ function returns.")
        )
    # The result lists changes by class and group, in reports too: a claim that holds again may have its price.
    plain = repaired.log.to_dict()
    rows = {
        "classes_before_and_after_the_repair": plain["by_class"],
        "groups_before_and_after_the_repair": plain["by_group"],
    }
    lost = tuple(f"the repair cost: {note}" for note in repaired.log.losses)
    told = replace(
        result,
        details={**result.details, **{name: part for name, part in rows.items() if part}},
        notes=(*result.notes, *lost),
    )
    context.current().amend(result, told)
    return Repaired(repaired.model, repaired.log.but(claim=told))
