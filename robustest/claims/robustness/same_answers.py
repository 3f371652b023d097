"""The same answers: several copies of one model agree on data, under a shift, and on each other's counterexamples."""

# The copies are one model with outputs (B, K, C): the scores of each copy. Its answers are C classes, and they hold if
# the C classes are one (`tasks.same_answers`), so that attack, replay, early stop and memory are those of every claim.
# Each input that a search tries goes to all copies: a counterexample of one is tried on the others as it is found.
#
# A copy without gradients, such as an int8 file, follows those of the first copy that has some: its output is
#
#     s_ref(x) + stop_gradient(s_copy(x) - s_ref(x)),
#
# with its own values and the other's slope. The search is steered by what the file answers; where the two differ by
# more than rounding, that is a finding.

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Unpack, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustest.attacks import Cascade, Searcher
from robustest.checks import require
from robustest.claims.robustness import attacking
from robustest.claims.robustness.attacking import Attacking
from robustest.data.benchmarks import Benchmark
from robustest.decisions import ShareRule, checked_threshold
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.model_errors import out_of_memory, quoted
from robustest.engine.search import SearchOutcome
from robustest.errors import ConfigError, ModelError, RobustestError
from robustest.identity.fingerprint import fingerprint
from robustest.kinds import Kind, Quantity
from robustest.models import Classifier, Needs, as_classifier
from robustest.models.classifier import logits_of, reached
from robustest.results import Captions, Fact, Result
from robustest.run.driver import observe
from robustest.run.evidence import Observation, exhibits_of
from robustest.run.finish import finish
from robustest.run.grounds import Changed
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options
from robustest.run.plan import Setup
from robustest.run.replay import Replay, marks
from robustest.shifts import Shift, ShiftFunction, requested_shift
from robustest.tasks.same_answers import SameAnswers
from robustest.threats import Threat

Copies = Sequence[object] | Mapping[str, object]
"""Two models or more, as for `measure_robust_accuracy`, in a list or by their names."""

# Columns (n, C). Of samples as they are: the class that each copy answers, if it is right, and the largest distance of
# its scores from those of the first copy. Of the input that is judged: the class that each copy answers.
_UNCHANGED, _RIGHT, _APART = "answers unchanged", "right answers", "scores apart"
_ANSWERS = "answers of copies"


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    answers = [Fact(f"answers differ, {pair}", count) for pair, count in details["disagreements"].items() if count]
    scores = details["score_difference"].items()
    return answers + [Fact(f"largest difference of scores, {name}", f"{largest:.3g}") for name, largest in scores]


SAME_ANSWERS = Kind(
    name="same_answers",
    varies="inputs",
    quantities=(Quantity.at_least("at_least", "agreement", "same answers of {}{}", counts="outcomes", constant=True),),
    captions=Captions(
        setting="change",
        searched="after the change",
        names={**attacking.SIZE_NAMES, "stages": "told apart, by stage", "agreement_unchanged": "agreement, unchanged"},
    ),
    lines=_lines,
    hidden=frozenset({"disagreements", "score_difference"}),
)


@measurement(SAME_ANSWERS)
def measure_same_answers(
    model: Copies,
    data: object,
    change: Threat | str | Shift | ShiftFunction | None = None,
    *,
    at_least: float | None = None,
    attack: str | Searcher | Cascade | None = None,
    **options: Unpack[Options],
) -> Result:
    """Measure the share of samples to which all copies of a classifier give the same answer.

    Under a threat a search looks for an input on which two copies differ, and every input that it tries goes to all of
    them. A copy without gradients is followed by those of the first copy that has some.

    Args:
        model: the copies: two models or more, in a list or by names, each as for `measure_robust_accuracy`, with the
            same classes in the same order.
        data: as for `measure_robust_accuracy`. Labels do not decide; details have the accuracy of each copy.
        change: None for the samples as they are; a threat such as `Linf(2 / 255)`; or a shift as for
            `measure_shift_accuracy`, with its severity in it: `Shift("fog", 2)`.
        at_least: share claimed, in 0..1.
        attack: of a threat, as for `measure_robust_accuracy`.
        **options: see `robustest.run.options.Options`; `bounds` and `preprocessing` are those of every copy.

    Raises:
        ConfigError: fewer than two copies, one copy twice, copies with other bounds, or an argument of another change.
        ModelError: a copy fails, or has another number of classes; the message names it.
        DataError, DeviceError: as for `measure_robust_accuracy`.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    names, first = _named(model), _joined(model, options)
    require(not isinstance(data, Benchmark) or data.classes.whole, "a benchmark with all of the model's classes", data)
    task, more = SameAnswers(names), cast("Options", {k: v for k, v in options.items() if k != "preprocessing"})
    setup = Setup.of(first, data, more, task)
    look: AnswersOfCopies | Disagreeing
    threat, replay, method = None, None, "each copy asked once"
    if isinstance(change, Threat):
        threat = setup.resolve(change)
        cascade = attacking.attack_of_call(attack, threat)
        if attacking.draws_in(cascade) > 1:
            raise ConfigError("Expected copies that answer the same twice but the attack averages over draws.")
        replay, method = Known(threat, setup.settings, task), cascade.name
        look, setting = Disagreeing(cascade=cascade, threat=threat, replay=replay), str(threat)
    else:
        require(attack is None, "no attack= without a threat", attack)
        shift = None if change is None else requested_shift(change, None)
        look, setting = AnswersOfCopies(shift=shift), "unchanged samples" if shift is None else str(shift)
    under = "" if change is None else f" under {setting}"
    plan = setup.plan(
        SAME_ANSWERS.quantities[0].state(", ".join(names), under) + ("" if threat is None else f", {method}"),
        look,
        ShareRule(threshold=at_least, at_least=True, terms=setup.terms),
        identity=("same answers", change if threat is None else threat, method),
        replay=replay,
    )
    evidence = observe(plan)
    columns = evidence.columns
    varied: dict[str, Any] = {"threat": threat, "bounds": "above"}
    if threat is None:
        moved = columns.get("moved", np.ones(evidence.n, dtype=bool))
        by = "another copy" if change is None else f"the shift {setting}"
        varied = {"changed": [Changed(by=by, moved=moved, cut=columns.get("cut"))]}
    sizes = columns["size"][~columns["held"] & columns["clean"]] if threat is not None else None
    same, relabelled = _one_model(first.call, columns), _relabelled(names, columns)
    return finish(
        plan,
        evidence,
        kind=SAME_ANSWERS,
        threshold=at_least,
        setting=setting,
        method=method,
        details={
            "copies": list(names),
            "agreement_unchanged": evidence.share(columns["clean"]),
            "accuracy": dict(zip(names, columns[_RIGHT].mean(0).tolist(), strict=True)) if evidence.whole else None,
            "disagreements": {
                f"{names[i]} and {names[j]}": int((columns[_ANSWERS][:, i] != columns[_ANSWERS][:, j]).sum())
                for i, j in combinations(range(len(names)), 2)
            },
            "score_difference": dict(list(zip(names, columns[_APART].max(0).tolist(), strict=True))[1:]),
            **({} if threat is None else attacking.sizes_found(threat, cast("NDArray[np.float64]", sizes))),
            **({} if threat is None else {"stages": dict(evidence.counts)}),
        },
        # A model that ignores its input agrees with the copies where they give their most frequent answer.
        constant=float(np.unique(columns[_UNCHANGED][:, 0], return_counts=True)[1].max() / evidence.n),
        caveats=relabelled,
        doubts={"same_model": same} if same else {},
        **varied,
    )


@assertion(measure_same_answers)
def assert_same_answers() -> None:
    """Claim that all copies of a model give the same answer to at least `at_least` of the samples."""


# The copies as one model


def _named(copies: object) -> tuple[str, ...]:
    """Return the names of the copies.

    Raises:
        ConfigError: they are no list or mapping of two or more.
    """
    fits = isinstance(copies, (list, tuple, Mapping)) and len(copies) >= 2
    require(fits, "two copies of a model or more, as [model, onnx_model(path)] or by names in a dict", copies)
    if isinstance(copies, Mapping):
        return tuple(map(str, copies))
    return tuple(f"copy {place}" for place in range(1, len(cast("Sequence[object]", copies)) + 1))


def _joined(copies: object, options: Options) -> Classifier:
    """Return the copies as one classifier with outputs (B, K, C).

    Raises:
        ConfigError: a copy is no model, is there twice, or has other bounds.
    """
    names = _named(copies)
    how: dict[str, Any] = {name: options.get(name) for name in ("bounds", "preprocessing")}
    each = list(copies.values()) if isinstance(copies, Mapping) else list(cast("Sequence[object]", copies))
    parts = [as_classifier(one, **how) for one in each]
    for (i, one), (j, other) in combinations(enumerate(parts), 2):
        if one.call is other.call and one.preprocessing is other.preprocessing:
            raise ConfigError(
                f"Expected different copies but {names[i]!r} and {names[j]!r} are one object: it agrees with itself. "
                "Give the exported copy beside the original."
            )
        if one.bounds != other.bounds:
            raise ConfigError(
                f"Expected copies with the same bounds but {names[i]!r} takes values in {one.bounds} and {names[j]!r} "
                f"in {other.bounds}. Pass bounds=(low, high), or wrap a copy in a function of the other's units."
            )
    joint, limits = JointCopies(names, parts), [one.max_queries for one in parts if one.max_queries is not None]
    return Classifier(
        call=joint,
        module=joint,
        bounds=parts[0].bounds,
        device=next((one.device for one in parts if one.device is not None), None),
        gives=max(one.gives for one in parts),
        max_queries=min(limits, default=None),
        classes=parts[0].classes,
        labels=parts[0].labels,
        whole=any(one.whole for one in parts),
    )


class JointCopies(nn.Module):
    """Copies of a model as one module, from inputs (B, *S) to the scores (B, K, C) of each copy."""

    def __init__(self, names: Sequence[str], parts: Sequence[Classifier]) -> None:
        super().__init__()
        self.names, self.parts = tuple(names), tuple(parts)
        # Registered, so that their modes, weights and devices are looked after.
        self.held = nn.ModuleList(one.module for one in parts if one.module is not None)
        # In the mode of the copies; frozen TorchScript has none.
        self.training = self.held.training = any(getattr(one, "training", False) for one in self.held)

    def forward(self, x: Any) -> Tensor:
        scores = [self._scores(name, part, x) for name, part in zip(self.names, self.parts, strict=True)]
        widths = {one.shape[-1] for one in scores}
        if len(widths) > 1 or any(one.ndim != 2 for one in scores):
            shapes = ", ".join(f"{name} {tuple(one.shape)}" for name, one in zip(self.names, scores, strict=True))
            raise ModelError(f"Expected scores (B, K) of the same K classes from each copy but got {shapes}.")
        steering = next((one for one in scores if one.requires_grad), None)
        if steering is not None:
            slope = steering - steering.detach()
            scores = [one if one.requires_grad else one + slope for one in scores]
        return torch.stack(scores, 2)

    @staticmethod
    def _scores(name: str, part: Classifier, x: Any) -> Tensor:
        try:
            if not isinstance(x, Tensor):  # values that are no tensors
                return part.unmasked(logits_of(part.call(x)).float())
            # A copy that gives scores alone may take no tensor that asks for a gradient.
            scores = part(x if part.gives is Needs.GRADIENT else x.detach())
        except RobustestError as error:
            raise ModelError(f"The copy {name!r}: {error}") from error
        except Exception as error:
            if out_of_memory(error):
                raise
            shape = tuple(x.shape) if isinstance(x, Tensor) else len(x)
            raise ModelError(
                f"Expected the copy {name!r} to answer a batch of shape {shape} but it raised {quoted(error)}. Call it "
                "by itself, and wrap it in a function that takes what the other copies take."
            ) from error
        if not math.isfinite(scores.detach().sum().item()):
            raise ModelError(
                f"nan_values: expected finite scores but the copy {name!r} gave NaN or infinite ones. Look for an "
                "overflow, such as in float16, or a division by zero."
            )
        return scores


def _one_model(joint: Any, columns: Mapping[str, NDArray[Any]]) -> str:
    """Return why two copies are one model given twice; "" if they are not.

    Equal scores alone are none: an export without rounding of its own has them too.
    """
    for i, j in combinations(range(len(joint.parts)), 2):
        if not np.array_equal(columns[_APART][:, i], columns[_APART][:, j]) or (i == 0 and columns[_APART][:, j].any()):
            continue
        one, other = joint.parts[i], joint.parts[j]
        shared = {id(m) for m in _modules(one.call)} & {id(m) for m in _modules(other.call)}
        marks_of = [fingerprint(part.call, part.module, part.preprocessing).digest for part in (one, other)]
        if shared or (marks_of[0] is not None and marks_of[0] == marks_of[1]):
            return (
                f"{joint.names[i]!r} and {joint.names[j]!r} are one model given twice, with equal scores to the last "
                "bit: it agrees with itself. Give the exported copy beside the original"
            )
    return ""


def _modules(call: Callable[..., Any]) -> Iterator[nn.Module]:
    return (one for one in reached(call) if isinstance(one, nn.Module))


# The looks


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersOfCopies:
    """Answers of all copies to a chunk, as it is or shifted."""

    whole_inputs = True

    shift: Shift | None

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        task, scores = evaluator.task, evaluator.logits(chunk.x)
        clean = task.predictions(scores)
        after, judged, columns = chunk.x, scores, dict[str, Any]()
        if self.shift is not None:
            shifted = self.shift.shifted(chunk.x, chunk.key, chunk.bounds, chunk.coding, chunk.sample_rate)
            after, judged = shifted.x, evaluator.logits(shifted.x)
            columns = {"moved": shifted.moved, "cut": shifted.cut}
        held, answers = task.holds(judged, chunk.y), task.predictions(judged)
        exhibits = exhibits_of(
            evaluator,
            chunk,
            ~held,
            clean=clean,
            predicted=answers,
            after=after,
            badness=-task.margin(judged, clean[:, 0]),
            size=None if self.shift is None else self.shift.level,
        )
        columns |= {"held": held, "clean": task.holds(scores, chunk.y), _ANSWERS: answers}
        return Observation(columns | _unchanged(scores, chunk.y), exhibits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreeing(Attacking):
    """A search for inputs on which two copies differ, from the samples on which all agree."""

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        scores = evaluator.logits(chunk.x)
        # The search leaves the class that the copies answer, whatever the label is.
        own = replace(chunk, y=scores[:, :, 0].argmax(1))
        observation = Attacking.__call__(self, evaluator, own)
        kept = observation.kept
        if kept is not None:  # a counterexample is known by the sample's label
            label = dict(zip(chunk.ids.tolist(), marks(chunk.y).tolist(), strict=True))
            kept = replace(kept, y=torch.tensor([label[at] for at in kept.ids.tolist()]))
        more = {name: one.cpu().numpy() for name, one in _unchanged(scores, chunk.y).items()}
        return replace(observation, columns=observation.columns | more, kept=kept)

    def further(self, predicted: Tensor) -> dict[str, Tensor]:
        return {_ANSWERS: predicted}

    def probe(self, evaluator: Evaluator, part: Chunk, found: SearchOutcome) -> None:
        # Copies that agree everywhere can be told apart at no radius: the control of the search is that it leads out
        # of the class where it may change the input at will.
        task = cast("SameAnswers", evaluator.task)
        evaluator.task = replace(task, leaving=True)
        try:
            own = replace(found, broken=torch.zeros_like(found.broken))
            Attacking.probe(self, evaluator, part, own)
        finally:
            evaluator.task = task

    def auditor(self, evaluator: Evaluator, chunk: Chunk, *, many: bool = False) -> Disagreeing | None:
        audit = attacking.audit_of(self.cascade, self.threat, evaluator, chunk, many=many)
        return None if audit is None else Disagreeing(cascade=audit, threat=self.threat, probing=False)


class Known(Replay):
    """Known counterexamples of copies, with the columns of `Disagreeing`."""

    def observed(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        observation = Replay.observed(self, evaluator, chunk)
        more = {name: one.cpu().numpy() for name, one in _unchanged(evaluator.logits(chunk.x), chunk.y).items()}
        return replace(observation, columns=observation.columns | more)

    def further(self, predicted: Tensor) -> dict[str, Tensor]:
        return {_ANSWERS: predicted}


def _unchanged(scores: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return the columns of scores (n, K, C) of samples as they are, with labels y (n,)."""
    answers = scores.argmax(1)
    apart = (scores - scores[:, :, :1]).abs().amax(1).double()
    return {_UNCHANGED: answers, _RIGHT: answers == y[:, None], _APART: apart}


# What a reader is told of the copies


def _relabelled(names: Sequence[str], columns: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return a caveat for each copy whose answers are those of the first with the classes in another order."""
    answers, caveats = columns[_UNCHANGED], []
    for place in range(1, len(names)):
        pairs = sorted({(int(a), int(b)) for a, b in zip(answers[:, 0], answers[:, place], strict=True)})
        one_to_one = len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs) > 1
        if one_to_one and any(a != b for a, b in pairs):
            order = ", ".join(f"{a} as {b}" for a, b in pairs if a != b)
            caveats.append(f"{names[place]} has the classes of {names[0]} in another order: {order}")
    return caveats
