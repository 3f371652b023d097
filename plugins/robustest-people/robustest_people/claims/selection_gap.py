"""Whether annotators select what the model says as often as the label, where the two differ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Unpack

import numpy as np

from robustest.errors import DataError
from robustest.packs import (
    Chunk,
    Decision,
    Evaluator,
    Evidence,
    Kind,
    Observation,
    Options,
    Quantity,
    Result,
    Setup,
    ShareRule,
    Terms,
    Verdict,
    assertion,
    few,
    finish,
    measurement,
    no_lines,
    observe,
    optional_threshold,
    unchanged_exhibits,
)
from robustest_people.claims.study_answers import check_about, checked_responses, left_out
from robustest_people.responses import Responses
from robustest_people.rules.selection_gap import Answers, SelectionGap, decide_selection_gap, selection_gap

SELECTION_GAP = Kind(
    name="selection_gap",
    quantities=(
        Quantity.at_most(
            "at_most",
            "selection gap",
            "gap between how often annotators select the label and the prediction",
            trivial=1,
        ),
    ),
    lines=no_lines,
)
"""How much more often annotators select the label than the prediction, or less, where the two differ."""


@measurement(SELECTION_GAP)
def measure_selection_gap(
    model: object,
    data: object,
    responses: Responses,
    *,
    at_most: float | None = None,
    **options: Unpack[Options],
) -> Result:
    """How much more often annotators select the label than the prediction, over the samples where the two differ.

    Where the gap is shown to be less than `at_most` in either direction, people find what the model says as right as
    the label: its errors are no errors to them (Tsipras et al., ICML 2020, section 4.2). Images and annotators are
    samples both, so that the variance is clustered by both, and the interval decides also with `scope="set"`. It holds
    only about, so that a claim about the population does not pass by it.

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_robust_accuracy`.
        responses: what annotators answered, of as many items as there are samples, and who they were; about the label
            and the prediction of each sample where the two differ.
        at_most: the size of the gap claimed at most, in 0..1.
        **options: see `robustest.run.plan.Options`.

    Returns:
        The result. Its estimate is the size of the gap; `details["gap"]` has a sign, and is positive where annotators
        prefer the label. Outcomes are whether the prediction is the label.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: the responses are not of the data's samples, do not say who answered, or say nothing of the label or
            the prediction of a sample where the two differ; else as for `measure_robust_accuracy`.
        ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    margin = optional_threshold("at_most", at_most, trivial=1)
    checked_responses(responses).known_annotators("the clusters that the variance is computed by")
    setup = Setup.of(model, data, options)
    check_about(responses, len(setup.samples))
    plan = setup.plan(
        SELECTION_GAP.quantities[0].state(),
        Labelling(setup.settings.examples),
        ShareRule(threshold=None, at_least=True, terms=setup.terms),
        identity=("accuracy and labels",),
    )
    evidence = observe(plan)
    answers, disagreements = _about_disagreements(evidence, responses)
    found = None if disagreements < 2 else selection_gap(answers)
    return finish(
        plan,
        evidence,
        decision=_decided(found, margin, setup.terms, whole=evidence.whole),
        kind=SELECTION_GAP,
        threshold=margin,
        setting=f"{disagreements} samples where label and prediction differ, {len(answers.item)} answers",
        method="two one-sided tests, variance by image and by annotator",
        details=_details(found, disagreements, setup.terms.alpha, responses),
        caveats=few(disagreements, " of disagreement"),
        notes=() if found is None else (_note(found),),
    )


@assertion(measure_selection_gap, at_most=0.05)
def assert_selection_gap() -> None:
    """Claim that annotators select prediction and label equally often, to within a margin, where the two differ.

    Raises:
        ClaimFailed: they prefer one of them by more.
        ClaimInconclusive: images and annotators do not settle it.
    """


@dataclass(frozen=True, slots=True)
class Labelling:
    """Predictions of a chunk as it is, and its labels; the most confident errors may be shown.

    Attributes:
        examples: samples that may be shown.
    """

    whole_inputs: ClassVar[bool] = True

    examples: int

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        """Look at a chunk."""
        logits = evaluator.logits(chunk.x)
        predicted = evaluator.task.predictions(logits)
        exhibits = unchanged_exhibits(
            chunk, predicted != chunk.y, predicted, evaluator.task.margin(logits, chunk.y), most=self.examples
        )
        columns = {"held": predicted == chunk.y, "predicted": predicted, "label": chunk.y}
        return Observation({name: column.cpu().numpy() for name, column in columns.items()}, exhibits)


def _about_disagreements(evidence: Evidence, responses: Responses) -> tuple[Answers, int]:
    """Answers about the label or the prediction where the two differ, and how many samples these are.

    Raises:
        DataError: of one nothing is said.
    """
    of = np.full((2, responses.size), -1)
    wrong = ~evidence.columns["held"].astype(bool)
    differ = evidence.ids[wrong]
    of[:, differ] = evidence.columns["label"][wrong], evidence.columns["predicted"][wrong]
    if len(beyond := np.flatnonzero((of >= len(responses.classes)).any(0))):
        raise DataError(
            f"Expected answers about the {len(responses.classes)} classes of the model and the data but item "
            f"{beyond[0]} has label {of[0, beyond[0]]} and prediction {of[1, beyond[0]]}."
        )
    label, predicted = of[:, responses.item]
    there = label >= 0
    if responses.chosen:
        about_label = about_prediction = there
        selects_label, selects_prediction = responses.answer == label, responses.answer == predicted
    else:
        about_label, about_prediction = there & (responses.asked == label), there & (responses.asked == predicted)
        selects_label = selects_prediction = responses.answer == 1
    for about, what, of_each in ((about_label, "label", of[0]), (about_prediction, "prediction", of[1])):
        answered = np.bincount(responses.item[about], minlength=responses.size)
        if len(silent := differ[answered[differ] == 0]):
            name = responses.classes[of_each[silent[0]]]
            raise DataError(
                f"Expected answers about label and prediction of each sample where they differ but of {len(silent)} "
                f"samples nobody was asked about the {what}; the first is item {silent[0]}, {name!r}."
            )
    rows = about_label | about_prediction
    return Answers(
        item=responses.item[rows],
        annotator=responses.annotator[rows],
        about_label=about_label[rows],
        about_prediction=about_prediction[rows],
        label=(about_label & selects_label)[rows],
        prediction=(about_prediction & selects_prediction)[rows],
    ), len(differ)


def _decided(found: SelectionGap | None, margin: float | None, terms: Terms, *, whole: bool) -> Decision:
    if found is None:
        rule = "label and prediction differ on fewer than two samples: there is nothing to compare"
        return Decision(verdict=Verdict.INCONCLUSIVE, rule=rule, estimate=None, interval=(0.0, 1.0))
    decision = decide_selection_gap(found, margin, terms=terms)
    return decision if whole else replace(decision, estimate=None, rule=f"{decision.rule}; budget: not all samples")


def _details(found: SelectionGap | None, disagreements: int, alpha: float, responses: Responses) -> dict[str, Any]:
    details: dict[str, Any] = {
        "disagreements": disagreements,
        **left_out(responses),
    }
    if found is not None:
        details |= {
            "gap": found.gap.value,
            "gap_interval": list(found.gap.interval(alpha)),
            "error": found.gap.error,
            "label_frequency": found.label,
            "prediction_frequency": found.prediction,
            "annotators": found.gap.annotators,
        }
    return details


def _note(found: SelectionGap) -> str:
    return (
        f"label selected by {found.label:.3f}, prediction by {found.prediction:.3f}: gap {found.gap.value:+.3f} +- "
        f"{found.gap.error:.3f} (standard error), {found.gap.items} images, {found.gap.annotators} annotators"
    )
