"""Questions to a model, chosen by the types of the model and its samples; each is the source of a test.

`Facts` say what was found of model and samples (`robustest.cli.look`). `battery` returns the head of a file of tests,
and its questions. Every question asks for a share of right answers, never for a fall or for flips alone: these are
small for an untrained model too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from robustest.errors import unknown

PLACE = "THRESHOLD"
"""Placeholder of the threshold in a question's source."""
LOOSEST = 0.001
"""Threshold that requires almost nothing, for a measurement."""
ATTACK, SHIFT = 50.0, 2.0
"""Weights: of an attack with its audit, which takes 15 to 90 times as long as the plain accuracy; of a shift."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts about a model and its samples, on which the questions depend.

    Attributes:
        kind: a key of `KINDS`.
        model, data: names of the fixtures.
        n: number of samples.
        guess: share of the most frequent label: the accuracy of a model that ignores its input.
        low, high: smallest and largest value of the samples.
        gradient: True if the model gives gradients.
        preprocessing: code of the argument `preprocessing=`, or "".
        columns: names of the columns of rows, or their numbers.
        units: for each column the unit to which its values are rounded; 0 for a column that stays.
        whole: for each column of a frame True if its values are whole numbers.
        usual: for each column its median, or its most frequent word.
        relied: number of the column, or place of the token, whose loss costs most right answers; -1 for none.
        common: the most frequent token.
        length: number of time steps or tokens.
    """

    kind: str
    model: str = "robust_model"
    data: str = "robust_data"
    n: int = 0
    guess: float = 0.0
    low: float = 0.0
    high: float = 1.0
    gradient: bool = True
    preprocessing: str = ""
    columns: tuple[str, ...] = ()
    units: tuple[float, ...] = ()
    whole: tuple[bool, ...] = ()
    usual: tuple[float | str, ...] = ()
    relied: int = -1
    common: int = 0
    length: int = 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Facts:
        fields: dict[str, Any] = {
            one: tuple(value) if isinstance(value, list) else value for one, value in values.items()
        }
        return cls(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question to a model."""

    name: str  # name of its test
    source: str  # source of the test, a function with `PLACE` instead of the threshold
    loosest: float = LOOSEST  # threshold that requires almost nothing, for the measurement
    weak: float  # threshold; a result that holds no stricter one is poor
    cause: str  # most frequent cause of a poor result
    step: str  # remedy for it
    first: bool = True  # False for a question that a good model may fail, which only a scan puts
    weight: float = 1.0  # about how many times as long it takes as the plain accuracy
    audited: bool = False  # True for an attack: it is audited once all samples are measured


@dataclass(frozen=True, slots=True)
class Battery:
    """A file of tests: its head and its questions."""

    head: str
    probes: tuple[Probe, ...]

    def source(self, thresholds: Mapping[str, float]) -> str:
        """Return the file with the tests of these names and thresholds, in the battery's order."""
        chosen = [one for one in self.probes if one.name in thresholds]
        return "\n\n".join([self.head, *(one.source.replace(PLACE, f"{thresholds[one.name]:g}") for one in chosen)])

    def with_probe(self, probe: Probe) -> Battery:
        return replace(self, probes=(*self.probes, probe))


def battery(facts: Facts) -> Battery:
    """Return the questions to a model.

    Raises:
        UnknownNameError: the kind is unknown.
    """
    if facts.kind not in KINDS:
        raise unknown("kind of samples", facts.kind, KINDS)
    return KINDS[facts.kind](facts)


class _Draft:
    def __init__(self, facts: Facts, *, bounds: tuple[float, float] | None) -> None:
        self.facts = facts
        self.imports: set[str] = set()
        self.rules: set[str] = set()
        self.modules: list[str] = []
        self.constants: list[str] = []
        self.functions: list[str] = []
        self.probes: list[Probe] = []
        self.options = ""
        if bounds is not None and bounds != (0.0, 1.0):
            self.constants.append(
                f"BOUNDS = ({bounds[0]:g}, {bounds[1]:g})  # all values, with and without the changes"
            )
            self.options += ", bounds=BOUNDS"
        if facts.preprocessing:
            self.constants.append(f"NORMALISED = {facts.preprocessing}  # mean and std that the model names itself")
            self.options += ", preprocessing=NORMALISED"
        self.ask(
            "accuracy",
            "assert_accuracy",
            "",
            "the samples differ from those of the training, in scale, order of channels or labels; or the training "
            "failed",
            "compare one sample and its label with a batch of the training",
        )

    def ask(
        self, test: str, claim: str, about: str, cause: str, step: str, *, first: bool = True, attack: bool = False
    ) -> None:
        """Add a question: `about` are the arguments of the claim after model and data."""
        facts = self.facts
        self.imports.add(claim)
        call = f"{claim}({facts.model}, {facts.data}{about and f', {about}'}, at_least={PLACE}{self.options})"
        if len(call) > 112:
            call = f"{claim}(\n        {call[len(claim) + 1 : -1]}\n    )"
        # Half of the way from a guess to perfection.
        weak = round((1 + facts.guess) / 2, 2)
        source = f"def test_{test}({facts.model}, {facts.data}):\n    {call}\n"
        self.probes.append(
            Probe(
                name=f"test_{test}",
                source=source,
                weak=weak,
                cause=cause,
                step=step,
                first=first,
                weight=ATTACK if attack else 1.0 if claim == "assert_accuracy" else SHIFT,
                audited=attack,
            )
        )

    def ask_about(self, test: str, shift: str, cause: str, step: str) -> None:
        """Add a question about a shift, given as code."""
        self.ask(test, "assert_shift_accuracy", shift, cause, step)

    def ask_about_function(self, test: str, name: str, body: str, cause: str, step: str, *, first: bool = True) -> None:
        """Add a question about a shift whose function the file defines."""
        self.functions.append(f"def {name}(x):\n{body}")
        self.ask(test, "assert_shift_accuracy", name, cause, step, first=first)

    def ask_about_attack(self, level: str, what: str) -> None:
        self.imports.add("Linf")
        cause = f"{what}: training did not flatten the scores around them"
        kind = "images" if self.facts.kind == "images" else "samples"
        step = f"train on attacked {kind} (docs: repair), or drop this gate if the model meets no attacker"
        self.ask("attack", "assert_robust_accuracy", f"Linf({level})", cause, step, attack=True)

    def done(self) -> Battery:
        names = sorted(self.imports, key=lambda name: (name[0].islower(), name))
        head = ['"""What the model must keep. Run: pytest --robust"""', ""]
        own = self.facts.model != "robust_model" or self.facts.data != "robust_data"
        head += [f"import {name}" for name in sorted([*self.modules, *(["pytest"] if own else [])])]
        head += [f"from robustest import {', '.join(names)}"]
        head += [f"from robustest.threats import {', '.join(sorted(self.rules))}"] if self.rules else []
        head += [*([""] if own or self.constants else [])]
        head += [*(["pytestmark = pytest.mark.robust"] if own else []), *self.constants]
        return Battery("\n\n".join(["\n".join(head) + "\n", *self.functions]), tuple(self.probes))


def _images(facts: Facts) -> Battery:
    file = _Draft(facts, bounds=_wide(facts) if facts.low < 0 or facts.high > 1 else None)
    if facts.gradient:
        level = "1 / 255" if not file.constants or facts.preprocessing else f"{(facts.high - facts.low) / 255:.2g}"
        file.ask_about_attack(level, "changes of one grey level flip many images")
    file.ask_about(
        "noise",
        '"gaussian_noise", severity=1',
        "the model relies on fine texture, which noise hides, and saw no noise in training",
        "add noise of this strength to the augmentation of training, and scan again",
    )
    file.ask_about(
        "brightness",
        '"brightness", severity=1',
        "exposure was constant in training, or images are normalised differently than in training",
        "check the normalisation first; then vary brightness in training",
    )
    file.ask_about(
        "jpeg",
        '"jpeg_compression", severity=1',
        "the model reads detail that a camera's own compression removes",
        "train on images as the camera stores them, compressed",
    )
    return file.done()


def _rows(facts: Facts) -> Battery:
    file = _Draft(facts, bounds=_wide(facts))
    if any(facts.units):
        file.modules.append("torch")
        units = ", ".join(f"{unit:g}" for unit in facts.units)
        file.constants += [
            "# Each column's values are rounded to this unit, about a tenth of its spread; 0: they stay.",
            *_folded(f"UNITS = torch.tensor([{units}])"),
        ]
        body = "    rounded = (x / UNITS).round() * UNITS\n    return torch.where(UNITS > 0, rounded, x)\n"
        file.ask_about_function("rounding", "written_shorter", body, *_STEEP)
    if facts.relied >= 0:
        column = facts.columns[facts.relied]
        body = f"    x[:, {facts.relied}] = {facts.usual[facts.relied]:g}  # the median of {column!r}\n    return x\n"
        file.ask_about_function("most_used_column_missing", "without_it", body, *_relies_on(column), first=False)
    return file.done()


def _frame(facts: Facts) -> Battery:
    file = _Draft(facts, bounds=None)
    columns = list(zip(facts.columns, facts.units, facts.whole, strict=True))
    units = {name: unit for name, unit, whole in columns if unit and not (whole and unit == 1)}
    if units:
        listed = ", ".join(f"{_text_of(name)}: {unit:g}" for name, unit in units.items())
        file.constants += [
            "# Values of these columns are rounded to a unit of about a tenth of their spread.",
            *_folded(f"UNITS = {{{listed}}}", "{}"),
        ]
        body = (
            "    rounded = {name: (x[name] / unit).round() * unit for name, unit in UNITS.items()}\n"
            "    return x.assign(**{name: column.astype(x[name].dtype) for name, column in rounded.items()})\n"
        )
        file.ask_about_function("rounding", "written_shorter", body, *_STEEP)
    rules = {
        name: f"Whole({round(unit)})" if whole else f"Within({-unit:g}, {unit:g})"
        for name, unit, whole in columns
        if unit
    }
    if rules:
        file.imports.add("Columns")
        file.rules |= {rule.partition("(")[0] for rule in rules.values()}
        listed = ", ".join(f"{_text_of(name)}: {rule}" for name, rule in rules.items())
        file.constants += [
            "# One reading of a row is off, by up to a unit.",
            *_folded(f"OFF = Columns({{{listed}}}, max_changed=1)", "{}"),
        ]
        file.ask("one_reading_off", "assert_robust_accuracy", "OFF", *_STEEP, attack=True)
    if facts.relied >= 0:
        column, usual = facts.columns[facts.relied], facts.usual[facts.relied]
        shown = _text_of(usual) if isinstance(usual, str) else f"{usual:g}"
        body = f"    return x.assign(**{{{_text_of(column)}: {shown}}})  # its usual value\n"
        file.ask_about_function("most_used_column_missing", "without_it", body, *_relies_on(column), first=False)
    return file.done()


def _text_of(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


_STEEP = (
    "many rows lie close to a split or to steep scores",
    "check the accuracy on unchanged rows; then smooth the model (fewer splits, more regularisation)",
)


def _relies_on(column: str) -> tuple[str, str]:
    return (
        f"the model relies on the column {column!r}",
        "check whether that column reveals the label, and define a replacement for missing values",
    )


def _tokens(facts: Facts) -> Battery:
    file = _Draft(facts, bounds=None)
    file.constants.append(f"COMMON = {facts.common}  # the most frequent token")
    file.ask_about_function(
        "tokens_lost",
        "one_in_ten_lost",
        "    x[:, 3::10] = COMMON\n    return x\n",
        "single tokens decide",
        "drop tokens at random in training",
    )
    if facts.relied >= 0:
        file.ask_about_function(
            "most_used_place_lost",
            "without_it",
            f"    x[:, {facts.relied}] = COMMON\n    return x\n",
            f"the token at place {facts.relied} decides",
            "check whether that token reveals the label, and drop tokens at random in training",
        )
    if facts.length >= 3:
        file.ask_about_function(
            "neighbours_swapped",
            "neighbours_swapped",
            "    x[:, [1, 2]] = x[:, [2, 1]]  # as a slip of the pen does\n    return x\n",
            "the model relies on exact places",
            "look for a token whose place reveals the label",
        )
    return file.done()


def _text(facts: Facts) -> Battery:
    file = _Draft(facts, bounds=None)
    cause = "the model does not know words that are written another way"
    for shift, step in (
        ("typos", "misspell words at random in training, or read letters instead of words"),
        ("casing", "lower all letters before the model, or vary them in training"),
        ("whitespace", "normalise white space before the model"),
    ):
        file.ask_about(shift, f'"{shift}", severity=1', cause, step)
    return file.done()


def _signals(facts: Facts) -> Battery:
    sound = facts.kind == "audio"
    span = facts.high - facts.low
    file = _Draft(facts, bounds=(-1.0, 1.0) if sound else _wide(facts))
    if sound:
        file.ask_about_function(
            "quieter",
            "half_as_loud",
            "    return x / 2\n",
            "loudness was constant in training, or reveals the label",
            "vary the gain in training, or normalise each wave",
        )
    else:
        file.ask_about_function(
            "offset",
            "reads_high",
            f"    return x + {0.02 * span:.2g}\n",
            "the model relies on the absolute level",
            "vary the offset in training, or subtract each series' mean",
        )
    file.ask_about_function(
        "delay",
        "later",
        f"    return x.roll({max(1, facts.length // 50)}, -1)\n",
        "the model relies on exact times",
        "shift the training's samples at random",
    )
    start, gap = facts.length // 2, max(1, facts.length // 20)
    held = f"    x[..., {start}:{start + gap}] = x[..., {start - 1}:{start}]  # held\n    return x\n"
    file.ask_about_function("dropout", "with_a_gap", held, "a short part decides", "leave short parts out in training")
    if facts.gradient:
        file.ask_about_attack(f"{span / 2000:.1g}", "changes of a thousandth flip many samples")
    return file.done()


KINDS = {
    "images": _images,
    "rows": _rows,
    "frame": _frame,
    "text": _text,
    "tokens": _tokens,
    "audio": _signals,
    "series": _signals,
}
"""Kinds of samples, with the function that makes their questions."""


def _wide(facts: Facts) -> tuple[float, float]:
    room = 0.1 * (facts.high - facts.low) or 1.0
    low, high = facts.low - room, facts.high + room
    digit = 10.0 ** (math.floor(math.log10(high - low)) - 1)
    return math.floor(low / digit) * digit, math.ceil(high / digit) * digit


def _folded(line: str, brackets: str = "[]", width: int = 116) -> list[str]:
    if len(line) <= width:
        return [line]
    before, _, rest = line.partition(brackets[0])
    inside, _, after = rest.rpartition(brackets[1])
    lines, current = [f"{before}{brackets[0]}"], "   "
    for part in inside.split(", "):
        if len(current) + len(part) + 2 > width:
            lines.append(current)
            current = "   "
        current += f" {part},"
    return [*lines, current, f"{brackets[1]}{after}"]
