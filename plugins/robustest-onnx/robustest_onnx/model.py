"""An ONNX file as a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from robustest import Classifier, ConfigError, as_classifier, scores_model
from robustest.attacks import Needs
from robustest.errors import expected
from robustest_onnx.frames import Frames
from robustest_onnx.gradients import OnnxModule, check, converted
from robustest_onnx.scores import OnnxScores, Provider

# Number of random inputs in the check of a conversion.
_DRAWN = 16


def onnx_model(
    path: str | PathLike[str],
    *,
    output: str | None = None,
    constants: Mapping[str, ArrayLike] | None = None,
    frames: Frames | None = None,
    scores: Callable[[NDArray[Any]], ArrayLike] | None = None,
    gradients: bool = False,
    gradients_from: str | PathLike[str] | None = None,
    examples: ArrayLike | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    preprocessing: Any = None,
    max_queries: int | None = None,
    providers: Sequence[Provider] = ("CPUExecutionProvider",),
    threads: int | None = None,
) -> Classifier:
    """Return the model in an ONNX file.

    Its scores are onnxruntime's. With `gradients`, attacks use the gradients of a torch graph converted from the file,
    but onnxruntime judges their success.

    Args:
        path: the file, with one input besides `constants` and what `frames` carry, and scores (B, K >= 2): inputs
            (B, *S) of floats or whole numbers, or (B,) or (B, 1) of strings, of which a batch is a list.
        output: name of the output with the scores, larger for likelier classes; needed if there are several.
        constants: values of other inputs by name, the same for each sample; also of inputs that have a default.
        frames: how the file reads a series (B, *S, N); None if it takes samples whole. Its answers are then (B, T, *)
            for T frames, of which `scores` makes scores.
        scores: function of the file's answers, an array with a row a sample, that returns the scores; None takes the
            answers as scores. It may return (B, K >= 2, ...) for tasks with an answer at each place.
        gradients: True to convert the file by onnx2torch (`robustest-onnx[gradients]`), and check that its logits are
            onnxruntime's within 1e-4 of the largest, or of 1 if that is smaller.
        gradients_from: a file that gives the gradients in its place: the floating twin of a quantised file, with inputs
            and scores of the same shape, converted and checked as `gradients` says.
        examples: inputs (B, *S) inside the bounds to check the graph on besides random ones; needed if the file leaves
            a size of its input open, or preprocessing is a function.
        bounds: smallest and largest input value.
        preprocessing: (mean, std) per channel, or a function of a batch, applied to inputs first.
        max_queries: as for `robustest.scores_model`; only without gradients.
        providers: onnxruntime's execution providers, the best first; an unavailable one is an error.
        threads: threads of one pass; None takes torch's number.

    Raises:
        ConfigError: there is no such file, its inputs and outputs are not those of a classifier, an argument is
            invalid, or onnx2torch is needed and not installed.
        DeviceError: an execution provider is unavailable.
        ModelError: the file cannot be loaded or converted, or the graph is another function.
    """
    if threads is not None and (type(threads) is not int or threads < 1):
        raise ConfigError(expected("threads to be None or a whole number >= 1", threads))
    if frames is not None and not isinstance(frames, Frames):
        raise ConfigError(expected("frames to be None or robustest_onnx.Frames", frames))
    if scores is not None and not callable(scores):
        raise ConfigError(expected("scores to be None or a function of the file's answers", scores))
    opened = partial(OnnxScores, output=output, providers=providers, threads=threads)
    file = opened(_place("the path of an ONNX file", path), constants=constants, frames=frames)
    if gradients or gradients_from is not None:
        if constants or frames is not None or scores is not None:
            mend = "Leave them out, or the gradients: attacks by scores need none."
            raise ConfigError(expected("no constants, frames or scores where gradients are wanted", "both", mend))
        if max_queries is not None:
            raise ConfigError(expected("max_queries to be None where there are gradients", max_queries))
        of = "gradients_from to be the path of an ONNX file"
        twin = None if gradients_from is None else opened(_place(of, gradients_from))
        return _with_gradients(file, twin, examples, bounds, preprocessing)
    if file.dtype is np.str_:
        if frames is not None or scores is not None:
            raise ConfigError(expected("an input of numbers where there are frames or scores", "strings"))
        return Classifier(call=file.of_strings, gives=Needs.SCORES, max_queries=max_queries)
    answer = file if scores is None else _Scored(file, scores)
    return as_classifier(scores_model(answer, bounds=bounds, max_queries=max_queries), preprocessing=preprocessing)


def _place(what: str, path: object) -> Path:
    try:
        return Path(fspath(path))  # type: ignore[call-overload]
    except TypeError:
        raise ConfigError(expected(what, path)) from None


def _with_gradients(
    file: OnnxScores,
    twin: OnnxScores | None,
    examples: ArrayLike | None,
    bounds: tuple[float, float],
    preprocessing: Any,
) -> Classifier:
    """Return the model whose gradients are those of a converted graph, checked to be the same function."""
    source = file if twin is None else twin
    if source.shape != file.shape:
        of = f"gradients_from with inputs of shape {file.shape}, as {file.path.name}"
        raise ConfigError(expected(of, source.shape))
    if np.str_ in (file.dtype, source.dtype):
        raise ConfigError(expected("an input of floats where gradients are wanted", "strings"))
    if issubclass(source.dtype, np.integer):
        mend = "Give the file in floats as gradients_from=."
        raise ConfigError(expected("an input of floats where gradients are wanted", np.dtype(source.dtype).name, mend))
    graph = converted(source.path)
    model = as_classifier(OnnxModule(file, graph, twin).eval(), bounds=bounds, preprocessing=preprocessing)
    for x in _samples(model, source, examples):
        check(graph, source, x)
        if (wanted := file(x).shape) != (other := source(x).shape):
            raise ConfigError(expected(f"gradients_from with scores of shape {wanted}, as {file.path.name}", other))
    return model


@dataclass(frozen=True)
class _Scored:
    """The scores that a function makes of a file's answers."""

    file: OnnxScores
    scores: Callable[[NDArray[Any]], ArrayLike]

    def __call__(self, x: NDArray[Any]) -> ArrayLike:
        return self.scores(self.file(x))


def _samples(model: Classifier, scores: OnnxScores, examples: ArrayLike | None) -> list[NDArray[np.floating[Any]]]:
    """Return batches for the check of a conversion, as the file takes them."""
    batches = [] if examples is None else [_given(examples)]
    if scores.shape is not None and not callable(model.preprocessing):
        low, high = model.bounds
        drawn = torch.rand(_DRAWN, *scores.shape, generator=torch.Generator().manual_seed(0))
        batches.append(low + (high - low) * drawn)
    if not batches:
        mend = "The file does not tell what an input looks like."
        raise ConfigError(expected("examples=, a batch of inputs to check gradients on", examples, mend))
    whole = [np.asarray(_preprocessed(model, x)) for x in batches]
    # A second, smaller batch of odd size finds graphs that took the batch size for a constant.
    return [x for batch in whole for x in (batch, batch[: len(batch) // 2 | 1])]


def _given(examples: ArrayLike) -> torch.Tensor:
    x = examples if isinstance(examples, torch.Tensor) else torch.as_tensor(np.asarray(examples))
    if x.ndim < 2 or len(x) == 0:
        raise ConfigError(expected("examples of shape (B >= 1, *S)", tuple(x.shape)))
    return x.detach().float().cpu()


def _preprocessed(model: Classifier, x: torch.Tensor) -> torch.Tensor:
    """Return the batch that reaches the file."""
    reached: list[torch.Tensor] = []

    # A classifier whose model only records its input: the preprocessing is robustest's own.
    def catch(z: torch.Tensor) -> torch.Tensor:
        reached.append(z)
        return z.flatten(1)

    Classifier(call=catch, preprocessing=model.preprocessing, dtype=model.dtype)(x)
    return reached[0].detach().cpu()
