"""Shifts of texts: errors of typing and of reading, and other ways to write the same.

Each shift chooses units of a text (words, letters, gaps) by one uniform draw each, below a share that grows with the
severity; at least one unit is chosen where there is one. So what a severity changes, every higher one changes too, in
the same way. A draw depends on the text's key and on the unit's place alone.

Confusable letters are from Unicode Technical Standard 39 (confusables.txt), keyboards are QWERTY, and the confusions of
letters are those that OCR engines make most often between printed Latin letters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from robustest import rng
from robustest.checks import require
from robustest.errors import DataError, expected

TextShift = Callable[[Sequence[str], int, Tensor], list[str]]
"""Maps texts, a severity 1..5 and the texts' keys (N,) to as many texts."""

SHARES: Mapping[str, tuple[float, float, float, float, float]] = {
    "typos": (0.05, 0.1, 0.2, 0.35, 0.5),
    "casing": (0.1, 0.25, 0.5, 0.75, 1.0),
    "whitespace": (0.05, 0.1, 0.2, 0.35, 0.5),
    "look_alikes": (0.03, 0.08, 0.15, 0.3, 0.6),
    "ocr_errors": (0.03, 0.06, 0.12, 0.2, 0.35),
    "contractions": (0.2, 0.4, 0.6, 0.8, 1.0),
    "synonyms": (0.1, 0.25, 0.5, 0.75, 1.0),
}
"""Share of a text's units that a shift changes, by severity: words, gaps, letters, or phrases with another form."""

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS: dict[str, str] = {
    letter: "".join(
        _ROWS[r][c]
        for r in range(max(0, row - 1), min(3, row + 2))
        # Each row of keys is half a key to the right of the one above it.
        for c in range(column - (r >= row), column + 1 + (r <= row))
        if 0 <= c < len(_ROWS[r]) and (r, c) != (row, column)
    )
    for row, letters in enumerate(_ROWS)
    for column, letter in enumerate(letters)
}
LOOK_ALIKES = {
    **dict(zip("aceijopsvxy", "\u0430\u0441\u0435\u0456\u0458\u043e\u0440\u0455\u03bd\u0445\u0443", strict=True)),
    **dict(
        zip(
            "ABCEHIJKMNOPSTXYZ",
            "\u0391\u0412\u0421\u0415\u041d\u0406\u0408\u041a\u041c\u039d\u041e\u0420\u0405\u0422\u0425\u03a5\u0396",
            strict=True,
        )
    ),
    **dict(zip("dghlqruwn01", "\u0501\u0261\u04bb\u04cf\u051b\u1d26\u1d1c\u0461\u0578OI", strict=True)),
}
"""Letters of other scripts that look like Latin ones, by letter."""
_READINGS: dict[str, tuple[str, ...]] = {
    "rn": ("m",),
    "cl": ("d",),
    "vv": ("w",),
    "ii": ("u",),
    "li": ("h",),
    "m": ("rn",),
    "d": ("cl",),
    "w": ("vv",),
    "l": ("1", "I"),
    "I": ("l", "1"),
    "1": ("l", "I"),
    "i": ("j", "l"),
    "O": ("0", "Q"),
    "0": ("O",),
    "o": ("0", "c"),
    "S": ("5",),
    "5": ("S",),
    "B": ("8",),
    "8": ("B",),
    "Z": ("2",),
    "2": ("Z",),
    "G": ("6",),
    "6": ("G", "b"),
    "g": ("9", "q"),
    "q": ("g",),
    "e": ("c",),
    "c": ("e",),
    "h": ("b",),
    "b": ("h", "6"),
    "u": ("n", "v"),
    "n": ("u",),
    "f": ("t",),
    "t": ("f", "l"),
    "a": ("o",),
    "s": ("5",),
}
_READ = re.compile("|".join(sorted(map(re.escape, _READINGS), key=len, reverse=True)))
_SHORT = {
    "are not": "aren't",
    "can not": "can't",
    "cannot": "can't",
    "could not": "couldn't",
    "did not": "didn't",
    "do not": "don't",
    "does not": "doesn't",
    "had not": "hadn't",
    "has not": "hasn't",
    "have not": "haven't",
    "he is": "he's",
    "i am": "i'm",
    "i have": "i've",
    "i will": "i'll",
    "is not": "isn't",
    "it is": "it's",
    "let us": "let's",
    "she is": "she's",
    "should not": "shouldn't",
    "that is": "that's",
    "there is": "there's",
    "they are": "they're",
    "they have": "they've",
    "was not": "wasn't",
    "we are": "we're",
    "we have": "we've",
    "we will": "we'll",
    "were not": "weren't",
    "what is": "what's",
    "will not": "won't",
    "would not": "wouldn't",
    "you are": "you're",
    "you have": "you've",
    "you will": "you'll",
}
# The longer form of each short one: "can't" becomes "cannot".
_LONG = {short: long for long, short in _SHORT.items()}
_FORMS = {**_SHORT, **_LONG}
_PHRASE = re.compile(rf"\b(?:{'|'.join(_FORMS)})\b".replace("'", "['\u2019]"), re.IGNORECASE)

# From a unit of a text and three draws in [0, 1) to its new characters.
Draws = Sequence[float]
Change = Callable[[re.Match[str], Draws], str]


def typos(texts: Sequence[str], severity: int, key: Tensor) -> list[str]:
    """Misspell words: a neighbouring key in place of a letter or beside it, a letter left out, two letters swapped."""
    return _changed(texts, severity, key, _Rule("typos", _WORD, _mistyped))


def casing(texts: Sequence[str], severity: int, key: Tensor) -> list[str]:
    """Write words in upper case, in lower case, capitalised, or with upper and lower case exchanged."""
    return _changed(texts, severity, key, _Rule("casing", _CASED, _recased))


def whitespace(texts: Sequence[str], severity: int, key: Tensor) -> list[str]:
    """Widen, break or drop the gaps between words: two blanks, a tab, a line end, a no-break space, nothing."""
    return _changed(texts, severity, key, _Rule("whitespace", _GAP, _respaced))


def look_alikes(texts: Sequence[str], severity: int, key: Tensor) -> list[str]:
    """Write letters as letters of other scripts that look the same."""
    return _changed(texts, severity, key, _Rule("look_alikes", _CONFUSABLE, _confused))


def ocr_errors(texts: Sequence[str], severity: int, key: Tensor) -> list[str]:
    """Misread letters as a scanner does: "rn" as "m", "l" as "1", "O" as "0"."""
    return _changed(texts, severity, key, _Rule("ocr_errors", _READ, _misread))


def contractions(texts: Sequence[str], severity: int, key: Tensor) -> list[str]:
    """Contract English phrases ("do not", "it is") and write contracted ones in full."""
    return _changed(texts, severity, key, _Rule("contractions", _PHRASE, _recontracted))


TEXT_SHIFTS: dict[str, TextShift] = {
    each.__name__: each for each in (typos, casing, whitespace, look_alikes, ocr_errors, contractions)
}
"""The built-in shifts of texts by name."""


@dataclass(frozen=True)
class Synonyms:
    """A shift that replaces words by others of your own table.

    Args:
        table: replacements by word in lower case, e.g. `{"film": ("movie", "picture")}`. A replacement takes the word's
            capitals: of its first letter, or all.

    Raises:
        ConfigError: an empty table, or one that maps to no texts.
    """

    table: Mapping[str, Sequence[str]]

    def __post_init__(self) -> None:
        lists = all(isinstance(others, (list, tuple)) and others for others in self.table.values())
        texts = lists and all(isinstance(one, str) for word, others in self.table.items() for one in (word, *others))
        require(self.table and texts, "a table of words, each with one replacement or more", self.table)
        object.__setattr__(self, "table", {word.lower(): tuple(others) for word, others in self.table.items()})

    @property
    def __name__(self) -> str:
        return f"synonyms of {len(self.table)} words"

    def __call__(self, texts: Sequence[str], severity: int, key: Tensor) -> list[str]:
        words = sorted(map(re.escape, self.table), key=len, reverse=True)
        pattern = re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)

        def replaced(unit: re.Match[str], draws: Draws) -> str:
            return _like(unit[0], _pick(self.table[unit[0].lower()], draws[1]))

        return _changed(texts, severity, key, _Rule("synonyms", pattern, replaced))


_CASED = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_GAP = re.compile(r"(?<=\S)[ \t]+(?=\S)")
_CONFUSABLE = re.compile(f"[{''.join(LOOK_ALIKES)}]")


class _Rule(NamedTuple):
    name: str
    pattern: re.Pattern[str]
    change: Change


def _changed(texts: Sequence[str], severity: int, key: Tensor, rule: _Rule) -> list[str]:
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise DataError(expected(f"texts for the shift {rule.name}", texts))
    share = SHARES[rule.name][severity - 1]
    units = [list(rule.pattern.finditer(text)) for text in texts]
    most = max(map(len, units), default=0)
    if most == 0:
        return list(texts)
    drawn = rng.uniform(rng.fold(key.cpu(), rule.name), (most, 4)).tolist()
    made = []
    for text, found, draws in zip(texts, units, drawn, strict=True):
        # The unit with the smallest draw changes at every severity.
        least = min((draw[0] for draw in draws[: len(found)]), default=0.0)
        parts, end = [], 0
        for unit, (chance, *rest) in zip(found, draws, strict=False):
            if chance < share or chance == least:
                parts += [text[end : unit.start()], rule.change(unit, rest)]
                end = unit.end()
        made.append("".join([*parts, text[end:]]))
    return made


def _pick(choices: Sequence[str], draw: float) -> str:
    return choices[min(len(choices) - 1, int(draw * len(choices)))]


def _like(before: str, after: str) -> str:
    if len(before) > 1 and before.isupper():
        return after.upper()
    return after[:1].upper() + after[1:] if before[:1].isupper() else after


def _mistyped(unit: re.Match[str], draws: Draws) -> str:
    word = unit[0]
    if len(word) == 1:
        return _near(word, draws[2]) if word.lower() in _NEIGHBOURS or word.isdigit() else word * 2
    at = min(len(word) - 1, int(draws[1] * len(word)))
    kind = int(draws[0] * 4)
    if kind == 0 and word[at].lower() not in _NEIGHBOURS and not word[at].isdigit():
        kind = 2  # no key of this keyboard: the letter is left out
    if kind == 0:
        return word[:at] + _near(word[at], draws[2]) + word[at + 1 :]
    if kind == 1:
        return word[: at + 1] + _near(word[at], draws[2]) + word[at + 1 :]
    if kind == 2:
        return word[:at] + word[at + 1 :]
    at = min(at, len(word) - 2)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return swapped if swapped != word else word[:at] + word[at + 1 :]  # twin letters: one is left out


def _near(letter: str, draw: float) -> str:
    if letter.isdigit():
        return str((int(letter) + (1 if draw < 0.5 else 9)) % 10) if letter.isascii() else letter * 2
    near = _pick(_NEIGHBOURS.get(letter.lower(), letter), draw)
    return near.upper() if letter.isupper() else near


def _recased(unit: re.Match[str], draws: Draws) -> str:
    word = unit[0]
    forms = [form for form in (word.upper(), word.lower(), word.capitalize(), word.swapcase()) if form != word]
    return _pick(forms, draws[1]) if forms else word


def _respaced(unit: re.Match[str], draws: Draws) -> str:
    forms = [form for form in ("  ", "\t", "\n", "\u00a0", "") if form != unit[0]]
    return _pick(forms, draws[1])


def _confused(unit: re.Match[str], draws: Draws) -> str:
    return LOOK_ALIKES[unit[0]]


def _misread(unit: re.Match[str], draws: Draws) -> str:
    return _pick(_READINGS[unit[0]], draws[1])


def _recontracted(unit: re.Match[str], draws: Draws) -> str:
    phrase = unit[0]
    other = _FORMS[phrase.lower().replace("\u2019", "'")]
    # "I" is always written so.
    other = re.sub(r"^i\b", "I", other) if phrase[0] == "I" else other
    return other.upper() if len(phrase) > 3 and phrase.isupper() else _like(phrase[0], other)


def is_text_shift(function: object) -> bool:
    """Return True for a shift of this module, which takes texts alone."""
    return isinstance(function, Synonyms) or any(function is one for one in TEXT_SHIFTS.values())
