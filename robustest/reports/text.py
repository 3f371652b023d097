"""Results in words, for failures and summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustest.results import Counterexample, Result
from robustest.words import count_of as count_of
from robustest.words import headline as headline
from robustest.words import requirement as requirement
from robustest.words import sentence as sentence
from robustest.words import value_of as value_of

HINT = "hint: "
"""What a note begins with that hints at a likely mistake; no verdict rests on it."""


def measured(result: Result) -> str:
    """Return the sentence of a result with the number of samples and its caveats, as every report prints it.

    For example "accuracy 0.410 [0.370, 0.450], required >= 0.40; n=512; 5 samples changed"; see
    `robustest.words.sentence`.
    """
    return "; ".join((sentence(result), f"n={count_of(result)}", *result.caveats))


def failure_text(result: Result, *, replay: str) -> str:
    """What failed in a line; then claim, value, interval, n, threat, worst samples and the command that repeats it."""
    lines = [
        headline(result),
        f"  claim     {result.statement}",
        f"  measured  {measured(result)}",
        f"  {result.captions.setting:9} {result.setting}",
        f"  method    {result.method}; seed {result.seed}",
        f"  verdict   {result.verdict} ({result.rule})",
    ]
    lines += [f"  {name:9} {value}" for name, value in _extras(result)]
    lines += [f"  worst {rank}   {_worst(result, one)}" for rank, one in enumerate(result.counterexamples, 1)]
    lines += [f"  {'hint' if note.startswith(HINT) else 'note':9} {note.removeprefix(HINT)}" for note in result.notes]
    if replay:
        lines.append(f"  replay    {replay}")
    return "\n".join(lines)


def _worst(result: Result, worst: Counterexample) -> str:
    """What happened to one sample."""
    names = result.details.get("class_names")
    label, clean, predicted = (class_name(one, names) for one in (worst.label, worst.clean, worst.predicted))
    said = (
        f"{result.captions.answered} {predicted}" if result.captions.answered else f"predicted {clean} -> {predicted}"
    )
    size = "" if worst.size is None else f", {result.captions.size} {worst.size:.4g}"
    pixels = "" if worst.pixels is None else f", {worst.pixels} pixels"
    picture = f", {worst.image}" if worst.image else ""
    said = worst.told or f"label {label}, {said}"
    return f"sample {worst.index}: {said}{size}{pixels}{picture}"


def class_name(number: int, names: Any) -> str:
    """A class with its name, where `details["class_names"]` has one: a list, or a mapping from the number as text."""
    if isinstance(names, Mapping):
        name = names.get(str(number))
    else:
        listed = isinstance(names, Sequence) and not isinstance(names, str) and 0 <= number < len(names)
        name = names[number] if listed else None
    return str(number) if name is None else f"{number} ({name})"


def _extras(result: Result) -> list[tuple[str, str]]:
    """Facts that lead, and what became of a baseline and of memory."""
    lines = [(fact.label, str(fact)) for fact in result.facts if fact.leads]
    baseline = result.details.get("baseline") or {}
    if "lost" in baseline:
        low, high = baseline["drop_interval"]
        share = baseline.get("of") or ("accuracy" if "accuracy" in result.quantity else "share that held")
        other = baseline.get("model")
        of = f"{baseline['date']}, commit {baseline['commit']}" if other is None else f"the model {other}"
        lines.append(
            (
                "baseline",
                f"{share} {baseline['accuracy']:.3f}; {baseline['lost']} lost, {baseline['gained']} gained: drop "
                f"{baseline['drop']:.4f} [{low:.4f}, {high:.4f}], {baseline.get('test', 'McNemar')} "
                f"p = {baseline['p']:.2g}, tolerance "
                f"{baseline['tolerance']:g} ({of})",
            )
        )
    if result.replayed:
        lines.append(("replayed", f"{result.replayed} samples broken by counterexamples of earlier runs"))
    if result.cached:
        lines.append(("cached", result.cached))
    return lines
