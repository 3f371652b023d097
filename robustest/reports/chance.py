"""How many verdicts of a run rest on alpha, and what that adds up to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from robustest.results import Result, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """What chance has to do with the verdicts of a run.

    Attributes:
        verdicts: claims that passed or failed.
        at_alpha: those that rest on alpha; the others are certain.
        levels: the levels alpha of those, smallest and largest; (0, 0) where there are none.
        wrong: how many wrong verdicts are to be expected at most. Before anything is looked at, each claim errs with
            its own alpha at most, so that is their sum, over all that might have come to rest on it: those that do were
            picked by the outcome. It is no more than `at_alpha`, as a verdict that is certain is not wrong.
        no_loss: those that passed against a baseline as no loss was shown. Alpha bounds how often one is called worse
            by chance; how small a loss goes unseen is for the number of samples to say.
        about: those of rules that aim at alpha and do not bound the error by it, as a bootstrap does.
    """

    verdicts: int
    at_alpha: int
    levels: tuple[float, float]
    wrong: float
    no_loss: int
    about: int = 0

    @classmethod
    def of(cls, results: Iterable[Result | None]) -> Chance:
        """What becomes of these results; None is what could not be measured."""
        claims = [result for result in results if result is not None and result.is_claim]
        judged = [claim for claim in claims if claim.verdict is not Verdict.INCONCLUSIVE]
        resting = [claim for claim in judged if claim.at_alpha]
        levels = [claim.alpha for claim in resting]
        return cls(
            verdicts=len(judged),
            at_alpha=len(resting),
            levels=(min(levels), max(levels)) if levels else (0.0, 0.0),
            wrong=min(float(len(resting)), sum(claim.alpha for claim in claims)) if resting else 0.0,
            no_loss=sum(bool(c.details.get("baseline")) and c.verdict is Verdict.PASSED for c in resting),
            about=sum(claim.details.get("approximate") is True for claim in resting),
        )

    def __str__(self) -> str:
        """One sentence; empty where every verdict is certain."""
        if not self.at_alpha:
            return ""
        low, high = self.levels
        level = f"alpha = {low:g}" if low == high else f"alpha = {low:g} to {high:g}"
        of = f"{self.at_alpha} of {self.verdicts} verdict{'s' * (self.verdicts > 1)}"
        rest = (
            f"{of} rest{'s' * (self.at_alpha == 1)} on {level}: at most {self.wrong:.2g} wrong expected in such a run"
        )
        if self.about:
            rest = f"{rest}, but for {self.about} that hold{'s' * (self.about == 1)} only about alpha"
        if not self.no_loss:
            return rest
        passed = f"{self.no_loss} comparison{'s' * (self.no_loss > 1)} with a baseline passed"
        return f"{rest}; {passed} as no loss was shown"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "levels": list(self.levels)}
