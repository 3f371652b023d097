"""Answers come in order, and what is no answer is asked for again or an error, never an accuracy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from robustest_http import Delivery, HeaderFromEnv, endpoint, json_function, json_model, open_inference_model

from robustest import ConfigError, ModelError, RobustestError, TryAgain, Verdict
from robustest.identity.fingerprint import fingerprint
from robustest.measure import measure_accuracy, measure_shift_accuracy

Truth = Callable[[Any], Any]
X = torch.rand(50, 1, 4, 4, generator=torch.Generator().manual_seed(0))
FAST = Delivery(batch_size=8, retries=3, backoff=0.01, timeout=0.4)


def encode(x: Any) -> Any:
    return {"rows": x.reshape(len(x), -1).tolist()}


def decode(reply: Any) -> Any:
    return reply["scores"]


def plain(server: Any, delivery: Delivery = FAST, **options: Any) -> Any:
    return json_model(f"{server.url}/plain", **{"encode": encode, "decode": decode, **options}, delivery=delivery)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_answers_come_in_order(server: Any, truth: Truth, batch_size: int) -> None:
    delivery = Delivery(batch_size=batch_size, concurrency=5)
    for model in (plain(server, delivery), open_inference_model(server.url, "m", delivery=delivery)):
        np.testing.assert_allclose(model(X), truth(X), rtol=1e-5, atol=1e-5)


def test_requests_say_what_the_protocol_wants(server: Any) -> None:
    model = open_inference_model(
        server.url, "a b", model_version="2", input="in", output="s", shape=(16,), datatype="FP64"
    )
    model(X[:2])
    (path, _, body, _) = server.requests[-1]
    assert path == "/v2/models/a%20b/versions/2/infer"
    assert body["outputs"] == [{"name": "s"}]
    sent = body["inputs"][0]
    assert (sent["name"], sent["shape"], sent["datatype"]) == ("in", [2, 16], "FP64")
    assert np.asarray(sent["data"], np.float32).tolist() == X[:2].flatten().tolist()  # not one bit is lost


def test_the_server_says_what_its_input_is_called(server: Any) -> None:
    open_inference_model(server.url, "m")(X[:2])
    assert server.requests[-1][2]["inputs"][0]["name"] == "pixels"


FAULTS = [
    (500, "oops", {}),
    (503, "", {}),
    (429, "slow down", {"Retry-After": "0"}),
    (200, '{"scores": [[', {}),
    "drop",
    "hang",
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_what_may_pass_is_tried_again(server: Any, truth: Truth, fault: Any) -> None:
    server.faults = [fault]
    np.testing.assert_allclose(plain(server)(X[:8]), truth(X[:8]), rtol=1e-5, atol=1e-5)
    assert len(server.requests) == 2


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_what_does_not_pass_is_an_error(server: Any, fault: Any) -> None:
    server.always = fault
    with pytest.raises(ModelError, match=r"/plain but got .* \(try 4 of 4\)"):
        plain(server)(X[:8])
    assert len(server.requests) == 4


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 422])
def test_a_refusal_is_an_error_at_once(server: Any, status: int) -> None:
    server.always = (status, "no", {})
    with pytest.raises(ModelError, match=rf"status {status}: no \(try 1 of 4\)"):
        plain(server)(X[:8])


@pytest.mark.parametrize(
    ("scores", "match"),
    [
        ([[1, float("nan"), 0]] * 8, "finite scores but got NaN"),
        ([[1, None, 0]] * 8, "scores that are numbers"),
        ([[1, 2, 3]] * 7, r"shape \(8, K >= 2\) but got \(7, 3\)"),
        ([[1, 2, 3]] * 9, r"got \(9, 3\)"),
        ([1] * 8, r"got \(8,\)"),
        ([[1, 2], [3]] * 4, "rows of one length"),
        ([["a", "b"]] * 8, "scores that are numbers"),
    ],
)
def test_an_answer_that_is_none_is_an_error_at_once(server: Any, scores: Any, match: str) -> None:
    server.always = (200, json.dumps({"scores": scores}), {})
    with pytest.raises(ModelError, match=match):
        plain(server)(X[:8])
    assert len(server.requests) == 1
    outputs = [{"name": "s", "shape": [7, 3], "data": [0.0] * 21}]
    server.always = (200, json.dumps({"outputs": outputs}), {})
    with pytest.raises(ModelError, match=r"got \(7, 3\)"):
        open_inference_model(server.url, "m", input="x")(X[:8])


def test_rows_that_two_requests_swap_are_no_answer(server: Any) -> None:
    """Nine rows and seven make sixteen, and every one of them is another sample's."""
    server.faults = [(200, json.dumps({"scores": [[0, 1, 2]] * n}), {}) for n in (9, 7)]
    with pytest.raises(ModelError, match="shape"):
        plain(server)(X[:16])


def test_a_reply_that_decode_cannot_read(server: Any) -> None:
    server.always = (200, '{"error": "overloaded"}', {})
    with pytest.raises(ModelError, match=r"decode can read but it raised KeyError\('scores'\)"):
        plain(server)(X[:8])
    with pytest.raises(ModelError, match="a list of outputs but got"):
        open_inference_model(server.url, "m", input="x")(X[:8])


def test_probabilities_become_logarithms(server: Any) -> None:
    server.always = (200, json.dumps({"scores": [[0.25, 0.75, 0.0]] * 8}), {})
    model = plain(server, gives="probabilities")
    torch.testing.assert_close(model(X[:8])[:, :2].exp(), torch.tensor([[0.25, 0.75]] * 8))
    server.always = (200, json.dumps({"scores": [[0.25, 0.5]] * 8}), {})
    with pytest.raises(ModelError, match="add up to 1"):
        model(X[:8])


def test_labels(server: Any) -> None:
    server.always = (200, json.dumps({"scores": [[2]] * 8}), {})
    model = plain(server, gives="labels", classes=3)
    assert model(X[:8]).argmax(1).tolist() == [2] * 8
    server.always = (200, json.dumps({"scores": [3] * 8}), {})
    with pytest.raises(ModelError, match=r"labels in 0\.\.2"):
        model(X[:8])


def test_concurrency_rate_and_budget(server: Any) -> None:
    server.delay = 0.02
    plain(server, Delivery(batch_size=1, concurrency=3))(X[:20])
    assert 2 <= server.most <= 3
    server.requests.clear()
    plain(server, Delivery(batch_size=1, concurrency=4, rate=50))(X[:10])
    times = sorted(at for *_, at in server.requests)
    assert times[-1] - times[0] > 0.7 * 9 / 50
    model = plain(server, Delivery(budget=20))
    model(X[:20])
    with pytest.raises(ModelError, match="at most 20 samples to be sent"):
        model(X[:1])


def test_the_identity_is_the_address_the_version_and_what_is_made_of_replies(server: Any) -> None:
    def of(model: Any) -> Any:
        return fingerprint(model.call, model.module, model.preprocessing).digest

    one = of(plain(server, version="1"))
    assert one is not None
    assert one == of(plain(server, Delivery(timeout=9, concurrency=1), version="1"))
    others = [
        of(plain(server, version="2")),
        of(plain(server, version="1", decode=lambda reply: reply["other"])),
        of(plain(server, version="1", gives="probabilities")),
        of(open_inference_model(server.url, "m", version="1")),
        of(open_inference_model(server.url, "m", version="1", output="s")),
    ]
    assert None not in others
    assert len({one, *others}) == 6
    for model in (plain(server), open_inference_model(server.url, "m")):
        unknown = fingerprint(model.call, model.module, model.preprocessing)
        assert unknown.digest is None
        assert "Expected version=" in unknown.reason


SECRET = "s3cr3t-token-value"  # noqa: S105 - made up


def test_the_secret_is_sent_and_not_told(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENDPOINT_TOKEN", SECRET)
    auth = HeaderFromEnv("ENDPOINT_TOKEN", header="X-Api-Key", scheme="")
    model = plain(server, auth=auth, version="1")
    model(X[:2])
    assert server.requests[-1][1]["X-Api-Key"] == SECRET
    for fault in ((401, f"{SECRET} is not valid", {}), (200, f"no JSON {SECRET}", {}), (500, SECRET, {})):
        server.always = fault
        with pytest.raises(RobustestError) as caught:
            model(X[:2])
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
    assert SECRET not in repr(model)
    monkeypatch.setenv("ENDPOINT_TOKEN", f"{SECRET}\n")
    with pytest.raises(ConfigError, match="printable ASCII") as wrong:
        model(X[:2])
    assert SECRET not in str(wrong.value)
    monkeypatch.delenv("ENDPOINT_TOKEN")
    with pytest.raises(ConfigError, match="environment variable ENDPOINT_TOKEN"):
        model(X[:2])


def too_large(most: int) -> Callable[[Any], Any]:
    return lambda body: (413, "too large", {}) if len(body["rows"]) > most else None


@pytest.mark.parametrize("most", [1, 5, 8, 20])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_batch_size_is_learned_from_refusals(
    server: Any, truth: Truth, most: int, concurrency: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.always = too_large(most)
    model = plain(server, Delivery(batch_size=16, concurrency=concurrency, retries=0))
    np.testing.assert_allclose(model(X), truth(X), rtol=1e-5, atol=1e-5)
    learned = {1: 1, 5: 4, 8: 8, 20: 16}[most]
    refused = [len(body["rows"]) for _, _, body, _ in server.requests if len(body["rows"]) > most]
    # Each refusal halves the size, but for those that were under way when it was learned.
    assert len(refused) <= concurrency * {1: 4, 5: 2, 8: 1, 20: 0}[most]
    assert (f"Delivery(batch_size={learned})" in caplog.text) == (most < 16)
    server.requests.clear()
    model(X)
    assert [len(body["rows"]) for _, _, body, _ in server.requests if len(body["rows"]) > learned] == []


def test_a_sample_that_is_too_large_is_an_error(server: Any) -> None:
    server.always = (413, "too large", {})
    with pytest.raises(ModelError, match=r"status 413: too large .*One sample .* no Delivery\(batch_size=\) helps"):
        plain(server)(X[:8])
    assert [len(body["rows"]) for _, _, body, _ in server.requests] == [8, 4, 2, 1]


def test_a_date_in_retry_after_is_waited_for(server: Any) -> None:
    server.faults = [(429, "later", {"Retry-After": formatdate(time.time() + 2, usegmt=True)})]
    plain(server)(X[:8])
    first, second = (at for *_, at in server.requests)
    assert 0.9 < second - first < 4
    server.always = (503, "later", {"Retry-After": formatdate(time.time() + 40, usegmt=True)})
    ask = json_function(f"{server.url}/plain", encode=lambda row: {"rows": [row]}, decode=decode)
    with pytest.raises(TryAgain) as caught:
        ask([0.0] * 16)
    assert 30 < caught.value.after <= 41


@pytest.mark.parametrize(
    ("asked", "date", "seconds"),
    [
        ("7", "", 7),
        ("1" * 500, "", 60),
        ("-7", "", 0),
        ("Fri, 04 Dec 2026 10:00:20 GMT", "Fri, 04 Dec 2026 10:00:00 GMT", 20),  # by the server's clock
        ("Friday, 04-Dec-26 10:00:20 GMT", "Fri, 04 Dec 2026 10:00:00 GMT", 20),
        ("Fri Dec  4 10:00:20 2026", "Fri, 04 Dec 2026 10:00:00 GMT", 20),
        ("Fri, 04 Dec 2026 10:00:20 GMT", "Fri, 04 Dec 2026 10:01:00 GMT", 0),  # it is over
        ("Fri, 04 Dec 2099 10:00:20 GMT", "", 60),
        ("Fri, 04 Dec 1999 10:00:20 GMT", "soon", 0),
        ("Fri, 99 Dec 2026 10:00:20 GMT", "", 0),
        ("soon", "", 0),
        ("", "", 0),
    ],
)
def test_what_a_server_asks_to_wait(asked: str, date: str, seconds: float) -> None:
    response = httpx.Response(429, headers={"Retry-After": asked, "Date": date})
    assert endpoint._asked_to_wait(response) == seconds


@pytest.mark.parametrize("url", ["ftp://x", "x", 3, "http://", "http://a:b@localhost/"])
def test_addresses_are_checked(url: Any) -> None:
    with pytest.raises(ConfigError, match="address") as caught:
        open_inference_model(url, "m")
    assert "a:b" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [{"batch_size": 0}, {"retries": -1}, {"timeout": 0}, {"rate": float("inf")}, {"budget": 0}, {"concurrency": True}],
)
def test_deliveries_are_checked(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Delivery(**wrong)


@pytest.mark.parametrize(
    "why", ["a slow server", "a slow pace", "a server that asks to wait", "a date", "one long reply"]
)
def test_a_claim_ends_with_its_time_within_the_request_under_way(server: Any, why: str) -> None:
    more: dict[str, Any] = {}
    if why == "a slow server":
        server.delay = 0.1
    elif why == "a slow pace":
        more = {"rate": 5}
    elif why == "seconds to wait":
        server.always = (429, "later", {"Retry-After": "30"})
    elif why == "a date to wait for":
        server.always = (429, "later", {"Retry-After": formatdate(time.time() + 30, usegmt=True)})
    else:
        server.delay = 4.0
    model = plain(server, Delivery(batch_size=4, concurrency=2, **more))
    x = np.random.default_rng(0).random((400, 1, 4, 4), np.float32)
    started = time.monotonic()
    result = measure_shift_accuracy(model, (x, np.zeros(400, np.int64)), "brightness", severity=1, time_budget=1.0)
    assert time.monotonic() - started < 3
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the clock" in result.rule


@pytest.mark.parametrize("fault", ["another order", "one answer", "one row for all"])
def test_rows_of_other_samples_are_never_a_pass(server: Any, truth: Truth, fault: str) -> None:
    x = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1
    y = truth(x).argmax(1)

    def answer(path: str, headers: Any, body: Any) -> Any:
        scores = truth(np.asarray(body["rows"]).reshape(-1, 1, 4, 4))
        scores = {
            "another order": scores[::-1],
            "one answer": np.tile([0.0, 1.0, 2.0], (len(scores), 1)),
            "one row for all": np.tile(scores[0], (len(scores), 1)),
        }[fault]
        return 200, json.dumps({"scores": scores.tolist()}), {}

    def claim() -> Any:
        return measure_accuracy(plain(server, bounds=(-1.0, 1.0)), (x, y), at_least=0.6)

    assert claim().verdict is Verdict.PASSED
    server.answer = answer
    assert claim().verdict is Verdict.FAILED
