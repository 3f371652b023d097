"""Edits of texts and bytes: sizes against dynamic programming, every point of small regions, moves that stay inside."""

from __future__ import annotations

import itertools
import random
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import ConfigError, rng
from robustest.data.strings import Strings
from robustest.threats import Append, Discrete, Edits, Insert
from robustest.threats.edits import KINDS, PADDING, _distance, characters

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


def edited(text: str, edits: int, draw: random.Random, kinds: Sequence[str] = KINDS) -> str:
    made = list(text)
    for _ in range(edits):
        kind, i = draw.choice(kinds), draw.randint(0, len(made))
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


# Each move, by its number


def moves_by_hand(text: str, threat: Edits) -> list[list[str]]:
    """Texts by place and choice: a letter inserted, one substituted, the character deleted or swapped, a word replaced.

    Words of these tests are single letters, so that each begins at its character.
    """
    parts, letters = characters(text), list(dict.fromkeys(str(threat.alphabet)))
    words = threat.words or {}
    around = [None, *parts, None]
    alone = [not any(one is not None and one.isalnum() for one in around[i : i + 3 : 2]) for i in range(len(parts))]
    if not threat.kinds:
        at = [i for i, part in enumerate(parts) if part in words and alone[i]]
        return [["".join([*parts[:i], one, *parts[i + 1 :]]) for one in words[parts[i]]] for i in at]
    every = []
    for i in range(len(parts) + 1):
        before, here, after = parts[:i], parts[i : i + 1], parts[i + 1 :]
        made = [[*before, c, *here, *after] for c in letters] if "insert" in threat.kinds else []
        if here:
            made += [[*before, c, *after] for c in letters] if "substitute" in threat.kinds else []
            made += [[*before, *after]] if "delete" in threat.kinds else []
            made += [[*before, after[0], *here, *after[1:]]] if "swap" in threat.kinds and after else []
        made += [[*before, one, *after] for one in words.get("".join(here), ()) if alone[i]]
        every.append(["".join(one) for one in made])
    return every


ONE_BY_ONE = [
    Edits(9, alphabet="xyx"),
    Edits(9, kinds=("insert",), alphabet="x"),
    Edits(9, kinds=("delete", "swap")),
    Edits(9, kinds=("substitute", "swap"), alphabet="xy"),
    Edits(9, kinds=("insert", "delete"), alphabet="xyz"),
    Edits(9, kinds=("swap",), words={"a": ("b", "cde"), "d": ("",)}),
    Edits(9, alphabet="x", words={"a": ("bb",)}),
    Edits(9, kinds=(), words={"a": ("b", "cde"), "d": ("efg",)}),
]


@pytest.mark.parametrize("threat", ONE_BY_ONE, ids=str)
@pytest.mark.parametrize("text", ["a b d a", "ab", "a", "", "\U0001f469\u200d\U0001f680 a e\u0301\u0323 d"], ids=ascii)
def test_each_choice_at_each_place_is_the_edit_of_its_number(threat: Edits, text: str) -> None:
    want = moves_by_hand(text, threat)
    own = region(threat, [text])
    z = own["x"]
    assert int(threat.places(z, own)) == max(1, len(want))
    pairs = [(place, choice) for place, made in enumerate(want) for choice in range(len(made))]
    assert [int(threat.choices(z, torch.tensor([at]), own)) for at in range(len(want))] == [len(one) for one in want]
    if pairs:
        many = {name: value.repeat_interleave(len(pairs), 0) for name, value in own.items()}
        place, choice = (torch.tensor(one) for one in zip(*pairs, strict=True))
        made = TEXT.decode(threat.moved(many["x"], place, choice, many))
        normal = [unicodedata.normalize("NFC", one) for one in made]
        assert normal == [unicodedata.normalize("NFC", want[at][number]) for at, number in pairs]


def test_there_is_no_move_beyond_the_last_place_or_without_room() -> None:
    threat = Edits(1, alphabet="x")
    own = threat.region(TEXT.encode(["abc", "\U0001f1e9\U0001f1eaa"]).float(), BOUNDS)  # no column is left
    for place, choice in ((0, 0), (3, 0), (4, 0), (3, 1), (3, 2), (2, 3)):
        moved = threat.moved(own["x"], torch.tensor([place] * 2), torch.tensor([choice] * 2), own)
        assert torch.equal(moved, own["x"])
    assert TEXT.decode(threat.moved(own["x"], torch.tensor([1, 0]), torch.tensor([3, 2]), own)) == ["acb", "a"]


def test_at_the_border_the_first_or_the_last_edit_is_put_back_by_turns() -> None:
    threat = Edits(2, kinds=("substitute",), alphabet="x")
    own = region(threat, ["abcdef"])
    z = rows(["xbcdex"], own["x"])
    made = [TEXT.decode(threat.moved(z, torch.tensor([at]), torch.tensor([0]), own))[0] for at in range(1, 5)]
    assert made == ["xxcdef", "abxdex", "xbcxef", "abcdxx"]


def test_a_start_takes_one_edit_to_k() -> None:
    threat = Edits(3, kinds=("substitute",), alphabet="x")
    own, key = region(threat, ["a" * 40] * 600), rng.keys(0, torch.arange(600))
    size = threat.size(threat.start(own, key), own)
    counts = [int((size == edits).sum()) for edits in range(4)]
    assert counts[0] < 20, "behind the end there is nothing to substitute"
    assert min(counts[1:]) > 130
    at = (threat.start(own, key) != own["x"]).float().mean(0)[:40]
    assert 0.02 < float(at.min()) <= float(at.max()) < 0.1, "at every place"
    none = Edits(0)
    assert torch.equal(none.start(region(none, ["ab"] * 3), key[:3]), region(none, ["ab"] * 3)["x"])


def test_a_start_puts_any_letter_at_any_place() -> None:
    threat = Edits(1, kinds=("substitute",), alphabet="wxyz")
    own = region(threat, ["a" * 8] * 800)
    drawn = TEXT.decode(threat.start(own, rng.keys(0, torch.arange(800))))
    found = Counter((text.strip("a"), text.find(text.strip("a")) < 4) for text in drawn if text.strip("a"))
    assert len(found) == 8
    assert min(found.values()) > 50


@pytest.mark.parametrize("kinds", SETS, ids="-".join)
@pytest.mark.parametrize("first", [True, False])
def test_one_of_the_milder_texts_has_an_edit_less_from_either_end(kinds: tuple[str, ...], first: bool) -> None:
    draw = random.Random(5)  # noqa: S311 - no secrets here
    threat = Edits(3, kinds=kinds, alphabet="abc")
    before = ["".join(draw.choices("abcd", k=draw.randint(3, 8))) for _ in range(60)]
    after = [edited(text, draw.randint(1, 3), draw, kinds) for text in before]
    own = region(threat, before)
    z = rows(after, own["x"])
    size = threat.size(z, own)
    milder = list(threat.milder(z, own))
    assert len(milder) == 8
    least = torch.stack([threat.size(one, own) for one in (milder[:4] if first else milder[4:])]).amin(0)
    moved = size.isfinite() & (size > 0)
    assert int(moved.sum()) > 4
    assert bool((least[moved] <= size[moved] - 1).all())
    for one in milder:
        assert bool(((one >= 0).long().diff(dim=1) <= 0).all()), "padding is on the right alone"


# Something put in, by its number


def block_by_hand(text: str, start: int, block: str, threat: Any) -> dict[tuple[int, int], str]:
    """Texts by place and choice, for a block put in before a character."""
    letters, n = str(threat.alphabet), threat.n
    first = 0 if threat.anywhere else len(text)
    found = {}
    for place in range(len(text) + len(block) + 1 - first):
        at = first + place
        if not block or at == start + len(block):
            begin, here = (at, 0) if not block else (start, len(block))
            for choice, letter in enumerate(letters):
                found[place, choice] = text[:begin] + (block + letter if here < n else block) + text[begin:]
                found[place, len(letters) + choice] = text[:begin] + block + letter * (n - here) + text[begin:]
        elif start <= at < start + len(block):
            here = at - start
            for choice, letter in enumerate(letters):
                found[place, choice] = text[:start] + block[:here] + letter + block[here + 1 :] + text[start:]
            found[place, len(letters)] = text[:start] + block[:here] + text[start:]
        else:
            to = at if at < start else at - len(block)
            found[place, 0] = text[:to] + block + text[to:]
    return found


@pytest.mark.parametrize(
    ("text", "start", "block"),
    [("abcd", 2, "xy"), ("abcd", 4, "x"), ("abcd", 0, "xyz"), ("abcd", 3, ""), ("", 0, "xy")],
)
@pytest.mark.parametrize("kind", [Append, Insert])
def test_each_choice_at_each_place_changes_the_block_as_its_number_says(
    kind: Any, text: str, start: int, block: str
) -> None:
    threat = kind(3, "xyz")
    if kind is Append:
        start = len(text)
    own = region(threat, [text])
    z = rows([text[:start] + block + text[start:]], own["x"])
    assert float(threat.size(z, own)) == len(block)
    want = block_by_hand(text, start, block, threat)
    places = int(threat.places(z, own))
    assert places == 1 + max(place for place, _ in want)
    counts = [int(threat.choices(z, torch.tensor([at]), own)) for at in range(places)]
    assert counts == [1 + max(choice for place, choice in want if place == at) for at in range(places)]
    for (place, choice), made in want.items():
        found = threat.moved(z, torch.tensor([place]), torch.tensor([choice]), own)
        assert TEXT.decode(found) == [made], (place, choice)


def test_only_one_row_put_in_has_a_size() -> None:
    of_both = {"abc", "abcx", "abcyy"}
    for threat, inside in ((Insert(2, "xy"), of_both | {"xabc", "axybc"}), (Append(2, "xy"), of_both)):
        texts = ["abc", "xabc", "axybc", "abcyy", "abcx", "ab", "abd", "xabcx", "axbxc", "abxyxc", "abcd" * 2]
        own = region(threat, ["abc"] * len(texts) + ["w" * 8])
        z = rows([*texts, "w" * 8], own["x"])
        want = [float(len(text) - 3) if text in inside else float("inf") for text in texts]
        assert threat.size(z, own).tolist() == [*want, 0.0]
        assert TEXT.decode(threat.project(z, own))[:-1] == [text if text in inside else "abc" for text in texts]


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5])
def test_milder_blocks_are_a_half_all_but_one_and_the_other_half(length: int) -> None:
    threat, block = Insert(5, "uvwxyz"), "vwxyz"[:length]
    own = region(threat, ["ab"])
    made = [TEXT.decode(one)[0] for one in threat.milder(rows([f"a{block}b"], own["x"]), own)]
    half = length // 2
    assert made == [f"a{block[:half]}b", f"a{block[: max(0, length - 1)]}b", f"a{block[half:]}b"]


def test_a_block_is_drawn_of_any_length_anywhere_of_one_letter_or_of_many() -> None:
    for threat in (Append(4, "xyz"), Insert(4, "xyz")):
        own = region(threat, ["a" * 20] * 900)
        made = TEXT.decode(threat.start(own, rng.keys(0, torch.arange(900))))
        blocks = [text.replace("a", "") for text in made]
        lengths = [sum(len(one) == length for one in blocks) for length in range(5)]
        assert lengths[0] == 0
        assert all(60 < count < 180 for count in lengths[1:4])
        assert 400 < lengths[4] < 600, "more than half of them are as long as can be"
        same = [len(set(one)) == 1 for one in blocks if len(one) == 4]
        assert 0.42 < sum(same) / len(same) < 0.62
        assert {c for one in blocks for c in one} == set("xyz")
        starts = [text.index(one) for text, one in zip(made, blocks, strict=True)]
        if isinstance(threat, Append):
            assert set(starts) == {20}
        else:
            assert set(starts) == set(range(21))
    nothing = Append(0)
    own = region(nothing, ["ab"] * 2)
    assert torch.equal(nothing.start(own, rng.keys(0, torch.arange(2))), own["x"])


def test_regions_are_counted_exactly_while_they_are_small() -> None:
    texts = ["abc", ""]
    assert Append(2, "ab").points(region(Append(2, "ab"), texts)).tolist() == [7, 7]
    assert Insert(2, "ab").points(region(Insert(2, "ab"), texts)).tolist() == [25, 7]
    assert Append(0).points(region(Append(0), texts)).tolist() == [1, 1]
    most = Edits(1, alphabet="ab")  # two letters inserted or substituted, a deletion, a swap
    assert most.points(region(most, texts)).tolist() == [1 + 4 * 6, 1 + 6]
    two = Edits(2, kinds=("delete",))
    assert two.points(region(two, texts)).tolist() == [(1 + 4) * (1 + 5), (1 + 1) * (1 + 2)]
    words = Edits(1, kinds=(), words={"a": ("b", "c d e")})
    assert words.points(region(words, ["a a", ""])).tolist() == [1 + 2 * 2, 1 + 2]
    assert Append(8, "abcdefgh" * 9).points(region(Append(8, "abcdefgh"), texts)).isfinite().all()
    assert Append(40).points(region(Append(40), texts)).tolist() == [float("inf")] * 2
    assert Edits(9).points(region(Edits(9), texts)).tolist() == [float("inf")] * 2


@pytest.mark.parametrize(
    ("threat", "room", "fits", "words"),
    [
        (Edits(3), 3, True, "Edits(k=3)"),
        (Edits(0, kinds=("delete",)), 0, True, "Edits(k=0, kinds=(delete))"),
        (Edits(2, kinds=("swap", "delete"), alphabet=""), 2, True, "Edits(k=2, kinds=(swap, delete))"),
        (Edits(2, alphabet="\xff"), 2, True, "Edits(k=2)"),
        (Edits(2, alphabet="\u0100"), 2, False, "Edits(k=2)"),
        (Edits(2, words={"a": ("abcdef",), "b": ("",)}), 10, False, "Edits(k=2, 2 words)"),
        (Edits(2, words={"abc": ("a",)}), 2, False, "Edits(k=2, 1 words)"),
        (Append(4), 4, True, "Append(n=4)"),
        (Insert(0, "\u0100"), 0, False, "Insert(n=0)"),
        (Insert(1, "\xff"), 1, True, "Insert(n=1)"),
    ],
    ids=str,
)
def test_what_a_threat_needs_and_is_called(threat: Any, room: int, fits: bool, words: str) -> None:
    assert (threat.room, threat.fits_bytes, str(threat)) == (room, fits, words)
    own = region(threat, ["abc", "de"])
    assert torch.equal(threat.stride(own), torch.zeros(2))
    assert torch.equal(threat.ascent(torch.ones(2, 3)), torch.zeros(2, 3))
    assert threat.radius == (threat.n if isinstance(threat, (Append, Insert)) else threat.k)


def test_equal_settings_are_one_threat_whatever_their_order() -> None:
    one, other = (
        Edits(1, kinds=("swap", "delete"), words={"a": ["b"]}),
        Edits(1, kinds=("delete", "swap"), words={"a": ("a", "b")}),
    )
    assert one == other
    assert hash(one) == hash(other)
    assert len({hash(Edits(1)), hash(Edits(2)), hash(Edits(1, alphabet="x")), hash(Edits(1, keep="x")), hash(one)}) == 5


CHARACTERS = {
    "plain": ("ab\xff\u0100\u4e00", 5),
    "a mark": ("e\u0323\u0301", 1),
    "a mark at the start": ("\u0301a", 2),
    "a spacing mark": ("\u0915\u093f", 1),
    "an enclosing mark": ("a\u20dd", 1),
    "two flags and a half": ("\U0001f1e6\U0001f1ff\U0001f1e9\U0001f1ea\U0001f1eb", 3),
    "not quite flags": ("\U0001f1e5\U0001f200", 2),
    "the lightest skin": ("\U0001f44d\U0001f3fb", 1),
    "the darkest skin": ("\U0001f44d\U0001f3ff", 1),
    "beside the skins": ("\U0001f44d\U0001f3fa\U0001f400", 3),
    "joined": ("\U0001f469\u200d\U0001f680\u200d\U0001f467", 1),
    "a joiner between letters": ("a\u200db", 1),
    "a syllable of old letters": ("\u1112\u119e\u11ab", 1),
    "the first and the last letters": ("\u1100\u11ff", 1),
    "two leading consonants": ("\u1112\u1112", 2),
    "no letters of Hangul": ("\u10ff\u1160\u1200", 3),
    "composed": ("\u1112\u1161\u11ab", 1),
}


@pytest.mark.parametrize("name", CHARACTERS)
def test_characters_are_as_a_reader_counts_them(name: str) -> None:
    text, count = CHARACTERS[name]
    assert len(characters(text)) == count
    assert "".join(characters(text)) == unicodedata.normalize("NFC", text)
    # One character beside any other, so that rows of code points are measured at once.
    threat = Edits(1, kinds=("delete",))
    own = region(threat, [text])
    nfc = unicodedata.normalize("NFC", text)
    if bool(own["plain"][0]):
        assert count == len(nfc) == len(text)
        assert nfc == text
    (found,) = points(threat, [text])
    parts = characters(text)
    assert {unicodedata.normalize("NFC", one) for one in found} >= {
        unicodedata.normalize("NFC", "".join(parts[:i] + parts[i + 1 :])) for i in range(count)
    }


def test_rows_are_padded_behind_their_text() -> None:
    assert PADDING < 0
    own = region(Edits(2), ["ab", "a"])
    assert own["x"].tolist() == [[97, 98, PADDING, PADDING], [97, PADDING, PADDING, PADDING]]


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
        (lambda: Edits(1, words={"": ["b"]}), "replacements"),
        (lambda: Edits(1, words={1: ["b"]}), "replacements"),  # type: ignore[dict-item]
        (lambda: Edits(1, words={"a": [1]}), "replacements"),  # type: ignore[list-item]
        (lambda: Edits(1, words=["a"]), "replacements"),  # type: ignore[arg-type]
        (lambda: Edits(1, kinds=("insert",), alphabet=""), "alphabet"),
        (lambda: Edits(1, kinds=(), words={}), "words"),
        (lambda: Edits(True), "k"),
        (lambda: Edits(1, keep="("), "regular expression"),
        (lambda: Append(-1), "n"),
        (lambda: Insert(1, alphabet=b""), "alphabet"),
    ],
)
def test_wrong_values_are_named(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_a_repeated_edit_is_each_one_in_turn_at_several_places() -> None:
    threat = Edits(3, alphabet="xyz")
    own = region(threat, ["abcdefgh"] * 80)
    key = rng.keys(0, torch.arange(80))
    made = TEXT.decode(threat.repeated(torch.arange(80), own, key).long())
    size = threat.size(rows(made, own["x"]), own)
    assert bool((size <= 3).all())
    for number, text in enumerate(made[:8]):  # three insertions, three substitutions, a deletion, a swap
        others = [letter for letter in text if letter in "xyz"]
        if number < 6:
            assert others == ["xyz"[number % 3]] * len(others)
            assert len(text) == (11 if number < 3 else 8)
            assert 1 <= len(others) <= 3
        else:
            assert others == []
            assert len(text) == 5 or number == 7  # swaps that overlap are too many edits, and one is put back
    inserted = [made[at].count("xyz"[at % 8]) for at in range(80) if at % 8 < 3]
    assert {3} == {*inserted[:6]}
    for number, text in enumerate(made[8:14]):  # in a row
        assert 3 * "xyz"[number % 3] in text or text[-1] == "xyz"[number % 3]
    assert made[14] in {"abcdefgh"[:at] + "abcdefgh"[at + 3 :] for at in range(8)} | {"abcde", "abcdef"}
    assert {1, 2, 3} == {*inserted}, "later turns make fewer"
    assert len({*made}) > 40, "at other places"
    alone = threat.repeated(torch.tensor([17]), region(threat, ["abcdefgh"]), key[17:18])
    assert TEXT.decode(alone.long()) == made[17:18]
    empty = threat.repeated(torch.arange(6), region(threat, [""] * 6), key[:6])
    assert TEXT.decode(empty.long())[:3] == ["xxx", "yyy", "zzz"]


@pytest.mark.parametrize("kind", [Append, Insert])
def test_a_repeated_letter_is_each_one_in_turn(kind: Any) -> None:
    threat = kind(5, "xyz")
    own = region(threat, ["abcdefgh"] * 60)
    made = TEXT.decode(threat.repeated(torch.arange(60), own, rng.keys(0, torch.arange(60))).long())
    assert bool((threat.size(rows(made, own["x"]), own) <= 5).all())
    for number, text in enumerate(made):
        letter = "xyz"[number % 3]
        assert letter * text.count(letter) in text
        assert text.replace(letter, "") == "abcdefgh"
        assert text.count(letter) == 5 if number < 3 else 1 <= text.count(letter) <= 5
        assert kind is Insert or text.endswith(letter)
    assert {text.count("xyz"[at % 3]) for at, text in enumerate(made)} == {1, 2, 3, 4, 5}
    assert kind is Append or len({text.index("xyz"[at % 3]) for at, text in enumerate(made)}) > 5


def test_each_kind_is_drawn_as_often_and_a_blank_is_a_kind() -> None:
    threat = Edits(2, alphabet="abcdefgh ")
    own = region(threat, ["word"])
    u = (torch.arange(1000).double() + 0.5) / 1000
    for place, kinds in ((0, 5), (3, 4), (4, 2)):  # no next character to swap with; behind the end insertions alone
        count = int(threat.choices(own["x"], torch.tensor([place]), own))
        drawn = threat.by_kind(u, torch.full((1000,), count))
        assert bool(((drawn >= 0) & (drawn < count)).all())
        names = ["insert"] * 9 + ["substitute"] * 9 + ["delete", "swap"]
        found = [names[at] if at != 8 else "blank" for at in drawn.tolist()]
        blank = found.count("blank")
        # The blank is one of the nine letters too.
        assert blank == pytest.approx(1000 / kinds * (1 + 1 / 9), abs=4)
        others = {name: found.count(name) for name in {*found} - {"blank", "insert"}}
        assert others == dict.fromkeys(others, pytest.approx(1000 / kinds, abs=2))
        assert len(others) == kinds - 2
    words = Edits(1, kinds=(), words={"word": ("term", "name")})
    assert {*words.by_kind(u, torch.full((1000,), 2)).tolist()} == {0, 1}
    both = Edits(1, kinds=("delete", "swap"), words={"word": ("term", "name")})
    row = region(both, ["word"])
    count = both.choices(row["x"], torch.tensor([0]), row)
    assert torch.bincount(both.by_kind(u, count.expand(1000))).tolist() == pytest.approx([333, 333, 167, 167], abs=2)
    assert both.by_kind(u[:3], torch.zeros(3, dtype=torch.int64)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("Return the arrays.", [3, 8, 14]),
        ("an  internationalization\tof", [1, 8, 16, 22, 26]),
        ("\u4e00" * 11, [4, 9]),
        (" ", []),
        ("", []),
        ("a", [0]),
    ],
    ids=ascii,
)
def test_the_middle_of_each_word_and_of_each_eight_letters_of_a_long_one(text: str, places: list[int]) -> None:
    own = region(Edits(2), [text, "one two three four five six"])
    found = Edits(2).middles(own["x"], own)[0]
    assert found[found >= 0].tolist() == places
    assert found[: len(places)].tolist() == places
    words = Edits(1, kinds=(), words={"two": ("2",), "six": ("6",)})
    assert words.middles(own["x"], own)[1].tolist()[:3] == [0, 1, -1]
