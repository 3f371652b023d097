"""The graph of a module whose forward computes with shapes, which only `torch.export` can read."""

from __future__ import annotations

import logging
import warnings

import torch
from torch import Tensor, fx, nn

from robustest.bounds.operations import NoBound


def exported(call: nn.Module, example: Tensor | None, why: Exception) -> tuple[nn.Module, fx.Graph]:
    """A module with the weights, and the graph of what it computes of one input of any number of rows.

    Args:
        call: the module.
        example: (B, *S) inputs of the shape that is read; values do not matter.
        why: what `torch.fx` said; told where nothing can be read this way either.

    Raises:
        NoBound: no example, or no graph.
    """
    refusal = f"no bound: its graph cannot be read ({str(why).splitlines()[0][:120]})"
    if example is None:
        raise NoBound(refusal) from why
    log = logging.getLogger("torch")
    level, rows = log.level, example.new_zeros(3, *example.shape[1:])  # of 0 or 1 it would be told apart
    try:
        log.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            shapes = ({0: torch.export.Dim("batch", min=1)},)
            root = torch.export.export(call, (rows,), dynamic_shapes=shapes).module()
    except Exception as error:  # torch's many
        raise NoBound(refusal) from error
    finally:
        log.setLevel(level)
    graph: fx.Graph = root.graph
    for node in list(graph.nodes):
        if node.op == "call_module" and not node.users:  # checks of shapes, which `Network` makes none of
            graph.erase_node(node)
        elif node.op == "output" and isinstance(node.args[0], (tuple, list)) and len(node.args[0]) == 1:
            node.args = (node.args[0][0],)
    return root, graph
