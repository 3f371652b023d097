"""Results in words, for failures and summaries."""

from __future__ import annotations

from robustest.results import Result


def measured(result: Result) -> str:
    """The measured value with its interval and sample count, e.g. "accuracy 0.41 [0.37, 0.45] n=512"."""
    low, high = result.interval
    n = f"n={result.n_used}" if result.n_used == result.n_total else f"n={result.n_used} of {result.n_total}"
    return f"{result.quantity} {result.estimate:.3f} [{low:.3f}, {high:.3f}] {n}"


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
        picture = f", {worst.image}" if worst.image else ""
        lines.append(
            f"  worst {rank}   sample {worst.index}: label {worst.label}, "
            f"predicted {worst.clean} -> {worst.predicted}{size}{picture}"
        )
    lines += [f"  note      {note}" for note in result.notes]
    if replay:
        lines.append(f"  replay    {replay}")
    return "\n".join(lines)


def _extras(result: Result) -> list[tuple[str, str]]:
    details = result.details
    if result.claim == "no_spurious_feature":
        return [
            (
                "flips",
                f"{details['flip_rate']:.3f}; most drawn to class {details['most_drawn_class']}: "
                f"{details['drawn']} in, {details['driven_away']} out, McNemar p = {details['mcnemar_p']:.2g}",
            ),
            (
                "recall",
                f"falls by {details['recall_drop']:.3f} in class {details['recall_drop_class']} with the cue off",
            ),
            ("accuracy", f"{details['accuracy_on']:.3f} with the cue on, {details['accuracy_off']:.3f} off"),
        ]
    return [("clean", f"accuracy {details['clean_accuracy']:.3f}")] if "clean_accuracy" in details else []
