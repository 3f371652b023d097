"""Recorded outcomes: scores of items that another tool measured, and readers of its files."""

# An item is the unit of a claim: a prompt, an image, a simulated scene. Several runs of one item are one cluster. Its
# mean score is one observation, because runs of the same item are not independent draws of items; the differences
# between its runs are reported, and never counted as a larger sample.
#
# Files are read whole or not at all: a damaged line is an error with its number. Rows in another order, or a repeated
# row, give the same verdict, because items are sorted by their names and identical rows of one run are merged.

from __future__ import annotations

import difflib
import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from robustest import extensions
from robustest.data.ids import ids_of, numbered
from robustest.data.readers import READERS, recognised
from robustest.data.readers.document import Document
from robustest.data.readers.names import digest_of as digest_of
from robustest.data.readers.remedies import DROPPED, Keywords, Mendable, remedied, source_of
from robustest.data.readers.rows import ROWS
from robustest.data.readers.table import Columns, Table, check_keywords, column, columns_of, leaves, right_first
from robustest.errors import ConfigError, DataError, PackError, RobustestError, UnknownNameError, expected, unknown

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
        item: str | None = "item",
        score: str = "score",
        run: str | None = "run",
        group: str | None = "group",
        digest: str | None = "digest",
        texts: Mapping[str, str] | None = None,
        low: float = 0.0,
        high: float = 1.0,
        correct: object = None,
        decimal: str | None = None,
        source: str = "values in memory",
        announced: int | None = None,
        cluster: str | None = None,
    ) -> Outcomes:
        """Return the outcomes in records or in a frame.

        Columns inside of mappings are named by their path: `score="data.correct"`.

        Args:
            rows: a sequence of mappings, a mapping of columns, or a pandas or polars frame.
            item, score: names of the columns with the item's name and the score. With `item=None` each row is an item
                of its own, named by its number. Scores are numbers in low..high or booleans, which are the ends of the
                range, as are 0% and 100%, 0/5 and 5/5; None and NaN are runs without a score.
            run, group, digest: names of further columns, used if they exist; None for none. Without `digest` the digest
                is that of the text `prompt`.
            texts: names of the columns with texts for reports, by `prompt`, `answer`, `expected`; by default the
                columns of these names.
            low, high: the range of every score.
            correct: the value of a right score, such as "pass", for scores that are words; every other one is wrong.
            decimal: "," or ".", the sign of decimals in scores that are text; by default the one that they agree with.
            source: name of the origin, for messages and reports.
            announced: number of items that the tool evaluated by its own account.
            cluster: name of the column with the clusters of items that were drawn together; by default "cluster", if
                there is one.

        Raises:
            ConfigError: the range is empty.
            UnknownNameError: there is no column of the name that was given for clusters.
            DataError: a column is missing, a score is outside the range, a name contains NUL, an item has two groups,
                two clusters or two inputs, or no cluster where others have one, or one run of an item has two different
                rows. The message ends with a call that works, if there is one.
        """
        defaults = _DEFAULTS | {"source": "values in memory"}
        given = {
            name: value
            for name, value in (
                ("item", item), ("score", score), ("run", run), ("group", group), ("digest", digest), ("texts", texts),
                ("low", low), ("high", high), ("correct", correct), ("decimal", decimal), ("source", source),
                ("announced", announced), ("cluster", cluster),
            )
            if value is not defaults[name] and value != defaults[name]
        }  # fmt: skip
        columns = _columns(rows, source)
        return remedied(
            lambda keywords: cls._of(columns, keywords), given, lambda works: source_of("Outcomes.of", "rows", works)
        )

    @classmethod
    def _of(cls, columns: Columns, keywords: Keywords) -> Outcomes:
        """Return the outcomes in columns; raises `Mendable` for what other keywords may mend."""
        given = _DEFAULTS | dict(keywords)
        source, low, high = given["source"], given["low"], given["high"]
        for name in ("item", "score", "run", "group", "digest", "cluster"):
            if given[name] is not None and not isinstance(given[name], str):
                raise Mendable(
                    ConfigError(expected(f"{name}= to be the name of a column", given[name])), {name: DROPPED}
                )
        if not all(isinstance(one, (int, float)) and math.isfinite(one) for one in (low, high)):
            mend = {"low": DROPPED, "high": DROPPED}
            raise Mendable(ConfigError(expected("low= and high= to be finite numbers", (low, high))), mend)
        if not low < high:
            raise Mendable(
                ConfigError(expected("a range with low < high", (low, high))),
                {"low": DROPPED, "high": DROPPED},
                {"low": high, "high": low},
            )
        n = max(map(len, columns.values()), default=0)
        if n == 0:
            raise Mendable(DataError(f"Expected at least one row but got none in {source}."))
        names = _column(columns, given["item"], "item", source) if given["item"] else [f"row {i + 1}" for i in range(n)]
        for place, value in enumerate(names):
            if _is_missing(value) or value == "":
                raise Mendable(
                    DataError(f"Expected names of items in {source} but row {place + 1} has none."),
                    *({"item": name} for name in [*likely_items(columns), None] if name != given["item"]),
                )
            if isinstance(value, float) and np.isinf(value):  # 1e400 and 2e400 would be one item
                raise Mendable(DataError(expected(f"names of items in {source}, row {place + 1}", value)))
        cluster = given["cluster"]
        if cluster is not None and column(columns, cluster) is None:
            near = difflib.get_close_matches(cluster, list(columns), n=1)
            raise Mendable(unknown("column", cluster, columns), *({"cluster": name} for name in [*near, DROPPED]))
        named = given["texts"] or {name: name for name in TEXTS}
        shown = {name: found for name, at in named.items() if (found := column(columns, at)) is not None}
        scores = _column(columns, given["score"], "score", source)
        try:
            made = cls(
                item=_names(names, f"names of items without NUL in {source}"),
                score=_scores(scores, given, columns),
                run=_optional(columns, given["run"], n, source),
                group=_optional(columns, given["group"], n, source),
                digest=_optional(columns, given["digest"], n, source),
                low=float(low),
                high=float(high),
                texts={name: tuple(_text(value) for value in values) for name, values in shown.items()},
                source=source,
                announced=given["announced"],
                cluster=_optional(columns, "cluster" if cluster is None else cluster, n, source),
            )
        except DataError as error:
            raise Mendable(error) from None
        # A comparison of two files must notice that an item's input changed.
        if "prompt" in made.texts and not made.digest.astype(bool).any():
            made = replace(made, digest=np.array([digest_of(text) if text else "" for text in made.texts["prompt"]]))
        if (problem := made._contradiction()) is not None:
            raise problem
        return made._checked()

    @classmethod
    def read(cls, path: object, *, reader: str | None = None, planned: int | None = None, **columns: Any) -> Outcomes:
        """Return the outcomes in a file, or in several files of one evaluation.

        Args:
            path: a file, or several: the runs of one evaluation, or its parts. Rows at hand are read as by `of`.
            reader: name of the format, such as "inspect" or "csv", or one of a pack; by default it is recognised by
                content. docs/outcomes.md has the list.
            planned: number of items that the evaluation was to have. Of a file that is cut off, or of an evaluation
                that did not end, the whole rows are read, and the items that are absent have no score.
            **columns: keywords of `of`. For files of tools `score=` is the name of the metric, needed if the file has
                several. Of files of rows also `encoding=`, `sep=`, the separator of a table, and `rows=`, the path of
                the rows in a JSON document; "*" there makes what a mapping holds by name into rows.

        Raises:
            ConfigError: no reader has this name, or none takes a keyword.
            DataError: the file is missing, damaged, incomplete or of no known format; see `of`. The message ends with a
                call that works, if there is one.
        """
        if hasattr(path, "columns") or isinstance(path, Mapping):
            return _planned(cls.of(path, **columns), planned, "rows", columns)
        if not isinstance(path, (str, PathLike, Iterable)) or isinstance(path, bytes):
            raise DataError(expected("the path of a file of outcomes", path, "Rows at hand are Outcomes.of(rows)."))
        paths = [path] if isinstance(path, (str, PathLike)) else list(path)
        if not paths:
            raise DataError("Expected at least one file of outcomes, or one row, but got none.")
        if all(isinstance(one, Mapping) for one in paths):
            return _planned(cls.of(paths, **columns), planned, "rows", columns)
        if wrong := [one for one in paths if not isinstance(one, (str, PathLike))]:
            raise DataError(expected("paths of files of outcomes, or rows as mappings", wrong[0]))
        # Two runs that are one file agree in everything.
        real = [Path(one).resolve() for one in paths]
        if len(set(real)) < len(real):
            twice = next(one for place, one in enumerate(real) if one in real[:place])
            raise DataError(
                f"Expected different files of outcomes but {twice} is there twice. Name each once: "
                f"{source_of('Outcomes.read', repr([str(one) for one in dict.fromkeys(paths)]), columns)}"
            )
        if len(paths) == 1:
            return read_file(Path(paths[0]), reader, columns if planned is None else {**columns, "planned": planned})
        tolerant = {} if planned is None else {"planned": _LATER}
        parts = [read_file(Path(one), reader, {**columns, **tolerant}) for one in paths]
        return _planned(joined(parts), planned, repr([str(one) for one in paths]), columns)

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

    def _repeated(self) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return which rows have the item and the named run of an earlier row, and the first such row of each (n,)."""
        # Rows without a name of their run are different runs, even if they are equal.
        # NumPy drops a NUL at the end of a text, which would make one run of "q1", "12" and of "q11", "2".
        key = np.char.add(np.char.add(self.item.astype(str), "\0/"), self.run.astype(str))
        _, first, place = np.unique(key, return_index=True, return_inverse=True)
        repeated = np.ones(len(key), dtype=bool)
        repeated[first] = False
        return repeated & (self.run != ""), first[place]

    def _contradiction(self) -> Mendable | None:
        """Return the first contradiction between rows, or None."""
        repeated, original = self._repeated()
        same = (self.score == self.score[original]) | (np.isnan(self.score) & np.isnan(self.score[original]))
        wrong = np.flatnonzero(repeated & ~same)
        if len(wrong):
            at = int(wrong[0])
            return Mendable(
                DataError(
                    f"Expected one score for each run but got {self.score[original[at]]:g} and {self.score[at]:g} for "
                    f"item {str(self.item[at])!r}, run {str(self.run[at])!r}, in {self.source}. Give runs different "
                    "names; without names, each row is a run."
                ),
                {"run": None},
            )
        without = np.flatnonzero(self.cluster == "")
        if 0 < len(without) < len(self.cluster):
            mend = "An item drawn alone is a cluster of its own: give it an id that no other has."
            item = str(self.item[without[0]])
            return Mendable(
                DataError(f"Expected a cluster for each item in {self.source} but item {item!r} has none. {mend}")
            )
        mends: dict[str, tuple[Keywords, ...]] = {
            "group": ({"group": None},),
            "input": ({"item": "prompt"}, {"item": "digest"}, {"digest": None}),
            "cluster": (),
        }
        for what, values in (("group", self.group), ("input", self.digest), ("cluster", self.cluster)):
            order = np.argsort(self.item, kind="stable")
            same_item = self.item[order][1:] == self.item[order][:-1]
            differs = np.flatnonzero(same_item & (values[order][1:] != values[order][:-1]))
            if len(differs):
                at = order[differs[0] + 1]
                return Mendable(
                    DataError(
                        f"Expected one {what} for each item but item {str(self.item[at])!r} in {self.source} has "
                        "several. Name the items so that equal names are the same item."
                    ),
                    *mends[what],
                )
        return None

    def _checked(self) -> Outcomes:
        """Return the outcomes without rows that are there twice; raise DataError if rows contradict each other."""
        if (problem := self._contradiction()) is not None:
            raise problem.error
        repeated, _ = self._repeated()
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


def _columns(rows: object, source: str) -> Columns:
    if hasattr(rows, "columns") and hasattr(rows, "__getitem__"):  # pandas and polars
        return {str(name): rows[name].to_list() for name in rows.columns}
    if isinstance(rows, Mapping):
        columns: Columns = {str(name): list(values) for name, values in rows.items()}
        lengths = {len(values) for values in columns.values()}
        if len(lengths) > 1:
            raise DataError(expected(f"columns of one length in {source}", {k: len(v) for k, v in columns.items()}))
        return columns
    if isinstance(rows, Iterable) and not isinstance(rows, (str, bytes)):
        records = list(rows)
        wrong = next((one for one in records if not isinstance(one, Mapping)), None)
        if wrong is None:
            return columns_of(records)
        rows = wrong
    raise DataError(expected(f"records, columns or a frame in {source}", rows))


def _optional(columns: Mapping[str, Sequence[Any]], name: str | None, n: int, source: str) -> NDArray[np.str_]:
    """Return a column of names; missing values are empty."""
    values = None if name is None else column(columns, name)
    if values is None:
        return np.full(n, "")
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


def _column(columns: Columns, name: str, what: str, source: str) -> Sequence[Any]:
    """Return the column of items or of scores; raises `Mendable` with the columns that may be meant."""
    found = column(columns, name)
    if found is not None:
        return found
    have = leaves(columns)
    listed = ", ".join(name or "one without a name" for name in sorted(have)[:40]) or "none"
    likely: Sequence[str | None] = [*likely_items(columns), None] if what == "item" else likely_scores(columns)
    raise Mendable(
        DataError(f"Expected a column {name!r} in {source} but got the columns {listed}. Name it: {what}=."),
        *({what: one} for one in likely),
    )


_ITEMS = [
    "id",
    "itemid",
    "sampleid",
    "docid",
    "taskid",
    "caseid",
    "testid",
    "qid",
    "questionid",
    "exampleid",
    "problemid",
    "instanceid",
    "queryid",
    "promptid",
    "uid",
    "uuid",
    "key",
    "item",
    "sample",
    "example",
    "case",
    "test",
    "testcase",
    "task",
    "doc",
    "problem",
    "instance",
    "name",
    "title",
    "prompt",
    "question",
    "query",
    "input",
    "inputs",
    "userinput",
    "instruction",
    "text",
    "url",
    "file",
    "filename",
    "path",
    "image",
    "scene",
    "episode",
    "seed",
    "index",
    "idx",
    "no",
    "nr",
    "number",
]
_SCORES = [
    "score",
    "correct",
    "iscorrect",
    "passed",
    "pass",
    "ispass",
    "success",
    "successful",
    "right",
    "ok",
    "accuracy",
    "acc",
    "exactmatch",
    "em",
    "match",
    "f1",
    "resolved",
    "solved",
    "hit",
    "grade",
    "rating",
    "points",
    "mark",
    "quality",
    "result",
    "outcome",
    "verdict",
    "status",
    "label",
    "judgment",
    "judgement",
    "value",
    "reward",
    "metric",
]
"""Names of columns of items and of scores in files of others, in small letters without signs, the most likely first."""

# Columns that a remedy tries.
_CANDIDATES = 8


def likely_items(columns: Columns) -> list[str]:
    """Return the columns that may name the items, the most likely first.

    A column of a usual name has a value without a fraction in each row; one of another name has texts that all differ.
    """
    have = {name: values for name, values in leaves(columns).items() if all(map(_may_name, values))}
    differ = {
        name
        for name, values in have.items()
        if len(set(map(str, values))) == len(values) and not all(map(_is_number, values))
    }
    scores = likely_scores(columns)[:1]
    names = [name for name in have if name not in scores and (name in differ or _place(name, _ITEMS) < 2 * len(_ITEMS))]
    return _by_names(names, _ITEMS)


def likely_scores(columns: Columns) -> list[str]:
    """Return the columns that may be scores, the most likely first: numbers, booleans, or a few words."""
    have = {
        name: values
        for name, values in leaves(columns).items()
        if (_place(name, _ITEMS) >= len(_ITEMS) or _place(name, _SCORES) < len(_SCORES)) and _may_score(name, values)
    }
    return _by_names(sorted(have, key=lambda name: not all(map(_is_number, have[name]))), _SCORES)


def _by_names(names: Iterable[str], known: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: _place(name, known))[:_CANDIDATES]


def _place(name: str, known: Sequence[str]) -> int:
    """Return the place of a column's name among the usual ones: behind them all those that only contain one."""
    bare = re.sub(r"[^a-z0-9]", "", name.rpartition(".")[2].lower())
    if bare in known:
        return known.index(bare)
    # Short names are parts of too many words.
    return len(known) + next((i for i, one in enumerate(known) if len(one) > 2 and one in bare), len(known))


def _may_name(value: object) -> bool:
    if _is_missing(value) or value == "" or isinstance(value, (list, dict, bool)):
        return False
    return not isinstance(value, float) or value.is_integer()


def _is_number(value: object) -> bool:
    try:
        _number(value, 0.0, 1.0)
    except (TypeError, ValueError, OverflowError):
        return _is_missing(value)
    return True


def _may_score(name: str, values: Sequence[Any]) -> bool:
    there = [one for one in values if not _is_missing(one) and one != ""]
    if not all(isinstance(one, str) for one in there):
        return all(isinstance(one, (bool, int, float, np.generic)) for one in there)
    if not there or all(map(_is_number, there)):
        return bool(there)
    words = len(set(there))
    return words <= _WORDS and (words < len(there) or _place(name, _SCORES) < len(_SCORES))


# The most words that may be scores.
_WORDS = 12


def _scores(values: Sequence[Any], given: Mapping[str, Any], columns: Columns) -> NDArray[np.float64]:
    """Return scores as float64, None as NaN; raise `Mendable` for other values and outside of the range."""
    low, high, source = given["low"], given["high"], given["source"]
    if given["correct"] is not None:
        right = _text(given["correct"])
        if not any(_text(one) == right for one in values):
            there = sorted({_text(one) for one in values if not _is_missing(one)})[:8]
            raise Mendable(
                ConfigError(expected(f"correct= to be a value of the scores in {source}, such as {there}", right)),
                *({"correct": one} for one in there),
            )
        none = [_is_missing(one) or one == "" for one in values]
        numbers = [
            np.nan if missing else high if _text(one) == right else low
            for one, missing in zip(values, none, strict=True)
        ]
        return np.array(numbers, dtype=np.float64)
    decimal = given["decimal"] or _decimal(values, source)
    numbers = []
    for row, value in enumerate(values, 1):
        try:
            numbers.append(np.nan if _is_missing(value) else _number(value, low, high, decimal))
        except (TypeError, ValueError, OverflowError):
            if isinstance(value, Mapping):
                mends: list[Keywords] = [{"score": f"{given['score']}.{key}"} for key in value]
            elif isinstance(value, list):
                mends = [{"score": f"{given['score']}.0"}]
            else:
                words = {one for one in values if isinstance(one, str) and one}
                mends = [{"correct": one} for one in right_first(words)[:4]] if len(words) <= _WORDS else []
                mends += [{"score": one} for one in likely_scores(columns) if one != given["score"]]
            mend = "Write 1 for a right answer and 0 for a wrong one, or name the right one: correct=."
            raise Mendable(
                DataError(expected(f"numbers or booleans as scores in {source}, row {row}", value, mend)), *mends
            ) from None
    found = np.array(numbers, dtype=np.float64)
    outside = np.flatnonzero((found < low) | (found > high) | np.isinf(found))
    if len(outside):
        mend = "Give the range of the scores: low=, high=."
        raise Mendable(
            DataError(
                expected(
                    f"scores in {low:g}..{high:g} in {source}, row {int(outside[0]) + 1}",
                    float(found[outside[0]]),
                    mend,
                )
            ),
            *_ranges(found[[not _of_range(value) for value in values]]),
        )
    return found


def _of_range(value: object) -> bool:
    """Return True for a score that is a share of the range, whatever that is: true, false and percentages."""
    if isinstance(value, str):
        return value.strip().lower().endswith(("%", "true", "false")) or "/" in value
    return isinstance(value, (bool, np.bool_))


def _ranges(found: NDArray[np.float64]) -> list[Keywords]:
    """Return the ranges that scores may have: the smallest common scale that holds all, and their own extremes."""
    scored = found[~np.isnan(found)]
    if not len(scored) or np.isinf(scored).any():
        return []
    least, most = float(scored.min()), float(scored.max())
    scales = [(0, 1), (1, 3), (1, 5), (0, 5), (1, 7), (1, 10), (0, 10), (-1, 1), (0, 100), (-100, 100)]
    fitting = [{"low": low, "high": high} for low, high in scales if low <= least and most <= high]
    return [
        *fitting,
        {"low": math.floor(least), "high": math.floor(most) + (most % 1 > 0 or math.floor(least) == most)},
    ]


def _decimal(values: Sequence[Any], source: str) -> str:
    """Return the sign of decimals in scores that are text: a comma if all that have one agree with it."""
    texts = [one.strip() for one in values if isinstance(one, str) and "," in one]
    if not texts:
        return "."
    if all(re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?%?", one) for one in texts) and not any(
        re.fullmatch(r"[+-]?0,\d+%?", one) for one in texts
    ):
        raise Mendable(
            DataError(expected(f"one sign of decimals in the scores of {source}", texts[0], "Name it: decimal=.")),
            {"decimal": ","},
            {"decimal": "."},
        )
    return "," if all(one.count(",") == 1 and "." not in one.partition(",")[2] for one in texts) else "."


def _number(value: Any, low: float, high: float, decimal: str = ".") -> float:
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
        if word in ("nan", "none", "null", "na", "n/a", ""):
            return np.nan
        word = word.replace("," if decimal == "." else ".", "").replace(decimal, ".") if "," in word else word
        if word.endswith("%"):
            return low + (high - low) * float(word[:-1]) / 100
        if re.fullmatch(r"\d+ ?/ ?0*[1-9]\d*", word):  # 3/5
            right, of = map(int, word.split("/"))
            return low + (high - low) * right / of
        return float(word)
    return float(value)


def _completed(found: Outcomes, planned: object, absent: Sequence[str] = ()) -> Outcomes:
    """Return outcomes with the items that were planned and are absent, which have no score.

    Raises:
        Mendable: it is no whole number, or there are more items than were planned.
    """
    if planned is None or planned is _LATER:
        return found
    have = set(found.item.tolist())
    if not isinstance(planned, int) or isinstance(planned, bool):
        raise Mendable(ConfigError(expected("planned= to be a number of items", planned)), {"planned": len(have)})
    if planned < len(have):
        error = ConfigError(
            f"Expected planned= to be at least the {len(have)} items in {found.source} but got {planned}."
        )
        raise Mendable(error, {"planned": len(have)})
    names = [*absent, *(f"absent item {i + 1}" for i in range(planned))][: planned - len(have)]
    if not names:
        return found
    more, texts = len(names), {name: (*values, *[""] * len(names)) for name, values in found.texts.items()}
    empty = np.full(more, "")
    clustered = bool((found.cluster != "").any())
    return replace(
        found,
        item=np.concatenate([found.item, np.array(names)]),
        score=np.concatenate([found.score, np.full(more, np.nan)]),
        run=np.concatenate([found.run, empty]),
        group=np.concatenate([found.group, empty]),
        digest=np.concatenate([found.digest, empty]),
        # Nothing is known of the clusters of absent items: each is one of its own.
        cluster=np.concatenate([found.cluster, np.array(names) if clustered else empty]),
        texts=texts,
        announced=planned,
    )


def _planned(found: Outcomes, planned: int | None, subject: str, keywords: Keywords) -> Outcomes:
    """Return the outcomes of `Outcomes.read(subject, planned=, **keywords)` with the items that are absent."""
    return remedied(
        lambda given: _completed(found, given["planned"]),
        {"planned": planned},
        lambda works: source_of("Outcomes.read", subject, {**keywords, **works}),
    )


# ---- files

Reader = Callable[[Path, Mapping[str, Any]], Outcomes]
"""Reader of a pack: function from a file and the keywords of `Outcomes.read` to its outcomes."""

_DEFAULTS: Final[dict[str, Any]] = {
    "item": "item",
    "score": "score",
    "run": "run",
    "group": "group",
    "digest": "digest",
    "texts": None,
    "low": 0.0,
    "high": 1.0,
    "correct": None,
    "decimal": None,
    "source": "values in memory",
    "announced": None,
    "cluster": None,
}
"""Keywords of `Outcomes.of`."""

_OF_FILES = ("reader", "planned", "encoding", "sep", "rows")
"""Keywords of `Outcomes.read` for a file; `rows` for a file of rows alone."""

_LATER: Final = object()
"""As `planned` of one of several files: its whole rows are read, and absent items are counted in all of them."""


def read_file(path: Path, reader: str | None, keywords: Mapping[str, Any]) -> Outcomes:
    """Return the outcomes in one file; see `Outcomes.read`."""
    documents: dict[tuple[Any, ...], Document] = {}

    def make(given: Keywords) -> Outcomes:
        if not path.is_file():
            raise _no_file(path)
        at = (given.get("encoding"), given.get("sep"), given.get("rows"))
        if at not in documents:  # read once, whatever is tried for a remedy
            documents[at] = Document(path, encoding=at[0], separator=at[1], inside=at[2])
        return _outcomes_in(documents[at], given)

    given = {**({} if reader is None else {"reader": reader}), **keywords}

    def call(works: Keywords) -> str:
        shown = {name: value for name, value in works.items() if (name, value) != ("reader", None)}
        return source_of("Outcomes.read", path, shown)

    return remedied(make, given, call)


def _outcomes_in(document: Document, keywords: Keywords) -> Outcomes:
    """Return the outcomes in a document, by the reader that is named, or the one that recognises it."""
    name = keywords.get("reader")
    if name is None and document.inside is not None:
        name = "jsonl"  # whoever says where the rows are means them, whatever wrote the file
    if name is None:
        return _read_by(recognised(document), document, keywords)
    try:
        return _read_by(name, document, keywords)
    except (Mendable, DataError) as error:
        # The file may be of another format than the named one.
        problem = error if isinstance(error, Mendable) else Mendable(error)
        raise Mendable(problem.error, {"reader": None}, *problem.mends, command=problem.command) from None


def _read_by(name: str, document: Document, keywords: Keywords) -> Outcomes:
    """Return the outcomes in a document: its table is read, its scores are chosen, and it is checked to be whole."""
    if name not in READERS:
        return _of_pack(document, name, keywords)
    known = READERS[name]
    taken = {*_DEFAULTS, *_OF_FILES, *known.options} - (set() if name in ROWS else {"rows"})
    check_keywords(keywords, taken)
    own = {name: keywords[name] for name in known.options if name in keywords}
    try:
        table = known.read(document, own)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, RobustestError):
            raise
        # A value of another type than the tool writes: of another release, or changed by hand.
        raise Mendable(
            DataError(
                f"Expected {known.tool} in the form that docs/outcomes.md names but {document.path} has another: "
                f"{type(error).__name__}: {error}."
            ),
            {"reader": "jsonl"},
            command=known.command_for(document.path),
        ) from error
    columns = table.chosen(keywords.get("score"), document.path)
    given = {
        name: value
        for name, value in keywords.items()
        if name not in _OF_FILES and name not in own and not (name == "score" and table.scores is not None)
    }
    scale = {"low": table.low, "high": table.high} if (table.low, table.high) != (0.0, 1.0) else {}
    if document.damage and not max(map(len, columns.values()), default=0):
        raise Mendable(DataError(f"{document.damage} No row of it is whole."), command=known.command_for(document.path))
    found = Outcomes._of(columns, {"source": document.path.name, **scale, **given})
    if table.announced is not None:
        found = replace(found, announced=table.announced)
    planned = keywords.get("planned")
    if planned is None and (short := _shortage(found, table, document)):
        have = len(set(found.item.tolist()))
        least = max(found.announced or 0, have + max(len(table.absent), 0 if found.announced else 1))
        raise Mendable(
            DataError(
                f"{short} With planned=, the number of items that there were to be, what is whole is read, and the "
                "items that are absent have no score."
            ),
            {"planned": least},
            command=known.command_for(document.path),
        )
    return _completed(found, planned, table.absent)


def _shortage(found: Outcomes, table: Table, document: Document) -> str:
    """Return the damaged or absent parts in words; "" for a whole file of an evaluation that ended."""
    have = len(set(found.item.tolist()))
    if not document.damage and table.announced is not None and have < table.announced:
        return (
            f"Expected {table.announced} items in {document.path}, as the tool says, but got {have}: it is not whole."
        )
    return document.damage


def _of_pack(document: Document, name: str, keywords: Keywords) -> Outcomes:
    options = {key: value for key, value in keywords.items() if key != "reader"}
    try:
        found = extensions.made("robustest_outcomes", "reader of outcomes", name, READERS, document.path, options)
    except UnknownNameError as error:
        raise Mendable(error) from None
    if not isinstance(found, Outcomes):
        raise PackError(expected(f"the reader {name!r} to return Outcomes", found))
    return found


def _no_file(path: Path) -> Mendable:
    """Return the error for a path that is no file, with the files that may be meant."""
    if path.is_dir():
        ends = Counter(one.suffix for one in path.iterdir() if one.is_file() and one.suffix)
        listed = f"*{ends.most_common(1)[0][0]}" if ends else "*"
        return Mendable(
            DataError(
                f"Expected a file of outcomes but {path} is a folder. Files are joined: "
                f"Outcomes.read(sorted(pathlib.Path({str(path)!r}).glob({listed!r})))"
            )
        )
    there = [one.name for one in path.parent.iterdir() if one.is_file()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, there, n=1, cutoff=0.6)
    hint = f" There is another: {source_of('Outcomes.read', path.with_name(near[0]), {})}" if near else ""
    folder = "" if path.parent.is_dir() else f" The folder {path.parent} is not there either."
    return Mendable(DataError(f"Expected a file of outcomes at {path} but there is none.{folder}{hint}"))
