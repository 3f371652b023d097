"""Which claim an entry is of, from run to run, while its thresholds change."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from robustest.errors import expected

_PLAIN = re.compile("[^a-z0-9_]+")
_SHOWN = 40
"""Characters of a test's name in that of its file."""
_LONGEST = 4_000


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """A claim of a test, or the test itself, where `key` is empty: its failures beside its claims.

    Attributes:
        test: the test's node id.
        key: the claim's, as `Result.claim`: it stays the same while thresholds and words change.
        place: 0, or which of several of the same key in one test it is, in the order in which they are recorded.
    """

    test: str
    key: str = ""
    place: int = 0

    @property
    def digest(self) -> str:
        """What stands for it in the lines of runs, and ends the name of its file."""
        identity = json.dumps([self.test, self.key, self.place]).encode()
        return sha256(identity).hexdigest()[:16]

    @property
    def file(self) -> str:
        """The name of its file: the test's, as far as every file system has such names, and a digest of the claim."""
        name = self.test.rpartition("::")[2].partition("[")[0].lower()
        shown = _PLAIN.sub("-", name)[:_SHOWN].strip("-") or "claim"
        return f"{shown}-{self.digest}.jsonl"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"test": self.test, "key": self.key, "place": self.place}

    @classmethod
    def from_dict(cls, about: object) -> Claim:
        """Return the claim of which `to_dict` made a mapping.

        Raises:
            TypeError: it is none.
        """
        if not isinstance(about, dict) or set(about) != {"test", "key", "place"}:
            raise TypeError(expected("test, key and place of a claim", about))
        texts = (about["test"], about["key"])
        if not all(type(text) is str and len(text) <= _LONGEST for text in texts):
            raise TypeError(expected(f"texts of at most {_LONGEST} characters in a claim", about))
        if type(about["place"]) is not int or not 0 <= about["place"] < 1_000_000:
            raise TypeError(expected("place of a claim to be a whole number", about["place"]))
        return cls(*texts, about["place"])
