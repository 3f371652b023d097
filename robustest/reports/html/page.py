"""The page: claims, curves and pictures put into the template, and written."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from robustest.errors import ConfigError
from robustest.extensions import Section
from robustest.health import HEALTH_CHECKS
from robustest.reports.html.album import Album, write_whole
from robustest.reports.html.claims import Card, claims_of, worst_first
from robustest.reports.html.curves import curves_of
from robustest.reports.html.plots import plot_of
from robustest.reports.states import RED, STATES, TOLD, Reported
from robustest.results import shown
from robustest.settings import Settings
from robustest.version import VERSION
from robustest.words import clean_share

_OPEN = 12
"""Claims that did not pass whose evidence is unfolded: more would bury the table."""

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
_ASIDE = frozenset(STATES) - RED - {"passed", "measured"}
"""What is neither red nor green: a failure that was expected, a test that was skipped."""

_HEADER = ("profile", "seed", "device", "attack", "scope", "alpha")
_VISIBLE: dict[int, int | str] = {
    **{code: 0x2400 + code for code in range(32) if code not in (9, 10, 13)},
    0x7F: 0x2421,
    **{code: f"\\u{code:04x}" for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))},
}
"""Characters that show nothing, or turn what stands around them: a name must not read as another."""


def write(
    folder: str,
    rows: Sequence[Reported],
    lost: Sequence[str],
    settings: Settings,
    *,
    inline: bool = False,
    origin: str = ".",
    below: Mapping[str, Path] | None = None,
    about: Mapping[str, str] | None = None,
    sections: Sequence[Section] = (),
) -> None:
    """Write `index.html` whole or not at all, and the pictures it shows into `images/` beside it.

    Args:
        folder: where to; made if absent. Other files in it stay.
        rows: one per claim and per other ending of a test.
        lost: what did not arrive, in sentences.
        settings: the run's.
        inline: put the pictures inside the page instead, so that it is a single file.
        origin: the folder that relative paths of pictures start from, where this run saved them.
        below: where results come from files: for each test the folder that its pictures must lie in, and that their
            paths start from. No other file is opened.
        about: further lines for the header, such as {"commit": "1a2b3c4"}.
        sections: of packs, below the evidence.

    Raises:
        ConfigError: Jinja2 is not installed.
    """
    template = _template()
    target = Path(folder)
    album = Album(folder=target, origin=Path(origin), inline=inline, below=below)
    target.mkdir(parents=True, exist_ok=True)
    text = _render(template, claims_of(rows, album), lost, settings, about or {}, sections=sections)
    write_whole(target / "index.html", text.encode("utf-8", "backslashreplace"))
    album.tidy()


def check() -> None:
    """See that a page can be made.

    Raises:
        ConfigError: Jinja2 is not installed.
    """
    _template()


def _render(
    template: Any,
    claims: Sequence[Card],
    lost: Sequence[str],
    settings: Settings,
    about: Mapping[str, str],
    *,
    sections: Sequence[Section],
) -> str:
    ordered = worst_first(claims)
    counts = Counter(claim.verdict for claim in claims)
    return _filled(
        template,
        headline=headline(counts, lost),
        state=next((verdict for verdict in STATES if counts[verdict]), "none") if not lost else "error",
        counts={verdict: counts[verdict] for verdict in STATES if counts[verdict]},
        claims=ordered,
        unfolded={claim.number for claim in ordered[:_OPEN] if claim.verdict in TOLD},
        compared=any(claim.change is not None for claim in claims),
        plots=[plot_of(curve) for curve in curves_of(claims)],
        lost=lost,
        sections=[
            (one.title, [(fact.label, f"{shown(fact.value)} {fact.unit}".strip()) for fact in one.facts])
            for one in sections
        ],
        facts=[*about.items(), *_measured_on(claims), *((name, shown(getattr(settings, name))) for name in _HEADER)],
        cost=_cost(claims),
        settings={name: shown(value) for name, value in asdict(settings).items()},
        checks=HEALTH_CHECKS,
        marks=MARKS,
        version=VERSION,
    )


def rendered(name: str, **values: Any) -> str:
    """One of the page's templates, filled in, with style and script of the page."""
    return _filled(_template(name), **values)


def _filled(template: Any, **values: Any) -> str:
    style, script = _asset("report.css"), _asset("report.js")
    text: str = template.render(
        **values, style=style, script=script, style_hash=_hash(style), script_hash=_hash(script)
    )
    return text.translate(_VISIBLE)


def headline(counts: Mapping[str, int], lost: Sequence[str]) -> str:
    """The run in a sentence."""
    total = sum(counts.values()) - counts.get("measured", 0)
    if lost:
        return "This run lost results"
    if not total:
        return "Nothing was claimed" if counts.get("measured") else "No claim was measured"
    kinds = [verdict for verdict in STATES if verdict in RED and counts.get(verdict)]
    told = _failing_words(counts, kinds, total) if kinds else _green(counts, total)
    return f"{told}; {counts['measured']} more measured alone" if counts.get("measured") else told


def _failing_words(counts: Mapping[str, int], kinds: Sequence[str], total: int) -> str:
    bad = sum(counts[verdict] for verdict in kinds)
    told = {
        "error": "could not be measured",
        "inconclusive": "are inconclusive",
        "unfinished": "did not run to the end",
    }
    what = "did not pass" if len(kinds) > 1 else told.get(kinds[0], kinds[0])
    return f"The one claim {what.replace('are ', 'is ')}" if total == 1 else f"{bad} of {total} claims {what}"


def _green(counts: Mapping[str, int], total: int) -> str:
    passed = counts.get("passed", 0)
    if passed == total:
        return "The one claim passed" if total == 1 else f"All {total} claims passed"
    aside = ", ".join(f"{counts[name]} {name}" for name in STATES if name in _ASIDE and counts.get(name))
    return f"{passed} of {total} claims passed; {aside}"


def _measured_on(claims: Sequence[Card]) -> list[tuple[str, str]]:
    """What the claims were measured on: how many samples and classes, and how right the model is on them unchanged."""
    results = [claim.result for claim in claims if claim.result is not None]
    sizes = sorted({result.n_total for result in results if result.n_total})
    names = {len(result.details["class_names"]) for result in results if result.details.get("class_names")}
    seen = [result.details["clean_seen"] for result in results if result.details.get("clean_seen")]
    shares = sorted({round(clean_share(one), 3) for one in seen})
    found = [
        ("samples", _from_to([f"{size:,}" for size in sizes])),
        ("classes", _from_to([str(count) for count in sorted(names)])),
        ("clean accuracy", _from_to([f"{share:.3f}" for share in shares])),
    ]
    return [(name, told) for name, told in found if told]


def _from_to(values: Sequence[str]) -> str:
    return "" if not values else values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _cost(claims: Sequence[Card]) -> dict[str, Any]:
    results = [claim.result for claim in claims if claim.result is not None]
    return {
        "forward": sum(result.cost.forward for result in results),
        "backward": sum(result.cost.backward for result in results),
        "seconds": sum(result.cost.seconds for result in results),
        "cached": sum(bool(result.cached) for result in results),
        "replayed": sum(result.replayed for result in results),
    }


def _template(name: str = "report.html") -> Any:
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise ConfigError(
            "Expected Jinja2 for the HTML report but it is not installed. Install it: pip install 'robustest[html]'"
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("robustest.reports.html"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seconds"] = _seconds
    return environment.get_template(name)


def _seconds(value: float) -> str:
    """Seconds to the tenth; what took less is not said to have taken none."""
    return "< 0.1" if 0 < value < 0.05 else f"{value:.1f}"


def _asset(name: str) -> Any:
    """Style or script, as they are: both are ours, and the page's policy admits these very bytes alone."""
    from markupsafe import Markup  # comes with Jinja2

    return Markup(files("robustest.reports.html").joinpath("templates", name).read_text(encoding="utf-8"))  # noqa: S704


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
