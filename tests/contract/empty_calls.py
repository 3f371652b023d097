"""Calls of every kind of claim, made from signatures, and what makes each of them empty.

A kind's call is put together by the names of its arguments (`VALUES`). Each value knows how it can be empty: as a
change that changes nothing (`still`), as what it is compared with (`same`), as a model that ignores its input
(`constant`).
So a new kind with known arguments is tested without a line, and one with a new argument fails until `VALUES` has it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from hypothesis import strategies as st
from small_subjects import (
    CLASSES,
    SIDE,
    Bright,
    Constant,
    Data,
    Idle,
    Nearly,
    OneClass,
    copied,
    dimmed,
    loaded,
    moving,
    pictures,
    recorded,
    twin,
    unmoved,
    without,
)
from torch import Tensor, nn

from robustest import Linf, Result, RobustestError, UnknownNameError, Verdict, strategies
from robustest.attacks import PGD
from robustest.cues import FunctionCue, PixelPatch
from robustest.data import BreedsSplit, Outcomes
from robustest.kinds import Kind, Quantity

N = 60


@dataclass(frozen=True)
class World:
    """The models and samples that a call is made of."""

    model: nn.Module = field(default_factory=lambda: Bright().eval())
    other: nn.Module = field(default_factory=lambda: Nearly().eval())
    data: Data = field(default_factory=lambda: pictures(N))
    new: Data = field(default_factory=lambda: pictures(N, 1))
    scores: tuple[bool, ...] = tuple(without(N, range(4)))
    prompts: tuple[str, ...] = tuple(f"{i} + 1" for i in range(N))


Made = Callable[[World], Any]


@dataclass(frozen=True, kw_only=True)
class Value:
    """An argument by its name.

    Attributes:
        sound: with which a claim tests something.
        still: with which it changes no sample, for a change.
        same: each is what the argument is compared with, for a second model or a second set.
        constant: gives one answer to every input, for a model.
    """

    sound: Made
    still: Made | None = None
    same: tuple[Made, ...] = ()
    constant: tuple[Made, ...] = ()


def around(model: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return another function that only calls this one."""

    def call(x: Any) -> Any:
        return model(x)

    return call


class Pairs(nn.Module):
    """Classes 0 and 2 are one, 1 and 3 another."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        scores = self.model(x)
        return torch.stack([scores[:, [0, 2]].amax(1), scores[:, [1, 3]].amax(1)], 1)


def mixed(data: Data) -> Data:
    order = torch.randperm(len(data[1]), generator=torch.Generator().manual_seed(5))
    return data[0][order], data[1][order]


def one_twice(data: Data) -> Data:
    """The samples of two classes, and again as those of the two others."""
    x, y = data
    return torch.cat([x[y < 2], x[y < 2]]), torch.cat([y[y < 2], y[y < 2] + 2])


def outcomes(world: World) -> Any:
    return recorded(world.scores, prompt=world.prompts, group=[f"group {i % 2}" for i in range(len(world.scores))])


def another(world: World) -> Any:
    """Outcomes of which one more is lost, and two are gained."""
    scores = [held or i < 2 for i, held in enumerate(world.scores)]
    scores[-1] = False
    return recorded(scores, prompt=world.prompts)


def runs(world: World) -> Any:
    """Three runs of each item, of which one differs now and then."""
    return Outcomes.of(
        [
            {"item": f"q{i}", "run": str(k), "score": held and (i + k) % 40 > 0, "prompt": world.prompts[i]}
            for i, held in enumerate(world.scores)
            for k in range(3)
        ]
    )


def other_runs(world: World) -> Any:
    """Runs of another system, which differ in other places."""
    return Outcomes.of(
        [
            {"item": f"q{i}", "run": str(k), "score": held and (i + 2 * k) % 30 > 0, "prompt": world.prompts[i]}
            for i, held in enumerate(world.scores)
            for k in range(3)
        ]
    )


def many_runs(world: World) -> Any:
    """Forty runs of each item, of which one fails."""
    rows = [
        {"item": f"q{i}", "run": str(k), "score": i % 40 != k, "prompt": prompt}
        for i, prompt in enumerate(world.prompts)
        for k in range(40)
    ]
    return Outcomes.of(rows)


def asked(world: World) -> list[dict[str, Any]]:
    """Items of sums, of which most are 2."""
    return [
        {"item": f"q{i}", "prompt": prompt, "expected": 2 if i % 10 else i, "group": f"group {i % 2}"}
        for i, prompt in enumerate(world.prompts)
    ]


def adds(item: Mapping[str, Any]) -> int:
    number = int(item["item"][1:])
    return 2 if number % 10 else number


def reads(item: Mapping[str, Any]) -> int:
    """Gives the number of the item, which most items have in place of 2."""
    return int(item["item"][1:])


def louder(item: Mapping[str, Any]) -> dict[str, Any]:
    return {**item, "prompt": f"{item['prompt']}!"}


def always_two(item: Mapping[str, Any]) -> int:
    return 2


def numbered(answer: int, item: Mapping[str, Any]) -> bool:
    """True for the answers of `reads`, which are as many as the items."""
    return answer == reads(item)


def right(answer: int, item: Mapping[str, Any]) -> bool:
    return answer == int(item["expected"])


MODELS: tuple[Made, ...] = (lambda w: Constant().eval(), lambda w: OneClass().eval())  # noqa: ARG005
ITSELF: tuple[Made, ...] = (
    lambda w: w.model,
    lambda w: around(w.model),
    lambda w: twin(w.model),
    lambda w: loaded(w.model) if isinstance(w.model, Bright) else w.model,
)
SPLIT = BreedsSplit(superclasses=("even", "odd"), source=((0,), (1,)), target=((2,), (3,)), names={})
NOTHING_ON: Any = FunctionCue("nothing", on=lambda x: x.clone())

VALUES: dict[str, Value] = {
    "model": Value(sound=lambda w: w.model, constant=MODELS),
    "data": Value(sound=lambda w: w.data),
    "stable_under_perturbations.data": Value(
        sound=lambda w: moving(w.data), still=lambda w: moving(w.data, still=True)
    ),
    "threat": Value(sound=lambda w: Linf(0.02), still=lambda w: Linf(0.0)),  # noqa: ARG005
    "shift": Value(sound=lambda w: dimmed, still=lambda w: unmoved),  # noqa: ARG005
    "strategy": Value(
        sound=lambda w: strategies.shifts(["gaussian_noise"], max_severity=1),  # noqa: ARG005
        still=lambda w: st.just(unmoved),  # noqa: ARG005
    ),
    "cue": Value(
        sound=lambda w: PixelPatch(top=SIDE - 1, left=0, height=1, width=2),  # noqa: ARG005
        still=lambda w: NOTHING_ON,  # noqa: ARG005
    ),
    "corruptions": Value(sound=lambda w: ["gaussian_noise"], still=lambda w: [unmoved]),  # noqa: ARG005
    "norm": Value(sound=lambda w: "l2"),  # noqa: ARG005
    "groups": Value(
        sound=lambda w: [i // CLASSES % 2 for i in range(len(w.data[1]))],
    ),
    "split": Value(sound=lambda w: SPLIT),  # noqa: ARG005
    "subpopulation_shift.model": Value(
        sound=lambda w: Pairs(w.model),
        constant=(lambda w: Constant(0, 2).eval(),),  # noqa: ARG005
    ),
    "subpopulation_shift.data": Value(sound=lambda w: w.data, same=(lambda w: one_twice(w.data),)),
    "same_answers.model": Value(
        sound=lambda w: [w.model, w.other],
        same=(lambda w: [w.model, w.model], lambda w: [w.model, around(w.model)], lambda w: [w.model, twin(w.model)]),
        constant=tuple(lambda w, made=made: [made(w), around(made(w))] for made in MODELS),  # type: ignore[misc]
    ),
    "change": Value(sound=lambda w: Linf(0.02), still=lambda w: Linf(0.0)),  # noqa: ARG005
    "new_data": Value(
        sound=lambda w: w.new,
        same=(lambda w: w.data, lambda w: mixed(w.data), lambda w: (w.data[0][:30].clone(), w.data[1][:30])),
    ),
    "outside": Value(sound=lambda w: 0.4 * w.new[0], same=(lambda w: w.data[0], lambda w: mixed(w.data)[0])),
    "outcomes": Value(sound=outcomes, constant=(lambda w: always_two,)),  # noqa: ARG005
    "consistent_runs.outcomes": Value(sound=runs, constant=(lambda w: always_two,)),  # noqa: ARG005
    "reliable.outcomes": Value(sound=runs, constant=(lambda w: always_two,)),  # noqa: ARG005
    "worst_item_rate.outcomes": Value(sound=many_runs, constant=(lambda w: always_two,)),  # noqa: ARG005
    "k": Value(sound=lambda w: 2),  # noqa: ARG005
    "items": Value(sound=asked),
    "system": Value(sound=lambda w: reads, constant=(lambda w: always_two,)),  # noqa: ARG005
    "changes": Value(sound=lambda w: louder, still=lambda w: dict),  # noqa: ARG005
    "expect": Value(sound=lambda w: "not_lower"),  # noqa: ARG005
    "score": Value(sound=lambda w: right),  # noqa: ARG005
    "directional.score": Value(sound=lambda w: numbered),  # noqa: ARG005
    "worst_change_rate.score": Value(sound=lambda w: numbered),  # noqa: ARG005
    "task": Value(sound=lambda w: "classification"),  # noqa: ARG005
    "coverage": Value(sound=lambda w: 0.9),  # noqa: ARG005
    # A search that searches nothing; where it is a proof that counts, it may.
    "attack": Value(sound=lambda w: "fgsm", still=lambda w: Idle()),  # noqa: ARG005
    "certified_accuracy.attack": Value(sound=lambda w: "fgsm"),  # noqa: ARG005
    "by": Value(sound=lambda w: 0.9, still=lambda w: 1.0),  # noqa: ARG005
    "no_worse_than": Value(sound=lambda w: w.other, same=ITSELF),
    "rate.no_worse_than": Value(
        sound=another,
        same=(outcomes, lambda w: recorded(w.scores, prompt=w.prompts)),
    ),
    "reliable.no_worse_than": Value(sound=other_runs, same=(runs,)),
}
"""Arguments by name; those of one kind alone by its name and theirs."""

ASKED: dict[str, Value] = {
    "rate.no_worse_than": Value(
        sound=another,
        same=(lambda w: adds, lambda w: around(adds)),  # noqa: ARG005
    ),
    "reliable.no_worse_than": Value(
        sound=other_runs,
        same=(lambda w: adds, lambda w: around(adds)),  # noqa: ARG005
    ),
}
"""Entries of `VALUES` that differ for a function that is asked."""

WHERE = "VALUES of tests/contract/empty_calls.py, or of the pack's table"

NEEDED: dict[str, tuple[str, ...]] = {"max_mce": ("corruption_robustness.reference",)}
"""Arguments that a threshold needs; of one kind alone by its name and the threshold's."""
VALUES["corruption_robustness.reference"] = Value(sound=lambda w: {"gaussian_noise": [0.5] * 5})  # noqa: ARG005

EFFORT: dict[str, Any] = {
    "iterations": 5,
    "attack": "fgsm",
    "min_perturbation.attack": "fmn",
    "max_examples": 3,
    "min_group_size": 5,
    "severities": [1],
}
"""Smaller searches, for kinds that take these arguments; of one kind alone by its name and theirs."""

OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "pgd": {"attack": PGD(steps=3)},
    "proven": {"certify": "auto"},
    "as a task": {"task": "classification"},
    "exact": {"exact": True},
}
"""Options, for kinds that take these arguments."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A claim of one kind: its measurement, the threshold or comparison that it claims, and its arguments.

    Attributes:
        title: what was made of it, in words.
        empty: the arguments that were made empty.
        unit: of the claimed value, 1 for a share.
    """

    kind: Kind
    measure: Callable[..., Result]
    claims: str
    arguments: Mapping[str, Any]
    values: Mapping[str, Value]
    title: str = ""
    empty: frozenset[str] = frozenset()
    unit: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.kind.name}: {self.claims}{', ' * bool(self.title)}{self.title}"

    def of(self, title: str, **arguments: Any) -> Call:
        """Return the call with other arguments."""
        return replace(self, arguments={**self.arguments, **arguments}, title=title)

    def emptied(self, title: str, **arguments: Any) -> Call:
        """Return the call with these arguments as empty ones."""
        return replace(self.of(title, **arguments), empty=frozenset(arguments))


def entry(values: Mapping[str, Value], kind: Kind, name: str) -> Value | None:
    """Return the entry of an argument, or None."""
    return values.get(f"{kind.name}.{name}", values.get(name))


def value_of(values: Mapping[str, Value], kind: Kind, name: str) -> Value:
    """Return the entry of an argument. Raises AssertionError, which says what to add, if there is none."""
    found = entry(values, kind, name)
    assert found is not None, (
        f"{kind.name} requires {name}=, of which VALUES has no entry: add {name!r} to {WHERE}, with a sound value, and "
        "with still=, same= or constant= where it can be empty"
    )
    return found


def parameters(measure: Callable[..., Result]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(measure).parameters)


def calls_of(
    kind: Kind,
    assertion: Callable[..., Result],
    world: World,
    values: Mapping[str, Value] = VALUES,
    *,
    effort: Mapping[str, Any] = EFFORT,
    needed: Mapping[str, tuple[str, ...]] = NEEDED,
    **more: Any,
) -> Iterator[Call]:
    """Yield a call for each threshold of a kind, and for each further argument that claims something.

    Args:
        effort: smaller searches, as `EFFORT` has them.
        needed: entries of `values` that a threshold needs, as `NEEDED` has them.
        **more: further arguments of every call.
    """
    measure: Callable[..., Result] = assertion.__wrapped__  # type: ignore[attr-defined]
    known = parameters(measure)
    thresholds = {one.threshold for one in kind.quantities}
    varied = [
        name
        for name, one in known.items()
        if name not in {*thresholds, *kind.further_claims}
        and one.kind is not one.VAR_KEYWORD
        and one.default is one.empty
    ]
    varied += {"corruption_robustness": ["corruptions"], "same_answers": ["change"]}.get(kind.name, [])
    asserted = parameters(assertion)  # which may require an argument that only a claim needs
    required = [
        name
        for name, one in asserted.items()
        if one.default is one.empty and one.kind is not one.VAR_KEYWORD and name not in {*varied, *thresholds}
    ]
    given = {name: value_of(values, kind, name).sound(world) for name in (*varied, *required)}
    given |= {name: effort.get(f"{kind.name}.{name}", effort[name]) for name in known if name in effort}
    for claims in dict.fromkeys((*(one.threshold for one in kind.quantities), *kind.further_claims)):
        if claims in given:
            continue
        names = needed.get(f"{kind.name}.{claims}", needed.get(claims, ()))
        beside = {one.rpartition(".")[2]: values[one].sound(world) for one in names}
        call = Call(kind=kind, measure=measure, claims=claims, arguments={**given, **beside, **more}, values=values)
        yield call
        if "items" in known and "outcomes" in known:  # recorded, or asked for
            ways = {name: value_of(values, kind, name).sound(world) for name in ("items", "score")}
            yield replace(call.of("asked", outcomes=adds, **ways), values={**values, **ASKED})


def options_of(call: Call, every: Mapping[str, dict[str, Any]] = OPTIONS) -> Iterator[Call]:
    """Yield a call with each option that its kind takes."""
    known = parameters(call.measure)
    for title, options in every.items():
        if (
            all(name in known or name == "exact" for name in options)
            and not set(options) & call.empty
            and not (
                "certify" in options and "attack" in call.empty  # a proof needs no attack
            )
        ):
            yield call.of(f"{call.title} {title}".strip(), **options)


def still(call: Call, world: World) -> Iterator[Call]:
    """Yield the call with each of its changes as one that changes nothing."""
    found = False
    for name in parameters(call.measure):
        value = entry(call.values, call.kind, name)
        if value is not None and value.still is not None:
            found = True
            yield call.emptied(f"{call.title} {name} that changes nothing".strip(), **{name: value.still(world)})
    assert found or call.kind.varies != "inputs" or call.kind.name in SEARCHES, (
        f"{call.kind.name} varies inputs, and no argument of it has still= in {WHERE}"
    )


def beside_itself(call: Call, world: World) -> Iterator[Call]:
    """Yield the call with each second model, or second set, as the first."""
    found = False
    for name in (*call.arguments, *((call.claims,) if call.claims in call.kind.further_claims else ())):
        value = entry(call.values, call.kind, name)
        for place, same in enumerate(() if value is None else value.same):
            found = True
            yield call.emptied(f"{call.title} {name} the same ({place})".strip(), **{name: same(world)})
    assert found or call.kind.varies != "sets", (
        f"{call.kind.name} varies sets, and no argument of it has same= in {WHERE}"
    )


def constant(call: Call, world: World) -> Iterator[Call]:
    """Yield the call with each model as one that gives one answer to every input."""
    for name in call.arguments:
        value = entry(call.values, call.kind, name)
        for place, made in enumerate(() if value is None else value.constant):
            yield call.emptied(f"{call.title} constant {name} ({place})".strip(), **{name: made(world)})


SEARCHES: dict[str, str] = {}
"""Kinds of packs that vary inputs by no argument, and how."""


def loosest(quantity: Quantity, unit: float = 1.0) -> tuple[float, ...]:
    """Return thresholds next to such as any model keeps; the first that is no error is the loosest."""
    if quantity.comparison == ">=":
        return (0.001,) if quantity.trivial in {None, 0} else (float(quantity.trivial or 0) + 0.001, 0.001)
    return (50.0 * unit, 1.9 * unit, 0.999 * unit) if quantity.trivial is None else (float(quantity.trivial) - 0.001,)


def verdicts(call: Call, world: World, *, slack: float) -> Iterator[tuple[str, Result]]:
    """Measure a call, and claim what it measured; yield each result. A refusal yields none.

    Args:
        slack: between the measured value and the threshold claimed, in the call's unit.
    """
    if call.claims in call.kind.further_claims:
        beside = call.arguments.get(call.claims)
        beside = value_of(call.values, call.kind, call.claims).sound(world) if beside is None else beside
        words = {call.claims: beside, "tolerance": slack}
        if (result := measured(call, **words)) is not None:
            yield f"{call.claims}, tolerance={slack}", result
        return
    quantity = call.kind.quantity_of(call.claims)
    for limit in loosest(quantity, call.unit):
        first = measured(call, **{call.claims: limit})
        if first is not None:
            break
    else:
        return
    yield f"{call.claims}={limit}", first
    whole = measured(call, **{call.claims: limit, "exact": True}) if first.estimate is None else first
    if whole is None or whole.estimate is None:
        return
    high = quantity.comparison == ">="
    apart = slack * call.unit
    value = max(whole.estimate - apart, limit) if high else min(whole.estimate + apart, limit)
    claimed = measured(call, **{call.claims: round(value, 6)})
    if claimed is not None:
        yield f"{call.claims}={value:.4f}", claimed


def measured(call: Call, **words: Any) -> Result | None:
    """Return the result of a call, or None if it is refused; a misspelt keyword is no refusal."""
    try:
        return call.measure(**{**call.arguments, **words})
    except UnknownNameError:
        raise
    except RobustestError:
        return None


def greens(call: Call, world: World, *, slack: float, drawn: bool = False) -> list[str]:
    """Return what passed of a call.

    Args:
        slack: as for `verdicts`.
        drawn: what passes of the population alone, at the value that was measured: few draws may show the loosest.
    """
    found = list(verdicts(call, world, slack=slack))
    if drawn:
        found = [(claimed, result) for claimed, result in found[-1:] if result.subject.scope == "population"]
    return [
        f"{call.name}: {claimed} passed, {result.rule}" for claimed, result in found if result.verdict is Verdict.PASSED
    ]


def few_draws(world: World) -> World:
    """Five samples, or items, many times."""
    x, y = world.data
    again, new = copied((x[:5], y[:5]), N // 5), copied((world.new[0][:5], world.new[1][:5]), N // 5)
    return replace(world, data=again, new=new, prompts=tuple(f"{i % 5} + 1" for i in range(N)))


def one_class(world: World) -> World:
    """Samples of one class alone."""
    parts = [(x[y == 0], y[y == 0]) for x, y in (pictures(4 * N), pictures(4 * N, 1))]
    return replace(world, data=parts[0], new=parts[1])
