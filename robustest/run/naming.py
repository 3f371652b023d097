"""The name of a claim: a key that is the same in every run, with the claim's variations and limits as data."""

# The key, e.g. `robust_accuracy(Linf(eps=8/255), attack=fast) at_least`, is made of the arguments that define the
# claim:
#
# 1. the kind of claim;
# 2. each threat, shift, cue or strategy, as a `Variation` with its parameters;
# 3. further choices: the attack, the task, a score, the names of the data sets, and the numbers in `Kind.parameters`;
# 4. the argument that bounds the quantity, without its value.
#
# Left out are arguments about effort and running (steps, seeds, draws, batch sizes): a claim with a stronger search is
# the same claim.

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING, dataclass, fields, is_dataclass
from hashlib import sha256
from inspect import BoundArguments
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from robustest import context
from robustest.identity.plain import is_plain, simple, words
from robustest.kinds import Kind
from robustest.loaded import of_class
from robustest.results import Limit, Variation
from robustest.words import exactly

if TYPE_CHECKING:
    import torch
    from hypothesis.strategies import SearchStrategy
else:
    from robustest.loaded import torch

# Arguments that are samples or annotations: only their names are part of a key, e.g. that of a benchmark.
_DATA = words(
    "data new_data outside synthetic train_data test_data fit_data study env responses annotations groups split "
    "perturbations evidence truth suspects"
)
# Other models and tables, and arguments about effort: no part of a key.
_NOT_NAMED = words(
    "control no_worse_than tolerance options certify reference judge oracle embedding loss train items calls"
)
# Most characters of a key; a digest stands for the rest.
_LONGEST = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimName:
    """The name of a claim; see `Result` for its fields."""

    claim: str
    family: str
    threshold_name: str
    varied: tuple[Variation, ...] = ()
    axis: str | None = None
    at: float | None = None
    limits: tuple[Limit, ...] = ()

    @classmethod
    def of(cls, kind: Kind, call: BoundArguments) -> ClaimName:
        """Return the name of the claim that a call makes.

        Raises:
            ConfigError: an attack or a shift is unknown.
        """
        call.apply_defaults()
        arguments, signature = call.arguments, call.signature.parameters
        limits = tuple(
            Limit(name, _comparison(kind, name), float(value))
            for name in (*kind.thresholds, *kind.limits)
            if isinstance(value := arguments.get(name), (int, float)) and math.isfinite(value)
        )
        given = {limit.name for limit in limits}
        bounded = next((one for one in kind.quantities if one.threshold in given), kind.quantities[0])
        threshold_name = bounded.threshold
        # All claims of a test are about the same model, which has no name.
        subject = next(iter(signature))  # the model: what all claims of a test are about
        left_out = {*_NOT_NAMED, *kind.thresholds, *kind.limits, *({subject} - _DATA)}
        chosen = {name: value for name, value in arguments.items() if name not in left_out or _is_judge(value)}
        if "attack" in chosen:  # by name only: with more steps it is the same claim; baselines compare the steps
            attack = context.current().settings.attack if chosen["attack"] is None else chosen["attack"]
            several = attack if isinstance(attack, (list, tuple)) else (attack,)
            chosen["attack"] = "+".join(str(getattr(one, "name", one)) for one in several)
        if "severity" in chosen:  # ("fog", severity=5) and Shift("fog", 5) are the same claim
            from robustest.shifts import as_shift  # which loads torch, as a claim with a shift has done

            severity, shift = chosen.pop("severity"), chosen["shift"]
            chosen["shift"] = None if shift is None else as_shift(shift, severity)
        # Defaults are left out, so that an argument that a later version adds does not change old keys.
        parts = [
            part
            for name, value in chosen.items()
            if name == "attack" or not _same(value, signature[name].default)
            for part in _parts(name, value, number=name in kind.parameters)
        ]
        varied = tuple(part for part in parts if isinstance(part, Variation))
        # The number on the axis is a parameter of the first variation that has an axis, or else an argument.
        moving = next((one for one in varied if one.axis is not None), None)
        axis = kind.axis if type(chosen.get(kind.axis)) in (int, float) else None
        at = None if axis is None else chosen[axis]
        if moving is not None:
            axis, at = moving.axis, moving.at
            rest: list[object] = [moving.without_axis if part is moving else part for part in parts]
        else:
            rest = [part for part in parts if axis is None or not str(part).startswith(f"{axis}=")]
        return cls(
            claim=f"{_written(kind.name, parts)} {threshold_name}",
            family=_written(kind.name, rest),
            threshold_name=threshold_name,
            varied=varied,
            axis=axis,
            at=at,
            limits=limits,
        )

    def fields(self, threshold: float | None) -> dict[str, Any]:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return given if threshold is not None else {**given, "threshold_name": None}


_CURRENT: ContextVar[ClaimName | None] = ContextVar("robustest_claim_name", default=None)


@contextmanager
def named(name: ClaimName) -> Iterator[None]:
    """Set the name of the claim inside the block, for entries of baselines."""
    token = _CURRENT.set(name)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_claim() -> str:
    """Return the key of the claim that is being measured; empty outside a measurement."""
    name = _CURRENT.get()
    return "" if name is None else name.claim


def variation_of(value: object) -> Variation:
    """Return a threat, shift, cue or strategy as data: its `variation`, or its fields; else its name or type."""
    own = getattr(value, "variation", None)
    if isinstance(own, Variation):
        return own
    if _is_strategy(value):
        from robustest.strategies import strategy_words  # which loads torch, as a strategy has done

        return Variation(strategy_words(value))
    name = getattr(value, "name", None)
    if not is_dataclass(value) or isinstance(value, type):
        return Variation(name if isinstance(name, str) else type(value).__name__)
    axis = getattr(type(value), "axis", None)
    axis = axis if type(getattr(value, str(axis), None)) in (int, float) else None
    changed: dict[str, Any] = {}
    for each in fields(value):
        default = each.default if each.default_factory is MISSING else each.default_factory()
        given = getattr(value, each.name, default)
        chosen = each.name == axis or isinstance(given, (torch.Tensor, np.ndarray)) or not _same(given, default)
        if each.init and chosen:
            changed[each.name] = _plain(given)
    return Variation(type(value).__name__, changed, axis)


def _is_judge(value: object) -> bool:
    return of_class(value, "robustest.data.judge_labels", "JudgeLabels")


def _is_strategy(value: object) -> TypeGuard[SearchStrategy[Any]]:
    return of_class(value, "hypothesis.strategies", "SearchStrategy")


def _written(kind: str, parts: Sequence[object]) -> str:
    key = f"{kind}({', '.join(map(str, parts))})" if parts else kind
    if len(key) <= _LONGEST:
        return key
    return f"{key[:_LONGEST]}... {sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def _same(value: object, default: object) -> bool:
    # Plain values only: others may define == in any way.
    return value is default or (type(value) is type(default) and is_plain(value) and bool(value == default))


def _plain(value: object) -> Any:
    """Return a parameter as a plain JSON value: tensors as digests, functions by name."""
    if value is None or type(value) in (str, bool, int) or (type(value) is float and math.isfinite(value)):
        return value
    if isinstance(value, float):  # infinite or NaN, which JSON cannot hold
        return repr(value)
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (torch.Tensor, np.ndarray)):
        known = simple(value)
        return f"{'x'.join(map(str, value.shape))} values {sha256(known or b'').hexdigest()[:12]}"
    if callable(value) and isinstance(name := getattr(value, "__qualname__", None), str):
        return name
    return str(variation_of(value))


def _parts(name: str, value: Any, *, number: bool = False) -> list[Variation | str]:
    """Return the parts of a key that an argument makes; none if it does not define the claim."""
    if of_class(value, "robustest.tasks", "Task"):
        # Its type, and what an answer has to reach; baselines compare its other parameters.
        held = {key: exactly(float(cut)) for key in ("floor", "k", "tolerance") if (cut := getattr(value, key, None))}
        cuts = ", ".join(f"{key}={cut}" for key, cut in held.items())
        return [] if value.one_class else [f"{name}={type(value).__name__}({cuts})"]
    if _is_judge(value):  # a true rate is another quantity than the judge's; its labels grow, and name nothing
        return ["judged"]
    if name == "changes":
        from robustest.data.changes import named_changes

        return [f"changes=({', '.join(named_changes(value))})"]
    if isinstance(value, str):
        return [value if name in ("cue", "norm") else f"{name}={value}"]
    if number and type(value) in (int, float):
        return [f"{name}={exactly(float(value)) if type(value) is float else value}"]
    if isinstance(value, (list, tuple)) and value and (name not in _DATA or isinstance(value[0], str)):
        kinds = (str, int, float) if number else (str,)
        if all(type(one) in kinds for one in value):
            return [f"{name}=({', '.join(map(str, value))})"]
        found = [_parts(name, one, number=number) for one in value]
        return [part for parts in found for part in parts] if all(found) else []
    if name in _DATA:
        called = getattr(value, "name", None)
        return [f"{name}={called}"] if isinstance(called, str) and called else []
    if isinstance(value, (torch.nn.Module, torch.Tensor, np.ndarray, type, bool, int, float, Mapping)) or value is None:
        return []
    if callable(value) and not (is_dataclass(value) or isinstance(getattr(value, "variation", None), Variation)):
        return []
    named_so = is_dataclass(value) or isinstance(getattr(value, "name", None), str)
    return [variation_of(value)] if named_so or _is_strategy(value) else []


def _comparison(kind: Kind, name: str) -> str:
    if name.startswith(("max_", "min_", "at_")):
        return "<=" if name.startswith("max_") or name == "at_most" else ">="
    return next((one.comparison for one in kind.quantities if one.threshold == name), ">=")
