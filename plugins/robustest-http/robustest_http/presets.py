"""Models on TF Serving and TorchServe: the requests that these servers take, and the replies that they give."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Unpack
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from robustest import Classifier, ConfigError, ModelError
from robustest.errors import expected
from robustest_http.answers import Gives, ModelOptions, answers, check_names, model_at, reshaped
from robustest_http.endpoint import Endpoint, Raw


class _Format(Protocol):
    """Requests and replies of a kind of server; a dataclass, whose repr is part of the model's identity."""

    @property
    def path(self) -> str: ...

    @property
    def single(self) -> bool:
        """Return True if a request has one sample."""
        ...

    def body(self, x: NDArray[np.float32] | list[Any]) -> object:
        """Return the body of a request with samples."""
        ...

    def values(self, reply: Any) -> object:
        """Return the answers of a reply; raise ModelError, which names the field, if it has none."""
        ...


@dataclass(frozen=True, slots=True)
class _Preset:
    """A function of batches that a server computes."""

    endpoint: Endpoint
    format: _Format
    gives: Gives

    def robustest_fingerprint(self) -> str:
        return f"{self.endpoint.robustest_fingerprint()} {self.format!r} {self.gives}"

    def __call__(self, x: NDArray[np.float32] | list[Any]) -> NDArray[Any]:
        form = self.format
        return self.endpoint.predict(x, form.path, form.body, self._answers, single=form.single)

    def _answers(self, reply: Any, n: int) -> NDArray[Any]:
        try:
            return answers(self.format.values(reply), n, self.gives)
        except ModelError as error:
            what = str(error)
        raise self.endpoint.fault(self.format.path, what)


@dataclass(frozen=True)
class _Instances:
    """Rows as "instances", and their answers as "predictions": the row format of TF Serving."""

    path: str
    input: str | None = None
    output: str | None = None
    signature: str | None = None
    shape: tuple[int, ...] | None = None
    single = False

    def body(self, x: NDArray[np.float32] | list[Any]) -> object:
        if isinstance(x, np.ndarray):
            rows = reshaped(x, self.shape).tolist()
        else:
            rows = [{"b64": base64.b64encode(one).decode()} if isinstance(one, bytes) else one for one in x]
        if self.input is not None:
            rows = [{self.input: row} for row in rows]
        return {"instances": rows} | ({} if self.signature is None else {"signature_name": self.signature})

    def values(self, reply: Any) -> object:
        rows = _field(reply, "predictions", list)
        if not any(isinstance(row, dict) for row in rows):
            if self.output is not None:
                raise ModelError(
                    f"predictions with the field {self.output!r}, which output= names, but they are no objects; the "
                    "output of a model with one has no name: leave output= out"
                )
            return rows
        found = []
        for place, row in enumerate(rows):
            names = list(row) if isinstance(row, dict) else []
            name = names[0] if self.output is None and len(names) == 1 else self.output
            if name not in names:
                wanted = "one field, or the one that output= names" if name is None else f"the field {name!r}"
                raise ModelError(f"{wanted} in predictions[{place}] but it has {', '.join(names) or 'none'}")
            found.append(row[name])
        return found


@dataclass(frozen=True)
class _Single:
    """One sample as the body of a request, and its answer as the reply: TorchServe without an envelope."""

    path: str
    shape: tuple[int, ...] | None = None
    names: tuple[str, ...] | None = None
    single = True

    def body(self, x: NDArray[np.float32] | list[Any]) -> object:
        if isinstance(x, np.ndarray):
            return reshaped(x, self.shape)[0].tolist()
        (one,) = x
        if isinstance(one, bytes):
            return Raw(one, "application/octet-stream")
        return Raw(one.encode(), "text/plain; charset=utf-8")

    def values(self, reply: Any) -> object:
        if self.names is None:
            if isinstance(reply, dict):
                raise ModelError(
                    f"a number or a list of numbers but got an object with {', '.join(map(str, reply))}; if these are "
                    "the classes, give names=, their names in the order of the labels"
                )
            return [reply]
        if not isinstance(reply, dict):
            raise ModelError(f"an object with a number for each of names= but got {reply!r:.200}")
        missing = [name for name in self.names if name not in reply]
        if missing or len(reply) != len(self.names):
            raise ModelError(
                f"an object with the fields {', '.join(self.names)}, as names= has them, but it has "
                f"{', '.join(reply)}. "
                "TorchServe's classifiers answer with the 5 likeliest classes: let their topk be the number of classes"
            )
        return [[reply[name] for name in self.names]]


def tf_serving_model(
    url: str,
    model: str,
    *,
    model_version: str | None = None,
    signature: str | None = None,
    input: str | None = None,  # noqa: A002 - the server's word
    output: str | None = None,
    shape: Sequence[int] | None = None,
    **options: Unpack[ModelOptions],
) -> Classifier:
    """Return a model on TensorFlow Serving, or on another server with its REST interface (KServe's protocol V1).

    Args:
        url: the server, such as http://localhost:8501.
        model: the model's name there.
        model_version: version of it; None lets the server choose.
        signature: name of its signature; None takes the server's default.
        input: name of its input; None if it has one.
        output: name of the output to read; None if it has one.
        shape: sizes of one sample for the model; None keeps the shape. Bytes are sent in base64.
        **options: how the server is reached and what its answers mean: see `ModelOptions`.

    Raises:
        ConfigError: an argument is invalid. Nothing is sent yet.
    """
    check_names(model=model, model_version=model_version, signature=signature, input=input, output=output)
    version = "" if model_version is None else f"/versions/{quote(model_version, safe='')}"
    path = f"/v1/models/{quote(model, safe='')}{version}:predict"
    form = _Instances(path, input, output, signature, None if shape is None else tuple(shape))
    return model_at(url, lambda endpoint, gives: _Preset(endpoint, form, gives), **options)


def torchserve_model(
    url: str,
    model: str,
    *,
    model_version: str | None = None,
    envelope: bool = False,
    names: Sequence[str] | None = None,
    shape: Sequence[int] | None = None,
    **options: Unpack[ModelOptions],
) -> Classifier:
    """Return a model on TorchServe, by its own inference interface.

    A request has one sample, which TorchServe makes batches of: numbers as JSON, texts and bytes as they are. With
    its JSON envelope a request has many samples.

    Args:
        url: the server, such as http://localhost:8080.
        model: the model's name there.
        model_version: version of it; None lets the server choose.
        envelope: True if it is served with `service_envelope=json`.
        names: names of the classes in the order of the labels, for handlers that answer with an object such as
            {"cat": 0.9, "dog": 0.1}; None if the answer is a number or a list of numbers.
        shape: sizes of one sample for the model; None keeps the shape.
        **options: how the server is reached and what its answers mean: see `ModelOptions`.

    Raises:
        ConfigError: an argument is invalid. Nothing is sent yet.
    """
    check_names(model=model, model_version=model_version)
    version = "" if model_version is None else f"/{quote(model_version, safe='')}"
    path, sizes = f"/predictions/{quote(model, safe='')}{version}", None if shape is None else tuple(shape)
    form: _Format = _Instances(path, shape=sizes)
    if not envelope:
        form = _Single(path, sizes, _class_names(names))
    elif names is not None:
        raise ConfigError("Expected names= without envelope=True, whose answers have no names, but got both.")
    return model_at(url, lambda endpoint, gives: _Preset(endpoint, form, gives), **options)


def _class_names(names: Sequence[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    given = tuple(names)
    if len(given) < 2 or len(set(given)) < len(given) or not all(isinstance(name, str) for name in given):
        raise ConfigError(expected("names to be the different names of at least 2 classes", names))
    return given


def _field(reply: Any, name: str, kind: type) -> Any:
    """Return a field of an object; raise ModelError, which names it, if it is missing or of another type."""
    if not isinstance(reply, dict):
        raise ModelError(f"an object with the field {name!r} but got {reply!r:.200}")
    if name not in reply:
        raise ModelError(f"the field {name!r} but got {reply!r:.200}")
    if not isinstance(reply[name], kind):
        raise ModelError(f"the field {name!r} to be a {kind.__name__} but got {reply[name]!r:.200}")
    return reply[name]
