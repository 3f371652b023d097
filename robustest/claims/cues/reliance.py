"""The claim that predictions do not rely on a cue: what it is called, and what reports say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustest.kinds import Kind, Quantity
from robustest.results import Captions, Fact

_LIKELY = 0.01
"""Properties of less certain associations with errors are left to the JSON file and the page."""

CUE_NAMES = {
    "accuracy_off": "accuracy, cue off",
    "accuracy_on": "accuracy, cue on",
    "drawn": "drawn to it",
    "driven_away": "driven away",
    "mcnemar_p": "McNemar p",
    "most_drawn_class": "most drawn to class",
    "of": "out of",
    "recall_drop": "largest recall drop",
    "recall_drop_class": "in class",
    "recall_on": "recall with the cue on",
}
"""The numbers of an intervention in words."""


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    """The numbers of the cue that speaks most against a claim, and one line for each where there are several."""
    lines = [("flips", _flips(details))]
    cues = details["cues"]
    if len(cues) > 1:
        lines.insert(0, ("cue", details["lead"]))
        lines += [("also", f"{cue['name']}: {_flips(cue)}") for cue in cues if cue["name"] != details["lead"]]
    lines.append(("size", f"L2 {details['size_l2']:.4g}, Linf {details['size_linf']:.4g} (medians of on - off)"))
    if "recall_drop" in details:
        drop, of = details["recall_drop"], details["recall_drop_class"]
        lines.append(("recall", f"falls by {drop:.3f} in class {of} with the cue off"))
    if "accuracy_on" in details:
        lines.append(("accuracy", f"{details['accuracy_on']:.3f} with the cue on, {details['accuracy_off']:.3f} off"))
    if "discovery" in details:
        lines += _proposals(details["discovery"])
    lines.append(("proof", _proof(details["sensitivity"])))
    return [Fact(label, words) for label, words in lines]


def _flips(cue: Mapping[str, Any]) -> str:
    if "most_drawn_class" not in cue:
        return f"{cue['flips']} of {cue['of']}"
    drawn = f"{cue['drawn']} in, {cue['driven_away']} out, McNemar p = {cue['mcnemar_p']:.2g}"
    return f"{cue['flips']} of {cue['of']}; most drawn to class {cue['most_drawn_class']}: {drawn}"


def _proof(sensitivity: Mapping[str, Any]) -> str:
    """What the null cue and the controls showed."""
    models = {"simulated": "simulated control", "trained": "trained control"}
    controls = [
        f"{models.get(one.get('model'), 'control')} {one['verdict']} ({one['cue']})" for one in sensitivity["controls"]
    ]
    null = f"null cue moved {sensitivity['null_flips']} of {sensitivity['null_samples']}"
    return ", ".join([null, *(controls or ["no control"])])


def _proposals(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The cues that a search proposed, and what became of them."""
    lines = [
        (
            "found" if one["confirmed"] else "proposed",
            f"class {one['class']}, {one['cue']}, value {', '.join(f'{part:.2g}' for part in one['value'])}: "
            f"{one['found_by']}, score {one['score']:.2f}; {'confirmed' if one['confirmed'] else 'not confirmed'}, "
            f"p = {one['p']:.2g}",
        )
        for one in found["proposed"]
    ] or [("proposed", "no cue")]
    lines += [
        ("errors", f"go with {one['property']}, p = {one['p']:.2g}")
        for one in found["errors_go_with"]
        if one["p"] <= _LIKELY
    ]
    return [*lines, *(("left out", why) for why in found["left_out"])]


NO_SPURIOUS_FEATURE = Kind(
    name="no_spurious_feature",
    parameters=("target_class",),
    quantities=(
        Quantity.at_most("max_flip_rate", "flip rate", "reliance on {}{}", trivial=1, counts=("flips", "of")),
        Quantity.at_most("max_recall_drop", "recall drop", "reliance on {}{}", trivial=1, start="recall_on"),
    ),
    further_claims=("no_worse_than",),
    captions=Captions(before="cue off", after="cue on", worst="Pairs that differ most", names=CUE_NAMES),
    lines=_lines,
    hidden=frozenset(
        {
            *(
                "max_flip_rate",
                "max_recall_drop",
                "flips",
                "of",
                "most_drawn_class",
                "drawn",
                "driven_away",
                "mcnemar_p",
            ),
            *(
                "recall_on",
                "size_l2",
                "size_linf",
                "accuracy_on",
                "accuracy_off",
                "sensitivity",
                "lead",
                "recall_drop_class",
            ),
        }
    ),
)
"""How far a model's predictions rely on a cue."""
