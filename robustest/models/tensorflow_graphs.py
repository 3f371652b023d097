"""Graphs of TensorFlow as plain values, the same in every process: operations, constants and the values of variables.

TensorFlow names nodes and functions by counters of the process. Here a node counts by its place among the nodes of its
function, and a function by its content.
"""

from __future__ import annotations

from hashlib import sha256
from importlib import import_module
from typing import Any

import numpy as np

from robustest.identity.plain import Unhashable

# Operations with a state that are known to compute: what they do depends on their inputs, or is drawn at random.
_COMPUTING = frozenset(
    {
        "Assert",
        "If",
        "PartitionedCall",
        "ReadVariableOp",
        "ResourceGather",
        "ResourceGatherNd",
        "StatefulPartitionedCall",
        "VariableShape",
        "While",
    }
)
_RANDOM = ("Random", "StatelessRandom", "Multinomial", "ParameterizedTruncatedNormal", "TruncatedNormal")
# Operations without a state of their own that read what no graph shows.
_READING = ("File", "Restore", "PyFunc")


def graph_of(traced: Any) -> tuple[list[str], list[str], list[tuple[str, tuple[int, ...], bytes]]]:
    """Return plain values of a concrete function: its nodes, its outputs, and the values of all that it captures.

    Raises:
        Unhashable: an operation reads what the graph does not show, or a capture is no variable and no tensor.
    """
    op_def_registry = import_module("tensorflow.python.framework.op_def_registry")

    definition = traced.graph.as_graph_def()
    library = {function.signature.name: function for function in definition.library.function}
    digests: dict[str, str] = {}  # of functions of the library, by name

    def function(name: str) -> str:
        if name not in digests:
            digests[name] = ""  # a function that calls itself is named by its level alone
            held = library[name]
            inputs = [one.name for one in held.signature.input_arg]
            places = _places(held.node_def, inputs)
            results = sorted(f"{key}: {_place(held.ret[key], places)}" for key in held.ret)
            digests[name] = _digest([f"{len(inputs)} inputs", *nodes(held.node_def, inputs), *results])
        return digests[name]

    def nodes(listed: Any, inputs: list[str]) -> list[str]:
        lines = []
        places = _places(listed, inputs)
        for node in listed:
            operation = op_def_registry.get(node.op)
            stateful = operation is None or operation.is_stateful
            known = node.op in _COMPUTING or node.op.startswith(_RANDOM)
            if (stateful and not known) or any(word in node.op for word in _READING):
                raise Unhashable(f"a graph of TensorFlow with the operation {node.op}, which may read what it hides")
            given = [_place(one, places) for one in node.input]
            # Control inputs have no order, and those with an underscore are hints for a device or a compiler.
            given = [one for one in given if one[0] != "^"] + sorted(one for one in given if one[0] == "^")
            how = [f"{key}={attribute(node.attr[key])}" for key in sorted(node.attr) if key[0] != "_"]
            lines.append(" ".join([node.op, *given, *how]))
        return lines

    def attribute(value: Any) -> str:
        if value.HasField("func"):
            return function(value.func.name)
        if value.HasField("list") and value.list.func:
            return _digest([function(one.name) for one in value.list.func])
        return sha256(value.SerializeToString(deterministic=True)).hexdigest()

    places = _places(definition.node, [])
    returned = [_place(one.name, places) for one in traced.outputs]
    return nodes(definition.node, []), returned, _captured(traced)


def _digest(lines: list[str]) -> str:
    return sha256("\n".join(lines).encode()).hexdigest()


def _place(name: str, places: dict[str, str]) -> str:
    """Return an input of a node, such as "^name", "name:1" or "name:output:1", with its node's place for its name."""
    control = "^" if name.startswith("^") else ""
    node, colon, output = name.lstrip("^").partition(":")
    return f"{control}{places[node]}{colon}{output}"


def _places(listed: Any, inputs: list[str]) -> dict[str, str]:
    """Return what stands for the name of each input and node of a function."""
    places = {name: f"input {place}" for place, name in enumerate(inputs)}
    return places | {node.name: f"node {place}" for place, node in enumerate(listed)}


def _captured(traced: Any) -> list[tuple[str, tuple[int, ...], bytes]]:
    """Return dtype, shape and bytes of each variable and tensor that a function captures, in the graph's order."""
    variables = {id(variable.handle): variable for variable in traced.graph.variables}
    found = []
    for outer, _ in traced.graph.captures:
        held = variables.get(id(outer), outer)
        try:
            value = np.asarray(held.numpy())
        except Exception as error:  # a table, an iterator, or a tensor of another graph
            raise Unhashable(
                f"a graph of TensorFlow that captures a {outer.dtype.name}, which cannot be read"
            ) from error
        if value.dtype.hasobject:
            raise Unhashable("a graph of TensorFlow that captures text")
        found.append((value.dtype.str, value.shape, value.tobytes()))
    return found
