"""Results in words, for failures and summaries."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from robustest.results import Result

_DIGITS = Decimal("0.001")
"""Of a bound that is shown; it is rounded outwards, or it would be none."""
_ANY_FLOAT = Context(prec=400)


def measured(result: Result) -> str:
    """The measured value with its interval and sample count, e.g. "accuracy 0.410 [0.370, 0.450] n=512".

    An early verdict has measured no value, only where it lies: "accuracy in [0.370, 0.450] n=212 of 1000". A search
    bounds the value on one side: "robust accuracy at most 0.470 n=212 of 1000". Caveats follow after semicolons.
    """
    return "; ".join((f"{result.quantity} {value_of(result)} n={count_of(result)}", *result.caveats))


def value_of(result: Result) -> str:
    """The measured value with its interval, as in `measured`."""
    low, high = result.interval
    interval = f"[{low:.3f}, {high:.3f}]"
    if not result.bounds:
        return f"{'in' if result.estimate is None else f'{result.estimate:.3f}'} {interval}"
    above = result.bounds == "above"
    outward = Decimal(repr(result.value)).quantize(_DIGITS, ROUND_CEILING if above else ROUND_FLOOR, _ANY_FLOAT)
    bound = f"at {'most' if above else 'least'} {outward:.3f}"
    return bound if result.estimate is None or low == high else f"{bound} {interval}"


def count_of(result: Result) -> str:
    """The samples looked at, as in `measured`."""
    return str(result.n_used) if result.n_used == result.n_total else f"{result.n_used} of {result.n_total}"


def claimed(result: Result) -> str:
    """The threshold as a comparison, e.g. ">= 0.4"."""
    return "no threshold" if result.threshold is None else f"{result.comparison} {result.threshold:g}"


def failure_text(result: Result, *, replay: str) -> str:
    """Claim, measured value, interval, n, threat, worst samples and the command that repeats it."""
    lines = [
        f"robustest: {result.verdict}",
        f"  claim     {result.statement}",
        f"  measured  {measured(result)}",
        f"  {result.captions.setting:9} {result.setting}",
        f"  method    {result.method}; seed {result.seed}",
        f"  verdict   {result.verdict} ({result.rule})",
    ]
    lines += [f"  {name:9} {value}" for name, value in _extras(result)]
    for rank, worst in enumerate(result.counterexamples, 1):
        size = "" if worst.size is None else f", {result.captions.size} {worst.size:.4g}"
        pixels = "" if worst.pixels is None else f", {worst.pixels} pixels"
        picture = f", {worst.image}" if worst.image else ""
        said = f"label {worst.label}, predicted {worst.clean} -> {worst.predicted}"
        if result.captions.answered:
            said = f"label {worst.label}, {result.captions.answered} {worst.predicted}"
        said = worst.told or said
        lines.append(f"  worst {rank}   sample {worst.index}: {said}{size}{pixels}{picture}")
    lines += [f"  note      {note}" for note in result.notes]
    if replay:
        lines.append(f"  replay    {replay}")
    return "\n".join(lines)


def _extras(result: Result) -> list[tuple[str, str]]:
    """Facts that lead, and what became of a baseline and of memory."""
    lines = [(fact.label, str(fact)) for fact in result.facts if fact.leads]
    baseline = result.details.get("baseline") or {}
    if "lost" in baseline:
        low, high = baseline["drop_interval"]
        share = "accuracy" if "accuracy" in result.quantity else "share that held"
        lines.append(
            (
                "baseline",
                f"{share} {baseline['accuracy']:.3f}; {baseline['lost']} lost, {baseline['gained']} gained: drop "
                f"{baseline['drop']:.4f} [{low:.4f}, {high:.4f}], McNemar p = {baseline['p']:.2g}, tolerance "
                f"{baseline['tolerance']:g} ({baseline['date']}, commit {baseline['commit']})",
            )
        )
    if result.replayed:
        lines.append(("replayed", f"{result.replayed} samples broken by counterexamples of earlier runs"))
    if result.cached:
        lines.append(("cached", result.cached))
    return lines
