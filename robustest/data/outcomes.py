"""Recorded outcomes: scores of items that another tool measured, and readers of its files."""

# An item is the unit of a claim: a prompt, an image, a simulated scene. Several runs of one item are one cluster. Its
# mean score is one observation, because runs of the same item are not independent draws of items; the differences
# between its runs are reported, and never counted as a larger sample.
#
# Files are read whole or not at all: a damaged line is an error with its number. Rows in another order, or a repeated
# row, give the same verdict, because items are sorted by their names and identical rows of one run are merged.

from __future__ import annotations

import csv
import hashlib
import json
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from robustest import extensions
from robustest.checks import require
from robustest.data.ids import ids_of, numbered
from robustest.errors import ConfigError, DataError, PackError, expected, not_installed, unknown

TEXTS = ("prompt", "answer", "expected")
"""Texts of a row that reports show, in this order."""

_CLUSTER_MEND = (
    'Name the column as the rows are read: Outcomes.of(rows, cluster="passage"), Outcomes.read(path, cluster=).'
)

# Largest length in characters of a name; of a longer one, such as a whole prompt, this part and a digest are kept.
_LONGEST = 200


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Scores of items, one row for each run of an item.

    Make one with `Outcomes.of` from values in memory, or with `Outcomes.read` from a file.
    """

    item: NDArray[np.str_]  # (n,) names of the items; rows of one name are runs of one item
    # (n,) float64, each in low..high; NaN for a run without a score (see `missing` of the claims)
    score: NDArray[np.float64]
    run: NDArray[np.str_]  # (n,) names of the runs, unique within an item; may be empty
    group: NDArray[np.str_]  # (n,) names of the groups; empty for no group. All rows of an item have one group.
    digest: NDArray[np.str_]  # (n,) digests of the items' inputs; empty if unknown
    # the range of every score
    low: float = 0.0
    high: float = 1.0
    # texts for reports, by name (`prompt`, `answer`, `expected`), each with n entries
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    source: str = "values in memory"  # file or files of the rows
    announced: int | None = None  # number of items that the tool evaluated by its own account, or None
    # (n,) names of the clusters of items that were drawn together, as questions on one text; empty, all of them, if
    # items are independent draws. All rows of an item have one cluster.
    cluster: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, dtype=str))

    def __post_init__(self) -> None:
        if not len(self.cluster):
            object.__setattr__(self, "cluster", np.full(len(self.item), ""))

    @classmethod
    def of(
        cls,
        rows: object,
        *,
        item: str = "item",
        score: str = "score",
        run: str | None = "run",
        group: str | None = "group",
        digest: str | None = "digest",
        texts: Mapping[str, str] | None = None,
        low: float = 0.0,
        high: float = 1.0,
        source: str = "values in memory",
        announced: int | None = None,
        cluster: str | None = None,
    ) -> Outcomes:
        """Return the outcomes in records or in a frame.

        Args:
            rows: a sequence of mappings, a mapping of columns, or a pandas or polars frame.
            item, score: names of the columns with the item's name and the score. Scores are numbers in low..high or
                booleans, which are the ends of the range; None and NaN are runs without a score.
            run, group, digest: names of further columns, used if they exist. Without `digest` the digest is that of the
                text `prompt`.
            texts: names of the columns with texts for reports, by `prompt`, `answer`, `expected`; by default the
                columns of these names.
            low, high: the range of every score.
            source: name of the origin, for messages and reports.
            announced: number of items that the tool evaluated by its own account.
            cluster: name of the column with the clusters of items that were drawn together; by default "cluster", if
                there is one.

        Raises:
            ConfigError: the range is empty.
            UnknownNameError: there is no column of the name that was given for clusters.
            DataError: a column is missing, a score is outside the range, a name contains NUL, an item has two groups,
                two clusters or two inputs, or no cluster where others have one, or one run of an item has two different
                rows.
        """
        require(low < high, "a range with low < high", (low, high))
        columns = _columns(rows, source)
        for name in (item, score):
            if name not in columns:
                have = ", ".join(sorted(columns)) or "none"
                mend = "Name it: item=, score=."
                if len(columns) == 1 and (sep := next((one for one in ";\t" if one in have), "")):
                    mend = f"Separate columns by commas, or use Outcomes.of(pandas.read_csv(path, sep={sep!r}))."
                raise DataError(f"Expected a column {name!r} in {source} but got the columns {have}. {mend}")
        n = len(columns[item])
        if n == 0:
            raise DataError(f"Expected at least one row but got none in {source}.")
        for place, value in enumerate(columns[item]):
            if _is_missing(value) or value == "":
                raise DataError(f"Expected names of items in {source} but row {place + 1} has none.")
            if isinstance(value, float) and np.isinf(value):  # 1e400 and 2e400 would be one item
                raise DataError(expected(f"names of items in {source}, row {place + 1}", value))
        if cluster is not None and cluster not in columns:
            raise unknown("column", cluster, columns)
        named = texts or {name: name for name in TEXTS}
        shown = {name: columns[column] for name, column in named.items() if column in columns}
        made = cls(
            item=_names(columns[item], f"names of items without NUL in {source}"),
            score=_scores(columns[score], low, high, source),
            run=_optional(columns, run, n, source),
            group=_optional(columns, group, n, source),
            digest=_optional(columns, digest, n, source),
            low=float(low),
            high=float(high),
            texts={name: tuple(_text(value) for value in values) for name, values in shown.items()},
            source=source,
            announced=announced,
            cluster=_optional(columns, "cluster" if cluster is None else cluster, n, source),
        )
        # A comparison of two files must notice that an item's input changed.
        if "prompt" in made.texts and not made.digest.astype(bool).any():
            made = replace(made, digest=np.array([digest_of(text) if text else "" for text in made.texts["prompt"]]))
        return made._checked()

    @classmethod
    def read(
        cls, path: str | PathLike[str] | Iterable[str | PathLike[str]], *, reader: str | None = None, **columns: Any
    ) -> Outcomes:
        """Return the outcomes in a file, or in several files of one evaluation.

        Args:
            path: a file, or several: the runs of one evaluation, or its parts.
            reader: name of the format: "jsonl", "csv", "parquet", "inspect", "lm-eval", "promptfoo", "junit",
                "label-studio" or one of a pack; by default it is recognised by suffix and content.
            **columns: for "jsonl", "csv" and "parquet" as for `of`; for tools `score=`, the name of the metric, needed
                if the file has several.

        Raises:
            ConfigError: no reader has this name.
            DataError: the file is missing, damaged, incomplete or of no known format; see `of`.
        """
        if hasattr(path, "columns") or not isinstance(path, (str, PathLike, Iterable)):
            raise DataError(expected("the path of a file of outcomes", path, "Rows at hand are Outcomes.of(rows)."))
        paths = [path] if isinstance(path, (str, PathLike)) else list(path)
        if not paths:
            raise DataError("Expected at least one file of outcomes but got none.")
        # Two runs that are one file agree in everything.
        real = [Path(one).resolve() for one in paths]
        if len(set(real)) < len(real):
            twice = next(one for place, one in enumerate(real) if one in real[:place])
            raise DataError(f"Expected different files of outcomes but {twice} is there twice.")
        return joined([read_file(Path(one), reader, columns) for one in paths])

    @cached_property
    def items(self) -> Items:
        """One entry for each item, sorted by name."""
        names, first, place = np.unique(self.item, return_index=True, return_inverse=True)
        share = (self.score - self.low) / (self.high - self.low)
        scored = ~np.isnan(share)
        runs = np.bincount(place[scored], minlength=len(names))
        total = np.bincount(place[scored], weights=share[scored], minlength=len(names))
        # The sum of the squares of counts of equal scores: pairs of runs of one item that agree, for the flip rate.
        keys = np.stack([place[scored].astype(np.float64), share[scored]], 1)
        values, sizes = np.unique(keys, axis=0, return_counts=True)
        equal = np.bincount(values[:, 0].astype(int), weights=sizes * (sizes - 1), minlength=len(names))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(runs > 0, total / np.maximum(runs, 1), np.nan)
            pairs = runs * (runs - 1)
            # Share of the pairs of different runs whose scores differ.
            flips = np.where(pairs > 0, 1 - equal / np.maximum(pairs, 1), np.nan)
        return Items(
            name=names,
            mean=np.clip(mean, 0.0, 1.0),
            runs=runs,
            planned=np.bincount(place, minlength=len(names)),
            flips=flips,
            group=self.group[first],
            digest=self.digest[first],
            first=first,
            cluster=self.cluster[first],
        )

    @property
    def binary(self) -> bool:
        """True if every score is at an end of the range: right or wrong."""
        scored = self.score[~np.isnan(self.score)]
        return bool(np.isin(scored, (self.low, self.high)).all())

    @property
    def copied(self) -> bool:
        """True if items have several runs without names, and each such row has an equal one, with equal texts."""
        _, place, count = np.unique(self.item, return_inverse=True, return_counts=True)
        rows = np.flatnonzero((count[place] > 1) & (self.run == ""))
        columns = [self.texts[name] for name in sorted(self.texts)]
        seen = Counter((place[i], repr(self.score[i]), *(texts[i] for texts in columns)) for i in rows.tolist())
        return bool(seen) and min(seen.values()) > 1

    def content(self) -> str:
        """Return a digest of items, scores, groups and inputs, independent of the order of the rows."""
        # The order of rows in a file has no meaning.
        rows = sorted(zip(self.item, self.run, self.score.tolist(), self.group, self.digest, strict=True))
        return hashlib.sha256(repr([(self.low, self.high), *map(tuple, rows)]).encode()).hexdigest()

    def _checked(self) -> Outcomes:
        # Rows without a name of their run are different runs, even if they are equal.
        named = self.run != ""
        # NumPy drops a NUL at the end of a text, which would make one run of "q1", "12" and of "q11", "2".
        key = np.char.add(np.char.add(self.item.astype(str), "\0/"), self.run.astype(str))
        _, first, place = np.unique(key, return_index=True, return_inverse=True)
        repeated = np.ones(len(key), dtype=bool)
        repeated[first] = False
        repeated &= named
        original = first[place]
        same = (self.score == self.score[original]) | (np.isnan(self.score) & np.isnan(self.score[original]))
        wrong = np.flatnonzero(repeated & ~same)
        if len(wrong):
            at = int(wrong[0])
            raise DataError(
                f"Expected one score for each run but got {self.score[original[at]]:g} and {self.score[at]:g} for "
                f"item {str(self.item[at])!r}, run {str(self.run[at])!r}, in {self.source}. Give runs different names."
            )
        without = np.flatnonzero(self.cluster == "")
        if 0 < len(without) < len(self.cluster):
            mend = "An item drawn alone is a cluster of its own: give it an id that no other has."
            item = str(self.item[without[0]])
            raise DataError(f"Expected a cluster for each item in {self.source} but item {item!r} has none. {mend}")
        for what, values in (("group", self.group), ("input", self.digest), ("cluster", self.cluster)):
            order = np.argsort(self.item, kind="stable")
            same_item = self.item[order][1:] == self.item[order][:-1]
            differs = np.flatnonzero(same_item & (values[order][1:] != values[order][:-1]))
            if len(differs):
                at = order[differs[0] + 1]
                raise DataError(
                    f"Expected one {what} for each item but item {str(self.item[at])!r} in {self.source} has several. "
                    "Name the items so that equal names are the same item."
                )
        return self if not repeated.any() else self.rows(np.flatnonzero(~repeated))

    def clustered(self, cluster: object) -> Outcomes:
        """Return the outcomes with the clusters of their items.

        Args:
            cluster: an id for each row, in their order; "group", for the groups; or a function from the name of an item
                to the id of its cluster. None for those that the outcomes have, if any.

        Raises:
            ConfigError: it is none of these.
            DataError: an id is missing, or an item has several.
        """
        named = cluster if isinstance(cluster, str) else ""
        if cluster is None or named == "cluster":
            if cluster is not None and not (self.cluster != "").all():
                raise ConfigError(f"Expected {self.source} to have clusters but it has none. {_CLUSTER_MEND}")
            return self
        if named == "group" and not (self.group == "").any():
            return replace(self, cluster=self.group)._checked()
        if callable(cluster):
            ids = {name: cluster(name) for name in np.unique(self.item).tolist()}
            given = [ids[name] for name in self.item.tolist()]
        elif isinstance(cluster, Iterable) and not isinstance(cluster, (str, bytes, Mapping)):
            given = ids_of(cluster)
        else:
            raise ConfigError(
                expected(
                    'cluster= to be an id for each row, "group", or a function of an item\'s name',
                    cluster,
                    _CLUSTER_MEND,
                )
            )
        numbered(given, len(self.item), "row")
        # By their texts, so that outcomes which are compared have the same names of clusters.
        return replace(
            self, cluster=_names([str(one) for one in given], f"a cluster without NUL in {self.source}")
        )._checked()

    def rows(self, keep: NDArray[np.int64]) -> Outcomes:
        return replace(
            self,
            cluster=self.cluster[keep],
            item=self.item[keep],
            score=self.score[keep],
            run=self.run[keep],
            group=self.group[keep],
            digest=self.digest[keep],
            texts={name: tuple(values[i] for i in keep.tolist()) for name, values in self.texts.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """One entry for each item, sorted by name; arrays of length m."""

    name: NDArray[np.str_]
    mean: NDArray[np.float64]  # mean score over the scored runs, scaled to 0..1; NaN without one
    runs: NDArray[np.int64]  # number of runs with a score
    planned: NDArray[np.int64]  # number of rows, with or without a score
    # share of pairs of runs whose scores differ, in 0..1; NaN with fewer than two scored runs
    flips: NDArray[np.float64]
    group: NDArray[np.str_]
    digest: NDArray[np.str_]
    first: NDArray[np.int64]  # a row of each item
    cluster: NDArray[np.str_]  # all empty if items are independent draws


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Return the rows of all parts: runs of the same items, or parts of one evaluation.

    Raises:
        DataError: the parts have different ranges of scores, or contradict each other.
    """
    if len(parts) == 1:
        return parts[0]
    if len({(one.low, one.high) for one in parts}) > 1:
        raise DataError(expected("files with one range of scores", [(one.low, one.high) for one in parts]))
    # Runs without a name that are in different files are different runs.
    runs = [
        np.array([run or f"file {place}" if len(set(one.item)) == len(one.item) else run for run in one.run])
        for place, one in enumerate(parts)
    ]
    names = [name for name in TEXTS if any(name in one.texts for one in parts)]
    texts = {name: tuple(t for one in parts for t in one.texts.get(name, [""] * len(one.item))) for name in names}
    announced = [one.announced for one in parts if one.announced is not None]
    return Outcomes(
        item=np.concatenate([one.item for one in parts]),
        score=np.concatenate([one.score for one in parts]),
        run=np.concatenate(runs),
        group=np.concatenate([one.group for one in parts]),
        digest=np.concatenate([one.digest for one in parts]),
        low=parts[0].low,
        high=parts[0].high,
        texts=texts,
        source=", ".join(one.source for one in parts),
        announced=max(announced) if announced else None,
        cluster=np.concatenate([one.cluster for one in parts]),
    )._checked()


def records(items: object) -> list[Any]:
    """Return the items of a sequence, or the records of a frame or a mapping of columns.

    Raises:
        ConfigError: they are neither.
    """
    if hasattr(items, "columns") or isinstance(items, Mapping):
        columns = _columns(items, "items")
        names = list(columns)
        return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if isinstance(items, Iterable) and not isinstance(items, (str, bytes)):
        return list(items)
    raise ConfigError(expected("items to be a sequence, a mapping of columns or a frame", items))


def digest_of(text: str) -> str:
    """Return a short digest of an item's input."""
    # Texts from JSON may contain lone surrogates.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _columns(rows: object, source: str) -> dict[str, Sequence[Any]]:
    if hasattr(rows, "columns") and hasattr(rows, "__getitem__"):  # pandas and polars
        return {str(name): rows[name].to_list() for name in rows.columns}
    if isinstance(rows, Mapping):
        columns: dict[str, Sequence[Any]] = {str(name): list(values) for name, values in rows.items()}
        lengths = {len(values) for values in columns.values()}
        if len(lengths) > 1:
            raise DataError(expected(f"columns of one length in {source}", {k: len(v) for k, v in columns.items()}))
        return columns
    if isinstance(rows, Iterable) and not isinstance(rows, (str, bytes)):
        records = list(rows)
        wrong = next((one for one in records if not isinstance(one, Mapping)), None)
        if wrong is None:
            names = {str(name) for one in records for name in one}
            return {name: [one.get(name) for one in records] for name in names}
        rows = wrong
    raise DataError(expected(f"records, columns or a frame in {source}", rows))


def _optional(columns: Mapping[str, Sequence[Any]], name: str | None, n: int, source: str) -> NDArray[np.str_]:
    """Return a column of names; missing values are empty."""
    if name is None or name not in columns:
        return np.full(n, "")
    values = columns[name]
    return _names(["" if _is_missing(one) else one for one in values], f"a {name} without NUL in {source}")


def _names(values: Sequence[Any], what: str) -> NDArray[np.str_]:
    """Return values as an array of text.

    Raises:
        DataError: a name contains NUL, which arrays of text drop at the end: two names would be one.
    """
    names = [_text(value) for value in values]
    for place, name in enumerate(names):
        if "\0" in name:
            raise DataError(expected(f"{what}, row {place + 1}", values[place]))
        # Every row of an array of text takes the room of its longest one.
        if len(name) > _LONGEST:
            names[place] = f"{name[:_LONGEST]}... {digest_of(name)}"
    return np.array(names)


def _is_missing(value: object) -> bool:
    if value is None or isinstance(value, str):
        return value is None
    if isinstance(value, (float, np.floating)):
        return bool(value != value)  # noqa: PLR0124 - NaN
    return type(value).__name__ in ("NAType", "NaTType")  # those of pandas


def _text(value: object) -> str:
    # 3 and 3.0 are one name: readers of CSV and JSON differ in the type of whole numbers.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def _scores(values: Sequence[Any], low: float, high: float, source: str) -> NDArray[np.float64]:
    """Return scores as float64, None as NaN; raise DataError outside the range."""
    numbers = []
    for row, value in enumerate(values, 1):
        try:
            numbers.append(np.nan if _is_missing(value) else _number(value, low, high))
        except (TypeError, ValueError, OverflowError):
            mend = "Write 1 for a right answer and 0 for a wrong one."
            raise DataError(expected(f"numbers or booleans as scores in {source}, row {row}", value, mend)) from None
    found = np.array(numbers, dtype=np.float64)
    outside = np.flatnonzero((found < low) | (found > high) | np.isinf(found))
    if len(outside):
        mend = "Give the range of the scores: low=, high=."
        raise DataError(
            expected(
                f"scores in {low:g}..{high:g} in {source}, row {int(outside[0]) + 1}", float(found[outside[0]]), mend
            )
        )
    return found


def _number(value: Any, low: float, high: float) -> float:
    # In any range, False is the worst score and True the best.
    if isinstance(value, (bool, np.bool_)):
        return high if value else low
    if isinstance(value, str):
        word = value.strip().lower()
        # CSV has no types: booleans and numbers are texts there.
        if word in ("true", "false"):
            return high if word == "true" else low
        if "_" in word:  # Python reads "0_1" as 1
            raise ValueError(word)
        return float(word) if word else np.nan
    return float(value)


# ---- readers
#
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

Reader = Callable[[Path, Mapping[str, Any]], Outcomes]
"""Function from a file and the keywords of `Outcomes.read` to its outcomes."""

LARGEST = 1 << 31
"""Largest size in bytes of a file, and of a member of an archive: a small archive may unpack to any size."""


def read_file(path: Path, reader: str | None, options: Mapping[str, Any]) -> Outcomes:
    """Return the outcomes in one file; see `Outcomes.read`."""
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


_SUFFIXES = {
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    ".eval": "inspect",
    ".jsonl": "jsonl",
    ".xml": "junit",
}


def _recognised(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix == ".jsonl" and path.name.startswith("samples_"):  # as lm-evaluation-harness names its files
        return "lm-eval"
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
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
            require(len(set(names)) >= len(names), f"columns of different names in {path}", names, error=DataError)
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
        raise not_installed("pyarrow to read Parquet", "outcomes") from None
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
    names = sorted(have)
    if wrong := sorted(set(options) - {"score"}):
        raise ConfigError(f"Expected score= alone for the files of this tool but got {', '.join(wrong)}.")
    chosen = options.get("score", names[0] if len(names) == 1 else None)
    if chosen in names:
        return str(chosen)
    got = "none is named" if chosen is None else f"score={chosen!r}"
    raise ConfigError(f"Expected score= to be one of {', '.join(names) or 'no metric at all'} in {path} but {got}.")


def _lm_eval(path: Path, options: Mapping[str, Any]) -> Outcomes:
    """Read the samples of one task (format of 0.4.13)."""
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
        raise DataError(
            f"Expected a whole log of Inspect but {name} in {path} is damaged. Copy or run it again."
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
        chosen = options.get(key, there[0] if len(there) == 1 else None)
        if there and chosen not in there:
            raise ConfigError(
                f"Expected {key}= to be one of {', '.join(map(repr, there))} in {path} but got {chosen!r}."
            )
        results = [one for one in results if of(one) == chosen]
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
    total = sum(stats.get(key, 0) for key in ("successes", "failures", "errors") if isinstance(stats.get(key, 0), int))
    have = len(data["results"]["results"])
    # An interrupted evaluation leaves a file with fewer results than its statistics count.
    if total and total != have:
        raise DataError(f"Expected {total} results in {path}, as its statistics say, but got {have}: it is not whole.")
    return outcomes


def _provider(result: Mapping[str, Any]) -> str:
    provider = result.get("provider")
    return str(provider.get("label") or provider.get("id")) if isinstance(provider, dict) else str(provider)


def _junit(path: Path, options: Mapping[str, Any]) -> Outcomes:
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
        announced = suite.get("tests") or ""
        if announced.isdigit() and int(announced) > len(cases) and not suite.findall("testsuite"):
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
