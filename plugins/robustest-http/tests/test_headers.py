"""Fixed headers and secrets reach the server; the secrets reach nothing else: no file, message or other host."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from robustest_http import Delivery, HeaderFromEnv, json_function, json_model, open_inference_model

from robustest import Calls, ConfigError, ModelError, RobustestError, Settings, context
from robustest.context import Context
from robustest.identity.fingerprint import fingerprint
from robustest.measure import measure_rate

X = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
SECRETS = {"FIRST_KEY": 's3cr3t/one"two\\', "SECOND_KEY": 's3cr3t/one"two\\-and-longer', "THIRD_KEY": "s3cr3t-three"}
AUTH = [
    HeaderFromEnv("FIRST_KEY"),
    HeaderFromEnv("SECOND_KEY", header="X-Api-Key", scheme=""),
    HeaderFromEnv("THIRD_KEY", header="Cookie", scheme=""),
]

QUICK = Delivery(retries=1, backoff=0.001)


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def encode(x: Any) -> Any:
    return {"rows": x.reshape(len(x), -1).tolist()}


def decode(reply: Any) -> Any:
    return reply["scores"]


def plain(server: Any, **options: Any) -> Any:
    return json_model(f"{server.url}/plain", encode=encode, decode=decode, **{"auth": AUTH, **options})


def forms(secret: str) -> set[str]:
    """Return the ways in which a secret may stand in a file."""
    return {secret, json.dumps(secret)[1:-1], json.dumps(json.dumps(secret))[3:-3], repr(secret)[1:-1]}


def tells(text: str) -> list[str]:
    return [name for name, secret in SECRETS.items() if any(form in text for form in forms(secret))]


def test_fixed_headers_and_secrets_are_sent(server: Any) -> None:
    plain(server, headers={"X-Tenant": "eu", "User-Agent": "gate"})(X)
    sent = server.requests[-1][1]
    assert (sent["X-Tenant"], sent["User-Agent"]) == ("eu", "gate")
    assert sent["Authorization"] == f"Bearer {SECRETS['FIRST_KEY']}"
    assert (sent["X-Api-Key"], sent["Cookie"]) == (SECRETS["SECOND_KEY"], SECRETS["THIRD_KEY"])
    open_inference_model(server.url, "m", headers={"X-Tenant": "eu"}, auth=AUTH)(X)
    assert [sent["X-Tenant"] for _, sent, *_ in server.requests] == ["eu"] * 3  # metadata too
    json_function(f"{server.url}/plain", encode=lambda row: {"rows": [row]}, decode=decode, auth=AUTH)([0.0] * 16)
    assert server.requests[-1][1]["X-Api-Key"] == SECRETS["SECOND_KEY"]


def test_fixed_headers_are_part_of_the_model_and_secrets_are_not(server: Any) -> None:
    def of(**options: Any) -> Any:
        model = plain(server, version="1", **options)
        return fingerprint(model.call, model.module, model.preprocessing).digest

    assert of() == of(headers={}) == of(auth=AUTH[0]) == of(auth=None)
    assert of(headers={"A": "1", "B": "2"}) == of(headers={"B": "2", "A": "1"})
    assert len({of(), of(headers={"A": "1"}), of(headers={"A": "2"})}) == 3


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"headers": {"Authorization": "Bearer abc123"}}, "auth=HeaderFromEnv"),
        ({"headers": {"x-api-key": "abc123"}}, "without secrets"),
        ({"headers": {"Ocp-Apim-Subscription-Key": "abc123"}}, "without secrets"),
        ({"headers": {"X-Auth-Token": "abc123"}}, "without secrets"),
        ({"headers": {"Content-Type": "text/plain"}}, "the request does not set"),
        ({"headers": {"X A": "1"}}, "names of HTTP headers"),
        ({"headers": {"X-A": "1\r\nX-B: 2"}}, "printable ASCII"),
        ({"headers": {"X-A": 1}}, "printable ASCII"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "x-a twice"),
        ({"headers": ["X-A"]}, "map names to texts"),
        ({"auth": [AUTH[0], AUTH[0]]}, "authorization twice"),
        ({"auth": [HeaderFromEnv("FIRST_KEY", header="X-A")], "headers": {"x-a": "1"}}, "x-a twice"),
        ({"auth": "Bearer abc123"}, "a HeaderFromEnv"),
        ({"auth": ["Bearer abc123"]}, "a HeaderFromEnv"),
    ],
)
def test_wrong_headers_are_named_without_their_secrets(server: Any, options: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        plain(server, **options)
    assert "abc123" not in str(caught.value)


@pytest.mark.parametrize("name", ["X-Tokenizer", "X-Partition-Key", "X-Author", "Accept"])
def test_names_that_only_resemble_secrets_are_headers(server: Any, name: str) -> None:
    plain(server, headers={name: "1"})(X)
    assert server.requests[-1][1][name] == "1"


def test_each_secret_must_be_there(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECOND_KEY")
    with pytest.raises(ConfigError, match="SECOND_KEY, whose value goes into the header X-Api-Key"):
        plain(server)(X)
    assert server.requests == []


@pytest.mark.parametrize("status", [200, 401, 500])
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_server_that_echoes_a_secret_makes_no_error_tell_it(server: Any, status: int, secret: str) -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in secret)  # as some servers write letters
    padding = "x" * 178  # a message that is cut must not leave half of it
    for text in (
        secret,
        padding + secret,
        json.dumps({"error": secret}),
        json.dumps({"error": secret}).replace("/", "\\/"),
        f'{{"error": "{escaped}"}}',
        f'{{"error": "{padding}{escaped}"}}',
    ):
        server.always = (status, text, {})
        models = [
            plain(server, delivery=QUICK),
            json_model(server.url, encode=encode, decode=lambda reply: reply["error"], auth=AUTH, delivery=QUICK),
            json_model(server.url, encode=encode, decode=lambda reply: int(reply["error"]), auth=AUTH, delivery=QUICK),
            open_inference_model(server.url, "m", input="x", auth=AUTH, delivery=QUICK),
            open_inference_model(server.url, "m", auth=AUTH, delivery=QUICK),
        ]
        for model in models:
            with pytest.raises(RobustestError) as caught:
                model(X)
            assert "s3cr" not in "".join(traceback.format_exception(caught.value))
            assert "s3cr" not in repr(model)


def test_answers_with_a_secret_are_stored_without_it(server: Any, tmp_path: Path) -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in SECRETS["FIRST_KEY"])
    texts = [json.dumps({"text": f"you sent {value}", value: [value]}) for value in SECRETS.values()]
    server.faults = [(200, text, {}) for text in [*texts, f'{{"text": "{escaped}"}}']]
    ask = json_function(server.url, encode=str, decode=lambda reply: reply, version="1", auth=AUTH)
    items = [{"item": str(k), "prompt": f"question {k}"} for k in range(4)]
    with context.running(Context(settings=Settings(store=str(tmp_path), recheck=0.0), test="a.py::a")):
        result = measure_rate(ask, items, score=lambda answer, _: "[secret]" in answer["text"], calls=Calls())
    assert result.estimate == 1.0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert [path for path in files if tells(path.read_bytes().decode("latin-1"))] == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_no_secret_to_another_host(server: Any, other: Any, status: int) -> None:
    other.requests.clear()
    server.always = (status, "moved", {"Location": f"{other.url}/plain"})
    with pytest.raises(ModelError, match=f"status {status}"):
        plain(server)(X)
    with pytest.raises(ModelError, match=f"status {status}"):
        open_inference_model(server.url, "m", auth=AUTH)(X)
    with pytest.raises(ModelError, match=f"status {status}"):
        json_function(server.url, encode=str, decode=str, auth=AUTH)("a")
    assert other.requests == []
