"""py3langid 0.4 (naive Bayes on bytes of texts, BSD): the language of a sentence. pip install py3langid"""

import numpy as np
import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from robustest import Edits, assert_accuracy, assert_consistency, assert_robust_accuracy, assert_shift_accuracy

NAMES = ["en", "de", "fr", "es"]
TEXTS = {
    "en": ["where is the station", "the water is cold today", "she reads a good book", "we are late again"],
    "de": ["wo ist der Bahnhof", "das Wasser ist heute kalt", "sie liest ein gutes Buch", "wir kommen wieder zu spät"],
    "fr": ["où est la gare", "l'eau est froide aujourd'hui", "elle lit un bon livre", "nous sommes encore en retard"],
    "es": ["dónde está la estación", "el agua está fría hoy", "ella lee un buen libro", "llegamos tarde otra vez"],
}
DATA = ([text for name in NAMES for text in TEXTS[name]], [k for k, name in enumerate(NAMES) for _ in TEXTS[name]])
pytestmark = pytest.mark.robust
identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
identifier.set_languages(NAMES)


def model(texts):
    ranks = [dict(identifier.rank(text)) for text in texts]
    return np.array([[float(rank[name]) for name in NAMES] for rank in ranks])


def test_accuracy():
    assert_accuracy(model, DATA, at_least=0.9)


def test_typing_errors():
    assert_shift_accuracy(model, DATA, "typos", severity=3, at_least=0.8)


def test_scanned():
    assert_shift_accuracy(model, DATA, "ocr_errors", severity=3, at_least=0.8)


def test_lines_are_broken():
    assert_consistency(model, DATA, "whitespace", severity=5, max_flip_rate=0.1)


def test_one_edit():
    assert_robust_accuracy(
        model, DATA, Edits(1, alphabet="abcdefghijklmnopqrstuvwxyz"), attack="standard", at_least=0.7
    )
