"""Health checks: signs that an attack could not do its work, so that what it found safe may not be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from scipy.stats import binom

from robustest.settings import HEALTH_CHECKS

_BY_CHANCE = 0.01
"""A count speaks where a sound model has so many, or more, at most this often."""
_USUAL = 0.1
"""Share that a sound model may have of what such counts count."""

OF_ANSWERS = frozenset({"batch_dependence", "history_dependence", "random_forward", "train_mode"})
"""Checks that speak of what the model answers, whatever is searched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthFinding:
    """A health check that spoke.

    Attributes:
        name: the check's, one of `HEALTH_CHECKS`.
        message: what was seen, with the numbers, what to do, and how to suppress it.
        suppressed: whether the user asked it not to count.
        carried: whether it does not count because the claim does not rest on gradients: a search without them went
            through all that is taken to be safe, and a second one found nothing more.
    """

    name: str
    message: str
    suppressed: bool
    carried: bool = False

    @property
    def stops(self) -> bool:
        """Whether no claim passes that it is about."""
        return not (self.suppressed or self.carried)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


@dataclass(slots=True)
class Health:
    """Counts over a whole measurement; chunks add to them in any order.

    Attributes:
        climbed: samples a gradient stage began on.
        zero: of those, samples whose first gradient was zero everywhere.
        climbed_first: samples that the first round of the first stage began on, with gradients.
        flat: of those, samples whose margin never fell below its clean value.
        promises: changes that gradients promised along short ways.
        unkept: of those, changes that were twice or half as large, or went the other way.
        asked: samples a gradient-free stage began on after gradient stages.
        broken_blind: of those, samples it broke.
        unbounded: survivors attacked without a bound, as a probe.
        unbounded_held: of those, samples still not broken.
        halved: survivors attacked at half the radius, as a probe.
        halved_broken: of those, samples broken there though not at the full radius.
        probed: samples whose input was moved by less than one 8-bit grey level.
        unmoved: of those, samples whose logits did not change in any bit.
        saturated: of those, samples whose softmax is 0 or 1 to the last bit, and leaves the attack no slope.
        rounded: samples passed in bfloat16 too.
        rounded_apart: of those, samples that float32 classifies clearly and bfloat16 otherwise.
        beside: samples passed alone and among others.
        beside_apart: of those, samples whose answer was another one.
        asked_anew: questions put to a model that was asked others before, and to one that was not.
        otherwise: of those, questions that the two answered otherwise.
        modal: parts of the model whose answers depend on its mode; counted once, where some part stayed in train mode.
        training: of those, parts that stayed in train mode.
        survivors: samples that the attack was made on and did not break.
        unsearched: of those, samples that nothing looked at that counts as a search of the threat.
        carried: of those, samples that two searches without gradients looked at.
        broken_again: samples that a search without gradients broke after another one had not.
        followed: samples that a search by gradients left, and of which it is known where it had a gradient.
        unreached: of those, samples with a part that had none, though the model reads it.
        audited: samples that the attack left and that an audit attacked by other means.
        audit_broken: of those, samples that the audit broke.
    """

    climbed: int = 0
    zero: int = 0
    climbed_first: int = 0
    flat: int = 0
    promises: int = 0
    unkept: int = 0
    asked: int = 0
    broken_blind: int = 0
    unbounded: int = 0
    unbounded_held: int = 0
    halved: int = 0
    halved_broken: int = 0
    probed: int = 0
    unmoved: int = 0
    saturated: int = 0
    rounded: int = 0
    rounded_apart: int = 0
    beside: int = 0
    beside_apart: int = 0
    asked_anew: int = 0
    otherwise: int = 0
    modal: int = 0
    training: int = 0
    survivors: int = 0
    unsearched: int = 0
    carried: int = 0
    broken_again: int = 0
    followed: int = 0
    unreached: int = 0
    audited: int = 0
    audit_broken: int = 0

    def findings(self, suppress: Collection[str]) -> tuple[HealthFinding, ...]:
        """The checks that speak on these counts."""
        blind = 0 < self.survivors == self.carried and not self.broken_again
        return tuple(
            HealthFinding(
                name=rule.name,
                message=_message(rule, getattr(self, rule.seen), getattr(self, rule.of)),
                suppressed=rule.name in suppress,
                carried=blind and rule.climbs,
            )
            for rule in _RULES
            if rule.speaks(getattr(self, rule.seen), getattr(self, rule.of))
        )


def odd(seen: int, of: int) -> bool:
    """Whether a sound model, which has a tenth of these, would seldom have so many (exact binomial test at 1 %)."""
    return seen > 0 and float(binom.sf(seen - 1, of, _USUAL)) <= _BY_CHANCE + 1e-12


def misleads(unkept: int, of: int) -> bool:
    """Whether so many promises of gradients, out of so many, were not kept that they cannot be trusted."""
    return odd(unkept, of)


class _Rule(NamedTuple):
    """When a check speaks: what was seen is this share of the whole or more, and so many at least.

    Attributes:
        few: fewer than `least` speak too where they are "odd" (see `odd`), or where they are "all" there are.
        always: whether `odd` alone decides, however many there are.
        climbs: whether it is about gradients, so that a claim that does not rest on them may pass.
    """

    name: str
    seen: str
    of: str
    share: float
    least: int = 1
    what: str = "samples"
    few: Literal["", "odd", "all"] = ""
    always: bool = False
    climbs: bool = True

    def speaks(self, seen: int, of: int) -> bool:
        """Whether so many of so many are a finding."""
        if self.always:
            return odd(seen, of)
        if seen < max(1, self.share * of):
            return False
        return seen >= self.least or (self.few == "odd" and odd(seen, of)) or (self.few == "all" and seen == of)


_RULES = (
    _Rule("zero_gradient", "zero", "climbed", 0.1),
    _Rule("loss_does_not_rise", "flat", "climbed_first", 0.5),
    _Rule("gradient_misleads", "unkept", "promises", 0.0, what="changes that gradients promised", always=True),
    _Rule("black_box_beats_white_box", "broken_blind", "asked", 0.1, 5, "samples that gradients left", few="odd"),
    _Rule("unbounded_attack_fails", "unbounded_held", "unbounded", 0.25, 2, "samples probed", few="all"),
    _Rule("not_monotone", "halved_broken", "halved", 0.25, 2, "samples probed"),
    _Rule("quantised_input", "unmoved", "probed", 0.9),
    _Rule("saturated_softmax", "saturated", "probed", 0.5),
    _Rule("precision_disagreement", "rounded_apart", "rounded", 0.1, 2, few="all", climbs=False),
    _Rule("batch_dependence", "beside_apart", "beside", 0.1, climbs=False),
    _Rule("history_dependence", "otherwise", "asked_anew", 0.0, what="questions", climbs=False),
    _Rule("train_mode", "training", "modal", 0.0, what="parts", climbs=False),
    _Rule("unreached_input", "unreached", "followed", 0.1, 2, few="all"),
    _Rule("weak_attack", "audit_broken", "audited", 0.0, what="samples audited", always=True, climbs=False),
    _Rule("weak_search", "unsearched", "survivors", 0.0, what="samples taken to be safe", climbs=False),
)

_MENDS: Mapping[str, str] = {
    "zero_gradient": "Remove the saturation or rounding in the forward, or attack with scores alone: square",
    "loss_does_not_rise": "Look for a wrong backward pass or a detach, check the step size, or try square",
    "gradient_misleads": "Attack the part of the model behind the rounding, detach or own backward pass, or give a "
    "differentiable stand-in of it",
    "black_box_beats_white_box": "Give the attack a differentiable stand-in of what masks the gradients",
    "unbounded_attack_fails": "Look for what masks the gradients: the attack, not the model, is what was measured",
    "not_monotone": "Give the attack more steps or restarts, or take another",
    "quantised_input": "Attack the model before its quantisation, or with scores or labels: square, hop-skip-jump",
    "saturated_softmax": "Use a loss on logits (apgd-margin, apgd-dlr, fast), and logits instead of probabilities",
    "precision_disagreement": "Look for a sum or scale in which the differences between logits drown",
    "batch_dependence": "Let the forward treat each sample by itself: no statistics of the batch, no noise by position",
    "history_dependence": "Switch off what the model remembers of its queries, or counts: a sample's answer must be "
    "that of a model that was asked nothing else",
    "train_mode": "Let model.eval() reach every part, or export the model in eval mode",
    "unreached_input": "Attack the part of the model behind the rounding, detach or flat part, give a differentiable "
    "stand-in of it, or attack with scores alone: scores_model(...), square",
    "weak_attack": 'Take a stronger attack: attack="standard"',
    "weak_search": "Choose an attack that searches this threat with what the model gives, or allow the queries that "
    "the notes name",
}
"""What to do, by the check that spoke."""


def _message(rule: _Rule, seen: int, of: int) -> str:
    found = f"{rule.name}: {HEALTH_CHECKS[rule.name]} ({seen} of {of} {rule.what})"
    return f'{found}. {_MENDS[rule.name]}. If this is known and meant: suppress=("{rule.name}",).'
