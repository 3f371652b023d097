"""Evidence of a result: outcomes, counterexamples, and what repeats and identifies the measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from robustest.errors import expected

Changes = Mapping[str, Sequence[Sequence[str]]]
"""The difference between a sample and its counterexample that is no picture, as plain JSON; one key of two.

"diff": parts of a text in order, each a mark and its characters: "=" kept, "-" taken out, "+" put in.
"table": changed columns, each with its name, and its value before and after.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of a measurement.

    Attributes:
        forward: samples passed forward through the model (a sample passed twice counts twice).
        backward: samples passed backward, from the loss to the input.
        seconds: wall-clock seconds.
    """

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterexample:
    """A sample that contradicts the claim.

    Attributes:
        index: position in the user's data.
        label: class in the data.
        clean, predicted: the model's class for the unchanged and for the changed sample.
        size: size of the change, in the threat's norm or the shift's severity; or None.
        unit: unit of the size, such as "dB" of a signal-to-noise ratio; or empty.
        image: path of its picture, or None; the sounds of waveforms lie beside it.
        pixels: number of changed pixels (of all channels together), or None.
        answer: answers in words if they are no classes (these are then -1); else empty.
        changes: the change itself, of texts, bytes and rows of a table; or None.

    Raises:
        TypeError: changes have another form.
    """

    index: int
    label: int
    clean: int
    predicted: int
    size: float | None = None
    image: str | None = None
    pixels: int | None = None
    answer: str = ""
    changes: Changes | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        if self.changes is None:
            return
        kind = next(iter(self.changes), "")
        width, parts = {"diff": 2, "table": 3}.get(kind), self.changes.get(kind, ())
        if (
            len(self.changes) != 1
            or width is None
            or any(len(p) != width or not all(type(t) is str for t in p) for p in parts)
        ):
            raise TypeError(expected("changes as parts of a diff or rows of a table", self.changes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """The way to pair two results of one claim, sample by sample."""

    # True if the verdict follows from the share of outcomes that hold, of all samples or of each group
    share: bool = True
    # positions of each group's samples, if the verdict follows from the lowest share among groups
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    # in words, the dependencies of an outcome besides model and sample; only outcomes with the same are paired
    under: str = ""
    # outcomes at the start of a fall, one per sample (`KeptEvidence.outcomes` are at its end): both ends are paired, or
    # the model that started lower would look better
    start: tuple[bool | None, ...] = ()
    start_data: str = ""  # digest of the samples of `start`; empty if not all were measured


NOT_PAIRED = Pairing(share=False)
"""The pairing of a claim whose verdict follows from no share of outcomes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEvidence:
    """The part of a measurement's evidence (`robustest.run.evidence`) that its result keeps."""

    # one per sample in the data's order: True held, False broken, None not evaluated
    outcomes: tuple[bool | None, ...] = field(repr=False)
    counterexamples: tuple[Counterexample, ...] = ()  # the worst samples, worst first
    replayed: int = 0  # samples decided by counterexamples of an earlier run that still break
    # way to pair this with another result of the claim, or None
    pairing: Pairing | None = field(default=None, repr=False)
    seed: int  # seed that repeats the run
    # hexadecimal digests of all samples and of the model; empty if unknown, e.g. after an early verdict
    data: str = ""
    model: str = ""
    cost: Cost  # model passes and seconds
    # date and commit of the measurement, e.g. "2026-11-25, commit 1a2b3c4"; empty for a new measurement
    cached: str = ""
