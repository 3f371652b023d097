"""Results in words, for failures and summaries."""

from __future__ import annotations

from robustest.results import Result


def measured(result: Result) -> str:
    """The measured value with its interval and sample count, e.g. "accuracy 0.410 [0.370, 0.450] n=512".

    An early verdict has measured no value, only where it lies: "accuracy in [0.370, 0.450] n=212 of 1000".
    """
    low, high = result.interval
    n = f"n={result.n_used}" if result.n_used == result.n_total else f"n={result.n_used} of {result.n_total}"
    value = "in" if result.estimate is None else f"{result.estimate:.3f}"
    return f"{result.quantity} {value} [{low:.3f}, {high:.3f}] {n}"


def claimed(result: Result) -> str:
    """The threshold as a comparison, e.g. ">= 0.4"."""
    return "no threshold" if result.threshold is None else f"{result.comparison} {result.threshold:g}"


def failure_text(result: Result, *, replay: str) -> str:
    """Claim, measured value, interval, n, threat, worst samples and the command that repeats it."""
    lines = [
        f"robustest: {result.verdict}",
        f"  claim     {result.statement}",
        f"  measured  {measured(result)}",
        f"  threat    {result.setting}" if result.claim == "robust_accuracy" else f"  setting   {result.setting}",
        f"  method    {result.method}; seed {result.seed}",
        f"  verdict   {result.verdict} ({result.rule})",
    ]
    lines += [f"  {name:9} {value}" for name, value in _extras(result)]
    for rank, worst in enumerate(result.counterexamples, 1):
        what = "severity" if result.claim == "shift_accuracy" else "size"
        size = "" if worst.size is None else f", {what} {worst.size:.4g}"
        pixels = "" if worst.pixels is None else f", {worst.pixels} pixels"
        picture = f", {worst.image}" if worst.image else ""
        lines.append(
            f"  worst {rank}   sample {worst.index}: label {worst.label}, "
            f"predicted {worst.clean} -> {worst.predicted}{size}{pixels}{picture}"
        )
    lines += [f"  note      {note}" for note in result.notes]
    if replay:
        lines.append(f"  replay    {replay}")
    return "\n".join(lines)


def _extras(result: Result) -> list[tuple[str, str]]:
    details = result.details
    lines = []
    if result.claim == "no_spurious_feature":
        drawn = (
            f"most drawn to class {details['most_drawn_class']}: {details['drawn']} in, "
            f"{details['driven_away']} out, McNemar p = {details['mcnemar_p']:.2g}"
        )
        lines.append(("flips", f"{details['flips']} of {details['of']}; {drawn}"))
    if "recall_drop" in details:
        drop, of = details["recall_drop"], details["recall_drop_class"]
        lines.append(("recall", f"falls by {drop:.3f} in class {of} with the cue off"))
        lines.append(("accuracy", f"{details['accuracy_on']:.3f} with the cue on, {details['accuracy_off']:.3f} off"))
    if details.get("clean_accuracy") is not None:
        lines.append(("clean", f"accuracy {details['clean_accuracy']:.3f}"))
    baseline = details.get("baseline") or {}
    if "lost" in baseline:
        low, high = baseline["drop_interval"]
        lines.append(
            (
                "baseline",
                f"accuracy {baseline['accuracy']:.3f}; {baseline['lost']} lost, {baseline['gained']} gained: drop "
                f"{baseline['drop']:.4f} [{low:.4f}, {high:.4f}], McNemar p = {baseline['p']:.2g}, tolerance "
                f"{baseline['tolerance']:g} ({baseline['date']}, commit {baseline['commit']})",
            )
        )
    if result.replayed:
        lines.append(("replayed", f"{result.replayed} samples broken by counterexamples of earlier runs"))
    if result.cached:
        lines.append(("cached", result.cached))
    return lines
