"""Recorded outcomes: scores of items that another tool measured, read from its files."""

# An item is the unit of a claim: a prompt, an image, a simulated scene. Several runs of one item are one cluster. Its
# mean score is one observation, because runs of the same item are not independent draws of items; the differences
# between its runs are reported, and never counted as a larger sample.
#
# Files are read whole or not at all: a damaged line is an error with its number. Rows in another order, or a repeated
# row, give the same verdict, because items are sorted by their names and identical rows of one run are merged.

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.errors import ConfigError, DataError, expected

TEXTS = ("prompt", "answer", "expected")
"""Texts of a row that reports show, in this order."""

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

        Raises:
            ConfigError: the range is empty.
            DataError: a column is missing, a score is outside the range, a name contains NUL, an item has two groups or
                two inputs, or one run of an item has two different rows.
        """
        if not low < high:
            raise ConfigError(expected("a range with low < high", (low, high)))
        columns = _columns(rows, source)
        for name in (item, score):
            if name not in columns:
                have = ", ".join(sorted(columns)) or "none"
                raise DataError(
                    f"Expected a column {name!r} in {source} but got the columns {have}. Name it: item=, score=."
                )
        n = len(columns[item])
        if n == 0:
            raise DataError(f"Expected at least one row but got none in {source}.")
        for place, value in enumerate(columns[item]):
            if _is_missing(value) or value == "":
                raise DataError(f"Expected names of items in {source} but row {place + 1} has none.")
            if isinstance(value, float) and np.isinf(value):  # 1e400 and 2e400 would be one item
                raise DataError(expected(f"names of items in {source}, row {place + 1}", value))
        shown = {
            name: columns[column]
            for name, column in (texts or dict(zip(TEXTS, TEXTS, strict=True))).items()
            if column in columns
        }
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
        )
        # A comparison of two files must notice that an item's input changed.
        if "prompt" in made.texts and not made.digest.astype(bool).any():
            made = replace(made, digest=np.array([digest_of(text) for text in made.texts["prompt"]]))
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
        from robustest.data.outcome_files import read_file

        paths = [path] if isinstance(path, (str, PathLike)) else list(path)
        if not paths:
            raise DataError("Expected at least one file of outcomes but got none.")
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
        order = np.lexsort((share[scored], place[scored]))
        keys = np.stack([place[scored][order].astype(np.float64), share[scored][order]], 1)
        cut = np.flatnonzero(np.any(np.diff(keys, axis=0) != 0, axis=1)) + 1 if len(keys) else np.array([], dtype=int)
        starts = np.concatenate([[0], cut]).astype(int) if len(keys) else np.array([], dtype=int)
        sizes = np.diff(np.concatenate([starts, [len(keys)]])) if len(keys) else np.array([], dtype=int)
        equal = (
            np.bincount(keys[starts, 0].astype(int), weights=sizes * (sizes - 1), minlength=len(names))
            if len(keys)
            else np.zeros(len(names))
        )
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
        """Merge repeated rows, and raise DataError for contradictions."""
        # Rows without a name of their run are different runs, even if they are equal.
        named = self.run != ""
        key = np.char.add(np.char.add(self.item.astype(str), "\0"), self.run.astype(str))
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
        for what, values in (("group", self.group), ("input", self.digest)):
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

    def rows(self, keep: NDArray[np.int64]) -> Outcomes:
        return replace(
            self,
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
    """Return the columns of records, of a mapping of columns, or of a frame."""
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
    """Return scores as float64; None becomes NaN.

    Raises:
        DataError: a score is neither a number nor a boolean, or outside the range.
    """
    numbers = []
    for row, value in enumerate(values, 1):
        try:
            numbers.append(np.nan if _is_missing(value) else _number(value, low, high))
        except (TypeError, ValueError, OverflowError):
            raise DataError(expected(f"numbers or booleans as scores in {source}, row {row}", value)) from None
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
