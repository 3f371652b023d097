"""Readers of outcomes: the files that evaluation tools write, as rows of items with scores."""

# Each reader takes a path and returns the rows of `Outcomes.of`. A file is read whole or not at all: a line that is cut
# off, a log that the tool marks as failed, and a file with fewer items than the tool evaluated are errors.
#
#     reader              file                                     written by
#     jsonl, csv, parquet one row for each run of an item          anything
#     lm-eval             `samples_TASK_TIME.jsonl`                lm-evaluation-harness, `--log_samples`
#     inspect             `.eval` and `.json` logs                 Inspect
#     promptfoo           `promptfoo eval -o FILE.json`            promptfoo
#     junit               JUnit XML: a test case passed or not     pytest and other runners
#     label-studio        JSON export: ratings or choices          Label Studio

from __future__ import annotations

import csv
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from robustest import extensions
from robustest.data.outcomes import Outcomes, digest_of
from robustest.errors import ConfigError, DataError, PackError, expected

Reader = Callable[[Path, Mapping[str, Any]], Outcomes]
"""Function from a file and the keywords of `Outcomes.read` to its outcomes."""

LARGEST = 1 << 31
"""Largest size in bytes of a file, and of a member of an archive: a small archive may unpack to any size."""


def read_file(path: Path, reader: str | None, options: Mapping[str, Any]) -> Outcomes:
    """Return the outcomes in one file.

    Args:
        path: the file.
        reader: name of its format; None recognises it by suffix and content.
        options: see `Outcomes.read`.

    Raises:
        ConfigError: no reader has this name, or it takes no such option.
        DataError: the file is missing, damaged, incomplete or of no known format.
    """
    if not path.is_file():
        raise DataError(f"Expected a file of outcomes at {path} but there is none.")
    if path.stat().st_size > LARGEST:
        raise DataError(
            f"Expected a file of at most {LARGEST >> 30} GiB but {path} is larger. Split it: several files are joined."
        )
    # The format is recognised by content too: many tools write files that end in .json.
    name = reader or _recognised(path)
    try:
        if name in READERS:
            return READERS[name](path, options)
        found = extensions.made("robustest_outcomes", "reader of outcomes", name, READERS, path, options)
        if not isinstance(found, Outcomes):
            raise PackError(expected(f"the reader {name!r} to return Outcomes", found))
        return found
    except UnicodeDecodeError as error:
        raise DataError(f"Expected text in UTF-8 in {path} but got byte {error.start} that is none.") from None


def _recognised(path: Path) -> str:
    """Return the name of the reader for a file, by its suffix and content, or raise DataError."""
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        # lm-evaluation-harness names its files samples_TASK_TIME.jsonl.
        return "lm-eval" if path.name.startswith("samples_") else "jsonl"
    if suffix in (".csv", ".tsv"):
        return "csv"
    if suffix in (".parquet", ".pq"):
        return "parquet"
    if suffix == ".eval":
        return "inspect"
    if suffix == ".xml":
        return "junit"
    if suffix == ".json":
        data = _json(path)
        if isinstance(data, dict) and "eval" in data and "samples" in data:
            return "inspect"
        if isinstance(data, dict) and isinstance(data.get("results"), dict) and "results" in data["results"]:
            return "promptfoo"
        if isinstance(data, list) and data and isinstance(data[0], dict):
            return "label-studio" if "annotations" in data[0] else "jsonl"
    raise DataError(
        f"Expected a file of a known format but cannot tell that of {path}. "
        f"Name it: reader=, one of {', '.join(READERS)}."
    )


def _json(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a ValueError
        where = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else f"its content: {error}"
        raise DataError(f"Expected whole JSON in {path} but it is damaged or cut off at {where}.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # the last one would win, whichever score that is
        raise ValueError("an object has a key twice")
    return found


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file with one JSON object a line, with their line numbers."""
    decode = json.JSONDecoder(object_pairs_hook=_object).decode
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = decode(line)
            except (ValueError, RecursionError) as error:
                why = "" if isinstance(error, (json.JSONDecodeError, RecursionError)) else f": {error}"
                raise DataError(
                    f"Expected a JSON object in line {number} of {path} but it is damaged or cut off{why}."
                ) from None
            if not isinstance(row, dict):
                raise DataError(expected(f"a JSON object in line {number} of {path}", row))
            yield number, row


def _jsonl(path: Path, options: Mapping[str, Any]) -> Outcomes:
    data = _json(path) if path.suffix.lower() == ".json" else None
    if isinstance(data, list):
        return _of(data, path, options)
    # Columns at once: a million rows as dicts are half a gigabyte.
    columns: dict[str, list[Any]] = {}
    for count, (_, row) in enumerate(_lines(path)):
        if row.keys() != columns.keys():
            for name in row.keys() - columns.keys():
                columns[name] = [None] * count
            row = {**dict.fromkeys(columns), **row}  # noqa: PLW2901 - values that are missing are None
        for name, value in row.items():
            columns[name].append(value)
    return _of(columns, path, options)


def _csv(path: Path, options: Mapping[str, Any]) -> Outcomes:
    # Spreadsheets begin CSV files with a byte order mark. Python limits a field to 128 KiB; prompts are longer.
    with path.open(encoding="utf-8-sig", newline="") as file, _long_fields():
        reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        try:
            names = next(reader, [])
            if len(set(names)) < len(names):
                raise DataError(expected(f"columns of different names in {path}", names))
            columns: list[list[str]] = [[] for _ in names]
            for row in reader:
                if not row:
                    continue
                if len(row) != len(names):
                    raise DataError(
                        f"Expected as many fields in line {reader.line_num} of {path} as in its header but got another "
                        "number."
                    )
                for column, value in zip(columns, row, strict=True):
                    column.append(value)
        except csv.Error as error:
            raise DataError(
                f"Expected a whole CSV file but {path} is damaged in line {reader.line_num}: {error}."
            ) from None
    return _of(dict(zip(names, columns, strict=True)), path, options)


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(LARGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path, options: Mapping[str, Any]) -> Outcomes:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise ConfigError(
            "Expected pyarrow to read Parquet but it is not installed: pip install 'robustest[outcomes]'."
        ) from None
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"Expected a whole Parquet file but {path} is damaged: {error}.") from None
    return _of(table.to_pydict(), path, options)


def _of(rows: object, path: Path, options: Mapping[str, Any]) -> Outcomes:
    try:
        return Outcomes.of(rows, source=path.name, **options)
    except TypeError as error:
        raise ConfigError(f"Expected options of Outcomes.of but got another one: {error}.") from None


def _metric(options: Mapping[str, Any], have: Iterable[str], path: Path) -> str:
    """Return the requested metric, or the only one; raise ConfigError if there are several and none is named."""
    names = sorted(have)
    if wrong := sorted(set(options) - {"score"}):
        raise ConfigError(f"Expected score= alone for the files of this tool but got {', '.join(wrong)}.")
    asked = options.get("score")
    if asked is None and len(names) == 1:
        return names[0]
    if asked in names:
        return str(asked)
    got = "none is named" if asked is None else f"score={asked!r}"
    raise ConfigError(f"Expected score= to be one of {', '.join(names) or 'no metric at all'} in {path} but {got}.")


def _lm_eval(path: Path, options: Mapping[str, Any]) -> Outcomes:
    """Read the samples of one task of lm-evaluation-harness (format of 0.4.13)."""
    # The harness writes each line once: an equal one is a copy, not another run.
    rows = list({json.dumps(row, sort_keys=True): (number, row) for number, row in _lines(path)}.values())
    named: list[tuple[str, dict[str, Any]]] = []
    filters = sorted({str(row.get("filter", "none")) for _, row in rows})
    for number, row in rows:
        if not isinstance(row.get("metrics"), list) or "doc_id" not in row:
            raise DataError(
                f"Expected a sample of lm-evaluation-harness in line {number} of {path} but it lacks doc_id or metrics."
            )
        suffix = f",{row['filter']}" if len(filters) > 1 else ""
        # The harness writes a line for each document and each filter of its answers; several filters are several
        # metrics.
        named += [(f"{metric}{suffix}", row) for metric in row["metrics"]]
    metric = _metric(options, {name for name, _ in named}, path)
    bare = metric.split(",")[0]
    task = path.stem.removeprefix("samples_").rpartition("_")[0]
    found = [
        {
            "item": f"{task}/{row['doc_id']}",
            "score": row.get(bare),
            # Another prompt template is another input, even for the same document.
            "digest": f"{row.get('doc_hash', '')[:16]}{row.get('prompt_hash', '')[:16]}",
            "prompt": _first_argument(row),
            "answer": _plain(row.get("filtered_resps")),
            "expected": _plain(row.get("target")),
        }
        for name, row in named
        if name == metric
    ]
    # The results file beside the samples, if there is one, has the number of documents.
    announced = None
    beside = path.with_name(f"results_{path.stem.rpartition('_')[2]}.json")
    if beside.is_file():
        data = _json(beside)
        counts = data.get("n-samples", {}).get(task, {}) if isinstance(data, dict) else {}
        announced = counts.get("effective") if isinstance(counts.get("effective"), int) else None
    return _complete(Outcomes.of(found, source=path.name, announced=announced), path)


def _first_argument(row: Mapping[str, Any]) -> str:
    arguments = row.get("arguments")
    first: object = next(iter(arguments.values()), {}) if isinstance(arguments, dict) else {}
    return _plain(first.get("arg_0", "") if isinstance(first, dict) else first)


# Scores of Inspect's own scorers: correct, partial, incorrect, no answer.
_LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}


def _inspect(path: Path, options: Mapping[str, Any]) -> Outcomes:
    """Read a log of Inspect (format 2), as JSON or as an archive."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "header.json" not in names:
                raise DataError(
                    f"Expected a finished log of Inspect but {path} has no header: the evaluation did not end."
                )
            header = _member(archive, path, "header.json")
            samples = [_member(archive, path, name) for name in names if name.startswith("samples/")]
    else:
        header = _json(path)
        found = header.get("samples") if isinstance(header, dict) else None
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise DataError(f"Expected a log of Inspect with its samples in {path} but it has none.")
        samples = found
    # Samples that ended in an error have no score, and leaving them out would raise the rate.
    if header.get("status") != "success":
        raise DataError(
            f"Expected a log of an evaluation that succeeded but {path} has the status {header.get('status')!r}. "
            "Run it again, or `inspect eval-retry`."
        )
    task = str(header.get("eval", {}).get("task", ""))
    metric = _metric(options, {name for one in samples for name in one.get("scores") or {}}, path)
    rows = []
    for one in samples:
        score = (one.get("scores") or {}).get(metric)
        value = score.get("value") if isinstance(score, dict) else None
        rows.append(
            {
                "item": f"{task}/{one.get('id')}",
                "run": f"epoch {one.get('epoch', 1)}",
                "score": _LETTERS.get(value, value) if isinstance(value, str) else value,
                "digest": digest_of(json.dumps([one.get("input"), one.get("target")], sort_keys=True)),
                "prompt": _plain(one.get("input")),
                "answer": _plain(score.get("answer") if isinstance(score, dict) else None),
                "expected": _plain(one.get("target")),
            }
        )
    dataset = header.get("eval", {}).get("dataset", {})
    ids = dataset.get("sample_ids")
    return _complete(Outcomes.of(rows, source=path.name, announced=len(ids) if isinstance(ids, list) else None), path)


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> dict[str, Any]:
    """Return a JSON member of an archive, which Inspect compresses by Zstandard."""
    info = archive.getinfo(name)
    if info.file_size > LARGEST:
        raise DataError(f"Expected members of at most {LARGEST >> 30} GiB but {name} in {path} is larger.")
    try:
        raw = (
            archive.read(name)
            if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            else _zstandard(path, info)
        )
        found = json.loads(raw, object_pairs_hook=_object)
    except (zipfile.BadZipFile, zlib.error, json.JSONDecodeError, OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise DataError(f"Expected a whole log of Inspect but {name} in {path} is damaged.") from None
    if not isinstance(found, dict):
        raise DataError(f"Expected a JSON object as {name} in {path} but got another value.")
    return found


def _zstandard(path: Path, info: zipfile.ZipInfo) -> bytes:
    """Return a member that is compressed by Zstandard, which Python reads itself from 3.14 on."""
    try:
        from zstandard import ZstdDecompressor, ZstdError
    except ImportError:
        raise ConfigError(
            "Expected zstandard to read logs of Inspect but it is not installed: pip install 'robustest[outcomes]', "
            "or write logs with --log-format=json."
        ) from None
    with path.open("rb") as file:
        file.seek(info.header_offset)
        # A local header is 30 bytes, then a name and an extra field of the two lengths at its end.
        name, extra = struct.unpack("<HH", file.read(30)[26:30])
        file.seek(name + extra, 1)
        packed = file.read(info.compress_size)
    try:
        raw = ZstdDecompressor().decompressobj().decompress(packed)
    except ZstdError as error:
        raise OSError(str(error)) from None
    if zlib.crc32(raw) != info.CRC:
        raise OSError("its checksum differs")
    return bytes(raw)


def _promptfoo(path: Path, options: Mapping[str, Any]) -> Outcomes:
    """Read the results of `promptfoo eval` (format 3).

    The score is promptfoo's, in 0..1, or with `score="success"` 1 if all assertions passed. A file with several
    providers or prompts compares systems, so `provider=` and `prompt=` (a number from 0) select one.
    """
    data = _json(path)
    results = data.get("results", {}).get("results") if isinstance(data, dict) else None
    if not isinstance(results, list):
        raise DataError(f"Expected results of promptfoo in {path} but there are none.")
    others = {key: value for key, value in options.items() if key not in ("score", "provider", "prompt")}
    metric = _metric({"score": options.get("score", "score"), **others}, ("score", "success"), path)
    for place, one in enumerate(results):
        if not isinstance(one, dict) or not isinstance(one.get(metric), (bool, int, float)):
            raise DataError(f"Expected a result with {metric!r} in {path} but number {place + 1} has none.")
    for key, of in (("provider", _provider), ("prompt", lambda one: one.get("promptIdx"))):
        there = list(dict.fromkeys(map(of, results)))
        asked = options.get(key, there[0] if len(there) == 1 else None)
        if there and asked not in there:
            raise ConfigError(
                f"Expected {key}= to be one of {', '.join(map(repr, there))} in {path} but got {asked!r}."
            )
        results = [one for one in results if of(one) == asked]
    rows = []
    for one in results:
        score = one[metric]
        if one.get("error") and not isinstance(one.get("gradingResult"), dict):
            score = None  # the provider failed: there is no answer to score
        found = one.get("testCase")
        case: dict[str, Any] = found if isinstance(found, dict) else {}
        # Repeats have different numbers in the file, so an item is identified by provider, prompt and variables; its
        # repeats are its runs.
        name = [one.get("promptIdx"), one.get("vars"), case.get("assert")]
        rows.append(
            {
                "item": case.get("description") or f"test {digest_of(json.dumps(name, sort_keys=True))}",
                "score": score,
                "group": (case.get("metadata") or {}).get("group"),
                "digest": digest_of(json.dumps(name, sort_keys=True)),
                "prompt": _plain((one.get("prompt") or {}).get("raw")),
                "answer": _plain((one.get("response") or {}).get("output")),
                "expected": _plain([a.get("value") for a in case.get("assert") or [] if isinstance(a, dict)]),
            }
        )
    outcomes = Outcomes.of(rows, source=path.name)
    stats = data["results"].get("stats", {})
    said = sum(stats.get(key, 0) for key in ("successes", "failures", "errors") if isinstance(stats.get(key, 0), int))
    have = len(data["results"]["results"])
    # An interrupted evaluation leaves a file with fewer results than its statistics count.
    if said and said != have:
        raise DataError(f"Expected {said} results in {path}, as its statistics say, but got {have}: it is not whole.")
    return outcomes


def _provider(result: Mapping[str, Any]) -> str:
    """Return the label of a result's provider, or its id."""
    provider = result.get("provider")
    return str(provider.get("label") or provider.get("id")) if isinstance(provider, dict) else str(provider)


def _junit(path: Path, options: Mapping[str, Any]) -> Outcomes:
    """Read test cases of a JUnit file: 1 for a pass, 0 for a failure or an error; a skipped case has no score."""
    if options:
        raise ConfigError(f"Expected no options for JUnit files but got {', '.join(sorted(options))}.")
    text = path.read_text(encoding="utf-8")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        # Entities may expand to gigabytes, and no test runner writes any.
        raise DataError(f"Expected JUnit XML without a document type in {path} but it has one.")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - entities are refused above
    except ElementTree.ParseError as error:
        raise DataError(f"Expected whole JUnit XML in {path} but it is damaged: {error}.") from None
    rows = []
    for suite in root.iter("testsuite"):
        cases = suite.findall("testcase")
        announced = suite.get("tests")
        if (
            announced is not None
            and announced.isdigit()
            and int(announced) > len(cases)
            and not suite.findall("testsuite")
        ):
            raise DataError(
                f"Expected {announced} test cases in a suite of {path}, as it says, but got {len(cases)}: not whole."
            )
        for case in cases:
            bad = next((child for child in case if child.tag in ("failure", "error")), None)
            skipped = case.find("skipped") is not None
            rows.append(
                {
                    "item": f"{case.get('classname', '')}::{case.get('name', '')}",
                    "score": None if skipped else float(bad is None),
                    "answer": (bad.get("message") or "") if bad is not None else "",
                }
            )
    return Outcomes.of(rows, source=path.name)


def _label_studio(path: Path, options: Mapping[str, Any]) -> Outcomes:
    """Read ratings of annotators from a JSON export of Label Studio (of 1.23): each annotation is a run of its task.

    `score` names the control tag (its `from_name`), `correct` the choice that counts as 1; ratings are scaled from
    `low`..`high`, 1 to 5 by default. A skipped annotation is no run; a task that nobody rated is one without a score.
    """
    tasks = _json(path)
    if wrong := sorted(set(options) - {"score", "correct", "low", "high"}):
        raise ConfigError(f"Expected score=, correct=, low= and high= alone but got {', '.join(wrong)}.")
    if not isinstance(tasks, list):
        raise DataError(f"Expected a list of tasks in {path} but got another value.")
    correct = options.get("correct")
    kind = "rating" if correct is None else "choices"
    found: list[tuple[Mapping[str, Any], str, Mapping[str, Any]]] = []  # task, name of the annotation, result
    for place, task in enumerate(tasks):
        annotations = task.get("annotations") if isinstance(task, dict) else None
        if not isinstance(annotations, list) or not all(isinstance(one, dict) for one in annotations):
            raise DataError(f"Expected a task with annotations in {path} but number {place + 1} has none.")
        rated = [one for one in annotations if not one.get("was_cancelled")]
        announced = task.get("total_annotations")
        if isinstance(announced, int) and len(rated) < announced:
            raise DataError(
                f"Expected {announced} annotations of task {task.get('id', place)} in {path}, as it says, but got "
                f"{len(rated)}: not whole."
            )
        task = {"id": place, **task}  # noqa: PLW2901
        results = [
            (str(one.get("id", one.get("completed_by", ""))), result)
            for one in rated
            for result in one.get("result", ())
            if isinstance(result.get("value"), dict) and kind in result["value"]
        ]
        found += [(task, *one) for one in results]
        if not results:
            found.append((task, "", {}))
    control = _metric(
        {key: value for key, value in options.items() if key == "score"},
        {str(result.get("from_name")) for *_, result in found if result},
        path,
    )
    scored = {place for place, (*_, result) in enumerate(found) if str(result.get("from_name")) == control}
    with_score = {str(found[place][0]["id"]) for place in scored}
    rows: list[dict[str, Any]] = []
    for place, (task, annotation, result) in enumerate(found):
        item, value = str(task["id"]), result.get("value", {})
        if place not in scored:
            if item in with_score:
                continue
            with_score.add(item)
            annotation, value = "", {}  # noqa: PLW2901
        score = value.get("rating")
        if value and correct is not None:
            score = correct in value["choices"]
        rows.append(
            {
                "item": item,
                "run": annotation,
                "score": score,
                "digest": digest_of(json.dumps(task.get("data"), sort_keys=True)),
                "prompt": _plain(task.get("data")),
                "answer": _plain(value.get(kind)),
            }
        )
    if correct is None:
        return Outcomes.of(rows, source=path.name, low=float(options.get("low", 1)), high=float(options.get("high", 5)))
    return Outcomes.of(rows, source=path.name)


def _complete(found: Outcomes, path: Path) -> Outcomes:
    """Return outcomes that have every item the tool evaluated; raise DataError if the file was cut off."""
    have = len(set(found.item.tolist()))
    if found.announced is not None and have < found.announced:
        raise DataError(
            f"Expected {found.announced} items in {path}, as the tool says, but got {have}: it is not whole."
        )
    return found


def _plain(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


READERS: dict[str, Reader] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
    "lm-eval": _lm_eval,
    "inspect": _inspect,
    "promptfoo": _promptfoo,
    "junit": _junit,
    "label-studio": _label_studio,
}
"""Readers by name; packs add others by the hook `robustest_outcomes`."""
