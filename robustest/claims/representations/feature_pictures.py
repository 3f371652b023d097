"""Pictures of features: an input that drives each up, and the samples where it is highest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from robustest import context, rng
from robustest.data import Samples
from robustest.engine.evaluator import Evaluator
from robustest.engine.features import in_order, reader
from robustest.engine.visualise import grey, maximised
from robustest.errors import ModelError
from robustest.models.last_layer import LastLayer
from robustest.reports.pictures import save_sheet
from robustest.run.finish import shown_path
from robustest.settings import Settings

STEPS = 200
_STILL = 1e-3
"""A start that moved by less, in widths of the bounds, has no slope."""


@dataclass(slots=True)
class Gallery:
    """Sheets of features; nothing is made where the settings keep no pictures.

    Attributes:
        evaluator: makes the model's passes; those made here are counted by it.
        last: the layer whose inputs are the features.
        samples: the data.
        settings: seed and folder.
        name: begins the names of files.
        steps: gradient steps of a visualisation.
        told: of each sheet saved, "caption" and "image" (its path).
        notes: what a reader must know.
    """

    evaluator: Evaluator
    last: LastLayer
    samples: Samples
    settings: Settings
    name: str
    steps: int = STEPS
    told: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, caption: str, features: Sequence[int], samples: Sequence[Tensor]) -> None:
        """Save a sheet: for each feature a row, what drives it up before the samples that show it.

        Args:
            name: of the sheet, part of its file's name.
            caption: what it shows.
            features: a row each.
            samples: for each feature positions (m,) int64 in the data.
        """
        if self.settings.pictures is None or not len(features):
            return
        bounds = self.evaluator.model.bounds
        tops = [self._inputs(ids) for ids in samples]
        driven = self._driven(features, torch.stack([top[0] for top in tops]))
        rows = [[*([] if driven is None else [driven[i]]), *top] for i, top in enumerate(tops)]
        save = partial(save_sheet, self.settings.pictures, f"{self.name}-{name}", rows, bounds)
        path = context.current().picture(save, self.settings.pictures)
        if path is not None:
            first = "" if driven is None else "what drives it up, then "
            about = f"{caption}; a row a feature: {first}the samples where it is highest"
            self.told.append({"caption": about, "image": shown_path(path)})

    def _inputs(self, ids: Tensor) -> Tensor:
        return torch.cat([c.x for c in in_order(self.samples, self.evaluator, seed=self.settings.seed, ids=ids)]).cpu()

    def _driven(self, features: Sequence[int], like: Tensor) -> Tensor | None:
        """(M, *S) inputs that drive each feature up; None where the model gives no gradient.

        They start from grey. A feature without a slope there, as behind a ReLU that is shut, starts from its row of
        `like` (M, *S) instead.
        """
        device, bounds = self.evaluator.device, self.evaluator.model.bounds
        index = torch.tensor(features, device=device)
        key = rng.keys(self.settings.seed, torch.tensor(features)).to(device)
        read = reader(self.evaluator, self.last.of(self.evaluator.model))
        start = grey(key, like.shape[1:], bounds)
        try:
            made = maximised(read, start, index, bounds=bounds, steps=self.steps)
            still = (made - start).flatten(1).abs().amax(1) < _STILL * (bounds[1] - bounds[0])
            if bool(still.any()):
                again = maximised(read, like.to(device)[still], index[still], bounds=bounds, steps=self.steps)
                made[still] = again
            read.settle()
        except ModelError as error:
            note = f"features are not visualised: {error}"
            self.notes += [note] if note not in self.notes else []
            return None
        self.evaluator.forward += read.forward
        self.evaluator.backward += read.backward
        return made.cpu()
