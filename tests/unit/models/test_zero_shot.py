"""Classifiers by prompts: scores as by hand, the worst prompt, other names of classes, and what is refused."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import (
    ConfigError,
    DataError,
    Linf,
    ModelError,
    UnknownNameError,
    Verdict,
    ZeroShot,
    assert_accuracy,
    assert_robust_accuracy,
)
from robustest.measure import (
    measure_accuracy,
    measure_invariant,
    measure_robust_accuracy,
    measure_same_answers,
    measure_worst_change_rate,
)

CLASSES = ("cat", "dog", "owl")
TEMPLATES = ("a photo of a {}.", "{}", "a sketch of a {}")
SIZE = 8
OTHER_NAMES = {"kitten": "cat", "hound": "dog"}


def of_word(word: str) -> Tensor:
    """A unit vector of its own for each word."""
    generator = torch.Generator().manual_seed(zlib.crc32(word.encode()))
    return nn.functional.normalize(torch.randn(SIZE, generator=generator), dim=0)


def robust(texts: list[str]) -> Tensor:
    """Reads the name, also by its other word, and the rest of the prompt hardly."""
    words = [text.strip(".").split() for text in texts]
    names = [of_word(OTHER_NAMES.get(one[-1], one[-1])) for one in words]
    return torch.stack(
        [name + 0.05 * sum(map(of_word, one[:-1]), torch.zeros(SIZE)) for name, one in zip(names, words, strict=True)]
    )


def sensitive(texts: list[str]) -> Tensor:
    """Takes cats for dogs where it reads of a sketch, and knows one word of each class alone."""
    swapped = {"cat": "dog", "dog": "cat"}
    told = [
        text.replace("cat", swapped["cat"])
        if "sketch" in text and "cat" in text
        else text.replace("dog", swapped["dog"])
        if "sketch" in text
        else text
        for text in texts
    ]
    return torch.stack([of_word(text.strip(".").split()[-1]) for text in told])


class Images(nn.Module):
    """Embeddings of images (B, 1, 2, 4), which are the vector of a class and noise."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(SIZE, SIZE, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(torch.eye(SIZE))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1) - 0.5)  # type: ignore[no-any-return]


def pictures(n: int = 300) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % len(CLASSES)
    vectors = torch.stack([of_word(name) for name in CLASSES])[y]
    x = 0.5 + 0.3 * vectors + 0.02 * torch.randn(n, SIZE, generator=generator)
    return x.clamp(0, 1).view(n, 1, 2, 4), y


def made(texts: Callable[[list[str]], Any] = robust, **options: Any) -> ZeroShot:
    return ZeroShot(Images(), texts, **{"classes": CLASSES, "templates": TEMPLATES, **options})


def test_scores_are_scaled_cosines_of_the_mean_of_unit_vectors() -> None:
    zero, (x, _) = made(scale=20.0), pictures(5)
    vectors = np.stack(
        [[robust([t.replace("{}", name)])[0].double().numpy() for name in CLASSES] for t in TEMPLATES]
    )  # (T, K, D)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    mean = vectors.mean(0) / np.linalg.norm(vectors.mean(0), axis=1, keepdims=True)
    images = x.flatten(1).double().numpy() - 0.5
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    np.testing.assert_allclose(zero.model(x).detach().numpy(), 20 * images @ mean.T, atol=1e-5)
    assert list(zero.by_template) == list(TEMPLATES)
    for name, one in zip(TEMPLATES, vectors, strict=True):
        np.testing.assert_allclose(zero.by_template[name](x).detach().numpy(), 20 * images @ one.T, atol=1e-5)


def test_the_model_is_claimed_and_attacked_as_any_other() -> None:
    zero, data = made(), pictures()
    assert_accuracy(zero.model, data, at_least=0.95)
    assert_robust_accuracy(zero.model, data, Linf(0.01), at_least=0.9)
    found = measure_robust_accuracy(zero.model, data, Linf(0.3), at_least=0.5)
    assert found.verdict is Verdict.FAILED


def test_a_prompt_sensitive_model_is_red_and_its_robust_twin_green() -> None:
    x, y = pictures()
    verdicts = {}
    for texts in (robust, sensitive):
        asked = made(texts).asked(x, y)
        result = measure_worst_change_rate(asked, asked.items, asked.templates, score=asked.right, at_least=0.8)
        stays = measure_invariant(asked, asked.items, asked.templates, at_least=0.8)
        verdicts[texts] = result.verdict, stays.verdict
        # As many as the model of that template alone has right.
        worst = min(
            measure_accuracy(model, (x, y), exact=True).estimate or 0.0 for model in made(texts).by_template.values()
        )
        exact = measure_worst_change_rate(
            asked, asked.items, asked.templates, score=asked.right, at_least=0.8, exact=True
        )
        assert exact.estimate == pytest.approx(worst)
    assert verdicts == {robust: (Verdict.PASSED,) * 2, sensitive: (Verdict.FAILED,) * 2}
    # The mean of the templates is right all the same: accuracy alone shows nothing.
    assert measure_accuracy(made(sensitive).model, (x, y), at_least=0.9).verdict is Verdict.PASSED


def test_the_worst_template_is_named() -> None:
    asked = made(sensitive).asked(*pictures())
    result = measure_worst_change_rate(asked, asked.items, asked.templates, score=asked.right, at_least=0.8)
    assert any("a sketch of a {}" in one for one in result.words.caveats)


def test_renamed_classes_are_red_where_the_model_knows_one_word_alone() -> None:
    x, y = pictures()
    names = {"other words": {"cat": "kitten", "dog": "hound"}}
    verdicts = {
        texts: measure_invariant(asked, asked.items, asked.renamed, at_least=0.8).verdict
        for texts in (robust, sensitive)
        for asked in [made(texts, templates=TEMPLATES[:2]).asked(x, y, renamed=names)]
    }
    assert verdicts == {robust: Verdict.PASSED, sensitive: Verdict.FAILED}


def test_models_of_single_templates_are_copies_that_may_disagree() -> None:
    data = pictures(90)
    agree = {
        texts: measure_same_answers(made(texts).by_template, data, Linf(0.01), at_least=0.8).verdict
        for texts in (robust, sensitive)
    }
    assert agree == {robust: Verdict.PASSED, sensitive: Verdict.FAILED}


def test_a_pass_on_images_of_one_class_is_none() -> None:
    x, y = pictures()
    asked = made().asked(x[y == 0], y[y == 0])
    stays = measure_invariant(asked, asked.items, asked.templates, at_least=0.8)
    assert stays.verdict is Verdict.INCONCLUSIVE
    rate = measure_worst_change_rate(asked, asked.items, asked.templates, score=asked.right, at_least=0.8)
    assert rate.verdict is Verdict.INCONCLUSIVE


def test_labels_may_be_names_and_images_are_preprocessed_as_in_claims() -> None:
    x, y = pictures(30)
    named = made().asked(x, [CLASSES[k] for k in y.tolist()])
    assert named.items == made().asked(x.numpy(), y.numpy()).items
    half = made().asked((x - 0.1) / 2, y, preprocessing=([-0.05], [0.5]))
    np.testing.assert_allclose(half.features, named.features, atol=1e-5)


class OpenClip(nn.Module):
    """The interface of open_clip: two methods, and the logarithm of the scale."""

    def __init__(self) -> None:
        super().__init__()
        self.visual, self.words = Images(), nn.EmbeddingBag(len(CLASSES) + 1, SIZE, mode="sum", padding_idx=3)
        with torch.no_grad():
            self.words.weight.copy_(torch.stack([*map(of_word, CLASSES), torch.zeros(SIZE)]))
        self.logit_scale = nn.Parameter(torch.tensor(50.0).log())

    def encode_image(self, image: Tensor) -> Tensor:
        return self.visual(image)  # type: ignore[no-any-return]

    def encode_text(self, tokens: Tensor) -> Tensor:
        return self.words(tokens)  # type: ignore[no-any-return]


class Transformers(OpenClip):
    """The interface of transformers: keywords, and the embeddings as an attribute of an output."""

    encode_image = encode_text = None  # type: ignore[assignment]

    def get_image_features(self, *, pixel_values: Tensor) -> Any:
        return SimpleNamespace(pooler_output=self.visual(pixel_values))

    def get_text_features(self, *, input_ids: Tensor) -> Tensor:
        return self.words(input_ids)  # type: ignore[no-any-return]


def tokens(texts: list[str]) -> Tensor:
    return torch.tensor([[CLASSES.index(text.split()[-1].strip("."))] for text in texts])


def test_models_with_both_encoders_are_read_by_the_names_of_their_methods() -> None:
    x, y = pictures(60)
    of: dict[str, Any] = {"classes": CLASSES, "templates": ("a {}", "the {}")}
    one = ZeroShot.of(OpenClip(), tokens, **of)
    two = ZeroShot.of(Transformers(), lambda texts: {"input_ids": tokens(texts)}, **of)
    assert one.scale == pytest.approx(50) == two.scale
    torch.testing.assert_close(one.model(x), two.model(x))
    assert measure_accuracy(two.model, (x, y), at_least=0.9).verdict is Verdict.PASSED
    assert ZeroShot.of(OpenClip(), tokens, **of, scale=7).scale == 7


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no place for the name": (lambda: made(templates=("a photo",)), ConfigError, r"templates with \{\}.*Put \{\}"),
    "equal templates": (
        lambda: made(templates=("a {}", "a  {} ")),
        ConfigError,
        "templates that differ.*leave one out",
    ),
    "no template": (lambda: made(templates=()), ConfigError, "1 texts or more"),
    "a text as templates": (lambda: made(templates="a {}"), ConfigError, "templates as 1 texts or more"),
    "equal classes": (lambda: made(classes=("cat", "cat")), ConfigError, "classes that differ"),
    "one class": (lambda: made(classes=("cat",)), ConfigError, "2 texts or more"),
    "a text as templates of a model": (
        lambda: ZeroShot.of(OpenClip(), tokens, classes=CLASSES, templates="a {}"),
        ConfigError,
        "templates as 1 texts or more",
    ),
    "no encoder": (lambda: ZeroShot(3, robust, classes=CLASSES), ConfigError, "images as an encoder"),  # type: ignore[arg-type]
    "a scale of 0": (lambda: made(scale=0), ConfigError, "scale"),
    "texts that differ by rounding alone": (
        lambda: made(lambda texts: torch.ones(len(texts), 4) + 3e-4 * torch.eye(4)[: len(texts)]),
        ModelError,
        "'cat' and 'dog' have the same features",
    ),
    "texts that are all the same": (
        lambda: made(lambda texts: torch.ones(len(texts), 4)),
        ModelError,
        "'cat' and 'dog' have the same features",
    ),
    "zero vectors": (lambda: made(lambda texts: torch.zeros(len(texts), 4)), ModelError, "that are not 0"),
    "NaN": (lambda: made(lambda texts: torch.full((len(texts), 4), torch.nan)), ModelError, "finite features of texts"),
    "one vector for all": (lambda: made(lambda texts: torch.ones(len(texts))), ModelError, r"features \(3, D\)"),
    "texts that vary": (lambda: made(lambda texts: torch.randn(len(texts), 4)), ConfigError, r"encoder\.eval\(\)"),
    "another size": (
        lambda: made(lambda texts: robust(texts)[:, :5]).asked(*pictures(6)),
        ModelError,
        "size 5, as of texts, but got 8",
    ),
    "zero images": (lambda: made().asked(torch.full((4, 1, 2, 4), 0.5), [0] * 4), ModelError, "features of images"),
    "labels beyond": (lambda: made().asked(pictures(3)[0], [0, 1, 3]), DataError, r"labels in 0\.\.2"),
    "strange labels": (lambda: made().asked(pictures(2)[0], ["cat", "cow"]), DataError, "numbers or names"),
    "a label too few": (lambda: made().asked(pictures(3)[0], [0, 1]), DataError, "a label for each image"),
    "one template": (lambda: made(templates=("{}",)).asked(*pictures(3)).templates, ConfigError, "two templates"),
    "no names": (lambda: made().asked(*pictures(3)).renamed, ConfigError, "Give renamed="),
    "a strange class": (
        lambda: made().asked(*pictures(3), renamed={"a": {"cut": "tom"}}),
        UnknownNameError,
        "Did you mean 'cat'",
    ),
    "names that stay": (
        lambda: made().asked(*pictures(3), renamed={"a": {"cat": "cat"}}),
        ConfigError,
        "a claim on it says nothing",
    ),
    "two classes of one name": (
        lambda: made().asked(*pictures(3), renamed={"a": {"cat": "dog"}}),
        ConfigError,
        "renamed by 'a' that differ",
    ),
    "no methods": (lambda: ZeroShot.of(Images(), tokens, classes=CLASSES), ConfigError, "Give its encoders"),
    "ragged tokens": (
        lambda: ZeroShot.of(Transformers(), lambda texts: {"input_ids": [[1]]}, classes=CLASSES),  # noqa: ARG005
        ConfigError,
        'return_tensors="pt"',
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_says_nothing_is_refused_with_a_remedy(name: str) -> None:
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def test_an_image_of_zeros_is_no_class() -> None:
    x, y = pictures(60)
    x[3] = 0.5
    with pytest.raises(ModelError, match="finite"):
        measure_accuracy(made().model, (x, y), exact=True)


def test_equal_images_are_one_item() -> None:
    x, y = pictures(60)
    asked = made().asked(torch.cat([x, x[:1]]), torch.cat([y, y[:1]]))
    with pytest.raises(DataError, match="'image 60'"):
        measure_invariant(asked, asked.items, asked.templates, at_least=0.8)


def test_encoders_in_train_mode_are_left_as_they_were() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, texts: list[str]) -> Tensor:
            return self.drop(robust(texts))  # type: ignore[no-any-return]

    encoder = Dropping().train()
    torch.testing.assert_close(made(encoder).features, made().features)
    assert encoder.training
    images = Images().train()
    ZeroShot(images, robust, classes=CLASSES, templates=TEMPLATES).asked(*pictures(6))
    assert images.training
