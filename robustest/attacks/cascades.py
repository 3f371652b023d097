"""The cascades that robustest brings."""

from __future__ import annotations

from robustest.attacks.cascade import Cascade, Stage
from robustest.attacks.odi import ODIMargin
from robustest.attacks.square import Square

_QUICK = ODIMargin(start_steps=1, steps_after=7)

FAST = Cascade(
    name="fast",
    stages=(
        Stage(searcher=_QUICK, rounds=3),
        Stage(searcher=Square(queries=100), smallest=0.1),
    ),
)
"""For pull requests."""

STANDARD = Cascade(
    name="standard",
    stages=(
        Stage(searcher=_QUICK, rounds=5),
        Stage(searcher=Square(queries=200), smallest=0.2),
        Stage(searcher=Square(queries=800), smallest=0.08),
        Stage(searcher=Square(queries=3000), smallest=0.04),
    ),
)
"""The reference: at least AutoAttack's strength."""

CASCADES: dict[str, Cascade] = {cascade.name: cascade for cascade in (FAST, STANDARD)}
