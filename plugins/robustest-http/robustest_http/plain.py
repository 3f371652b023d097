"""A model, or a function of items, behind any endpoint that takes and gives JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from robustest import Classifier, ConfigError, ModelError, RobustestError
from robustest.errors import expected
from robustest_http.answers import Gives, ModelOptions, answers, model_at
from robustest_http.delivery import Delivery
from robustest_http.endpoint import Access, Endpoint, as_json

Encode = Callable[[Any], object]
Decode = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class _Plain:
    """A function of batches; its digest includes `encode` and `decode`."""

    endpoint: Endpoint
    encode: Encode
    decode: Decode
    gives: Gives

    def __call__(self, x: NDArray[np.float32] | list[Any]) -> NDArray[Any]:
        return self.endpoint.predict(x, "", self._body, self._answers)

    def _body(self, x: NDArray[np.float32] | list[Any]) -> object:
        try:
            return self.encode(x)
        except Exception as error:
            what = x.shape if isinstance(x, np.ndarray) else f"of {len(x)} {type(x[0]).__name__}"
            raise ConfigError(f"Expected encode to make JSON of a batch {what} but it raised {error!r}.") from error

    def _answers(self, reply: Any, n: int) -> NDArray[Any]:
        try:
            return answers(self.decode(reply), n, self.gives)
        except RobustestError as error:
            what = str(error)
        except Exception as error:
            what = f"a reply that decode can read but it raised {error!r}"
        raise self.endpoint.fault("", what)


def json_model(url: str, *, encode: Encode, decode: Decode, **options: Unpack[ModelOptions]) -> Classifier:
    """Return the model behind an endpoint that takes JSON by POST and answers with JSON.

    Args:
        url: the endpoint.
        encode: function from a float32 array (B, *S), or from a list of texts or bytes, to the body of a request:
            anything that `json.dumps` takes, or a `Multipart`. A server of one file a request needs
            `delivery=Delivery(batch_size=1)`.
        decode: function from the parsed body of a reply to the answers, in the order of the samples.
        **options: how the server is reached and what its answers mean: see `ModelOptions`.

    Raises:
        ConfigError: an argument is invalid. Nothing is sent yet.
    """
    for name, value in (("encode", encode), ("decode", decode)):
        if not callable(value):
            raise ConfigError(expected(f"{name} to be a function", value))
    return model_at(url, lambda endpoint, gives: _Plain(endpoint, encode, decode, gives), **options)


@dataclass(frozen=True, slots=True)
class _Function:
    """A function from an item to an answer; its digest includes `encode` and `decode`."""

    endpoint: Endpoint
    encode: Callable[[Any], object]
    decode: Decode

    def __call__(self, item: Any) -> object:
        try:
            content, headers = as_json(self.encode(item))
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"Expected encode to make JSON of an item but it raised {error!r}.") from error
        reply = self.endpoint.post_once(content, headers)
        try:
            return self.decode(reply)
        except ModelError as error:
            what = str(error)
        except Exception as error:
            raise self.endpoint.fault("", f"a reply that decode can read but it raised {error!r}") from error
        raise self.endpoint.fault("", what)


def json_function(
    url: str,
    *,
    encode: Callable[[Any], object],
    decode: Decode,
    timeout: float = 30.0,
    rate: float | None = None,
    **access: Unpack[Access],
) -> Callable[[Any], object]:
    """Return a function that asks an endpoint about one item, for `assert_rate` and its relatives.

    A call is one request. Retries, concurrency and budgets are those of `robustest.Calls`: no answer, 408, 425, 429, a
    status from 500 on and a reply that is not JSON are asked for again, after the time that the server asks for; other
    statuses, and a reply that `decode` cannot read, are failures.

    Args:
        url: the endpoint, asked by POST.
        encode: function from an item to the body of a request, anything that `json.dumps` takes.
        decode: function from the parsed body of a reply to the answer, of JSON types.
        timeout: seconds of a request.
        rate: largest number of requests per second, over all threads; or None.
        **access: how the server is reached: see `Access`. Answers are remembered under `version` and the code of
            `encode` and `decode`.

    Raises:
        ConfigError: an argument is invalid. Nothing is sent yet.
    """
    for name, value in (("encode", encode), ("decode", decode)):
        if not callable(value):
            raise ConfigError(expected(f"{name} to be a function", value))
    # As many connections as threads ask at once: `Calls.concurrency` limits them.
    delivery = Delivery(timeout=timeout, rate=rate, concurrency=256)
    return _Function(Endpoint(url, delivery=delivery, **access), encode, decode)
