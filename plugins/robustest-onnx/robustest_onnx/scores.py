"""The scores of an ONNX file, by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from robustest.errors import ConfigError, DeviceError, ModelError, expected
from robustest_onnx.identity import digest_of

Provider = str | tuple[str, dict[str, Any]]

_DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    **{f"tensor({kind.__name__})": kind for kind in (np.uint8, np.int8, np.uint16, np.int16, np.int32, np.int64)},
    "tensor(string)": np.str_,
}


class OnnxScores:
    """A function from inputs (B, *S) to scores (B, K), as a file computes it."""

    def __init__(self, path: Path, *, output: str | None, providers: Sequence[Provider], threads: int | None) -> None:
        """Open a file.

        Raises:
            ConfigError: there is no such file, it is no ONNX, or its inputs and outputs are not those of a classifier.
            DeviceError: an execution provider is unavailable.
            ModelError: onnxruntime cannot load the file.
        """
        self.path = path
        self._digest = digest_of(path)
        self._session = _session(path, list(providers), torch.get_num_threads() if threads is None else threads)
        self._output = self._chosen(output)
        held = self._session.get_inputs()
        if len(held) != 1:
            mend = "Wrap the file in a function of one input and pass it to robustest.scores_model."
            raise ConfigError(expected("a file with one input", [node.name for node in held], mend))
        self._input = held[0].name
        if held[0].type not in _DTYPES:
            raise ConfigError(expected(f"an input that is one of {', '.join(_DTYPES)}", held[0].type))
        # Type of the input; for whole numbers, inputs are rounded to the nearest one.
        self.dtype = _DTYPES[held[0].type]
        sizes = list(held[0].shape)
        self._axes = len(sizes)
        # The only batch size that the file takes; None for any.
        self.batch = sizes[0] if sizes and isinstance(sizes[0], int) else None
        known = len(sizes) > 1 and all(isinstance(size, int) for size in sizes[1:])
        # Sizes of one input; None if the file leaves a size open.
        self.shape = tuple(sizes[1:]) if known else None

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return scores (B, K) of inputs (B, *S), in the file's own floating type.

        Raises:
            ModelError: an input is out of the range of the file's whole numbers, or onnxruntime fails.
        """
        x = self._cast(x)
        if self.batch is None or len(x) == self.batch:
            return self._run(x)
        parts = [x[start : start + self.batch] for start in range(0, len(x), self.batch)]
        # Fill up the last batch by repeating its last input; the answers to these are dropped.
        lacking = self.batch - len(parts[-1])
        parts[-1] = np.concatenate([parts[-1], parts[-1][-1:].repeat(lacking, 0)])
        return np.concatenate([self._run(part) for part in parts])[: len(x)]

    def of_strings(self, texts: Any) -> torch.Tensor:
        """Return scores (B, K) of a list of strings; of any type, as `Classifier` calls it.

        Raises:
            ModelError: they are no strings, or onnxruntime fails.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise ModelError(expected("a list of strings", type(texts).__name__))
        batch = np.array(list(texts), dtype=object)
        scores = self(batch if self._axes < 2 else batch.reshape(-1, *[1] * (self._axes - 1)))
        return torch.from_numpy(np.asarray(scores, dtype=np.float32))

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxScores:
        return self

    def robustest_fingerprint(self) -> str:
        providers = ", ".join(f"{name} {self._session.get_provider_options()[name]}" for name in self.providers)
        return f"ONNX {self._digest}, output {self._output}, onnxruntime {onnxruntime.__version__}: {providers}"

    @property
    def providers(self) -> list[str]:
        return list(self._session.get_providers())

    def _chosen(self, output: str | None) -> str:
        names = [node.name for node in self._session.get_outputs()]
        if output is None and len(names) == 1:
            return str(names[0])
        if output is None or output not in names:
            raise ConfigError(expected(f"output to be one of the file's outputs, {', '.join(names)}", output))
        return output

    def _cast(self, x: NDArray[Any]) -> NDArray[Any]:
        if self.dtype is np.str_:
            return x
        if not issubclass(self.dtype, np.integer):
            return x.astype(self.dtype, copy=False)
        whole, limits = np.rint(x), np.iinfo(self.dtype)
        if len(x) and (whole.min() < limits.min or whole.max() > limits.max):
            raise ModelError(
                f"Expected inputs in {limits.min}..{limits.max}, since the file takes {np.dtype(self.dtype)}, but got "
                f"{x.min():.4g}..{x.max():.4g}. Pass preprocessing= that scales them."
            )
        cast: NDArray[Any] = whole.astype(self.dtype)
        return cast

    def _run(self, x: NDArray[Any]) -> NDArray[Any]:
        try:
            scores: Any = self._session.run([self._output], {self._input: x})[0]
        except Exception as error:
            raise ModelError(f"Expected {self.path.name} to answer a batch of shape {x.shape} but: {error}") from error
        if not isinstance(scores, np.ndarray):
            mend = "Export without ZipMap: the scores must be one tensor."
            raise ModelError(expected("scores (B, K) in one tensor", type(scores).__name__, mend))
        if scores.ndim == 0 or len(scores) != len(x):
            raise ModelError(expected(f"scores of shape ({len(x)}, K)", scores.shape))
        return scores


def _session(path: Path, providers: list[Provider], threads: int) -> onnxruntime.InferenceSession:
    wanted = [one if isinstance(one, str) else one[0] for one in providers]
    absent = [name for name in wanted if name not in onnxruntime.get_available_providers()]
    if not wanted or absent:
        known = ", ".join(onnxruntime.get_available_providers())
        raise DeviceError(expected(f"execution providers of this onnxruntime ({known})", absent))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # The same inputs must give the same scores, or counterexamples could not be replayed.
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime has another class for each reason
        raise ModelError(f"Expected a file that onnxruntime can load but {path.name} was refused: {error}") from error
    if missing := [name for name in wanted if name not in session.get_providers()]:  # it goes on without them
        raise DeviceError(expected(f"onnxruntime to run on {', '.join(missing)}", session.get_providers()))
    return session
