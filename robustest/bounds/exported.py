"""The graph of a module whose forward computes with shapes, which only `torch.export` can read."""

from __future__ import annotations

import logging
import operator
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
        elif node.target is torch.ops.aten._native_batch_norm_legit_no_training.default:
            _write_as_batch_norm(graph, node)
        elif node.op == "output" and isinstance(node.args[0], (tuple, list)) and len(node.args[0]) == 1:
            node.args = (node.args[0][0],)
    return root, graph


def _write_as_batch_norm(graph: fx.Graph, node: fx.Node) -> None:
    """What torch 2.5 makes of a batch norm in eval mode, as what it was: of its three outputs only the first counts."""
    x, weight, bias, mean, var, momentum, eps = node.args
    with graph.inserting_before(node):
        args = (x, weight, bias, mean, var, False, momentum, eps, False)
        whole = graph.call_function(torch.ops.aten.batch_norm.default, args)
    for user in list(node.users):
        if user.op == "call_function" and user.target is operator.getitem and user.args[1] == 0:
            user.replace_all_uses_with(whole)
            graph.erase_node(user)
    if not node.users:
        graph.erase_node(node)
