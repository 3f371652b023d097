"""A network read as a graph: affine maps (`Segment`) with one nonlinearity between two of them."""

# 1. `torch.fx` traces the module; where its forward computes with shapes, `torch.export` reads what fx cannot.
# 2. A node that depends on the input is a nonlinearity with known lines, an operation that is affine in it, or a
#    reading of its shape. Anything else refuses the network (`NoBound`).
# 3. A segment is the part of the graph between a nonlinearity, or the output, and the nonlinearities before it.

from __future__ import annotations

import logging
import operator
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from robustest.bounds.operations import (
    AFFINE,
    NONLINEAR,
    PRODUCTS,
    SHAPES,
    NoBound,
    Nonlinearity,
    name_of,
    nonlinear_of,
    run,
    run_magnitude,
    run_spread,
    unlike,
)


def exported(call: nn.Module, example: Tensor | None, why: Exception) -> tuple[nn.Module, fx.Graph]:
    """Return a module with the weights, and its graph for one input of any number of rows, by `torch.export`.

    Args:
        example: (B, *S) inputs; only their shape matters.
        why: the error of `torch.fx`, for the message of NoBound.
    """
    refusal = f"no bound: its graph cannot be read ({str(why).splitlines()[0][:120]})"
    if example is None:
        raise NoBound(refusal) from why
    log = logging.getLogger("torch")
    level, rows = (
        log.level,
        example.new_zeros(3, *example.shape[1:]),
    )  # `torch.export` specialises on batch sizes 0 and 1
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
        elif node.op == "output" and isinstance(node.args[0], (tuple, list)) and len(node.args[0]) == 1:
            node.args = (node.args[0][0],)
    return root, graph


if TYPE_CHECKING:
    from robustest.bounds.linear import Windows

# Share of the largest output that adding in float32 may miss; a nonlinearity bends by far more.
_ROUNDING = 1e-4
# Attributes of a tensor that do not depend on its values.
_ABOUT = ("shape", "ndim", "dtype", "device")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """An affine map of the input (place 0), or of outputs of nonlinearities (from place 1 on).

    Attributes:
        places, cuts: the places of its arguments, ascending, and their nodes.
        nodes: its operations, in order.
        end: the node of its output.
    """

    places: tuple[int, ...]
    nodes: tuple[fx.Node, ...]
    cuts: tuple[fx.Node, ...]
    end: fx.Node
    root: nn.Module

    def __call__(self, *values: Tensor) -> Tensor:
        output: Tensor = self._computed(values)[self.end]
        return output

    def spread(self, values: Sequence[Tensor], radii: Sequence[Tensor]) -> Tensor:
        """Return (B, *O) the largest change of its output where its arguments move by radii >= 0 from values."""
        known = self._computed(values)
        moved: dict[fx.Node, Any] = dict(zip(self.cuts, radii, strict=True))
        for node in self.nodes:
            if node.op != "get_attr" and _is_value(node, moved, self.root):
                moved[node] = run_spread(node, self.root, moved, known)
        output: Tensor = moved[self.end]
        if bool((output < 0).any()):  # an operation did not do what its name says
            # A spread is a sum of absolute values: a negative one shows that an operation is not the one of its name.
            raise NoBound(f"no bound: the spread of {name_of(self.end, self.root)} is not known")
        return output

    def magnitude(self, values: Sequence[Tensor], reaches: Sequence[Tensor]) -> Tensor:
        """Return (B, *O) the magnitudes that are added up to its output, even where they cancel.

        Args:
            values: some values of its arguments, for operations that depend on their shapes.
            reaches: (B, *S) the largest magnitude of each argument.
        """
        known = self._computed(values)
        # Rounding is in proportion to them: where weights cancel arguments of magnitude 10^6, the sum is noise.
        sizes: dict[fx.Node, Any] = dict(zip(self.cuts, reaches, strict=True))
        for node in self.nodes:
            if node.op != "get_attr" and _is_value(node, sizes, self.root):
                sizes[node] = run_magnitude(node, self.root, sizes, known)
        output: Tensor = sizes[self.end]
        return output

    def _computed(self, values: Sequence[Tensor]) -> dict[fx.Node, Any]:
        env: dict[fx.Node, Any] = dict(zip(self.cuts, values, strict=True))
        for node in self.nodes:
            if node.op == "get_attr":
                value: Any = self.root
                for name in str(node.target).split("."):
                    value = getattr(value, name)
                env[node] = value
            else:
                args: Any = fx.node.map_arg(node.args, env.__getitem__)
                kwargs: Any = fx.node.map_arg(node.kwargs, env.__getitem__)
                env[node] = run(node, self.root, args, kwargs)
        return env


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """An affine map: its outputs at zero (E,), and their coefficients of each argument (E, *S)."""

    height: Tensor
    coefficients: Mapping[int, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Segments, and the nonlinearity behind each but the last, whose outputs are the logits."""

    segments: tuple[Segment, ...]
    nonlinear: tuple[Nonlinearity, ...]
    # Matrices and windows of segments, made by `linear` when first needed; None where there are no windows.
    rows: dict[int, Matrix] = field(default_factory=dict, compare=False)
    windows: dict[int, Windows | None] = field(default_factory=dict, compare=False)

    def __call__(self, x: Tensor) -> Tensor:
        values = [x]
        for segment, bend in zip(self.segments, self.nonlinear, strict=False):
            values.append(bend.value(segment(*(values[place] for place in segment.places))))
        last = self.segments[-1]
        return last(*(values[place] for place in last.places))

    def is_affine_between(self, x: Tensor) -> bool:
        """Return True if each segment behaves as an affine map, at inputs (B, *S)."""
        values = [x]
        for depth, segment in enumerate(self.segments):
            args = [values[place] for place in segment.places]
            others = [argument.flip(0) for argument in args]
            # An affine map of rows takes the middle of two arguments to the middle of their outputs, and a row alone to
            # the same output as among others.
            first, second = segment(*args), segment(*others)
            middle = segment(*((a + b) / 2 for a, b in zip(args, others, strict=True)))
            scale = _ROUNDING * float(torch.stack([first.abs().max(), second.abs().max()]).max())
            alone = segment(*(argument[:1] for argument in args))
            if float((middle - (first + second) / 2).abs().max()) > scale:
                return False
            if float((alone - first[:1]).abs().max()) > scale:
                return False
            if depth < len(self.nonlinear):
                values.append(self.nonlinear[depth].value(first))
        return True


def read_network(call: nn.Module, example: Tensor | None = None) -> Network:
    """Return the network that a module computes, in eval mode.

    Args:
        call: maps inputs (B, *S) to logits (B, K).
        example: (B, *S) inputs whose shape `torch.export` needs; without them it is not tried.

    Raises:
        NoBound: its graph cannot be read, or has an operation without a bound.
    """
    try:
        graph = fx.Tracer().trace(call)
    except Exception as error:  # torch's many; a forward that branches on values, for one
        call, graph = exported(call, example, error)
    return _Reader(call, graph).read()


class _Reader:
    def __init__(self, root: nn.Module, graph: fx.Graph) -> None:
        self.root = root
        self.graph = graph
        self.place: dict[fx.Node, int] = {}
        self.values: set[fx.Node] = set()
        self.segments: list[Segment] = []
        self.nonlinear: list[Nonlinearity] = []

    def read(self) -> Network:
        for node in self.graph.nodes:
            if node.op == "placeholder":
                if self.place:
                    # One ball is the region of one input; several would need a joint region.
                    raise NoBound("no bound: the model takes several inputs")
                self.place[node] = 0
                self.values.add(node)
            elif node.op == "output":
                (end,) = node.args
                if not isinstance(end, fx.Node) or end not in self.values:
                    raise NoBound("no bound: the model gives something else than one tensor that depends on its input")
                self.segments.append(self._segment(end))
            elif any(argument in self.values for argument in node.all_input_nodes):
                self._enter(node)
        return Network(segments=tuple(self.segments), nonlinear=tuple(self.nonlinear))

    def _enter(self, node: fx.Node) -> None:
        name = name_of(node, self.root)
        if name in NONLINEAR:
            if (why := unlike(node, self.root)) != "":
                raise NoBound(f"no bound: unsupported operator {name} {why}")
            self.segments.append(self._segment(node.all_input_nodes[0]))
            self.nonlinear.append(nonlinear_of(node, self.root))
            self.place[node] = len(self.nonlinear)
            self.values.add(node)
            return
        if name in SHAPES:
            if name == "getattr" and node.args[1] not in _ABOUT:
                raise NoBound(f"no bound: unsupported attribute .{node.args[1]}")
            return
        if name not in AFFINE:
            raise NoBound(f"no bound: unsupported operator {name}")
        if (why := unlike(node, self.root)) != "":
            raise NoBound(f"no bound: unsupported operator {name} {why}")
        # A node's arguments with repetitions: `all_input_nodes` lists the x of x * x once.
        arguments: list[fx.Node] = []
        for given in (node.args, node.kwargs):
            fx.node.map_arg(given, lambda one: arguments.append(one) or one)  # type: ignore[func-returns-value]
        dependent = [argument for argument in arguments if argument in self.values]
        # x / c is affine in x, c / x is not; of a convolution only the input may depend, not the weight.
        leads = name in ("mul", "matmul") or (bool(node.args) and node.args[0] is dependent[0])
        # x * x, or a product of two branches, is not affine in the input, though each factor is.
        if name in PRODUCTS and (len(dependent) > 1 or not leads):
            raise NoBound(f"no bound: unsupported operator {name} of two values that depend on the input")
        self.values.add(node)

    def _segment(self, end: fx.Node) -> Segment:
        """Return the part of the graph between a node and the nonlinearities (or the input) before it."""
        nodes: set[fx.Node] = set()
        cuts: set[fx.Node] = set()
        open_: list[fx.Node] = [end]
        # Walk backwards and stop at nonlinearities. Constants are walked too: a segment computes its own.
        while open_:
            node = open_.pop()
            if node in self.place:
                cuts.add(node)
            elif node not in nodes:
                nodes.add(node)
                open_.extend(node.all_input_nodes)
        ordered = sorted(cuts, key=self.place.__getitem__)
        return Segment(
            places=tuple(self.place[cut] for cut in ordered),
            nodes=tuple(node for node in self.graph.nodes if node in nodes),
            cuts=tuple(ordered),
            end=end,
            root=self.root,
        )


def _is_value(node: fx.Node, moved: Mapping[fx.Node, Any], root: nn.Module) -> bool:
    return name_of(node, root) not in SHAPES and any(argument in moved for argument in node.all_input_nodes)
