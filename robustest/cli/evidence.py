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


def write(file: str, output: str, model: list[str], salt: str | None) -> int:
    """Write the evidence of a run to a folder.

    Args:
        model: files of the model, which become the statement's subject.
        salt: file with the key of the digests of data; None takes .robustest/evidence-salt, and makes it if absent.

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
    content = _statement(run, subject, _salt(salt, make=True) or b"", Path())
    if not content["subject"]:
        raise missing(
            f"Expected a subject of the evidence but no result in {file} has a digest of its model. Name the model's "
            "files: --model FILE"
        )
    for problem in evidence.contradictions(content):
        raise missing(f"Expected the results of one run in {file} but got: {problem}. Run the tests again")
    for name, data in evidence.documents(content).items():
        write_atomic(Path(output) / name, data)
    outcome = evidence.outcome(content["predicate"])
    screen = Screen()
    screen.write_line(f"wrote {output}: {outcome}, {counted(len(content['predicate']['claims']), 'claim')}")
    if not subject:
        screen.write_line("the subject is robustest's digest of each model; name the file that you ship: --model FILE")
    return Exit.NOT_PASSED if outcome == "FAILED" else Exit.OK


def verify(folder: str, model: list[str], salt: str | None, *, no_run: bool) -> int:
    """Check evidence: its files among themselves, its numbers, the model's files, and a new measurement.

    Args:
        model: files that must be the statement's subject.
        salt: as in `write`; without it the digests of data are not compared.

    Returns:
        0 if nothing differs, 1 if something does.
    """
    screen = Screen()
    path = Path(folder) / evidence.STATEMENT
    content = read_json(path, f"evidence at {path}", "Write it: robustest evidence write robust.json")
    try:
        found = [*_files(Path(folder), content), *evidence.contradictions(content)]  # type: ignore[arg-type]
        result = evidence.outcome(content["predicate"])  # type: ignore[index]
        found += _other_files(content, model)  # type: ignore[arg-type]
        if not no_run:
            found += _measured(content, _salt(salt, make=False), model, screen)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise missing(f"Expected a statement of robustest in {path} but got: {type(error).__name__} {error}.") from None
    for line in found[:_SHOWN]:
        screen.write_line(line, red=True)
    if len(found) > _SHOWN:
        screen.write_line(f"and {counted(len(found) - _SHOWN, 'further difference')}", red=True)
    checked = ["files", "numbers"]
    checked += ["the model's files"] if model else []
    checked += [] if no_run else ["a new measurement"]
    screen.write_line(f"checked {', '.join(checked)}: {counted(len(found), 'difference')}")
    if not found:
        screen.write_line(f"the evidence agrees, and its result is {result}", red=result == "FAILED")
    if no_run:
        screen.write_line("nothing was measured: numbers that were changed together, in all places, are not noticed")
    return Exit.NOT_PASSED if found else Exit.OK


def _files(folder: Path, content: Any) -> Iterator[str]:
    for name, data in evidence.documents(content).items():
        try:
            there = read_below(folder, name, most=len(data))
        except OSError as error:
            yield f"{name}: expected {len(data)} bytes made from the statement, but {error.strerror or error}"
            continue
        if there != data:
            pairs = zip(there.split(b"\n"), data.split(b"\n"), strict=False)
            line = next((number for number, (a, b) in enumerate(pairs, 1) if a != b), data.count(b"\n"))
            yield f"{name}: line {line} is not what the statement makes"


def _other_files(content: Mapping[str, Any], model: list[str]) -> Iterator[str]:
    """Yield the files of the subject that were not given, and those given that are none of it."""
    stated = {(one["name"], one["digest"]["sha256"]) for one in content["subject"] if "sha256" in one["digest"]}
    given = {(Path(file).name, _digest(file)) for file in model}
    for name, digest in sorted(given - stated):
        yield f"{name}: expected one of the subject's files, but its sha256 is {digest}"
    for name, digest in sorted(stated - given):
        yield f"{name}: of the subject, with sha256 {digest}, but no such file was compared: --model FILE"


def _measured(content: Mapping[str, Any], salt: bytes | None, model: list[str], screen: Screen) -> Iterator[str]:
    """Run the tests again as the statement says, with nothing remembered, and yield the differences."""
    predicate = content["predicate"]
    settings = predicate["settings"]
    with tempfile.TemporaryDirectory() as folder:
        output, opened = Path(folder) / "robust.json", Path(folder) / "opened"
        code = run_pytest(
            [
                *("-q", "--robust-no-cache", f"--robust-json={output}", f"--robust-seed={int(settings['seed'])}"),
                # Known counterexamples would end a claim early, and other samples would be looked at.
                *(f"--robust-profile={settings['profile']}", f"--robust-corpus={Path(folder) / 'corpus'}"),
                *(("-p", "robustest.cli.opened", f"--robust-opened={opened}") if model else ()),
                # Not the tests that the statement names: one that it leaves out, as it failed, would not be noticed.
                *_selected(predicate["selection"]),
            ]
        )
        if not output.is_file():
            yield "pytest wrote no results: see its output above"
            return
        new = _statement(read_results(output), [], salt or b"", Path())["predicate"]
        if code != new["exit"]:  # a hook failed after the results were written
            yield f"pytest ended with exit code {code}, which its results do not say: see its output above"
        yield from _unread(model, opened)
    if salt is None and any(claim.get("data") for claim in predicate["claims"]):
        screen.write_line("digests of data were not compared: they need the salt (--salt FILE)")
    apart = ("time", "claims", "settings")
    one, other = ({key: value for key, value in of.items() if key not in apart} for of in (predicate, new))
    yield from _different("run", one, other)
    yield from _different("settings", settings, new["settings"])
    claims, again = _named(predicate["claims"]), _named(new["claims"])
    for name in sorted(claims.keys() ^ again.keys()):
        where = "in the evidence, and not measured now" if name in claims else "measured now, and not in the evidence"
        yield f"{name[0]}: {name[1]}: {where}"
    if claims.keys() == again.keys() and list(claims) != list(again):
        yield "run: claims: in another order than now"
    for name in sorted(claims.keys() & again.keys()):
        pair = (claims[name], again[name])
        one, other = ({key: value for key, value in of.items() if salt is not None or key != "data"} for of in pair)
        yield from _different(f"{name[0]}: {one.get('statement', '')}", one, other)


def _unread(model: list[str], opened: Path) -> Iterator[str]:
    """Yield the files of the model that the tests did not open, under any name: the measurement is of other files."""
    # A process of pytest-xdist has a list of its own (`robustest.cli.opened`).
    names = {name for one in opened.parent.glob(f"{opened.name}.*") for name in json.loads(one.read_bytes())}
    there = [path for path in map(Path, sorted(names)) if path.is_file()]
    for file in model:
        size, digest = Path(file).stat().st_size, _digest(file)
        if not any(one.stat().st_size == size and _digest(str(one)) == digest for one in there):
            yield f"{Path(file).name}: expected the tests to load it, but they opened no file with its content"


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


def _statement(run: ResultsFile, subject: list[tuple[str, str]], salt: bytes, root: Path) -> dict[str, Any]:
    lines = _lines_of({row.test for row in run.account.rows}, root)
    return evidence.statement(run.account, run.settings, run.origin, subject=subject, salt=salt, lines=lines)


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
