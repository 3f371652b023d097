"""Texts and bytes as servers take them: in JSON, as BYTES of the Open Inference Protocol, in forms with files."""

from __future__ import annotations

import base64
import email
import functools
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from robustest_http import Delivery, Multipart, json_model, open_inference_model

from robustest import Append, ConfigError, ModelError, Verdict
from robustest.measure import measure_accuracy, measure_robust_accuracy, measure_shift_accuracy

TEXTS = [f"a {'good' if k % 2 else 'bad'} film {k} \u00e9" for k in range(30)]
LABELS = [k % 2 for k in range(30)]
FILES = [text.encode() + b"\xff\x00" for text in TEXTS]


def scores(text: str) -> list[float]:
    return [float(text.count("bad")), float(text.count("good"))]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[httpx.Request], Any]], list[httpx.Request]]:
    """Answers requests by a function, without a network."""

    def begin(answer: Callable[[httpx.Request], Any]) -> list[httpx.Request]:
        asked: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return httpx.Response(200, json=answer(request))

        transport = httpx.MockTransport(handle)
        monkeypatch.setattr(httpx, "Client", functools.partial(httpx.Client, transport=transport))
        return asked

    return begin


def test_texts_in_json(serve: Any) -> None:
    asked = serve(lambda request: [scores(text) for text in json.loads(request.content)["texts"]])
    model = json_model("http://s.example", encode=lambda texts: {"texts": texts}, decode=lambda reply: reply)
    assert measure_accuracy(model, (TEXTS, LABELS), at_least=1.0).verdict is Verdict.PASSED
    lost = measure_shift_accuracy(model, (TEXTS, LABELS), lambda texts: [t.replace("good", "fine") for t in texts])
    assert lost.estimate == 0.5
    assert asked[0].headers["Content-Type"] == "application/json"


def in_form(request: httpx.Request) -> list[Any]:
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    return list(email.message_from_bytes(head + request.content).get_payload())


def test_files_in_forms(serve: Any) -> None:
    def answer(request: httpx.Request) -> Any:
        kind, part = in_form(request)
        assert kind.get_payload() == "fast"
        assert part.get_filename() == "upload.txt"
        return {"probabilities": scores(part.get_payload(decode=True).decode("utf-8", "replace"))}

    asked = serve(answer)
    model = json_model(
        "http://s.example/predict",
        encode=lambda files: Multipart({"file": files[0]}, {"mode": "fast"}, filename="upload.txt"),
        decode=lambda reply: [reply["probabilities"]],
        delivery=Delivery(batch_size=1),
        max_queries=60,
    )
    assert measure_accuracy(model, (FILES, LABELS), at_least=1.0).verdict is Verdict.PASSED
    assert asked[0].headers["Content-Type"].startswith("multipart/form-data; boundary=")
    found = measure_robust_accuracy(model, (FILES[:4], LABELS[:4]), Append(3, b"\x00\xff"), suppress=("weak_search",))
    assert found.estimate == 1.0


def test_several_files_under_one_name(serve: Any) -> None:
    asked = serve(lambda request: [scores(part.get_payload()) for part in in_form(request)])
    model = json_model("http://s.example", encode=lambda texts: Multipart({"files": texts}), decode=lambda reply: reply)
    assert measure_accuracy(model, (TEXTS[:8], LABELS[:8]), at_least=0.5).numbers.n == 8
    assert len(in_form(asked[0])) == 8


def protocol(request: httpx.Request) -> Any:
    if request.method == "GET":
        return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}]}
    (sent,) = json.loads(request.content)["inputs"]
    assert sent["datatype"] == "BYTES"
    assert sent["shape"] == [len(sent["data"])]
    values = sent["data"]
    if sent.get("parameters") == {"content_type": "base64"}:
        values = [base64.b64decode(one).decode("utf-8", "replace") for one in values]
    data = [score for text in values for score in scores(text)]
    return {"outputs": [{"name": "s", "shape": [len(values), 2], "datatype": "FP64", "data": data}]}


@pytest.mark.parametrize("data", [TEXTS, FILES], ids=["texts", "bytes"])
@pytest.mark.parametrize("given", [{}, {"input": "text"}, {"input": "text", "datatype": "BYTES"}], ids=str)
def test_the_protocols_bytes(serve: Any, data: Any, given: dict[str, str]) -> None:
    serve(protocol)
    model = open_inference_model("http://s.example", "m", **given)
    assert measure_accuracy(model, (data, LABELS), at_least=1.0).verdict is Verdict.PASSED


def test_numbers_and_texts_are_not_mixed_up(serve: Any) -> None:
    import torch

    serve(protocol)
    with pytest.raises(ConfigError, match="texts or bytes, which the input text takes"):
        open_inference_model("http://s.example", "m")(torch.rand(2, 3))
    with pytest.raises(ConfigError, match="FP32, which the input text takes"):
        measure_accuracy(open_inference_model("http://s.example", "m", input="text", datatype="FP32"), (TEXTS, LABELS))
    with pytest.raises(ConfigError, match="8 str"):
        measure_accuracy(
            json_model("http://s.example", encode=lambda _: 1 / 0, decode=list, delivery=Delivery(batch_size=30)),
            (TEXTS, LABELS),
        )
    serve(lambda _: {"inputs": [{"name": "t", "datatype": "BOOL"}]})
    with pytest.raises(ModelError, match="numbers, texts or bytes"):
        measure_accuracy(open_inference_model("http://s.example", "m"), (TEXTS, LABELS))
