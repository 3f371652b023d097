"""Results, one JSON file each, so that workers, shards and branches merge by copying."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustest.store.files import Damaged, Folder, Seen, checked, to_json

SCHEMA = 2


def save_record(folder: Path, key: str, record: Mapping[str, Any]) -> bool:
    """Keep a record as `folder/results/<first two digits>/<key>.json`; whether it is kept.

    What is wrong with the folder is a `StoreWarning`.

    Args:
        folder: the store's; it is made where there is none.
        key: 16 to 128 hex digits.
        record: JSON types, with the texts "test" and "claim" to be listed by.

    Raises:
        ConfigError: key or record are of other types.
    """
    text = to_json(dict(record))
    content = {"key": key, "record": json.loads(text), "schema": SCHEMA, "sha256": _sum(key, text)}
    path = Path(folder) / "results" / checked(key)[:2] / f"{key}.json"
    return Folder(folder).write(path, f"{to_json(content)}\n".encode())


def load_records(folder: Path) -> list[dict[str, Any]]:
    """All records that are whole, by test and claim; the others are moved to `folder/damaged`, with a warning."""
    place = Folder(folder)
    found: list[tuple[str, str, str, dict[str, Any]]] = []
    for path in place.find("results/*/*.json"):
        seen = place.read(path)
        if seen is None:
            continue
        try:
            record = _record(seen)
        except Damaged as damage:
            place.set_aside(seen, str(damage))
        else:
            found.append((str(record.get("test", "")), str(record.get("claim", "")), path.name, record))
    return [record for *_, record in sorted(found, key=lambda row: row[:3])]


def _record(seen: Seen) -> dict[str, Any]:
    try:
        content = json.loads(seen.data)
        schema, key, record = content["schema"], content["key"], content["record"]
        whole = content["sha256"] == _sum(key, to_json(record))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise Damaged("bytes that are no record of robustest's") from error
    if schema != SCHEMA:
        raise Damaged(f"schema {schema!r} instead of {SCHEMA}")
    if not whole or not isinstance(record, dict):
        raise Damaged("contents that differ from their checksum")
    if key != seen.path.stem:
        raise Damaged(f"what belongs under the name {key}")
    return record


def _sum(key: str, text: str) -> str:
    return hashlib.sha256(f"{SCHEMA} {key} {text}".encode()).hexdigest()
