"""A model behind the Open Inference Protocol, version 2 (KServe, MLServer, Triton, TorchServe), over REST."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from typing import Any, Unpack
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from robustest import Classifier, ConfigError, ModelError
from robustest.errors import expected
from robustest_http.answers import Gives, ModelOptions, answers, check_names, model_at, reshaped
from robustest_http.binary_tensors import DATATYPES, joined, packed
from robustest_http.endpoint import Endpoint, Raw


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
        binary: bool,
    ) -> None:
        self._endpoint = endpoint
        self._path = path
        self._input, self._output = names
        self._datatype = datatype
        self._shape = shape
        self._gives: Gives = gives
        self._binary = binary
        self._asked: tuple[str, str] | None = None
        self._lock = threading.Lock()

    def robustest_fingerprint(self) -> str:
        how = (self._path, self._input, self._output, self._datatype, self._shape, self._gives)
        binary = " binary" if self._binary else ""
        return f"open inference {self._endpoint.robustest_fingerprint()} {how}{binary}"

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
        if self._datatype is None and datatype not in (*DATATYPES, "BYTES", ""):
            what = f"a model that takes numbers, texts or bytes but its input {name} is {datatype}"
            raise self._endpoint.fault(self._path, what)
        return name, self._datatype or datatype

    def _strings(self, values: list[Any], name: str) -> object:
        tensor: dict[str, Any] = {"name": name, "shape": [len(values)], "datatype": "BYTES"}
        if self._binary:
            return self._request(tensor, packed(values, "BYTES"))
        data = list(values)
        if isinstance(values[0], bytes):  # JSON holds no bytes: MLServer and KServe decode what is said to be base64
            data = [base64.b64encode(one).decode() for one in values]
            tensor["parameters"] = {"content_type": "base64"}
        return self._request({**tensor, "data": data})

    def _body(self, x: NDArray[np.float32], name: str, datatype: str) -> object:
        x = reshaped(x, self._shape)
        values = x.ravel() if datatype.startswith("FP") else _whole(x.ravel(), datatype)
        tensor = {"name": name, "shape": list(x.shape), "datatype": datatype}
        if self._binary:
            return self._request(tensor, packed(values, datatype))
        return self._request({**tensor, "data": values.tolist()})

    def _request(self, tensor: dict[str, Any], data: bytes | None = None) -> object:
        """Return the body of a request with one input, whose data are `data` in binary, or in the tensor."""
        if data is not None:
            tensor = {**tensor, "parameters": {"binary_data_size": len(data)}}
        body: dict[str, Any] = {"inputs": [tensor]}
        if self._output is not None:
            output: dict[str, Any] = {"name": self._output}
            body["outputs"] = [output if data is None else {**output, "parameters": {"binary_data": True}}]
        elif data is not None:
            body["parameters"] = {"binary_data_output": True}
        if data is None:
            return body
        content, size = joined(body, [data])
        return Raw(content, "application/octet-stream", size)

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
    binary: bool = False,
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
        binary: True to send and to get tensors in binary, an extension of Triton that KServe has too, and MLServer has
            not.
        **options: how the server is reached and what its answers mean: see `ModelOptions`.

    Raises:
        ConfigError: an argument is invalid. Nothing is sent yet.
    """
    check_names(model=model, model_version=model_version)
    if datatype is not None and datatype not in (*DATATYPES, "BYTES"):
        raise ConfigError(expected(f"datatype to be one of {', '.join(DATATYPES)}, BYTES", datatype))
    if not isinstance(binary, bool):
        raise ConfigError(expected("binary to be True or False", binary))
    path = f"/v2/models/{quote(model, safe='')}"
    if model_version is not None:
        path += f"/versions/{quote(model_version, safe='')}"

    def predictor(endpoint: Endpoint, gives: Gives) -> _OpenInference:
        sizes = None if shape is None else tuple(shape)
        names = (input, output)
        return _OpenInference(endpoint, path, names=names, datatype=datatype, shape=sizes, gives=gives, binary=binary)

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
