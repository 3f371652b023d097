"""What the page says about each claim."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustest.reports.html.album import Album, Picture
from robustest.reports.html.exhibits import Exhibit, exhibit_of, groups_of
from robustest.reports.html.scales import Scale, scale_of
from robustest.reports.html.tables import Table, tables_of
from robustest.reports.states import STATES, Reported, aside, state, without_result
from robustest.reports.text import count_of, measured, value_of
from robustest.results import Counterexample, Fact, Result
from robustest.words import limits_in_words

_BREAKS = re.compile(r"(?<=/)|(?<=::)|(?=\[)")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A picture of what a model looks at, with its caption; or why it cannot be shown."""

    picture: Picture | None
    problem: str
    caption: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A health check that spoke: its name, what it saw, and whether the user asked it not to count."""

    name: str
    message: str
    suppressed: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """A claim beside its baseline.

    Attributes:
        facts: the numbers; empty where nothing was compared.
        problem: why nothing was; empty otherwise.
        drop: how far the accuracy fell, or None.
    """

    facts: tuple[Fact, ...] = ()
    problem: str = ""
    drop: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A claim as the page shows it.

    Attributes:
        number: its place in the run, from 1.
        test, statement, verdict, rule: as recorded; the verdict is one of `STATES`.
        result: what was measured, or None.
        problem: why nothing was.
        replay: the command that repeats the test.
        measured: what was measured and required, with n and caveats, in the sentence that every report prints.
        value, required, count: parts of it, for the columns of a table; the baseline has a column of its own.
        about: what the bar is about, where it would mislead.
        caveats: what must be said wherever the value is.
        scale: the value drawn.
        slack: how far the value is on the right side of the threshold, negative where it is not; for sorting.
        exhibits: the worst samples.
        tables: further numbers, beside the result's facts.
        sheets: pictures beside those of samples.
        findings: health checks that spoke.
        remarks: notes, without those that repeat a finding.
        baseline: the comparison with a baseline, or None.
    """

    number: int
    test: str
    statement: str
    verdict: str
    rule: str
    result: Result | None
    problem: str
    replay: str
    measured: str = ""
    value: str = ""
    required: str = ""
    count: str = ""
    about: str = ""
    caveats: tuple[str, ...] = ()
    scale: Scale | None = None
    slack: float | None = None
    exhibits: tuple[Exhibit, ...] = ()
    tables: tuple[Table, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    findings: tuple[Finding, ...] = ()
    remarks: tuple[str, ...] = ()
    baseline: Comparison | None = None

    @property
    def groups(self) -> list[tuple[str, list[Exhibit]]]:
        """The worst samples by what they show."""
        return groups_of(self.exhibits)

    @property
    def test_parts(self) -> list[str]:
        """The test's id, cut where a line may break."""
        return _BREAKS.split(self.test)

    @property
    def change(self) -> float | None:
        """How far the accuracy rose since the baseline, negative where it fell; None where nothing was compared."""
        drop = None if self.baseline is None else self.baseline.drop
        return None if drop is None else 0.0 - drop


def claims_of(rows: Sequence[Reported], album: Album) -> list[Card]:
    """The claims of a run, numbered in its order; their pictures go into the album."""
    return [_claim(number, row, album) for number, row in enumerate(rows, 1)]


def worst_first(claims: Sequence[Card]) -> list[Card]:
    """In the order of `STATES`; within each that of the run."""
    return sorted(claims, key=lambda claim: (STATES.index(claim.verdict), claim.number))


def _claim(number: int, row: Reported, album: Album) -> Card:
    result = row.result
    if result is None:
        return Card(
            number=number,
            test=row.test,
            statement=without_result(row),
            verdict=state(row),
            rule="",
            result=None,
            problem=row.problem,
            replay=row.replay,
        )
    findings = _findings(result)
    return Card(
        number=number,
        test=row.test,
        statement=result.statement,
        verdict=state(row),
        rule=result.rule,
        result=result,
        problem="",
        replay=row.replay,
        measured=measured(result),
        value=value_of(result),
        required=", ".join(limits_in_words(result)),
        count=count_of(result),
        about=_scope(result),
        caveats=result.caveats,
        scale=scale_of(result),
        slack=_slack(result),
        exhibits=tuple(
            exhibit_of(f"claim-{number}-worst-{rank}.png", row.test, result, worst, album)
            for rank, worst in _ranked(result)
        ),
        tables=tuple(tables_of(result.details, result.captions.names, result.threshold)),
        sheets=_sheets(number, row.test, result.details.get("pictures"), album),
        findings=findings,
        remarks=tuple(_remarks(row, result, {one.message for one in findings})),
        baseline=_comparison(result.details.get("baseline"), result.quantity),
    )


def _remarks(row: Reported, result: Result, said: Container[str]) -> Iterator[str]:
    """What a reader must know, but for what the page says elsewhere."""
    return (note for note in (aside(row), *result.notes) if note and note not in said)


def _sheets(number: int, test: str, pictures: object, album: Album) -> tuple[Sheet, ...]:
    told = [one for one in pictures if isinstance(one, Mapping)] if isinstance(pictures, Sequence) else []
    sheets = []
    for place, one in enumerate(told, 1):
        taken = album.take(str(one.get("image", "")), f"claim-{number}-shown-{place}.png", test)
        picture, problem = (None, taken) if isinstance(taken, str) else (taken, "")
        sheets.append(Sheet(picture=picture, problem=problem, caption=str(one.get("caption", ""))))
    return tuple(sheets)


def _findings(result: Result) -> tuple[Finding, ...]:
    return tuple(
        Finding(str(one.get("name", "")), str(one.get("message", "")), bool(one.get("suppressed")))
        for one in result.details.get("health") or ()
        if isinstance(one, Mapping)
    )


def _comparison(about: Mapping[str, Any] | None, quantity: str) -> Comparison | None:
    if not about:
        return None
    if "update" in about:
        return Comparison(
            problem=f"This run writes the baseline {about['file']}: there is nothing to compare with yet."
        )
    other = about.get("model")
    against = f"the model {other}" if other else about["file"]
    if "drop" not in about:
        return Comparison(problem=f"Not compared with {against}: the verdict came before every sample was seen.")
    low, high = about["drop_interval"]
    share = about.get("of") or ("accuracy" if "accuracy" in quantity else "share that held")
    return Comparison(
        facts=(
            Fact("other model", f"{share} {about['accuracy']:.3f} ({other})")
            if other
            else Fact("then", f"{share} {about['accuracy']:.3f} ({about['date']}, commit {about['commit']})"),
            Fact(
                "this model" if other else "now",
                f"{share} {about['accuracy'] - about['drop']:.3f}: {about['lost']} samples lost, "
                f"{about['gained']} gained",
            ),
            Fact("drop", f"{about['drop']:.4f} [{low:.4f}, {high:.4f}], tolerated {about['tolerance']:g}"),
            Fact(f"{about.get('test', 'McNemar')} p", f"{about['p']:.2g}"),
            *(() if other else (Fact("entry", f"{about['key']} in {about['file']}"),)),
        ),
        drop=about["drop"],
    )


def _slack(result: Result) -> float | None:
    if result.threshold is None:
        return None
    return (result.value - result.threshold) * (1 if result.comparison == ">=" else -1)


def _scope(result: Result) -> str:
    """What the bar is about, where it would mislead: a search bounds one end, or it lies across the threshold."""
    low, high = result.left_interval
    told = []
    if result.bounds:
        side, more = ("above", "bring it lower") if result.bounds == "above" else ("below", "bring it higher")
        told.append(f"What a search finds bounds the value from {side}: a stronger search may {more}.")
    if result.straddles:
        told.append(
            "The claim is about this very set, all of which was looked at. The bar is about the population that the "
            "set was drawn from, of which it would not be settled."
        )
    elif result.scope == "population" and result.threshold is not None and low < result.threshold < high:
        told.append("The claim is about the population: a bar across the threshold does not settle it.")
    return " ".join(told)


def _ranked(result: Result) -> enumerate[Counterexample]:
    return enumerate(result.counterexamples, 1)
