"""Runs made by hand, written as a run writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from robustest.account import Account, Ending, Row, Session
from robustest.claims.robustness.robust_accuracy import ROBUST_ACCURACY
from robustest.cli import main
from robustest.decisions import decide_share
from robustest.reports import json_file
from robustest.results import Cost, Counterexample, Result, Verdict
from robustest.settings import Settings

COLOUR = "\x1b["


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test in an empty folder, on a wide screen, outside CI."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("CI", "BUILD_NUMBER", "NO_COLOR", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def made() -> Callable[..., Result]:
    """A result with these outcomes, judged as a run judges them: `made([True, False], at_least=0.5)`."""

    def make(outcomes: Sequence[bool], at_least: float | None = 0.5, *, scope: str = "set", **changes: Any) -> Result:
        n, held = len(outcomes), sum(outcomes)
        decision = decide_share(held, n, at_least, at_least=True, scope=scope, alpha=0.01)
        statement = "robust accuracy under Linf(eps=0.1), fast"
        fields = {
            "kind": "robust_accuracy",
            "statement": statement,
            "verdict": decision.verdict,
            "rule": decision.rule,
            "quantity": "accuracy",
            "estimate": decision.estimate,
            "interval": decision.interval,
            "threshold": at_least,
            "comparison": ">=",
            "n": n,
            "n_total": n,
            "outcomes": tuple(outcomes),
            "cost": Cost(forward=10 * n, backward=3 * n, seconds=1.5),
            "seed": 0,
            "setting": "Linf(eps=0.1)",
            "method": "fast",
            "counterexamples": (Counterexample(index=1, label=0, clean=0, predicted=2, size=0.1),),
            "notes": ("a note",),
            "details": {"clean_accuracy": 1.0, "health": []},
            "data": "d" * 64,
            "scope": scope,
            "model": "m" * 64,
        }
        return ROBUST_ACCURACY.describe(Result.of(**{**fields, **changes}))

    return make


@pytest.fixture
def early(made: Callable[..., Result]) -> Callable[..., Result]:
    """A result whose verdict came early: no estimate, no digest of the data, outcomes of the first samples alone."""

    def make(n: int, total: int, verdict: str = "passed", **changes: Any) -> Result:
        whole = made([True] * n)
        known = {
            "verdict": Verdict(verdict),
            "rule": f"alpha = 0.01 after {n} of {total}",
            "estimate": None,
            "n_total": total,
            "outcomes": (*whole.outcomes, *[None] * (total - n)),
            "data": "",
        }
        return whole.but(**{**known, **changes})

    return make


@pytest.fixture
def row() -> Callable[..., Row]:
    """A row of a test: `row("test_a.py::test_x", result)`; without a result one that could not measure."""

    def make(test: str, result: Result | None = None, problem: str = "") -> Row:
        problem = problem or ("" if result is not None else "ModelError: Expected finite logits but got NaN\nat a line")
        return Row(test=test, result=result, problem=problem, replay=f"pytest --robust --robust-seed=0 {test}")

    return make


def ended(row: Row) -> Row:
    """A row of a test that ended as its result has it."""
    if row.ending is not None:
        return row
    failed = row.result is None or (row.result.is_claim and row.result.verdict is not Verdict.PASSED)
    outcome = "error" if row.result is None else "failed" if failed else "passed"
    reason = (row.problem or "ClaimFailed") if failed else ""
    ending = Ending(test=row.test, phase="call", outcome=outcome, reason=reason, claimed=failed, replay=row.replay)
    return replace(row, ending=ending)


def account_of(
    rows: Sequence[Row], *, lost: Sequence[str] = (), endings: Sequence[Ending] = (), code: int = -1
) -> Account:
    """A run of these rows, which ended as they and the further endings say, or with `code`."""
    rows = [ended(row) for row in rows]
    every = tuple(dict.fromkeys((*(row.ending for row in rows if row.ending), *endings)))
    account = Account(results=tuple(rows), endings=every, session=None, lost=tuple(lost))
    status = 3 if lost else int(any(row.red for row in account.rows))
    return replace(account, session=Session(exit=status if code < 0 else code, collected=len(every), ran=len(every)))


@pytest.fixture
def account() -> Callable[..., Account]:
    """What there is to tell of a run with these rows: `account(rows, lost=(), endings=(), code=1)`."""
    return account_of


@pytest.fixture
def run_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run: `run_file("a.json", rows, lost=(), shard=(1, 2, tests), settings=Settings(seed=3))`."""

    def write(
        name: str,
        rows: Sequence[Row],
        *,
        lost: Sequence[str] = (),
        shard: tuple[int, int, Sequence[str]] | None = None,
        reported: Sequence[str] | None = None,
        settings: Settings | None = None,
        endings: Sequence[Ending] = (),
        code: int = -1,
    ) -> Path:
        path, about = tmp_path / name, None
        if shard is not None:
            own = None if reported is None else list(reported)
            about = {"index": shard[0], "count": shard[1], "tests": list(shard[2]), "reported": own}
        account = account_of(rows, lost=lost, endings=endings, code=code)
        json_file.write(str(path), account, settings or Settings(), shard=about)
        return path

    return write


@pytest.fixture
def edit() -> Callable[..., Path]:
    """Overwrites fields of a file: `edit(path, robustest="99.0")`."""

    def overwrite(path: Path, **changes: Any) -> Path:
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**content, **changes}), encoding="utf-8")
        return path

    return overwrite


@dataclass
class Ended:
    """What a command said: exit code, and lines on stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@pytest.fixture
def robustest(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Calls the command: `robustest("show", path)`; wrong arguments end as their exit code."""

    def call(*arguments: object) -> Ended:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(str(stop.code))
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ended(code, out, err)

    return call
