"""What is remembered of a file is remembered by its bytes, wherever it lies."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from robustest_onnx import onnx_model
from robustest_onnx.identity import digest_of

from robustest import Classifier, ConfigError
from robustest.identity.fingerprint import fingerprint

Save = Callable[..., Path]


def identity(model: Classifier) -> str:
    found = fingerprint(model.call, model.module, model.preprocessing)
    assert found.digest is not None, found.reason
    return found.digest


def test_a_copy_is_the_same_model_and_other_weights_are_another(save: Save) -> None:
    one = save("one.onnx")
    two = shutil.copy(one, one.with_name("two.onnx"))
    assert identity(onnx_model(one)) == identity(onnx_model(two))
    assert identity(onnx_model(one)) != identity(onnx_model(save("other.onnx", shift=1e-4)))


def test_what_else_decides_what_is_computed_counts(save: Save) -> None:
    path = save(outputs=("logits", "label"))
    seen = {
        identity(onnx_model(path, output="logits")),
        identity(onnx_model(path, output="label")),
        identity(onnx_model(path, output="logits", preprocessing=([0.5], [0.5]))),
        identity(onnx_model(path, output="logits", preprocessing=lambda x: x / 2)),
        identity(onnx_model(path, output="logits", preprocessing=lambda x: x / 3)),
        identity(onnx_model(save(), gradients=True)),
    }
    assert len(seen) == 6


def test_weights_in_a_file_beside_count(save: Save) -> None:
    path = save("big.onnx", external=True)
    assert path.with_name("big.weights").is_file()
    before = digest_of(path), identity(onnx_model(path))
    weights = path.with_name("big.weights")
    content = bytearray(weights.read_bytes())
    content[1] ^= 1  # a low bit of the first weight
    weights.write_bytes(content)
    assert (digest_of(path), identity(onnx_model(path))) != before
    assert digest_of(path) != before[0]
    weights.unlink()
    with pytest.raises(ConfigError, match=r"big\.weights but it cannot be read"):
        digest_of(path)


def test_weights_inside_a_branch_are_found(save: Save) -> None:
    path = save("inner.onnx", external=True)
    model = onnx.load(path, load_external_data=False)
    held = model.graph.initializer.pop()
    branch = onnx.helper.make_graph([], "branch", [], [onnx.ValueInfoProto(name=held.name)], [held])
    node = onnx.helper.make_node("If", ["yes"], [held.name], then_branch=branch, else_branch=branch)
    model.graph.node.insert(0, node)
    path.write_bytes(model.SerializeToString())
    before = digest_of(path)
    weights = path.with_name("inner.weights")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert digest_of(path) != before


def held_inside(model: onnx.ModelProto, held: onnx.TensorProto, kind: str) -> None:
    """Put a tensor that lies in another file into a part of a model: its constant, or a branch of it."""
    constant = onnx.helper.make_node("Constant", [], ["w"], value=held)
    value = onnx.helper.make_tensor_value_info("w", held.data_type, held.dims)
    if kind == "sparse":
        sparse = onnx.SparseTensorProto(dims=held.dims)
        sparse.values.CopyFrom(held)
        model.graph.sparse_initializer.append(sparse)
        return
    if kind in ("if", "loop", "scan"):
        inner = onnx.helper.make_graph([constant], kind, [], [value])
        name = {"if": "then_branch"}.get(kind, "body")
        constant = onnx.helper.make_node(kind.title(), ["c"], ["w"], **{name: inner})
    if kind == "graph":
        model.graph.node.insert(0, constant)
        return
    function = onnx.helper.make_function("own", "F", [], ["w"], [constant], [onnx.helper.make_opsetid("", 17)])
    model.functions.append(function)


@pytest.mark.parametrize("kind", ["graph", "function", "if", "loop", "scan", "sparse"])
def test_weights_count_wherever_in_the_file_they_are_named(save: Save, kind: str) -> None:
    """A constant of a function that the file defines, alone or in a branch inside it, is a weight as any other."""
    path = save("inner.onnx", external=True)
    model = onnx.load(path, load_external_data=False)
    held_inside(model, model.graph.initializer.pop(), kind)
    del model.graph.initializer[:]
    path.write_bytes(model.SerializeToString())
    before = digest_of(path)
    assert digest_of(path) == before
    weights = path.with_name("inner.weights")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert digest_of(path) != before


def with_weights_at(path: Path, location: str) -> Path:
    """The same file, but for where it says that its weights lie."""
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("location", ["/dev/zero", "../outside", "deep/../../outside", "pipe", "zero", "."])
def test_weights_are_taken_from_below_the_files_folder_alone(save: Save, location: str, *, gradients: bool) -> None:
    path = with_weights_at(save("big.onnx", external=True), location)
    (path.parent.parent / "outside").write_bytes(path.with_name("big.weights").read_bytes())
    os.mkfifo(path.with_name("pipe"))
    path.with_name("zero").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match=r"external data below the folder|no regular file"):
        digest_of(path)
    with pytest.raises(ConfigError, match=r"external data below the folder|no regular file"):
        onnx_model(path, gradients=gradients)


def test_a_link_to_weights_kept_elsewhere_is_followed(save: Save, tmp_path: Path) -> None:
    path = save("big.onnx", external=True)
    before = digest_of(path)
    (tmp_path / "kept").mkdir()
    weights = path.with_name("big.weights").rename(tmp_path / "kept" / "blob")
    path.with_name("big.weights").symlink_to(weights)
    assert digest_of(path) == before
