"""The scores of an ONNX file, by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import ArrayLike, NDArray

from robustest.errors import ConfigError, DeviceError, ModelError, expected
from robustest_onnx.frames import Frames
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
    """A function from inputs (B, *S) to scores (B, K), as a file computes it; with frames, to scores (B, T, *)."""

    def __init__(
        self,
        path: Path,
        *,
        output: str | None,
        providers: Sequence[Provider],
        threads: int | None,
        constants: Mapping[str, ArrayLike] | None = None,
        frames: Frames | None = None,
    ) -> None:
        """Open a file.

        Args:
            path, output, providers, threads, constants, frames: as for `robustest_onnx.onnx_model`.

        Raises:
            ConfigError: there is no such file, it is no ONNX, or its inputs and outputs are not those of a classifier.
            DeviceError: an execution provider is unavailable.
            ModelError: onnxruntime cannot load the file.
        """
        self.path = path
        self._digest = digest_of(path)
        self._session = _session(path, list(providers), torch.get_num_threads() if threads is None else threads)
        self._output = self._chosen(output)
        self._frames = frames
        self._constants = self._given(constants or {})
        carried = {} if frames is None else frames.state
        self._state = [self._carried(name, output) for name, output in carried.items()]
        node = self._free({*self._constants, *carried})
        self._input = node.name
        if node.type not in _DTYPES:
            raise ConfigError(expected(f"an input that is one of {', '.join(_DTYPES)}", node.type))
        # Type of the input; for whole numbers, inputs are rounded to the nearest one.
        self.dtype = _DTYPES[node.type]
        sizes = list(node.shape)
        self._axes = len(sizes)
        # The only batch size that the file takes; None for any.
        self.batch = self._only_batch(sizes)
        known = len(sizes) > 1 and all(isinstance(size, int) for size in sizes[1:])
        # Sizes of one input; None if the file leaves a size open, or takes parts of an input.
        self.shape = tuple(sizes[1:]) if known and frames is None else None

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return scores (B, K) of inputs (B, *S), in the file's own floating type; with frames, scores (B, T, *).

        Raises:
            ModelError: an input is out of the range of the file's whole numbers, or onnxruntime fails.
        """
        x = self._cast(x)
        if self.batch is None or len(x) == self.batch:
            return self._answers(x)
        parts = [x[start : start + self.batch] for start in range(0, len(x), self.batch)]
        # Fill up the last batch by repeating its last input; the answers to these are dropped.
        lacking = self.batch - len(parts[-1])
        parts[-1] = np.concatenate([parts[-1], parts[-1][-1:].repeat(lacking, 0)])
        return np.concatenate([self._answers(part) for part in parts])[: len(x)]

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
        constants = {name: (value.dtype.str, value.tolist()) for name, value in sorted(self._constants.items())}
        return (
            f"ONNX {self._digest}, output {self._output}, constants {constants}, {self._frames}, "
            f"onnxruntime {onnxruntime.__version__}: {providers}"
        )

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

    def _given(self, constants: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        nodes = [*self._session.get_inputs(), *self._session.get_overridable_initializers()]
        held = {node.name: node for node in nodes}
        given = {}
        for name, value in constants.items():
            if name not in held:
                raise ConfigError(expected(f"constants for inputs of the file, {', '.join(held)}", name))
            kind = _DTYPES.get(held[name].type) or (np.bool_ if held[name].type == "tensor(bool)" else None)
            whole = np.asarray(value)
            if kind is None or len(held[name].shape) != whole.ndim:
                shape = f"{held[name].type} of shape {held[name].shape}"
                raise ConfigError(expected(f"{name} in constants to be {shape}", f"{whole.dtype} {whole.shape}"))
            given[name] = whole.astype(object if kind is np.str_ else kind)
            if issubclass(kind, np.integer) and not np.array_equal(given[name], whole):
                raise ConfigError(expected(f"{name} in constants to be whole numbers of {np.dtype(kind)}", value))
        return given

    def _carried(self, name: str, output: str) -> tuple[str, str, list[int | None], type[np.generic]]:
        """Return the names of an input and its next value, the input's sizes (None for the batch's), and its type."""
        held = {node.name: node for node in self._session.get_inputs()}
        outputs = [node.name for node in self._session.get_outputs()]
        if name not in held or output not in outputs:
            names = f"inputs ({', '.join(held)}) and outputs ({', '.join(outputs)})"
            raise ConfigError(expected(f"state to name the file's {names}", (name, output)))
        sizes = [size if isinstance(size, int) else None for size in held[name].shape]
        kind = _DTYPES.get(held[name].type)
        if sizes.count(None) > 1 or kind is None or kind is np.str_:
            mend = "Wrap the file in a function of one input and pass it to robustest.scores_model."
            shape = f"{held[name].type} {held[name].shape}"
            raise ConfigError(expected(f"{name} to be numbers with one open size at most, the batch's", shape, mend))
        return name, output, sizes, kind

    def _free(self, named: set[str]) -> Any:
        """Return the only input that is neither a constant nor carried, the samples'."""
        free = [node for node in self._session.get_inputs() if node.name not in named]
        if len(free) != 1:
            mend = (
                "Give constants={name: value} for inputs that are the same for each sample, and "
                "frames=Frames(length, state={input: output}) for what the file carries between frames."
            )
            raise ConfigError(expected("a file with one input", [node.name for node in free], mend))
        return free[0]

    def _only_batch(self, sizes: list[Any]) -> int | None:
        if self._frames is not None and self._frames.at_once:
            return None  # the first axis is that of the frames of one series
        if sizes and isinstance(sizes[0], int):
            return sizes[0]
        # One series at a time where what is carried has no axis for more.
        return 1 if any(None not in shape for _, _, shape, _ in self._state) else None

    def _begun(self, batch: int) -> dict[str, NDArray[Any]]:
        """Return what is carried into the first frame: zeros."""
        return {
            name: np.zeros([batch if size is None else size for size in sizes], kind)
            for name, _, sizes, kind in self._state
        }

    def _answers(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return scores of a batch of a size that the file takes."""
        if self._frames is None:
            return self._run(x, {})[0]
        frames = self._frames.cut(x)
        if self._frames.at_once:
            return np.stack([self._run(one, self._begun(1))[0] for one in frames.swapaxes(0, 1)])
        carried, answers = self._begun(len(x)), []
        for frame in frames:
            answer, after = self._run(frame, carried)
            answers.append(answer)
            carried = dict(zip(carried, after, strict=True))
        return np.stack(answers, 1)

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

    def _run(self, x: NDArray[Any], carried: dict[str, NDArray[Any]]) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """Return scores of a batch, and the next values of what is carried."""
        wanted = [self._output, *(output for _, output, _, _ in self._state)]
        try:
            scores, *after = self._session.run(wanted, {self._input: x, **self._constants, **carried})
        except Exception as error:
            raise ModelError(f"Expected {self.path.name} to answer a batch of shape {x.shape} but: {error}") from error
        if not isinstance(scores, np.ndarray):
            mend = "Export without ZipMap: the scores must be one tensor."
            raise ModelError(expected("scores (B, K) in one tensor", type(scores).__name__, mend))
        if scores.ndim == 0 or len(scores) != len(x):
            raise ModelError(expected(f"scores of shape ({len(x)}, K)", scores.shape))
        return scores, after


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
