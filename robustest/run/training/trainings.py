"""What a user's training makes of data: models that are trained once, and what was measured of each remembered.

A model comes out of code that nobody here wrote, as an object that no safe file could hold. So what is remembered of a
training is what was measured of its model, under a key of all that it came of: the samples and labels that it was
given, its seed, the code of the function that trains (with all that this reaches), robustest's own code, and what was
measured. Each training is kept as soon as it has been measured: a run that was killed goes on with the next one.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustest import clock, context, rng
from robustest.engine.draws import seed_draws
from robustest.errors import ConfigError, expected
from robustest.identity.fingerprint import Unhashable, digest
from robustest.identity.packages import own_code
from robustest.models import frozen
from robustest.run.evidence import Observed, Tally
from robustest.run.remembered.memory import entry_of, seen_in
from robustest.settings import Settings
from robustest.store.entries import Store

TrainFn = Callable[[Tensor, Tensor, int], object]
"""Maps samples (n, *S) float32, labels (n,) int64 and a seed to a new model, as `measure_robust_accuracy` takes it."""

_FORMAT = "trainings"


def check_train_fn(train_fn: object) -> None:
    """Refuse what cannot be called with samples, labels and a seed.

    Raises:
        ConfigError: it cannot.
    """
    mend = "Write def train_fn(x, y, seed): ... return model."
    if not callable(train_fn) or isinstance(train_fn, (type, torch.nn.Module)):
        raise ConfigError(expected("train_fn to be a function that trains a model", train_fn, mend))
    try:
        inspect.signature(train_fn).bind(None, None, 0)
    except TypeError:
        raise ConfigError(expected("train_fn to take samples, labels and a seed", train_fn, mend)) from None
    except ValueError:  # a function without a signature, of a C extension
        return


class Trainings:
    """Trainings by one function, each measured and remembered.

    Attributes:
        trained: models that were trained now.
        dates: when each training was measured that is remembered.

    Args:
        train_fn: as `TrainFn`.
        settings: where the store is, and what else outcomes depend on.
        about: all else that what is measured depends on; plain values, threats, attacks, tensors.
    """

    def __init__(self, train_fn: TrainFn, settings: Settings, about: object) -> None:
        self.trained = 0
        self.dates: list[str] = []
        self._train_fn, self._settings = train_fn, settings
        self._store = None if settings.store is None else Store(Path(settings.store))
        self._why_not, self._prefix = "", ""
        if self._store is not None:
            # Before it is called for the first time: what it counts, or keeps, changes then.
            self._why_not, self._prefix = _identity(train_fn, settings, about)

    def measured(
        self, x: Tensor, y: Tensor, seed: int, what: object, measure: Callable[[object], tuple[Observed, Tally]]
    ) -> tuple[Observed, Tally]:
        """What is measured of the model that is trained on some samples with a seed.

        Args:
            x: (n, *S) float32 samples.
            y: (n,) int64 labels.
            seed: of the training.
            what: tells what is measured of it, beside what the trainings are all about.
            measure: maps the model to what was seen of it, and what that took.

        Raises:
            RobustestError: it cannot be measured. Whatever the training raises comes as it is.
        """
        key = digest((self._prefix, x, y, seed, what)) if self._remembers else ""
        found = self._store.load(key) if key and self._store is not None and self._settings.cache else None
        if found is not None:
            self.dates.append(str(found.meta["when"]))
            return seen_in(found)
        clock.check()
        started = time.perf_counter()
        model = self._model(x, y, seed)
        took = time.perf_counter() - started
        observed, tally = measure(model)
        tally = replace(tally, seconds=tally.seconds + took)
        self.trained += 1
        if key and self._store is not None:
            self._store.save(key, entry_of(observed, tally, {}))
        return observed, tally

    @property
    def when(self) -> str:
        """Date and commit of the oldest training, where every one is remembered; else empty."""
        return "" if self.trained or not self.dates else min(self.dates)

    @property
    def notices(self) -> tuple[str, ...]:
        """What a reader must know: why nothing is remembered, and what is wrong with the store."""
        return (*filter(None, [self._why_not]), *(() if self._store is None else self._store.notices))

    @property
    def _remembers(self) -> bool:
        return bool(self._prefix)

    def _model(self, x: Tensor, y: Tensor, seed: int) -> object:
        """A model that is trained now; what it draws without a generator follows from the seed, and is put back."""
        with torch.inference_mode(False), torch.enable_grad(), frozen(None):
            seed_draws(rng.fold(rng.keys(seed, torch.zeros(1, dtype=torch.int64)), "training"))
            return self._train_fn(x.clone(), y.clone(), seed)  # copies: it may write into them


def announced(statement: str, done: int, total: int) -> None:
    """Tell the running test how many trainings of how many are done."""
    tell = context.current().progress
    if tell is not None:
        tell(f"{statement}: trainings", done, total, 0)


def _identity(train_fn: TrainFn, settings: Settings, about: object) -> tuple[str, str]:
    """Why trainings have no identity, and what they are remembered by; one of the two is empty."""
    rest: Mapping[str, Any] = {
        "format": _FORMAT,
        "code": own_code(),
        "torch": torch.__version__,
        "device": settings.device,
        "precision": settings.precision,
        "random": "random_forward" in settings.suppress,
        "seed": settings.seed,
        "about": about,
    }
    try:
        return "", digest((train_fn, rest))
    except Unhashable as error:
        return f"trainings are not remembered: {error}", ""
