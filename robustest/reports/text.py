"""Results in words, for failures and summaries."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from robustest.results import Result

_TOLD = 0.01
"""Properties of less certain associations with errors are left to the JSON file and the page."""

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
        f"  threat    {result.setting}" if result.kind == "robust_accuracy" else f"  setting   {result.setting}",
        f"  method    {result.method}; seed {result.seed}",
        f"  verdict   {result.verdict} ({result.rule})",
    ]
    lines += [f"  {name:9} {value}" for name, value in _extras(result)]
    for rank, worst in enumerate(result.counterexamples, 1):
        what = "severity" if result.kind == "shift_accuracy" else "size"
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
    if result.kind == "no_spurious_feature":
        lines += _cue_lines(details)
    if result.kind == "no_backdoor_trigger":
        lines += _trigger_lines(details)
    if details.get("mildest"):
        mildest = details["mildest"]
        lines.append(("mildest", f"{mildest['change']}: accuracy {mildest['accuracy']:.3f}"))
        lines.append(("as code", mildest["code"]))
    if result.kind == "no_failure_direction":
        lines += [
            ("errors", f"class {c['class']}: {c['errors']} of {c['n']} wrong, score {c['score']:.3f}, p = {c['p']:.2g}")
            for c in details["classes"][:3]
        ]
    if result.kind == "sparse_head":
        lines += _head_lines(details)
    if details.get("clean_accuracy") is not None:
        lines.append(("clean", f"accuracy {details['clean_accuracy']:.3f}"))
    baseline = details.get("baseline") or {}
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


def _cue_lines(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The numbers of the cue that speaks most against a claim, and one line for each where there are several."""
    lines = [("flips", _flips(details))]
    cues = details.get("cues", [])
    if len(cues) > 1:
        lines.insert(0, ("cue", details["lead"]))
        lines += [("also", f"{cue['name']}: {_flips(cue)}") for cue in cues if cue["name"] != details["lead"]]
    if "size_l2" in details:
        lines.append(("size", f"L2 {details['size_l2']:.4g}, Linf {details['size_linf']:.4g} (medians of on - off)"))
    if "recall_drop" in details:
        drop, of = details["recall_drop"], details["recall_drop_class"]
        lines.append(("recall", f"falls by {drop:.3f} in class {of} with the cue off"))
        lines.append(("accuracy", f"{details['accuracy_on']:.3f} with the cue on, {details['accuracy_off']:.3f} off"))
    if "discovery" in details:
        lines += _discovery_lines(details["discovery"])
    sensitivity = details.get("sensitivity")
    if sensitivity is not None:
        kinds = {"simulated": "simulated control", "trained": "trained control"}
        controls = [
            f"{kinds.get(c.get('model'), 'control')} {c['verdict']} ({c['cue']})" for c in sensitivity["controls"]
        ] or ["no control"]
        null = f"null cue moved {sensitivity['null_flips']} of {sensitivity['null_samples']}"
        lines.append(("proof", ", ".join([null, *controls])))
    return lines


def _head_lines(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How many features a sparse head has, and how far it can be trusted to stand for the model."""
    most, of = details["most_features"], details["most_features_class"]
    lines = [("features", f"{most} in class {of}, {details['features_per_class']:.1f} a class on average")]
    if details["accuracy"] is not None:
        lines.append(
            (
                "accuracy",
                f"{details['accuracy']:.3f} of the model, {details['sparse_accuracy']:.3f} of the head; they agree on "
                f"{details['fidelity']:.3f}",
            )
        )
    return lines


def _discovery_lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The cues that a search proposed, and what became of them."""
    lines = [
        (
            "found" if one["confirmed"] else "proposed",
            f"class {one['class']}, {one['cue']}, value {_colour(one['value'])}: {one['found_by']}, "
            f"score {one['score']:.2f}; {'confirmed' if one['confirmed'] else 'not confirmed'}, p = {one['p']:.2g}",
        )
        for one in found["proposed"]
    ] or [("proposed", "no cue")]
    lines += [
        ("errors", f"go with {one['property']}, p = {one['p']:.2g}")
        for one in found["errors_go_with"]
        if one["p"] <= _TOLD
    ]
    lines += [("left out", why) for why in found["left_out"]]
    return lines


def _colour(value: list[float]) -> str:
    return ", ".join(f"{number:.2g}" for number in value)


def _trigger_lines(details: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The patch of the class that stands out most, and what it does."""
    oddest = max(details["triggers"], key=lambda trigger: trigger["anomaly"])
    where = f"{oddest['size']}x{oddest['size']} pixels at row {oddest['top']}, column {oddest['left']}"
    lines = [
        ("trigger", f"class {oddest['class']}, {where}; cost {oddest['cost']:.1f}, anomaly {oddest['anomaly']:.2f}")
    ]
    if details["most_drawn_class"] == oddest["class"]:
        lines.append(("flips", f"{details['flips']} of {details['of']} of unseen samples of other classes"))
    return lines


def _flips(cue: Mapping[str, Any]) -> str:
    drawn = f"{cue['drawn']} in, {cue['driven_away']} out, McNemar p = {cue['mcnemar_p']:.2g}"
    return f"{cue['flips']} of {cue['of']}; most drawn to class {cue['most_drawn_class']}: {drawn}"
