"""Edits of texts and bytes: sizes against dynamic programming, every point of small regions, moves that stay inside."""

from __future__ import annotations

import itertools
import random
import unicodedata
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import ConfigError, rng
from robustest.data.strings import Strings
from robustest.threats import Append, Discrete, Edits, Insert
from robustest.threats.edits import KINDS, _distance, characters

BOUNDS = (-(2.0**24), 2.0**24)
TEXT = Strings("str")


def region(threat: Any, texts: Sequence[str]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = threat.region(TEXT.padded(TEXT.encode(texts), threat.room).float(), BOUNDS)
    return found


def rows(texts: Sequence[str], like: Tensor) -> Tensor:
    x = TEXT.encode(texts)
    return TEXT.padded(x, like.shape[1] - x.shape[1]).float()


def by_table(a: str, b: str, kinds: Sequence[str], letters: str) -> float:
    """Optimal string alignment by its recursion, with the kinds and letters that are allowed."""
    table = {(0, 0): 0.0}
    for i, j in itertools.product(range(len(a) + 1), range(len(b) + 1)):
        ways = [table[i - 1, j - 1]] if i and j and a[i - 1] == b[j - 1] else []
        if j and b[j - 1] in letters:
            ways += [table[i - 1, j - 1] + 1] if i and "substitute" in kinds else []
            ways += [table[i, j - 1] + 1] if "insert" in kinds else []
        ways += [table[i - 1, j] + 1] if i and "delete" in kinds else []
        crossed = i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]
        ways += [table[i - 2, j - 2] + 1] if crossed and "swap" in kinds else []
        table[i, j] = min(ways, default=float("inf")) if i or j else 0.0
    return table[len(a), len(b)]


def edited(text: str, edits: int, draw: random.Random) -> str:
    made = list(text)
    for _ in range(edits):
        kind, i = draw.choice(KINDS), draw.randint(0, len(made))
        if kind == "insert":
            made.insert(i, draw.choice("abc"))
        elif kind == "swap" and i + 1 < len(made):
            made[i], made[i + 1] = made[i + 1], made[i]
        elif i < len(made):
            made[i : i + 1] = "" if kind == "delete" else draw.choice("abc")
    return "".join(made)


SETS = [KINDS, ("swap",), ("delete",), ("insert",), ("insert", "delete"), ("substitute", "swap"), ("substitute",)]


@pytest.mark.parametrize("kinds", SETS, ids="-".join)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_sizes_are_those_of_dynamic_programming(kinds: tuple[str, ...], k: int) -> None:
    draw = random.Random(k)  # noqa: S311 - no secrets here
    threat = Edits(k, kinds=kinds, alphabet=draw.choice(["ab", "abc", "a"]))
    before = ["".join(draw.choices("abcd"[: draw.randint(2, 4)], k=draw.randint(0, 9))) for _ in range(40)]
    after = [edited(text, draw.randint(0, k + 1), draw) for text in before]
    own = region(threat, [*before, "x" * 12])
    size = threat.size(rows([*after, "x" * 12], own["x"]), own)[:-1]
    want = [by_table(a, b, kinds, str(threat.alphabet)) for a, b in zip(before, after, strict=True)]
    assert size.tolist() == [one if one <= k else float("inf") for one in want]
    slow = [_distance(a, b, threat) for a, b in zip(before, after, strict=True)]  # the way for other characters
    assert slow == size.tolist()


def reachable(text: str, threat: Edits) -> set[str]:
    """All texts within one edit, written down edit by edit."""
    found, letters = {text}, str(threat.alphabet)
    for i in range(len(text) + 1):
        found |= {text[:i] + c + text[i:] for c in letters} if "insert" in threat.kinds else set()
        if i < len(text):
            found |= {text[:i] + c + text[i + 1 :] for c in letters} if "substitute" in threat.kinds else set()
            found |= {text[:i] + text[i + 1 :]} if "delete" in threat.kinds else set()
        if i + 1 < len(text) and "swap" in threat.kinds:
            found.add(text[:i] + text[i + 1] + text[i] + text[i + 2 :])
    return found


def points(threat: Any, texts: Sequence[str]) -> list[list[str]]:
    own = region(threat, texts)
    most = int(threat.points(own).max())
    z = threat.point(torch.arange(most).expand(len(texts), -1), own)
    # As the engine does: an edit inside of a swap is outside.
    inside = threat.project(z.flatten(0, 1), {name: one.repeat_interleave(most, 0) for name, one in own.items()})
    return [TEXT.decode(one) for one in inside.view_as(z)]


@pytest.mark.parametrize("kinds", SETS, ids="-".join)
def test_the_points_of_a_region_are_all_texts_in_it(kinds: tuple[str, ...]) -> None:
    one, two = (Edits(k, kinds=kinds, alphabet="ab") for k in (1, 2))
    for text, found in zip(["abca", "", "bb"], points(one, ["abca", "", "bb"]), strict=True):
        assert set(found) == reachable(text, one)
        assert found[0] == text
    for text, found in zip(["abc", "b"], points(two, ["abc", "b"]), strict=True):
        pairs = set().union(*(reachable(near, one) for near in reachable(text, one)))
        assert set(found) == {z for z in pairs if by_table(text, z, kinds, "ab") <= 2}


def test_the_points_of_blocks_are_all_texts_in_them() -> None:
    rows = ["".join(one) for n in range(3) for one in itertools.product("ab", repeat=n)]  # seven
    for text, found in zip(["xa", ""], points(Append(2, "ab"), ["xa", ""]), strict=True):
        assert set(found[:7]) == {text + one for one in rows}
        assert found[0] == text
    for text, found in zip(["xa", ""], points(Insert(2, "ab"), ["xa", ""]), strict=True):
        assert set(found) == {text[:i] + one + text[i:] for i in range(len(text) + 1) for one in rows}


THREATS = [
    Edits(1),
    Edits(2, alphabet="xyz\U0001f600"),
    Edits(3, kinds=("swap", "delete")),
    Edits(3, keep=r"film|\d+"),
    Edits(2, kinds=(), words={"film": ("movie", "motion picture"), "a": ("one",)}),
    Edits(2, words={"film": ("movie",)}),
    Append(3),
    Append(9, "z"),
    Insert(4),
]
TEXTS = ["a film no 12", "", "bb", "cafe\u0301 film 7", "\U0001f469\u200d\U0001f680 \U0001f1e9\U0001f1ea film"]


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_moves_stay_inside_and_lead_everywhere(threat: Any) -> None:
    """A walk of many moves never leaves the region, and is often at its border."""
    assert isinstance(threat, Discrete)
    own, key = region(threat, TEXTS * 8), rng.keys(0, torch.arange(8 * len(TEXTS)))
    assert torch.equal(threat.origin(own), own["x"])
    z, seen = threat.start(own, key), set()
    for step in range(20):
        size = threat.size(z, own)
        assert bool((size <= threat.radius).all())
        assert torch.equal(threat.project(z, own), z)
        seen |= {int(one) for one in size.tolist()}
        draw = rng.uniform(rng.fold(key, step), (2,)).double()
        places = threat.places(z, own)
        assert bool((places >= 1).all())
        place = (draw[:, 0] * places).long()
        choice = (draw[:, 1] * threat.choices(z, place, own)).long()
        z = threat.moved(z, place, choice, own)
        assert bool(((z >= 0).long().diff(dim=1) <= 0).all())  # padding is on the right alone
    assert int(threat.radius) in seen
    changed = [a != b for a, b in zip(TEXT.decode(z), TEXT.decode(own["x"]), strict=True)]
    assert sum(changed) > len(changed) / 3


def test_at_the_border_moves_exchange_edits() -> None:
    threat = Edits(1, kinds=("substitute",), alphabet="x")
    own = region(threat, ["abcd"])
    z = rows(["xbcd"], own["x"])
    moved = [threat.moved(z, torch.tensor([at]), torch.tensor([0]), own) for at in range(4)]
    assert [TEXT.decode(one)[0] for one in moved] == ["xbcd", "axcd", "abxd", "abcx"]


def test_a_walk_at_the_border_gets_from_each_edit_to_each_other() -> None:
    threat = Edits(1, alphabet="x")
    own = region(threat, ["aba"])
    border = {text for text in points(threat, ["aba"])[0] if text != "aba"}
    for text in border:
        z = rows([text], own["x"])
        moves = [(p, c) for p in range(int(threat.places(z, own))) for c in range(4)]
        made = [threat.moved(z, torch.tensor([p]), torch.tensor([c]), own) for p, c in moves]
        assert len({TEXT.decode(one)[0] for one in made} & border) > len(border) / 3


def test_words_are_single_edits_of_whole_words() -> None:
    threat = Edits(1, kinds=(), words={"film": ("movie",), "don't": ("do not",)})
    own = region(threat, ["a film, filmed; don't"] * 4)
    made = ["a movie, filmed; don't", "a film, movieed; don't", "a movie, filmed; do not", "a film, filmed; do not"]
    assert threat.size(rows(made, own["x"]), own).tolist() == [1, float("inf"), float("inf"), 1]
    assert set(points(threat, ["a film, filmed; don't"])[0]) == {"a film, filmed; don't", made[0], made[3]}


def test_kept_parts_stay_in_their_order() -> None:
    threat = Edits(2, keep=r"@\w+|\d")
    own = region(threat, ["hi @bob 42"] * 5)
    made = ["ha @bob 42", "hi @bop 42", "hi @bob 24", "hi @bob 4", "hi @bob 4x2"]
    assert threat.size(rows(made, own["x"]), own).isfinite().tolist() == [True, False, False, False, True]


def test_accents_and_emoji_are_single_characters() -> None:
    assert characters("e\u0301x") == ["\u00e9", "x"]
    family = "\U0001f469\u200d\U0001f467"
    assert characters(f"a{family}\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7\U0001f44d\U0001f3fd") == [
        "a",
        family,
        "\U0001f1e9\U0001f1ea",
        "\U0001f1eb\U0001f1f7",
        "\U0001f44d\U0001f3fd",
    ]
    threat = Edits(1, kinds=("delete",))
    own = region(threat, [f"a{family}", "e\u0301", unicodedata.normalize("NFD", "caf\u00e9s")])
    assert threat.size(rows(["a", "", "caf\u00e9"], own["x"]), own).tolist() == [1, 1, 1]
    assert [set(found) for found in points(threat, [f"a{family}"])] == [{f"a{family}", "a", family}]


def test_bytes_are_edited_as_texts_are() -> None:
    coding = Strings("bytes")
    threat = Append(3, bytes(range(256)))
    own = threat.region(coding.padded(coding.encode([b"MZ\xff\x00"]), threat.room).float(), BOUNDS)
    z = threat.start(own, rng.keys(0, torch.arange(1)))
    (made,) = coding.decode(z)
    assert made.startswith(b"MZ\xff\x00")
    assert 4 < len(made) <= 7


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Edits(-1), "k"),
        (lambda: Edits(1.5), "k"),  # type: ignore[arg-type]
        (lambda: Edits(1, kinds=("paste",)), "paste"),
        (lambda: Edits(1, kinds=()), "words"),
        (lambda: Edits(1, alphabet=""), "alphabet"),
        (lambda: Edits(1, alphabet=5), "alphabet"),  # type: ignore[arg-type]
        (lambda: Edits(1, words={"a": "b"}), "replacements"),
        (lambda: Edits(1, keep="("), "regular expression"),
        (lambda: Append(-1), "n"),
        (lambda: Insert(1, alphabet=b""), "alphabet"),
    ],
)
def test_wrong_values_are_named(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()
