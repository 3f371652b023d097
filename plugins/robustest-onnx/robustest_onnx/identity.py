"""What tells one ONNX file from another: its bytes, and those of the files that hold its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import Message
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from robustest.errors import ConfigError, expected
from robustest.packs import UnsafeFile, open_regular, parts_below


def digest_of(path: Path) -> str:
    """SHA-256, as 64 hex digits, of an ONNX file and of the files beside it that its tensors lie in.

    Raises:
        ConfigError: there is no such file, it is no ONNX, or one of those that it names is missing, no regular file,
            or not below its folder.
    """
    total = hashlib.sha256(_digest(path))
    for name in sorted({ExternalDataInfo(tensor).location for tensor in _tensors(_parsed(path))}):
        total.update(hashlib.sha256(name.encode()).digest())
        total.update(_digest(_beside(path, name)))
    return total.hexdigest()


def _digest(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise ConfigError(
            f"Expected an ONNX file at {path} but it cannot be read: {error.strerror or error}."
        ) from error


def _beside(path: Path, location: str) -> Path:
    """The file of weights that an ONNX file names: below its own folder, and nowhere else on this machine.

    Raises:
        ConfigError: the location leads elsewhere.
    """
    try:
        return path.parent.joinpath(*parts_below(location))
    except UnsafeFile:
        raise ConfigError(
            expected(
                f"external data below the folder of {path}", location, "Save the model with its weights beside it."
            )
        ) from None


def _parsed(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own kinds of error, which differ between its implementations
        raise ConfigError(expected("an ONNX file", str(path), f"It could not be parsed: {error}")) from error


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """The tensors anywhere in a file that lie in other files: in graphs, those inside them, functions, training."""
    if isinstance(message, onnx.TensorProto):
        if uses_external_data(message):
            yield message
        return
    for field, held in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in [held] if isinstance(held, Message) else held:
                yield from _tensors(inner)
