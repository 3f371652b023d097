"""The HTML page of a run: rows of the account become cards, and templates show them."""

# The content security policy admits only this style and script, by their hashes; every text is escaped, and pictures go
# through `album`.

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from robustest.account import EXPLAINED, RED, STATES, Account, Row
from robustest.advice import Advice, advice_on
from robustest.errors import not_installed
from robustest.health import HEALTH_CHECKS
from robustest.reports.families import nearness, worst_first
from robustest.reports.html.album import Album, Picture
from robustest.reports.html.figures import PageCurve, PageTable, Scale, curves_of, plot_of, scale_of, tables_of
from robustest.reports.html.overview import overview_of
from robustest.reports.inert import visible
from robustest.reports.text import (
    answers,
    changed_columns,
    changed_places,
    class_name,
    measured,
    row_remark,
    row_without_result,
    sized,
)
from robustest.results import Counterexample, Fact, Result, shown
from robustest.results.sentences import count_of, limits_in_words
from robustest.safe_files import write_atomic
from robustest.settings import Settings
from robustest.version import VERSION
from robustest.words import clean_share, interval_in_words, number

MARKS = {
    "passed": "✓",
    "failed": "✗",
    "inconclusive": "?",
    "measured": "·",
    "error": "!",
    "unfinished": "…",
    "tolerated": "~",
    "xfailed": "x",
    "skipped": "\N{EN DASH}",
    "rerun": "↻",
    "xpassed": "+",
}
# Without scripts the evidence follows the table, and that of so many claims that did not pass is unfolded. With scripts
# it stands inside of the table, and is open only where a single claim did not pass: others would leave the screen.
_UNFOLDED = 12
# Curves of a large run that are drawn at first.
_PLOTS = 3
_HEADER = ("profile", "seed", "device", "attack", "scope", "alpha")
# Replacements of characters that are invisible or reverse the text around them: no name may read as another.
_VISIBLE: dict[int, int | str] = {
    **{code: 0x2400 + code for code in range(32) if code not in (9, 10, 13)},
    0x7F: 0x2421,
    **{
        code: f"\\u{code:04x}"
        for code in (*range(0x80, 0xA0), 0xAD, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F))
    },
    **{code: f"\\u{code:04x}" for code in (*range(0x2060, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC), 0xFFFE, 0xFFFF)},
    **{code: f"\\U{code:08x}" for code in range(0xE0000, 0xE0080)},  # tags, which spell invisible ASCII
}
_BREAKS = re.compile(r"(?<=/)|(?<=::)|(?=\[)")
# Height of a card in a notebook, in lines of text, where the notebook runs no script; longer cards scroll there.
_FRAME_LINES = 30
_FITTED = "this.style.height = this.contentDocument.body.offsetHeight + 'px'"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstSample:
    """One of the worst samples, as the page shows it."""

    picture: Picture | None
    problem: str  # reason why a picture cannot be shown; may be empty
    facts: tuple[Fact, ...]
    words: str  # description for screen readers
    pair: str = ""  # "label → answer" in classes; empty if answers are no classes
    diff: tuple[tuple[str, str], ...] = ()  # the parts of a text: mark and characters, see `robustest.results.Changes`
    table: tuple[tuple[str, str, str], ...] = ()  # changed columns


@dataclass(frozen=True, slots=True)
class PictureSheet:
    """A picture of a model's features, or the reason why it cannot be shown."""

    picture: Picture | None
    problem: str
    caption: str


@dataclass(frozen=True, slots=True)
class BaselineComparison:
    """A claim beside its baseline; `problem` is the reason why nothing was compared, or empty."""

    facts: tuple[Fact, ...] = ()
    problem: str = ""
    drop: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One row of the account, as the page shows it."""

    number: int  # place in the run, from 1
    row: Row
    statement: str
    measured: str = ""
    # parts of the sentence `measured`, for columns of the table
    value: str = ""
    required: str = ""
    count: str = ""
    about: str = ""  # explanation of the bar of the scale, if it could mislead
    scale: Scale | None = None
    slack: float | None = None  # distance of the value from the threshold, see `families.nearness`; for sorting
    worst: tuple[WorstSample, ...] = ()
    tables: tuple[PageTable, ...] = ()  # further numbers, beside the result's facts
    sheets: tuple[PictureSheet, ...] = ()  # pictures of the model's features
    findings: tuple[dict[str, Any], ...] = ()  # triggered health checks: "name", "message", "suppressed"
    remarks: tuple[str, ...] = ()  # notes, except those that repeat a finding
    baseline: BaselineComparison | None = None
    advice: Advice | None = None  # cause and next step, if the row is not as it should be

    @property
    def groups(self) -> list[tuple[str, list[WorstSample]]]:
        """The worst samples by label and answer: groups of several samples, the largest first, then single samples."""
        pairs: dict[str, list[WorstSample]] = {}
        for one in self.worst:
            pairs.setdefault(one.pair, []).append(one)
        several = {pair: ones for pair, ones in pairs.items() if pair and len(ones) > 1}
        single = [one for one in self.worst if one.pair not in several]
        return sorted(several.items(), key=lambda group: -len(group[1])) + ([("", single)] if single else [])

    @property
    def change(self) -> float | None:
        """Change of the accuracy since the baseline, negative for a fall; None if nothing was compared."""
        drop = None if self.baseline is None else self.baseline.drop
        return None if drop is None else 0.0 - drop


def write(
    folder: str,
    account: Account,
    settings: Settings,
    *,
    inline: bool = False,
    origin: str = ".",
    below: Mapping[str, Path] | None = None,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write `index.html` whole or not at all, and its pictures into `images/` beside it.

    Args:
        folder: folder of the page, made if absent; other files in it stay.
        inline: True to embed the pictures, so that the page is a single file.
        origin: folder that relative paths of pictures start from, if this run saved them.
        below: for results from files: for each test the folder of its pictures.
        about: further lines of the header, such as {"commit": "1a2b3c4"}.

    Raises:
        ConfigError: Jinja2 is not installed.
    """
    template = _template("report.html")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    album = Album(folder=target, origin=Path(origin), inline=inline, below=below)
    rows, lost = account.rows, account.lost
    cards = [card_of(number, row, album) for number, row in enumerate(rows, 1)]
    numbers = {id(row): number for number, row in enumerate(rows, 1)}
    ordered = [numbers[id(row)] for row in worst_first(rows)]
    overview = overview_of(rows)
    curves = sorted(curves_of(rows), key=_is_held)  # those with a claim that did not hold come first
    bad = [number for number in ordered if rows[number - 1].state in EXPLAINED]
    counts = Counter(card.row.state for card in cards)
    results = [card.row.result for card in cards if card.row.result is not None]
    left_out = {"deselected": account.left_out} if account.left_out else {}
    text = _filled(
        template,
        headline=headline(counts, lost),
        # STATES are in order, the worst first. Lost results make the page red whatever its rows say.
        state=next((state for state in STATES if counts[state]), "none") if not lost else "error",
        counts={state: counts[state] for state in STATES if counts[state]},
        claims={card.number: card for card in cards},
        ordered=ordered,
        places={number: place for place, number in enumerate(ordered)},
        overview=overview,
        opened=bad if len(bad) == 1 and not overview.families else (),
        unfolded=set(bad[:_UNFOLDED]),
        findings=_triggered(cards),
        compared=any(card.change is not None for card in cards),
        further=any(result.ruling.further_limits for result in results),
        plots=[plot_of(curve) for curve in curves],
        shown_plots=_PLOTS if overview.families else len(curves),
        lost=lost,
        sections=[
            (one.title, [(fact.label, f"{shown(fact.value)} {fact.unit}".strip()) for fact in one.facts])
            for one in account.sections
        ],
        facts=[
            *{**(about or {}), **left_out}.items(),
            *_data_facts(results),
            *((name, shown(getattr(settings, name))) for name in _HEADER),
        ],
        cost={
            "forward": sum(result.cost.forward for result in results),
            "backward": sum(result.cost.backward for result in results),
            "seconds": sum(result.cost.seconds for result in results),
            "cached": sum(bool(result.evidence.cached) for result in results),
            "replayed": sum(result.evidence.replayed for result in results),
        },
        settings={name: shown(value) for name, value in asdict(settings).items()},
        marks=MARKS,
        version=VERSION,
    )
    write_atomic(target / "index.html", text.encode("utf-8", "backslashreplace"))
    album.tidy()


def _is_held(curve: PageCurve) -> bool:
    return not any(point.verdict in RED for point in curve.points)


def _triggered(cards: Sequence[Card]) -> list[dict[str, Any]]:
    """Return the health checks that were triggered, each with its claims: "name", "meaning", "suppressed", "claims"."""
    found: dict[tuple[str, str, bool], dict[int, Card]] = {}
    for one in cards:
        for finding in one.findings:
            meaning = HEALTH_CHECKS.get(finding["name"], finding["message"])
            found.setdefault((finding["name"], meaning, finding["suppressed"]), {})[one.number] = one
    return [
        {"name": name, "meaning": meaning, "suppressed": suppressed, "claims": list(ones.values())}
        for (name, meaning, suppressed), ones in found.items()
    ]


def check() -> None:
    """Raise ConfigError if Jinja2 is not installed."""
    _template("report.html")


def card(result: Result) -> str | None:
    """Return a result as a notebook shows it: its card with embedded pictures; None without Jinja2."""
    if find_spec("jinja2") is None:
        return None
    claim = card_of(1, Row("", result), Album(folder=Path(), origin=Path(), inline=True))
    page = html.escape(rendered("card.html", claim=claim, marks=MARKS), quote=True)
    title = html.escape(f"{result.outcome}: {result.subject.statement}", quote=True)
    # A frame keeps the style of the page and that of the notebook apart.
    style = f"width:100%;height:{_FRAME_LINES}em;border:0"
    return f'<iframe srcdoc="{page}" title="{title}" style="{style}" onload="{_FITTED}"></iframe>'


def rendered(name: str, **values: Any) -> str:
    """Return one of the page's templates, filled in, with the page's style and script."""
    return _filled(_template(name), **values)


def _template(name: str) -> Any:
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise not_installed("Jinja2 for the HTML report", "html") from error
    return _environment(jinja2).get_template(name)


@cache  # compiling the templates takes longer than filling them in, and a notebook shows a card for each result
def _environment(jinja2: Any) -> Any:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("robustest.reports.html"),
        autoescape=True,
        # A misspelt name in a template would otherwise leave out a number without a trace.
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.globals["interval"] = interval_in_words
    environment.globals["broken"] = _BREAKS.split  # parts of a test's id, between which its line may break
    environment.filters["seconds"] = lambda value: "< 0.1" if 0 < value < 0.05 else f"{value:.1f}"
    return environment


def _filled(template: Any, **values: Any) -> str:
    from markupsafe import Markup  # comes with Jinja2

    folder = files("robustest.reports.html").joinpath("templates")
    for name in ("style", "script"):
        path = folder.joinpath("report.css" if name == "style" else "report.js")
        asset = path.read_text(encoding="utf-8")
        # The policy names these digests, so a browser runs no script and applies no style that a text smuggled in.
        digest = hashlib.sha256(asset.encode("utf-8")).digest()
        values[name] = Markup(asset)  # noqa: S704 - robustest's own file; the policy admits only these bytes
        values[f"{name}_hash"] = f"sha256-{base64.b64encode(digest).decode('ascii')}"
    text: str = template.render(**values)
    return text.translate(_VISIBLE)


def headline(counts: Mapping[str, int], lost: Sequence[str]) -> str:
    """Return the run in one sentence."""
    alone = counts.get("measured", 0)
    total = sum(counts.values()) - alone
    if lost:
        return "This run lost results"
    if not total:
        return "Nothing was claimed" if alone else "No claim was measured"
    red = [state for state in STATES if state in RED and counts.get(state)]
    passed = counts.get("passed", 0)
    if red:
        bad = sum(counts[state] for state in red)
        verbs = {
            "error": "could not be measured",
            "inconclusive": "is inconclusive" if total == 1 else "are inconclusive",
            "unfinished": "did not finish",
        }
        verb = "did not pass" if len(red) > 1 else verbs.get(red[0], red[0])
        text = f"The one claim {verb}" if total == 1 else f"{bad} of {total} claims {verb}"
    elif passed == total:
        text = "The one claim passed" if total == 1 else f"All {total} claims passed"
    else:
        others = [state for state in STATES if state not in RED | {"passed", "measured"} and counts.get(state)]
        text = f"{passed} of {total} claims passed; {', '.join(f'{counts[state]} {state}' for state in others)}"
    return f"{text}; {alone} more measured without a claim" if alone else text


def _data_facts(results: Sequence[Result]) -> list[tuple[str, str]]:
    def span(values: Sequence[str]) -> str:
        return "" if not values else values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"

    sizes = sorted({result.numbers.n_total for result in results if result.numbers.n_total})
    classes = sorted({len(result.details["class_names"]) for result in results if result.details.get("class_names")})
    clean = [result.details["clean_seen"] for result in results if result.details.get("clean_seen")]
    shares = sorted({round(clean_share(one), 3) for one in clean})
    found = [
        ("samples", span([f"{size:,}" for size in sizes])),
        ("classes", span([str(count) for count in classes])),
        ("clean accuracy", span([number(share) for share in shares])),
    ]
    return [(name, text) for name, text in found if text]


def card_of(number: int, row: Row, album: Album) -> Card:
    """Return the card of a row; its pictures go into the album."""
    result = row.result
    if result is None:
        return Card(number=number, row=row, statement=row_without_result(row))
    health = [one for one in result.details.get("health") or () if isinstance(one, Mapping)]
    findings = tuple(
        {
            "name": str(one.get("name", "")),
            "message": str(one.get("message", "")),
            "suppressed": bool(one.get("suppressed")),
        }
        for one in health
    )
    messages = {one["message"] for one in findings}
    pictures = result.details.get("pictures")
    sheets = []
    for place, one in enumerate(pictures if isinstance(pictures, (list, tuple)) else (), 1):
        if isinstance(one, Mapping):
            taken = album.take(str(one.get("image", "")), f"claim-{number}-shown-{place}.png", row.test)
            picture, problem = (None, taken) if isinstance(taken, str) else (taken, "")
            sheets.append(PictureSheet(picture=picture, problem=problem, caption=str(one.get("caption", ""))))
    return Card(
        number=number,
        row=row,
        statement=result.subject.statement,
        measured=measured(result),
        value=result.measured_value,
        required=", ".join(limits_in_words(result.ruling)),
        count=count_of(result.numbers),
        about=_bar_meaning(result),
        scale=scale_of(result),
        slack=nearness(row),
        worst=tuple(
            _worst_sample(f"claim-{number}-worst-{rank}.png", row.test, result, one, album)
            for rank, one in enumerate(result.counterexamples, 1)
        ),
        tables=tuple(tables_of(result.details, result.words.captions.names, result.ruling.threshold)),
        sheets=tuple(sheets),
        findings=findings,
        remarks=tuple(note for note in (row_remark(row), *result.words.notes) if note and note not in messages),
        baseline=_baseline_comparison(result.details.get("baseline"), result.numbers.quantity),
        advice=advice_on(result) if row.state in EXPLAINED else None,
    )


def _bar_meaning(result: Result) -> str:
    (low, high), threshold = result.numbers.left_interval, result.ruling.threshold
    texts = []
    if side := result.numbers.bounds:
        more = "lower" if side == "above" else "higher"
        texts.append(f"A search bounds the value from {side}: a stronger search may find a {more} one.")
    if result.straddles:
        texts.append(
            "The claim is about this very set, and every sample was evaluated. The bar is about the population that "
            "the set was drawn from; a claim about the population would be undecided."
        )
    elif result.subject.scope == "population" and threshold is not None and low < threshold < high:
        texts.append("The claim is about the population: a bar that reaches over the threshold does not settle it.")
    return " ".join(texts)


def _worst_sample(name: str, test: str, result: Result, worst: Counterexample, album: Album) -> WorstSample:
    taken = album.take(worst.image, name, test) if worst.image else None
    picture, problem = (None, taken) if isinstance(taken, str) else (taken, "")
    captions, names = result.words.captions, result.details.get("class_names")
    label, clean, predicted = (class_name(one, names) for one in (worst.label, worst.clean, worst.predicted))
    facts = [Fact("sample", str(worst.index))]
    if worst.answer:
        facts.append(Fact("answered", worst.answer))
    elif captions.answered:
        facts += [Fact("label", label), Fact(captions.answered, predicted)]
    else:
        facts += [Fact("label", label), Fact("predicted", f"{clean} → {predicted}")]
    if worst.size is not None:
        facts.append(Fact(captions.size, sized(worst)))
    if worst.pixels is not None:
        facts.append(Fact(f"{changed_places(worst)} changed", f"{worst.pixels:,}"))
    most = f", at most {picture.change}," if picture is not None and picture.change else ""
    what = answers(result, worst, separator=", then ")
    return WorstSample(
        picture=picture,
        problem=problem,
        facts=tuple(facts),
        words=f"Sample {worst.index} {captions.before}, {captions.after}, and the difference{most} amplified: {what}",
        pair="" if worst.answer else f"{label} → {predicted}",
        diff=tuple((mark, visible(part)) for mark, part in (worst.changes or {}).get("diff", ())),
        table=tuple((visible(a), visible(b), visible(c)) for a, b, c in changed_columns(worst.changes or {})),
    )


def _baseline_comparison(baseline: Mapping[str, Any] | None, quantity: str) -> BaselineComparison | None:
    if not baseline:
        return None
    if "update" in baseline:
        return BaselineComparison(
            problem=f"This run writes the baseline {baseline['file']}; there is nothing to compare with yet."
        )
    other = baseline.get("model")
    against = f"the model {other}" if other else baseline["file"]
    if "drop" not in baseline:
        return BaselineComparison(problem=f"Not compared with {against}: an early verdict evaluates too few samples.")
    (low, high), drop = baseline["drop_interval"], number(baseline["drop"], digits=4)
    share = baseline.get("of") or ("accuracy" if "accuracy" in quantity else "share that held")
    before = f"{share} {number(baseline['accuracy'])}"
    now = f"{share} {number(baseline['accuracy'] - baseline['drop'])}: {baseline['lost']} samples lost, "
    facts = [
        Fact("other model", f"{before} ({other})")
        if other
        else Fact("before", f"{before} ({baseline['date']}, commit {baseline['commit']})"),
        Fact("this model" if other else "now", f"{now}{baseline['gained']} gained"),
        Fact("drop", f"{drop} {interval_in_words(low, high, digits=4)}, tolerated {baseline['tolerance']:g}"),
    ]
    if not other:
        facts.append(Fact("entry", f"{baseline['key']} in {baseline['file']}"))
    return BaselineComparison(facts=tuple(facts), drop=baseline["drop"])
