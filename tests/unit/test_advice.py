"""Cause and next step of a claim that did not pass, from the evidence in its result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest.account import Account, Ending, Row
from robustest.advice import PAGES, Advice, advice_on
from robustest.measure import measure_accuracy
from robustest.reports import github, junit, terminal
from robustest.reports.html import page
from robustest.results import REASONS, Cost, Result, Verdict
from robustest.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"


def made(**changes: Any) -> Result:
    fields: dict[str, Any] = {
        "kind": "robust_accuracy",
        "statement": "made up",
        "verdict": Verdict.FAILED,
        "rule": "by hand",
        "quantity": "robust accuracy",
        "estimate": 0.5,
        "interval": (0.45, 0.55),
        "threshold": 0.9,
        "comparison": ">=",
        "n": 200,
        "n_total": 200,
        "outcomes": (),
        "cost": Cost(),
        "seed": 0,
        "setting": "",
        "method": "",
    }
    return Result.of(**{**fields, **changes})


def advised(**changes: Any) -> Advice | None:
    return advice_on(made(**changes))


def clean(right: int, failures: int, wrong: int, largest: int = 50) -> dict[str, Any]:
    seen = {"right": right, "of": 200, "failures": failures, "wrong": wrong}
    return {"clean_seen": seen, "clean_accuracy": right / 200, "largest_class": largest}


GROUPS = [{"group": "night", "n": 50, "accuracy": 0.2}, {"group": "day", "n": 150, "accuracy": 0.9}]
CLASS = {"class": 1, "failures": 40, "of_all": 50, "n": 60}
PREDICTS = "hint: the model predicts class 3 for all 64 samples: are its weights loaded?"
CASES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "wrong before, near chance": (
        {"details": clean(55, 150, 145)},
        "145 of 150 failures were wrong before any change (clean accuracy 0.275)",
        "check the labels, their order",
        "claims/accuracy.md",
    ),
    "wrong before, trained": (
        {"details": clean(130, 90, 70)},
        "70 of 90 failures were wrong before any change",
        "claim the clean accuracy by itself (assert_accuracy)",
        "claims/accuracy.md",
    ),
    "a hint of the cause": ({"details": clean(50, 150, 150), "notes": (PREDICTS,)}, PREDICTS[6:], "mend this", ""),
    "a hint beside a good model": (
        {"details": clean(190, 100, 10), "notes": (PREDICTS,)},
        "the change itself: it turns 90 of the 190 answers that were right before it",
        "robustest_training.repair",
        "training/repair.md",
    ),
    "one group": ({"details": {"groups": GROUPS}}, "one group: 'night' has 0.200 on 50", "that group's samples", ""),
    "groups of an early verdict": (
        {"details": {"groups": [{**one, "accuracy": None, "held": 10} for one in GROUPS]}},
        "one group: 'day' has 0.067 on 150",
        "that group's samples",
        "groups.md",
    ),
    "two like groups": (
        {"details": {"groups": [{**one, "accuracy": 0.5} for one in GROUPS]}},
        "the value misses the threshold by 0.4, and no check, class or group explains it",
        "robustest suggest",
        "cli.md#suggest",
    ),
    "one class": (
        {"details": {"failures_of_class": CLASS, "class_names": ["cat", "dog"]}},
        "one class: 40 of 50 failures are of class 1 (dog), 60 samples",
        "assert_worst_group_accuracy",
        "",
    ),
    "saturated": (
        {"details": clean(190, 200, 10), "bounds": "above", "estimate": 0.0},
        "saturated: the search breaks every sample, and 95.0% were right before it",
        "measure_min_perturbation",
        "claims/min_perturbation.md",
    ),
    "a flip rate": (
        {"details": {**clean(190, 90, 0), "flips": 90}, "comparison": "<=", "threshold": 0.1},
        "the change itself: it turns 90 of 200 answers",
        "robustest_training.repair",
        "",
    ),
    "one corruption": (
        {"details": {"by_corruption": {"fog": 0.3, "noise": 0.8, "blur": 0.8}}},
        "one corruption: fog leaves 0.300, the others 0.800",
        "repair",
        "",
    ),
    "a cue": (
        {"details": {"lead": "a stamp", "flips": 90, "of": 100}},
        "the cue a stamp alone turns 90 of 100",
        "",
        "",
    ),
    "another set": (
        {"details": {"source_accuracy": 0.9, "target_accuracy": 0.5}},
        "the second set itself: accuracy 0.500 there, 0.900 on the first",
        "",
        "",
    ),
    "near the threshold": (
        {"threshold": 0.52},
        "too few samples to know it of others: 0.52 lies inside the interval of these 200",
        "measure about 1,300 samples",  # 200 * (0.05 / 0.02) ** 2 = 1,250
        "",
    ),
    "at the threshold": (
        {"verdict": Verdict.INCONCLUSIVE, "threshold": 0.5, "reasons": ("undecided",)},
        "too few samples: ",
        "measure more samples",
        "",
    ),
    "a baseline": (
        {"reasons": ("baseline",), "details": {"baseline": {"lost": 9, "gained": 1, "commit": "1a2b3c4"}}},
        "9 samples that held with commit 1a2b3c4 do not hold now, and 1 the other way",
        "robustest compare",
        "",
    ),
    "another limit": ({"reasons": ("limit",), "rule": "class 0 has 9 features"}, "class 0 has 9 features", "limit", ""),
    "a health check": (
        {"verdict": Verdict.INCONCLUSIVE, "reasons": ("health:zero_gradient",)},
        "zero_gradient: the gradient at the input is zero everywhere",
        "attack with scores alone: square",
        "attack-reference.md#health-checks",
    ),
    "a health check of a pack": (
        {"verdict": Verdict.INCONCLUSIVE, "reasons": ("health:own",)},
        REASONS["health"],
        "mend what the check found",
        "",
    ),
    "a spent budget": (
        {"verdict": Verdict.INCONCLUSIVE, "reasons": ("budget",), "n": 20},
        "20 of 200 samples were evaluated",
        "raise max_samples or time_budget",
        "",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_cause_is_named_with_its_next_step(name: str) -> None:
    changes, cause, step, page = CASES[name]
    advice = advised(**changes)
    assert advice is not None
    assert cause in advice.cause
    assert step in advice.step
    assert advice.page.startswith(page)
    assert_page_exists(advice)


def assert_page_exists(advice: Advice) -> None:
    page, _, section = advice.page.partition("#")
    headings = [line for line in (DOCS / page).read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    slugs = [line.lstrip("# ").lower().replace(" ", "-").replace("`", "").replace(",", "") for line in headings]
    assert not section or section in slugs
    assert advice.link == f"{PAGES}{advice.page}"


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_a_step_and_a_page(reason: str) -> None:
    advice = advised(verdict=Verdict.INCONCLUSIVE, reasons=(reason,))
    assert advice is not None
    assert advice.cause
    assert advice.step
    assert_page_exists(advice)


def test_what_passed_or_claimed_nothing_has_none() -> None:
    assert advised(verdict=Verdict.PASSED) is None
    assert advised(threshold=None) is None


class Without(nn.Module):
    """Answers with the label in the first pixel, but never class 2."""

    def forward(self, x: Tensor) -> Tensor:
        label = x.flatten(1)[:, 0].mul(4).round().long()
        return nn.functional.one_hot(torch.where(label == 2, 0, label), 4) * 5.0


@pytest.mark.parametrize("model", [Without(), lambda x: Without()(x).roll(1, 1)], ids=["one class", "every class"])
def test_the_class_of_most_failures_is_found_in_a_measurement(model: Callable[[Tensor], Tensor]) -> None:
    y = torch.arange(80) % 4
    x = (y / 4).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    result = measure_accuracy(model, (x, y), at_least=0.99, exact=True)
    advice = advice_on(result)
    assert advice is not None
    assert result.details["largest_class"] == 20
    if isinstance(model, Without):
        assert result.details["failures_of_class"] == {"class": 2, "failures": 20, "of_all": 20, "n": 20}
        assert advice.cause.startswith("one class: 20 of 20 failures are of class 2")
    else:
        assert "failures_of_class" not in result.details
        assert np.isclose(result.estimate or 0.0, 0.0)


class Lines:
    """A reporter that keeps its text."""

    text = ""

    def write(self, text: str, **_: bool) -> None:
        self.text += text

    def write_line(self, text: str = "", **_: bool) -> None:
        self.text += f"{text}\n"

    def write_sep(self, sep: str, title: str) -> None:
        self.text += f"{title}\n"


@pytest.mark.parametrize("verdict", Verdict)
def test_every_report_has_cause_and_step_of_a_claim_that_did_not_pass_and_of_no_other(
    verdict: Verdict, tmp_path: Path
) -> None:
    pytest.importorskip("jinja2")
    result = made(verdict=verdict, details={"groups": GROUPS}, reasons=("budget",) * (verdict == "inconclusive"), n=20)
    ending = Ending(test="t.py::t", phase="call", outcome="passed" if verdict == "passed" else "failed", claimed=True)
    account = Account(results=(Row("t.py::t", result, "", "", ending),), endings=(ending,), session=None)
    lines = Lines()
    terminal.summary(lines, account, details=False)
    junit.write(str(tmp_path / "junit.xml"), account.rows)
    page.write(str(tmp_path), account, Settings())
    reports = [lines.text, github.summary(account)]
    reports += [(tmp_path / name).read_text(encoding="utf-8") for name in ("junit.xml", "index.html")]
    cause, step = {
        "failed": ("one group: ", "look at that group"),
        "inconclusive": ("20 of 200 samples were evaluated", "raise max_samples or time_budget"),
        "passed": ("one group: ", "look at that group"),
    }[verdict]
    for text in reports:
        assert (cause in text) == (step in text) == (verdict != "passed")


def test_several_attempts_of_a_test_have_it_once() -> None:
    result = made(details={"groups": GROUPS})
    endings = [Ending(test="t", phase="call", outcome="failed", claimed=True, attempt=at) for at in (1, 2)]
    lines = Lines()
    rows = tuple(Row("t", result, "", "", ending) for ending in endings)
    terminal.summary(lines, Account(results=rows, endings=tuple(endings), session=None), details=False)
    assert lines.text.count("one group: ") == 1
