"""What is counted: the contract between the driver and whatever it measures.

The driver knows a unit by its position and its digest, and nothing else of it. How many there are, how they are read,
what is done with a chunk of them, and how a worker in another process does the same is known here. Labelled samples
that a look puts to a classifier are `robustest.run.models.classified.Classified`; units of a plugin's own are
`robustest.run.own_units.OwnUnits`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from robustest.identity.fingerprint import Fingerprint
from robustest.run.engines.engine import Job
from robustest.run.evidence import Exhibit, Observed, Tally
from robustest.run.remembered.memory import Memory
from robustest.settings import Settings
from robustest.store.corpus import Kept


class Bench(Protocol):
    """Where chunks are measured, in this process or in a worker's; what a chunk is, it alone knows."""

    def load(self, ids: Tensor) -> Any:
        """Read the units at positions (n,) int64.

        Raises:
            DataError: they cannot be measured on.
        """

    def digests(self, chunk: Any) -> list[bytes]:
        """What tells each of its units from others, one for each."""

    def measure(self, chunk: Any, *, first: bool) -> tuple[Observed, Tally]:
        """What a chunk shows, and what that took.

        Args:
            chunk: as loaded.
            first: whether it is the first of the order: what comes before it is counted with it alone.

        Raises:
            RobustestError: it cannot be measured.
        """


class Counterexamples(Protocol):
    """Known counterexamples of a claim, and how new ones are kept."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What a reader must know."""

    def known(self) -> set[int]:
        """Positions of units that known counterexamples still break."""

    def observed(self, ids: Tensor, examples: int) -> tuple[Observed, Tally]:
        """What is to be said of units that known counterexamples break, without looking further."""

    def smaller(self, exhibits: list[Exhibit]) -> tuple[Observed, Tally]:
        """The same counterexamples, made smaller."""

    def keep(self, kept: Kept) -> None:
        """Take what a chunk found, as long as there is room."""

    def remember(self, shown: list[Exhibit]) -> None:
        """Write what was taken, what is shown in its smaller form."""


class OpenUnits(Protocol):
    """Units that can be measured, until the block that opened them ends."""

    @property
    def bench(self) -> Bench:
        """Measures chunks in this process."""

    @property
    def counterexamples(self) -> Counterexamples | None:
        """What is known to break the claim; None where nothing is kept."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and largest value of what exhibits show."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of how they were measured."""

    def audit(self, ids: Tensor) -> Callable[[], tuple[Observed, Tally]] | None:
        """Return what attacks units at positions (n,) int64 by other means, here; None where nothing can."""

    def tried(self, kept: Kept) -> Callable[[], tuple[Observed, Tally]] | None:
        """Return what tries counterexamples of another model here; None where units are not searched."""

    def ask(self, memory: Memory, chunk: Any, marks: list[bytes]) -> None:
        """Put the first chunk before what is measured, so that the memory can tell whether it answers as it did."""

    def spent(self) -> Tally:
        """All that it took so far in this process."""

    def remote(self) -> Job:
        """The same measurement, for workers in other processes."""


class Units(Protocol):
    """What is counted, in a fixed order."""

    def __len__(self) -> int:
        """How many there are."""

    def check(self, ids: Tensor) -> None:
        """Refuse units at positions (n,) int64, in the order in which they are looked at, that change when read again.

        Raises:
            DataError: they do.
        """

    def device(self, settings: Settings) -> torch.device:
        """Where they are measured in this process."""

    def fingerprint(self, settings: Settings, *, exported: bool) -> Fingerprint:
        """The identity of what is measured, besides the units themselves.

        Args:
            settings: where it is measured.
            exported: whether it is worth the seconds that it takes to export a model whose code cannot be told.
        """

    def about(self) -> Mapping[str, object]:
        """What else outcomes depend on, plain values by name."""

    def open(self, settings: Settings) -> AbstractContextManager[OpenUnits]:
        """Make them ready to be measured; at the end of the block all is as it was before."""
