"""Logs of Inspect: `.eval` archives and JSON."""

# Written by inspect-ai 0.3.285 (log version 2). A sample of an epoch is a run of its item. The value of a score is a
# number, a letter, a boolean, or several by name: the scorer `rubric` with {"clarity": .5} has the metric
# "rubric.clarity". Inspect computes its own figures over epochs with a reducer (the mean, by default).

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from robustest.data.readers.document import LARGEST, Document, _object
from robustest.data.readers.names import digest_of
from robustest.data.readers.remedies import Mendable
from robustest.data.readers.table import Format, Scores, Table, columns_of, mapping, plain
from robustest.errors import ConfigError, DataError

# Scores of Inspect's own scorers: correct, partial, incorrect, no answer; as shares of the range, whatever it is.
_LETTERS = {"C": "100%", "P": "50%", "I": "0%", "N": "0%"}

_COMMAND = "inspect eval-retry {path}"


def _recognises(document: Document) -> bool:
    if document.kind == "zip":
        return (
            document.suffix == ".eval" or "header.json" in document.members or "_journal/start.json" in document.members
        )
    return document.kind == "json" and "eval" in document.names and bool(document.names & {"samples", "status"})


def _read(document: Document, _: Mapping[str, Any]) -> Table:
    header, samples = _archive(document) if document.kind == "zip" else _json_log(document)
    evaluation = mapping(header.get("eval"))
    status = header.get("status")
    # Samples that ended in an error have no score, and leaving them out would raise the rate.
    if status != "success" and not document.damage:
        document.damage = (
            f"Expected a log of an evaluation that succeeded but {document.path} has the status {status!r}."
        )
    task = str(evaluation.get("task", ""))
    rows, scores = [], Scores()
    for one in samples:
        found = dict(_scores_of(one))
        scores.add({name: value for name, (value, _) in found.items()})
        answer = next((answer for _, answer in found.values() if answer), None)
        rows.append(
            {
                "item": f"{task}/{one.get('id')}",
                "run": f"epoch {one.get('epoch', 1)}",
                "digest": digest_of(json.dumps([one.get("input"), one.get("target")], sort_keys=True)),
                "prompt": plain(one.get("input")),
                "answer": plain(answer),
                "expected": plain(one.get("target")),
                "metadata": one.get("metadata"),
            }
        )
    ids = mapping(evaluation.get("dataset")).get("sample_ids")
    names = [f"{task}/{one}" for one in ids] if isinstance(ids, list) else []
    have = {row["item"] for row in rows}
    return Table(
        columns=columns_of(rows),
        scores=scores.by_metric,
        announced=len(names) or None,
        absent=tuple(name for name in names if name not in have),
    )


def _scores_of(sample: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield the scores of a sample by metric, each with its answer."""
    for scorer, score in mapping(sample.get("scores")).items():
        value, answer = mapping(score).get("value"), mapping(score).get("answer")
        several: dict[Any, Any] = value if isinstance(value, dict) else {}
        if isinstance(value, list):
            several = dict(enumerate(value))
        for name, one in several.items():
            yield f"{scorer}.{name}", (_number(one), answer)
        if not isinstance(value, (dict, list)):
            yield scorer, (_number(value), answer)


def _number(value: Any) -> Any:
    return _LETTERS.get(value, value) if isinstance(value, str) else value


def _json_log(document: Document) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    header = document.value if document.kind == "json" else None
    samples = header.get("samples") if isinstance(header, dict) else None
    if (
        not isinstance(header, dict)
        or not isinstance(samples, list)
        or not all(isinstance(one, dict) for one in samples)
    ):
        raise Mendable(
            DataError(f"Expected a log of Inspect with its samples in {document.path} but it has none."),
            command=_COMMAND.format(path=document.path),
        )
    return header, samples


def _archive(document: Document) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    path = document.path
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            samples = [_member(archive, path, name) for name in names if name.startswith("samples/")]
            if "header.json" in names:
                return _member(archive, path, "header.json"), samples
            # Inspect writes the header last, and the plan of the evaluation first.
            document.damage = (
                f"Expected a finished log of Inspect but {path} has no header: the evaluation did not end."
            )
            start = _member(archive, path, "_journal/start.json") if "_journal/start.json" in names else {}
            if not samples:
                raise Mendable(DataError(f"{document.damage} No sample has ended."), command=_COMMAND.format(path=path))
            return {"status": "started", **start}, samples
    except (zipfile.BadZipFile, OSError):
        raise Mendable(
            DataError(f"Expected a whole log of Inspect but {path} is damaged or cut off."),
            command="inspect eval TASK",
        ) from None


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> dict[str, Any]:
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
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise Mendable(
            DataError(f"Expected a whole log of Inspect but {name} in {path} is damaged. Copy it again."),
            command=_COMMAND.format(path=path),
        ) from None
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


INSPECT = Format(_recognises, _read, "Inspect", command=_COMMAND)
