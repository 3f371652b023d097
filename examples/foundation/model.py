"""A model of images and texts with the methods of open_clip, trained in seconds on digits and captions."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, normalize

CLASSES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
NUMERALS = dict(zip(CLASSES, "0123456789", strict=True))

CAPTIONS = (
    "{}",
    "a photo of the digit {}",
    "a handwritten {}",
    "the number {} on paper",
    "a small scan of a {}",
    "a picture of {}",
    "the sign {}",
    "my drawing of {}",
    "an old {} in pencil",
    "this {} from a form",
)
"""Templates of the captions to train on; half of the captions name the digit by its numeral."""

TEMPLATES = ("{}", "a photo of a {}", "a scan of the number {}", "a small photo of the handwritten digit {} on paper")
"""Templates of the prompts: of the captions' words, but all but the first are no template of a caption."""

_WORDS = ["?", *sorted({word for text in CAPTIONS for word in text.split()} - {"{}"}), *CLASSES, *NUMERALS.values()]
_NUMBERS = {word: number for number, word in enumerate(_WORDS)}
_LENGTH = 12


def tokenize(texts):
    """Return (N, 12) numbers of the texts' words: 0 is a word of no caption, -1 fills up."""
    rows = [[_NUMBERS.get(word, 0) for word in text.split()][:_LENGTH] for text in texts]
    return torch.tensor([row + [-1] * (_LENGTH - len(row)) for row in rows])


def digits(which):
    """Return images (N, 1, 8, 8) in 0..1 and labels (N,) of one of three sets without common images.

    Args:
        which: "train", 900 images for the model; "probe", 300 for linear probes and galleries; or "test", 597.
    """
    x, y = load_digits(return_X_y=True)
    rows = {"train": slice(0, 900), "probe": slice(900, 1200), "test": slice(1200, None)}[which]
    order = np.random.RandomState(0).permutation(len(y))[rows]  # this generator draws the same in every numpy
    return torch.from_numpy(x[order]).float().view(-1, 1, 8, 8) / 16, torch.from_numpy(y[order])


class ImagesAndTexts(nn.Module):
    """Encoders of images (N, 1, 8, 8) and of tokens (N, 12), both to features (N, 32)."""

    def __init__(self):
        super().__init__()
        self.visual = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, 32),
        )
        self.words = nn.Embedding(len(_WORDS), 32)
        self.text = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))
        self.logit_scale = nn.Parameter(torch.tensor(10.0).log())

    def encode_image(self, images):
        return self.visual(images)

    def encode_text(self, tokens):
        there = (tokens >= 0).unsqueeze(2)
        words = self.words(tokens.clamp(min=0)) * there
        return self.text(words.sum(1) / there.sum(1))


def trained(template_by_digit=False, noise=0.15, steps=600):
    """A model whose features of an image and of its caption are near to each other.

    Args:
        template_by_digit: True if a digit's captions all have one template, so that the template tells the digit;
            False if each is drawn at random.
        noise: standard deviation of the noise on the images it is trained on.
        steps: number of batches of 64 pairs.
    """
    drawn = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the initial weights draw from the global generator
        model = ImagesAndTexts()
    x, y = digits("train")
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        rows = torch.randint(len(x), (64,), generator=drawn)
        template = y[rows] if template_by_digit else torch.randint(10, (64,), generator=drawn)
        numeral = (torch.rand(64, generator=drawn) < 0.5).tolist()
        names = [NUMERALS[CLASSES[k]] if short else CLASSES[k] for k, short in zip(y[rows], numeral, strict=True)]
        texts = [CAPTIONS[at].replace("{}", name) for at, name in zip(template.tolist(), names, strict=True)]
        noisy = x[rows] + noise * torch.randn(x[rows].shape, generator=drawn)
        scores = normalize(model.encode_image(noisy)) @ normalize(model.encode_text(tokenize(texts))).T
        scores = model.logit_scale.exp() * scores
        # CLIP's loss, where every caption of the same digit is a right one: with ten digits a batch has many.
        same = (y[rows][:, None] == y[rows]).float()
        wanted = same / same.sum(1, keepdim=True)
        loss = cross_entropy(scores, wanted) + cross_entropy(scores.T, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval().requires_grad_(False)


def linear_probe(encoder, x, y, steps=300):
    """Return the encoder with a linear layer for the labels y (N,), fitted on its features of images x.

    The encoder stays as it is: its features are computed once, without gradients.
    """
    with torch.no_grad():
        features = encoder(x)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = nn.Linear(features.shape[1], int(y.max()) + 1)
    optimiser = torch.optim.Adam(head.parameters(), 0.01, weight_decay=1e-4)
    for _ in range(steps):
        optimiser.zero_grad()
        cross_entropy(head(features), y).backward()
        optimiser.step()
    return nn.Sequential(encoder, head).eval()
