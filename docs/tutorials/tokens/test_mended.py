import pytest
import torch
from test_tickets import robust_data, test_accuracy, test_typos  # noqa: F401
from tickets import trained, words


def pieces(text):
    """Return the pieces of three letters of each word: a typo changes some of them, and leaves the others."""
    padded = [f"<{word}>" for word in words(text)]
    return [word[at : at + 3] for word in padded for at in range(len(word) - 2)]


@pytest.fixture(scope="module")
def robust_model():
    net = trained(pieces, known_only=False)

    def scores(texts):
        with torch.no_grad():
            return net(texts)

    return scores
