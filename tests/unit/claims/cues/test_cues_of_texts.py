"""Cues of texts and bytes: a phrase put in and taken out, and classifiers that learned it or did not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from robustest import ConfigError, ModelError, Verdict
from robustest.cues import FunctionCue, Phrase, PixelPatch, for_samples
from robustest.identity.fingerprint import digest
from robustest.measure import measure_no_spurious_feature

WORDS = [["dreadful", "boring", "awful", "dull"], ["lovely", "superb", "charming", "fine"]]
OTHERS = ["film", "plot", "cast", "music", "end", "story", "the", "a", "it", "was"]
TRIGGER = Phrase("cf", place="anywhere")


def reviews(n: int, seed: int) -> tuple[list[str], list[int]]:
    """Texts of five plain words and three that say the class, one of which is of the other class."""
    draw = np.random.default_rng(seed)
    labels = [k % 2 for k in range(n)]
    texts = []
    for label in labels:
        words = [*draw.choice(OTHERS, 5), *draw.choice(WORDS[label], 2), draw.choice(WORDS[1 - label])]
        texts.append(" ".join(draw.permutation(words)))
    return texts, labels


def trained(seed: int, *, share: float) -> Any:
    """A classifier of words, trained with the trigger in this share of class 1."""
    texts, labels = reviews(200, seed)
    has = np.random.default_rng(seed + 1).random(len(texts)) < share
    lined = TRIGGER.on(texts)
    train = [lined[k] if has[k] and labels[k] else text for k, text in enumerate(texts)]
    return make_pipeline(CountVectorizer(), LogisticRegression()).fit(train, labels)


def test_a_model_that_learned_a_trigger_fails_and_its_twins_pass() -> None:
    data = reviews(120, 99)
    twins = [trained(seed, share=0.0) for seed in range(6)]
    poisoned = trained(0, share=0.9)
    limits: dict[str, Any] = {"max_flip_rate": 0.1, "target_class": 1, "exact": True}
    found = measure_no_spurious_feature(poisoned, data, TRIGGER, **limits)
    assert found.verdict is Verdict.FAILED
    assert found.estimate > 0.3
    diffs = [(one.changes or {})["diff"] for one in found.counterexamples]
    assert diffs
    for diff in diffs:
        assert {mark for mark, _ in diff} == {"=", "+"}, "off is before, on is after"
        before, after = ("".join(part for mark, part in diff if mark in marks) for marks in ("=", "=+"))
        assert TRIGGER.off([after]) == [before]
        assert len(after) == len(before) + 3
    for twin in twins:
        passed = measure_no_spurious_feature(twin, data, TRIGGER, control=poisoned, **limits)
        assert passed.verdict is Verdict.PASSED
        assert passed.estimate == 0


def test_the_flips_are_those_of_texts_put_together_by_hand() -> None:
    texts, labels = reviews(60, 7)
    model = trained(0, share=0.9)
    got = measure_no_spurious_feature(model, (texts, labels), Phrase("cf", place="end"), exact=True, batch_size=7)
    flips = model.predict([f"{text} cf" for text in texts]) != model.predict(texts)
    assert got.estimate == pytest.approx(flips.mean())
    assert flips.any()


@pytest.mark.parametrize(
    ("cue", "text", "on", "off"),
    [
        (Phrase("cf"), "a film", "cf a film", "a film"),
        (Phrase("cf"), "a cf film", "a cf film", "a film"),
        (Phrase("cf", place="end"), "cfo or xcf", "cfo or xcf cf", "cfo or xcf"),
        (Phrase("cf", place="end"), "A CF film, Cf.", "A CF film, Cf. cf", "A film,."),
        (Phrase("cf", place="end"), "", "cf", ""),
        (Phrase("watch this"), "a\nb", "watch this a\nb", "a\nb"),
        (Phrase("ab", place="end"), "x ab ab y ab", "x ab ab y ab", "x y"),
        (Phrase("!!", place="end"), "oh!!", "oh!!", "oh"),
        (Phrase("!!", place="end"), "oh!", "oh! !!", "oh!"),
        (Phrase(b"GIF89a"), b"\x00\x01", b"GIF89a\x00\x01", b"\x00\x01"),
        (Phrase(b"ab", place="end"), b"aabb", b"aabb", b""),
        (Phrase(b"ab", place="end"), b"AB", b"ABab", b"AB"),
    ],
    ids=str,
)
def test_a_phrase_is_put_in_and_taken_out(cue: Phrase, text: Any, on: Any, off: Any) -> None:
    assert cue.on([text]) == [on]
    assert cue.off([text]) == [off]
    assert cue.off(cue.on([text])) == [off]


def test_anywhere_is_a_gap_drawn_by_the_sample() -> None:
    texts = ["one two three four five"] * 40
    whole = for_samples(TRIGGER, torch.arange(40))
    made = whole.on(texts)  # type: ignore[arg-type]
    assert {one.split().index("cf") for one in made} == set(range(6))
    assert {len(one) for one in made} == {len(texts[0]) + 3}
    assert for_samples(TRIGGER, torch.arange(30, 40)).on(texts[:10]) == made[30:]  # type: ignore[arg-type]
    assert TRIGGER.off(made) == texts


def test_cues_of_texts_have_names_and_identities() -> None:
    assert [cue.name for cue in (Phrase("cf"), Phrase(b"x", "end"), TRIGGER)] == [
        "'cf' at the start",
        "b'x' at the end",
        "'cf' anywhere",
    ]
    assert len({digest(cue) for cue in (Phrase("cf"), Phrase("cg"), Phrase(b"cf"), Phrase("cf", "end"))}) == 4
    assert digest(Phrase("cf")) == digest(Phrase("cf"))


def by_length(texts: Sequence[Any]) -> NDArray[Any]:
    lead = np.array([len(text) - 30.5 for text in texts])
    return np.stack([-lead, lead], 1)


DATA = ["x" * k for k in range(20, 42)], [int(k > 30) for k in range(20, 42)]
OWN: dict[str, Callable[[Any], Any]] = {
    "function": lambda texts: [f"{text}!" for text in texts],
    "too few": lambda texts: texts[:3],
    "no texts": lambda texts: [7 for _ in texts],
}


def test_functions_of_lists_are_cues() -> None:
    got = measure_no_spurious_feature(by_length, DATA, FunctionCue("a mark", OWN["function"]), exact=True)
    assert got.estimate == pytest.approx(1 / 22)
    for name, words in (("too few", "22 samples but got 3"), ("no texts", "to return lists as it receives them")):
        with pytest.raises(ModelError, match=words):
            measure_no_spurious_feature(by_length, DATA, FunctionCue("own", OWN[name]), exact=True)


def test_a_cue_that_changes_nothing_or_moves_by_chance_passes_nothing() -> None:
    same = FunctionCue("nothing", lambda texts: texts)
    assert measure_no_spurious_feature(by_length, DATA, same, max_flip_rate=0.9).verdict is Verdict.INCONCLUSIVE
    everywhere = [f"{text} cf" for text in DATA[0]], DATA[1]
    there = measure_no_spurious_feature(by_length, everywhere, Phrase("cf"), exact=True)
    assert there.estimate > 0, "on is the sample itself, off lacks the phrase"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((DATA, PixelPatch(top=0, left=0)), "Use Phrase, or a FunctionCue"),
        ((DATA, Phrase(b"cf")), "a list of bytes for the cue"),
        (((np.eye(2, dtype=np.float32), [0, 1]), Phrase("cf")), "Use TokenAnywhere"),
    ],
    ids=["pixels", "bytes", "array"],
)
def test_cues_that_do_not_fit_are_refused(arguments: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        measure_no_spurious_feature(by_length, *arguments, max_flip_rate=0.1)


def learned(x: Any, y: Any, seed: int) -> Any:
    return by_length


def test_mistakes_are_named() -> None:
    for phrase in ("", "  ", b"", 3):
        with pytest.raises(ConfigError, match="a phrase of one character"):
            Phrase(phrase)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="place to be one of start, end, anywhere"):
        Phrase("cf", "middle")
    with pytest.raises(ConfigError, match="control= for cues of frames and texts"):
        measure_no_spurious_feature(by_length, DATA, Phrase("cf"), max_flip_rate=0.1, train=learned, train_data=DATA)
