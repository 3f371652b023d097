"""Baselines: outcomes that later runs are compared with, in one JSON file to be committed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from robustest.errors import StoreError, expected
from robustest.safe_files import write_atomic
from robustest.store.files import alone, to_json
from robustest.typed import from_plain
from robustest.version import VERSION

SCHEMA = 2
NAME = "robust-baseline.json"
# Difference of means that were added up in different orders.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineEntry:
    """The outcomes of one claim.

    Attributes:
        claim: as `Subject.claim`.
        outcomes: one per sample, in the data's order: True held, False broken.
        data, model: digests; None for a model without an identity.
        date: e.g. "2026-11-25".
        scores: one per sample, in 0..1; None if outcomes are compared.
        measured_by: attack, threat, task and other choices in full; empty if unknown.
    """

    test: str
    claim: str
    quantity: str
    outcomes: tuple[bool, ...]
    data: str
    model: str | None
    seed: int
    method: str
    date: str
    commit: str
    estimate: float | None
    interval: tuple[float, float]
    scores: tuple[float, ...] | None = None
    measured_by: str = ""

    @property
    def values(self) -> tuple[bool, ...] | tuple[float, ...]:
        return self.outcomes if self.scores is None else self.scores

    @property
    def n(self) -> int:
        return len(self.outcomes)


def read(path: Path) -> dict[str, BaselineEntry]:
    """Return the entries of a baseline file by key; none if the file does not exist.

    Raises:
        StoreError: the file is damaged, not a baseline file, or of another schema.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"Expected to read the baselines in {path} but got: {error}. {_MEND}") from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"Expected valid JSON in {path} but got: {error}. {_MEND}") from error
    if not isinstance(content, dict) or not isinstance(content.get("entries"), dict) or "schema" not in content:
        raise StoreError(f"Expected baselines of robustest in {path} but got other JSON. {_MEND}")
    if content["schema"] != SCHEMA:
        by = content.get("robustest")
        mend = "Install that version, or delete the file and make it anew: pytest --robust-update-baseline"
        raise StoreError(f"Expected schema {SCHEMA} in {path} but got {content['schema']!r}, of version {by}. {mend}")
    return {key: _entry(path, key, plain) for key, plain in content["entries"].items()}


def write(path: Path, entries: Mapping[str, BaselineEntry]) -> None:
    """Merge entries into a baseline file; several processes may do so at once.

    Raises:
        StoreError: the file is damaged, or the folder cannot be written.
    """
    path = Path(path)
    try:
        # Read and write under one lock: another worker's entries must not be lost.
        with alone(path.parent):
            merged = {**read(path), **entries}
            content = {"schema": SCHEMA, "robustest": VERSION, "entries": {k: _plain(e) for k, e in merged.items()}}
            # Refuses infinite values, which JSON cannot hold.
            to_json(content)
            # Sorted and indented: the file is committed, and its diffs are read.
            text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
            write_atomic(path, text.encode())
    except OSError as error:
        raise StoreError(f"Expected to write the baselines to {path} but got: {error}. Make it writable.") from error


def _plain(entry: BaselineEntry) -> dict[str, Any]:
    plain = asdict(entry)
    outcomes, scores, by = plain.pop("outcomes"), plain.pop("scores"), plain.pop("measured_by")
    return {
        **plain,
        **({"measured_by": by} if by else {}),
        # Left out if absent, so that older versions can read entries without scores.
        **({} if scores is None else {"scores": packed_scores(scores)}),
        "interval": list(entry.interval),
        "n": entry.n,
        "held": sum(outcomes),
        "outcomes": packed(outcomes)["outcomes"],
    }


def packed(outcomes: Iterable[bool]) -> dict[str, Any]:
    """Return outcomes as their number, and their bits in base64."""
    # One bit per sample keeps the committed file small.
    bits = np.fromiter(outcomes, dtype=bool)
    return {"n": len(bits), "outcomes": base64.b64encode(np.packbits(bits).tobytes()).decode()}


def unpacked(entry: Mapping[str, Any]) -> tuple[bool, ...]:
    """Inverse of `packed`."""
    data = np.frombuffer(base64.b64decode(entry["outcomes"]), dtype=np.uint8)
    return tuple(np.unpackbits(data, count=entry["n"]).astype(bool).tolist())


def packed_scores(scores: Iterable[float]) -> str:
    """Return scores as little-endian float64 in base64."""
    return base64.b64encode(np.fromiter(scores, dtype="<f8").tobytes()).decode()


def unpacked_scores(text: str) -> tuple[float, ...]:
    """Inverse of `packed_scores`."""
    return tuple(np.frombuffer(base64.b64decode(text, validate=True), dtype="<f8").tolist())


def _entry(path: Path, key: str, plain: Any) -> BaselineEntry:
    if not isinstance(plain, dict):
        raise _damaged(path, key, "the fields of a baseline", plain)
    # Older files, or entries of other claims, have neither `scores` nor `measured_by`.
    given = {"scores": None, "measured_by": "", **plain}
    try:
        n, held, scores = (given.pop(name) for name in ("n", "held", "scores"))
        given["outcomes"] = _outcomes(path, key, n, held, given["outcomes"])
        entry = from_plain(BaselineEntry, {**given, "scores": None}, "a baseline")
    except (KeyError, TypeError) as error:
        why = f"Expected a baseline but got no field {error}" if isinstance(error, KeyError) else str(error)
        raise StoreError(f"{why}, in entry {key!r} of {path}. {_MEND}") from error
    return entry if scores is None else replace(entry, scores=_scores(path, key, n, entry.estimate, scores))


def _outcomes(path: Path, key: str, n: object, held: object, text: Any) -> tuple[bool, ...]:
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise _damaged(path, key, "outcomes in base64", text) from error
    if type(n) is not int or len(data) != -(-n // 8):
        raise _damaged(path, key, f"one bit for each of {n!r} outcomes", f"{len(data)} bytes")
    # Number, padding and count of held outcomes must agree: a wrong merge or edit is refused.
    bits = f"{int.from_bytes(data, 'big'):0{len(data) * 8}b}" if data else ""
    if "1" in bits[n:] or bits.count("1") != held:
        raise _damaged(path, key, f"outcomes of which {held!r} held", bits.count("1"))
    return tuple(bit == "1" for bit in bits[:n])


def _scores(path: Path, key: str, n: int, mean: float | None, text: Any) -> tuple[float, ...]:
    try:
        scores = unpacked_scores(text)
    except (TypeError, ValueError) as error:
        raise _damaged(path, key, "scores in base64", text) from error
    if len(scores) != n or not all(0 <= score <= 1 for score in scores):
        raise _damaged(path, key, f"{n!r} scores in 0..1", f"{len(scores)} numbers")
    # Scores must belong to the estimate: an edited file is refused.
    if mean is not None and n and abs(float(np.mean(scores)) - mean) > ROUNDING:
        raise _damaged(path, key, f"scores whose mean is the estimate {mean!r}", float(np.mean(scores)))
    return scores


def _damaged(path: Path, key: str, what: str, got: object) -> StoreError:
    return StoreError(f"{expected(what, got)}, in entry {key!r} of {path}. {_MEND}")


_MEND = "Restore it from version control, or delete it and write it anew with --robust-update-baseline"
