"""Identity of an ONNX file: its bytes, and those of the files that hold its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import Message
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from robustest.errors import ConfigError, expected
from robustest.packs import SafeFolder


def digest_of(path: Path) -> str:
    """Return the SHA-256, as 64 hex digits, of an ONNX file and of the files of its external tensors.

    Raises:
        ConfigError: there is no such file, it is no ONNX, or a file that it names is missing, not regular, or not below
            its folder.
    """
    folder = SafeFolder(path.parent)
    total = hashlib.sha256(_digest(folder, path.name))
    for name in sorted({ExternalDataInfo(tensor).location for tensor in _tensors(_parsed(path))}):
        # The digest of the name keeps the boundaries between files: moved bytes give another digest.
        total.update(hashlib.sha256(name.encode()).digest())
        total.update(_digest(folder, name))
    return total.hexdigest()


def _digest(folder: SafeFolder, name: str) -> bytes:
    try:
        with folder.open(name) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise ConfigError(
            f"Expected an ONNX file, or external data below the folder of one, at {folder.path / name} but it cannot "
            f"be read: {error.strerror or error}. Save the model with its weights beside it."
        ) from error


def _parsed(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own kinds of error, which differ between its implementations
        raise ConfigError(expected("an ONNX file", str(path), f"It could not be parsed: {error}")) from error


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Yield the external tensors anywhere in a file: in graphs, nested graphs, functions, training information."""
    if isinstance(message, onnx.TensorProto):
        if uses_external_data(message):
            yield message
        return
    for field, held in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in [held] if isinstance(held, Message) else held:
                yield from _tensors(inner)
