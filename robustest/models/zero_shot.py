"""Zero-shot classifiers: an encoder of images, an encoder of texts, names of classes, and templates of a prompt."""

# Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021, section 3.1. With
# unit vectors u(x) of an image and v(t, k) of the template t with the name of class k, the scores of the classes are
#
#     s_k(x) = scale * <u(x), v(t, k)>                    of one template,
#     s_k(x) = scale * <u(x), unit(mean_t v(t, k))>       of all of them, as the paper classifies.
#
# Texts are encoded once, when the value is made: a model is the encoder of images and K fixed vectors, so that a search
# has the gradient of the scores, and no text is encoded during it. What changes a prompt, another template or another
# name of a class, is a change of an item for `robustest.claims.changes`; images are encoded once for all prompts.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustest.checks import checked_real, require
from robustest.errors import ConfigError, DataError, ModelError, expected, unknown
from robustest.models.classifier import Classifier, Preprocessing, as_classifier, logits_of
from robustest.models.frozen import frozen

_PLACE = "{}"
# The temperature at which CLIP's training ends (Radford et al., section 2.5).
_SCALE = 100.0
# Images that are encoded at a time.
_BATCH = 256
# The prompt of an item as it is: the mean of all templates, with the classes' own names.
_ALL = "all templates"

Change = Callable[[dict[str, str]], dict[str, str]]
"""Function from an item to the item under another prompt."""
TextEncoder = Callable[[list[str]], Any]
"""Function from n texts to their embeddings (n, D), as a tensor or an array."""


@dataclass(frozen=True, eq=False, slots=True)
class ZeroShot:
    """A classifier by prompts: the class whose prompt is nearest to the image, by cosine similarity.

    Args:
        images: encoder of images, a torch module or a function from a batch (B, *S) to embeddings (B, D).
        texts: function from a list of n texts to embeddings (n, D). It is called when the value is made.
        classes: names of the K >= 2 classes, in the order of the labels.
        templates: prompts with {} where the name of a class goes, such as "a photo of a {}.".
        scale: factor of the cosine similarities, > 0.

    Attributes:
        features: (T, K, D) float32 unit vectors of the prompts.

    Raises:
        ConfigError: classes or templates do not differ, a template lacks {}, or texts have other features each time.
        ModelError: features are not (n, D), are 0 or not finite, or do not tell two classes apart.
    """

    images: Callable[[Tensor], Any]
    texts: TextEncoder
    classes: Sequence[str] = field(kw_only=True)
    templates: Sequence[str] = field(default=("a photo of a {}.",), kw_only=True)
    scale: float = field(default=_SCALE, kw_only=True)
    features: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, value in (("images", self.images), ("texts", self.texts)):
            require(callable(value) and not isinstance(value, type), f"{name} as an encoder to call", value)
        object.__setattr__(self, "classes", _names("classes", self.classes, 2))
        object.__setattr__(self, "templates", _names("templates", self.templates, 1))
        for template in self.templates:
            if _PLACE not in template:
                mend = 'Put {} where the name of the class goes: "a photo of a {}.".'
                raise ConfigError(expected("templates with {}", template, mend))
        checked_real("scale", self.scale, 0.0, ends="()")
        object.__setattr__(self, "features", self._of_prompts(self.classes))

    @classmethod
    def of(
        cls,
        model: nn.Module,
        tokenize: Callable[[list[str]], Any],
        *,
        classes: Sequence[str],
        templates: Sequence[str] = ("a photo of a {}.",),
        scale: float | None = None,
    ) -> ZeroShot:
        """Return the classifier of a model with both encoders, by the names of their methods.

        These are `encode_image` and `encode_text`, as in open_clip, or `get_image_features` and `get_text_features`, as
        in transformers.

        Args:
            tokenize: function from a list of texts to the input of the encoder of texts: a tensor, or its keyword
                arguments, as of `lambda texts: processor(text=texts, padding=True, return_tensors="pt")`.
            scale: None for the model's own, the exponential of its `logit_scale`.

        Raises:
            ConfigError: the model has none of these methods, or no `logit_scale`; else as for `ZeroShot`.
        """
        there = [one for one in _METHODS if all(callable(getattr(model, name, None)) for name in one[:2])]
        if not there:
            mend = "Give its encoders: ZeroShot(images, texts, classes=...)."
            raise ConfigError(expected("a model with encode_image and encode_text, or get_image_features", model, mend))
        image, text, keyword = there[0]
        if scale is None:
            own = getattr(model, "logit_scale", None)
            if not isinstance(own, Tensor) or own.numel() != 1:
                raise ConfigError(expected("a model with logit_scale, or scale=", own, "For example scale=100."))
            scale = float(own.detach().double().exp())

        def texts(prompts: list[str]) -> Any:
            with frozen(model):
                given = _moved(tokenize(prompts), model)
                encode = getattr(model, text)
                return _pooled(encode(**given) if isinstance(given, Mapping) else encode(given))

        return cls(_Images(model, image, keyword), texts, classes=classes, templates=templates, scale=scale)

    @property
    def model(self) -> nn.Module:
        """The model of all templates, by the mean of their vectors: scores (B, K) of images."""
        return _Nearest(self.images, _mean(self.features), self.scale)

    @property
    def by_template(self) -> dict[str, nn.Module]:
        """The model of each template alone."""
        pairs = zip(self.templates, self.features, strict=True)
        return {template: _Nearest(self.images, features, self.scale) for template, features in pairs}

    def asked(
        self,
        images: Any,
        labels: Any,
        *,
        renamed: Mapping[str, Mapping[str, str]] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> AskedPrompts:
        """Return images as items for claims on the worst of several prompts; each image is encoded once.

        Args:
            images: (N, *S), a tensor or an array.
            labels: (N,) numbers or names of classes.
            renamed: other names of classes by the name of a set: {"plain": {"feline": "cat"}}.
            preprocessing: as for `assert_accuracy`.

        Raises:
            DataError: labels are no classes, or not one for each image.
            UnknownNameError: a class that is renamed does not exist.
            ConfigError: other names change none, or two classes would have one name.
            ModelError: features of an image are 0 or not finite.
        """
        x, answers = torch.as_tensor(images), self._answers(labels)
        require(len(x) == len(answers) > 0, "a label for each image", (len(x), len(answers)), error=DataError)
        prompts = {_ALL: _mean(self.features), **dict(zip(self.templates, self.features, strict=True))}
        for name, names in (renamed or {}).items():
            require(isinstance(name, str) and name not in prompts, "names of sets that are no templates", name)
            prompts[name] = _mean(self._of_prompts(self._renamed(name, names)))
        found = self._of_images(x, preprocessing)
        if found.shape[1] != self.features.shape[2]:
            raise ModelError(
                f"Expected features of images of size {self.features.shape[2]}, as of texts, but got {found.shape[1]}."
            )
        digests = [sha256(one.tobytes()).hexdigest()[:16] for one in x.detach().cpu().contiguous().numpy()]
        return AskedPrompts(
            classes=self.classes,
            features=found.numpy(),
            prompts={name: each.numpy() for name, each in prompts.items()},
            of=len(self.templates),
            items=[
                {"item": f"image {at}", "image": image, "prompt": _ALL, "expected": answer}
                for at, (image, answer) in enumerate(zip(digests, answers, strict=True))
            ],
        )

    def _of_prompts(self, classes: Sequence[str]) -> Tensor:
        """Return (T, K, D) float32 unit vectors of all templates with these names."""
        prompts = [[template.replace(_PLACE, name) for name in classes] for template in self.templates]
        with torch.no_grad(), frozen(self.texts if isinstance(self.texts, nn.Module) else None):
            found = [
                _units(self.texts([*texts]), len(texts), f"texts of the template {template!r}")
                for template, texts in zip(self.templates, prompts, strict=True)
            ]
            again = _units(self.texts([*prompts[0]]), len(classes), "texts")
        if not torch.allclose(again, found[0], atol=1e-5):
            raise ConfigError(
                "Expected the same features of the same texts but they differ when asked again. Put the encoder of "
                "texts into eval mode: encoder.eval()."
            )
        for template, each in zip(self.templates, found, strict=True):
            # A prompt that is cut off before the name, or a name that the encoder does not know.
            for k in range(1, len(each)):
                if bool((same := (each[:k] - each[k]).norm(dim=1) <= _SAME).any()):
                    other = classes[int(same.nonzero()[0])]
                    raise ModelError(
                        f"Expected texts that tell classes apart but {other!r} and {classes[k]!r} have the same "
                        f"features in {template!r}. The prompt may be cut off before the name: make it shorter."
                    )
        return torch.stack(found)

    def _renamed(self, name: str, names: Mapping[str, str]) -> tuple[str, ...]:
        require(isinstance(names, Mapping), f"other names of classes in {name!r}, by the class", names)
        if strange := [one for one in names if one not in self.classes]:
            raise unknown("class", strange[0], self.classes)
        changed = tuple(names.get(one, one) for one in self.classes)
        if changed == self.classes:
            raise ConfigError(f"Expected {name!r} to rename a class but all names stay: a claim on it says nothing.")
        return _names(f"classes renamed by {name!r}", changed, 2)

    def _answers(self, labels: Any) -> list[str]:
        given = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
        if given.dtype.kind in "iu" and given.ndim == 1:
            if given.size and not 0 <= given.min() <= given.max() < len(self.classes):
                span = (int(given.min()), int(given.max()))
                raise DataError(expected(f"labels in 0..{len(self.classes) - 1}", span))
            return [self.classes[k] for k in given.tolist()]
        if given.ndim != 1 or not {*given.tolist()} <= {*self.classes}:
            raise DataError(expected("labels (N,) as numbers or names of classes", labels))
        return [str(one) for one in given.tolist()]

    def _of_images(self, x: Tensor, preprocessing: Preprocessing | None) -> Tensor:
        """Return (N, D) float32 unit vectors of images, on the CPU."""
        model: Classifier = as_classifier(self.images, preprocessing=preprocessing)
        device = model.place("auto")
        with torch.no_grad(), frozen(model.module):
            batches = [_units(model.answer(one.to(device)), len(one), "images") for one in torch.split(x, _BATCH)]
        return torch.cat(batches)


@dataclass(frozen=True, eq=False, slots=True)
class AskedPrompts:
    """Images as items that are asked about under several prompts; itself the function that answers with a class.

    Attributes:
        classes: names of the K classes.
        features: (N, D) unit vectors of the images.
        prompts: (K, D) unit vectors of the classes by the name of a prompt: all templates, each, other names.
        of: number of templates.
        items: the images; as they are they are asked about with all templates.
    """

    classes: Sequence[str]
    features: NDArray[np.float32]
    prompts: Mapping[str, NDArray[np.float32]]
    of: int
    items: list[dict[str, str]]

    def __call__(self, item: Mapping[str, str]) -> str:
        """Return the class whose prompt is nearest to the image."""
        at = int(item["item"].removeprefix("image "))
        return self.classes[int((self.prompts[item["prompt"]] @ self.features[at]).argmax())]

    @property
    def templates(self) -> dict[str, Change]:
        """Changes of an item to each template alone, by the template.

        Raises:
            ConfigError: there is one template alone, with which the items are asked anyway.
        """
        if self.of < 2:
            raise ConfigError(
                f"Expected two templates or more but got {self.of}: the worst of one says what a claim on the model "
                "says. Give more: templates=(...)."
            )
        return {name: partial(_asked_by, prompt=name) for name in [*self.prompts][1 : 1 + self.of]}

    @property
    def renamed(self) -> dict[str, Change]:
        """Changes of an item to other names of classes, by the name of the set.

        Raises:
            ConfigError: no class has another name.
        """
        sets = [*self.prompts][1 + self.of :]
        if not sets:
            mend = 'Give renamed={"plain": {"feline": "cat"}}.'
            raise ConfigError(f"Expected other names of classes but got none. {mend}")
        return {name: partial(_asked_by, prompt=name) for name in sets}

    @staticmethod
    def right(answer: str, item: Mapping[str, str]) -> bool:
        """Return True if the answer is the class of the image: `score=` of a claim."""
        return answer == item["expected"]


def _asked_by(item: dict[str, str], *, prompt: str) -> dict[str, str]:
    return {**item, "prompt": prompt}


class _Nearest(nn.Module):
    """Scores (B, K) of images: scaled cosine similarities with K unit vectors (K, D)."""

    classes: Tensor

    def __init__(self, images: Callable[[Tensor], Any], classes: Tensor, scale: float) -> None:
        super().__init__()
        self.images, self.scale = images, scale
        # Where the encoder is, also one behind a function.
        self.register_buffer("classes", classes.to(as_classifier(images).place("auto")))

    def forward(self, x: Tensor) -> Tensor:
        features = logits_of(_pooled(self.images(x))).float()
        # Without a smallest norm: a vector of zeros has no nearest class, and NaN is refused.
        features = features / features.norm(dim=-1, keepdim=True)
        return torch.mul(features @ self.classes.to(features).T, self.scale)


class _Images(nn.Module):
    """The encoder of images of a model that has both, as a module of its own."""

    def __init__(self, model: nn.Module, method: str, keyword: str) -> None:
        super().__init__()
        self.model, self.method, self.keyword = model, method, keyword

    def forward(self, x: Tensor) -> Any:
        encode = getattr(self.model, self.method)
        return _pooled(encode(**{self.keyword: x}) if self.keyword else encode(x))


# Methods of models with both encoders, and the keyword of the images.
_METHODS = (("encode_image", "encode_text", ""), ("get_image_features", "get_text_features", "pixel_values"))


def _pooled(output: Any) -> Any:
    """Return the embeddings in an output of transformers; other outputs as they are."""
    pooled = getattr(output, "pooler_output", None)
    return output if pooled is None else pooled


def _moved(tokens: Any, model: nn.Module) -> Any:
    """Return tokens on the device of a model.

    Raises:
        ConfigError: they are no tensors.
    """
    device = next((one.device for one in model.parameters()), torch.device("cpu"))
    values = [*tokens.values()] if isinstance(tokens, Mapping) else [tokens]
    if not all(isinstance(one, Tensor) for one in values):
        mend = 'For example tokenize=lambda texts: processor(text=texts, padding=True, return_tensors="pt").'
        raise ConfigError(expected("tokens as a tensor, or a mapping of tensors", tokens, mend))
    return {name: one.to(device) for name, one in tokens.items()} if isinstance(tokens, Mapping) else tokens.to(device)


def _units(output: Any, rows: int, what: str) -> Tensor:
    """Return features (rows, D) as float32 unit vectors on the CPU.

    Raises:
        ModelError: they have another shape, are not finite, or one is 0.
    """
    features = logits_of(_pooled(output)).detach().to("cpu", torch.float64)
    if features.ndim != 2 or len(features) != rows:
        raise ModelError(expected(f"features ({rows}, D) of {what}", tuple(features.shape)))
    norm = features.norm(dim=1, keepdim=True)
    if not bool(torch.isfinite(features).all()) or not bool((norm > 0).all()):
        at = int((~torch.isfinite(features).all(1) | (norm[:, 0] == 0)).nonzero()[0])
        raise ModelError(f"Expected finite features of {what} that are not 0 but those of number {at} are.")
    return features.div(norm).float()


def _mean(features: Tensor) -> Tensor:
    """Return (K, D) the unit vectors of the means of (T, K, D) unit vectors."""
    mean = features.double().mean(0)
    norm = mean.norm(dim=1, keepdim=True)
    if not bool((norm > _OPPOSITE).all()):
        raise ModelError("Expected templates whose features have a mean but those of a class cancel out. Give fewer.")
    return mean.div(norm).float()


# Unit vectors of two prompts this close are one: half precision moves a unit vector by up to 2^-11 = 5e-4, and equal
# texts of a batch may be rounded apart.
_SAME = 1e-3
# A mean of unit vectors this short is rounding.
_OPPOSITE = 1e-6


def _names(what: str, given: object, least: int) -> tuple[str, ...]:
    """Return names that differ by more than spaces.

    Raises:
        ConfigError: two are the same, one is no text or empty, or there are fewer than `least`.
    """
    names = tuple(given) if isinstance(given, (list, tuple)) else ()
    if len(names) < least or not all(isinstance(one, str) and one.strip() for one in names):
        raise ConfigError(expected(f"{what} as {least} texts or more", given))
    first: dict[str, str] = {}
    for name in names:
        key = " ".join(name.split())
        if key in first:
            mend = "Two that are the same say nothing apart: leave one out, or name it otherwise."
            raise ConfigError(expected(f"{what} that differ", [first[key], name], mend))
        first[key] = name
    return names
