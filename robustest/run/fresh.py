"""An adaptive model, reset before each of several conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from robustest.decisions import ShareRule
from robustest.errors import ConfigError
from robustest.run.driver import observe
from robustest.run.evidence import Columns, Evidence, Look
from robustest.run.plan import Plan, Setup

ADAPTS = "the model adapts to what it is shown; it was reset before each condition"


def fresh_setup(setup: Setup) -> Setup:
    """Return the setup of a claim for an adaptive model: about this set, and all of it.

    Raises:
        ConfigError: the claim is about a population.
    """
    if setup.model.reset is None:
        return setup
    if setup.settings.scope != "set":
        raise ConfigError(
            'Expected scope="set" for a model that adapts: its answers hang together, so that intervals for a '
            "population do not hold."
        )
    return setup.but(exact=True, max_samples=None, time_budget=None)


def observe_fresh(plan: Plan, setup: Setup, looks: Sequence[Look], joined: Callable[[Columns], Columns]) -> Evidence:
    """Measure a plan's samples under several looks, each with the model reset, and decide on all columns together.

    Args:
        looks: one per condition; their columns have different names, except "held".
        joined: computes "held" of all columns.
    """
    rule = ShareRule(threshold=None, at_least=True, terms=setup.alone)
    # The check before the first chunk of each look resets the model (`robustest.engine.answer_checks`).
    parts = [observe(setup.plan(plan.statement, look, rule, adapts=True)) for look in looks]
    columns = joined({name: column for part in parts for name, column in part.columns.items()})
    whole = replace(parts[-1].including(*parts[:-1]), columns=columns)
    if setup.model.reset is not None:
        setup.model.reset()
    decision = plan.rule.decide({**columns, "id": whole.ids}, whole.total, None)
    return replace(whole, decision=decision)
