"""Torch modules: state, settings, hooks and code; TorchScript and graphs by their text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from robustest.identity.objects import class_of, foreign
from robustest.identity.packages import home_of_class
from robustest.identity.plain import Unhashable, is_plain, joined, part, words
from robustest.identity.walk import Handler, Node, Walk

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_HOW = ("_forward_pre_hooks_with_kwargs", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")
_OWN = words(
    "_parameters _buffers _modules _non_persistent_buffers_set _is_full_backward_hook _state_dict_hooks"
    " _state_dict_pre_hooks _load_state_dict_pre_hooks _load_state_dict_post_hooks _compiled_call_impl"
).union(_HOOKS, _HOW)
"""What torch keeps in every module; read here by what it means, or no part of what the module computes."""

_GUARDS = "_guards_fn"
"""The module with which an exported program checks shapes; it computes nothing."""

_PLACES = re.compile(r" # \S+:\d+:\d+$|, scope: \S+|(?<=\.)___torch_mangle_\d+\.", re.MULTILINE)
"""What TorchScript notes of files, callers, and how many classes of one name the process had made before."""


def _module(walk: Walk, value: nn.Module, where: str) -> bytes:
    # torch.compile's wrapper; its class is not loaded, which takes a second, before it is used
    if type(value).__qualname__ == "OptimizedModule" and "_orig_mod" in value._modules:
        return joined("compiled", [walk.value(value._orig_mod, where)])
    return walk.node(value, where, lambda node: _read(walk, node))


def _read(walk: Walk, node: Node) -> None:
    value, cls = node.value, type(node.value)
    node.facts["class"] = class_of(walk, cls, node.where)
    _state(walk, node)
    settings = {name: held for name, held in vars(value).items() if name not in _OWN}
    # Code that nobody reads here may read any attribute: all count where a package's class is below.
    all_count = home_of_class(cls) is not None or bool(foreign(cls))
    walk.wait(node, settings, now=lambda _, held: all_count or is_plain(held))


def _state(walk: Walk, node: Node) -> None:
    """Parameters, buffers, modules inside and hooks."""
    value = node.value
    parts = {name: held for name, held in value._modules.items() if name != _GUARDS}
    for kind in ("_parameters", "_buffers"):
        held: Mapping[str, Tensor | None] = getattr(value, kind)
        node.facts[kind] = walk.value({name: held[name] for name in sorted(held)}, node.where)
    inside = [part("name", k.encode()) + walk.value(v, f"{node.where}.{k}") for k, v in parts.items()]
    node.facts["modules"] = joined("modules", inside)
    for kind in _HOOKS:
        node.facts[kind] = joined("hooks", _hooks(walk, value, kind, f"a hook of {node.where}"))


def _hooks(walk: Walk, value: nn.Module, kind: str, where: str) -> Iterator[bytes]:
    """Hooks in order; the numbers that torch gives them count all hooks of the process."""
    for number, hook in (getattr(value, kind, None) or {}).items():
        how = [number in getattr(value, name, ()) for name in _HOW if name.startswith(kind)]
        yield walk.value(hook, where) + part("how", str(how).encode())


def _graph(walk: Walk, value: fx.GraphModule, where: str) -> bytes:
    return walk.node(value, where, lambda node: _read_graph(walk, node))


def _read_graph(walk: Walk, node: Node) -> None:
    """A graph (torch.fx, torch.export): its text, the functions it calls, and its state."""
    value: fx.GraphModule = node.value
    _state(walk, node)
    node.facts["code"] = part("code", value.code.encode())
    node.facts["training"] = walk.value(value.training, node.where)
    called = [step.target for step in value.graph.nodes if callable(step.target)]
    node.facts["calls"] = joined("calls", [walk.value(target, f"a function in {node.where}") for target in called])
    tensors = {name: held for name, held in vars(value).items() if isinstance(held, Tensor)}
    node.facts["constants"] = walk.value(tensors, node.where)


def _script(walk: Walk, value: torch.jit.ScriptModule, where: str) -> bytes:
    return walk.node(value, where, lambda node: _read_script(walk, node))


def _read_script(walk: Walk, node: Node) -> None:
    """TorchScript: the inlined graph with its constants, and the state of every module inside."""
    value: torch.jit.ScriptModule = node.value
    node.facts["graph"] = _script_text(walk, value, node.where)
    names = {step.s("name") for step in _steps(value.inlined_graph) if step.kind() == "prim::GetAttr"}
    for name, inside in value.named_modules():
        where = f"{node.where}.{name}" if name else node.where
        state = dict(sorted([*inside.named_parameters(recurse=False), *inside.named_buffers(recurse=False)]))
        read = {key: inside._c.getattr(key) for key in sorted(names) if inside._c.hasattr(key)}
        read = {key: held for key, held in read.items() if not isinstance(held, torch._C.ScriptModule)}
        node.facts[f"state {name}"] = walk.value(state, where)
        node.facts[f"read {name}"] = walk.value(read, where)


def _script_function(walk: Walk, value: torch.jit.ScriptFunction[Any, Any], where: str) -> bytes:
    return _script_text(walk, value, where)


def _script_text(walk: Walk, value: Any, where: str) -> bytes:
    graph = value.inlined_graph
    parts = [part("graph", _PLACES.sub("", str(graph)).encode())]
    for step in _steps(graph):
        if step.kind() in ("prim::CallMethod", "prim::PythonOp", "^"):
            raise Unhashable(f"{where} calls what TorchScript does not show ({step.kind()})", placed=True)
        for name in step.attributeNames():
            if step.kindOf(name) in ("t", "ts"):
                held = step.t(name) if step.kindOf(name) == "t" else list(step.ts(name))
                parts.append(walk.value(held, f"a constant of {where}"))
    return joined("script", parts)


def _steps(graph: Any) -> Iterator[Any]:
    for step in graph.nodes():
        yield step
        for block in step.blocks():
            yield from _steps(block)


HANDLERS: tuple[tuple[type | tuple[type, ...], Handler], ...] = (
    (torch.jit.ScriptModule, _script),
    (torch.jit.ScriptFunction, _script_function),
    (fx.GraphModule, _graph),
    (nn.Module, _module),
)
