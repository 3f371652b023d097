"""Files as they are shipped: other inputs, and series in frames with what is carried from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from robustest_onnx import Frames, onnx_model

from robustest import Classifier, ConfigError, ModelError
from robustest.identity.fingerprint import fingerprint
from robustest.measure import measure_accuracy

LENGTH, CONTEXT, RATE = 4, 2, 3
FRAMES = Frames(LENGTH, CONTEXT, state={"h": "hn"})

Floats = NDArray[np.float32]
Save = Callable[..., Path]


@pytest.fixture
def recurrent(tmp_path: Path) -> Save:
    """Write a file that adds up how loud the frames are: `recurrent(gain=0.5)` keeps half of the sum before each.

    Its inputs are frames x (n, context + length), the sum h (n, 1) and the rate, a whole number; its outputs are the
    sum, named p, and again as hn. `at_once=True` writes one that takes the n frames of one series, with h (1, 1).
    """

    def _save(name: str = "file.onnx", *, gain: float = 0.5, batch: Any = "n", at_once: bool = False) -> Path:
        width = CONTEXT + LENGTH
        nodes = [
            helper.make_node("Mul", ["x", "x"], ["xx"]),
            helper.make_node("ReduceMean", ["xx"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Cast", ["rate"], ["times"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["mean", "times"], ["loud"]),
            helper.make_node("Mul", ["h", "gain"], ["kept"]),
        ]
        if at_once:
            nodes += [
                helper.make_node("CumSum", ["loud", "axis"], ["sum"]),
                helper.make_node("Add", ["kept", "sum"], ["p"]),
                helper.make_node("Identity", ["kept"], ["hn"]),
            ]
        else:
            nodes += [helper.make_node("Add", ["kept", "loud"], ["p"]), helper.make_node("Identity", ["p"], ["hn"])]
        tensor, rows = helper.make_tensor_value_info, 1 if at_once else batch
        graph = helper.make_graph(
            nodes,
            "recurrent",
            [
                tensor("x", TensorProto.FLOAT, [batch, width]),
                tensor("h", TensorProto.FLOAT, [rows, 1]),
                tensor("rate", TensorProto.INT64, []),
            ],
            [tensor("p", TensorProto.FLOAT, [batch, 1]), tensor("hn", TensorProto.FLOAT, [rows, 1])],
            [
                numpy_helper.from_array(np.array(gain, np.float32), "gain"),
                numpy_helper.from_array(np.array(0), "axis"),
            ],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / name)
        return tmp_path / name

    return _save


def loudest(sums: NDArray[Any]) -> NDArray[Any]:
    """Return scores (B, 2), of a silent and of a loud series, of sums (B, T, 1)."""
    top = sums.max((1, 2))
    return np.stack([2.0 - top, top], 1)


def sums_by_hand(series: Floats, gain: float = 0.5) -> Floats:
    """Return the sums (B, T, 1) of series (B, N), written as loops."""
    out = []
    for one in series:
        whole = np.concatenate([np.zeros(CONTEXT), one, np.zeros(-len(one) % LENGTH)])
        sums, carried = [], 0.0
        for start in range(0, len(whole) - CONTEXT, LENGTH):
            carried = gain * carried + RATE * (whole[start : start + CONTEXT + LENGTH] ** 2).mean()
            sums.append([carried])
        out.append(sums)
    return np.array(out, np.float32)


@pytest.fixture
def series() -> Floats:
    """Seven series (B, N) of three frames and a half, each louder than the one before."""
    drawn = np.random.default_rng(0).random((7, 14)) * np.linspace(0.2, 1, 7)[:, None]
    return drawn.astype(np.float32)


def answers(path: Path, x: Floats, **more: Any) -> NDArray[Any]:
    model = onnx_model(path, output="p", constants={"rate": RATE}, scores=loudest, **{"frames": FRAMES, **more})
    return model(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("batch", ["n", 1, 3])
def test_each_frame_begins_with_what_the_one_before_left(recurrent: Save, series: Floats, batch: Any) -> None:
    wanted = loudest(sums_by_hand(series))
    np.testing.assert_allclose(answers(recurrent(batch=batch), series), wanted, atol=1e-5)


def test_a_series_owes_nothing_to_those_before_it(recurrent: Save, series: Floats) -> None:
    path = recurrent()
    whole = answers(path, series)
    np.testing.assert_array_equal(answers(path, series[::-1].copy()), whole[::-1])
    model = onnx_model(path, output="p", constants={"rate": RATE}, scores=loudest, frames=FRAMES)
    for one, alone in zip(series, whole, strict=True):  # the same model, asked again and again
        np.testing.assert_allclose(model(torch.from_numpy(one[None]))[0], alone, atol=1e-5)


def test_all_frames_in_one_call_are_the_frames_one_by_one(recurrent: Save, series: Floats) -> None:
    one_by_one = answers(recurrent(gain=1.0), series)
    whole = Frames(LENGTH, CONTEXT, state={"h": "hn"}, at_once=True)
    at_once = answers(recurrent("whole.onnx", gain=1.0, at_once=True), series, frames=whole)
    np.testing.assert_allclose(at_once, one_by_one, atol=1e-5)


def test_a_claim_reads_the_series(recurrent: Save, series: Floats) -> None:
    loud = sums_by_hand(series).max((1, 2)) > 1
    assert 0 < loud.sum() < len(loud)
    model = onnx_model(recurrent(), output="p", constants={"rate": RATE}, scores=loudest, frames=FRAMES)
    assert measure_accuracy(model, (series, loud.astype(np.int64)), at_least=0.1).estimate == 1.0


def test_whatever_decides_the_scores_is_in_the_identity(recurrent: Save) -> None:
    def identity(model: Classifier) -> str:
        found = fingerprint(model.call, model.module, model.preprocessing)
        assert found.digest is not None, found.reason
        return found.digest

    def given(**more: Any) -> str:
        usual = {"output": "p", "constants": {"rate": RATE}, "scores": loudest, "frames": FRAMES}
        return identity(onnx_model(path, **{**usual, **more}))

    path = recurrent()
    others = [
        given(),
        given(constants={"rate": 2}),
        given(scores=lambda sums: loudest(sums) / 2),
        given(scores=lambda sums: loudest(sums) / 3),
        given(frames=Frames(LENGTH + CONTEXT, state={"h": "hn"})),
    ]
    assert len(set(others)) == len(others)
    assert given() == others[0]


def test_what_the_file_does_not_have_is_named(recurrent: Save) -> None:
    path = recurrent()
    with pytest.raises(ConfigError, match=r"one input but got \['x', 'h', 'rate'\].*constants=.*Frames"):
        onnx_model(path, output="p")
    with pytest.raises(ConfigError, match=r"constants for inputs of the file, x, h, rate.*'speed'"):
        onnx_model(path, output="p", constants={"speed": 1})
    with pytest.raises(ConfigError, match=r"rate in constants to be whole numbers of int64 but got 1\.5"):
        onnx_model(path, output="p", constants={"rate": 1.5})
    with pytest.raises(ConfigError, match=r"rate in constants to be tensor\(int64\) of shape \[\]"):
        onnx_model(path, output="p", constants={"rate": [1, 2]})
    for state in ({"h": "absent"}, {"absent": "hn"}):
        with pytest.raises(ConfigError, match="state to name the file's inputs"):
            onnx_model(path, output="p", constants={"rate": 1}, frames=Frames(LENGTH, state=state))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"length": 0}, "length to be a whole number >= 1"),
        ({"length": 2.0}, "length to be a whole number >= 1"),
        ({"length": 4, "context": -1}, "context to be a whole number >= 0"),
        ({"length": 4, "state": "h"}, "state to map names of inputs to names of outputs"),
        ({"length": 4, "state": {"h": 1}}, "state to map names of inputs to names of outputs"),
    ],
)
def test_frames_are_checked(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Frames(**wrong)


def test_what_cannot_be_is_refused(recurrent: Save, series: Floats) -> None:
    path = recurrent()
    with pytest.raises(ConfigError, match=r"frames to be None or robustest_onnx\.Frames"):
        onnx_model(path, output="p", frames=4)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="scores to be None or a function"):
        onnx_model(path, output="p", constants={"rate": 1}, frames=FRAMES, scores=3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no constants, frames or scores where gradients are wanted"):
        onnx_model(path, output="p", constants={"rate": 1}, frames=FRAMES, gradients=True)
    # Sums (B, T, 1) are no scores of two classes.
    with pytest.raises(ModelError, match=r"one answer|real scores|logits"):
        measure_accuracy(
            onnx_model(path, output="p", constants={"rate": 1}, frames=FRAMES), (series, np.zeros(7, np.int64))
        )
