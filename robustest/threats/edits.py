"""Edits of texts and bytes: characters swapped, deleted, inserted or substituted, words replaced, something appended.

A proposal is the changed text itself: a row of code points or bytes, padded with `PADDING`. It is inside the region if
no more than k edits make it of the sample, so that any row can be judged, and replayed, without its history:

    size(z) = fewest edits of the allowed kinds, letters and words from x to z (Levenshtein with transposition)

Rows of plain characters are measured at once by furthest-reaching points (Ukkonen, 1985; with transpositions Berghel
and Roach, 1996): for e = 0, 1, ..., k and each diagonal j - i, the furthest i such that x[:i] becomes z[:j] by e edits.
Rows with characters of several code points (an accent that NFC does not compose, an emoji with a skin tone), and rows
whose words may be replaced, are measured one by one, on lists of characters in NFC.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from robustest import rng
from robustest.checks import checked_whole
from robustest.errors import ConfigError, expected
from robustest.threats.threat import Bounds, OfInputs, Rows, box, per_row

PADDING = -1
LETTERS = "abcdefghijklmnopqrstuvwxyz "
PRINTABLE = "".join(map(chr, range(32, 127)))
KINDS = ("swap", "delete", "insert", "substitute")

# Longest part of a word that `Edits.middles` takes for one.
_PART = 8
# Most moves of `Edits.repeated`.
_REPEATED = 8
# Largest number of points that is counted; more are infinitely many.
_COUNTED = 1e15
# Words of the samples that `Append` and `Insert` try; and longest end of a file that is taken for a word.
_WORDS, _ENDS = 24, 8
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


class _OfTexts(OfInputs):
    __slots__ = ()

    of_strings: ClassVar[bool] = True

    def check_samples(self, task: object, kind: str) -> None:
        """Raise ConfigError unless samples of this kind are texts, or bytes that all letters and words fit."""
        if kind not in ("str", "bytes"):
            raise ConfigError(expected(f"texts or bytes for {self}", "other samples"))
        if kind == "bytes" and not self.fits_bytes:  # type: ignore[attr-defined]
            raise ConfigError(expected(f"characters below 256 and no words in {self} for data of bytes", "others"))

    def project(self, z: Tensor, region: Rows) -> Tensor:
        return torch.where(per_row(self.size(z, region) <= self.radius, z), z, region["x"])  # type: ignore[attr-defined]

    def ascent(self, gradient: Tensor) -> Tensor:
        return torch.zeros_like(gradient)

    def stride(self, region: Rows) -> Tensor:
        return region["span"] * 0


@dataclass(frozen=True, slots=True)
class Edits(_OfTexts):
    r"""At most k edits of a text or of bytes.

    An edit swaps two neighbouring characters, deletes one, inserts one, substitutes one, or replaces a whole word by
    one of its `words`. Characters are graphemes of the text in NFC: a letter with its accents is one.

    Args:
        k: most edits, >= 0.
        kinds: allowed kinds of `KINDS`; empty for words alone.
        alphabet: characters, or bytes, that may be inserted and substituted.
        words: replacements by word, e.g. `{"film": ("movie", "picture")}`; matched as written.
        keep: regular expression; whatever it matches in a text stays, in its order (names, numbers, `</?\w+>`).

    Raises:
        ConfigError: a value is out of range, or nothing can be edited.
    """

    axis: ClassVar[str] = "k"

    k: int
    kinds: tuple[str, ...] = KINDS
    alphabet: str | bytes = LETTERS
    words: Mapping[str, Sequence[str]] | None = None
    keep: str | None = None
    _codes: tuple[int, ...] = field(init=False, repr=False, compare=False, default=())
    _mark: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        checked_whole("k", self.k, 0)
        kinds = tuple(self.kinds)
        if strangers := [kind for kind in kinds if kind not in KINDS]:
            raise ConfigError(expected(f"kinds among {', '.join(KINDS)}", strangers[0]))
        object.__setattr__(self, "kinds", tuple(kind for kind in KINDS if kind in kinds))
        object.__setattr__(self, "_codes", codes_of(self.alphabet))
        if not self._codes and {"insert", "substitute"} & {*kinds}:
            raise ConfigError(expected("an alphabet to insert and substitute from", self.alphabet))
        if self.words is not None:
            if not isinstance(self.words, Mapping) or not all(map(_is_entry, self.words.items())):
                raise ConfigError(expected("words as lists of replacements by word", self.words))
            held = {word: tuple(one for one in others if one != word) for word, others in self.words.items()}
            object.__setattr__(self, "words", held)
        if not kinds and not self.words:
            raise ConfigError(expected(f"kinds among {', '.join(KINDS)}, or words to replace", "neither"))
        if self.keep is not None:
            _pattern(self.keep)
        about = repr((self.k, self.kinds, self.alphabet, self.keep, self.words))
        object.__setattr__(self, "_mark", zlib.crc32(about.encode("utf-8", "surrogatepass")))

    def __str__(self) -> str:
        parts = [f"k={self.k}"]
        parts += [f"kinds=({', '.join(self.kinds)})"] if self.kinds != KINDS else []
        parts += [f"{len(self.words)} words"] if self.words else []
        return f"Edits({', '.join(parts)})"

    def __hash__(self) -> int:
        return self._mark

    @property
    def radius(self) -> float:
        return float(self.k)

    @property
    def room(self) -> int:
        """Columns that proposals may need beyond the longest sample."""
        longer = [len(one) - len(word) for word, others in (self.words or {}).items() for one in others]
        return self.k * max([1, *longer])

    @property
    def fits_bytes(self) -> bool:
        return max(self._codes, default=0) < 256 and not self.words

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        return {**box(x, bounds), "plain": _plain_rows(x)}

    # The protocol of threats that follow no gradient

    def start(self, region: Rows, key: Tensor) -> Tensor:
        z = self.origin(region)
        count = rng.integers(rng.fold(key, "edits"), (1,), self.k).squeeze(1) + 1 if self.k else torch.zeros_like(key)
        for edit in range(self.k):
            draw = rng.uniform(rng.fold(key, f"edit {edit}"), (2,)).double()
            place = (draw[:, 0] * self.places(z, region)).long()
            choice = (draw[:, 1] * self.choices(z, place, region)).long()
            z = torch.where(per_row(edit < count, z), self.moved(z, place, choice, region), z)
        return z

    def size(self, z: Tensor, region: Rows) -> Tensor:
        """Return (N,) float64: the fewest edits from the sample; inf beyond `k`, or where `keep` is violated."""
        x, plain = region["x"], region["plain"] & (not self.words)
        size = torch.full((len(z),), torch.inf, dtype=torch.float64, device=z.device)
        if bool(plain.any()):
            size[plain] = _distances(x[plain], z[plain], self.k, self.kinds, self._codes)
        for row in (~plain).nonzero().squeeze(1).tolist():
            size[row] = _distance(_text(x[row]), _text(z[row]), self)
        return size if self.keep is None else torch.where(self._keeps(z, region), size, torch.inf)

    # Moves: place i is the i-th character, and the end behind the last. At a place, a choice inserts a letter before
    # the character, substitutes one for it, deletes it, swaps it with the next, or replaces the word that begins there.

    def places(self, z: Tensor, region: Rows) -> Tensor:
        count = (z >= 0).sum(1) + 1
        if not self.kinds:  # words alone: the places are the words that can be replaced
            found = [max(1, len(_words_in(text, self))) for text in map(_text, z)]
            return torch.tensor(found, dtype=torch.int64, device=z.device)
        for row in (~region["plain"]).nonzero().squeeze(1).tolist():
            count[row] = len(characters(_text(z[row]))) + 1
        return count

    def choices(self, z: Tensor, place: Tensor, region: Rows) -> Tensor:
        last = self.places(z, region) - 1
        inserts, substitutes, deletes, swaps = self._counts
        count = torch.where(place < last, inserts + substitutes + deletes, inserts)
        count = count + swaps * (place < last - 1).long()
        if self.words:
            rows = zip(map(_text, z), place.tolist(), strict=True)
            others = [len(self._replacements(text, at)[1]) for text, at in rows]
            count = count + torch.tensor(others, dtype=torch.int64, device=z.device)
        return count

    def moved(self, z: Tensor, place: Tensor, choice: Tensor, region: Rows) -> Tensor:
        made = self._applied(z, place, choice, region)
        far = self.size(made, region) > self.k
        if bool(far.any()):
            # No edit is left. Put the first or the last one back, by turns, and try again.
            rows = far.nonzero().squeeze(1)
            part = {name: value[rows] for name, value in region.items()}
            freed = self._with_less(z[rows], (place[rows] + choice[rows]) % 2 == 0, part)
            again = self._applied(freed, place[rows], choice[rows], part)
            near = per_row(self.size(again, part) <= self.k, again)
            made = made.clone()
            made[rows] = torch.where(near, again, z[rows])
        return made

    def middles(self, z: Tensor, region: Rows) -> Tensor:
        """Return (N, M) int64: the places in the middle of each word of texts z (N, L), -1 behind the last one.

        Of a long word, and of bytes without blanks, each `_PART` characters are one. Where characters have several code
        points, places are near the middle.
        """
        n, width = z.shape
        column = torch.arange(width, device=z.device).expand(n, -1)
        if not self.kinds:
            return torch.where(column < self.places(z, region).unsqueeze(1), column, -1)
        inside = (z >= 0) & (z != 32) & ((z < 9) | (z > 13))
        begins = inside & ~torch.cat([torch.zeros_like(inside[:, :1]), inside[:, :-1]], 1)
        since = column - torch.where(begins, column, 0).cummax(1).values
        word = torch.where(inside, (inside & (since % _PART == 0)).long().cumsum(1) - 1, width)
        length = torch.zeros(n, width + 1, dtype=torch.int64, device=z.device).scatter_add(1, word, inside.long())
        first = torch.full_like(length, width).scatter_reduce(1, word, column, "amin")
        most = max(1, int((length[:, :width] > 0).sum(1).max())) if n and width else 1
        return torch.where(length > 0, first + length // 2, -1)[:, :most]

    def by_kind(self, u: Tensor, choices: Tensor) -> Tensor:
        """Return choices (N,) for draws u (N,) in [0, 1), each kind of edit as often as any other.

        A blank that is inserted is a kind for itself: it makes two words of one.
        """
        inserts, substitutes, deletes, swaps = self._counts
        base = inserts + substitutes + deletes + swaps
        parts = [(0, inserts), (inserts, substitutes), (inserts + substitutes, deletes), (base - swaps, swaps)]
        if inserts and ord(" ") in self._codes:
            parts.append((self._codes.index(ord(" ")), 1))
        parts = [part for part in parts if part[1]]
        rows = torch.tensor(parts, dtype=torch.int64, device=u.device).view(-1, 2).T
        start, size = (row.expand(len(u), -1) for row in rows)
        if self.words:  # behind all others, as many as the word there has
            start = torch.cat([start, start.new_full((len(u), 1), base)], 1)
            size = torch.cat([size, (choices - base).clamp(min=0).unsqueeze(1)], 1)
        there = (start + size <= choices.unsqueeze(1)) & (size > 0)
        # The kinds that the place has, in a row from the left.
        order = (~there).to(torch.int8).argsort(dim=1, stable=True)
        scaled = u * there.sum(1)
        at = order.gather(1, scaled.long().clamp(max=order.shape[1] - 1).unsqueeze(1))
        within = ((scaled - scaled.floor()) * size.gather(1, at).squeeze(1)).long()
        return torch.where(there.any(1), start.gather(1, at).squeeze(1) + within, 0)

    def repeated(self, number: Tensor, region: Rows, key: Tensor) -> Tensor:
        """Return texts (N, L) with one move made up to k times; numbers (N,) count through the moves, and begin again.

        At first a move is made k times all over the text, then k times in a row, and later in both ways less often too.
        """
        z, most = self.origin(region), min(_REPEATED, self.k)
        choices = self.choices(z, torch.zeros_like(number), region).clamp(min=1)
        draw = rng.uniform(rng.fold(key, "repeated"), (most + 2,)).double()
        turn, chosen = number // choices, number % choices
        times = torch.where((turn < 2) | (draw[:, 0] < 0.5), most, 1 + (draw[:, 1] * most).long())
        # Behind the last character there are insertions alone, and it has no next one to be swapped with.
        inserts, substitutes, deletes, _ = self._counts
        substitution = (chosen >= inserts) & (chosen < inserts + substitutes)
        short = (chosen >= inserts).long() + (chosen >= inserts + substitutes + deletes).long()
        for move in range(most):
            places = (self.places(z, region) - (short if self.kinds else 0)).clamp(min=1)
            # In a row substitutions take one place after the other; what is inserted or deleted moves the text instead.
            row = (draw[:, 2] * places).long() + move * substitution.long()
            place = torch.minimum(torch.where(turn % 2 == 1, row, (draw[:, 2 + move] * places).long()), places - 1)
            choice = torch.minimum(chosen, (self.choices(z, place, region) - 1).clamp(min=0))
            z = torch.where(per_row(move < times, z), self.moved(z, place, choice, region), z)
        return z

    def points(self, region: Rows) -> Tensor:
        origin = self.origin(region)
        last, count = self.places(origin, region).double() - 1, torch.ones(len(origin), dtype=torch.float64)
        count = count.to(origin.device)
        for edit in range(self.k):  # texts grow with each edit
            count = count * (1 + (last + edit * self._growth + 1) * self._most)
        return torch.where(count <= _COUNTED, count, torch.inf)

    def point(self, number: Tensor, region: Rows) -> Tensor:
        (n, lanes), width = number.shape, region["x"].shape[1]
        wide = {name: value.repeat_interleave(lanes, 0) for name, value in region.items()}
        z, rest = self.origin(wide), number.flatten()
        last = self.places(z, wide) - 1
        for edit in range(self.k):
            base = 1 + (last + edit * self._growth + 1) * self._most
            digit, rest = rest % base, rest // base
            place, choice = (digit - 1).clamp(min=0) // self._most, (digit - 1).clamp(min=0) % self._most
            here = (digit > 0) & (place < self.places(z, wide))
            place = torch.where(here, place, 0)
            here = here & (choice < self.choices(z, place, wide))
            z = torch.where(per_row(here, z), self._applied(z, place, torch.where(here, choice, 0), wide), z)
        return z.view(n, lanes, width)

    @property
    def _counts(self) -> tuple[int, int, int, int]:
        letters = len(self._codes)
        each = {"insert": letters, "substitute": letters, "delete": 1, "swap": 1}
        inserts, substitutes, deletes, swaps = (
            each[kind] * (kind in self.kinds) for kind in ("insert", "substitute", "delete", "swap")
        )
        return inserts, substitutes, deletes, swaps

    @property
    def _growth(self) -> int:
        others = [one for several in (self.words or {}).values() for one in several]
        if not self.kinds:
            return max(len(_WORD.findall(one)) for one in others) if others else 0
        return max([1, *(len(characters(one)) for one in others)])

    @property
    def _most(self) -> int:
        return sum(self._counts) + max((len(others) for others in (self.words or {}).values()), default=0)

    def _keeps(self, z: Tensor, region: Rows) -> Tensor:
        pattern = _pattern(self.keep or "")
        rows = zip(map(_text, region["x"]), map(_text, z), strict=True)
        kept = [before == now or _matches(pattern, before) == _matches(pattern, now) for before, now in rows]
        return torch.tensor(kept, dtype=torch.bool, device=z.device)

    def _applied(self, z: Tensor, place: Tensor, choice: Tensor, region: Rows) -> Tensor:
        """Return z after moves, whatever their size; z itself where there is no such move, or no room for it."""
        plain = region["plain"] & (not self.words)
        made = z.clone()
        if bool(plain.any()):
            made[plain] = self._applied_to_plain(z[plain], place[plain], choice[plain])
        for row in (~plain).nonzero().squeeze(1).tolist():
            made[row] = self._applied_to_row(z[row], int(place[row]), int(choice[row]))
        return made

    def _applied_to_plain(self, z: Tensor, place: Tensor, choice: Tensor) -> Tensor:
        inserts, substitutes, deletes, swaps = self._counts
        width, last = z.shape[1], (z >= 0).sum(1)
        codes = torch.tensor(self._codes or (0,), dtype=z.dtype, device=z.device)
        letter = codes[(torch.where(choice < inserts, choice, choice - inserts)).clamp(0, len(codes) - 1)]
        inner = place < last
        insert = (choice < inserts) & (place <= last) & (last < width)
        substitute = (choice >= inserts) & (choice < inserts + substitutes) & inner
        delete = (choice >= inserts + substitutes) & (choice < inserts + substitutes + deletes) & inner
        swap = (choice == inserts + substitutes + deletes) & (place < last - 1) & bool(swaps)
        column = torch.arange(width, device=z.device).unsqueeze(0)
        at = place.unsqueeze(1)
        # Each column takes the character of this column of z.
        source = column - (insert.unsqueeze(1) & (column > at)).long() + (delete.unsqueeze(1) & (column >= at)).long()
        source = torch.where(swap.unsqueeze(1) & (column == at), at + 1, source)
        source = torch.where(swap.unsqueeze(1) & (column == at + 1), at, source)
        made = torch.cat([z, z.new_full((len(z), 1), PADDING)], 1).gather(1, source.clamp(0, width))
        written = (insert | substitute).unsqueeze(1) & (column == at)
        return torch.where(written, letter.unsqueeze(1), made)

    def _applied_to_row(self, z: Tensor, place: int, choice: int) -> Tensor:
        text = _text(z)
        parts = characters(text)
        inserts, substitutes, deletes, swaps = self._counts
        at, others, length = place, *self._replacements(text, place)[1:]
        if not self.kinds:
            at = self._replacements(text, place)[0]
        if self.kinds and choice < inserts and place <= len(parts):
            parts.insert(place, chr(self._codes[choice]))
        elif at >= len(parts) or choice < inserts:
            return z
        elif choice < inserts + substitutes:
            parts[place] = chr(self._codes[choice - inserts])
        elif choice < inserts + substitutes + deletes:
            del parts[place]
        else:
            rank = choice - inserts - substitutes - deletes
            if swaps and place < len(parts) - 1:
                if rank == 0:
                    parts[place : place + 2] = parts[place + 1], parts[place]
                rank -= 1
            if rank >= len(others):
                return z
            if rank >= 0:
                parts[at : at + length] = characters(others[rank])
        return _row("".join(parts), z)

    def _replacements(self, text: str, place: int) -> tuple[int, tuple[str, ...], int]:
        found = _words_in(text, self) if self.words else ()
        if not self.kinds:
            return found[place] if place < len(found) else (len(text), (), 0)
        return next((one for one in found if one[0] == place), (place, (), 0))

    def milder(self, z: Tensor, region: Rows) -> Iterator[Tensor]:
        """Yield texts (N, L) that are z with what may be its first edit put back, or its last."""
        for first in (True, False):
            for kind in range(4):
                yield _put_back(region["x"], z, first=first, kind=kind)

    def _with_less(self, z: Tensor, first: Tensor, region: Rows) -> Tensor:
        """Return proposals of k edits with the first edit put back, or the last."""
        best = z.clone()
        for sooner in (True, False):
            rows = (first == sooner).nonzero().squeeze(1)
            for kind in range(4):
                if not len(rows):
                    break
                part = {name: value[rows] for name, value in region.items()}
                made = _put_back(part["x"], z[rows], first=sooner, kind=kind)
                less = self.size(made, part) < self.k
                best[rows[less]] = made[less]
                rows = rows[~less]
        return best


def codes_of(alphabet: str | bytes) -> tuple[int, ...]:
    """Return the different code points or bytes of an alphabet, in its order.

    Raises:
        ConfigError: it is neither a text nor bytes.
    """
    if not isinstance(alphabet, (str, bytes)):
        raise ConfigError(expected("an alphabet as a text or bytes", alphabet))
    codes = alphabet if isinstance(alphabet, bytes) else map(ord, alphabet)
    return tuple(dict.fromkeys(codes))


# Characters


def characters(text: str) -> list[str]:
    """Return the characters of a text in NFC, as a reader counts them.

    A letter with combining marks, an emoji with its modifiers and joiners, a pair of regional indicators and a syllable
    of Hangul letters are one each (most of Unicode Standard Annex 29).
    """
    text = unicodedata.normalize("NFC", text)
    if all(_is_plain(ord(code)) for code in set(text)):
        return list(text)
    parts: list[str] = []
    for code in text:
        last = parts[-1] if parts else ""
        paired = _is_indicator(code) and len(last) == 1 and _is_indicator(last)
        hangul = bool(last) and "\u1100" <= last[-1] <= "\u11ff" and "\u1160" <= code <= "\u11ff"
        if last and (_extends(code) or paired or hangul or last.endswith("\u200d")):
            parts[-1] += code
        else:
            parts.append(code)
    return parts


def _extends(code: str) -> bool:
    return unicodedata.category(code) in ("Mn", "Me", "Mc") or code == "\u200d" or "\U0001f3fb" <= code <= "\U0001f3ff"


def _is_indicator(code: str) -> bool:
    return "\U0001f1e6" <= code <= "\U0001f1ff"


@lru_cache(maxsize=65536)
def _is_plain(code: int) -> bool:
    """Return True for a code point that is one character beside any other, and that NFC leaves alone."""
    if code < 0x300:
        return True
    if 0xD800 <= code < 0xE000 or not 0 <= code <= 0x10FFFF:
        return True  # a lone surrogate
    text = chr(code)
    joins = _extends(text) or _is_indicator(text) or 0x1100 <= code < 0x1200
    return not joins and unicodedata.is_normalized("NFC", text)


def _plain_rows(x: Tensor) -> Tensor:
    plain = torch.ones(len(x), dtype=torch.bool, device=x.device)
    codes = np.unique(x.cpu().numpy())
    for code in codes[codes >= 0x300].tolist():
        if not _is_plain(int(code)):
            plain &= (x != code).all(1)
    return plain


def _text(row: Tensor) -> str:
    codes = row.cpu().numpy()
    return codes[codes >= 0].astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def _row(text: str, like: Tensor) -> Tensor:
    if len(text) > len(like):
        return like
    made = torch.full_like(like, PADDING)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.float64)
    made[: len(text)] = torch.from_numpy(codes).to(like)
    return made


@lru_cache(maxsize=64)
def _pattern(keep: str) -> re.Pattern[str]:
    try:
        return re.compile(keep)
    except (re.error, TypeError) as error:
        raise ConfigError(f"Expected keep to be a regular expression but got {keep!r}: {error}.") from None


def _matches(pattern: re.Pattern[str], text: str) -> list[str]:
    return [found[0] for found in pattern.finditer(text)]


def _is_entry(entry: tuple[object, object]) -> bool:
    word, others = entry
    several = isinstance(others, (list, tuple)) and all(isinstance(one, str) for one in others)
    return isinstance(word, str) and bool(word) and several


# Distances


def _distances(x: Tensor, z: Tensor, most: int, kinds: Sequence[str], codes: Sequence[int]) -> Tensor:
    """Return (N,) float64: the fewest edits from rows x to rows z (N, L); inf where these are more than `most`."""
    # In NumPy: small arrays, of which torch makes ten times the overhead.
    (n, width), reach = x.shape, np.arange(-most, most + 1)  # diagonals j - i
    own, other = (np.pad(row.cpu().numpy(), ((0, 0), (0, 2)), constant_values=PADDING) for row in (x, z))
    last_x, last_z = (own >= 0).sum(1), (other >= 0).sum(1)
    other = np.where(other < 0, -2, other)  # beyond the ends nothing is equal
    letters = np.array(codes or (-9,))
    # (N, D, L + 2): the first i from here on at which x[i] != z[i + d].
    column = np.arange(width + 2, dtype=np.int32)
    stop = np.empty((n, len(reach), width + 2), dtype=np.int32)
    for place, d in enumerate(reach.tolist()):
        low, high = max(0, -d), min(width + 2, width + 2 - d)
        stop[:, place] = column
        same = own[:, low:high] == other[:, low + d : high + d]
        stop[:, place, low:high][same] = width + 2
    stop = np.minimum.accumulate(stop[:, :, ::-1], axis=2)[:, :, ::-1]
    rows, diagonals = np.arange(n)[:, None], np.arange(len(reach))[None]
    far = np.full((n, len(reach)), -1)
    far[:, most] = stop[:, most, 0]
    gap = last_z - last_x
    goal, near = np.clip(gap, -most, most) + most, np.abs(gap) <= most
    size = np.full(n, np.inf)
    none = np.full((n, 1), -1)
    for edits in range(most + 1):
        reached = near & (far[rows[:, 0], goal] >= last_x)
        size[reached & np.isinf(size)] = edits
        if edits == most or not np.isinf(size[near]).any():
            break
        steps, j = [far], far + reach
        inside_x = (far >= 0) & (far < last_x[:, None])
        inside_z = (far >= 0) & (j < last_z[:, None]) & (j >= 0)
        i, m = np.clip(far, 0, width), np.clip(j, 0, width)
        put = inside_z & np.isin(other[rows, m], letters)
        if "substitute" in kinds:
            steps.append(np.where(inside_x & put, far + 1, -1))
        if "insert" in kinds:  # from the diagonal before, without a step in x
            steps.append(np.concatenate([none, np.where(put, far, -1)[:, :-1]], 1))
        if "delete" in kinds:
            steps.append(np.concatenate([np.where(inside_x, far + 1, -1)[:, 1:], none], 1))
        if "swap" in kinds:
            crossed = (own[rows, i] == other[rows, m + 1]) & (own[rows, i + 1] == other[rows, m])
            steps.append(np.where(inside_x & inside_z & crossed, far + 2, -1))
        far = np.maximum.reduce(steps)
        slid = stop[rows, diagonals, np.clip(far, 0, width + 1)]
        far = np.where(far < 0, -1, np.maximum(far, np.where(slid <= width + 1, slid, far)))
    return torch.from_numpy(size).to(x.device)


@lru_cache(maxsize=200_000)
def _words_in(text: str, threat: Edits) -> tuple[tuple[int, tuple[str, ...], int], ...]:
    parts, starts, at = characters(text), {}, 0
    for number, part in enumerate(parts):
        starts[at] = number
        at += len(part)
    starts[at] = len(parts)
    words = threat.words or {}
    found = [(one, tuple(words.get(one[0], ()))) for one in _WORD.finditer("".join(parts))]
    return tuple(
        (starts[one.start()], others, starts[one.end()] - starts[one.start()])
        for one, others in found
        if others and one.start() in starts and one.end() in starts
    )


@lru_cache(maxsize=200_000)
def _distance(before: str, after: str, threat: Edits) -> float:
    """Return the fewest edits between two texts in NFC; inf where these are more than k."""
    a, b = characters(before), characters(after)
    letters = {chr(code) for code in threat._codes}
    replaced = {place: (others, length) for place, others, length in _words_in(before, threat)} if threat.words else {}

    def after_match(states: set[tuple[int, int]]) -> set[tuple[int, int]]:
        every, todo = set(states), list(states)
        while todo:
            i, j = todo.pop()
            if i < len(a) and j < len(b) and a[i] == b[j] and (i + 1, j + 1) not in every:
                every.add((i + 1, j + 1))
                todo.append((i + 1, j + 1))
        return every

    def after_edit(i: int, j: int) -> Iterator[tuple[int, int]]:
        if "substitute" in threat.kinds and i < len(a) and j < len(b) and b[j] in letters:
            yield i + 1, j + 1
        if "insert" in threat.kinds and j < len(b) and b[j] in letters:
            yield i, j + 1
        if "delete" in threat.kinds and i < len(a):
            yield i + 1, j
        if "swap" in threat.kinds and a[i : i + 2] == b[j : j + 2][::-1] and len(a[i : i + 2]) == 2:
            yield i + 2, j + 2
        others, length = replaced.get(i, ((), 0))
        for word in others:
            made = characters(word)
            if b[j : j + len(made)] == made:
                yield i + length, j + len(made)

    states = after_match({(0, 0)})
    for edits in range(threat.k + 1):
        if (len(a), len(b)) in states:
            return float(edits)
        # A point from which the ends are too far apart leads nowhere, unless a word bridges the gap.
        left = threat.k - edits
        states = after_match({step for i, j in states for step in after_edit(i, j)})
        if not threat.words:
            states = {(i, j) for i, j in states if abs((len(a) - i) - (len(b) - j)) <= left}
    return float("inf")


def _put_back(x: Tensor, z: Tensor, *, first: bool, kind: int) -> Tensor:
    """Return rows z with what may be their first edit put back, or their last.

    Some shortest way from x to z has its first edit where both differ first, and one its last where they differ last.

    Args:
        kind: kind of the edit: 0 a substitution, 1 an insertion, 2 a deletion, 3 a swap.
    """
    (n, width), ends = x.shape, ((x >= 0).sum(1), (z >= 0).sum(1))
    column = torch.arange(width, device=x.device).unsqueeze(0).expand(n, -1)
    if first:
        at_x = at_z = ((x != z).long().cumsum(1) == 0).sum(1)
    else:
        back = [torch.where(column < end.unsqueeze(1), end.unsqueeze(1) - 1 - column, width) for end in ends]
        turned = [
            torch.cat([row, row.new_full((n, 1), mark)], 1).gather(1, place)
            for row, place, mark in ((x, back[0], -3), (z, back[1], -4))
        ]
        same = ((turned[0] != turned[1]).long().cumsum(1) == 0).sum(1)
        at_x, at_z = ends[0] - 1 - same, ends[1] - 1 - same
    own = x.gather(1, at_x.clamp(0, width - 1).unsqueeze(1))
    here = at_z.unsqueeze(1)
    padded = torch.cat([z, z.new_full((n, 2), PADDING)], 1)
    if kind == 0:
        made = torch.where(column == here, own, z)
    elif kind == 1:
        made = padded.gather(1, column + (column >= here).long())
    elif kind == 2:  # the character stood before this one, or behind it
        gap = here if first else here + 1
        made = torch.where(column == gap, own, padded.gather(1, (column - (column > gap).long()).clamp(min=0)))
        made = torch.where((ends[1] < width).unsqueeze(1), made, z)
    else:
        low = here if first else here - 1
        source = torch.where(column == low, low + 1, torch.where(column == low + 1, low, column))
        made = padded.gather(1, source.clamp(min=0))
    # A guess that is none may have left a hole: padding is on the right alone.
    return made.gather(1, (made < 0).long().argsort(dim=1, stable=True))


# Something put in


def _parts(value: str | bytes) -> set[str] | set[bytes]:
    """Return the words of a text; of bytes the first and last ones, by twos up to `_ENDS`."""
    if isinstance(value, str):
        return {*_WORD.findall(value)}
    sizes = range(2, _ENDS + 1, 2)
    return {part for size in sizes for part in (value[:size], value[-size:])}


@dataclass(frozen=True, slots=True)
class _Block(_OfTexts):
    """At most n characters or bytes in a row, put in at one place of a text; proposals are the texts."""

    axis: ClassVar[str] = "n"
    anywhere: ClassVar[bool] = True

    n: int
    alphabet: str | bytes = PRINTABLE
    _codes: tuple[int, ...] = field(init=False, repr=False, compare=False, default=())
    # Rows of codes that random proposals try beside random letters, see `with_words_of`.
    _words: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        checked_whole("n", self.n, 0)
        object.__setattr__(self, "_codes", codes_of(self.alphabet))
        if not self._codes:
            raise ConfigError(expected("an alphabet of one character or more", self.alphabet))

    def __str__(self) -> str:
        return f"{type(self).__name__}(n={self.n})"

    @property
    def radius(self) -> float:
        return float(self.n)

    @property
    def room(self) -> int:
        """Columns that proposals may need beyond the longest sample."""
        return self.n

    @property
    def fits_bytes(self) -> bool:
        """True if all its characters are bytes."""
        return max(self._codes) < 256

    def with_words_of(self, values: Sequence[str | bytes], labels: Sequence[int]) -> Self:
        """Return this threat with words of samples, or ends of files, that tell the classes apart, for `start` to try.

        A rule on a word, or on the first bytes of a file, gives no hint before all of it is there: a search letter by
        letter does not find it.
        """
        parts = [{part for part in _parts(value) if 1 < len(part) <= self.n} for value in values]
        held = Counter((part, label) for found, label in zip(parts, labels, strict=True) for part in found)
        size, every, letters = Counter(labels), Counter(part for found in parts for part in found), {*self._codes}
        apart: dict[str | bytes, float] = {}
        for (part, label), count in held.items():
            beside = (every[part] - count) / max(1, len(values) - size[label])
            apart[part] = max(apart.get(part, -1.0), count / size[label] - beside)
        codes = {part: tuple(part if isinstance(part, bytes) else map(ord, part)) for part in apart}
        best = sorted(
            (part for part in apart if letters.issuperset(codes[part])), key=lambda part: (-apart[part], part)
        )
        made = replace(self)
        object.__setattr__(made, "_words", tuple(codes[part] for part in best[:_WORDS]))
        return made

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        return {**box(x, bounds), "length": (x >= 0).sum(1)}

    def start(self, region: Rows, key: Tensor) -> Tensor:
        x, last = region["x"], region["length"]
        drawn = rng.uniform(rng.fold(key, "block"), (self.n + 2,)).double()
        # One character in a row of all characters, or every one drawn alone.
        letters = (drawn[:, 2:] * len(self._codes)).long()
        letters = torch.where(drawn[:, :1] < 0.5, letters, letters[:, :1]) if self.n else letters
        length = (drawn[:, 1] * 2 * self.n).ceil().long().clamp(max=self.n)
        place = rng.integers(rng.fold(key, "place"), (1,), (last + 1).unsqueeze(1)).squeeze(1)
        content = self._letters(x)[letters]
        if self._words:  # half of the proposals put in a word, half of these between blanks where there is room
            blank = (ord(" "),) * (isinstance(self.alphabet, str) and " " in self.alphabet)
            between = [(*blank, *word, *blank * self.anywhere) for word in self._words]
            rows = [*self._words, *(row if len(row) <= self.n else row[len(blank) :][: self.n] for row in between)]
            table = torch.tensor([[*row, *[self._codes[0]] * (self.n - len(row))] for row in rows]).to(x)
            lengths = torch.tensor([len(row) for row in rows], device=x.device)
            u = rng.uniform(rng.fold(key, "words"), (2,)).double()
            which, words = (u[:, 1] * len(rows)).long(), u[:, 0] < 0.5
            content, length = (
                torch.where(words[:, None], table[which], content),
                torch.where(words, lengths[which], length),
            )
        return self._composed(x, content, place if self.anywhere else last, length)

    def size(self, z: Tensor, region: Rows) -> Tensor:
        """Return (N,) float64: the characters put in; inf for a text that is not the sample with one row put in."""
        x, last = region["x"], region["length"]
        place, length, content = self._block(z, region)
        again = self._composed(x, content, place, length.clamp(0, self.n))
        right = (again == z).all(1) & (length >= 0) & (length <= self.n)
        right = right & (self.anywhere | (place >= last) | (length == 0))
        return torch.where(right, length.double(), torch.inf)

    # Moves: at the end of the row, or at any place where there is none yet, a choice puts in a letter, or fills up with
    # it; at a letter of the row it substitutes a letter, or cuts the row off; elsewhere it moves the row there.

    def places(self, z: Tensor, region: Rows) -> Tensor:
        count = (z >= 0).sum(1) + 1
        return count if self.anywhere else count - region["length"]

    def choices(self, z: Tensor, place: Tensor, region: Rows) -> Tensor:
        inside, end, _ = self._where(z, place, region)
        letters = len(self._codes)
        count = torch.where(inside, letters + 1, 1)
        return torch.where(end, 2 * letters, count)

    def moved(self, z: Tensor, place: Tensor, choice: Tensor, region: Rows) -> Tensor:
        start, length, content = self._block(z, region)
        inside, end, at = self._where(z, place, region)
        letters, every = self._letters(z), len(self._codes)
        letter = letters[choice % every].unsqueeze(1)
        column = torch.arange(self.n, device=z.device).unsqueeze(0)
        begin = torch.where(length == 0, at, start)
        here = torch.where(length == 0, 0, at - start).unsqueeze(1)
        fills = (choice >= every).unsqueeze(1)
        written = torch.where(end.unsqueeze(1), (column == here) | (fills & (column >= here)), column == here)
        written = written & (end | (inside & (choice < every))).unsqueeze(1)
        made = torch.where(written, letter, content)
        longer = torch.where(choice < every, length + 1, self.n)
        new = torch.where(end, longer.clamp(max=self.n), torch.where(inside & (choice == every), at - start, length))
        elsewhere = ~inside & ~end
        begin = torch.where(elsewhere, torch.where(at < start, at, at - length), begin)
        return self._composed(region["x"], made, begin, new)

    def repeated(self, number: Tensor, region: Rows, key: Tensor) -> Tensor:
        """Return texts (N, L) with one letter in a row; numbers (N,) count through the letters, and begin again.

        The first time a row has n of it, later fewer.
        """
        x, last, every = region["x"], region["length"], len(self._codes)
        draw = rng.uniform(rng.fold(key, "repeated"), (2,)).double()
        length = torch.where(number < every, self.n, 1 + (draw[:, 0] * self.n).long()).clamp(max=self.n)
        place = (draw[:, 1] * (last + 1)).long() if self.anywhere else last
        letter = self._letters(x)[number % every].unsqueeze(1)
        return self._composed(x, letter.expand(-1, max(1, self.n)), place, length)

    def points(self, region: Rows) -> Tensor:
        letters, rows = float(len(self._codes)), 0.0
        for length in range(1, self.n + 1):
            rows += letters**length
            if rows > _COUNTED:
                break
        places = region["length"].double() + 1 if self.anywhere else torch.ones_like(region["length"]).double()
        count = 1 + places * rows
        return torch.where(count <= _COUNTED, count, torch.inf)

    def point(self, number: Tensor, region: Rows) -> Tensor:
        (rows, lanes), width = number.shape, region["x"].shape[1]
        x, last = (region[name].repeat_interleave(lanes, 0) for name in ("x", "length"))
        flat = number.flatten()
        places = last + 1 if self.anywhere else torch.ones_like(last)
        place = (flat - 1).clamp(min=0) % places
        # Numerals without a zero: 1, 2, ..., A, 11, 12, ... count all rows of letters, short ones first.
        rest = torch.where(flat > 0, (flat - 1).clamp(min=0) // places + 1, 0)
        digits, length = torch.zeros(len(x), self.n, dtype=torch.int64, device=x.device), torch.zeros_like(flat)
        for column in range(self.n):
            if not bool((rest > 0).any()):
                break
            digits[:, column] = torch.where(rest > 0, (rest - 1) % len(self._codes), 0)
            length += (rest > 0).long()
            rest = torch.where(rest > 0, (rest - 1) // len(self._codes), 0)
        made = self._composed(x, self._letters(x)[digits], place if self.anywhere else last, length)
        return made.view(rows, lanes, width)

    def milder(self, z: Tensor, region: Rows) -> Iterator[Tensor]:
        """Yield texts (N, L) with half of what was put in, all but one character, and the other half."""
        place, length, content = self._block(z, region)
        yield self._composed(region["x"], content, place, length // 2)
        yield self._composed(region["x"], content, place, (length - 1).clamp(min=0))
        half = (length // 2).unsqueeze(1) + torch.arange(self.n, device=z.device)
        rest = content.gather(1, half.clamp(max=max(0, self.n - 1))) if self.n else content
        yield self._composed(region["x"], rest, place, length - length // 2)

    def _letters(self, like: Tensor) -> Tensor:
        return torch.tensor(self._codes, dtype=like.dtype, device=like.device)

    def _block(self, z: Tensor, region: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Return place (N,), length (N,) and letters (N, n) of the row put in."""
        x, last = region["x"], region["length"]
        length = (z >= 0).sum(1) - last
        same = ((x != z).long().cumsum(1) == 0).sum(1)
        place = torch.minimum(same, last)
        column = place.unsqueeze(1) + torch.arange(self.n, device=z.device)
        return place, length, z.gather(1, column.clamp(max=z.shape[1] - 1))

    def _where(self, z: Tensor, place: Tensor, region: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Return (N,) bool: places at a letter of the row, and at its end; and the column (N,)."""
        start, length, _ = self._block(z, region)
        at = place if self.anywhere else place + region["length"]
        return (at >= start) & (at < start + length), (length == 0) | (at == start + length), at

    def _composed(self, x: Tensor, letters: Tensor, place: Tensor, length: Tensor) -> Tensor:
        column = torch.arange(x.shape[1], device=x.device).unsqueeze(0)
        start, size = place.unsqueeze(1), length.unsqueeze(1)
        behind = x.gather(1, (column - size).clamp(min=0))
        if self.n == 0:
            return x
        put = letters.gather(1, (column - start).clamp(0, self.n - 1))
        return torch.where(column < start, x, torch.where(column < start + size, put, behind))


@dataclass(frozen=True, slots=True)
class Append(_Block):
    """At most n characters, or bytes, behind the end of a sample.

    Args:
        n: most characters, >= 0.
        alphabet: characters, or bytes, that may be appended; printable ASCII by default.
    """

    anywhere: ClassVar[bool] = False

    @property
    def elements(self) -> int:
        """The elements that a search has to ask about."""
        return self.n


@dataclass(frozen=True, slots=True)
class Insert(_Block):
    """At most n characters, or bytes, in a row at one place of a sample.

    Args:
        n: most characters, >= 0.
        alphabet: characters, or bytes, that may be inserted; printable ASCII by default.
    """
