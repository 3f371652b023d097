"""Comparison of a claim's outcomes with a baseline file or another model, sample by sample."""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from robustest import context
from robustest.decisions import BaselineRule, NoWorse, ScoreBaselineRule
from robustest.errors import StoreError
from robustest.identity.fingerprint import lasting_digest
from robustest.identity.packages import home_of_class
from robustest.identity.plain import Unhashable
from robustest.run.evidence import Evidence
from robustest.run.units import ModelUnits
from robustest.store.baselines import BaselineEntry, packed, packed_scores
from robustest.store.baselines import read as read_baseline

Baseline: TypeAlias = object
"""The path of a baseline's file, or another model."""

# Characters shown of two descriptions: before they differ, and in all.
_BEFORE, _SHOWN = 30, 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The comparison of a claim with a baseline or another model.

    Attributes:
        key, entry: name and value of the claim's entry in the file; None while it is being made.
        measured_by: as `measured_by` returns it, for an entry that is being made.
        other: the same units with the other model; None for a file.
    """

    rule: NoWorse
    file: Path | None = None
    key: str = ""
    entry: BaselineEntry | None = None
    measured_by: str = ""
    other: ModelUnits | None = None

    def details_of(self, evidence: Evidence) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the detail "baseline" of a result, and notes for the reader.

        Raises:
            StoreError: the baseline is of other samples, or is made of two claims of this test.
        """
        rule = self.rule
        about: dict[str, Any] = {"tolerance": rule.tolerance}
        if self.other is not None:
            model: Any = self.other.model.call
            digest = "" if evidence.beside is None else evidence.beside.model
            about["model"] = f"{getattr(model, '__qualname__', type(model).__name__)} {digest[:12]}".strip()
            if evidence.beside is not None and evidence.beside.outcomes is not None:
                about |= _paired(replace(rule, before=evidence.beside.outcomes), evidence)
            return about, ()
        about |= {"file": str(self.file), "key": self.key}
        if self.entry is None:
            self._check_alone(evidence)
            about |= {"update": True, "measured_by": self.measured_by, "data": evidence.data}
            if isinstance(rule, ScoreBaselineRule):
                about["scores"] = packed_scores(rule.of_model(evidence.columns))
            elif isinstance(rule, BaselineRule) and (rule.columns != ("held",) or not rule.together):
                about["cells"] = packed(rule.of_model(evidence.columns).ravel())
        elif evidence.whole:
            if self.entry.data != evidence.data:
                raise StoreError(
                    f"Expected the samples that the baseline {Path(str(self.file)).name} was made of but these are "
                    "different ones (the same number, other values or labels): their outcomes cannot be paired. If the "
                    f"change is meant, update it: {update_command()}"
                )
            about |= {**_paired(rule, evidence), "date": self.entry.date, "commit": self.entry.commit}
            found = rule.compare({**evidence.columns, "id": evidence.ids})
            if found.better:
                better = f"better than the baseline: {found.gained} gained, {found.lost} lost."
                return about, (f"{better} Hold what was won: {update_command()}",)
        return about, ()

    def _check_alone(self, evidence: Evidence) -> None:
        # Claims in a loop over models have one name: the last would overwrite the outcomes of the others. Only where
        # entries are made: a verdict depends on no other claim of its test.
        running, own = context.current(), (evidence.model, evidence.data, evidence.outcomes)
        for result in (*running.results, *running.ungated):
            paired = result.details.get("baseline") or {}
            same = (paired.get("file"), paired.get("key")) == (str(self.file), self.key)
            if same and (result.evidence.model or "", result.evidence.data, result.outcomes) != own:
                raise StoreError(
                    "Expected one claim of this name in the test but there are two, of other models or samples, with "
                    f"one entry in the baseline {Path(str(self.file)).name}. Make each a test of its own, by "
                    "pytest.mark.parametrize."
                )


def _paired(rule: NoWorse, evidence: Evidence) -> dict[str, Any]:
    columns = {**evidence.columns, "id": evidence.ids}
    about = {**rule.compare(columns).details(), "accuracy": float(rule.share_before)}
    if isinstance(rule, BaselineRule) and (rule.groups or rule.parts):
        about["groups"] = [{"group": one.name, "n": one.n, **one.details()} for one in rule.falls(columns)]
    return about


def entry_in(file: Path, key: str, n: int, each: int, *, scored: bool, by: str) -> BaselineEntry:
    """Return a claim's entry in a baseline file.

    Args:
        each: outcomes per sample.
        scored: True for scores, False for outcomes.
        by: as `measured_by` returns it; must equal the entry's.

    Raises:
        StoreError: there is no such entry, or it is of other samples or was measured otherwise.
    """
    if not file.is_file():
        raise StoreError(f"Expected a baseline at {file} but there is none. Make it and commit it: {update_command()}")
    entries = read_baseline(file)
    if key not in entries:
        raise StoreError(
            f"Expected an entry for this claim in the baseline {file.name} but there is none among its "
            f"{len(entries)}. Make it and commit it: {update_command()}"
        )
    entry = entries[key]
    if scored is (entry.scores is None):
        there, wanted = ("outcomes", "scores") if scored else ("scores", "outcomes")
        raise StoreError(
            f"Expected {wanted} of this claim in the baseline {file.name} but there are {there}. "
            f"Make it anew and commit it: {update_command()}"
        )
    if len(entry.outcomes) != n * each:
        was, now = (len(entry.outcomes), n) if each == 1 else (f"{len(entry.outcomes)} outcomes of the", n * each)
        raise StoreError(
            f"Expected the {was} samples that the baseline {file.name} was made of but got {now}. "
            f"Outcomes of other samples cannot be paired; if the change is meant, update it: {update_command()}"
        )
    if entry.measured_by != by:
        before, here = (words or "nothing known" for words in _apart(entry.measured_by, by))
        raise StoreError(
            f"Expected outcomes measured as those of the baseline {file.name} were, with {before}, but got {here}. A "
            f"weaker measure would hide a loss; if the change is meant, update it: {update_command()}"
        )
    return entry


def _apart(was: str, now: str) -> tuple[str, str]:
    # Show both texts from shortly before the place where they differ.
    first = next((at for at, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), min(len(was), len(now)))
    at = max(0, first - _BEFORE)
    return was[at : at + _SHOWN], now[at : at + _SHOWN]


def update_command() -> str:
    """Return the command that writes the running test's baseline."""
    running = context.current()
    seed = running.settings.seed
    return f"{running.replay(seed)} --robust-update-baseline" if running.test else "pytest --robust-update-baseline"


def measured_by(identity: object, task: object) -> str:
    """Return in words all that outcomes depend on besides model, samples and seed; "" for no identity.

    Raises:
        Unhashable: a part of it has neither words nor a digest.
    """
    # Default values are left out, so that a field that a later version adds changes nothing.
    # The statement of a claim names its attack without the steps; with fewer steps a worse model looks as good as
    # before.
    try:
        return "" if identity is None else _in_words((identity, task))
    except RecursionError:
        raise Unhashable("a value nested too deeply") from None


def _in_words(value: object) -> str:
    if value is None or isinstance(value, (str, bool, int, float)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_in_words, value))})"
    if isinstance(value, partial):
        return f"partial{_in_words((value.func, value.args, tuple(value.keywords.items())))}"
    if isinstance(value, type) or not is_dataclass(value) or home_of_class(type(value)) is None:
        # By source and bytes, not by byte code: a baseline is kept for years, and read with other releases of Python.
        name = getattr(value, "__qualname__", type(value).__qualname__)
        return f"{name} with digest {lasting_digest(value)[:16]}"
    # Fields that are not compared (a cache, a counter) do not change outcomes.
    given = ((field, getattr(value, field.name, None)) for field in fields(value) if field.compare)
    changed = ", ".join(f"{field.name}={_in_words(one)}" for field, one in given if not _is_default(field, one))
    return f"{type(value).__name__}({changed})"


def _is_default(field: Field[Any], value: object) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return type(default) is type(value) and _in_words(default) == _in_words(value)
