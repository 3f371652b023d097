"""The likely cause of a claim that did not pass, and the next step, from the evidence in its result."""

# Causes are looked for in the order of what they leave for the others to explain: a mistake in the set-up makes every
# number below it meaningless, a model that is wrong before any change says nothing of the change, and a change is the
# cause only where no single class or group is.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustest.health import CHECKS
from robustest.results import REASONS, Result, Verdict
from robustest.version import HOME
from robustest.words import clean_share, number

HINT = "hint: "
"""Prefix of a note that hints at a likely mistake; no verdict rests on it."""

NOT_REMEMBERED = "not remembered: "
"""Prefix of the note that names why a later run measures the claim again."""

PAGES = f"{HOME}/tree/main/docs/"
"""Address of the documentation's folder."""

# A group, class or change explains a failure if without it the value differs at least by this.
_APART = 0.1
# An accuracy up to so many times that of always naming the largest class comes from a mistake, not from training.
_ABOVE_CHANCE = 1.2
# Largest number of samples that is worth naming.
_MANY = 10_000_000


@dataclass(frozen=True, slots=True)
class Advice:
    """A cause and a step, each a sentence without its full stop."""

    cause: str
    step: str
    page: str  # page below the folder `docs`, with its section

    @property
    def next(self) -> str:
        """The step with its page."""
        return f"{self.step} (docs/{self.page})"

    @property
    def link(self) -> str:
        return f"{PAGES}{self.page}"


def advice_on(result: Result) -> Advice | None:
    """Return the likely cause and the next step of a claim that did not pass; None for any other result."""
    if result.verdict is Verdict.PASSED or not result.is_claim:
        return None
    if result.verdict is Verdict.INCONCLUSIVE:
        return _undecided(result)
    for look in (_lost, _set_up, _wrong_before, _limit, _group, _class, _saturated, _near, _cue, _change):
        if found := look(result):
            return found
    low, high = result.interval
    value = result.estimate if result.estimate is not None else high if result.ruling.comparison == ">=" else low
    gap = "" if result.ruling.threshold is None else f"by {abs(value - result.ruling.threshold):.3g}, and "
    first = "look at the worst samples" if result.counterexamples else "look at the outcomes (--robust-json)"
    return Advice(
        f"the value misses the threshold {gap}no check, class or group explains it",
        f"{first}; robustest suggest prints the threshold that the model holds",
        "cli.md#suggest",
    )


def _undecided(result: Result) -> Advice:
    reason, _, name = (result.ruling.reasons[0] if result.ruling.reasons else "undecided").partition(":")
    cause = REASONS.get(reason, result.rule)
    page = "verdicts.md#coverage-of-a-verdict"
    if reason == "health":
        check = next((one for one in CHECKS if one.name == name), None)
        return Advice(
            f"{name}: {check.found}" if check else cause,
            check.remedy if check and check.remedy else "mend what the check found",
            "attack-reference.md#health-checks",
        )
    if reason in ("undecided", "no_threshold"):
        return Advice(
            f"too few samples: {cause}", _more_samples(result) or "measure more samples", "verdicts.md#early-verdicts"
        )
    seen = f"{result.numbers.n} of {result.numbers.n_total} samples were evaluated" if result.numbers.n_total else cause
    steps = {
        "budget": (
            seen,
            "raise max_samples or time_budget, or claim it in a nightly run",
            "verdicts.md#early-verdicts",
        ),
        "unchanged": (cause, "raise the severity or the radius, or test only samples that it changes", page),
        "no_fall": (cause, "claim the accuracy before the change first: assert_accuracy", "claims/accuracy.md"),
        "copies": (result.rule, "leave the copies out, and add samples of their own", "verdicts.md#two-kinds-of-claim"),
        "clusters": (result.rule, "give samples of more clusters", "verdicts.md#clusters"),
        "few_runs": (
            result.rule,
            'record more runs of each item, or claim it of these runs (scope="set")',
            "outcomes.md#verdicts",
        ),
        "judge": (result.rule, "label some items: JudgeLabels(labels, drawn=)", "claims/rate.md#scores-of-a-judge"),
        "unaudited": (cause, "attack by other means as well: attack='standard'", "attacks.md"),
        "control": (cause, "mend the control first: a search that misses it may miss anything", "features.md"),
        "not_searched": (cause, "run it again without --robust-replay-only", "cli.md#corpus"),
        "unfit": (f"{cause}: {result.rule}", "give it more samples, or other ones to fit on", "which-claim.md"),
    }
    return Advice(*steps.get(reason, (result.rule, "measure more samples", page)))


def _lost(result: Result) -> Advice | None:
    baseline = result.details.get("baseline")
    if "baseline" not in result.ruling.reasons or not isinstance(baseline, Mapping) or "lost" not in baseline:
        return None
    other = baseline.get("model")
    before = f"the model {other}" if other else f"commit {baseline.get('commit')}"
    return Advice(
        f"{baseline['lost']} samples that held with {before} do not hold now, and {baseline['gained']} the other way",
        "look at what changed between the two; robustest compare names the samples",
        "verdicts.md#no-worse-than-it-was",
    )


def _set_up(result: Result) -> Advice | None:
    """Blame a likely mistake of which the run has a hint, if the value is one that such mistakes lead to."""
    hint = next((note for note in result.words.notes if note.startswith(HINT)), "")
    seen = result.details.get("clean_seen")
    shares = [clean_share(seen)] if isinstance(seen, Mapping) and seen.get("of") else []
    numbers = result.numbers
    shares += [numbers.value] if numbers.quantity.endswith("accuracy") and result.ruling.comparison == ">=" else []
    if not hint or not shares or min(shares) > _ABOVE_CHANCE * _chance(result):
        return None
    return Advice(hint.removeprefix(HINT), "mend this first, then measure again", "troubleshooting.md")


def _chance(result: Result) -> float:
    largest, names = result.details.get("largest_class"), result.details.get("class_names")
    if isinstance(largest, int) and result.numbers.n:
        return largest / result.numbers.n
    return 1 / max(len(names), 2) if isinstance(names, (list, tuple)) else 0.1


def _limit(result: Result) -> Advice | None:
    if "limit" not in result.ruling.reasons:
        return None
    return Advice(result.rule, "loosen that limit, or change the model in what it limits", "which-claim.md")


def _wrong_before(result: Result) -> Advice | None:
    seen, of_accuracy = result.details.get("clean_seen"), result.numbers.quantity.endswith("accuracy")
    if not isinstance(seen, Mapping) or result.ruling.comparison != ">=" or not of_accuracy:
        return None
    failures, wrong, of = (int(seen.get(name, 0)) for name in ("failures", "wrong", "of"))
    if not of or 2 * wrong <= failures:
        return None
    before = clean_share(seen)
    accuracy = number(before, result.ruling.threshold)
    cause = f"{wrong} of {failures} failures were wrong before any change (clean accuracy {accuracy})"
    if before <= _ABOVE_CHANCE * _chance(result):
        step = "check the labels, their order, the loaded weights and the inputs' scale"
    else:
        step = "claim the clean accuracy by itself (assert_accuracy), and the change by what it costs"
    return Advice(cause, step, "claims/accuracy.md")


def _rows(details: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    rows = details.get(key)
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, (list, tuple)) else []


def _group(result: Result) -> Advice | None:
    shares = []
    for row in _rows(result.details, "groups"):
        share, n = row.get("accuracy", row.get("estimate")), row.get("n")
        if share is None and isinstance(row.get("held"), int) and n:  # an early verdict has counts alone
            share = row["held"] / n
        if isinstance(share, (int, float)) and isinstance(n, int) and n and "group" in row:
            shares.append((float(share), n, str(row["group"])))
    if len(shares) < 2:
        return None
    (low, n, name), others = min(shares), sorted(shares)[1:]
    rest = sum(share * of for share, of, _ in others) / sum(of for _, of, _ in others)
    if rest - low < _APART:
        return None
    step = "look at that group's samples first; robustest_training.repair trains on groups that are left behind"
    if "items" in result.details:  # recorded outcomes, which no training changes
        step = "look at that group's items first: their inputs, their labels and the rule that scored them"
    return Advice(
        f"one group: {name!r} has {number(low, result.ruling.threshold)} on {n} samples, the others {number(rest)}",
        step,
        "groups.md",
    )


def _class(result: Result) -> Advice | None:
    failed = result.details.get("failures_of_class")
    if not isinstance(failed, Mapping):
        return None
    number, names = failed["class"], result.details.get("class_names")
    named = isinstance(names, (list, tuple)) and isinstance(number, int) and 0 <= number < len(names)
    name = f"{number} ({names[number]})" if named and names else str(number)
    cause = f"one class: {failed['failures']} of {failed['of_all']} failures are of class {name}, {failed['n']} samples"
    return Advice(
        cause,
        "look at that class's labels and samples; claim the classes as groups: assert_worst_group_accuracy",
        "claims/worst_group_accuracy.md",
    )


def _saturated(result: Result) -> Advice | None:
    seen = result.details.get("clean_seen")
    every = result.interval[1] == 0.0 if result.estimate is None else result.estimate == 0.0
    searched = result.numbers.bounds == "above" and result.ruling.comparison == ">="
    if not searched or not every or not isinstance(seen, Mapping):
        return None
    before = clean_share(seen)
    return Advice(
        f"saturated: the search breaks every sample, and {before:.1%} were right before it",
        "find the change that the model holds (measure_min_perturbation), and claim a smaller one",
        "claims/min_perturbation.md",
    )


def _near(result: Result) -> Advice | None:
    if not result.straddles or _needed(result) < 2 * result.numbers.n:
        return None
    threshold, n = result.ruling.threshold, result.numbers.n
    cause = f"too few samples to know it of others: {threshold:g} lies inside the interval of these {n}"
    return Advice(cause, _more_samples(result) or "measure more samples", "verdicts.md#two-kinds-of-claim")


def _more_samples(result: Result) -> str:
    """Return the number of samples that would decide a claim if its value stayed as it is; else empty."""
    if (needed := _needed(result)) == 0:
        return ""
    if not result.numbers.n < needed < _MANY:
        return "measure more samples, or claim a threshold further away: robustest suggest prints it"
    digits = 10 ** max(0, len(str(int(needed))) - 2)
    return (
        f"measure about {math.ceil(needed / digits) * digits:,} samples, which decide it if the value stays, or claim "
        "a threshold further away: robustest suggest prints it"
    )


def _needed(result: Result) -> float:
    """Return the number of samples whose interval would just reach the threshold; 0 if there is no value."""
    if result.estimate is None or result.ruling.threshold is None or not result.numbers.n:
        return 0.0
    low, high = result.numbers.left_interval
    gap = abs(result.estimate - result.ruling.threshold)
    half = result.estimate - low if result.ruling.threshold < result.estimate else high - result.estimate
    # The interval shrinks with the root of the number of samples.
    return result.numbers.n * (half / gap) ** 2 if gap > 0 else math.inf


def _cue(result: Result) -> Advice | None:
    lead, flips, of = (result.details.get(name) for name in ("lead", "flips", "of"))
    if not isinstance(lead, str) or not isinstance(flips, int) or not isinstance(of, int):
        return None
    return Advice(
        f"the cue {lead} alone turns {flips} of {of} answers",
        "look for it in the training data, and train without it: robustest_training.repair",
        "training/repair.md#robust-training-and-cues",
    )


def _change(result: Result) -> Advice | None:
    """Blame the change itself: samples that were right before it, or one corruption of several."""
    repair = (
        "train on such changes (robustest_training.repair); robustest suggest prints the threshold that holds today"
    )
    worst = result.details.get("by_corruption")
    if isinstance(worst, Mapping) and len(worst) > 1 and all(isinstance(one, (int, float)) for one in worst.values()):
        name = min(worst, key=lambda one: float(worst[one]))
        rest = [float(value) for key, value in worst.items() if key != name]
        if sum(rest) / len(rest) - float(worst[name]) >= _APART:
            cause = f"one corruption: {name} leaves {number(worst[name])}, the others {number(sum(rest) / len(rest))}"
            return Advice(cause, repair, "training/repair.md")
    seen = result.details.get("clean_seen")
    before = result.details.get("clean_accuracy", result.details.get("clean_score"))
    if isinstance(seen, Mapping) and int(seen.get("failures", 0)) and "clean_accuracy" in result.details:
        lost, right = int(seen["failures"]) - int(seen.get("wrong", 0)), int(seen["right"])
        cause = f"the change itself: it turns {lost} of the {right} answers that were right before it"
        if result.ruling.comparison == "<=" and isinstance(flips := result.details.get("flips"), int):
            cause = f"the change itself: it turns {flips} of {result.numbers.n} answers"
        return Advice(cause, repair, "training/repair.md")
    if (isinstance(before, (int, float)) and "changed" in result.details) or result.numbers.bounds == "above":
        start = f", from {number(before)} before it" if isinstance(before, (int, float)) else ""
        return Advice(f"the change itself{start}", repair, "training/repair.md")
    if "source_accuracy" in result.details and "target_accuracy" in result.details:
        source, target = (result.details[name] for name in ("source_accuracy", "target_accuracy"))
        if isinstance(source, float) and isinstance(target, float):
            return Advice(
                f"the second set itself: accuracy {number(target)} there, {number(source)} on the first",
                "look at what the second set has that training lacked, and train on some of it",
                "groups.md",
            )
    return None
