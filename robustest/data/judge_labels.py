"""Human labels of items that a judge scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from os import PathLike
from typing import Any, Literal

from robustest.data.outcomes import Outcomes
from robustest.errors import ConfigError, expected

Recorded = Outcomes | str | PathLike[str] | Sequence[Any] | Mapping[str, Any]
"""Recorded outcomes, a file of them or several, or their rows."""


@dataclass(frozen=True)
class JudgeLabels:
    """Human labels of items that a judge scored, by which the judge's errors are known.

    Raises:
        ConfigError: it is not said how the labelled items were chosen.
    """

    # scores that people gave to some items; None if there are none, so that no claim on the judge's scores passes
    truth: Recorded | None
    _: KW_ONLY
    # choice of the labelled items among those of the claim: "random" if chance alone chose them, "chosen" if somebody
    # or something did, as the newest, the hardest or the rejected ones; None if they are other items (see `scores`)
    drawn: Literal["random", "chosen"] | None = None
    # the judge's scores of the labelled items, if these are no items of the claim; None if they are
    scores: Recorded | None = None

    def __post_init__(self) -> None:
        if self.truth is None:
            return
        rows = isinstance(self.truth, (list, tuple, Mapping)) or hasattr(self.truth, "columns")
        if not rows and not isinstance(self.truth, (Outcomes, str, PathLike)):
            raise ConfigError(
                expected("labels as outcomes, or their file", self.truth, "Make them: Outcomes.of(rows).")
            )
        if self.scores is not None and self.drawn is not None:
            what = "no drawn= for labels of other items, whose scores= are given"
            raise ConfigError(
                expected(what, self.drawn, "They are assumed to be judged as the items of the claim are.")
            )
        if self.scores is None and self.drawn not in ("random", "chosen"):
            raise ConfigError(
                expected(
                    'drawn="random" or drawn="chosen"',
                    self.drawn,
                    'Say "random" only if chance alone chose the items that people labelled.',
                )
            )
