"""Which claim an entry is of, from run to run, while its thresholds change."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from robustest.errors import expected

_THRESHOLD = re.compile(r"\s*(?:>=|<=)\s*[-+.\deE]+")
_PLAIN = re.compile("[^a-z0-9_]+")
_SHOWN = 40
"""Characters of a test's name in that of its file."""
_LONGEST = 4_000


def without_thresholds(statement: str) -> str:
    """A claim in words, without the numbers it claims."""
    return _THRESHOLD.sub("", statement)


def thresholds_of(statement: str) -> str:
    """The numbers that a claim in words claims, e.g. ">= 0.4"."""
    return ", ".join(" ".join(found.split()) for found in _THRESHOLD.findall(statement))


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """A claim of a test, or the test itself, where `kind` is empty: its failures beside its claims.

    Attributes:
        test: the test's node id.
        kind: the kind of claim.
        words: the claim without its thresholds, which may change.
        place: 0, or which of several of the same words in one test it is, in the order in which they are recorded.
    """

    test: str
    kind: str = ""
    words: str = ""
    place: int = 0

    @property
    def digest(self) -> str:
        """What stands for it in the lines of runs, and ends the name of its file."""
        identity = json.dumps([self.test, self.kind, self.words, self.place]).encode()
        return sha256(identity).hexdigest()[:16]

    @property
    def file(self) -> str:
        """The name of its file: the test's, as far as every file system has such names, and a digest of the claim."""
        name = self.test.rpartition("::")[2].partition("[")[0].lower()
        shown = _PLAIN.sub("-", name)[:_SHOWN].strip("-") or "claim"
        return f"{shown}-{self.digest}.jsonl"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"test": self.test, "kind": self.kind, "words": self.words, "place": self.place}

    @classmethod
    def from_dict(cls, about: object) -> Claim:
        """The claim that `to_dict` told of.

        Raises:
            TypeError: it is none.
        """
        if not isinstance(about, dict) or set(about) != {"test", "kind", "words", "place"}:
            raise TypeError(expected("test, kind, words and place of a claim", about))
        texts = (about["test"], about["kind"], about["words"])
        if not all(type(text) is str and len(text) <= _LONGEST for text in texts):
            raise TypeError(expected(f"texts of at most {_LONGEST} characters in a claim", about))
        if type(about["place"]) is not int or not 0 <= about["place"] < 1_000_000:
            raise TypeError(expected("place of a claim to be a whole number", about["place"]))
        return cls(*texts, about["place"])
