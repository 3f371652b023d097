"""The user's function that trains a model: its type, and a check of its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import Tensor, nn

from robustest.errors import ConfigError, expected

TrainFn = Callable[[Tensor, Tensor, int], object]
"""Maps samples (n, *S) float32, labels (n,) int64 and a seed to a new model."""


def check_train(train: object) -> None:
    """Refuse a function that does not take samples, labels and a seed.

    Raises:
        ConfigError: it does not.
    """
    mend = "Write def train(x, y, seed): ... return model."
    if not callable(train) or isinstance(train, (type, nn.Module)):
        raise ConfigError(expected("train to be a function that trains a model", train, mend))
    try:
        # Before an hour of other work, not after.
        inspect.signature(train).bind(None, None, 0)
    except TypeError:
        raise ConfigError(expected("train to take samples, labels and a seed", train, mend)) from None
    except ValueError:  # a function without a signature, of a C extension
        return
