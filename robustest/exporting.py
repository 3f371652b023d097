"""A module as a graph, by `torch.export`, without warnings or logs."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from torch import Tensor, nn

# Torch's own log of every graph, which pytest would show with each failed test.
_TRACE = logging.getLogger("torch.__trace")


def exported(module: nn.Module, batch: Tensor, size: Any) -> torch.export.ExportedProgram:
    """Return the program of a module for batches of any size.

    Args:
        module: maps a batch.
        batch: (B, *S) with B >= 2: `torch.export` specialises on batch sizes 0 and 1.
        size: the `torch.export.Dim` of B.

    Raises:
        Exception: torch cannot export the module.
    """
    before, _TRACE.disabled = _TRACE.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (batch,), dynamic_shapes=({0: size},))
    finally:
        _TRACE.disabled = before
    for node in program.graph.nodes:
        # The origin of a node: torch 2.5 cannot read back its own entries of nested modules.
        node.meta.pop("nn_module_stack", None)
    return program
