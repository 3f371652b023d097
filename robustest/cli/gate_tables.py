"""Gates as users write them: tables of metric, value and tolerance, configurations of tools, and the command line."""

# A gate is a mapping of the keys in `KEYS`, or of names that others use for them. It is read from
#
# - a row of a CSV or TSV file;
# - JSON, TOML or YAML of any shape: each mapping with a value or a rule is a gate, named by the keys and names on the
#   way to it, and inherits what the mappings around it say (`limit`, `rtol`);
# - `--gate KEY=VALUE,...` on the command line.
#
# What a gate lacks is filled from its file of outcomes, then from `--set KEY=VALUE`.

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from robustest.cli.screen import Refused, wrong
from robustest.data.outcomes import Outcomes, joined
from robustest.decisions.gates import (
    EachGroup,
    Gate,
    IntervalAbove,
    ItemSet,
    KOfRuns,
    PairedNoWorse,
    Threshold,
    Tolerance,
    WilsonAbove,
)
from robustest.decisions.noise_floor import NoiseFloor
from robustest.errors import RobustestError
from robustest.safe_files import read_regular

KEYS: dict[str, tuple[str, ...]] = {
    "metric": ("name", "task", "test"),
    "kind": ("gate", "rule"),
    "value": ("baseline", "score", "accuracy", "reference", "ground_truth"),
    "tolerance": ("tol", "atol", "max_drop"),
    "rtol": ("relative_tolerance",),
    "threshold": ("min", "minimum", "min_score"),
    "at_least": (),
    "no_worse_than": (),
    "k": (),
    "n": ("items", "limit", "samples", "num_samples"),
    "runs": ("repeats", "epochs", "attempts"),
    "flips": ("flip_rate",),
    "groups": ("group_sizes",),
    "file": ("outcomes", "path"),
    "reader": (),
    "column": ("score_column",),
    "side": (),
    "stored_runs": ("baseline_runs",),
    "confidence": (),
    "low": (),
    "high": (),
    "better": (),
}
"""Keys of a gate, with other names of each."""

_NAMES = {other: key for key, others in KEYS.items() for other in (key, *others)}
# Keys that make a mapping a gate, with the kind of gate that each one is.
_RULES = {
    "tolerance": "tolerance",
    "rtol": "tolerance",
    "threshold": "threshold",
    "at_least": "interval",
    "no_worse_than": "paired",
    "k": "k_of_runs",
}
_KINDS = ("tolerance", "threshold", "interval", "paired", "k_of_runs", "wilson")
# Names of tools for kinds.
_OTHER_KINDS = {"rtol": "tolerance", "atol": "tolerance", "ci": "wilson"}
_RULE_OF = {"tolerance": "tolerance", "threshold": "threshold", "interval": "at_least", "paired": "no_worse_than"}
# A gate's rule in words, for a table.
WORDS = {
    "tolerance": "value - {tolerance:g}",
    "threshold": ">= {threshold:g}",
    "interval": "assert_rate >= {at_least:g}",
    "paired": "no_worse_than, {no_worse_than:g}",
    "k_of_runs": "{k} of {runs} runs",
    "wilson": "Wilson >= {threshold:g}",
}
# Keys of outcomes at the top of a JSON file, by which they are no table of gates.
_OF_OUTCOMES = {"item", "samples", "eval", "results", "annotations", "doc_id", "spans", "traces"}
_LARGEST = 1 << 26
_SUFFIXES = (".csv", ".tsv", ".json", ".toml", ".yaml", ".yml")

Given = Mapping[str, Any]
"""Keys and values of one gate."""


@dataclass(frozen=True, kw_only=True)
class NamedGate:
    """A gate with the items that it looks at.

    Attributes:
        rule: in words.
        assumed: assumptions about the items, in words.
    """

    name: str
    kind: str
    rule: str
    gate: Gate
    items: ItemSet
    assumed: tuple[str, ...] = ()


def is_table(path: Path) -> bool:
    """Return True if a file has gates, False if it may have outcomes."""
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES or not path.is_file():
        return False
    if suffix in (".csv", ".tsv"):
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            names = {one.strip().lower() for one in next(csv.reader(file, dialect=_dialect(path)), [])}
        return "item" not in names and any(one == "value" or _NAMES.get(one) in _RULES for one in names)
    if suffix == ".json":
        found = _parsed(path)
        # Logs of tools hold thresholds and values too.
        first = found[0] if isinstance(found, list) and found else found
        return isinstance(first, dict) and not _OF_OUTCOMES & set(first) and any(_gates_in(found, {}, ()))
    return True


def read_gates(path: Path, defaults: Given, alpha: float) -> list[NamedGate]:
    """Return the gates of a table or a configuration.

    Args:
        defaults: values for gates that do not have their own.
        alpha: of rules of ours.

    Raises:
        Refused: there is none, or one lacks a number.
    """
    table = path.suffix.lower() in (".csv", ".tsv")
    rows = _rows_of_csv(path) if table else list(_gates_in(_parsed(path), {}, ()))
    if not rows:
        raise wrong(
            f"Expected gates in {path}: rows with metric, value and tolerance (or threshold), but found none. "
            "A table reads:\nmetric,value,tolerance,n\ngsm8k,0.54,0.03,1319"
        )
    return [
        named_gate({**defaults, **row}, f"gate {place} of {path.name}", path, alpha)
        for place, row in enumerate(rows, 1)
    ]


def said(text: str) -> dict[str, Any]:
    """Return the keys and values of `KEY=VALUE,...`.

    Raises:
        Refused: it has another form, or a key is unknown.
    """
    found: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        name = _NAMES.get(key.strip().lower())
        if not equals or name is None:
            raise wrong(
                f"Expected KEY=VALUE,... but got {text!r}. Keys: {', '.join(KEYS)}. For example: --gate tolerance=0.02"
            )
        found[name] = value.strip()
    return found


def named_gate(given: Given, where: str, beside: Path | None, alpha: float, found: Outcomes | None = None) -> NamedGate:
    """Return the gate that a mapping says.

    Args:
        where: the gate, for messages; of the command line the argument itself.
        beside: the file with the gate: other files are named from its folder; None for the command line.
        found: outcomes of the gate's system, if the gate names no file.

    Raises:
        Refused: a number is missing or out of range; the message has a call that works.
    """
    given = {key: value for key, value in given.items() if value not in (None, "")}
    name = str(given.get("metric", where))
    kind = _kind_of(given, where if name == where else f"{name!r} ({where})", beside)
    measured = found is not None or "file" in given
    reader = _Numbers(given, where if beside is None else repr(name), beside, measured)
    assumed: list[str] = []
    try:
        if "file" in given:
            found = _outcomes(given, beside)
        items, sizes, rates = _items_of(given, kind, reader, found, assumed)
        gate, numbers = _gate_of(kind, given, items, reader, alpha)
        if groups := reader.groups(items, sizes):
            # Each of ours is judged at its part of alpha, as the claim on the worst group does.
            if isinstance(gate, IntervalAbove):
                gate = replace(gate, alpha=alpha / len(groups))
            if isinstance(gate, (PairedNoWorse, KOfRuns)):
                raise reader.wrong("no groups", given["groups"], "Give each group a row of its own.")
            gate = EachGroup(gate=gate, sizes=groups, rates=rates if sizes == groups else ())
    except RobustestError as error:
        raise wrong(f"{name}: {error}") from None
    rule = WORDS[kind].format_map({**numbers, "runs": items.runs})
    if isinstance(gate, EachGroup):
        rule = f"{rule}, {len(gate.sizes)} groups"
    return NamedGate(name=name, kind=kind, rule=rule, gate=gate, items=items, assumed=tuple(assumed))


def _kind_of(given: Given, where: str, beside: Path | None) -> str:
    kind = str(given.get("kind", "")).lower()
    kind = _OTHER_KINDS.get(kind, kind)
    if kind and kind not in _KINDS:
        raise wrong(f"Expected kind of {where} to be one of {', '.join(_KINDS)} but got {kind!r}.")
    if kind:
        return kind
    kinds = sorted({_RULES[key] for key in _RULES if key in given})
    if len(kinds) == 1:
        return kinds[0]
    call = f"robustest floor {beside} --set tolerance=0.02" if beside else "robustest floor --gate tolerance=0.02"
    got = "none is given" if not kinds else f"{' and '.join(key for key in _RULES if key in given)} are"
    raise wrong(f"Expected one of {', '.join(_RULES)} of {where} but {got}. For all that have none: {call}")


@dataclass(frozen=True)
class _Numbers:
    """Reads the numbers of one gate."""

    given: Given
    where: str
    beside: Path | None
    measured: bool  # the score is that of a file

    def wrong(self, what: str, got: object, mend: str = "") -> Refused:
        return wrong(f"Expected {what} of {self.where} but got {got!r}. {mend}".rstrip())

    def absent(self, key: str, meaning: str, example: str) -> Refused:
        if self.beside is not None:
            mend = f"Add it to the file, or say it for all: robustest floor {self.beside} --set {key}={example}"
        else:
            known = {one: str(self.given[one]) for one in ("value", "n", "flips") if one in self.given}
            if not self.measured:
                known = {"value": "0.8", **known}
            call = ",".join(f"{one}={value}" for one, value in {**known, key: example}.items())
            mend = f"Say it: robustest floor --gate {self.where} --set {call}"
        return wrong(f"Expected {key}, {meaning}, of {self.where} but it is not given. {mend}")

    @property
    def range(self) -> tuple[float, float]:
        """The range of scores, of values and thresholds."""
        ends = [self.real(key, -1e9, 1e9) for key in ("low", "high")]
        return ends[0] or 0.0, 1.0 if ends[1] is None else ends[1]

    def real(self, key: str, least: float = 0.0, most: float = 1.0) -> float | None:
        if key not in self.given:
            return None
        text = str(self.given[key]).strip()
        percent = text.endswith("%")
        try:
            value = float(text.removesuffix("%")) / (100 if percent else 1)
        except ValueError:
            raise self.wrong(f"{key} to be a number", self.given[key]) from None
        if not least <= value <= most:
            mend = "Of percentages say so: --set high=100." if 1 < value <= 100 else ""
            raise self.wrong(f"{key} in {least:g}..{most:g}", self.given[key], mend)
        return value

    def whole(self, key: str, least: int = 1) -> int | None:
        if key not in self.given:
            return None
        try:
            value = float(str(self.given[key]).replace("_", "").replace(",", ""))
        except ValueError:
            value = -1.0
        if value < least or value != int(value):
            raise self.wrong(f"{key} to be a whole number >= {least}", self.given[key])
        return int(value)

    def groups(self, items: ItemSet, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Return the sizes of the groups: those given, equal ones for a number, those of the file for "yes"."""
        if "groups" not in self.given:
            return ()
        text = str(self.given["groups"]).strip()
        if text.lower() in ("yes", "true", "file"):
            if not sizes:
                raise self.wrong("outcomes with groups", text, "Give their number, or their sizes: groups=120/80/50.")
            return sizes
        parts = [
            part for part in text.strip("[]").replace("/", " ").replace(";", " ").replace(",", " ").split() if part
        ]
        try:
            numbers = tuple(int(part) for part in parts)
        except ValueError:
            numbers = ()
        if not numbers or min(numbers) < 1:
            raise self.wrong("groups: their number, or their sizes as 120/80/50", text)
        if len(numbers) > 1:
            return numbers
        if numbers[0] > items.n:
            raise self.wrong(f"at most {items.n} groups, the number of items", text)
        return tuple(items.n // numbers[0] + (place < items.n % numbers[0]) for place in range(numbers[0]))


def _items_of(
    given: Given, kind: str, reader: _Numbers, found: Outcomes | None, assumed: list[str]
) -> tuple[ItemSet, tuple[int, ...], tuple[float, ...]]:
    """Return the items of a gate, with sizes and rates of the groups of its outcomes."""
    low, high = reader.range
    if not low < high:
        raise reader.wrong("a range with low < high", (low, high))
    if given.get("better", "higher") not in ("higher", "lower"):
        raise reader.wrong('better to be "higher" or "lower"', given["better"])
    sizes: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()
    graded: dict[str, float] = {}
    several = False
    n, flips, rate = reader.whole("n"), reader.real("flips"), reader.real("value", low, high)
    runs = reader.whole("runs") or 1
    if found is not None:
        of_items = found.items
        scored = of_items.runs > 0
        n = int(scored.sum()) if n is None else n
        rate = float(of_items.mean[scored].mean())
        several = bool((of_items.runs >= 2).any())
        if not found.binary:
            graded = _graded(found, kind, reader)
        elif flips is None and several:
            flips = min(2 * _noise(found).within, 2 * rate * (1 - rate))
        names = sorted(set(of_items.group[scored].tolist()) - {""})
        members = [scored & (of_items.group == name) for name in names]
        sizes = tuple(int(one.sum()) for one in members)
        rates = tuple(float(of_items.mean[one].mean()) for one in members)
        if (found.cluster != "").any():
            assumed.append("items of a cluster are taken for independent ones: figures are too good")
    elif rate is not None:
        rate = (rate - low) / (high - low)
    if rate is not None and given.get("better") == "lower":
        rate, rates = 1 - rate, tuple(1 - one for one in rates)
    if n is None and kind == "k_of_runs":
        n = 1
    if n is None:
        raise reader.absent("n", "the number of items that are scored", "1319")
    if rate is None:
        raise reader.absent("value", "the score that the system has now", "0.8")
    if kind == "k_of_runs" and "runs" not in given:
        raise reader.absent("runs", "the runs of which k have to be right", "5")
    if flips is None and not (kind == "k_of_runs" and n == 1) and not (graded and several):
        assumed.append("two runs differ in as many items as they can at this rate (flips=, or outcomes of two runs)")
    return ItemSet(n=n, rate=rate, flips=None if graded else flips, runs=runs, **graded), sizes, rates


def _gate_of(kind: str, given: Given, items: ItemSet, reader: _Numbers, alpha: float) -> tuple[Gate, dict[str, float]]:
    """Return the rule of a gate, and its numbers for words."""
    low, high = reader.range
    span, lower = high - low, given.get("better") == "lower"

    def level(key: str, meaning: str, example: str) -> float:
        value = reader.real(key, low, high)
        if value is None:
            raise reader.absent(key, meaning, example)
        share = (value - low) / span
        return 1 - share if lower else share

    if kind == "k_of_runs":
        k = reader.whole("k", 0)
        if k is None:
            raise reader.absent("k", "the runs that have to be right", "3")
        if k > items.runs:
            raise reader.wrong(f"k of at most {items.runs} runs", k)
        return KOfRuns(k=k), {"k": k}
    if kind == "threshold":
        least = level("threshold", "the score below which the gate is red", "0.8")
        return Threshold(least), {"threshold": least}
    if kind == "interval":
        least = level("at_least", "the rate claimed", "0.8")
        if items.runs > 1:
            raise reader.wrong("one run of each item", items.runs, "Our exact interval is of single answers.")
        return IntervalAbove(least=least, alpha=alpha), {"at_least": least}
    if kind == "paired":
        key = "no_worse_than" if "no_worse_than" in given else "tolerance"
        tolerance = reader.real(key, 0.0, span)
        if not tolerance:
            raise reader.absent("no_worse_than", "the tolerance, above 0", "0.02")
        if items.runs > 1:
            raise reader.wrong("one run of each item", items.runs, "The exact paired rule is of single answers.")
        return PairedNoWorse(tolerance=tolerance / span, alpha=alpha), {"no_worse_than": tolerance / span}
    relative = reader.real("rtol")
    absolute = reader.real("tolerance", 0.0, span)
    if relative is None and absolute is None and kind == "tolerance":
        raise reader.absent("tolerance", "the fall that is allowed", "0.03")
    stored = reader.real("value", low, high)
    # In the user's units: a share of an error rate is not that share of its complement.
    in_units = low + span * (1 - items.rate if lower else items.rate) if stored is None else stored
    allowed = (relative * in_units if absolute is None and relative is not None else absolute or 0.0) / span
    value = (in_units - low) / span
    value = 1 - value if lower else value
    if kind == "wilson":
        least = level("threshold", "the least lower end", "0.8") if "threshold" in given else max(0.0, value - allowed)
        confidence = reader.real("confidence", 0.5, 0.9999)
        return WilsonAbove(least=least, confidence=confidence or 0.95), {"threshold": least}
    if given.get("side", "below") not in ("below", "both"):
        raise reader.wrong('side to be "below" or "both"', given["side"])
    if reader.measured and stored is not None and given.get("side", "below") == "below":
        # The stored score is a number already, and the file says what the system has now.
        return Threshold(value - allowed), {"tolerance": allowed}
    runs: int | None = 1
    if str(given.get("stored_runs", "")).lower() == "exact":
        runs = None
    elif "stored_runs" in given:
        runs = reader.whole("stored_runs")
    of_share = absolute is None and not lower and not low
    gate = Tolerance(
        tolerance=relative if of_share and relative is not None else allowed,
        relative=of_share,
        both_sides=given.get("side") == "both",
        stored_runs=runs,
    )
    return gate, {"tolerance": allowed}


def _graded(found: Outcomes, kind: str, reader: _Numbers) -> dict[str, float]:
    """Return the variances of graded scores, as `ItemSet` takes them; of one run, as if each item were any item."""
    if kind not in ("tolerance", "threshold"):
        mend = "Of graded scores ask for tolerance= or threshold=."
        raise reader.wrong("right and wrong answers", "graded scores", mend)
    of_items = found.items
    if not (of_items.runs >= 2).any():
        return {"within": float(of_items.mean[of_items.runs > 0].var())}
    noise = _noise(found)
    return {"within": noise.within, "between": noise.between}


def _noise(found: Outcomes) -> NoiseFloor:
    """Return the noise of outcomes of several runs."""
    scored = found.rows(np.flatnonzero(~np.isnan(found.score)))
    _, place = np.unique(scored.item, return_inverse=True)
    return NoiseFloor.of(place, (scored.score - scored.low) / (scored.high - scored.low))


def _outcomes(given: Given, beside: Path | None) -> Outcomes:
    """Return the outcomes in the file or files that a gate names."""
    folder = Path() if beside is None else beside.parent
    parts = [folder / one.strip() for one in str(given["file"]).split(";") if one.strip()]
    options = {key: given[of] for key, of in (("reader", "reader"), ("score", "column")) if of in given}
    return runs_of([read_run(path, options, alone=len(parts) == 1) for path in parts])


def read_run(path: Path, options: Mapping[str, Any], *, alone: bool) -> Outcomes:
    """Return the outcomes in a file; of several, their runs get the file's name."""
    found = Outcomes.read(path, **options)
    # Runs of one name in two files are different runs.
    return found if alone else replace(found, run=np.array([f"{path}: {run}" for run in found.run]))


def runs_of(parts: Sequence[Outcomes]) -> Outcomes:
    """Return the runs of one system.

    Raises:
        Refused: no item is in two files.
    """
    found = joined(parts)
    if len(parts) > 1 and len(set(found.item.tolist())) == sum(len(set(one.item)) for one in parts):
        raise wrong("Expected files with runs of the same items but no item is in two. Name the items alike.")
    return found


def _rows_of_csv(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, dialect=_dialect(path), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise wrong(f"Expected a whole CSV file but {path} is damaged: {error}.") from None
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    names = [_NAMES.get(one.strip().lower()) for one in rows[0]] if rows else []
    if twice := {one for one in names if one is not None and names.count(one) > 1}:
        raise wrong(f"Expected one column for each key but {path} has two for {', '.join(sorted(twice))}.")
    found = []
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(names):
            raise wrong(
                f"Expected {len(names)} fields in row {number} of {path}, as in its header, but got {len(row)}."
            )
        cells = {name: cell.strip() for name, cell in zip(names, row, strict=True) if name is not None and cell.strip()}
        # Spreadsheets of some countries write 0,54.
        comma = _dialect(path).delimiter == ";"
        found.append({key: one.replace(",", ".") if comma else one for key, one in cells.items()})
    return found


def _dialect(path: Path) -> type[csv.Dialect]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline()

    class Separated(csv.excel):
        delimiter = max("\t,;", key=header.count)

    return Separated


def _parsed(path: Path) -> Any:
    """Return the values in a JSON, TOML or YAML file."""
    text, suffix = "", path.suffix.lower()
    try:
        text = read_regular(path, most=_LARGEST).decode("utf-8-sig")
        if suffix == ".toml":
            return tomllib.loads(text)
        if suffix == ".json":
            return json.loads(text)
        try:
            import yaml  # type: ignore[import-untyped]
        except ImportError:
            raise wrong(
                f"Expected PyYAML to read {path} but it is not installed. pip install pyyaml, or give the gates as "
                "CSV, JSON or TOML:\nmetric,value,tolerance,n\ngsm8k,0.54,0.03,1319"
            ) from None
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise wrong(f"Expected whole YAML in {path} but it is damaged: {' '.join(str(error).split())}.") from None
    except (ValueError, RecursionError) as error:
        raise wrong(f"Expected whole {suffix[1:].upper()} in {path} but it is damaged: {error}.") from None


def _is_gate(row: Given) -> bool:
    return "value" in row or any(key in row for key in _RULES)


def _gates_in(node: Any, around: Given, names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield the gates in nested values.

    Args:
        around: keys and values of the gates around.
        names: on the way.
    """
    if isinstance(node, list):
        for one in node:
            yield from _gates_in(one, around, names)
        return
    if not isinstance(node, dict):
        return
    own = {
        _NAMES[str(key).lower()]: value
        for key, value in node.items()
        if str(key).lower() in _NAMES and not isinstance(value, (dict, bool)) and value is not None
    }
    for key in [key for key, value in own.items() if isinstance(value, list) and key != "groups"]:
        del own[key]
    if isinstance(own.get("groups"), list):
        own["groups"] = "/".join(map(str, own["groups"]))
    name = own.pop("metric", None)
    path = names if name is None else (*names, str(name))
    inner = {str(key): value for key, value in node.items() if isinstance(value, (dict, list))}
    nested = [
        row
        for key, value in inner.items()
        for row in _gates_in(value, {**around, **own}, path if isinstance(value, list) else (*path, key))
        if _NAMES.get(key.lower()) != "groups"
    ]
    # A mapping around gates says what they have in common; one without any is a gate if it says a value or a rule.
    if nested:
        yield from nested
    elif _is_gate(own):
        yield {**around, **own, **({"metric": "/".join(path)} if path else {})}
