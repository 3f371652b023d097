"""A model behind the Open Inference Protocol, version 2 (KServe, MLServer, Triton, TorchServe), REST with JSON."""

from __future__ import annotations

import base64
import math
import threading
from collections.abc import Sequence
from typing import Any, Unpack
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from robustest import Classifier, ConfigError, ModelError
from robustest.errors import expected
from robustest_http.answers import Gives, ModelOptions, answers, model_at
from robustest_http.endpoint import Endpoint

_DATATYPES = ("FP16", "FP32", "FP64", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")


class _OpenInference:
    """A function of batches that one model on a server computes."""

    def __init__(
        self,
        endpoint: Endpoint,
        path: str,
        *,
        names: tuple[str | None, str | None],
        datatype: str | None,
        shape: tuple[int, ...] | None,
        gives: Gives,
    ) -> None:
        self._endpoint = endpoint
        self._path = path
        self._input, self._output = names
        self._datatype = datatype
        self._shape = shape
        self._gives: Gives = gives
        self._asked: tuple[str, str] | None = None
        self._lock = threading.Lock()

    def robustest_fingerprint(self) -> str:
        how = (self._path, self._input, self._output, self._datatype, self._shape, self._gives)
        return f"open inference {self._endpoint.robustest_fingerprint()} {how}"

    def __call__(self, x: NDArray[np.float32] | list[Any]) -> NDArray[Any]:
        name, datatype = self._named()
        strings = not isinstance(x, np.ndarray)
        datatype = datatype or ("BYTES" if strings else "FP32")
        if strings != (datatype == "BYTES"):
            takes, given = ("texts or bytes", "numbers") if datatype == "BYTES" else (datatype, "texts or bytes")
            raise ConfigError(f"Expected {takes}, which the input {name} takes, but the data are {given}.")

        def body(part: Any) -> object:
            return self._strings(part, name) if strings else self._body(part, name, datatype)

        return self._endpoint.predict(x, f"{self._path}/infer", body, self._answers)

    def _named(self) -> tuple[str, str]:
        """Return name and datatype of the input: as given, or from the server's metadata; "" if neither says it."""
        if self._input is not None:
            return self._input, self._datatype or ""
        with self._lock:
            if self._asked is None:
                self._asked = self._from_metadata()
            return self._asked

    def _from_metadata(self) -> tuple[str, str]:
        page = self._endpoint.get(self._path)
        inputs = page.get("inputs") if isinstance(page, dict) else None
        try:
            found = [(str(one["name"]), str(one["datatype"])) for one in inputs or ()]
        except (TypeError, KeyError):
            raise self._endpoint.fault(self._path, f"metadata of a model but got {page!r:.200}") from None
        if len(found) > 1:
            names = ", ".join(name for name, _ in found)
            raise self._endpoint.fault(self._path, f"a model with one input but it has {names}")
        name, datatype = found[0] if found else ("x", "")  # MLServer need not list any
        if self._datatype is None and datatype not in (*_DATATYPES, "BYTES", ""):
            what = f"a model that takes numbers, texts or bytes but its input {name} is {datatype}"
            raise self._endpoint.fault(self._path, what)
        return name, self._datatype or datatype

    def _strings(self, values: list[Any], name: str) -> object:
        sent: dict[str, Any] = {"name": name, "shape": [len(values)], "datatype": "BYTES", "data": list(values)}
        if isinstance(values[0], bytes):  # JSON holds no bytes: MLServer and KServe decode what is said to be base64
            data = [base64.b64encode(one).decode() for one in values]
            sent |= {"data": data, "parameters": {"content_type": "base64"}}
        return self._asking(sent)

    def _asking(self, sent: dict[str, Any]) -> object:
        body: dict[str, Any] = {"inputs": [sent]}
        if self._output is not None:
            body["outputs"] = [{"name": self._output}]
        return body

    def _body(self, x: NDArray[np.float32], name: str, datatype: str) -> object:
        if self._shape is not None:
            if math.prod(self._shape) != math.prod(x.shape[1:]):
                raise ConfigError(
                    expected(f"shape to hold a sample, {math.prod(x.shape[1:])} numbers, {x.shape[1:]}", self._shape)
                )
            x = x.reshape(len(x), *self._shape)
        values = x.ravel() if datatype.startswith("FP") else _whole(x.ravel(), datatype)
        return self._asking({"name": name, "shape": list(x.shape), "datatype": datatype, "data": values.tolist()})

    def _answers(self, reply: Any, n: int) -> NDArray[Any]:
        try:
            return answers(self._chosen(reply), n, self._gives)
        except ModelError as error:
            what = str(error)
        raise self._endpoint.fault(f"{self._path}/infer", what)

    def _chosen(self, reply: Any) -> NDArray[Any]:
        outputs = reply.get("outputs") if isinstance(reply, dict) else None
        if not isinstance(outputs, list) or not all(isinstance(one, dict) for one in outputs):
            raise ModelError(f"a list of outputs but got {reply!r:.200}")
        names = [str(one.get("name")) for one in outputs]
        chosen = [one for one in outputs if self._output is None or one.get("name") == self._output]
        if len(chosen) != 1:
            wanted = "one output, or the one that output= names" if self._output is None else self._output
            raise ModelError(f"{wanted} but got {', '.join(names) or 'none'}")
        try:
            return np.asarray(chosen[0]["data"]).reshape(chosen[0]["shape"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"an output whose data have its shape but got {type(error).__name__}: {error}") from None


def open_inference_model(
    url: str,
    model: str,
    *,
    model_version: str | None = None,
    input: str | None = None,  # noqa: A002 - the protocol's word
    output: str | None = None,
    datatype: str | None = None,
    shape: Sequence[int] | None = None,
    **options: Unpack[ModelOptions],
) -> Classifier:
    """Return a model on a server that speaks the Open Inference Protocol, version 2, over REST.

    Args:
        url: the server, such as http://localhost:8080.
        model: the model's name there.
        model_version: version of it; None lets the server choose.
        input: name of its input; None takes that of the server's metadata.
        output: name of the output to read; None if there is one.
        datatype: the protocol's name for the type of the input, such as FP32; None takes that of the metadata, or FP32.
            For whole numbers, inputs are rounded to the nearest one. Texts, and bytes in base64, are sent as BYTES.
        shape: sizes of one sample for the model, such as (64,) for flat images; None keeps the shape.
        **options: how the server is reached and what its answers mean: see `ModelOptions`.

    Raises:
        ConfigError: an argument is invalid. Nothing is sent yet.
    """
    for name, value in {"model": model, "model_version": "1" if model_version is None else model_version}.items():
        if not isinstance(value, str) or not value:
            raise ConfigError(expected(f"{name} to be a name", value))
    if datatype is not None and datatype not in (*_DATATYPES, "BYTES"):
        raise ConfigError(expected(f"datatype to be one of {', '.join(_DATATYPES)}, BYTES", datatype))
    path = f"/v2/models/{quote(model, safe='')}"
    if model_version is not None:
        path += f"/versions/{quote(model_version, safe='')}"

    def predictor(endpoint: Endpoint, gives: Gives) -> _OpenInference:
        sizes = None if shape is None else tuple(shape)
        return _OpenInference(endpoint, path, names=(input, output), datatype=datatype, shape=sizes, gives=gives)

    return model_at(url, predictor, **options)


def _whole(values: NDArray[np.float32], datatype: str) -> NDArray[Any]:
    """Return the nearest whole numbers; raise ModelError if they are not in the datatype's range."""
    dtype = np.dtype(datatype.lower())
    limits, whole = np.iinfo(dtype), np.rint(values)
    if len(whole) and (whole.min() < limits.min or whole.max() > limits.max):
        raise ModelError(
            f"Expected inputs in {limits.min}..{limits.max}, since the model takes {datatype}, but got "
            f"{values.min():.4g}..{values.max():.4g}. Pass preprocessing= that scales them."
        )
    return whole.astype(np.int64 if dtype.kind == "i" else np.uint64)
