"""Pictures of features: inputs that maximise them, samples where they are highest, and inputs that share them."""

# A feature is maximised by gradient steps on the input from grey (Engstrom et al., 2019, section 5).

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor

from robustest import Settings, rng
from robustest.data import Samples
from robustest.errors import ConfigError, DataError, ModelError, expected
from robustest.packs import (
    Chunk,
    Evaluator,
    Features,
    Options,
    Setup,
    checked_whole,
    current,
    save_sheet,
)
from robustest_interpret.invertible_features import grey

STEPS = 200

# A start that moved by less, in widths of the bounds, has no slope.
_STILL = 1e-3


@dataclass(slots=True)
class Gallery:
    """Sheets of pictures of features; none are made if the settings keep no pictures.

    Attributes:
        evaluator: makes and counts the model's passes.
        sheets: "caption" and "image" (a path) of each sheet saved.
    """

    evaluator: Evaluator
    features: Features
    samples: Samples
    settings: Settings
    name: str
    steps: int = STEPS
    sheets: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, caption: str, features: Sequence[int], samples: Sequence[Tensor]) -> None:
        """Save a sheet with a row for each feature: the input that maximises it, then its samples (m,) int64."""
        if self.settings.pictures is None or not len(features):
            return
        bounds = self.evaluator.model.bounds
        chunks = (Chunk.each(self.samples, self.evaluator, seed=self.settings.seed, ids=ids) for ids in samples)
        tops = [torch.cat([chunk.x for chunk in part]).cpu() for part in chunks]
        driven = self._maximised(features, torch.stack([top[0] for top in tops]))
        rows = [[*([] if driven is None else [driven[i]]), *top] for i, top in enumerate(tops)]
        save = partial(save_sheet, self.settings.pictures, f"{self.name}-{name}", rows, bounds)
        path = current().picture(save, self.settings.pictures)
        if path is not None:
            first = "" if driven is None else "what drives it up, then "
            about = f"{caption}; a row a feature: {first}the samples where it is highest"
            self.sheets.append({"caption": about, "image": path})

    def _maximised(self, features: Sequence[int], like: Tensor) -> Tensor | None:
        """Return inputs (M, *S) that maximise each feature; None if the model gives no gradient."""
        device, bounds = self.evaluator.device, self.evaluator.model.bounds
        index = torch.tensor(features, device=device)
        key = rng.keys(self.settings.seed, torch.tensor(features)).to(device)
        driven = self.features.on(self.evaluator)
        start = grey(key, like.shape[1:], bounds)
        try:
            made = driven.maximised(start, index, bounds=bounds, steps=self.steps)
            still = (made - start).flatten(1).abs().amax(1) < _STILL * (bounds[1] - bounds[0])
            # A feature without a slope at grey, as behind a closed ReLU, starts from its row of `like` (M, *S) instead.
            if bool(still.any()):
                again = driven.maximised(like.to(device)[still], index[still], bounds=bounds, steps=self.steps)
                made[still] = again
        except ModelError as error:
            note = f"features are not visualised: {error}"
            self.notes += [note] if note not in self.notes else []
            return None
        found: Tensor = made.cpu()
        return found


def highest(values: Tensor, count: int) -> Tensor:
    """Return the rows (m,) int64 of the largest values."""
    return values.argsort(descending=True, stable=True)[:count]


def picture_features(
    model: object,
    data: object,
    folder: str,
    *,
    features: Sequence[int],
    layer: str | None = None,
    samples: int = 1000,
    top: int = 5,
    steps: int = STEPS,
    **options: Unpack[Options],
) -> str:
    """Save a picture of features of a model's last layer, in a row each.

    First comes the input that gradient steps from grey lead to as they maximise the feature (Engstrom et al., 2019,
    section 5), then the samples where it is highest. For a network that was not trained robustly the input looks like
    noise, and can be manipulated: trust the samples.

    Args:
        model: a torch module, or a `Classifier` of one, whose logits are a linear layer's outputs.
        data: images of 1 or 3 channels, as for `measure_robust_accuracy`.
        folder: made if absent.
        features: in 0..D-1, a row each.
        layer: name of the linear layer; None finds it.
        samples: most samples evaluated.
        top: samples shown for each feature, >= 1.
        **options: see `robustest.run.options.Options`.

    Returns:
        The picture's path.

    Raises:
        ConfigError: an argument is out of range, or the logits are no linear layer's outputs.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    for name, number in (("samples", samples), ("top", top), ("steps", steps)):
        checked_whole(name, number, 1)
    with _ready(model, data, folder, layer, options) as (evaluator, read_features, read, settings):
        ids = rng.permutation(settings.seed, len(read))[:samples]
        rows = torch.cat([read_features(c.x).cpu() for c in Chunk.each(read, evaluator, seed=settings.seed, ids=ids)])
        count = rows.shape[1]
        if not len(features) or not all(type(j) is int and 0 <= j < count for j in features):
            raise ConfigError(expected(f"features in 0..{count - 1}", list(features)))
        gallery = Gallery(evaluator, read_features, read, settings, "features", steps)
        shown = [ids[highest(rows[:, j], top)] for j in features]
        gallery.add("-".join(map(str, features[:8])), "", list(features), shown)
    return _path(None if not gallery.sheets else gallery.sheets[0]["image"], read)


def picture_inversions(
    model: object,
    data: object,
    folder: str,
    *,
    ids: Sequence[int],
    layer: str | None = None,
    steps: int = 500,
    step_size: float | None = None,
    **options: Unpack[Options],
) -> str:
    """Save a picture of samples, each beside an input that was made to have the same features, in rows.

    Args:
        model, data, folder, layer: as for `picture_features`.
        ids: positions in the data.
        steps, step_size: as for `measure_invertible_features`.
        **options: see `robustest.run.options.Options`.
    """
    checked_whole("steps", steps, 1)
    with _ready(model, data, folder, layer, options) as (evaluator, read_features, read, settings):
        if not len(ids) or not all(type(i) is int and 0 <= i < len(read) for i in ids):
            raise ConfigError(expected(f"ids to be positions in 0..{len(read) - 1}", list(ids)))
        rows = []
        for chunk in Chunk.each(read, evaluator, seed=settings.seed, ids=torch.tensor(list(ids))):
            aim, start = read_features(chunk.x), grey(chunk.key, chunk.x.shape[1:], chunk.bounds)
            how: dict[str, Any] = {"steps": steps, "step_size": step_size}
            made, _ = read_features.inverted(start, aim, bounds=chunk.bounds, **how)
            rows += [[a.cpu(), b.cpu()] for a, b in zip(chunk.x, made, strict=True)]
        name = f"inversions-{'-'.join(map(str, ids[:8]))}"
        path = current().picture(partial(save_sheet, folder, name, rows, evaluator.model.bounds), folder)
    return _path(path, read)


@contextmanager
def _ready(
    model: object, data: object, folder: str, layer: str | None, options: Options
) -> Iterator[tuple[Evaluator, Features, Samples, Settings]]:
    setup = Setup.of(model, data, options)
    samples, settings = setup.samples, setup.settings
    with Evaluator.opened(setup.model, settings) as evaluator:
        first = next(Chunk.each(samples, evaluator, seed=settings.seed, ids=torch.zeros(1, dtype=torch.int64)))
        features = Features.of(evaluator, first.x, layer=layer)
        yield evaluator, features, samples, replace(settings, pictures=folder)


def _path(path: str | None, samples: Samples) -> str:
    if path is None:
        shape = tuple(samples.take(torch.zeros(1, dtype=torch.int64))[0].shape[1:])
        raise DataError(expected("images (C, H, W) or (H, W) of 1 or 3 channels to draw", shape))
    return path
