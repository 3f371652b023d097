"""Data that are no tensors: the protocol by which strings, bytes and frames travel through a run as tensors.

Chunks, attacks, the store and workers handle tensors only. A `Coding` makes tensors of the user's values, and the
user's values again wherever the user's own code is called: the model and functions given as shifts.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from robustest.results import Changes


@runtime_checkable
class Coding(Protocol):
    """A way from the user's own format to tensors and back; frozen, and without state of the samples."""

    @property
    def kind(self) -> str:
        """Name of the format: "str", "bytes" or "frame"; samples without a coding are arrays."""

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and largest value of any row (N, *S); None if those of the model hold."""

    def encode(self, values: Any) -> Tensor:
        """Return values in the user's format as (N, *S) float32 or int64.

        Raises:
            DataError: the values have another format.
        """

    def decode(self, x: Tensor) -> Any:
        """Return rows (N, *S), float32 or int64, in the user's format."""

    def identities(self, x: Tensor) -> list[bytes]:
        """Return bytes for each row of x (N, *S) that are equal if and only if the user's values are equal.

        Padding, or the order of named columns, is no part of them.
        """

    def padded(self, x: Tensor, room: int) -> Tensor:
        """Return rows (N, L) with `room` further columns of padding; rows of a format of fixed length as they are."""

    def fitted(self, x: Tensor, width: int) -> Tensor:
        """Return rows (N, L) with the padding that makes them (N, width), or as they are if their values are longer."""

    def changes(self, before: Tensor, after: Tensor) -> Changes:
        """Return the differences between two rows (*S) for reports; the row itself if there are none."""
