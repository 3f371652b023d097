"""Claims about a file end as claims about the module it was exported from."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from robustest_onnx import onnx_model
from torch import Tensor, nn

from robustest import L2, Classifier, Linf, Result, scores_model
from robustest.attacks import Square
from robustest.measure import measure_robust_accuracy, measure_shift_accuracy

Data = tuple[Tensor, Tensor]
Save = Callable[..., Path]


def export(net: nn.Module, x: Tensor, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            net,
            (x[:2],),
            path,
            dynamo=True,
            external_data=False,
            verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )


@pytest.fixture(scope="module")
def marabou(shared_networks: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path, Data]:
    net = shared_networks.load("marabou_small")
    x, y = shared_networks.images("cifar10_test_exact1000", 100)
    path = tmp_path_factory.mktemp("export") / "marabou_small.onnx"
    export(net, x, path)
    return net, path, (x, y)


def same(ours: Result, theirs: Result) -> str:
    assert (ours.verdict, ours.rule, ours.estimate) == (theirs.verdict, theirs.rule, theirs.estimate)
    assert ours.outcomes == theirs.outcomes
    return ours.verdict.value


@pytest.mark.parametrize("threat", [Linf(1 / 255), L2(0.1)])
def test_gradients_reach_the_verdicts_of_the_trained_module(
    marabou: tuple[nn.Module, Path, Data], threat: Linf | L2
) -> None:
    net, path, data = marabou
    model = onnx_model(path, gradients=True)
    seen = [
        same(*(measure_robust_accuracy(m, data, threat, at_least=at_least, attack="pgd") for m in (model, net)))
        for at_least in (0.2, 0.35, 0.6)
    ]
    assert set(seen) == {"passed", "failed"}


def test_scores_reach_the_verdicts_of_the_trained_module(marabou: tuple[nn.Module, Path, Data]) -> None:
    net, path, data = marabou
    pair = onnx_model(path), by_scores(net)
    square = Square(queries=60)
    attacked = [
        same(*(measure_robust_accuracy(m, data, Linf(8 / 255), at_least=at_least, attack=square) for m in pair))
        for at_least in (0.2, 0.5)
    ]
    shifted = [
        same(*(measure_shift_accuracy(m, data, "gaussian_noise", severity=3, at_least=at_least) for m in pair))
        for at_least in (0.2, 0.9)
    ]
    assert attacked == ["inconclusive", "failed"]  # so few queries break much, and vouch for nothing
    assert shifted == ["passed", "failed"]


def test_a_small_network_exported(net: nn.Module, data: Data, tmp_path: Path) -> None:
    export(net, data[0], tmp_path / "net.onnx")
    pair = onnx_model(tmp_path / "net.onnx", gradients=True), net
    blind = onnx_model(tmp_path / "net.onnx"), by_scores(net)
    square = Square(queries=60)
    for at_least, verdict in ((0.3, "passed"), (0.9, "failed")):
        climbed = [measure_robust_accuracy(m, data, Linf(0.02), at_least=at_least, attack="pgd") for m in pair]
        queried = [measure_robust_accuracy(m, data, Linf(0.02), at_least=at_least, attack=square) for m in blind]
        assert same(*climbed) == verdict
        assert same(*queried) == ("failed" if verdict == "failed" else "inconclusive")  # of so few queries


def by_scores(net: nn.Module) -> Classifier:
    return scores_model(lambda x: net(torch.from_numpy(x)).numpy())


TEST = """
import torch
import pytest
from robustest import Linf, assert_robust_accuracy
from robustest_onnx import onnx_model

torch.set_num_threads(1)

@pytest.mark.robust
def test_net():
    x, y = torch.load("data.pt", weights_only=True)
    assert_robust_accuracy(onnx_model("net.onnx", gradients=True), (x, y), Linf(0.02), at_least=0.3, attack="pgd")
"""


def test_a_run_remembers_a_file_by_its_bytes(pytester: pytest.Pytester, save: Save, data: Data) -> None:
    torch.save(data, pytester.path / "data.pt")
    pytester.makepyfile(TEST)
    shutil.copy(save(), pytester.path / "net.onnx")

    def run() -> str:
        words = ("-W", "error", "--robust", "--robust-details", "-p", "no:cacheprovider", "-o", "robust_recheck=0")
        result = pytester.runpytest_inprocess(*words)
        result.assert_outcomes(passed=1)
        return result.stdout.str()

    assert "cached" not in run()
    assert "cached" in run()
    shutil.copy(save(shift=0.01), pytester.path / "net.onnx")
    assert "cached" not in run()
