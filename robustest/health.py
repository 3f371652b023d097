"""Health checks: signs that an attack could not do its work, or that a model's answers cannot be trusted."""


# Each check is one row of `CHECKS`, with counts of its cases and of its failures. The counts of chunks add up, and the
# sums decide once if the check stops a claim. Some checks have no counts: `random_forward` raises at the first case;
# `same_model` and `constant_answer` are found in the claim as a whole (`run.grounds`).

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

_CHANCE = 0.01
_USUAL = 0.1


class HealthWarning(UserWarning):
    """A finding of a health check, whose name begins the message."""


def unlikely(failed: int, tried: int) -> bool:
    """Return True if a sound model, of whose cases a tenth fail, has this number of failures at most 1 % of the time.

    The exact binomial test catches small numbers, on which a share alone says little.
    """
    # Imported here: SciPy takes a while to load, and the names of the checks are read when pytest starts.
    from scipy.special import betainc

    # P(X >= k) of a binomial X is the incomplete beta function I_p(k, n - k + 1).
    return failed > 0 and float(betainc(failed, tried - failed + 1, _USUAL)) <= _CHANCE + 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """One health check: its limits, and its words.

    Attributes:
        name: the name that `suppress` takes.
        found: the finding, where it stops a claim.
        remedy: advice for the user.
        unit: the cases that are counted.
        share: the share of failures that stops a claim. None lets `unlikely` alone decide.
        least: fewer failures than this do not stop a claim, unless `few` allows it.
        few: "unlikely": fewer stop it where they are `unlikely`; "all": where every case failed.
        about: "gradients": a claim whose survivors were searched without gradients passes all the same; "answers": the
            model's answers cannot be trusted under any search; "claim": it says next to nothing, even where it is
            proven.
    """

    name: str
    found: str
    remedy: str = ""
    unit: str = "samples"
    share: float | None = 0.0
    least: int = 1
    few: Literal["", "unlikely", "all"] = ""
    about: Literal["gradients", "search", "precision", "answers", "claim"] = "gradients"

    def stops(self, failed: int, tried: int) -> bool:
        if self.share is None:
            return unlikely(failed, tried)
        if failed < max(1, self.share * tried):
            return False
        few = (self.few == "unlikely" and unlikely(failed, tried)) or (self.few == "all" and failed == tried)
        return failed >= self.least or few


CHECKS = (
    HealthCheck(
        name="zero_gradient",
        found="the gradient at the input is zero everywhere",
        remedy="Remove the saturation or rounding in the forward, or attack with scores alone: square",
        share=0.1,
    ),
    HealthCheck(
        name="loss_does_not_rise",
        found="the attack's steps never lowered the margin: the gradient does not lead anywhere",
        remedy="Look for a wrong backward pass or a detach, check the step size, or try square",
        share=0.5,
    ),
    HealthCheck(
        name="gradient_misleads",
        found="the model does not change along its gradient as the gradient says: it is masked or wrong",
        remedy="Attack the part of the model behind the rounding, detach or own backward pass, or give a "
        "differentiable stand-in of it",
        unit="changes predicted by gradients",
        share=None,
    ),
    HealthCheck(
        name="black_box_beats_white_box",
        found="an attack without gradients broke what gradients did not: they are masked",
        remedy="Give the attack a differentiable replacement of the operation that masks the gradients",
        unit="samples that gradients left",
        share=0.1,
        least=5,
        few="unlikely",
    ),
    HealthCheck(
        name="unbounded_attack_fails",
        found="an attack that may change the input at will did not succeed: its gradients are masked",
        remedy="Look for what masks the gradients: the attack, not the model, is what was measured",
        unit="samples probed",
        share=0.25,
        least=2,
        few="all",
    ),
    HealthCheck(
        name="not_monotone",
        found="half the radius broke samples that the whole radius did not: the search is being misled",
        remedy="Give the attack more steps or restarts, or take another",
        unit="samples probed",
        share=0.25,
        least=2,
    ),
    HealthCheck(
        name="quantised_input",
        found="moving an input by less than a grey level changes no bit of the logits",
        remedy="Attack the model before its quantisation, or with scores or labels: square, hop-skip-jump",
        share=0.9,
    ),
    HealthCheck(
        name="saturated_softmax",
        found="the softmax of the outputs is 0 or 1 to the last bit: cross-entropy has no gradient",
        remedy="Use a loss on logits (apgd-margin, apgd-dlr, fast), and logits instead of probabilities",
        share=0.5,
    ),
    HealthCheck(
        name="precision_disagreement",
        found="in bfloat16 the model gives other answers to unchanged samples, and not for near ties alone",
        remedy="Look for a sum or a scale so large that rounding hides the differences between logits",
        share=0.1,
        least=2,
        few="all",
        about="precision",
    ),
    HealthCheck(
        name="reduced_precision",
        found="gradients in bfloat16 left samples that those in float32 break",
        remedy='Take precision="fp32"',
        unit="survivors attacked again",
        about="search",
    ),
    HealthCheck(
        name="batch_dependence",
        found="a sample's answer depends on the samples beside it in the batch",
        remedy="Let the forward treat each sample by itself: no statistics of the batch, no noise by position",
        share=0.1,
        about="answers",
    ),
    HealthCheck(
        name="history_dependence",
        found="an answer depends on the queries that the model got before",
        remedy="Switch off whatever remembers or counts queries: a sample's answer must be that of a model that got "
        "no other query",
        unit="queries",
        about="answers",
    ),
    HealthCheck(
        name="train_mode",
        found="parts of the model stayed in train mode, where their answers differ from those in eval mode",
        remedy="Let model.eval() reach every part, or export the model in eval mode",
        unit="parts",
        about="answers",
    ),
    HealthCheck(
        name="unreached_input",
        found="a part of the input had no gradient anywhere in the search, though the model reads it",
        remedy="Attack the part of the model behind the rounding, detach or flat part, give a differentiable stand-in "
        "of it, or attack with scores alone: scores_model(...), square",
        share=0.1,
        least=2,
        few="all",
    ),
    HealthCheck(
        name="weak_attack",
        found="an audit by other means broke samples that the attack had left",
        remedy='Take a stronger attack: attack="standard"',
        unit="samples audited",
        share=None,
        about="search",
    ),
    HealthCheck(
        name="unconfirmed_success",
        found="inputs that ended a search as misclassified are classified correctly when they are predicted again",
        remedy="Let the forward compute the same with and without gradients, and in a batch of any size",
        unit="successes",
        share=0.1,
        least=2,
        about="search",
    ),
    HealthCheck(
        name="weak_search",
        found="no search that counts for the threat looked at samples that are taken to be safe",
        remedy="Choose an attack that searches this threat with what the model gives, or allow the queries that the "
        "notes name",
        unit="samples taken to be safe",
        about="search",
    ),
    HealthCheck(
        name="idle_search",
        found="the attack's last proposal is the sample itself",
        remedy="Let the attack move the sample, or take another",
        unit="searches",
        share=0.9,
        about="search",
    ),
    HealthCheck(
        name="blind_scores",
        found="most queries changed no bit of the scores, which are rounded, saturated or remembered: the search was "
        "blind",
        remedy="Give logits or logarithms of probabilities at full resolution, without rounding or a cache; or the "
        "module itself",
        share=0.02,
        about="search",
    ),
    HealthCheck(
        name="no_room",
        found="the threat allows some samples no change, as they are silent",
        remedy="Leave silence out of the data, or claim accuracy of it",
        share=0.1,
        about="search",
    ),
    HealthCheck(
        name="no_change",
        found="the threat allows no change of the samples, or only of a few",
        remedy="Look for rules without room: one value in the data, a range of less than a step",
        share=0.9,
        about="claim",
    ),
    HealthCheck(
        name="radius_units",
        found="the radius is most likely in other units than the inputs",
        remedy="Give eps in input units, as the note says",
        about="claim",
    ),
    HealthCheck(name="same_model", found="a model is compared with itself", about="claim"),
    HealthCheck(name="constant_answer", found="one answer for every sample would pass", about="claim"),
    HealthCheck(
        name="missed_control",
        found="the search did not find an input that was planted in the region which it searches",
        remedy="Look for relations that leave next to nothing to change, or for moves that the threat refuses",
        unit="planted inputs",
        share=0.1,
        about="search",
    ),
    HealthCheck(name="random_forward", found="the model answers the same input differently", about="answers"),
    HealthCheck(
        name="softmax_outputs",
        found="the model's outputs look like probabilities, and an attack by their gradients has no audit",
        remedy="Remove the final softmax, or take the attack fast or standard",
    ),
)
"""Every health check, in the order of reports."""

HEALTH_CHECKS: Mapping[str, str] = {check.name: check.found for check in sorted(CHECKS, key=lambda one: one.name)}
"""The names that `suppress` takes, each with its finding."""

BEYOND_SEARCH = frozenset(check.name for check in CHECKS if check.about in {"answers", "claim"})
"""Checks that count for proofs as well as for searches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthFinding:
    """A health check that stops a claim, unless suppressed or carried.

    Attributes:
        name: the check's name, one of `HEALTH_CHECKS`.
        message: the finding with its numbers, the remedy, and the way to suppress it.
        suppressed: the user switched the check off.
        carried: it does not count because the claim does not rest on gradients: a search without gradients went through
            every sample that is taken to be safe, and a second one broke no more.
    """

    name: str
    message: str
    suppressed: bool
    carried: bool = False

    @property
    def stops(self) -> bool:
        """True if no claim that the finding is about may pass."""
        return not (self.suppressed or self.carried)


@dataclass(slots=True, kw_only=True)
class Health:
    """Counts of every health check over a measurement; those of its chunks add up in any order.

    Attributes:
        failed: cases that failed, by the check's name; names without a failure may be absent.
        tried: cases tried, by the check's name.
        searched_twice: survivors that two searches without gradients evaluated.
        broken_again: samples that a search without gradients broke after another one had not.
    """

    failed: dict[str, int] = field(default_factory=dict)
    tried: dict[str, int] = field(default_factory=dict)
    searched_twice: int = 0
    broken_again: int = 0

    def count(self, check: str, *, failed: int, tried: int) -> None:
        self.failed[check] = self.failed.get(check, 0) + failed
        self.tried[check] = self.tried.get(check, 0) + tried

    def counts(self, check: str) -> tuple[int, int]:
        """Return the failed cases of a check, and all tried ones."""
        return self.failed.get(check, 0), self.tried.get(check, 0)

    def plus(self, other: Health, sign: int = 1) -> Health:
        """Return the sum of two counts, or their difference for sign -1."""
        total = Health(
            searched_twice=self.searched_twice + sign * other.searched_twice,
            broken_again=self.broken_again + sign * other.broken_again,
        )
        for one, times in ((self, 1), (other, sign)):
            for name, tried in one.tried.items():
                total.count(name, failed=times * one.failed.get(name, 0), tried=times * tried)
        return total

    def without_survivors(self) -> Health:
        """Return the counts without those of survivors and their searches."""
        of_searches = {"weak_search", "blind_scores"}
        failed, tried = ({k: v for k, v in one.items() if k not in of_searches} for one in (self.failed, self.tried))
        return Health(failed=failed, tried=tried)

    def findings(self, suppress: Collection[str]) -> tuple[HealthFinding, ...]:
        """Return the checks that stop a claim; those in `suppress` are marked."""
        survivors = self.counts("weak_search")[1]
        # The claim rests on two searches without gradients: faults of gradients do not matter then.
        carried = 0 < survivors == self.searched_twice and not self.broken_again
        found = []
        for check in CHECKS:
            failed, tried = self.counts(check.name)
            if check.stops(failed, tried):
                message = (
                    f"{check.name}: {check.found} ({failed} of {tried} {check.unit}). {check.remedy}. "
                    f'If this is known and meant: suppress=("{check.name}",).'
                )
                quiet = check.name in suppress
                about_gradients = carried and check.about == "gradients"
                found.append(HealthFinding(name=check.name, message=message, suppressed=quiet, carried=about_gradients))
        return tuple(found)
