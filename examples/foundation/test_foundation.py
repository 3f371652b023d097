"""Claims on a model of images and texts: prompts, embeddings, a probe. `pytest --robust examples/foundation`."""

import pytest

from robustest import (
    ClaimFailed,
    Linf,
    Retrieval,
    ZeroShot,
    assert_invariant,
    assert_robust_accuracy,
    assert_shift_accuracy,
    assert_worst_change_rate,
)

from .model import CLASSES, NUMERALS, TEMPLATES, digits, linear_probe, tokenize, trained


def prompted(model):
    return ZeroShot.of(model, tokenize, classes=CLASSES, templates=TEMPLATES)


@pytest.fixture(scope="module")
def zero():
    return prompted(trained())


@pytest.fixture(scope="module")
def data():
    return digits("test")


@pytest.fixture(scope="module")
def few(data):
    """Fewer images where a claim asks for one answer at a time: each answer is kept on disk as it comes."""
    x, y = data
    return x[:100], y[:100]


def test_zero_shot_accuracy_holds_against_small_changes(zero, data):
    assert_robust_accuracy(zero.model, data, Linf(0.05), at_least=0.85)


def test_accuracy_holds_with_every_template(zero, few):
    asked = zero.asked(*few)
    assert_worst_change_rate(asked, asked.items, asked.templates, score=asked.right, at_least=0.85)


def test_accuracy_falls_where_the_captions_template_told_the_digit(few):
    """A claim that fails, with its reason: words around the name came with some digits alone, and stand for them."""
    asked = prompted(trained(template_by_digit=True)).asked(*few)
    with pytest.raises(ClaimFailed):
        assert_worst_change_rate(asked, asked.items, asked.templates, score=asked.right, at_least=0.85)


def test_numerals_in_place_of_names_change_few_answers(zero, few):
    asked = zero.asked(*few, renamed={"numerals": NUMERALS})
    assert_invariant(asked, asked.items, asked.renamed, at_least=0.9)


def test_the_nearest_image_shows_the_same_digit_under_attack(zero, data):
    """Recall@1 in a gallery of 300 images that neither the model nor the queries contain."""
    (x, y), (items, labels) = data, digits("probe")
    found = Retrieval(zero.images(items), 1)
    queries = x, found.same_label(y, labels)
    assert_robust_accuracy(zero.images, queries, Linf(0.05), task=found, at_least=0.8)


def test_a_linear_probe_loses_little_in_a_brighter_light(zero, data):
    probe = linear_probe(zero.images, *digits("probe"))
    assert_shift_accuracy(probe, data, "brightness", severity=2, max_drop=0.03)


def test_in_a_brighter_light_the_probe_is_no_worse_than_prompts(zero, data):
    probe = linear_probe(zero.images, *digits("probe"))
    assert_shift_accuracy(probe, data, "brightness", severity=2, no_worse_than=zero.model, tolerance=0.02)
