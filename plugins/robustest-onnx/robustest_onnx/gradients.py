"""Gradients of an ONNX file, by a torch graph that is checked against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import version_converter
from torch import Tensor, nn

from robustest.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from robustest_onnx.scores import OnnxScores

TOLERANCE = 1e-4
"""Largest difference between logits, in units of the largest logit, or of 1 if that is smaller."""

# Opset versions that onnx2torch supports best, in the order of the tries.
_OPSETS = range(18, 12, -1)


class OnnxModule(nn.Module):
    """A file's logits by onnxruntime; differentiated passes go through a torch graph.

    Args:
        twin: the other file that the graph was made of, where the first has no gradients; None if it is its own.
    """

    def __init__(self, scores: OnnxScores, graph: nn.Module, twin: OnnxScores | None = None) -> None:
        super().__init__()
        self.graph = graph
        self._scores = scores
        self._twin = twin

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K) logits of inputs (B, *S) as the file takes them."""
        # An attack climbs the graph's gradient, and its success is judged by the function that will be deployed.
        if torch.is_grad_enabled() and x.requires_grad:
            out: Tensor = self.graph(x)
            if self._twin is None:
                return out
            # The quantised logits with the twin's slope (straight-through; Bengio, Leonard and Courville, 2013): losses
            # and margins are those of the file that is judged.
            return out + (self._judged(x).to(out.dtype) - out).detach()
        return self._judged(x)

    def _judged(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._scores(x.detach().cpu().numpy())).to(x.device)

    def robustest_fingerprint(self) -> str:
        of = "" if self._twin is None else f" of {self._twin.robustest_fingerprint()}"
        return f"{self._scores.robustest_fingerprint()}, gradients by torch{of}"


def converted(path: Path) -> nn.Module:
    """Return a torch graph of an ONNX file, in eval mode.

    Raises:
        ConfigError: onnx2torch is not installed.
        ModelError: it cannot convert a node of the file.
    """
    try:
        import onnx2torch
    except ImportError:
        raise ConfigError(
            "Expected onnx2torch, which gradients=True needs, but it is not installed: "
            "pip install 'robustest-onnx[gradients]'"
        ) from None
    model = _weights_as_initialisers(_without_allowzero(onnx.load(path)))
    reasons = []
    for opset in (None, *_OPSETS):
        try:
            lowered = model if opset is None else version_converter.convert_version(model, opset)
            graph: nn.Module = onnx2torch.convert(lowered)
        except Exception as error:  # either package raises whatever its step met
            reasons.append(_refused(model) if opset is None else "")
            reasons.append(f"{type(error).__name__}: {error}".splitlines()[0])
        else:
            return graph.eval()
    reason = next(reason for reason in reasons if reason)
    raise ModelError(
        f"Expected nodes that onnx2torch can convert but got {reason}. Export with another opset (17, say), give a "
        "file that it can convert as gradients_from=, or leave gradients out: attacks by scores need none."
    )


def _refused(model: onnx.ModelProto) -> str:
    """Return the first node that onnx2torch cannot convert, with its reason; empty if each node alone is converted."""
    from onnx2torch.node_converters.registry import get_converter
    from onnx2torch.onnx_graph import OnnxGraph

    versions = {each.domain: each.version for each in model.opset_import}
    graph = OnnxGraph(model.graph)
    for name, node in graph.nodes.items():
        try:
            convert = get_converter(
                domain=node.domain, operation_type=node.operation_type, version=versions.get(node.domain, 1)
            )
            convert(node, graph)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            return f"the node {name} ({node.operation_type}, with the output {node.output_values[0]}): {reason}"
    return ""


def _weights_as_initialisers(model: onnx.ModelProto) -> onnx.ModelProto:
    # onnx2torch looks for weights among the initialisers alone, and some exporters write each as a node.
    kept = []
    for node in model.graph.node:
        value = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        if node.op_type != "Constant" or not value:
            kept.append(node)
            continue
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(value[0])
        tensor.name = node.output[0]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def check(graph: nn.Module, scores: OnnxScores, x: NDArray[np.floating[Any]]) -> None:
    """Raise ModelError if the graph's logits of inputs (B, *S) differ from onnxruntime's by more than TOLERANCE."""
    truth = scores(x).astype(np.float64)
    try:
        with torch.no_grad():
            found = graph(torch.from_numpy(x.astype(scores.dtype))).double().cpu().numpy()
    except Exception as error:
        raise ModelError(
            f"Expected the graph that onnx2torch made of {scores.path.name} to answer a batch of shape {x.shape} but "
            f"it raised {type(error).__name__}: {error}. Export with a batch axis of any size, or leave out "
            "gradients=True."
        ) from error
    if found.shape != truth.shape:
        raise ModelError(f"Expected logits of shape {truth.shape} from the converted graph but got {found.shape}.")
    apart = float(np.abs(found - truth).max()) / max(1.0, float(np.abs(truth).max()))
    if not apart <= TOLERANCE:  # nor may it be NaN
        raise ModelError(
            f"Expected the graph that onnx2torch made of {scores.path.name} to give onnxruntime's logits within "
            f"{TOLERANCE:g} of their size but they are {apart:.3g} apart. Its gradients would be of another function: "
            "export with another opset, or leave out gradients=True."
        )


def _without_allowzero(model: onnx.ModelProto) -> onnx.ModelProto:
    for node in model.graph.node:
        # `allowzero` gives a meaning to sizes of 0, which no batch here has: drop it.
        if node.op_type == "Reshape":
            kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(kept)
    return model
