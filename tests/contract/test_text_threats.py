"""Claims on edited texts: truth by enumeration, models on which no claim may pass, replay, shrinking, comparison."""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustest import (
    Append,
    ConfigError,
    Edits,
    Insert,
    Linf,
    ModelError,
    Settings,
    Verdict,
    find_adversarial,
    labels_model,
    scores_model,
)
from robustest.attacks import Cascade, GreedyMoves, RandomDraws, Stage
from robustest.context import Context, running
from robustest.data.strings import Strings
from robustest.measure import measure_robust_accuracy, measure_shift_accuracy
from robustest.threats import Threat

LETTERS = "abcdefghij"
DRAW = np.random.default_rng(5)
LABELS = [0, 1, 1, 0, 1, 0]
# Sixteen letters that say the class, among eight others: no few edits change the class.
TEXTS = ["".join(DRAW.permutation([*"qp"[label] * 16, *DRAW.choice(list(LETTERS), 8)])) for label in LABELS]
Model = Callable[[Sequence[Any]], NDArray[Any]]


def scored(lead: Callable[[Any], float]) -> Model:
    """A model by the lead of class 1."""

    def model(texts: Sequence[Any]) -> NDArray[Any]:
        leads = np.array([lead(text) for text in texts])
        return np.stack([-leads, leads], 1)

    return model


def right(text: str, spread: float) -> float:
    """A lead whose sign no few edits change; its size differs between texts by `spread`."""
    sign = 1 if text.count("p") > text.count("q") else -1
    return sign * (1 + spread * math.sin(hash_of(text))) if spread else sign


def hash_of(text: str) -> float:
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % 997


def but_for(hole: Callable[[str], float], spread: float = 0.3) -> Model:
    """A model that is right except where `hole` is 1; between 0 and 1 it lowers the lead."""
    return scored(lambda text: right(text, spread) * (1 - 2 * hole(text)))


def joint(text: str, *, hints: bool) -> float:
    found = (text[3:4] == "z") + (text[15:16] == "z")
    return found / 2 * (1 if found == 2 else 0.8) if hints else float(found == 2)


FLAWED: dict[str, tuple[Model, Threat]] = {
    "one letter at one place": (but_for(lambda text: text[11:12] == "z"), Edits(1, alphabet="xyz")),
    "one letter at one place, larger alphabet": (
        but_for(lambda text: text[11:12] == "z"),
        Edits(1, alphabet="abcdefghijklmnopqrstuvwxyz"),
    ),
    "two joint edits with hints": (but_for(lambda text: joint(text, hints=True)), Edits(2, alphabet="xyz")),
    "two joint edits and nothing else": (
        but_for(lambda text: joint(text, hints=False), spread=0.0),
        Edits(2, alphabet="abcdefghijklmnopqrstuvwxyz"),
    ),
    "the last letters": (but_for(lambda text: text[-2:] == "~~"), Append(2)),
    "the last letters, of many": (but_for(lambda text: text.endswith("~~~~")), Append(40)),
    "a row inside": (but_for(lambda text: "~~~" in text[5:-5]), Insert(8)),
    "a swap": (but_for(lambda text: text[5:7] not in {own[5:7] for own in TEXTS}), Edits(1, kinds=("swap",))),
    "flat scores": (
        scored(lambda text: float(np.sign(right(text, 0.0) * (1 - 2 * joint(text, hints=False))))),
        Edits(2, alphabet="abcdefghijklmnopqrstuvwxyz"),
    ),
    "labels alone": (
        labels_model(
            lambda texts: but_for(lambda text: joint(text, hints=False))(texts).argmax(1),  # type: ignore[arg-type]
            classes=2,
        ),
        Edits(2, alphabet="abcdefghijklmnopqrstuvwxyz"),
    ),
    "a threat that cannot move": (but_for(lambda text: "z" in text), Edits(1, alphabet="xyz", keep=r"(?s).+")),
}
# Of regions that take many queries.
SLOW = {"flat scores", "two joint edits and nothing else", "the last letters, of many", "a row inside"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in FLAWED]
)
def test_no_claim_passes_on_a_flawed_model(name: str) -> None:
    model, threat = FLAWED[name]
    result = measure_robust_accuracy(model, (TEXTS, LABELS), threat, at_least=0.5, attack="fast", exact=True)
    assert result.verdict is not Verdict.PASSED, result.rule


def stepped(text: Any, steps: float) -> float:
    """A lead with the right sign for `steps` < 1; besides it moves with the length alone, which leads nowhere."""
    return right(text if isinstance(text, str) else text.decode("latin-1"), 0.0) * (1 + 0.01 * len(text) - 2.5 * steps)


def saturated(texts: Sequence[str]) -> NDArray[Any]:
    """Probabilities, of one class exactly 0 or 1; a pair of letters at two places turns either class."""
    leads = np.array([stepped(text, joint(text, hints=False)) * (60 if text.count("p") > 8 else 1) for text in texts])
    return (1 / (1 + np.exp(-2 * np.stack([-leads, leads], 1)))).astype(np.float32)


def buckets(text: str) -> int:
    """The most letters, other than those of the samples, in one of five hash buckets."""
    others = [zlib.crc32(letter.encode()) % 5 for letter in text if letter not in f"pq{LETTERS}"]
    return max([0, *map(others.count, others)])


AT_ALL = "abcdefghijklmnopqrstuvwxyz "
BYTES = bytes(range(256))
GATED: dict[str, tuple[Model, Threat, Callable[[Any], Any]]] = {
    "capitals do not count": (
        scored(lambda text: stepped(text, text.lower().count("z") // 2)),
        Edits(2, alphabet="WXYZ"),
        lambda text: text + "ZZ",
    ),
    "blanks do not count": (
        scored(lambda text: stepped("".join(text.split()), "".join(text.split()).count("z") // 3)),
        Edits(3, alphabet=AT_ALL),
        lambda text: text + "zzz",
    ),
    "hash buckets": (
        scored(lambda text: stepped(text, buckets(text) // 3)),
        Edits(3, alphabet=AT_ALL),
        lambda text: text + "zzz",
    ),
    "quantised counts": (
        scored(lambda text: stepped(text, text.count("z") // 4)),
        Edits(4, alphabet=AT_ALL),
        lambda text: "zz" + text + "zz",
    ),
    "counts of a large alphabet": (
        scored(lambda text: stepped(text, text.count("\u00e9") // 3)),
        Edits(3, alphabet="".join(map(chr, range(32, 127))) + "\u00e9"),
        lambda text: text + 3 * "\u00e9",
    ),
    "a run of a letter": (
        scored(lambda text: stepped(text, "zzz" in text)),
        Edits(3, alphabet=AT_ALL),
        lambda text: text[:9] + "zzz" + text[9:],
    ),
    "a beginning alone": (
        scored(lambda text: stepped(text, text[:8].count("z") // 3)),
        Edits(3, alphabet=AT_ALL),
        lambda text: "zzz" + text,
    ),
    "one word more": (
        scored(lambda text: stepped(text, (len(text.split()) - 1) // 3)),
        Edits(3, alphabet=AT_ALL),
        lambda text: f"{text[:5]} {text[5:10]} {text[10:15]} {text[15:]}",
    ),
    "lengths alone": (
        scored(lambda text: right(text, 0.0) * (1 - 2 * (len(text) <= 21))),
        Edits(3, alphabet=AT_ALL),
        lambda text: text[:-3] if text[-3:].isalpha() else text,
    ),
    "dead scores of one class": (
        saturated,
        Edits(2, alphabet=AT_ALL),
        lambda text: f"{text[:3]}z{text[4:15]}z{text[16:]}",
    ),
    "scores of a hash": (
        but_for(lambda text: joint(text, hints=False)),
        Edits(2, alphabet=AT_ALL),
        lambda text: f"{text[:3]}z{text[4:15]}z{text[16:]}",
    ),
    "an end without blanks": (
        scored(lambda text: stepped(text, text.rstrip().endswith("zzz"))),
        Append(4, " xyz"),
        lambda text: text + "zzz",
    ),
    "thirty of forty at the end": (
        scored(lambda text: stepped(text, text[24:].count("M") // 30)),
        Append(40),
        lambda text: text + 40 * "M",
    ),
    "a count of bytes in steps": (
        scored(lambda row: stepped(row, row[24:].count(0x91) // 12)),
        Append(16, BYTES),
        lambda row: row + 16 * b"\x91",
    ),
    "a check sum": (
        scored(lambda row: stepped(row, sum(row) % 64 == 0)),
        Append(8, BYTES),
        lambda row: row + bytes([(-sum(row)) % 64]),
    ),
    "a row inside, in steps": (
        scored(lambda text: stepped(text, max(map(len, re.findall("M+", text)), default=0) // 6)),
        Insert(8),
        lambda text: text[:5] + 6 * "M" + text[5:],
    ),
}
SHORT: Any = GreedyMoves(queries=300)
WORDS = Cascade(name="words", stages=(Stage(searcher=RandomDraws(queries=300, at_once=50)), Stage(searcher=SHORT)))
QUICK_GATES = [("hash buckets", "fast"), ("scores of a hash", SHORT), ("dead scores of one class", SHORT)]
EVERY_GATE = [(name, attack) for name in GATED for attack in ("fast", "standard")]


@pytest.mark.parametrize(
    ("name", "attack"),
    [*QUICK_GATES, *(pytest.param(*one, marks=pytest.mark.slow) for one in EVERY_GATE if one not in QUICK_GATES)],
)
def test_no_claim_passes_behind_a_gate(name: str, attack: Any) -> None:
    """Each text has a witness inside the threat, so that the truth is 0."""
    model, threat, witness = GATED[name]
    texts: list[Any] = [text.encode() for text in TEXTS] if threat_of_bytes(threat) else TEXTS
    coding = Strings.of(texts)
    changed = [witness(text) for text in texts]
    before = coding.encode([*texts, "" if isinstance(texts[0], str) else b"", *changed])
    rows, made = before[: len(texts)].float(), before[len(texts) + 1 :].float()
    assert bool((threat.size(made, threat.region(rows, (-1.0, 2e6))) <= threat.radius).all())
    assert (model(texts).argmax(1) == LABELS).all()
    assert (model(changed).argmax(1) != LABELS).all()
    result = measure_robust_accuracy(model, (texts, LABELS), threat, at_least=0.4, attack=attack, exact=True)
    assert result.verdict is not Verdict.PASSED, result.rule


def threat_of_bytes(threat: Any) -> bool:
    return isinstance(threat.alphabet, bytes)


NOTES = [
    (" ".join(DRAW.permutation(["bill", "late", "please", "order", "thanks", *(["refund"] if label else [])])), label)
    for label in (0, 1) * 8
]


@pytest.mark.parametrize(("threat", "kind"), [(Append(8), str), (Insert(8), str), (Insert(6, BYTES), bytes)])
def test_a_rule_on_a_word_of_other_samples_is_found(threat: Threat, kind: type) -> None:
    """Letter by letter nothing leads to the word: the scores of all other texts differ by their hash alone."""
    if kind is str:
        texts: list[Any] = [text for text, _ in NOTES]
        ruled = scored(lambda text: (1 if re.search(r"\brefund\b", text) else -1) * (1 + 0.3 * hash_of(text) / 997))
    else:
        texts = [(b"\x7fELF\x02\x01" if label else b"MZ\x90\x00\x03\x01") + text.encode() for text, label in NOTES]
        ruled = scored(lambda row: (1 if b"\x7fELF" in row else -1) * (1 + 0.3 * zlib.crc32(row) / 2**32))
    labels = [label for _, label in NOTES]
    result = measure_robust_accuracy(ruled, (texts, labels), threat, at_least=0.8, attack=WORDS, exact=True)
    assert result.verdict is Verdict.FAILED, result.rule
    assert not any(held for held, label in zip(result.outcomes, labels, strict=True) if label == 0)


def test_words_tell_classes_apart_and_are_written_in_the_alphabet() -> None:
    made = Append(6, "defnru").with_words_of(["a refund", "no fund", "the refund", "le fond"], [1, 0, 1, 0])
    assert [bytes(word) for word in made._words] == [b"refund", b"fund"]
    assert made == Append(6, "defnru")
    assert str(made) == "Append(n=6)"


def test_a_model_that_no_edit_can_break_passes() -> None:
    for threat in (Edits(1, alphabet="xyz"), Append(2, "xyz"), Insert(2, "xy")):
        result = measure_robust_accuracy(SOUND, (TEXTS, LABELS), threat, at_least=1.0, attack="standard")
        assert result.verdict is Verdict.PASSED, result.rule


def neighbours(text: str, letters: str) -> set[str]:
    found = {text}
    for at in range(len(text) + 1):
        found |= {text[:at] + letter + text[at:] for letter in letters}
        if at < len(text):
            found |= {text[:at] + letter + text[at + 1 :] for letter in letters} | {text[:at] + text[at + 1 :]}
        if at + 1 < len(text):
            found.add(text[:at] + text[at + 1] + text[at] + text[at + 2 :])
    return found


def bigrams(text: str) -> float:
    """A lead by pairs of letters: some texts have neighbours of the other class, and some have none."""
    return sum((ord(a) * 7 + ord(b) * 13) % 5 - 2 for a, b in itertools.pairwise(text)) + 0.5


# Texts on both sides of the boundary of `bigrams`, and near it.
MIXED = ["".join(np.random.default_rng(k).choice(list(LETTERS), 9 + k)) for k in range(6)]
SIDES = [int(bigrams(text) > 0) for text in MIXED]
QUICK: dict[str, Any] = {"attack": GreedyMoves(queries=200, at_once=20, sweeps=2), "suppress": ("weak_search",)}


def truth(texts: Sequence[str], letters: str) -> list[bool]:
    return [len({bigrams(near) > 0 for near in neighbours(text, letters)}) == 1 for text in texts]


SOUND = scored(lambda text: right(text, 0.3))


def enumerated(n: int) -> None:
    draw = np.random.default_rng(1)
    texts = ["".join(draw.choice(list(LETTERS), draw.integers(3, 40))) for _ in range(n)]
    labels = [int(bigrams(text) > 0) for text in texts]
    letters = "acegi"
    result = measure_robust_accuracy(
        scored(bigrams), (texts, labels), Edits(1, alphabet=letters), attack="standard", exact=True
    )
    want = truth(texts, letters)
    assert list(result.outcomes) == want
    assert 0 < sum(want) < n
    assert result.estimate == pytest.approx(sum(want) / n)


def test_one_edit_is_searched_to_the_end() -> None:
    """Against all neighbours of each text, written down by other code."""
    enumerated(20)


@pytest.mark.slow
def test_one_edit_of_200_texts_is_searched_to_the_end() -> None:
    enumerated(200)


def test_counterexamples_are_shrunk_shown_and_replayed(tmp_path: Path) -> None:
    settings = Settings(store=str(tmp_path / "store"), corpus=str(tmp_path / "corpus"), recheck=0.0, exact=True)
    threat = Edits(2, alphabet="acegi")
    asked: list[int] = []

    def model(given: Sequence[str]) -> NDArray[Any]:
        asked.append(len(given))
        return scored(bigrams)(given)

    with running(Context(settings=settings, test="t.py::t")):
        first = measure_robust_accuracy(model, (MIXED, SIDES), threat, at_least=0.9, **QUICK)
        # With a longer text in the data all rows are padded otherwise; the known counterexamples are the same.
        longer = [*MIXED, "c" * 60], [*SIDES, int(bigrams("c" * 60) > 0)]
        again = measure_robust_accuracy(model, longer, threat, at_least=0.9, **QUICK, cache=False)
    assert first.verdict is Verdict.FAILED
    assert again.evidence.replayed >= len([held for held in first.outcomes if held is False]) > 0
    for worst in first.counterexamples:
        assert worst.changes is not None
        assert worst.pixels is None
        assert worst.size is not None
        marks = [mark for mark, _ in worst.changes["diff"]]
        assert {"-", "+"} & {*marks}
        kept = "".join(part for mark, part in worst.changes["diff"] if mark != "+")
        made = "".join(part for mark, part in worst.changes["diff"] if mark != "-")
        assert kept == MIXED[worst.index]
        assert (bigrams(made) > 0) != (bigrams(kept) > 0)
    # The smallest: a text with a neighbour of the other class is shown with one edit.
    breakable = [not held for held in truth(MIXED, "acegi")]
    assert all(worst.size == 1 for worst in first.counterexamples if breakable[worst.index])


def test_the_inputs_found_are_texts_inside_the_threat() -> None:
    found = find_adversarial(scored(bigrams), MIXED, SIDES, Edits(2, alphabet="acegi"), **QUICK)
    assert [type(text) for text in found.x] == [str] * len(MIXED)
    assert found.broken.any()
    for text, made, size, broken in zip(MIXED, found.x, found.norms, found.broken, strict=True):
        assert (made != text) == (size > 0)
        assert size <= 2
        assert not broken or (bigrams(made) > 0) != (bigrams(text) > 0)


def test_bytes_are_attacked_as_bytes() -> None:
    files = [text.encode() for text in TEXTS]

    def model(rows: Sequence[bytes]) -> NDArray[Any]:
        assert all(type(row) is bytes for row in rows)
        return scored(lambda row: right(row[:24].decode("latin-1"), 0.3) * (-1 if row[-1] > 200 else 1))(rows)

    result = measure_robust_accuracy(
        model, (files, LABELS), Append(4, alphabet=bytes(range(256))), at_least=0.5, attack="fast", exact=True
    )
    assert result.verdict is Verdict.FAILED
    assert result.estimate == 0
    changes = result.counterexamples[0].changes
    assert changes is not None
    assert changes["diff"][-1][0] == "+"
    assert changes["diff"][-1][1].startswith("\\x")


def test_another_model_is_searched_and_compared_on_texts() -> None:
    data, threat = (MIXED, SIDES), Edits(1, alphabet="acegi")
    alike = scored(lambda text: 1.1 * bigrams(text))
    same = measure_robust_accuracy(scored(bigrams), data, threat, no_worse_than=alike, **QUICK)
    assert same.verdict is Verdict.PASSED
    itself = measure_robust_accuracy(scored(bigrams), data, threat, no_worse_than=scored(bigrams), **QUICK)
    assert itself.rule == "health check: same_model"
    brittle = scored(lambda text: bigrams(text) * (-1 if text not in MIXED else 1))
    worse = measure_robust_accuracy(brittle, data, threat, no_worse_than=scored(bigrams), **QUICK)
    assert worse.verdict is not Verdict.PASSED


def test_a_model_that_fails_on_a_changed_text_is_no_pass() -> None:
    def fragile(texts: Sequence[str]) -> NDArray[Any]:
        if any(text not in TEXTS for text in texts):
            raise ValueError("unknown text")
        return SOUND(texts)

    with pytest.raises(ModelError, match="unknown text"):
        measure_robust_accuracy(fragile, (TEXTS, LABELS), Edits(1), at_least=0.5, attack="fast")


def diluted(texts: Sequence[Any]) -> NDArray[Any]:
    """A mean over all of a batch's width, padding included: a "z" turns a text of 24 letters without padding."""
    width = max(map(len, texts))
    turned = ["z" in text and len(text) == width == 24 for text in texts]
    leads = [
        right(text, 0.3) * len(text) / width * (-1 if turn else 1) for text, turn in zip(texts, turned, strict=True)
    ]
    return np.stack([np.negative(leads), leads], 1)


def test_a_model_that_reads_the_padding_of_its_batch_passes_nothing() -> None:
    """A substitution turns each text; a search pads it with the insertions that it tries beside it."""
    turned = [f"{text[:3]}z{text[4:]}" for text in TEXTS]
    assert (np.concatenate([diluted([text]) for text in turned]).argmax(1) != LABELS).all()
    threat = Edits(1, kinds=("insert", "substitute"), alphabet="xyz")
    result = measure_robust_accuracy(diluted, (TEXTS, LABELS), threat, at_least=0.4, attack="fast", exact=True)
    assert "health:batch_dependence" in result.ruling.reasons
    shifted = measure_shift_accuracy(diluted, (TEXTS, LABELS), "typos", at_least=0.4, exact=True)
    assert "health:batch_dependence" in shifted.ruling.reasons
    for texts in ([], ["", ""]):  # nothing to be longer than
        data = ([*TEXTS, *texts], [*LABELS, *[int(right("", 0.0) > 0) for _ in texts]])
        own = measure_shift_accuracy(SOUND, data, "typos", at_least=0.7, exact=True)
        assert own.verdict is Verdict.PASSED


def diluted_if_edited(texts: Sequence[Any]) -> NDArray[Any]:
    """As `diluted`, but the samples themselves are answered without a look at the padding."""
    return np.where([[text in TEXTS] for text in texts], SOUND(texts), diluted(texts))


def test_a_model_that_reads_the_padding_of_edited_texts_alone_passes_nothing() -> None:
    threat = Edits(1, kinds=("insert", "substitute"), alphabet="xyz")
    result = measure_robust_accuracy(
        diluted_if_edited, (TEXTS, LABELS), threat, at_least=0.4, attack="fast", exact=True
    )
    assert result.verdict is not Verdict.PASSED
    assert "health:batch_dependence" in result.ruling.reasons


HELD: dict[Any, Any] = {}


class Remembering:
    """A model that gives a text the answer of an earlier one with the same key; capitals turn the class."""

    def __init__(self, key: Callable[[str], str]) -> None:
        self.key, self.held = key, dict[str, Any]()

    def __call__(self, texts: Sequence[str]) -> NDArray[Any]:
        return np.array([self.held.setdefault(self.key(text), of_capitals([text])[0]) for text in texts])


of_capitals = scored(lambda text: right(text.lower(), 0.3) * (1 if text == text.lower() else -1))


def closed_over() -> Model:
    held: dict[str, Any] = {}
    return lambda texts: np.array([held.setdefault(text.lower(), of_capitals([text])[0]) for text in texts])


def in_a_global(texts: Sequence[str]) -> NDArray[Any]:
    return np.array([HELD.setdefault(text.lower(), of_capitals([text])[0]) for text in texts])


def in_a_default(texts: Sequence[str], held: dict[Any, Any] = {}) -> NDArray[Any]:  # noqa: B006 - the mistake itself
    return np.array([held.setdefault(text.lower(), of_capitals([text])[0]) for text in texts])


CACHES = {
    "an object": Remembering(str.lower),
    "its method": Remembering(str.lower).__call__,
    "a closure": closed_over(),
    "a global": in_a_global,
    "a default": in_a_default,
    "scores": scores_model(Remembering(str.lower)),
}


@pytest.mark.parametrize("where", CACHES)
def test_a_cache_that_takes_one_text_for_another_passes_nothing(where: str) -> None:
    """In capitals each text gets the answer of the text itself, which was asked first; alone all are wrong."""
    assert (of_capitals([text.upper() for text in TEXTS]).argmax(1) != LABELS).all()
    result = measure_shift_accuracy(CACHES[where], (TEXTS, LABELS), "casing", severity=5, at_least=0.9, exact=True)
    assert "health:history_dependence" in result.ruling.reasons


def test_a_cache_of_the_texts_themselves_changes_nothing() -> None:
    asked = Remembering(str)
    result = measure_shift_accuracy(asked, (TEXTS, LABELS), lambda texts: texts[::1], at_least=0.9, exact=True)
    assert "health:history_dependence" not in result.ruling.reasons
    assert {*asked.held} >= {*TEXTS}
    assert len(asked.held) == len(TEXTS) + 1, "beside a longer text; copies were asked all others"


def test_what_a_model_does_not_read_is_said_to_be_unread() -> None:
    cut = scored(lambda text: right(text[:24], 0.3))
    result = measure_robust_accuracy(cut, (TEXTS, LABELS), Append(4), at_least=0.6, attack=SHORT)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert any("Append(n=4) does to the texts changes a bit of their scores" in note for note in result.words.notes)
    known = measure_robust_accuracy(
        cut, (TEXTS, LABELS), Append(4), at_least=0.6, attack=SHORT, suppress=("weak_search",)
    )
    assert known.verdict is Verdict.PASSED


def test_threats_and_data_must_fit() -> None:
    files = [text.encode() for text in TEXTS]
    for threat in (Edits(1, alphabet="\u20ac"), Edits(1, words={"a": ["b"]}), Append(2, "\u20ac")):
        with pytest.raises(ConfigError, match="below 256"):
            measure_robust_accuracy(SOUND, (files, LABELS), threat, at_least=0.5)
    with pytest.raises(ConfigError, match="threat of texts"):
        measure_robust_accuracy(SOUND, (TEXTS, LABELS), Linf(0.1), at_least=0.5)
    with pytest.raises(ConfigError, match="texts or bytes for Edits"):
        measure_robust_accuracy(lambda x: x, (np.zeros((4, 2), dtype=np.float32), [0, 1, 0, 1]), Edits(1), at_least=0.5)
