"""`robustest evidence`: what a run found, in files that others can check; and the check."""

from __future__ import annotations

import ast
import json
import os
import secrets
import shlex
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Any

from robustest.cli.results_file import ResultsFile, read_json, read_results
from robustest.cli.screen import Exit, Screen, counted, missing, run_pytest, wrong
from robustest.reports import evidence
from robustest.safe_files import UnsafeFile, parts_below, read_below, read_regular, write_atomic

_SALT = Path(".robustest") / "evidence-salt"
# Options of pytest that select tests by what these are.
_SELECTING = ("-k", "-m", "--deselect", "--ignore", "--ignore-glob")
# Most characters of a difference that are shown.
_LONGEST = 160
# Differences that are printed; the number of all is.
_SHOWN = 20


def write(
    file: str, output: str, model: list[str], salt: str | None, *, dataset_id: list[str], task_id: list[str]
) -> int:
    """Write the evidence of a run to a folder.

    Args:
        model: files of the model, which become the statement's subject.
        salt: file with the key of the digests of data; None takes .robustest/evidence-salt, and makes it if absent.
        dataset_id: benchmarks of the Hugging Face Hub, `[TEST=]ID[@REVISION]`: of one test, or of all others.
        task_id: tasks of these, `[TEST=]TASK`. Claims with both become entries of `evidence.SCORES`.

    Returns:
        0 if the result is no failure, else 1: the evidence of a red run is written too.
    """
    run = read_results(Path(file))
    if run.shard is not None:
        raise missing(
            f"Expected the results of a whole run but {file} is shard {run.shard.index} of {run.shard.count}. Join "
            "them: robustest merge -o robust.json"
        )
    subject = [(Path(one).name, _digest(one)) for one in model]
    if len({name for name, _ in subject}) < len(subject):
        raise wrong(f"Expected files of different names but got {', '.join(model)}: in-toto knows them by name.")
    benchmarks = _benchmarks([row.test for row in run.account.rows], dataset_id, task_id)
    content = _statement(run, subject, _salt(salt, make=True) or b"", Path(), benchmarks)
    for problem in evidence.shared_tasks(content["predicate"]["claims"]):
        raise wrong(
            f"Expected one claim for each task of a benchmark but got {problem}. A leaderboard shows one number: name "
            "the test with that claim alone, --task-id TEST=TASK"
        )
    if not content["subject"]:
        raise missing(
            f"Expected a subject of the evidence but no result in {file} has a digest of its model. Name the model's "
            "files: --model FILE"
        )
    for problem in evidence.contradictions(content):
        raise missing(f"Expected the results of one run in {file} but got: {problem}. Run the tests again")
    documents = evidence.documents(content)
    for name, data in documents.items():
        write_atomic(Path(output) / name, data)
    if evidence.SCORES not in documents:
        # Of an earlier run: the statement does not make it any more.
        (Path(output) / evidence.SCORES).unlink(missing_ok=True)
    outcome = evidence.outcome(content["predicate"])
    screen = Screen()
    screen.write_line(f"wrote {output}: {outcome}, {counted(len(content['predicate']['claims']), 'claim')}")
    if evidence.SCORES in documents:
        reasons = Counter(map(evidence.without_score, content["predicate"]["claims"]))
        count = reasons.pop("", 0)
        left_out = "".join(f"; left out, {reason}: {number}" for reason, number in sorted(reasons.items()))
        screen.write_line(f"{evidence.SCORES}: {counted(count, 'score')}{left_out}")
    if not subject:
        screen.write_line("the subject is robustest's digest of each model; name the file that you ship: --model FILE")
    return Exit.NOT_PASSED if outcome == "FAILED" else Exit.OK


def verify(folder: str, model: list[str]) -> int:
    """Check evidence by itself: its files among themselves, its numbers, and the model's files. Nothing is measured.

    Args:
        model: files that must be the statement's subject.

    Returns:
        0 if nothing differs, 1 if something does.
    """
    screen = Screen()
    with _a_statement(folder) as content:
        found = [*_disagreements(folder, content), *_other_files(content, model)]
        result = evidence.outcome(content["predicate"])
    _show(screen, found, f"files and numbers{' and the model' if model else ''}")
    if not found:
        screen.write_line(f"the evidence agrees, and its result is {result}", red=result == "FAILED")
    screen.write_line(
        f"nothing was measured: what was changed alike in all files is not noticed. robustest evidence replay {folder}"
    )
    return Exit.NOT_PASSED if found else Exit.OK


def replay(folder: str, model: list[str], salt: str | None) -> int:
    """Run the tests of this folder as the evidence says, with nothing remembered, and compare every result with it.

    Args:
        model: files that must be the statement's subject; without them these are sought among the files that the
            tests open.
        salt: as in `write`; without it the digests of data are compared among themselves alone.

    Returns:
        0 if only the time differs, 1 if something else does.
    """
    screen = Screen()
    with _a_statement(folder) as content:
        found = [*_disagreements(folder, content), *(_other_files(content, model) if model else ())]
        old, result = content["predicate"], evidence.outcome(content["predicate"])
        _expect_tests(old)
        key = _salt(salt, make=False)
        new, unread = _measured_again(content, key or b"", model)
        if new is not None:
            verdicts, others = _differences(old, new, salted=key is not None)
            found = [*verdicts, *found, *unread, *others]
        else:
            found += unread
    _show(screen, found, "files, numbers, the model and a new measurement")
    if new is None:
        return Exit.NOT_PASSED
    if key is None and any(claim.get("data") for claim in old["claims"]):
        screen.write_line("whether the data are the same was not compared: the owner's salt is needed (--salt FILE)")
    if verdicts:
        screen.write_line("the verdicts are not those of the evidence", red=True)
    else:
        screen.write_line(f"{counted(len(old['claims']), 'verdict')} as in the evidence; its result is {result}")
    if any(old[name] != new[name] for name in ("versions", "commit", "changed")):
        commit = f", at commit {old['commit']}" if old["commit"] else ""
        screen.write_line(f"the evidence was written with {old['versions']}{commit}: replay it with these")
    return Exit.NOT_PASSED if found else Exit.OK


@contextmanager
def _a_statement(folder: str) -> Iterator[Any]:
    """Give the statement of a folder; an error that its content raises inside the block becomes a refusal."""
    path = Path(folder) / evidence.STATEMENT
    content = read_json(path, f"evidence at {path}", "Write it: robustest evidence write robust.json")
    try:
        yield content
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise missing(
            f"Expected a statement of robustest in {path} but got: {type(error).__name__} {error}. Ask its owner for "
            "the files as they were written."
        ) from None


def _show(screen: Screen, found: list[str], checked: str) -> None:
    for line in found[:_SHOWN]:
        screen.write_line(line, red=True)
    if len(found) > _SHOWN:
        screen.write_line(f"and {counted(len(found) - _SHOWN, 'further difference')}", red=True)
    screen.write_line(f"checked {checked}: {counted(len(found), 'difference')}")


def _disagreements(folder: str, content: Any) -> Iterator[str]:
    """Yield what is wrong with evidence whatever was measured: files that no statement makes, and contradictions."""
    documents = evidence.documents(content)
    if evidence.SCORES not in documents and os.path.lexists(Path(folder) / evidence.SCORES):
        yield f"{evidence.SCORES}: expected no such file, as no claim of the statement names a benchmark"
    for name, data in documents.items():
        try:
            there = read_below(Path(folder), name, most=len(data))
        except OSError as error:
            yield f"{name}: expected {len(data)} bytes made from the statement, but {error.strerror or error}"
            continue
        if there != data:
            pairs = zip(there.split(b"\n"), data.split(b"\n"), strict=False)
            line = next((number for number, (a, b) in enumerate(pairs, 1) if a != b), data.count(b"\n"))
            yield f"{name}: line {line} is not what the statement makes"
    yield from evidence.contradictions(content)


def _other_files(content: Mapping[str, Any], model: list[str]) -> Iterator[str]:
    """Yield the files of the subject that were not given, and those given that are none of it."""
    stated = {(one["name"], one["digest"]["sha256"]) for one in content["subject"] if "sha256" in one["digest"]}
    given = {(Path(file).name, _digest(file)) for file in model}
    for name, digest in sorted(given - stated):
        yield f"{name}: expected one of the subject's files, but its sha256 is {digest}"
    for name, digest in sorted(stated - given):
        yield f"{name}: of the subject, with sha256 {digest}, but no such file was compared: --model FILE"


def _expect_tests(predicate: Mapping[str, Any]) -> None:
    """Raise Refused if no file of the evidence's tests is in this folder: there is nothing to run."""
    files = {claim["test"].partition("::")[0] for claim in predicate["claims"]}
    for file in files:
        try:
            read_below(Path(), file, most=0)
        except FileNotFoundError:
            continue
        except OSError:
            return
        return
    if files:
        at = f" of commit {predicate['commit']}" if predicate["commit"] else ""
        raise missing(
            f"Expected the tests of the evidence below this folder but there is no {min(files)}. Replay it in a "
            f"checkout{at}, with the model and the data where its tests read them."
        )


def _measured_again(
    content: Mapping[str, Any], salt: bytes, model: list[str]
) -> tuple[dict[str, Any] | None, list[str]]:
    """Run the tests as the statement says, in a fresh store.

    Returns:
        The new statement's predicate, or None if there are no results; and what is wrong with the run itself.
    """
    predicate = content["predicate"]
    with tempfile.TemporaryDirectory() as folder:
        output, opened = Path(folder) / "robust.json", Path(folder) / "opened"
        code = run_pytest(
            [
                *("-q", "--robust-no-cache", f"--robust-json={output}"),
                *("-p", "robustest.cli.opened", f"--robust-opened={opened}"),
                # Known counterexamples would end a claim early, and other samples would be looked at.
                f"--robust-corpus={Path(folder) / 'corpus'}",
                *("-o", f"robust_store={Path(folder) / 'store'}", "-o", f"robust_pictures={Path(folder) / 'pictures'}"),
                *_settings_again(predicate),
                # Not the tests that the statement names: one that it leaves out, as it failed, would not be noticed.
                *_selected(predicate["selection"]),
            ]
        )
        if not output.is_file():
            return None, ["pytest wrote no results: see its output above"]
        new = _statement(read_results(output), [], salt, Path())["predicate"]
        # A hook may have failed after the results were written.
        odd = [f"pytest ended with exit code {code}, which its results do not say: see its output above"]
        return new, [*(odd if code != new["exit"] else ()), *_unread(content, model, opened)]


def _settings_again(predicate: Mapping[str, Any]) -> Iterator[str]:
    """Yield pytest's options for those settings of a statement that its command line may have given."""
    settings = predicate["settings"]
    yield f"--robust-profile={settings['profile']}"
    seed = int(settings["seed"])
    # The command line wins over a test's marker. So it did not give the seed if a claim has another.
    everywhere = all(claim["seed"] == seed for claim in predicate["claims"] if "seed" in claim)
    yield f"--robust-seed={seed}" if everywhere else f"--override-ini=robust_seed={seed}"
    if settings["exact"]:
        yield "--robust-exact"
    if settings["max_samples"] is not None:
        yield f"--robust-max-samples={int(settings['max_samples'])}"


def _unread(content: Mapping[str, Any], model: list[str], opened: Path) -> Iterator[str]:
    """Yield the files of the subject that the tests did not open: then the measurement is of other files.

    Of a file that was given (`model`) it is enough that they opened one with its content, under any name.
    """
    # A process of pytest-xdist has a list of its own (`robustest.cli.opened`).
    names = {name for one in opened.parent.glob(f"{opened.name}.*") for name in json.loads(one.read_bytes())}
    there = [path for path in map(Path, sorted(names)) if path.is_file()]
    sizes = {Path(file).name: Path(file).stat().st_size for file in model}
    for one in content["subject"]:
        if "sha256" not in one["digest"]:
            continue
        name, digest = one["name"], one["digest"]["sha256"]
        others = []
        for path in there:
            if path.name == name or path.stat().st_size == sizes.get(name):
                others.append(_digest(str(path)))
                if others[-1] == digest:
                    break
        else:
            read = f"one with sha256 {others[0]}" if others else "no such file. If it has another name: --model FILE"
            yield f"{name}: expected the tests to open it, with sha256 {digest}, but they opened {read}"


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], *, salted: bool) -> tuple[list[str], list[str]]:
    """Return the differences of two predicates: those of verdicts and claims, and all others."""
    apart = ("time", "claims", "settings")
    one, other = ({key: value for key, value in of.items() if key not in apart} for of in (old, new))
    others = [*_different("run", one, other), *_different("settings", old["settings"], new["settings"])]
    verdicts = []
    claims, again = (_named(of["claims"] if salted else _by_place(of["claims"])) for of in (old, new))
    for name in sorted(claims.keys() ^ again.keys()):
        where = "in the evidence, and not measured now" if name in claims else "measured now, and not in the evidence"
        verdicts.append(f"{name[0]}: {name[1]}: {where}")
    if claims.keys() == again.keys() and list(claims) != list(again):
        others.append("run: claims: in another order than now")
    for name in sorted(claims.keys() & again.keys()):
        where = f"{name[0]}: {claims[name].get('statement', '')}"
        (ruled, measured), (ruled_now, measured_now) = map(_ruling_apart, (claims[name], again[name]))
        verdicts += _different(where, ruled, ruled_now)
        others += _different(where, measured, measured_now)
    return verdicts, others


def _ruling_apart(claim: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    ruling = {key: claim[key] for key in ("state", "verdict") if key in claim}
    # No measurement repeats which benchmark the samples are of: it is the writer's word, as the time is.
    return ruling, {key: value for key, value in claim.items() if key not in ruling and key != "benchmark"}


def _by_place(claims: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return claims whose data are named by their first place: without the salt only equality can be compared."""
    places: dict[str, str] = {"": ""}
    return [
        {**claim, "data": places.setdefault(claim["data"], f"data {len(places)}")} if "data" in claim else claim
        for claim in claims
    ]


def _selected(selection: str) -> Iterator[str]:
    """Yield pytest's arguments for a selection that a statement names.

    Raises:
        Refused: it names tests outside of this folder, or an option that selects by what ran before.
    """
    words = shlex.split(selection)
    for word in (given := iter(words)):
        if word in _SELECTING and (value := next(given, None)) is not None:
            yield f"{word}={value}" if word.startswith("--") else f"{word}{value}"
            continue
        # A statement from elsewhere must run no code but this project's, and give pytest no other option.
        try:
            parts_below(word.partition("::")[0])
        except UnsafeFile as error:
            raise missing(f"Expected tests below this folder but the statement names one elsewhere: {error}") from None
        if word.startswith(("-", "@")) or "\n" in word:
            raise missing(
                f"Expected a selection that can be run again but the statement has {word!r}. Write evidence of a run "
                "that names files, tests, -k, -m, --deselect or --ignore alone"
            )
        yield word


def _named(claims: list[Mapping[str, Any]]) -> dict[tuple[str, str, int], Mapping[str, Any]]:
    met: Counter[tuple[str, str]] = Counter()
    named = {}
    for claim in claims:
        key = claim["test"], claim.get("claim", "")
        named[*key, met[key]] = claim
        met[key] += 1
    return named


def _different(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for field in dict.fromkeys([*old, *new]):
        # As JSON: to Python 1, 1.0 and true are equal, and to others they are not.
        if json.dumps(old.get(field)) != json.dumps(new.get(field)):
            pair = f"{str(old.get(field))[:_LONGEST]} in the evidence, {str(new.get(field))[:_LONGEST]} now"
            yield f"{where}: {field}: {pair}"


def _benchmarks(tests: list[str], dataset_id: list[str], task_id: list[str]) -> dict[str, dict[str, str]]:
    """Return the benchmark of each test that has a dataset id and a task id.

    Raises:
        Refused: an option names no test of the run, has another form, or has no counterpart.
    """
    datasets, tasks = _by_test("--dataset-id", dataset_id, tests), _by_test("--task-id", task_id, tests)
    found: dict[str, dict[str, str]] = {}
    for test in dict.fromkeys(tests):
        # A test's own value comes before the one for all.
        dataset, task = (given.get(test, given.get("")) for given in (datasets, tasks))
        if dataset is None or task is None:
            if test in datasets or test in tasks:
                other = "--task-id" if task is None else "--dataset-id"
                raise wrong(f"Expected a dataset id and a task id of {test} but got one. Give the other: {other}")
            continue
        name, at, revision = dataset.partition("@")
        found[test] = {"id": name, "task_id": task, **({"revision": revision} if at else {})}
        for problem in evidence.malformed(found[test]):
            raise wrong(
                f"Expected a benchmark of the Hub but got {problem}. Write --dataset-id OWNER/NAME, with @ and the 40 "
                "digits of a commit if need be, and --task-id as the benchmark's eval.yaml names it"
            )
    if (datasets or tasks) and not found:
        raise wrong(
            "Expected a dataset id and a task id but no test of the run has both. The Hub needs the two: --dataset-id "
            "[TEST=]ID and --task-id [TEST=]TASK"
        )
    return found


def _by_test(option: str, given: list[str], tests: list[str]) -> dict[str, str]:
    """Return the values of an option by test; of the empty name the value for all tests."""
    values: dict[str, str] = {}
    for one in given:
        # Names of tests may contain the sign, and values may not.
        test, _, value = one.rpartition("=")
        if test and test not in tests:
            raise wrong(f"Expected a test of the run in {option} but got {test!r}. Its results name {min(tests)!r}.")
        if test in values:
            raise wrong(f"Expected one {option} for {test or 'all tests'} but got {values[test]!r} and {value!r}.")
        values[test] = value
    return values


def _statement(
    run: ResultsFile,
    subject: list[tuple[str, str]],
    salt: bytes,
    root: Path,
    benchmarks: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    lines = _lines_of({row.test for row in run.account.rows}, root)
    return evidence.statement(
        run.account, run.settings, run.origin, subject=subject, salt=salt, lines=lines, benchmarks=benchmarks
    )


def _lines_of(tests: set[str], root: Path) -> dict[str, int]:
    found = {}
    parsed: dict[str, dict[str, int]] = {}
    for test in tests:
        file, *names = test.split("::")
        if file not in parsed:
            try:
                text = read_below(root, file, most=2**24)
                parsed[file] = dict(_functions(ast.parse(text), ""))
            except (OSError, SyntaxError, ValueError, RecursionError):
                parsed[file] = {}
        name = "::".join(one.partition("[")[0] for one in names)
        if name in parsed[file]:
            found[test] = parsed[file][name]
    return found


def _functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{prefix}{node.name}", node.lineno
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}::")


def _digest(file: str) -> str:
    try:
        with Path(file).open("rb") as opened:
            return file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise wrong(f"Expected a model's file but got {file}: {error.strerror or error}.") from None


def _salt(file: str | None, *, make: bool) -> bytes | None:
    """Return the key of the digests of data; it stays on this machine."""
    path = _SALT if file is None else Path(file)
    if make and file is None and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "wb") as opened:
            opened.write(secrets.token_bytes(32))
    if file is None and not path.exists():
        return None
    try:
        salt = read_regular(path, most=4096)
    except OSError as error:
        raise wrong(f"Expected a file with the salt but got {path}: {error.strerror or error}.") from None
    if len(salt) < 16:
        raise wrong(f"Expected at least 16 bytes of salt in {path} but got {len(salt)}.")
    return salt
