"""alt-profanity-check 1.9 (scikit-learn on texts, MIT): a filter of comments. pip install alt-profanity-check"""

import numpy as np
import pytest
from profanity_check import predict_prob

from robustest import Edits, assert_accuracy, assert_robust_accuracy, assert_shift_accuracy

INSULTS = ["idiot", "bastard", "asshole", "moron", "bitch"]
FRIENDS = ["doctor", "neighbour", "painter", "teacher", "farmer"]
FORMS = ["you are such a {}", "what a {} he is, really", "listen to me, {}, and go", "that {} took my place again"]
TEXTS = [form.format(word) for form in FORMS for word in (*INSULTS, *FRIENDS)]
DATA = (TEXTS, [int(word in INSULTS) for _ in FORMS for word in (*INSULTS, *FRIENDS)])
pytestmark = pytest.mark.robust


def model(texts):
    return np.log(np.clip(np.stack([1 - predict_prob(texts), predict_prob(texts)], 1), 1e-12, None))


def test_accuracy():
    assert_accuracy(model, DATA, at_least=0.9)


def test_capitals():
    assert_shift_accuracy(model, DATA, "casing", severity=5, max_drop=0.02)


def test_typing_errors():
    assert_shift_accuracy(model, DATA, "typos", severity=2, at_least=0.8)


def test_letters_of_other_scripts():
    assert_shift_accuracy(model, DATA, "look_alikes", severity=2, at_least=0.8)


def test_one_edit():
    assert_robust_accuracy(model, DATA, Edits(1), attack="standard", at_least=0.05)
