"""Two models in one repository: their results are told apart by their folders, or by a setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from robustest.cli import main
from robustest.history import GOOD, claim_histories
from robustest.repository import service_of
from robustest.store.history import read

TEST = """
from robustest import assert_rate
from robustest.data import Outcomes

def test_rate():
    assert_rate(Outcomes.of([{{"item": str(i), "score": {score}}} for i in range(200)]), at_least={least}, scope="set")
"""


def test_a_service_is_the_place_of_the_root_in_its_repository(tmp_path: Path) -> None:
    folder = tmp_path / "repository" / "services" / "a"
    folder.mkdir(parents=True)
    assert service_of(folder) == ""
    (tmp_path / "repository" / ".git").write_text("gitdir: elsewhere", encoding="utf-8")  # as of a worktree
    assert service_of(folder) == "services/a"
    assert service_of(tmp_path / "repository") == ""


def test_tests_of_one_name_have_histories_and_badges_of_their_own(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (pytester.path / ".git").mkdir()
    for name, score, least, code in (("a", 0.0, 0.9, 1), ("b", 1.0, 0.8, 0)):
        folder = pytester.mkdir(name)
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (folder / "test_it.py").write_text(TEST.format(score=score, least=least), encoding="utf-8")
        monkeypatch.chdir(folder)
        options = [f"--robust-{one}" for one in ("history=../kept", "badge=badge.svg", "json=run.json")]
        result = pytester.runpytest_inprocess("--robust", *options)
        assert result.ret == code
        result.stdout.fnmatch_lines([f"*service={name}*"])
        assert f"robustness {name}: 1 " in (folder / "badge.svg").read_text(encoding="utf-8")
        assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["settings"]["service"] == name
    found: Any = {one.claim.service: one for one in claim_histories(read(pytester.path / "kept"))}
    assert set(found) == {"a", "b"}
    assert {name: len(one.points) for name, one in found.items()} == {"a": 1, "b": 1}
    assert not any(one.changes[1:] for one in found.values()), "another service's threshold is no change"
    assert found["b"].state == GOOD
    assert found["a"].state != GOOD
    capsys.readouterr()
    assert main(["show", str(pytester.path / "a/run.json"), str(pytester.path / "b/run.json")]) == 1
    shown = capsys.readouterr().out
    assert shown.index("service a") < shown.index("service b")


def test_a_setting_names_a_service(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nrobust_service = fraud\n")
    pytester.makepyfile(TEST.format(score=1.0, least=0.8))
    result = pytester.runpytest_inprocess("--robust")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*service=fraud*"])
