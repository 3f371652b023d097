"""Messages to a help desk, written by a program, and a net that sends each to the right people."""

import random
import zlib

import torch
from torch import nn

TEAMS = ("billing", "delivery", "login")
WORDS = {
    "billing": ["invoice", "refund", "charged", "payment", "card", "receipt", "price", "discount", "twice", "bank"],
    "delivery": ["parcel", "courier", "arrived", "late", "address", "tracking", "shipped", "box", "damaged", "waiting"],
    "login": ["password", "account", "locked", "reset", "username", "email", "code", "browser", "signin", "security"],
}
OPENINGS = ("hello", "good morning", "please help", "i have a question", "can somebody look at this")
ROWS = 4096


def messages(seed, number):
    """Return texts, and for each the number of its team."""
    draw = random.Random(seed)
    teams = [draw.randrange(len(TEAMS)) for _ in range(number)]
    texts = []
    for team in teams:
        subject = " and ".join(draw.sample(WORDS[TEAMS[team]], 3))
        texts.append(f"{draw.choice(OPENINGS)}, my {subject} about the {draw.randrange(100, 999)} order")
    return texts, teams


def words(text):
    """Return the words of a text."""
    return text.replace(",", "").split()


class Desk(nn.Module):
    """A mean of token vectors, and a layer that reads it; `tokens` cuts a text into pieces."""

    def __init__(self, tokens, vocabulary=None):
        super().__init__()
        self.tokens, self.vocabulary = tokens, vocabulary
        self.mean, self.last = nn.EmbeddingBag(ROWS, 16), nn.Linear(16, len(TEAMS))

    def ids(self, text):
        pieces = self.tokens(text)
        if self.vocabulary is None:
            return [zlib.crc32(piece.encode()) % ROWS for piece in pieces]
        return [self.vocabulary.get(piece, 0) for piece in pieces]  # 0 is every unknown word

    def forward(self, texts):
        rows = [torch.tensor(self.ids(text) or [0]) for text in texts]
        starts = torch.tensor([0, *map(len, rows)][:-1]).cumsum(0)
        return self.last(self.mean(torch.cat(rows), starts))


def trained(tokens, known_only):
    """Return a trained net: with a vocabulary of the words in its training texts, or with a row for any piece."""
    torch.manual_seed(0)
    texts, teams = messages(seed=0, number=600)
    seen = dict.fromkeys(piece for text in texts for piece in tokens(text))
    net = Desk(tokens, {piece: row for row, piece in enumerate(seen, 1)} if known_only else None)
    optimizer = torch.optim.Adam(net.parameters(), 0.03)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(texts), torch.tensor(teams)).backward()
        optimizer.step()
    return net.eval()
