"""Whether a quantised model is told from its float one: `no_worse_than=` another model, in both directions.

For each seed a small net is trained on clusters that overlap, and made into int8 in two ways: with scales fitted to
other samples, which changes next to nothing, and with weights of two bits, which loses accuracy. A gate must fail the
coarse copy against the float net, and pass the other three pairs: the good copy both ways round, and the float net
against the coarse copy. Then a model against one of the same answers, with scores half as large again, which must pass
for many seeds of data, order and attack.

    python benchmarks/quantised.py               # int8 by torch; some minutes on one core
    python benchmarks/quantised.py --onnx        # int8 by onnxruntime; needs robustest-onnx
"""

from __future__ import annotations

import copy
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustest import Linf, Result, scores_model
from robustest.attacks import Square
from robustest.measure import measure_accuracy, measure_robust_accuracy

Data = tuple[Tensor, Tensor]
Net = nn.Sequential

WIDTH, CLASSES, NOISE = 16, 6, 0.4
JUDGED = {"accuracy": 2000, "under attack": 400}
"""Samples that a model is judged by, by claim."""
SEEDS, SAME = 20, 200
TOLERANCE = 0.01
PAIRS = {"good < float": "passed", "float < good": "passed", "coarse < float": "failed", "float < coarse": "passed"}
"""Which model is claimed to be no worse than which, and the verdict that is right."""


def samples(seed: int, n: int = 400) -> Data:
    """Clusters that overlap, around the same centres for every seed."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, CLASSES, (n,), generator=generator)
    centres = torch.rand(CLASSES, WIDTH, generator=torch.Generator().manual_seed(99))
    return (centres[y] + NOISE * torch.randn(n, WIDTH, generator=generator)).clamp(0, 1), y


def trained(seed: int) -> Net:
    """A net of one hidden layer, trained on samples of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        x, y = samples(10_000 + seed, 1000)
        net = nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, CLASSES))
        optimiser = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(100):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimiser.step()
    return net.eval()


def rounded(net: Net, bits: int) -> Net:
    """A copy whose weights are rounded to so many bits, one scale a layer."""
    net = copy.deepcopy(net)
    most = 2 ** (bits - 1) - 1
    for layer in net:
        if isinstance(layer, nn.Linear):
            scale = layer.weight.detach().abs().max() / most
            layer.weight.data = (layer.weight.detach() / scale).round().clamp(-most - 1, most) * scale
    return net


def int8(net: Net, seed: int) -> nn.Module:
    """A copy in int8, its scales fitted to other samples; in float with rounded weights where torch has no int8."""
    try:
        from torch.ao import quantization
    except ImportError:
        return rounded(net, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what later versions of torch will move
        wrapped: nn.Module = quantization.QuantWrapper(copy.deepcopy(net)).eval()
        wrapped.qconfig = quantization.get_default_qconfig(torch.backends.quantized.engine)  # type: ignore[assignment]
        quantization.prepare(wrapped, inplace=True)
        wrapped(samples(20_000 + seed)[0])
        quantization.convert(wrapped, inplace=True)
    return wrapped


def scored(model: Callable[[Tensor], Tensor]) -> Any:
    """The model by its scores: int8 kernels have no gradient."""
    return scores_model(lambda x: model(torch.as_tensor(x)).detach().numpy())


def in_torch(seed: int, folder: Path) -> dict[str, Any]:
    """The three models as modules."""
    net = trained(seed)
    models = {"float": net, "good": int8(net, seed), "coarse": int8(rounded(net, 2), seed)}
    return {name: scored(model) for name, model in models.items()}


def in_onnx(seed: int, folder: Path) -> dict[str, Any]:
    """The three models as files that onnxruntime reads, quantised by onnxruntime."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from robustest_onnx import onnx_model

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter([{"x": samples(20_000 + seed)[0].numpy()}])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.left, None)

    def written(net: Net, name: str) -> Path:
        first, _, last = net
        weights = {"w0": first.weight, "b0": first.bias, "w2": last.weight, "b2": last.bias}
        graph = helper.make_graph(
            [
                helper.make_node("Gemm", ["x", "w0", "b0"], ["h"], transB=1),
                helper.make_node("Relu", ["h"], ["r"]),
                helper.make_node("Gemm", ["r", "w2", "b2"], ["logits"], transB=1),
            ],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
            [numpy_helper.from_array(value.detach().numpy(), key) for key, value in weights.items()],
        )
        path = folder / f"{name}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
        return path

    logging.getLogger().setLevel(logging.ERROR)  # advice on shapes, for each file

    def quantised(path: Path) -> Path:
        made = path.with_name(f"{path.stem}-int8.onnx")
        how = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "quant_format": QuantFormat.QDQ}
        quantize_static(path, made, Reader(), **how)
        return made

    net = trained(seed)
    plain, coarse = written(net, f"float-{seed}"), written(rounded(net, 2), f"coarse-{seed}")
    files = {"float": plain, "good": quantised(plain), "coarse": quantised(coarse)}
    return {name: onnx_model(file, threads=1) for name, file in files.items()}


def by_accuracy(model: Any, other: Any, data: Data, **options: Any) -> Result:
    """No less accurate than another model."""
    return measure_accuracy(model, data, no_worse_than=other, tolerance=TOLERANCE, **options)


def by_attack(model: Any, other: Any, data: Data, **options: Any) -> Result:
    """No less accurate under a short search by scores, of which nothing but the comparison is claimed."""
    how = {"attack": Square(queries=100), "suppress": ("weak_search",), "tolerance": TOLERANCE, **options}
    return measure_robust_accuracy(model, data, Linf(0.01), no_worse_than=other, **how)


def sweep(
    make: Callable[[int, Path], dict[str, Any]], claim: Callable[..., Result], n: int, seeds: int = SEEDS
) -> dict[str, int]:
    """Return how many seeds have the right verdict, by pair."""
    right = dict.fromkeys(PAIRS, 0)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            models, data = make(seed, Path(folder)), samples(seed, n)
            for pair, verdict in PAIRS.items():
                first, second = pair.split(" < ")
                right[pair] += claim(models[first], models[second], data, seed=seed).verdict == verdict
    return right


def twin(model: Any) -> Any:
    """A model of the same answers, and other scores: against itself nothing could be lost, and nothing passes."""
    return replace(model, call=lambda x: 1.5 * model.call(x))


def same(make: Callable[[int, Path], dict[str, Any]], claim: Callable[..., Result], runs: int = SAME) -> Iterator[bool]:
    """Whether a model passes against its twin, quantised or not, on other samples and with other draws each time."""
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(runs):
            if seed % 10 == 0:
                models = make(seed // 10, Path(folder))
            model = list(models.values())[seed % 3]
            yield claim(model, twin(model), samples(30_000 + seed, 100), seed=seed, alpha=0.01).verdict == "passed"


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    way, make = ("onnxruntime", in_onnx) if "--onnx" in sys.argv else ("torch", in_torch)
    for name, claim in {"accuracy": by_accuracy, "under attack": by_attack}.items():
        started = time.process_time()
        right = ", ".join(f"{pair} {count} of {SEEDS}" for pair, count in sweep(make, claim, JUDGED[name]).items())
        print(f"{way}, {name}: {right} ({time.process_time() - started:.0f} CPU s)", flush=True)
        started = time.process_time()
        passed = sum(same(make, claim))
        seconds = time.process_time() - started
        print(f"{way}, {name}: a model of the same answers passed {passed} of {SAME} ({seconds:.0f} CPU s)")


if __name__ == "__main__":
    main()
