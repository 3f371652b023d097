"""A history's files: joined to the same bytes in either order, believed only where a run could have written them."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from history_entries import made

from robustest.errors import StoreError
from robustest.history import ClaimId
from robustest.store import history
from robustest.store.history import Requirements, RunLine, first_line, run_lines

CLAIM = ClaimId("test_a.py::test_it[x/y]", "accuracy under noise")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_added_is_read_and_not_added_twice(tmp_path: Path) -> None:
    entries = [made(2), made(1, estimate=None, threshold=0.3), made(3, state="error", verdict="", problem='a "\n🙂')]
    history.add(tmp_path, {CLAIM: entries})
    before = content(tmp_path)
    history.add(tmp_path, {CLAIM: entries[:1]})
    assert content(tmp_path) == before
    assert history.read(tmp_path) == {CLAIM: sorted(entries)}
    assert (tmp_path / ".gitattributes").read_text() == "*.jsonl text eol=lf merge=union\n"
    assert len(before["runs-2026-01.jsonl"].splitlines()) == 1 + len(entries) + 2, "a line a run, and two lists"
    assert len(before[CLAIM.file].splitlines()) == 1 + 2, "what was asked, once"


def test_two_histories_join_to_the_same_bytes_in_either_order(tmp_path: Path) -> None:
    other = ClaimId("test_a.py::test_other")
    ones = {"a": {CLAIM: [made(1), made(4)]}, "b": {CLAIM: [made(1), made(2), made(3)], other: [made(9)]}}
    for name, entries in ones.items():
        history.add(tmp_path / name, entries)
        history.add(tmp_path / f"{name} first", entries)
    history.add_history(tmp_path / "a first", tmp_path / "b")
    history.add_history(tmp_path / "b first", tmp_path / "a")
    assert content(tmp_path / "a first") == content(tmp_path / "b first")
    assert len(history.read(tmp_path / "a first")[CLAIM]) == 4


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)  # noqa: S603, S607


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_two_branches_that_git_merges_are_the_same_bytes_after_the_next_write(tmp_path: Path) -> None:
    found = []
    for ours, theirs in (("left", "right"), ("right", "left")):
        root = tmp_path / ours
        root.mkdir()
        git(root, "init")
        history.add(root / "h", {CLAIM: [made(1)]})
        git(root, "add", "-A")
        git(root, "commit", "-m", "one")
        for branch, minutes in (("left", (2, 5)), ("right", (3, 4))):
            git(root, "checkout", "-B", branch, "main")
            history.add(root / "h", {CLAIM: [made(minute) for minute in minutes]})
            git(root, "commit", "-am", branch)
        git(root, "checkout", ours)
        git(root, "merge", theirs, "-m", "both")
        assert [one.commit for one in history.read(root / "h")[CLAIM]] == [f"{minute:012d}" for minute in range(1, 6)]
        history.add(root / "h", {})
        found.append(content(root / "h"))
    assert found[0] == found[1]


def test_claims_have_files_of_their_own_with_plain_names() -> None:
    claims = [
        CLAIM,
        ClaimId(CLAIM.test),
        ClaimId(CLAIM.test, CLAIM.key, 1),
        ClaimId("../../x::" + "é/\\" * 99),
        ClaimId("a::CON"),
    ]
    names = [claim.file for claim in claims]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and "/" not in name and "\\" not in name and len(name) < 70 for name in names)
    assert names == [name.lower() for name in names], "some file systems know no capitals"


def test_parts_of_a_run_are_one_whatever_was_added_first(tmp_path: Path) -> None:
    other = ClaimId("test_a.py::test_other")
    whole = {CLAIM: [made(1)], other: [made(1, state="failed")]}
    for folder, parts in (("a", [{CLAIM: [made(1)]}, whole]), ("b", [whole, {CLAIM: [made(1)]}])):
        for part in parts:
            history.add(tmp_path / folder, part)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert history.read(tmp_path / "a") == whole


def test_months_have_files_of_their_own_and_stay_in_order(tmp_path: Path) -> None:
    entries = [made(1, time=f"2026-{month:02d}-01T00:00:00.000Z") for month in (11, 2, 3)]
    history.add(tmp_path, {CLAIM: entries})
    assert sorted(path.name for path in tmp_path.glob("runs*")) == [
        f"runs-2026-{at}.jsonl" for at in ("02", "03", "11")
    ]
    assert history.read(tmp_path)[CLAIM] == sorted(entries)


def test_a_claim_whose_file_was_deleted_is_gone_and_no_other_is_moved(tmp_path: Path) -> None:
    others = [ClaimId(f"test_a.py::test_{at}") for at in range(5)]
    kept = {claim: [made(1, estimate=at / 10), made(2)] for at, claim in enumerate(others)}
    history.add(tmp_path, {CLAIM: [made(1, verdict="failed")], **kept})
    (tmp_path / CLAIM.file).unlink()
    assert history.read(tmp_path) == kept
    history.add(tmp_path, {others[0]: [made(3)]})
    assert CLAIM not in history.read(tmp_path)


@pytest.mark.parametrize("lost", ["required", "list"])
def test_a_run_that_names_what_is_not_there_is_refused(tmp_path: Path, lost: str) -> None:
    history.add(tmp_path, {CLAIM: [made(1)]})
    path = tmp_path / (CLAIM.file if lost == "required" else "runs-2026-01.jsonl")
    path.write_bytes(b"\n".join(path.read_bytes().splitlines()[:-1]) + b"\n")
    with pytest.raises(StoreError, match="run names"):
        history.read(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"left_low": 0.1, "left_high": 0.2, "low": 0.0, "high": 0.2, "bounds": "above", "cached": True, "dirty": True},
        {"left_low": 0.1, "left_high": 0.2, "low": 0.05, "high": 0.2, "bounds": "above"},
        {"left_low": 0.1, "left_high": 0.2, "low": 0.1, "high": 1e100, "bounds": "below"},
        {"left_low": 0.1, "left_high": 0.2},
        {"estimate": None, "used": 3, "data": "", "model": "0" * 12},
        {"estimate": 1, "used": 10},
        {"estimate": 1.0, "used": 3},
        {"estimate": None, "used": 0, "total": 0, "low": None, "high": None, "verdict": "", "problem": "é\n"},
        {"seconds": 12.0, "seed": 2**40, "threshold": -1.5e-9},
    ],
)
def test_an_entry_is_read_as_it_was_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    history.add(tmp_path, {CLAIM: [made(1, **changes)], ClaimId("other"): [made(1)]})
    assert history.read(tmp_path) == {CLAIM: [made(1, **changes)], ClaimId("other"): [made(1)]}


def test_more_sorts_of_endings_than_letters_are_kept_too(tmp_path: Path) -> None:
    found = {ClaimId(f"test_a.py::test_{at}"): [made(1, seed=at)] for at in range(70)}
    history.add(tmp_path, found)
    assert history.read(tmp_path) == found


def test_a_claim_may_have_several_entries_of_a_run(tmp_path: Path) -> None:
    entries = [made(1, verdict="", state="error", problem=text) for text in ("setup", "teardown")]
    history.add(tmp_path, {CLAIM: entries})
    assert sorted(history.read(tmp_path)[CLAIM]) == entries


def test_entries_are_the_same_bytes_in_whatever_order_they_come(tmp_path: Path) -> None:
    entries = [
        made(1, problem=text, verdict="", estimate=value) for text, value in (("a", None), ("b", 0.5), ("c", 0.1))
    ]
    for place, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        history.add(tmp_path / place, {CLAIM: [entries[at] for at in order]})
    assert content(tmp_path / "a") == content(tmp_path / "b")
    lines = [run_lines([(CLAIM, entries[at]) for at in order]) for order in ((0, 1, 2), (1, 2, 0), (2, 1, 0))]
    assert len(set(lines)) == 1


def test_all_kinds_of_findings_stand_in_one_run(tmp_path: Path) -> None:
    """An estimate of all samples, a number of samples without one, and both."""
    found = {
        ClaimId("a"): [made(1)],
        ClaimId("b"): [made(1, estimate=None, used=3)],
        ClaimId("c"): [made(1, estimate=0.25, used=4)],
    }
    history.add(tmp_path, found)
    assert history.read(tmp_path) == found


@pytest.mark.parametrize("edge", [1e100, -1e100])
def test_the_largest_numbers_are_read_and_larger_ones_refused(tmp_path: Path, edge: float) -> None:
    entries = [made(1, low=min(edge, 0.4), high=max(edge, 0.6))]
    history.add(tmp_path / "a", {CLAIM: entries})
    assert history.read(tmp_path / "a") == {CLAIM: entries}
    history.add(tmp_path / "b", {CLAIM: [made(1, low=min(1.01 * edge, 0.4), high=max(1.01 * edge, 0.6))]})
    with pytest.raises(StoreError, match="a finite number below 1e\\+100"):
        history.read(tmp_path / "b")


@pytest.mark.parametrize(("files", "taken"), [(2, True), (1, False)])
def test_so_many_files_are_read_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, taken: bool
) -> None:
    history.add(tmp_path, {CLAIM: [made(1)]})
    monkeypatch.setattr(history, "_MOST_FILES", files)
    if taken:
        assert history.read(tmp_path) == {CLAIM: [made(1)]}
    else:
        with pytest.raises(StoreError, match=r"at most 1 files .* but got 2"):
            history.read(tmp_path)


@pytest.mark.parametrize(("longer", "taken"), [(0, True), (1, False)])
def test_texts_have_three_hundred_characters_at_most(tmp_path: Path, longer: int, taken: bool) -> None:
    entry = made(1, problem="x" * (300 + longer))
    history.add(tmp_path, {CLAIM: [entry]})
    if taken:
        assert history.read(tmp_path) == {CLAIM: [entry]}
    else:
        with pytest.raises(StoreError, match="problem of a run"):
            history.read(tmp_path)


def test_letters_name_up_to_sixty_two_classes() -> None:
    for classes in (62, 63):
        pairs = [(ClaimId(f"test_a.py::test_{at}"), made(1, seed=at)) for at in range(classes)]
        which = json.loads(run_lines(pairs)[0])[RunLine._fields.index("which")]
        assert isinstance(which, str) is (classes == 62)
        assert len(which) == classes


GOOD = run_lines([(CLAIM, made(1))])[0].decode()


def changed(name: str, *values: Any) -> str:
    """The line of a run with one of its fields, or of the fields of its only sort, or of what was asked, changed."""
    fields = json.loads(GOOD)
    fields[RunLine._fields.index(name)] = values[0]
    return json.dumps(fields, separators=(",", ":"))


def sort(**changes: Any) -> str:
    fields = {"state": "passed", "verdict": "passed", "seed": 0, "cached": False, "model": 1, "data": 0, "ends": 0}
    assert list(fields.values()) == json.loads(GOOD)[RunLine._fields.index("classes")][0]
    return changed("classes", [list({**fields, **changes}.values())])


@pytest.mark.parametrize(
    "line",
    [
        "<<<<<<< HEAD",
        '["2026"]',
        GOOD + GOOD,
        GOOD[:-1],
        GOOD[:-1] + ",1]",
        '["' + "[" * 100_000 + '"]',
        '["x",' + "[" * 100_000 + "]",
        '["=00000000",[]]',
        '["=00000000",["../../x"]]',
        f'["={history._digest([])}",[],[]]',
        *(
            changed("time", value)
            for value in ("2026", 1, "2026-01-01T00:00:00.000Z\n", "\u0662026-01-01T00:00:00.000Z", "")
        ),
        changed("time", "2026-02-01T00:00:00.000Z"),
        changed("commit", "<script>"),
        changed("commit", "../../x"),
        changed("listed", "00000000"),
        changed("digests", ["", ["a"]]),
        changed("digests", {"": 1}),
        changed("digests", ["", "<b>"]),
        sort(verdict="Passed"),
        sort(verdict=None),
        sort(state="\u001b[31m"),
        sort(cached=1),
        sort(model=2),
        sort(data=-1),
        sort(model=True),
        sort(ends=3),
        sort(ends=2),
        changed("classes", []),
        changed("classes", [["passed"]]),
        changed("which", ""),
        changed("which", "00"),
        changed("which", "1"),
        changed("which", "\u0660"),
        changed("which", [0.0]),
        changed("which", [-1]),
        changed("lows", [0.7]),
        changed("lows", [None]),
        changed("lows", ["0.1"]),
        changed("lows", []),
        changed("lows", [0.1, 0.1]),
        changed("lows", "0"),
        changed("highs", [float("nan")]),
        changed("found", [float("inf")]),
        changed("found", [[0.5]]),
        changed("found", [[0.5, 1.5]]),
        changed("found", [True]),
        changed("seconds", [None]),
        GOOD.replace("0.5", "1e999"),
        GOOD.replace("0.5", "9" * 5000),
        changed("others", [[0, 0.1, 0.2]]),
        changed("problems", [[1, "x"]]),
        changed("problems", [[0, "x" * 1000]]),
        changed("problems", {"0": "x"}),
    ],
    ids=lambda line: line[:60].encode("unicode_escape").decode(),
)
def test_a_line_that_no_run_wrote_is_named_and_nothing_is_believed(tmp_path: Path, line: str) -> None:
    history.add(tmp_path, {CLAIM: [made(1), made(2)]})
    path = tmp_path / "runs-2026-01.jsonl"
    path.write_text(path.read_text() + line + "\n", encoding="utf-8")
    with pytest.raises(StoreError, match=r"runs-2026-01\.jsonl, line 5") as caught:
        history.read(tmp_path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": True},
        {"threshold": "0.5"},
        {"total": 1.5},
        {"total": True},
        {"required": "x" * 1000},
        {"comparison": "=="},
        {"bounds": ["above"]},
        {"name": "00000000"},
    ],
)
def test_what_no_claim_asks_is_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    history.add(tmp_path, {CLAIM: [made(1)]})
    path = tmp_path / CLAIM.file
    told = dict(changes)
    name = told.pop("name", None)
    one = Requirements("", 10, 0.5, ">=", "")._replace(**told)
    fields = [history._digest(one), *one]
    path.write_text(path.read_text() + json.dumps([name or fields[0], *fields[1:]]) + "\n")
    with pytest.raises(StoreError, match=r"test_it-[0-9a-f]{16}\.jsonl, line 3"):
        history.read(tmp_path)


def test_a_verdict_without_a_comparison_is_none(tmp_path: Path) -> None:
    history.add(tmp_path, {CLAIM: [made(1, comparison="")]})
    with pytest.raises(StoreError, match="interval and a comparison"):
        history.read(tmp_path)


def test_lines_that_are_whole_only_together_are_none(tmp_path: Path) -> None:
    history.add(tmp_path, {CLAIM: [made(1)]})
    path = tmp_path / "runs-2026-01.jsonl"
    at = GOOD.index(",false")
    path.write_text(path.read_text() + GOOD[:at] + ',"]\n["",' + GOOD[at:] + "\n")
    with pytest.raises(StoreError, match="line 5"):
        history.read(tmp_path)


@pytest.mark.parametrize(
    "how", ["no head", "two heads", "of another claim", "cut", "link", "folder", "empty", "schema"]
)
def test_a_file_that_is_none_of_a_history_is_refused(tmp_path: Path, how: str) -> None:
    history.add(tmp_path / "h", {CLAIM: [made(1)]})
    path = tmp_path / "h" / CLAIM.file
    head, line = path.read_text().splitlines(keepends=True)
    texts = {
        "no head": line,
        "two heads": first_line(claim=asdict(ClaimId("other"))).decode() + "\n" + head + line,
        "of another claim": first_line(claim=asdict(ClaimId("other"))).decode() + "\n" + line,
        "cut": (head + line)[:-1],
        "empty": "",
        "schema": head.replace('"schema":3', '"schema":2') + line,
    }
    path.unlink()
    if how == "link":
        (tmp_path / "elsewhere").write_text(head + line)
        path.symlink_to(tmp_path / "elsewhere")
    elif how == "folder":
        path.mkdir()
    else:
        path.write_text(texts[how])
    with pytest.raises(StoreError, match="jsonl"):
        history.read(tmp_path / "h")


@pytest.mark.parametrize("name", ["claim", "runs"])
def test_a_first_line_of_another_form_is_named_with_its_number(tmp_path: Path, name: str) -> None:
    history.add(tmp_path, {CLAIM: [made(1)]})
    path = tmp_path / (CLAIM.file if name == "claim" else "runs-2026-01.jsonl")
    head, *others = path.read_bytes().splitlines()
    heads = [
        head.replace(b'"schema":3', b'"schema":4'),
        head[:-1] + b",1]",
        first_line(other=1),
        head.replace(b'{"schema"', b'{"more":1,"schema"'),
        b'["# a history of robustest",3]',
        b'["# another title",{}]',
        first_line(claim=3) if name == "claim" else first_line(runs="2026-02"),
    ]
    for other in heads:
        path.write_bytes(b"\n".join([other, *others]) + b"\n")
        with pytest.raises(StoreError, match=rf"{re.escape(path.name)}, line 1, but got"):
            history.read(tmp_path)


def test_nothing_is_added_to_a_history_that_is_damaged(tmp_path: Path) -> None:
    history.add(tmp_path, {CLAIM: [made(1)]})
    path = tmp_path / CLAIM.file
    path.write_text(path.read_text() + "<<<<<<< HEAD\n")
    before = content(tmp_path)
    with pytest.raises(StoreError, match="line 3"):
        history.add(tmp_path, {CLAIM: [made(2)], ClaimId("another"): [made(2)]})
    assert content(tmp_path) == before


def test_lines_with_the_ends_of_another_system_are_the_same(tmp_path: Path) -> None:
    history.add(tmp_path, {CLAIM: [made(1)]})
    path = tmp_path / CLAIM.file
    before = path.read_bytes()
    path.write_bytes(before.replace(b"\n", b"\r\n"))
    assert history.read(tmp_path) == {CLAIM: [made(1)]}


def test_no_history_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is none"):
        history.read(tmp_path)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """A repository with one commit, and what it says of itself."""
    if shutil.which("git") is None:
        pytest.skip("no git")
    from robustest.store.provenance import origin

    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "kept").write_text("1")
    (tmp_path / "code").write_text("1")
    git(tmp_path, "init")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-m", "one")
    monkeypatch.chdir(tmp_path)
    return lambda: origin(apart="h")


def test_a_changed_working_tree_is_told_but_for_the_history_itself(
    repository: Callable[[], Any], tmp_path: Path
) -> None:
    clean = repository()
    assert (len(clean.commit), clean.dirty, clean.committed[-1]) == (40, False, "Z")
    (tmp_path / "h" / "kept").write_text("2")
    assert repository().dirty is False
    (tmp_path / "code").write_text("2")
    assert repository().dirty is True


def test_code_that_ran_and_was_never_added_is_a_change(repository: Callable[[], Any], tmp_path: Path) -> None:
    from robustest.store.provenance import origin

    def of(*names: str) -> bool:
        return origin(apart="h", used=[str(tmp_path / name) for name in names]).dirty

    for name in ("conftest.py", "scratch.py", "made.py", "a*.py"):
        (tmp_path / name).write_text("1")
    (tmp_path / ".git" / "info" / "exclude").write_text("made.py\n")
    assert not of("code", "made.py", "absent.py", "../elsewhere.py", str(Path(sys.prefix) / "bin" / "python"))
    assert of("code", "conftest.py")
    assert of("a*.py")
    git(tmp_path, "add", "conftest.py", "a*.py")
    git(tmp_path, "commit", "-m", "two")
    assert not of("code", "conftest.py", "a*.py")


def test_where_code_that_ran_is_not_known_the_commit_has_changed(repository: Callable[[], Any], tmp_path: Path) -> None:
    from robustest.store.provenance import origin

    assert [origin(apart="h", known=known).dirty for known in (True, False)] == [False, True]


@pytest.mark.parametrize(("prefix", "changed"), [("env", False), (".", True), ("..", True), ("../env", True)])
def test_code_of_an_environment_in_the_repository_is_no_change(
    repository: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str, changed: bool
) -> None:
    """A repository may lie below the environment instead: /usr/src/app, with the Python in /usr/bin."""
    from robustest.store.provenance import origin

    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "code.py").write_text("1")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / prefix))
    assert origin(used=[str(tmp_path / "env" / "code.py")]).dirty is changed


@pytest.mark.parametrize("fails", ["status", "ls-files"])
def test_where_git_does_not_say_the_working_tree_counts_as_changed(
    repository: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """A damaged index, or a tree so large that git takes too long: no number is of a commit that nobody compared."""
    run = subprocess.run

    def cut(command: list[str], **options: Any) -> Any:
        if fails in command:
            raise subprocess.TimeoutExpired(command, 10)
        return run(command, **options)

    assert repository().dirty is False
    monkeypatch.setattr(subprocess, "run", cut)
    assert repository().dirty is True


def test_outside_a_repository_no_commit_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustest.store.provenance import origin

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert (origin().commit, origin().committed, origin().dirty) == ("", "", False)


def test_the_version_of_torch_is_the_same_whether_it_is_loaded_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller of pytest-xdist loads no torch, and the metadata of its wheels may leave the build out."""
    from robustest.store import provenance

    monkeypatch.setattr(provenance, "version", lambda _: "0.0")
    loaded = provenance.origin().versions
    assert f"torch {torch.__version__}," in loaded
    monkeypatch.delitem(sys.modules, "torch")
    assert provenance.origin().versions == loaded
    assert "torch" not in sys.modules


WRITTEN = {
    ".gitattributes": "*.jsonl text eol=lf merge=union\n",
    "runs-2026-01.jsonl": """\
["# a history of robustest",{"schema":3,"runs":"2026-01"}]
["2026-01-01T00:01:00.000Z","000000000001","2026-01-01T00:01:00Z",false,"","74c01ce2",["","abc"],\
[["passed","passed",0,false,1,0,0]],"0",[0.4],[0.6],[0.5],[1.5],[],[]]
["2026-01-01T00:02:00.000Z","000000000002","2026-01-01T00:02:00Z",false,"","1852c149",["","abc"],\
[["failed","failed",0,false,1,0,1]],"0",[0.0],[0.6],[4],[1.5],[],[[0,"why"]]]
["=1852c149",["8e826a3566adafd7.709796f4"]]
["=74c01ce2",["8e826a3566adafd7.b6a86a80"]]
""",
    "test_it-8e826a3566adafd7.jsonl": """\
["# a history of robustest",{"schema":3,"claim":{"test":"test_a.py::test_it[x/y]",\
"key":"accuracy under noise","place":0}}]
["709796f4","",10,0.3,">=",""]
["b6a86a80","",10,null,">=",""]
""",
}
"""A history as it lies in repositories: another form needs another schema."""


def test_a_history_of_an_earlier_version_is_read_and_written_alike(tmp_path: Path) -> None:
    ends = {"low": 0.0, "high": 0.6, "left_low": 0.0, "left_high": 0.6}
    second = made(2, estimate=None, used=4, state="failed", verdict="failed", threshold=0.3, problem="why", **ends)
    entries = {CLAIM: [made(1), second]}
    for name, text in WRITTEN.items():
        (tmp_path / name).write_text(text)
    assert history.read(tmp_path) == entries
    history.add(tmp_path / "new", entries)
    assert content(tmp_path / "new") == {name: text.encode() for name, text in WRITTEN.items()}


@pytest.mark.parametrize(("more", "words"), [(0, "a line without an end"), (1, "Expected to read .* but got")])
def test_a_file_has_sixty_four_megabytes_at_most(more: int, words: str, tmp_path: Path) -> None:
    with (tmp_path / "runs-2026-01.jsonl").open("wb") as file:
        file.truncate(64 * 1024 * 1024 + more)  # a file of holes
    with pytest.raises(StoreError, match=words):
        history.read(tmp_path)


def test_what_is_odd_is_quoted_in_part(tmp_path: Path) -> None:
    history.add(tmp_path, {CLAIM: [made(1)]})
    file = tmp_path / "runs-2026-01.jsonl"
    whole = file.read_text()
    file.write_text(f"{whole}<<<<<<< {'x' * 500}\n")
    with pytest.raises(StoreError, match=r"line 4, but got: '<{7} x{52}'\. Restore it"):
        history.add(tmp_path, {})
    file.write_text(whole.replace('"74c01ce2",["","abc"]', f'"{"y" * 290}",["","abc"]'))
    with pytest.raises(StoreError, match=r"Expected the list y{20} of claims"):
        history.read(tmp_path)


def test_every_combination_of_ends_estimates_and_samples_comes_back(tmp_path: Path) -> None:
    """And only an interval that does not follow from the other one takes room of its own."""
    entries, both = {}, 0
    left = ((None, None), (0.1, 0.6), (0.1, 0.7))
    kinds = itertools.product((None, 0.0, 0.2), (None, 0.6), left, (5, 10), (None, 0.5))
    for place, (low, high, (left_low, left_high), used, estimate) in enumerate(kinds):
        ends = {"low": low, "high": high, "left_low": left_low, "left_high": left_high}
        more = {"seconds": 3.0 if place % 2 else 1.25, "model": f"m{place % 3}", "data": f"d{place % 2}"}
        one = made(1, verdict="", state="measured", used=used, estimate=estimate, **ends, **more)
        entries[ClaimId("t.py::t", f"claim {place}")] = [one]
        both += left_low is not None and (low, high) != (0, left_high)
    history.add(tmp_path, entries)
    assert history.read(tmp_path) == entries
    line = next(one for one in (tmp_path / "runs-2026-01.jsonl").read_bytes().splitlines() if one.startswith(b'["2026'))
    run = RunLine(*json.loads(line))
    assert len(run.others) == both
    assert len(run.digests) == 5
    assert run.problems == []
    assert {type(value) for value in run.seconds} == {int, float}
    assert {type(value) for value in run.found} == {int, float, list}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("which", value) for value in ("", "00", "!", [0, 0], [1], [-1], [True], 3)),
        *(("lows", value) for value in ([], [0.4, 0.4], ["a"], [True], 0.4)),
        *(("found", value) for value in ([], [None], [True], [[0.5]], [[0.5, 1, 2]], [[1, 1]], [[0.5, 0.5]], ["a"])),
        *(("seconds", value) for value in ([], [None], ["1"], [1e101], [1.5, 1.5])),
        *(("others", value) for value in ([[0, 0.1, 0.2]], [[1, 0.1, 0.2]], {}, None)),
        *(
            ("problems", value)
            for value in ([[0]], [[1, "a"]], [[-1, "a"]], [[0, 3]], [[True, "a"]], {}, [[0, "x" * 301]])
        ),
        *(("digests", value) for value in ([], ["abc"], ["", "ABC"], {}, [3, 4])),
        *(("dirty", value) for value in (0, None, "no")),
        *(("classes", value) for value in ([], {}, [["passed"]], [["passed", "passed", 0, False, 0, 2, 0]])),
        *(
            ("classes", [["passed", "passed", *rest]])
            for rest in ((0, 0, 0, 1, 0), (0, False, 0, 1, 3), (0, False, -1, 1, 0))
        ),
        *(("classes", [["passed", "passed", *rest]]) for rest in ((0.5, False, 0, 1, 0), (0, False, 0, 1, True))),
        *(("time", value) for value in ("2026-02-01T00:01:00.000Z", "2026-01-01", 3)),
        *(("listed", value) for value in ("ab", 3)),
    ],
    ids=repr,
)
def test_a_column_of_another_form_is_refused_with_its_line(field: str, value: Any, tmp_path: Path) -> None:
    history.add(tmp_path, {CLAIM: [made(1)]})
    file = tmp_path / "runs-2026-01.jsonl"
    lines = file.read_bytes().splitlines()
    number = next(at for at, one in enumerate(lines) if one.startswith(b'["2026'))
    row = json.loads(lines[number])
    row[RunLine._fields.index(field)] = value
    lines[number] = json.dumps(row).encode()
    file.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(StoreError, match=rf"runs-2026-01\.jsonl, line {number + 1}, but got"):
        history.read(tmp_path)
