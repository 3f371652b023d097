"""Retrieval: an embedding of a query finds its items among the nearest of a gallery."""

# With s_j the cosine similarity of a query and item j of a gallery, R the items that it should find, and s_(k) the k-th
# largest similarity of the others, an answer holds if one of R is among the k nearest:
#
#     m(z, y) = max_{j in R} s_j - s_(k) > 0.
#
# Items of equal similarity have no order. An answer has to hold in each: m = 0 does not, so that embeddings which are
# all the same find nothing. Similarities are computed in float64, where equal items are equal to rounding. By the share
# of R that is found, the r-th of them counts if fewer than k - r others are as near.
#
# The gallery is fixed, also where the query is attacked. A query that is in it finds itself before anything else, and
# says nothing of the embedding: such an answer is refused, unless its row of targets leaves that item out.
# Half precision moves a copy off its item: two roundings differ by at most u of each element, which lowers the cosine
# by u^2 / 2 to first order. So a query or an item of half precision is compared with that tolerance.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.checks import checked_whole, require
from robustest.errors import ConfigError, DataError, ModelError, expected
from robustest.tasks.protocol import Describing, Loss, above, by_row, checked_floor, integers, kept, reals

# Similarities this close are equal; a query this close to an item is the same picture in another batch.
_TIE = 1e-12
_COPY = 1e-11
# Precisions that copies may have lost, with the largest loss of a cosine by two of their roundings.
_HALVES = tuple((kind, torch.finfo(kind).eps ** 2 / 2) for kind in (torch.float16, torch.bfloat16))
# Factor of similarities in smooth losses.
_SCALE = 20.0
# Items of an answer that a counterexample names.
_SHOWN = 10
_TINY = 1e-12


def _closeness(embeddings: Tensor) -> Tensor:
    """Return (..., 1) float64: how far below 1 the similarity of an embedding (..., D) and its copy may be.

    The values tell, not the dtype: embeddings of half precision are often converted afterwards.
    """

    def fits(kind: torch.dtype) -> Tensor:
        return (embeddings.to(kind).to(embeddings) == embeddings).all(-1, keepdim=True)

    # Whole numbers and the like, as of one-hot vectors, fit eight bits: they were not rounded.
    exact, close = fits(torch.float8_e4m3fn), torch.full_like(embeddings[..., :1], _COPY, dtype=torch.float64)
    for kind, loss in _HALVES:
        close = close.masked_fill(fits(kind) & ~exact & (close < loss), loss)
    return close


@dataclass(frozen=True, eq=False, slots=True)
class Retrieval:
    """Outputs are embeddings (B, D) of queries; targets are the items of a gallery that each should find.

    Targets are numbers of items (B,), or rows (B, G) of 1 for items to find, 0 for others and -1 for items that are
    left out, such as the query itself: see `same_label`. Answers are the k nearest items by cosine similarity; of
    equally near ones those that are right come last.

    Claims that compare two answers, such as consistency, ask whether the item that was nearest before is still among
    the k or, by "share", how many of the k are.

    Args:
        gallery: embeddings (G, D) of the items, G > k, as a tensor or an array. They stay what they are.
        k: number of items that an answer names, >= 1.
        score_by: "any", 1 if an item to find is among the k, else 0; or "share", the share of them that is.
        floor: with "share", the smallest score of an answer that holds, in (0, 1]; None if only scores are needed.
        copies: True if a query may be in the gallery and should find itself, as where copies are looked for. Otherwise
            such a query is refused.

    Raises:
        ConfigError: an argument is out of range, or k >= G.
        DataError: the gallery has no shape (G, D), is not finite, has a vector of 0, or its items are all the same.
    """

    gallery: Any = field(repr=False)
    k: int
    score_by: Literal["any", "share"] = "any"
    floor: float | None = None
    copies: bool = field(default=False, kw_only=True)
    _copy: Tensor = field(init=False, repr=False)

    name = "retrieval"
    one_class = False
    placed = False

    def __post_init__(self) -> None:
        checked_whole("k", self.k, 1)
        require(self.score_by in ("any", "share"), 'score_by to be "any" or "share"', self.score_by)
        if self.score_by == "any" and self.floor not in (None, 1.0):
            raise ConfigError(f'Expected no floor for score_by="any", which is 0 or 1, but got {self.floor!r}.')
        require(type(self.copies) is bool, "copies to be true or false", self.copies)
        object.__setattr__(self, "floor", 1.0 if self.score_by == "any" else checked_floor(self.floor))
        items = reals(self.gallery, "a gallery")
        object.__setattr__(self, "_copy", _closeness(items)[:, 0])
        items = items.double()
        require(items.ndim == 2, "a gallery of shape (G, D)", tuple(items.shape), error=DataError)
        if len(items) <= self.k:
            raise ConfigError(
                f"Expected a gallery of more than k={self.k} items but got {len(items)}: every answer would hold. "
                "Choose a smaller k, or give more items."
            )
        norms = items.norm(dim=1, keepdim=True)
        if not bool((norms > 0).all()):
            at = int((norms == 0).nonzero()[0, 0])
            raise DataError(f"Expected embeddings that are not 0 but item {at} of the gallery is. Leave it out.")
        items = items / norms
        if bool((items @ items[0] > 1 - self._copy).all()):
            raise DataError(
                f"Expected a gallery of items that differ but all {len(items)} have one embedding: nothing is nearer "
                "than anything else."
            )
        object.__setattr__(self, "gallery", items)

    def __str__(self) -> str:
        what = "an item" if self.score_by == "any" else "share of items"
        least = f" of at least {self.floor:g}" if self.score_by == "share" and self.floor is not None else ""
        return f"{what}{least} among the {self.k} nearest of {len(self.gallery)}"

    @staticmethod
    def same_label(queries: Any, items: Any, *, own: Any = None) -> Tensor:
        """Return targets (N, G): each query should find the items with its label.

        Args:
            queries, items: labels (N,) and (G,).
            own: numbers (N,) of the queries in the gallery, which are left out; None if they are not in it.
        """
        labels, others = np.asarray(queries), np.asarray(items)
        require(labels.ndim == others.ndim == 1, "labels (N,) and (G,)", (labels.shape, others.shape), error=DataError)
        rows = torch.from_numpy(labels[:, None] == others[None]).to(torch.int8)
        if own is not None:
            at = integers(own, "numbers of the queries in the gallery", "(N,)", axes=1)
            fits = len(at) == len(rows) and bool(((at >= 0) & (at < rows.shape[1])).all())
            require(fits, f"{len(rows)} numbers in 0..{rows.shape[1] - 1}", own, error=DataError)
            rows[torch.arange(len(rows)), at] = -1
        return rows

    @property
    def losses(self) -> Mapping[str, Loss]:
        """The negated margin, and smooth forms of it, which raise all items that are near enough."""
        return {
            "ce": partial(by_row, lambda z, y: F.softplus(_SCALE * self._log_odds(z, y)), axes=1),
            "log_odds": partial(by_row, self._log_odds, axes=1),
            "margin": partial(by_row, self._climbed, axes=1),
        }

    def targets(self, given: object) -> Tensor:
        """Return (B, G) int8 rows on the CPU, of numbers (B,) or of rows.

        Raises:
            DataError: an item does not exist, a query should find none, or k items cannot all be wrong.
        """
        size = len(self.gallery)
        axes = np.ndim(given[0]) + 1 if isinstance(given, (list, tuple)) and given else np.ndim(given)  # type: ignore[arg-type]
        if axes == 2:
            rows = integers(given, "rows of 1, 0 and -1", "(N, G)", axes=2).to(torch.int8)
            require(rows.shape[1] == size, f"rows of {size} items, as in the gallery", rows.shape[1], error=DataError)
            if bool((rows.abs() > 1).any()):
                raise DataError("Expected rows of 1, 0 and -1 for items to find, others, and left out, but got others.")
        else:
            numbers = integers(given, "numbers of items", "(N,)", axes=1)
            if numbers.numel() and not 0 <= int(numbers.min()) <= int(numbers.max()) < size:
                span = (int(numbers.min()), int(numbers.max()))
                raise DataError(expected(f"numbers of items in 0..{size - 1}", span))
            rows = torch.zeros(len(numbers), size, dtype=torch.int8)
            rows[torch.arange(len(numbers)), numbers] = 1
        if not bool((found := (rows == 1).any(1)).all()):
            at = int((~found).nonzero()[0])
            raise DataError(f"Expected an item to find for each query but query {at} has none. Leave such queries out.")
        if not bool((others := (rows == 0).sum(1) >= self.k).all()):
            at = int((~others).nonzero()[0])
            raise DataError(
                f"Expected at least k={self.k} items that a query should not find but query {at} has "
                f"{int((rows[at] == 0).sum())}: every answer would hold. Choose a smaller k, or give more items."
            )
        return rows

    def check_targets(self, y: Tensor, width: int) -> None:
        """Rows were checked as they were read; the width is that of the gallery."""

    def check_output(self, output: Tensor, rows: int, width: int) -> int:
        size = self.gallery.shape[1]
        if output.shape != (rows, size):
            raise ModelError(
                f"Expected embeddings of shape ({rows}, {size}), as the gallery has, but got {tuple(output.shape)}."
            )
        if bool((output.detach() == 0).all(1).any()):
            raise ModelError(
                "Expected embeddings that are not 0 but that of a query is: it has no nearest item. Leave such queries "
                "out, or look for units that are all off."
            )
        return int(size)

    def predictions(self, output: Tensor) -> Tensor:
        """Return the embeddings themselves: of equally near items, the target decides which count."""
        return output

    def as_targets(self, predictions: Tensor) -> Tensor:
        """Return rows (B, G): the nearest item, or by "share" the k nearest; copies of the query are left out."""
        near = self._similarities(predictions)
        copies = self._copies(near, predictions) if not self.copies else torch.zeros_like(near, dtype=torch.bool)
        named = near.masked_fill(copies, -torch.inf).topk(1 if self.score_by == "any" else self.k, -1).indices
        rows = torch.zeros_like(near, dtype=torch.int8).scatter_(-1, named, 1)
        return rows.masked_fill(copies, -1)

    def holds(self, output: Tensor, y: Tensor) -> Tensor:
        return kept(self.score(output, y), self.floor)

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the similarity of the nearest item to find minus the k-th largest other; by "share", see `above`."""
        if self.score_by == "share":
            return above(self.score(output, y), self.floor, self.losses["log_odds"](output, y))
        return by_row(lambda z, rows: self._lead(self._similarities(z), rows).amax(1), output, y, 1).float()

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        return by_row(self._score, output, y, 1)

    def _score(self, output: Tensor, y: Tensor) -> Tensor:
        near, to_find = self._similarities(output), y == 1
        if not self.copies and bool((own := to_find & self._copies(near, output)).any()):
            item = int(own.nonzero()[0, 1])
            raise DataError(
                f"Expected queries that are not in the gallery but one equals item {item}, which it should find: it "
                "finds itself. Leave the item out, mark it by -1 in the query's row of targets "
                "(Retrieval.same_label(own=...)), or give copies=True if copies are looked for."
            )
        if self.score_by == "any":
            return (self._lead(near, y) > 0).any(1).double()
        # The r-th nearest of those to find, from 0 on, has r of them ahead: it is found if its lead over the (k - r)-th
        # largest other is positive.
        best, order = near.masked_fill(~to_find, -torch.inf).sort(1, descending=True)
        others = near.masked_fill(y != 0, -torch.inf).topk(self.k, 1).values.flip(1)
        first = min(self.k, best.shape[1])
        ahead = (best[:, :first] - others[:, :first] > _TIE) & to_find.gather(1, order)[:, :first]
        return ahead.sum(1).double() / to_find.sum(1)

    def right(self, predictions: Tensor, other: Tensor) -> Tensor:
        return self.holds(predictions, other)

    def agreement(self, predictions: Tensor, other: Tensor) -> Tensor:
        return self.score(predictions, other)

    def constant(self, y: Tensor) -> Tensor:
        """Return rows (B, G) of the k items that find the most for these targets (B, G), chosen one by one."""
        worth = (y == 1).double()
        worth = worth if self.score_by == "any" else worth / worth.sum(1, keepdim=True)
        named, left = torch.zeros_like(y), worth.clone()
        for _ in range(self.k):
            item = int(left.sum(0).argmax())
            named[:, item] = 1
            if self.score_by == "any":
                left = left * (1 - worth[:, item : item + 1])
            left[:, item] = -1
        return named

    def graded(self, predictions: Tensor, y: Tensor) -> Tensor:
        """Return (B,) the scores of rows (B, G) that name items by 1."""
        found = ((predictions == 1) & (y == 1)).sum(1).double()
        return (found > 0).double() if self.score_by == "any" else found / (y == 1).sum(1)

    def moved(self, y: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        return y

    def describe(self, y: Tensor, clean: Tensor, predicted: Tensor, moved: Tensor | None = None) -> Describing:
        kept_in = (y if moved is None else moved) != -1
        near = self._similarities(torch.stack([clean, predicted])).masked_fill(~kept_in, -torch.inf)
        before, after = (_listed(one) for one in near.topk(self.k, 1).indices.cpu())
        return {"answer": f"to find {_listed((y == 1).nonzero()[:, 0])}; nearest {before} before and {after} after"}

    def _copies(self, near: Tensor, output: Tensor) -> Tensor:
        """Return (..., G) bool: the items of which embeddings (..., D), at these similarities, are copies."""
        return near >= 1 - torch.maximum(_closeness(output.detach()), self._copy.to(near))

    def _similarities(self, output: Tensor) -> Tensor:
        """Return (..., G) float64 cosine similarities of embeddings (..., D); NaN for one of 0."""
        exact = output.double()
        return (exact / exact.norm(dim=-1, keepdim=True)) @ self.gallery.to(exact).T  # type: ignore[no-any-return]

    def _lead(self, near: Tensor, y: Tensor) -> Tensor:
        """Return (B, G) the similarity of each item to find minus the k-th largest other; -2 for others."""
        kth = near.masked_fill(y != 0, -torch.inf).topk(self.k, 1).values[:, -1:]
        return (near - kth - _TIE).masked_fill(y != 1, -2.0)

    def _climbed(self, output: Tensor, y: Tensor) -> Tensor:
        lead = self._lead(self._similarities(output), y)
        if self.score_by == "any":
            return -lead.amax(1).float()
        # An item far beyond the k-th adds no more than one, so that a search turns to those near it.
        usual = lead.detach().abs().masked_fill(y != 1, 0).sum(1, keepdim=True) / (y == 1).sum(1, keepdim=True)
        lost = torch.tanh(-lead / usual.clamp(min=_TINY)).masked_fill(y != 1, 0)
        return (lost.sum(1) / (y == 1).sum(1)).float()

    def _log_odds(self, output: Tensor, y: Tensor) -> Tensor:
        # The k - 1 nearest of the others are ahead anyway, as in the truncated entropy of `tasks.top_k`.
        near = _SCALE * self._similarities(output)
        others = near.masked_fill(y != 0, -torch.inf)
        if self.k > 1:
            others = others.scatter(1, others.detach().topk(self.k - 1, 1).indices, -torch.inf)
        own = near.masked_fill(y != 1, -torch.inf)
        return ((others.logsumexp(1) - own.logsumexp(1)) / _SCALE).float()


def _listed(items: Tensor) -> str:
    more = " ..." if len(items) > _SHOWN else ""
    return ", ".join(map(str, items[:_SHOWN].tolist())) + more
