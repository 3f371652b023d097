"""Comparing a claim's outcomes with those of a baseline, and offering them for the next one.

How outcomes come about, in words that two runs compare.
"""

from __future__ import annotations

import os
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from robustest import context
from robustest.decisions import BaselineRule, NoWorse, Rule, ScoreBaselineRule, Terms, checked_threshold
from robustest.errors import ConfigError, StoreError, expected
from robustest.models import as_classifier
from robustest.results import Result
from robustest.run.evidence import Evidence
from robustest.run.naming import current_claim
from robustest.run.units import Units
from robustest.settings import Settings
from robustest.store.baselines import BaselineEntry, packed, packed_scores
from robustest.store.baselines import read as read_baseline

Baseline: TypeAlias = object
"""The path of a baseline's file, or another model: anything that stands for a classifier."""

_MODELS, _ADDRESSES = ".onnx", ("http://", "https://")
"""Ends and starts of texts that name a model, and no baseline file."""
_BEFORE, _SHOWN = 30, 80
"""Characters of how two baselines were measured that are shown: before they differ, and in all."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A claim, and the baseline it is compared with.

    Attributes:
        rule: what is claimed, with the comparison where there is one.
        settings: how it is measured; a baseline being made needs every sample.
        units: what is counted; beside another model, ready to be compared with it.
        file: the baseline's file; None where nothing is compared.
        key: the claim's name in it.
        entry: what it says; None while it is being made.
        measured_by: as `measured_by` says.
        other: the same units, put to the model that the claim is compared with; None where that is a file, or nothing.
    """

    rule: Rule
    settings: Settings
    units: Units
    file: Path | None = None
    key: str = ""
    entry: BaselineEntry | None = None
    measured_by: str = ""
    other: Units | None = None

    def told(self, result: Result, evidence: Evidence) -> Result:
        """The result with what the comparison says.

        Raises:
            StoreError: the baseline is of other samples.
        """
        rule = self.rule
        if not isinstance(rule, NoWorse):
            return result
        about: dict[str, Any] = {"tolerance": rule.tolerance}
        notes = result.notes
        if self.other is not None:
            about["model"] = _name_of(self.other, evidence)
            if evidence.beside is not None and evidence.beside.outcomes is not None:
                about |= self._found(replace(rule, before=evidence.beside.outcomes), evidence)
            return replace(result, details={**result.details, "baseline": about})
        if self.file is None:
            return result
        about |= {"file": str(self.file), "key": self.key}
        if self.entry is None:
            about |= {"update": True, "measured_by": self.measured_by, "data": evidence.data}
            if isinstance(rule, ScoreBaselineRule):
                about["scores"] = packed_scores(rule.of_model(evidence.columns))
            elif isinstance(rule, BaselineRule) and (rule.columns != ("held",) or not rule.together):
                about["cells"] = packed(rule.of_model(evidence.columns).ravel())
        elif evidence.whole:
            if self.entry.data != evidence.data:
                raise StoreError(
                    f"Expected the samples that the baseline {self.file.name} was made of but these are different "
                    "ones (the same number, other values or labels): their outcomes cannot be paired. If the change is "
                    f"meant, update it: {_command()}"
                )
            about |= {**self._found(rule, evidence), "date": self.entry.date, "commit": self.entry.commit}
            found = rule.compare({**evidence.columns, "id": evidence.ids})
            if found.better:
                notes = (*notes, f"better than the baseline: {found.gained} gained, {found.lost} lost. {_tighten()}")
        return replace(result, details={**result.details, "baseline": about}, notes=notes)

    @staticmethod
    def _found(rule: NoWorse, evidence: Evidence) -> dict[str, Any]:
        """Return what became of the samples of a baseline, of all and of each group that is compared by itself."""
        columns = {**evidence.columns, "id": evidence.ids}
        about = {**rule.compare(columns).details(), "accuracy": float(rule.share_before)}
        if isinstance(rule, BaselineRule) and (rule.groups or rule.parts):
            about["groups"] = [
                {"group": one.name, "n": one.n, "lost": one.lost, "gained": one.gained, "p": one.p_lost}
                for one in rule.compare_groups(columns)
            ]
        return about


def _name_of(units: Units, evidence: Evidence) -> str:
    """Return what tells a model from others in words: the name of its class or function, and its digest."""
    model: Any = getattr(units, "model", None)
    call = getattr(model, "call", None)
    name = getattr(call, "__qualname__", type(call).__name__)
    digest = "" if evidence.beside is None else evidence.beside.model
    return f"{name} {digest[:12]}".strip()


def compared(
    rule: Rule,
    settings: Settings,
    *,
    has_threshold: bool,
    statement: str,
    units: Units,
    terms: Terms,
    no_worse_than: Baseline | None,
    tolerance: float,
    groups: tuple[tuple[str, NDArray[np.int64]], ...] = (),
    columns: tuple[str, ...] = ("held",),
    parts: tuple[tuple[str, tuple[str, ...]], ...] = (),
    together: bool = True,
    level: float | None = None,
    scored: str = "",
    by: str = "",
) -> Compared:
    """A claim with its comparison, where one is asked for.

    Args:
        rule: the claim on the number itself.
        settings: the running test's.
        has_threshold: whether that has a threshold.
        statement: the claim in words, which stands for its key outside a measurement; with the test's id, the key of
            the claim is that of the baseline's entry.
        units: what is counted.
        terms: what the verdict may rest on.
        no_worse_than: the baseline's file, or another model; None compares with nothing.
        tolerance: the fall from the baseline that is allowed, in 0..1.
        groups, columns, parts, together, level: as in `BaselineRule`.
        scored: as for `Plan.against`.
        by: how outcomes come about, as `measured_by` says it.

    Raises:
        ConfigError: an argument is out of range, the tolerance is as wide as what held in the baseline, or the other
            model cannot be compared with this one.
        StoreError: the baseline is missing, damaged, of another number of samples, or was measured otherwise.
    """
    tolerance = checked_threshold("tolerance", tolerance, trivial=1)
    if no_worse_than is None:
        return Compared(rule, settings, units)
    common: dict[str, Any] = {"other": rule, "asked": has_threshold, "tolerance": tolerance, "terms": terms}
    making: NoWorse
    if scored:
        making = ScoreBaselineRule(**common, before=None, seed=settings.seed, of=scored)
    else:
        how: dict[str, Any] = {"groups": groups, "columns": columns, "parts": parts, "together": together}
        making = BaselineRule(**common, before=None, **how, level=level)
    if not isinstance(no_worse_than, (str, os.PathLike)):
        beside: Any = getattr(units, "beside", None)
        if beside is None:
            raise ConfigError(expected("no_worse_than to be the path of a baseline file", no_worse_than))
        own, other = beside(no_worse_than, has_threshold=has_threshold)
        # Nothing is known of the other model yet: with no outcome of it the rule passes nothing.
        return Compared(replace(making, before=np.empty(0)), settings, own, other=other)
    if str(no_worse_than).endswith(_MODELS) or str(no_worse_than).startswith(_ADDRESSES):
        as_classifier(str(no_worse_than))  # says how a model is opened
    file = Path(no_worse_than)
    end = f" of the {parts[0][0]}" if len(parts) == 1 else ""  # a fall from one data set to another has two entries
    key = f"{context.current().claimant}: {current_claim() or statement}{end}"
    if settings.update_baseline:
        whole = settings.but({"exact": True, "max_samples": None, "time_budget": None})
        return Compared(making, whole, units, file, key, None, by)
    entry = _entry(file, key, len(units), len(columns), bool(scored))
    _check_alike(entry, by, file)
    made = replace(making, before=np.array(entry.values))
    if tolerance >= made.share_before:
        least = f"{f'the {scored} of' if scored else 'the share that held in'} the baseline, {made.share_before:.3f}"
        mend = "Nothing could be called worse. Tolerate less, or leave no_worse_than= out."
        raise ConfigError(expected(f"tolerance to be less than {least}", tolerance, mend))
    return Compared(made, settings, units, file, key, entry)


def _check_alike(entry: BaselineEntry, by: str, file: Path) -> None:
    """Refuse a baseline whose outcomes came about otherwise.

    Raises:
        StoreError: they did.
    """
    if by and entry.measured_by and entry.measured_by != by:
        was, now = _apart(entry.measured_by, by)
        raise StoreError(
            f"Expected outcomes measured as those of the baseline {file.name} were, with {was}, but got {now}. A "
            f"weaker measure would hide a loss; if the change is meant, update it: {_command()}"
        )


def _apart(was: str, now: str) -> tuple[str, str]:
    """Two words that differ, from shortly before where they do."""
    first = next((at for at, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), min(len(was), len(now)))
    at = max(0, first - _BEFORE)
    return was[at : at + _SHOWN], now[at : at + _SHOWN]


def _entry(file: Path, key: str, n: int, each: int, scored: bool) -> BaselineEntry:
    if not file.is_file():
        raise StoreError(f"Expected a baseline at {file} but there is none. Make it and commit it: {_command()}")
    entries = read_baseline(file)
    if key not in entries:
        raise StoreError(
            f"Expected an entry for this claim in the baseline {file.name} but there is none among its "
            f"{len(entries)}. Make it and commit it: {_command()}"
        )
    entry = entries[key]
    if scored is (entry.scores is None):
        there, asked = ("outcomes", "scores") if scored else ("scores", "outcomes")
        raise StoreError(
            f"Expected {asked} of this claim in the baseline {file.name} but there are {there}. "
            f"Make it anew and commit it: {_command()}"
        )
    if len(entry.outcomes) != n * each:
        was, now = (len(entry.outcomes), n) if each == 1 else (f"{len(entry.outcomes)} outcomes of the", n * each)
        raise StoreError(
            f"Expected the {was} samples that the baseline {file.name} was made of but got {now}. "
            f"Outcomes of other samples cannot be paired; if the change is meant, update it: {_command()}"
        )
    return entry


def _command() -> str:
    running = context.current()
    seed = running.settings.seed
    return f"{running.replay(seed)} --robust-update-baseline" if running.test else "pytest --robust-update-baseline"


def _tighten() -> str:
    return f"Hold what was won: {_command()}"


def measured_by(identity: object, task: object) -> str:
    """All that outcomes hang on besides model, samples and seed; empty where some of it has no words of its own.

    A claim's statement names its attack, not the steps, and its task, not every cut. With fewer steps, or an easier
    cut, a worse model looks as good as it was. Of values only what is not the default is told, so that a new field of
    a later version changes nothing.

    Args:
        identity: as `Plan.identity`.
        task: what answers are.
    """
    try:
        return "" if identity is None else _told((identity, task))
    except _Wordless:
        return ""


class _Wordless(Exception):
    """A value whose repr differs from run to run."""


def _told(value: object) -> str:
    if value is None or isinstance(value, (str, bool, int, float)):
        return repr(value)
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_told, value))})"
    if is_dataclass(value):
        given = ((field, getattr(value, field.name, None)) for field in fields(value) if field.compare)
        changed = (f"{field.name}={_told(one)}" for field, one in given if not _is_default(field, one))
        return f"{type(value).__name__}({', '.join(changed)})"
    raise _Wordless


def _is_default(field: Field[Any], value: object) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return type(default) is type(value) and bool(default == value)
