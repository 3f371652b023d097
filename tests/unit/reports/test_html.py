"""The HTML report as a file: what it says, what it escapes, and the pictures it takes. tests/browser opens it."""

from __future__ import annotations

import base64
import builtins
import hashlib
import html
import re
from pathlib import Path
from typing import Any

import pytest
from accounts import account_of

from robustest import Cost, Settings
from robustest.errors import ConfigError
from robustest.reports.html.page import write

pytest.importorskip("jinja2", reason="the HTML report is an extra")

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>{{ 7 * 7 }}{% endif %}"


def test_a_page_says_what_the_terminal_says(page_of: Any, made: Any, row: Any) -> None:
    page = page_of(row("test_a.py::test_it", made(), replay="pytest --robust test_a.py::test_it"))
    assert not page.missing(
        "The one claim failed",
        "robust accuracy under Linf(eps=0.1), fast",
        "test_a.py::test_it",
        "accuracy 0.250 [0.125, 0.375], required >= 0.90; n=8",
        "failed (certain: exact on this set)",
        "fast; seed 7",
        "12,345 forward and 678 backward samples, 1.5 s",
        "pytest --robust test_a.py::test_it",
        "clean accuracy 1",
    )


def test_an_early_verdict_shows_an_interval_and_no_value(page_of: Any, early: Any, row: Any) -> None:
    page = page_of(row("t", early()))
    assert not page.missing("accuracy in [0.125, 0.375], required >= 0.90; n=5 of 8")
    assert page.all("circle") == []
    assert [line["x1"] for line in page.all("line", class_="interval")] == ["12.5%"] * 2
    (drawn,) = page.all("svg", role="img")
    assert drawn["aria-label"] == "accuracy not measured, between 0.125 and 0.375; required >= 0.90"


def test_the_scale_is_0_to_1_for_shares_and_longer_for_sizes(page_of: Any, made: Any, row: Any) -> None:
    size = made(quantity="median perturbation", estimate=2.5, interval=(2.0, 3.0), threshold=4.0)
    page = page_of(row("share", made()), row("size", size))
    dots = [dot["cx"] for dot in page.all("circle", class_="estimate")]
    assert dots == ["25.0%", "50.0%"] * 2  # in the table, and in the evidence of both
    assert [line["x1"] for line in page.all("line", class_="threshold")] == ["90.0%", "80.0%"] * 2
    assert not page.missing("0 to 5")


def test_the_shaded_side_is_where_a_claim_does_not_hold(page_of: Any, made: Any, row: Any) -> None:
    drop = made(quantity="accuracy drop", estimate=-0.1, interval=(-0.2, 0.1), threshold=0.25, comparison="<=")
    page = page_of(row("a", made()), row("b", drop), row("c", made("inconclusive", threshold=None)))
    shades = [(rect["x"], rect["width"]) for rect in page.all("rect", class_="broken")]
    assert shades == [("0.0%", "90.0%"), ("25.0%", "75.0%")] * 2
    assert [dot["cx"] for dot in page.all("circle", class_="estimate")][1] == "0.0%"  # what lies outside is at the end


def test_worst_comes_first_in_the_order_of_the_run(page_of: Any, made: Any, row: Any) -> None:
    page = page_of(
        row("t1", made("passed")),
        row("t2", made("inconclusive")),
        row("t3", None, problem="ModelError: NaN\nin the first batch"),
        row("t4", made()),
        row("t5", made()),
    )
    assert [tr["data-claim"] for tr in page.all("tr") if "data-claim" in tr] == [f"claim-{k}" for k in (4, 5, 3, 2, 1)]
    unfolded = [details for details in page.all("details") if "open" in details]
    assert len(unfolded) == 4  # all but the one that passed
    assert not page.missing(
        "4 of 5 claims did not pass", "could not measure: ModelError: NaN", "ModelError: NaN in the first batch"
    )


@pytest.mark.parametrize(
    ("verdicts", "headline"),
    [
        (["passed"], "The one claim passed"),
        (["passed"] * 3, "All 3 claims passed"),
        (["inconclusive"], "The one claim is inconclusive"),
        (["passed", "inconclusive"], "1 of 2 claims are inconclusive"),
        (["failed", "passed", "failed"], "2 of 3 claims failed"),
        (["error", "passed"], "1 of 2 claims could not be measured"),
        ([], "No claim was measured"),
    ],
)
def test_the_headline_is_the_run_in_a_sentence(
    page_of: Any, made: Any, row: Any, verdicts: list[str], headline: str
) -> None:
    rows = [row("t", None, problem="NaN") if v == "error" else row("t", made(v)) for v in verdicts]
    page = page_of(*rows)
    assert not page.missing(headline)
    assert ("this is not a pass" in page.text) == (not verdicts)


def test_lost_results_are_no_success(page_of: Any, made: Any, row: Any) -> None:
    page = page_of(row("t", made("passed")), lost=("no report came from test_b.py",))
    assert not page.missing(
        "This run lost results", "Results are missing: this run is not green", "no report came from test_b.py"
    )


def test_names_are_text_wherever_they_stand(page_of: Any, made: Any, row: Any, worst: Any, png: Path) -> None:
    result = made(
        statement=HOSTILE,
        rule=HOSTILE,
        setting=HOSTILE,
        method=HOSTILE,
        quantity=HOSTILE,
        notes=(HOSTILE,),
        cached=HOSTILE,
        model=HOSTILE,
        data=HOSTILE,
        counterexamples=(worst(image=str(png)), worst(image=HOSTILE)),
        details={
            HOSTILE: HOSTILE,
            "groups": [{"group": HOSTILE, HOSTILE: 1, "interval": [0, 1]}],
            "by_severity": {HOSTILE: {"1": 0.5, "2": 0.4}},
            "parts": {HOSTILE: [{"name": HOSTILE}]},
            "class_names": [HOSTILE] * 10,
            "health": [{"name": HOSTILE, "message": HOSTILE, "suppressed": True}],
            "baseline": {
                "file": HOSTILE,
                "key": HOSTILE,
                "tolerance": 0.1,
                "drop": 0.1,
                "drop_interval": [0, 0.2],
                "lost": 2,
                "gained": 1,
                "accuracy": 0.5,
                "date": HOSTILE,
                "commit": HOSTILE,
            },
        },
    )
    plain = page_of(row("t", made("passed")))
    page = page_of(
        row(HOSTILE, result, replay=HOSTILE),
        row(HOSTILE, None, problem=HOSTILE, replay=HOSTILE),
        lost=(HOSTILE,),
        settings=Settings(device="cpu", baseline=HOSTILE, pictures=HOSTILE),
        about={HOSTILE: HOSTILE},
    )
    for tag in ("script", "style", "link", "input"):
        assert len(page.all(tag)) == len(plain.all(tag))
    assert len(page.all("img")) == 1
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on") or a == "style"]
    assert page.text.count(HOSTILE) > 25
    assert page.all("img")[0]["alt"].count(HOSTILE) == 3


def test_what_shows_nothing_is_made_visible(page_of: Any, made: Any, row: Any) -> None:
    """A name that turns the text around it could make a failure read as a pass."""
    page = page_of(row("a\u202eb\x00c\ud800d", made(statement="e\x1b[31mf\u2066")))
    assert not page.missing("a\\u202eb␀c\\ud800d", "e␛[31mf\\u2066")


def test_the_policy_admits_our_own_style_and_script_alone(page_of: Any, made: Any, row: Any, tmp_path: Path) -> None:
    page_of(row("t", made()))
    source = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', source)
    rules = dict(rule.strip().split(" ", 1) for rule in html.unescape(policy).split(";"))
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert rules.pop(rule) == f"'sha256-{digest}'"
    assert rules == {
        "default-src": "'none'",
        "img-src": "'self' file: data:",
        "media-src": "'self' file: data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_what_was_not_measured_now_is_said(page_of: Any, made: Any, row: Any) -> None:
    page = page_of(row("t", made(cached="2026-11-25, commit 1a2b3c4")), row("t", made(replayed=1234)))
    assert not page.missing(
        "measured 2026-11-25, commit 1a2b3c4; not measured again",
        "1,234 samples were decided by counterexamples of earlier runs",
        "cached 1 claim",
        "replayed 1,234 samples",
    )


def test_all_settings_are_there(page_of: Any) -> None:
    page = page_of(settings=Settings(alpha=0.02, suppress=("zero_gradient",)), about={"commit": "1a2b3c4"})
    assert not page.missing("commit 1a2b3c4", "alpha 0.02", "suppress [zero_gradient]", "max_samples \N{EN DASH}")


def test_costs_are_added_up(page_of: Any, made: Any, row: Any) -> None:
    cost = Cost(forward=1000, backward=500, seconds=2.25)
    page = page_of(row("a", made(cost=cost)), row("b", made(cost=cost)))
    assert not page.missing("2,000 forward, 1,000 backward samples, 4.5 s")


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, "0.0 s"), (0.004, "< 0.1 s"), (0.06, "0.1 s"), (12.34, "12.3 s")])
def test_what_took_little_did_not_take_nothing(page_of: Any, made: Any, row: Any, seconds: float, shown: str) -> None:
    page = page_of(row("t", made(cost=Cost(forward=1, backward=0, seconds=seconds))))
    assert page.text.count(f"samples, {shown}") == 2


def test_a_page_is_written_whole_or_not_at_all(page_of: Any, made: Any, row: Any, tmp_path: Path) -> None:
    page_of(row("t", made()))
    before = (tmp_path / "report" / "index.html").read_bytes()
    with pytest.raises(AttributeError):
        page_of(object())
    assert (tmp_path / "report" / "index.html").read_bytes() == before
    assert [file.name for file in (tmp_path / "report").iterdir()] == ["index.html"]


def test_without_jinja2_the_error_names_the_extra(
    made: Any, row: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] in ("jinja2", "markupsafe"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'robustest\[html\]'"):
        write(str(tmp_path / "report"), account_of([row("t", made())]), Settings())
    assert not (tmp_path / "report").exists()
