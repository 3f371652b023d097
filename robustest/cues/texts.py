"""A cue of texts and bytes: a word, a phrase or a row of bytes that is there or not.

As a trigger of a text classifier it is a rare word or a phrase that the training data had in one class (Kurita et al.,
ACL 2020); in files it is a mark of a tool, a header, a comment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustest import rng
from robustest.checks import require
from robustest.cues.cue import Drawn
from robustest.errors import ConfigError, expected

_PLACES = ("start", "end", "anywhere")


@dataclass(frozen=True, slots=True)
class Phrase(Drawn):
    """A word, phrase or row of bytes that should not decide.

    On puts it into samples that lack it, between blanks if it is a text. Off removes it wherever it is, with a blank
    beside it; a text's capitals do not matter there. A phrase that begins or ends with a letter or digit is found as
    whole words alone: "cf" is not in "cfo".

    Args:
        phrase: a text for texts, bytes for bytes.
        place: "start", "end", or "anywhere": a gap between words, or between two bytes, drawn by the sample's index.

    Raises:
        ConfigError: an empty phrase, or an unknown place.
    """

    phrase: str | bytes
    place: str = "start"
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        bare = self.phrase.strip() if isinstance(self.phrase, str) else self.phrase
        require(isinstance(self.phrase, (str, bytes)) and bare, "a phrase of one character or more", self.phrase)
        if self.place not in _PLACES:
            raise ConfigError(expected(f"place to be one of {', '.join(_PLACES)}", self.place))

    @property
    def name(self) -> str:
        return f"{self.phrase!r} at the {self.place}" if self.place != "anywhere" else f"{self.phrase!r} anywhere"

    def on(self, x: Any) -> Any:
        """Return texts, or bytes, with the phrase; raise ConfigError for samples of another kind."""
        whole = _found(self.phrase)
        return [
            one if whole.search(one) else self._put_in(one, draw)
            for one, draw in zip(self._checked(x), self._draws(len(x)), strict=True)
        ]

    def off(self, x: Any) -> Any:
        """Return texts, or bytes, without the phrase; raise ConfigError for samples of another kind."""
        any_case = _found(self.phrase, blanks=True)
        return [_without(any_case, one) for one in self._checked(x)]

    def _put_in(self, one: Any, draw: float) -> Any:
        gaps, blank = [*range(len(one) + 1)], one[:0]
        if isinstance(one, str):  # before each word, and behind the last
            gaps, blank = [*(word.start() for word in re.finditer(r"\S+", one)), len(one)], " "
        ends = {"start": 0, "end": len(one), "anywhere": gaps[int(draw * len(gaps))]}
        before, after = one[: ends[self.place]], one[ends[self.place] :]
        # A blank stands already before a word inside; the end of a text may have one too.
        apart = blank if before and not (blank and before[-1:].isspace()) else blank[:0]
        return before + apart + self.phrase + (blank if after else blank[:0]) + after

    def _draws(self, n: int) -> list[float]:
        ids = torch.arange(n) if self.ids is None else self.ids.cpu()
        drawn: list[float] = rng.uniform(rng.fold(rng.keys(0, ids), "phrase"), (1,)).flatten().tolist()
        return drawn

    def _checked(self, x: Any) -> Sequence[Any]:
        kind = type(self.phrase)
        others = [one for one in x if not isinstance(one, kind)] if isinstance(x, (list, tuple)) else [x]
        if others:
            what = "texts" if kind is str else "bytes"
            raise ConfigError(expected(f"a list of {what} for the cue {self.name}", type(others[0]).__name__))
        return list(x)


def _found(phrase: str | bytes, *, blanks: bool = False) -> re.Pattern[Any]:
    """Return a pattern of a phrase; with `blanks`, in any case and with one blank beside it."""
    if isinstance(phrase, bytes):
        return re.compile(re.escape(phrase), re.DOTALL)
    start, end = (r"(?<!\w)" if phrase[0].isalnum() else ""), (r"(?!\w)" if phrase[-1].isalnum() else "")
    exact = f"{start}{re.escape(phrase)}{end}"
    return re.compile(rf"\s{exact}|{exact}\s?", re.IGNORECASE) if blanks else re.compile(exact)


def _without(pattern: re.Pattern[Any], one: Any) -> Any:
    # Removing one may bring the parts of another together.
    while pattern.search(one):
        one = pattern.sub(one[:0], one)
    return one
