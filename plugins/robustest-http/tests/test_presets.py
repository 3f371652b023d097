"""Requests and replies of TF Serving, TorchServe, Triton and chat interfaces, against servers that speak them."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from robustest_http import Delivery, chat_function, open_inference_model, tf_serving_model, torchserve_model

from robustest import Calls, ConfigError, ModelError, Purse, Settings, Verdict, context
from robustest.context import Context
from robustest.identity.fingerprint import fingerprint
from robustest.measure import measure_accuracy, measure_rate

Truth = Callable[[Any], Any]
WEIGHT = np.random.default_rng(0).normal(size=(16, 3))  # of the server
X = torch.rand(50, 1, 4, 4, generator=torch.Generator().manual_seed(0))
QUICK = Delivery(batch_size=8, retries=1, backoff=0.001)
TEXTS = [f"a {'good' if k % 2 else 'bad'} film {k} \u00e9" for k in range(12)]
LABELS = [k % 2 for k in range(12)]


def sentiment(text: str) -> list[float]:
    return [float(text.count("bad")), float(text.count("good"))]


# TF Serving


def tf_serving(path: str, _: Any, body: Any) -> Any:
    if path not in ("/v1/models/m:predict", "/v1/models/m/versions/3:predict"):
        return 404, json.dumps({"error": f"Servable not found for request: {path}"}), {}
    rows = [row["pixels"] if isinstance(row, dict) and "pixels" in row else row for row in body["instances"]]
    if body.get("signature_name") == "texts":
        texts = [
            base64.b64decode(row["b64"]).decode("utf-8", "replace") if isinstance(row, dict) else row for row in rows
        ]
        return 200, json.dumps({"predictions": [sentiment(text) for text in texts]}), {}
    scores = np.asarray(rows).reshape(len(rows), -1) @ WEIGHT
    named = [{"scores": row, "labels": int(np.argmax(row))} for row in scores.tolist()]
    return 200, json.dumps({"predictions": named if body.get("signature_name") else scores.tolist()}), {}


@pytest.mark.parametrize("options", [{}, {"model_version": "3"}, {"input": "pixels", "shape": (16,)}], ids=str)
def test_tf_serving(server: Any, truth: Truth, options: Any) -> None:
    server.answer = tf_serving
    model = tf_serving_model(server.url, "m", delivery=QUICK, **options)
    np.testing.assert_allclose(model(X), truth(X), rtol=1e-5, atol=1e-5)


def test_outputs_texts_and_bytes_of_tf_serving(server: Any, truth: Truth) -> None:
    server.answer = tf_serving
    model = tf_serving_model(server.url, "m", signature="all", output="scores", delivery=QUICK)
    np.testing.assert_allclose(model(X), truth(X), rtol=1e-5, atol=1e-5)
    labels = tf_serving_model(server.url, "m", signature="all", output="labels", gives="labels", classes=3)
    assert labels(X).argmax(1).tolist() == truth(X).argmax(1).tolist()
    for data in (TEXTS, [text.encode() for text in TEXTS]):
        texts = tf_serving_model(server.url, "m", signature="texts")
        assert measure_accuracy(texts, (data, LABELS), at_least=1.0).verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("reply", "match"),
    [
        ({"error": "overloaded"}, r"the field 'predictions' but got \{'error': 'overloaded'\}"),
        ([1, 2], "an object with the field 'predictions'"),
        ({"predictions": "none"}, "the field 'predictions' to be a list"),
        ({"predictions": [[1, 2, 3]] * 7}, r"shape \(8, K >= 2\) but got \(7, 3\)"),
        ({"predictions": [{"a": [1, 2], "b": [1, 2]}] * 8}, r"predictions\[0\] but it has a, b"),
        ({"predictions": [{"a": [1, 2]}] * 7 + [[1, 2]]}, r"predictions\[7\] but it has none"),
        ({"predictions": [{"a": [1, 2]}] * 7 + [{"b": [1, 2], "a": 1}]}, r"predictions\[7\] but it has b, a"),
    ],
)
def test_errors_of_tf_serving_name_the_field(server: Any, reply: Any, match: str) -> None:
    server.always = (200, json.dumps(reply), {})
    with pytest.raises(ModelError, match=match):
        tf_serving_model(server.url, "m")(X[:8])


def test_an_output_that_is_not_there_is_named(server: Any) -> None:
    server.answer = tf_serving
    with pytest.raises(ModelError, match=r"the field 'logits' in predictions\[0\] but it has scores, labels"):
        tf_serving_model(server.url, "m", signature="all", output="logits")(X[:8])
    with pytest.raises(ModelError, match="leave output= out"):
        tf_serving_model(server.url, "m", output="logits")(X[:8])
    with pytest.raises(ModelError, match=r"status 404: .*Servable not found"):
        tf_serving_model(server.url, "other")(X[:8])


# TorchServe


def torchserve(path: str, headers: dict[str, str], body: Any) -> Any:
    if path == "/predictions/enveloped":
        return 200, json.dumps({"predictions": (np.asarray(body["instances"]).reshape(-1, 16) @ WEIGHT).tolist()}), {}
    if path == "/predictions/texts":
        assert headers["Content-Type"].startswith("text/plain") or headers["Content-Type"] == "application/octet-stream"
        bad, good = sentiment(body.decode("utf-8", "replace"))
        return 200, json.dumps({"good": good, "bad": bad}), {}  # the likeliest first, as its handlers answer
    assert path in ("/predictions/m", "/predictions/m/1.0")
    return 200, json.dumps((np.asarray(body).reshape(16) @ WEIGHT).tolist()), {}


@pytest.mark.parametrize("options", [{}, {"model_version": "1.0"}, {"shape": (16,)}], ids=str)
def test_torchserve(server: Any, truth: Truth, options: Any) -> None:
    server.answer = torchserve
    model = torchserve_model(server.url, "m", delivery=QUICK, **options)
    np.testing.assert_allclose(model(X), truth(X), rtol=1e-5, atol=1e-5)
    assert len(server.requests) == len(X)
    assert np.asarray(server.requests[0][2]).shape == options.get("shape", (1, 4, 4))
    server.requests.clear()
    model = torchserve_model(server.url, "enveloped", envelope=True, delivery=QUICK)
    np.testing.assert_allclose(model(X), truth(X), rtol=1e-5, atol=1e-5)
    assert len(server.requests) == 7


def test_texts_bytes_and_names_of_torchserve(server: Any) -> None:
    server.answer = torchserve
    for data in (TEXTS, [text.encode() for text in TEXTS]):
        model = torchserve_model(server.url, "texts", names=["bad", "good"])
        assert measure_accuracy(model, (data, LABELS), at_least=1.0).verdict is Verdict.PASSED
        swapped = torchserve_model(server.url, "texts", names=["good", "bad"])
        assert measure_accuracy(swapped, (data, LABELS), at_least=0.5).verdict is Verdict.FAILED
    for names in (["bad", "good", "fine"], ["bad", "fine"]):
        with pytest.raises(ModelError, match=r"the fields bad, .*fine, as names= has them, but it has good, bad.*topk"):
            measure_accuracy(torchserve_model(server.url, "texts", names=names), (TEXTS, LABELS))
    with pytest.raises(ModelError, match="an object with good, bad; if these are the classes, give names="):
        measure_accuracy(torchserve_model(server.url, "texts"), (TEXTS, LABELS))
    with pytest.raises(ModelError, match="an object with a number for each of names="):
        torchserve_model(server.url, "m", names=["bad", "good"])(X)
    server.always = (200, json.dumps([[0.5, 0.5], [0.5, 0.5]]), {})
    with pytest.raises(ModelError, match=r"shape \(1, K >= 2\)"):
        torchserve_model(server.url, "m")(X[:1])
    for wrong in (["a"], ["a", "a"], [1, 2]):
        with pytest.raises(ConfigError, match="names of at least 2 classes"):
            torchserve_model(server.url, "m", names=wrong)
    with pytest.raises(ConfigError, match="without envelope"):
        torchserve_model(server.url, "m", names=["a", "b"], envelope=True)


# Triton

NUMBERS = {"FP16": "e", "FP32": "f", "FP64": "d", "UINT8": "B", "INT8": "b", "INT32": "i", "INT64": "q"}


def triton(path: str, headers: dict[str, str], body: Any) -> Any:
    if body is None:
        return 200, json.dumps({"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [-1, 16]}]}), {}
    size = int(headers["Inference-Header-Content-Length"])
    request, tail = json.loads(body[:size]), body[size:]
    (sent,) = request["inputs"]
    assert sent["parameters"]["binary_data_size"] == len(tail)
    assert "data" not in sent
    outputs = request.get("outputs")
    assert outputs == [{"name": "s", "parameters": {"binary_data": True}}] or (
        outputs is None and request["parameters"] == {"binary_data_output": True}
    )
    if sent["datatype"] == "BYTES":
        texts, at = [], 0
        while at < len(tail):
            (length,) = struct.unpack_from("<I", tail, at)
            texts.append(tail[at + 4 : at + 4 + length].decode("utf-8", "replace"))
            at += 4 + length
        scores = [sentiment(text) for text in texts]
        assert sent["shape"] == [len(scores)]
    else:
        values = struct.unpack(f"<{int(np.prod(sent['shape']))}{NUMBERS[sent['datatype']]}", tail)
        scores = (np.asarray(values).reshape(-1, 16) @ WEIGHT).tolist()
    flat = [value for row in scores for value in row]
    data = struct.pack(f"<{len(flat)}f", *flat)
    output = {"name": "s", "datatype": "FP32", "shape": [len(scores), len(scores[0])]}
    head = json.dumps({"outputs": [{**output, "parameters": {"binary_data_size": len(data)}}]}).encode()
    return 200, head + data, {"Inference-Header-Content-Length": str(len(head))}


@pytest.mark.parametrize(
    "options", [{}, {"output": "s"}, {"input": "pixels", "datatype": "FP64", "shape": (16,)}], ids=str
)
def test_binary_tensors(server: Any, truth: Truth, options: Any) -> None:
    server.answer = triton
    model = open_inference_model(server.url, "m", binary=True, delivery=QUICK, **options)
    np.testing.assert_allclose(model(X), truth(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("datatype", ["FP16", "UINT8", "INT8", "INT32", "INT64"])
def test_binary_tensors_of_other_types(server: Any, truth: Truth, datatype: str) -> None:
    server.answer = triton
    x = torch.randint(0, 100, (20, 1, 4, 4)).float() / 255
    scale = (lambda batch: batch * 255) if datatype != "FP16" else None
    model = open_inference_model(
        server.url, "m", input="x", datatype=datatype, binary=True, delivery=QUICK, preprocessing=scale
    )
    seen = x.half().float() if scale is None else x * 255
    np.testing.assert_allclose(model(x), truth(seen), rtol=1e-3, atol=1e-3)


def test_binary_texts_and_bytes(server: Any) -> None:
    server.answer = triton
    for data in (TEXTS, [text.encode() for text in TEXTS]):
        model = open_inference_model(server.url, "m", input="t", binary=True)
        assert measure_accuracy(model, (data, LABELS), at_least=1.0).verdict is Verdict.PASSED


def test_a_number_beyond_its_type_is_an_error(server: Any) -> None:
    model = open_inference_model(
        server.url, "m", input="x", datatype="FP16", binary=True, preprocessing=lambda x: x * 1e6
    )
    with pytest.raises(ModelError, match="range of FP16"):
        model(X)


def binary_reply(outputs: Any, tail: bytes, size: int | None = None) -> Any:
    head = json.dumps({"outputs": outputs}).encode()
    return 200, head + tail, {"Inference-Header-Content-Length": str(len(head) if size is None else size)}


def tensor(size: Any, shape: Any = (8, 3), name: str = "s") -> Any:
    return {"name": name, "datatype": "FP32", "shape": shape, "parameters": {"binary_data_size": size}}


@pytest.mark.parametrize(
    ("reply", "match"),
    [
        (binary_reply([tensor(96)], b"\0" * 92), r"output 's' with a binary_data_size in 0\.\.92"),
        (binary_reply([tensor(92)], b"\0" * 92), "output 's' with a binary_data_size of 96"),
        (binary_reply([tensor(96)], b"\0" * 100), "96 bytes of tensors, .* but got 100"),
        (binary_reply([tensor(84, (7, 3))], b"\0" * 84), r"got \(7, 3\)"),  # too few rows
        (binary_reply([tensor(-1)], b"\0" * 96), "got -1"),
        (binary_reply([tensor("96")], b"\0" * 96), "got '96'"),
        (binary_reply([tensor(96, "8, 3")], b"\0" * 96), "output 's' with a shape that is a list"),
        (binary_reply([tensor(96), tensor(96, name="t")], b"\0" * 192), "one output, .* but got s, t"),
        (binary_reply([tensor(96)], struct.pack("<24f", *[float("nan")] * 24)), "finite scores"),
        (binary_reply([{**tensor(96), "datatype": "BYTES"}], b"\0" * 96), "an output whose data have its shape"),
        (binary_reply("none", b""), "a list of outputs"),
        (binary_reply([tensor(96)], b"\0" * 96, size=7), "a reply that is no JSON"),
        ((200, "<html>overloaded</html>", {}), "a reply that is no JSON"),
        ((200, '{"error": "overloaded"}', {}), "a list of outputs but got"),
    ],
)
def test_errors_of_binary_tensors_name_the_field(server: Any, reply: Any, match: str) -> None:
    server.always = reply
    with pytest.raises(ModelError, match=match):
        open_inference_model(server.url, "m", input="x", binary=True, delivery=QUICK)(X[:8])


def test_two_outputs_in_binary_are_not_mixed_up(server: Any) -> None:
    first, second = np.arange(24.0), np.arange(100.0, 124.0)
    tail = first.astype("<f4").tobytes() + second.astype("<f4").tobytes()
    server.always = binary_reply([tensor(96, name="other"), tensor(96)], tail)
    model = open_inference_model(server.url, "m", input="x", output="s", binary=True)
    assert model(X[:8]).flatten().tolist() == second.tolist()


# Chat


def chat(path: str, headers: dict[str, str], body: Any) -> Any:
    assert path == "/v1/chat/completions"
    text = "good" if "good" in body["messages"][-1]["content"] else "bad"
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return 200, json.dumps({"choices": [choice], "usage": {"total_tokens": 9}}), {}


def test_chat(server: Any) -> None:
    server.answer = chat
    ask = chat_function(f"{server.url}/v1/", "m", system="Answer in one word.")
    items = [{"item": str(k), "prompt": text, "expected": ("bad", "good")[k % 2]} for k, text in enumerate(TEXTS)]
    score = lambda answer, item: answer == item["expected"]  # noqa: E731
    assert measure_rate(ask, items, score=score, calls=Calls(concurrency=3)).estimate == 1.0
    wrong = [{**item, "expected": "neither"} for item in items]
    assert measure_rate(ask, wrong, score=score, at_least=0.5).verdict is Verdict.FAILED
    body = server.requests[0][2]
    assert (body["model"], body["temperature"]) == ("m", 0)
    assert body["messages"][0] == {"role": "system", "content": "Answer in one word."}
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    chat_function(f"{server.url}/v1", "m", settings={"max_tokens": 5})([{"role": "user", "content": "good"}])
    assert server.requests[-1][2] == {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "good"}]}


def test_tokens_and_money_of_chats_are_counted(server: Any) -> None:
    server.answer = chat
    ask = chat_function(f"{server.url}/v1", "m", usage=True)
    items = [{"item": str(k), "prompt": text} for k, text in enumerate(TEXTS)]
    purse = Purse(tokens=50, money=1.0)
    calls = Calls(
        purse=purse, tokens=lambda answer, _: answer["tokens"], cost=lambda answer, _: 0.01 * answer["tokens"]
    )
    result = measure_rate(ask, items, score=lambda *_: 1.0, at_least=0.999, calls=calls)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert purse.spent["tokens"] == 45
    assert purse.spent["money"] == pytest.approx(0.45)


def choice(**changed: Any) -> Any:
    return {"choices": [{"finish_reason": "stop", "message": {"content": "good"}, **changed}]}


@pytest.mark.parametrize(
    ("reply", "match"),
    [
        ({"error": {"message": "no credit"}}, "'choices' with one answer but got .*no credit"),
        ({"choices": []}, "'choices' with one answer"),
        ({"choices": choice()["choices"] * 2}, "'choices' with one answer"),
        (choice(finish_reason="length"), r"choices\[0\].finish_reason 'stop' but got 'length'.*max_tokens"),
        (choice(finish_reason="content_filter"), "content_filter"),
        (choice(message={"content": None, "tool_calls": []}), r"choices\[0\].message.content to be a text"),
        (choice(message=None), r"choices\[0\].message.content"),
        (choice(message={"content": ["good"]}), r"choices\[0\].message.content"),
        ([], "'choices' with one answer"),
    ],
)
def test_errors_of_chats_name_the_field(server: Any, reply: Any, match: str) -> None:
    server.always = (200, json.dumps(reply), {})
    with pytest.raises(ModelError, match=match):
        chat_function(server.url, "m")("good?")
    with pytest.raises(ModelError, match=match if "length" not in match else "usage.total_tokens"):
        chat_function(server.url, "m", settings={"max_tokens": 3}, usage=True)("good?")


def test_a_chat_that_is_down_decides_nothing(server: Any) -> None:
    """An error with status 200 is no wrong answer, and no right one."""
    server.always = (200, json.dumps({"error": {"message": "no credit"}}), {})
    items = [{"item": str(k), "prompt": text} for k, text in enumerate(TEXTS)]
    for score in (lambda *_: 1.0, lambda *_: 0.0):
        with pytest.raises(ModelError, match=r"Expected answers but none came.*no credit"):
            measure_rate(chat_function(server.url, "m"), items, score=score, at_least=0.001)


@pytest.mark.parametrize("item", [3, None, [], ["good"], [{"role": "user"}], {"text": "good"}, {"prompt": 3}])
def test_items_of_chats_are_checked(server: Any, item: Any) -> None:
    with pytest.raises(ConfigError, match="an item to be a text"):
        chat_function(server.url, "m")(item)
    assert server.requests == []


@pytest.mark.parametrize("settings", [{"stream": True}, {"n": 2}, {"model": "x"}, {"messages": []}])
def test_settings_of_chats_are_checked(server: Any, settings: Any) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        chat_function(server.url, "m", settings=settings)


# All


def test_all_that_a_preset_sends_is_part_of_its_identity(server: Any) -> None:
    def of(model: Any) -> Any:
        return fingerprint(model.call, model.module, model.preprocessing).digest

    models = [
        make(server.url, "m", version="1", **options)
        for make, different in {
            tf_serving_model: [{}, {"model_version": "1"}, {"signature": "s"}, {"input": "x"}, {"output": "y"}],
            torchserve_model: [{}, {"model_version": "1"}, {"envelope": True}, {"names": ["a", "b"]}, {"shape": (16,)}],
            open_inference_model: [{}, {"binary": True}],
        }.items()
        for options in different
    ]
    digests = [of(model) for model in models]
    assert None not in digests
    assert len(set(digests)) == len(digests)


def test_another_prompt_or_setting_of_a_chat_is_asked_anew(server: Any, tmp_path: Any) -> None:
    server.answer = chat
    items = [{"item": "a", "prompt": "good"}]
    with context.running(Context(settings=Settings(store=str(tmp_path), recheck=0.0), test="a.py::a")):
        for options in ({}, {"system": "Be brief."}, {"settings": {"temperature": 1}}, {"usage": True}):
            ask = chat_function(f"{server.url}/v1", "m", version="1", **options)
            for recalled in (0, 1):
                assert measure_rate(ask, items, score=lambda *_: 1.0).details["recalled"] == recalled


@pytest.mark.parametrize("make", [tf_serving_model, torchserve_model, open_inference_model, chat_function])
def test_wrong_names_and_arguments(make: Any) -> None:
    for model in ("", 3, None):
        with pytest.raises(ConfigError, match="model to be a name"):
            make("http://localhost", model)
    with pytest.raises(TypeError, match="verison"):
        make("http://localhost", "m", verison="1")
    with pytest.raises(ConfigError, match="address"):
        make("localhost", "m")
