"""The claim that annotators agree with the predictions of a model.

Tsipras et al., "From ImageNet to Image Classification" (ICML 2020). Let s_k be the share of annotators who select class
k, of those who could have. For a prediction p and a label y:

1. p is contained if s_p > 0 and 2 s_p >= max s; it is the main class if s_p = max s > 0 without a tie.
2. An error is defensible if s_p >= s_y and s_p > 0, and unsupported if s_p = 0.
3. A hit is disputed if max s > s_y: correcting errors alone would flatter the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from robustest import Result, Verdict
from robustest.errors import ConfigError, DataError
from robustest.packs import (
    Chunk,
    Decision,
    Evaluator,
    Evidence,
    Kind,
    Observation,
    Options,
    Pairing,
    Plan,
    Quantity,
    Rule,
    Setup,
    ShareRule,
    StrataRule,
    Terms,
    assertion,
    checked_threshold,
    exhibits_of,
    finish,
    measurement,
    number,
    observe,
)
from robustest_people.responses import Responses
from robustest_people.study_answers import check_about, checked_responses, completed, left_out, of_unanswered

LABEL_AGREEMENT = Kind(
    name="label_agreement",
    varies="nothing",
    quantities=(
        Quantity.at_least(
            "min_contained",
            "share contained in what annotators select",
            "share contained in what annotators select",
        ),
        Quantity.at_most(
            "max_unsupported", "share of errors that nobody selects", "share of errors that nobody selects", trivial=1
        ),
        Quantity.at_least(
            "min_main", "share that is what annotators select most", "share that is what annotators select most"
        ),
    ),
    further_claims=("no_worse_than",),
    brief=True,
)

_COLUMNS = (
    "right",
    "main",
    "contained",
    "frequency",
    "defensible",
    "unsupported",
    "disputed",
    "tied",
    "answers",
    "selected",
)


@measurement(LABEL_AGREEMENT)
def measure_label_agreement(
    model: object,
    data: object,
    responses: Responses,
    *,
    min_contained: float | None = None,
    max_unsupported: float | None = None,
    min_main: float | None = None,
    no_worse_than: object | None = None,
    tolerance: float = 0.0,
    **options: Unpack[Options],
) -> Result:
    """Measure how often the model predicts a class that annotators select (Tsipras et al., ICML 2020).

    A sample with fewer than 10 answers about its prediction, label or leading class counts as broken for a pass and as
    held for a failure. `details` has accuracies on label, main class and contained set, and in expectation over
    annotators; defensible and unsupported errors; disputed hits; and the claimed share by number of contained classes.

    Args:
        model, data: as for `measure_robust_accuracy`.
        responses: answers of people, about as many items as there are samples.
        min_contained: the claimed share of samples with a contained prediction, in 0..1.
        max_unsupported: the largest share of unsupported errors, in 0..1.
        min_main: the claimed share of samples whose prediction is the main class, in 0..1. Give one of the three.
        no_worse_than, tolerance: as for `measure_robust_accuracy`, about the claimed share, or the contained one.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown, or several thresholds are given.
        DataError: the responses are about other samples or classes.
        ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    asked, threshold = _asked(min_contained=min_contained, max_unsupported=max_unsupported, min_main=min_main)
    plan = _plan(Setup.of(model, data, options), responses, asked, threshold).against(
        no_worse_than, tolerance, has_threshold=threshold is not None
    )
    evidence = observe(plan)
    details = _details(evidence, responses)
    return finish(
        plan,
        evidence,
        kind=LABEL_AGREEMENT,
        quantity=asked,
        threshold=threshold,
        setting=f"{len(responses)} answers, {details['fewest_answers']} or more a sample",
        method="predictions beside what annotators select",
        details=details,
        caveats=_few_answers(evidence) + of_unanswered(responses),
        constant=_by_saying_one_class(responses, asked),
        people=responses.answer,
        pairing=Pairing(under=f"answers {responses.digest[:12]}"),
        notes=_notes(details),
    )


@assertion(measure_label_agreement)
def assert_label_agreement() -> None:
    """Claim that the model predicts the classes that annotators select.

    Raises:
        ClaimFailed: it does too rarely, or makes too many unsupported errors.
        ClaimInconclusive: too few samples or answers to decide.
    """


@dataclass(frozen=True, slots=True)
class Tables:
    """(N, K) int64 counts: selections of each class, opportunities to select it, and questions without an answer."""

    selected: NDArray[np.int64]
    shown: NDArray[np.int64]
    unanswered: NDArray[np.int64]
    chosen: bool  # True if annotators chose among the classes

    @classmethod
    def of(cls, responses: Responses) -> Tables:
        selected, shown = map(np.ascontiguousarray, responses.counts())
        return cls(selected, shown, np.ascontiguousarray(responses.counts_unanswered()), responses.chosen)

    def agreement(
        self, ids: NDArray[np.int64], label: NDArray[np.int64], predicted: NDArray[np.int64]
    ) -> tuple[ComparedPredictions, ComparedPredictions, ComparedPredictions]:
        """Return the comparison by the answers that are there, and if those that are not were all against the
        prediction, and all for it.
        """
        counts = self.selected[ids], self.shown[ids]
        worst, best = (
            completed(*counts, self.unanswered[ids], predicted, chosen=self.chosen, selecting=selecting)
            for selecting in (False, True)
        )
        there, against, favouring = (ComparedPredictions.of(*one, label, predicted) for one in (counts, worst, best))
        return there, against, favouring


@dataclass(frozen=True, slots=True)
class Agreeing:
    """Compares the predictions of a chunk with the answers."""

    whole_inputs: ClassVar[bool] = True

    tables: Tables
    holds: str  # name of the claimed threshold

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        logits = evaluator.logits(chunk.x)
        predicted = evaluator.task.predictions(logits)
        ids, label = chunk.ids.cpu().numpy(), chunk.y.cpu().numpy()
        if logits.shape[1] != self.tables.selected.shape[1]:
            raise DataError(
                f"Expected answers about the model's {logits.shape[1]} classes but got some about "
                f"{self.tables.selected.shape[1]}. Name the classes in the order of the labels."
            )
        found, against, favouring = self.tables.agreement(ids, label, predicted.cpu().numpy())
        # Too few answers: broken in "held", which a pass needs, and held in "possible", which a failure has to break.
        enough = found.answers >= FEWEST_ANSWERS
        held = against.supports(self.holds) & enough
        exhibits = exhibits_of(
            evaluator,
            chunk,
            torch.from_numpy(~held).to(predicted.device),
            predicted=predicted,
            badness=-evaluator.task.margin(logits, chunk.y),
        )
        columns = {column: getattr(found, column) for column in _COLUMNS}
        return Observation({"held": held, "possible": favouring.supports(self.holds) | ~enough, **columns}, exhibits)


def _asked(**given: float | None) -> tuple[Quantity, float | None]:
    asked = [name for name, value in given.items() if value is not None]
    if len(asked) > 1:
        raise ConfigError(f"Expected one threshold but got {' and '.join(asked)}. Write an assertion for each.")
    if not asked:
        return LABEL_AGREEMENT.quantity_of("min_contained"), None
    trivial = 1 if asked[0].startswith("max_") else 0
    return LABEL_AGREEMENT.quantity_of(asked[0]), checked_threshold(asked[0], given[asked[0]], trivial=trivial)


def _plan(setup: Setup, responses: object, asked: Quantity, threshold: float | None) -> Plan:
    answers = checked_responses(responses)
    check_about(answers, len(setup.samples))
    sure, possible = (
        ShareRule(threshold=threshold, at_least=asked.comparison == ">=", terms=setup.terms, column=column)
        for column in ("held", "possible")
    )
    return setup.plan(
        asked.state(),
        Agreeing(Tables.of(answers), holds=asked.threshold),
        StrataRule(
            whole=LookedAtRule(sure=sure, possible=possible),
            nouns=("class selected", "classes selected"),
            gates=False,
            alpha=setup.settings.alpha,
            column="selected",
        ),
        identity=("label agreement", asked.threshold, answers.digest),
    )


def _by_saying_one_class(responses: Responses, asked: Quantity) -> float:
    """Return the claimed share that the best class reaches, said of every sample."""
    selected, shown = responses.counts()
    share = np.divide(selected, shown, out=np.zeros(selected.shape), where=shown > 0)
    most = share.max(1, keepdims=True)
    if asked.threshold == "max_unsupported":
        return float((share == 0).mean(0).min())
    if asked.threshold == "min_main":
        alone = (share == most).sum(1, keepdims=True) == 1
        return float(((share == most) & alone & (share > 0)).mean(0).max())
    return float(((2 * share >= most) & (share > 0)).mean(0).max())


def _details(evidence: Evidence, responses: Responses) -> dict[str, Any]:
    columns = evidence.columns
    return {
        "label_accuracy": evidence.share(columns["right"]),
        "main_accuracy": evidence.share(columns["main"]),
        "contained_accuracy": evidence.share(columns["contained"]),
        "expected_accuracy": float(columns["frequency"].mean()) if evidence.whole else None,
        "errors": int((~columns["right"]).sum()),
        "defensible": int(columns["defensible"].sum()),
        "unsupported": int(columns["unsupported"].sum()),
        "disputed_hits": int(columns["disputed"].sum()),
        "tied": int(columns["tied"].sum()),
        "fewest_answers": int(columns["answers"].min()),
        "median_answers": float(np.median(columns["answers"])),
        "too_few_answers": int((columns["answers"] < FEWEST_ANSWERS).sum()),
        **left_out(responses),
        "class_names": list(responses.classes),
    }


def _few_answers(evidence: Evidence) -> list[str]:
    answers = evidence.columns["answers"]
    few = int((answers < FEWEST_ANSWERS).sum())
    told = [f"{few} samples with fewer than {FEWEST_ANSWERS} answers count for neither side"] if few else []
    fewest = int(answers[answers >= FEWEST_ANSWERS].min(initial=MANY_ANSWERS))
    if fewest < MANY_ANSWERS:
        told.append(f"as few as {fewest} answers a sample, by which more errors look like people's")
    return told


def _notes(details: Mapping[str, Any]) -> list[str]:
    notes = [
        f"{details['errors']} errors: {details['defensible']} defensible, {details['unsupported']} unsupported; "
        f"{details['disputed_hits']} hits on a label that annotators prefer another to"
    ]
    if details["label_accuracy"] is not None:
        of = {"label": "the label", "main": "the class selected most", "contained": "the contained set"}
        told = ", ".join(f"{number(details[f'{name}_accuracy'])} on {what}" for name, what in of.items())
        notes.append(f"accuracy {told}, {number(details['expected_accuracy'], digits=4)} expected over annotators")
    if details["tied"]:
        notes.append(f"classes are tied for the most selected on {details['tied']} samples: no main label there")
    if details["inattentive"]:
        notes.append(
            f"{len(details['inattentive'])} annotators failed attention checks: {details['dropped']} answers left out"
        )
    return notes


# The comparison of predictions with answers, and its rule.


Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

# With fewer answers a sample counts for no verdict: with a tenth of 50 answers, twice as many errors look defensible.
FEWEST_ANSWERS = 10

# With fewer answers, every line of a report says so.
MANY_ANSWERS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedPredictions:
    """Predictions compared with the answers of annotators; all (n,)."""

    right: Bools  # the prediction is the label
    main: Bools  # the prediction is the class selected most often, without a tie
    contained: Bools  # it is selected at least half as often as the leading class, and by somebody
    frequency: NDArray[np.float64]  # float64, the share of annotators who selected it, 0..1
    defensible: Bools  # an error selected at least as often as the label, and by somebody
    unsupported: Bools  # an error that nobody selected
    disputed: Bools  # a hit while another class is selected more often
    tied: Bools  # several classes lead
    answers: Ints  # the fewest answers that could have selected prediction, label or leading class
    selected: Ints  # number of contained classes

    def supports(self, threshold: str) -> Bools:
        """Return (n,) True where a prediction is as the claim of a threshold says."""
        return {"min_contained": self.contained, "min_main": self.main, "max_unsupported": ~self.unsupported}[threshold]

    @classmethod
    def of(cls, selected: Ints, shown: Ints, label: Ints, predicted: Ints) -> ComparedPredictions:
        """Return the comparison, from counts of selections and of opportunities (n, K), and classes (n,)."""
        rows = np.arange(len(label))
        share = np.divide(selected, shown, out=np.zeros(selected.shape), where=shown > 0)
        most, mine, given = share.max(1), share[rows, predicted], share[rows, label]
        right, by_somebody = predicted == label, mine > 0
        tied = ((share == most[:, None]).sum(1) > 1) & (most > 0)
        return cls(
            right=right,
            main=(mine == most) & by_somebody & ~tied,
            contained=(2 * mine >= most) & by_somebody,
            frequency=mine,
            defensible=~right & (mine >= given) & by_somebody,
            unsupported=~right & ~by_somebody,
            disputed=right & (most > given),
            tied=tied,
            answers=np.minimum.reduce([shown[rows, of] for of in (predicted, label, share.argmax(1))]),
            selected=((2 * share >= most[:, None]) & (share > 0)).sum(1),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedAtRule(Rule):
    """A rule for a share of samples, some of which have too few answers."""

    sure: ShareRule  # the rule on the column "held", where such samples are broken
    possible: ShareRule  # the rule on the column "possible", where they hold

    def settle(self, columns: Mapping[str, NDArray[Any]], n: int) -> Any:
        sure, possible = self.sure.settle(columns, n), self.possible.settle(columns, n)
        # A pass needs the pessimistic rule, a failure the optimistic one: fewer answers make no claim easier.
        if sure is not None and sure.verdict is Verdict.PASSED:
            return sure
        return possible if possible is not None and possible.verdict is Verdict.FAILED else None

    def decide(self, columns: Mapping[str, NDArray[Any]], n: int, settled: Any) -> Decision:
        sure = self.sure.decide(columns, n, self._if(settled, Verdict.PASSED))
        possible = self.possible.decide(columns, n, self._if(settled, Verdict.FAILED))
        # The interval covers both readings of the samples with too few answers.
        low, high = zip(sure.interval, possible.interval, strict=True)
        verdict, rule = Verdict.INCONCLUSIVE, sure.rule
        if sure.verdict is Verdict.PASSED or self.sure.threshold is None:
            verdict, rule = sure.verdict, sure.rule
        elif possible.verdict is Verdict.FAILED:
            verdict, rule = possible.verdict, possible.rule
        elif sure.verdict is not possible.verdict:
            unknown = int((columns["possible"] & ~columns["held"].astype(bool)).sum())
            rule = f"{unknown} samples have fewer than {FEWEST_ANSWERS} answers, and could decide it"
        return Decision(
            verdict=verdict,
            rule=rule,
            estimate=sure.estimate,
            interval=(min(low), max(high)),
            at_alpha=sure.at_alpha or possible.at_alpha,
        )

    def for_part(self, terms: Terms) -> ShareRule:
        """Return the rule for a part of the samples; samples with too few answers hold."""
        return replace(self.possible, terms=terms)

    @staticmethod
    def _if(settled: Any, verdict: Verdict) -> Any:
        return settled if settled is not None and settled.verdict is verdict else None
