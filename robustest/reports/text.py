"""Results and rows in words: the text of a failed claim, one-line summaries, and the run's expected errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustest.account import Row, first_line
from robustest.advice import HINT, advice_on
from robustest.reports.inert import inert
from robustest.results import Changes, Counterexample, Result, Verdict
from robustest.results.sentences import count_of
from robustest.words import interval_in_words, number


def measured(result: Result) -> str:
    """Return the sentence that every report prints of a result.

    For example "accuracy 0.410 [0.370, 0.450], required >= 0.40; n=512; 5 samples changed".
    """
    return "; ".join((result.sentence, f"n={count_of(result.numbers)}", *result.words.caveats))


def failure_text(result: Result, *, replay: str) -> str:
    """Return the text of a claim that did not pass: headline, cause and step, every number, and the replay command."""
    advice = advice_on(result)
    lines = [
        result.headline,
        *([f"  cause     {advice.cause}", f"  next      {advice.next}"] if advice else []),
        f"  claim     {result.subject.statement}",
        f"  measured  {measured(result)}",
        f"  {result.words.captions.setting:9} {result.subject.setting}",
        f"  method    {result.subject.method}; seed {result.evidence.seed}",
        f"  verdict   {result.verdict} ({result.rule})",
    ]
    lines += [f"  {fact.label:9} {fact}" for fact in result.words.facts if fact.leads]
    baseline = result.details.get("baseline") or {}
    if "lost" in baseline:
        low, high = baseline["drop_interval"]
        # Baselines of shares other than the accuracy name their share.
        share = baseline.get("of") or ("accuracy" if "accuracy" in result.numbers.quantity else "share that held")
        other = baseline.get("model")
        source = f"{baseline['date']}, commit {baseline['commit']}" if other is None else f"the model {other}"
        drop = f"{number(baseline['drop'], digits=4)} {interval_in_words(low, high, digits=4)}"
        lines.append(
            f"  baseline  {share} {number(baseline['accuracy'])}; {baseline['lost']} lost, {baseline['gained']} "
            f"gained: drop {drop}, tolerance {baseline['tolerance']:g} ({source})"
        )
    if result.evidence.replayed:
        lines.append(f"  replayed  {result.evidence.replayed} samples broken by counterexamples of earlier runs")
    if result.evidence.cached:
        lines.append(f"  cached    {result.evidence.cached}")
    for rank, worst in enumerate(result.counterexamples, 1):
        size = "" if worst.size is None else f", {result.words.captions.size} {sized(worst)}"
        pixels = "" if worst.pixels is None else f", {worst.pixels} {changed_places(worst)}"
        picture = f", {worst.image}" if worst.image else ""
        lines.append(f"  worst {rank}   sample {worst.index}: {answers(result, worst)}{size}{pixels}{picture}")
        if worst.changes is not None:
            lines += [f"            {line}" for line in changes_in_words(worst.changes)]
    notes = [note for note in result.words.notes if advice is None or note.removeprefix(HINT) != advice.cause]
    lines += [f"  {'hint' if note.startswith(HINT) else 'note':9} {note.removeprefix(HINT)}" for note in notes]
    if replay:
        lines.append(f"  replay    {replay}")
    return "\n".join(lines)


def changed_places(worst: Counterexample) -> str:
    """Return the noun for the places that a counterexample changed: rows of a table have no pixels."""
    return "pixels" if worst.image else "values"


def sized(worst: Counterexample) -> str:
    """Return the size of a change with its unit, e.g. "0.031" or "24.3 dB"; empty if it has none."""
    return "" if worst.size is None else f"{worst.size:.4g} {worst.unit}".rstrip()


def answers(result: Result, worst: Counterexample, *, separator: str = " -> ") -> str:
    """Return the label and the answers of one of the worst samples, e.g. "label 2, predicted 2 -> 1"."""
    if worst.answer:
        return worst.answer
    names = result.details.get("class_names")
    label, clean, predicted = (class_name(one, names) for one in (worst.label, worst.clean, worst.predicted))
    if result.words.captions.answered:
        return f"label {label}, {result.words.captions.answered} {predicted}"
    return f"label {label}, predicted {clean}{separator}{predicted}"


MARKS = {"=": ("", ""), "-": ("[-", "-]"), "+": ("{+", "+}")}
"""Marks before and after a part of a diff, as `wdiff` writes them."""


def changes_in_words(changes: Changes) -> list[str]:
    """Return the change of a sample as lines: a text as one line with marked parts, a table one line a column."""
    if "diff" in changes:
        parts = [(MARKS[mark], inert(part, at_start=False)) for mark, part in changes["diff"]]
        return ["".join(f"{first}{part}{last}" for (first, last), part in parts)]
    rows = [[inert(one, at_start=False) for one in row] for row in changed_columns(changes)]
    return [f"{name}: {before} -> {after}" for name, before, after in rows]


def changed_columns(changes: Changes) -> list[Sequence[str]]:
    """Return the columns of a table that differ: a claim without a change shows a sample as it is, in each column."""
    return [row for row in changes.get("table", ()) if row[1] != row[2]]


def class_name(number: int, names: Any) -> str:
    """Return a class with its name, if `details["class_names"]` has one."""
    name = name_of_class(number, names)
    return str(number) if name is None else f"{number} ({name})"


def name_of_class(number: int, names: Any) -> str | None:
    """Return the name of a class in `details["class_names"]`, which may be a mapping; None if it has none."""
    if isinstance(names, Mapping):
        name = names.get(str(number))
    else:
        listed = isinstance(names, Sequence) and not isinstance(names, str) and 0 <= number < len(names)
        name = names[number] if listed else None
    return None if name is None else str(name)


def row_without_result(row: Row) -> str:
    """Return one line for a row that has no result."""
    first = first_line(row.problem)
    ending = row.ending
    # The claim raised an error, which is red even if the test caught it and passed.
    if ending is None or ending.outcome == "passed" or (ending.claimed and ending.outcome == "error"):
        return f"{_attempt(row)}could not measure: {first}"
    if ending.phase == "session":
        return first
    words = {
        "failed": f"test failed in its {ending.phase}",
        "error": {
            "worker": "its worker process was lost",
            "collect": "could not be collected",
        }.get(ending.phase, f"error in {ending.phase}"),
        "unfinished": f"stopped before its {ending.phase}",
        "xfailed": "failed as expected",
        "xpassed": "passed unexpectedly",
        "skipped": "skipped",
        "rerun": "did not pass and ran again",
    }
    return f"{_attempt(row)}{words[ending.outcome]}: {first}"


def row_remark(row: Row) -> str:
    """Return the words that pytest's outcome adds to the verdict of a claim; may be empty."""
    why = "" if row.ending is None else " ".join(row.ending.reason.split()) or "no reason was given"
    remark = {
        "xfailed": f"failed as expected: {why}",
        "xpassed": f"passed unexpectedly: {why}",
        "skipped": f"skipped: {why}",
        "rerun": "did not hold, and the test ran again",
        "tolerated": "did not hold, but its test passed",
    }.get(row.state, "")
    if row.result is None or row.ending is None:
        remark = ""
    return f"{_attempt(row)}{remark}" if remark else _attempt(row).removesuffix(": ")


def _attempt(row: Row) -> str:
    return f"attempt {row.ending.attempt}: " if row.ending is not None and row.ending.attempt else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """The verdicts of a run that rest on an error probability, and the number of them that may be wrong."""

    verdicts: int  # number of claims that passed or failed
    at_alpha: int  # number of verdicts that rest on alpha; the others are certain
    levels: tuple[float, float]  # smallest and largest alpha of those; (0, 0) if there are none
    wrong: float  # upper bound on the expected number of wrong verdicts
    no_loss: int  # number of claims that passed against a baseline because no loss was shown
    about: int = 0  # number of claims whose rule holds alpha only approximately, such as a bootstrap

    @classmethod
    def of(cls, results: Iterable[Result | None]) -> Chance:
        """Count the verdicts of these results; None stands for a claim that could not be measured."""
        claims = [result for result in results if result is not None and result.is_claim]
        decided = [claim for claim in claims if claim.verdict is not Verdict.INCONCLUSIVE]
        resting = [claim for claim in decided if claim.ruling.at_alpha]
        levels = [claim.ruling.alpha for claim in resting]
        return cls(
            verdicts=len(decided),
            at_alpha=len(resting),
            levels=(min(levels), max(levels)) if levels else (0.0, 0.0),
            # Before any sample is evaluated, each claim errs with probability at most alpha. So the bound is the sum
            # over all claims: a sum over those that came to rest on alpha would be wrong, as the outcomes selected
            # them. Certain verdicts are never wrong, so the number of the others bounds it too.
            wrong=min(float(len(resting)), sum(claim.ruling.alpha for claim in claims)) if resting else 0.0,
            # Alpha bounds false alarms of these comparisons; the size of an undetected loss depends on the number of
            # samples.
            no_loss=sum(bool(c.details.get("baseline")) and c.verdict is Verdict.PASSED for c in resting),
            about=sum(claim.details.get("approximate") is True for claim in resting),
        )

    def __str__(self) -> str:
        """Return one sentence; empty if every verdict is certain."""
        if not self.at_alpha:
            return ""
        low, high = self.levels
        level = f"alpha = {low:g}" if low == high else f"alpha = {low:g} to {high:g}"
        count = f"{self.at_alpha} of {self.verdicts} verdict{'s' * (self.verdicts > 1)}"
        text = f"{count} rest{'s' * (self.at_alpha == 1)} on {level}: at most {self.wrong:.2g} wrong verdicts expected"
        if self.about:
            text = f"{text}; {self.about} of them hold{'s' * (self.about == 1)} only approximately at this alpha"
        if not self.no_loss:
            return text
        passed = f"{self.no_loss} comparison{'s' * (self.no_loss > 1)} with a baseline passed"
        return f"{text}; {passed} because no loss was shown"
