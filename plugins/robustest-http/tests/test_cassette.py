"""A gate is repeated from a cassette with the same results; what was not recorded, or was changed, is an error."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from robustest_http import (
    Cassette,
    Delivery,
    HeaderFromEnv,
    Multipart,
    chat_function,
    json_function,
    json_model,
    open_inference_model,
)

from robustest import (
    Calls,
    ConfigError,
    Linf,
    ModelError,
    Result,
    RobustestError,
    Settings,
    StoreError,
    Verdict,
    context,
)
from robustest.attacks import Square
from robustest.context import Context
from robustest.measure import measure_accuracy, measure_rate, measure_robust_accuracy, measure_shift_accuracy

WEIGHT = np.random.default_rng(0).normal(size=(16, 3))  # of the server
X = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.tensor(((X.double().reshape(60, 16).numpy() - 0.5) @ WEIGHT).argmax(1))
SECRET = "s3cr3t-token"  # noqa: S105 - made up
ITEMS = [{"item": str(k), "row": (X[k].flatten() - 0.5).tolist(), "expected": int(Y[k])} for k in range(40)]


def encode(x: Any) -> Any:
    return {"rows": (x.reshape(len(x), -1) - 0.5).tolist()}


def decode(reply: Any) -> Any:
    return reply["scores"]


def plain(server: Any, cassette: Cassette | None, **options: Any) -> Any:
    given = {"encode": encode, "decode": decode, "delivery": Delivery(batch_size=8, retries=1, backoff=0.01), **options}
    return json_model(f"{server.url}/plain?key=a", cassette=cassette, max_queries=200, **given)


def ask(server: Any, cassette: Cassette) -> Any:
    return json_function(
        f"{server.url}/plain", encode=lambda item: {"rows": [item["row"]]}, decode=decode, cassette=cassette
    )


def right(answer: Any, item: Any) -> bool:
    return int(np.argmax(answer[0])) == item["expected"]


def gate(server: Any, cassette: Cassette, **options: Any) -> list[Result]:
    """Make claims that hold and claims that fail."""
    model = plain(server, cassette, **options)
    protocol = open_inference_model(server.url, "m", cassette=cassette, preprocessing=(0.5, 1.0))
    square = {"attack": Square(queries=100), "suppress": ("weak_search",)}
    return [
        measure_accuracy(model, (X, Y), at_least=0.9),
        measure_accuracy(model, (X, (Y + 1) % 3), at_least=0.5),
        measure_shift_accuracy(protocol, (X, Y), "gaussian_noise", severity=1, at_least=0.6),
        measure_robust_accuracy(model, (X[:8], Y[:8]), Linf(0.3), at_least=0.9, **square),
        measure_robust_accuracy(model, (X[:20], Y[:20]), Linf(1e-4), at_least=0.6, **square),
        measure_rate(ask(server, cassette), ITEMS, score=right, at_least=0.8, calls=Calls(concurrency=4)),
        measure_rate(ask(server, cassette), ITEMS, score=lambda *_: False, at_least=0.8),
    ]


def facts(result: Result) -> Any:
    """Return all of a result but its seconds, and the identity that only a replay has."""
    found = result.to_dict()
    del found["model"], found["cost"]["seconds"]
    return found


@pytest.fixture
def recorded(server: Any, tmp_path: Path) -> Path:
    """A cassette of two claims, whose server is gone."""
    path = tmp_path / "gate.jsonl"
    cassette = Cassette(path, record=True)
    measure_accuracy(plain(server, cassette), (X, Y), at_least=0.9)
    measure_rate(ask(server, cassette), ITEMS, score=right, at_least=0.8, calls=Calls(concurrency=4))
    offline(server)
    return path


def offline(server: Any) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)
    server.requests.clear()


def test_a_gate_is_replayed_without_its_server(server: Any, tmp_path: Path) -> None:
    path = tmp_path / "gate.jsonl"
    results = gate(server, Cassette(path, record=True))
    offline(server)
    verdicts = [result.verdict for result in results]
    assert verdicts.count(Verdict.PASSED) >= 3
    assert verdicts.count(Verdict.FAILED) >= 3
    again = gate(server, Cassette(path))
    assert [facts(result) for result in again] == [facts(result) for result in results]
    # In other batches, and by other threads.
    other = gate(server, Cassette(path), delivery=Delivery(batch_size=3, concurrency=7))
    assert [result.verdict for result in other] == verdicts
    assert server.requests == []


def test_a_request_that_was_not_recorded_is_an_error(server: Any, recorded: Path) -> None:
    other = X.clone()
    other[59, 0, 0, 0] += 1e-3
    with pytest.raises(StoreError, match=r"POST http://127.0.0.1:\d+/plain but this request was not recorded"):
        measure_accuracy(plain(server, Cassette(recorded)), (other, Y), at_least=0.1)
    for options in (
        {"encode": lambda x: {"rows": (2 * (x.reshape(len(x), -1) - 0.5)).tolist()}},
        {"headers": {"X-Tenant": "eu"}},
        {"preprocessing": (0.0, 2.0)},
    ):
        with pytest.raises(StoreError, match="not recorded"):
            measure_accuracy(plain(server, Cassette(recorded), **options), (X, Y), at_least=0.1)
    with pytest.raises(StoreError, match="not recorded"):
        open_inference_model(server.url, "m", output="s", cassette=Cassette(recorded), preprocessing=(0.5, 1.0))(X)
    # Another item of a function is no failure of the function, which a claim might afford, but an error.
    items = [{**item, "row": [place / 100] * 16} if place % 4 == 0 else item for place, item in enumerate(ITEMS)]
    with pytest.raises(StoreError, match="not recorded"):
        measure_rate(ask(server, Cassette(recorded)), items, score=lambda *_: True, at_least=0.1)


def test_after_a_request_that_was_not_recorded_nothing_is_replayed(server: Any, recorded: Path) -> None:
    """Health checks ask on trial, and an error there is none of the claim."""
    model = plain(server, Cassette(recorded))
    model(X)
    with pytest.raises(RobustestError, match="not recorded"):
        model(X + 0.1)
    with pytest.raises(RobustestError, match="not recorded"):
        model(X)


def edited(lines: list[str], how: str) -> list[str]:
    """Return the lines of a cassette after a change that may turn a verdict."""
    place = next(place for place, line in enumerate(lines) if '"scores"' in line and place > 3)
    line = json.loads(lines[place])
    match how:
        case "another score":
            line["reply"]["scores"][0][0] += 1e-9
        case "another request":
            line["asked"][0] = "0" * 64
        case "a failure":
            line = {"asked": line["asked"], "failure": "x", "again": False, "chain": line["chain"]}
        case "a line less":
            return lines[:place] + lines[place + 1 :]
        case "a line twice":
            return lines[: place + 1] + lines[place:]
        case "another order":
            return [*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]]
        case "no chain":
            del line["chain"]
        case "half a line":
            return [*lines[:-1], lines[-1][: len(lines[-1]) // 2]]
        case "no end of line":
            return [*lines[:-1], lines[-1][:-1]]
        case "another format":
            return ['{"format": "other", "chain": ""}\n', *lines[1:]]
        case "no format":
            return lines[1:]
        case "no JSON":
            return [*lines, "[[[\n"]
        case "a list":
            return [*lines, "[1]\n"]
        case "nothing":
            return []
    return [*lines[:place], json.dumps(line) + "\n", *lines[place + 1 :]]


CHANGES = [
    *("another score", "another request", "a failure", "a line less", "a line twice", "another order", "no chain"),
    *("half a line", "no end of line", "another format", "no format", "no JSON", "a list", "nothing"),
]


def test_a_cassette_that_was_edited_is_refused(recorded: Path) -> None:
    lines = recorded.read_text().splitlines(keepends=True)
    for how in CHANGES:
        recorded.write_text("".join(edited(lines, how)))
        with pytest.raises(StoreError, match="Record it again"):
            Cassette(recorded)
    recorded.write_text("".join(lines))
    assert Cassette(recorded).digest == json.loads(lines[-1])["chain"]


def test_the_digest_tells_one_cassette_from_another(recorded: Path) -> None:
    digest = Cassette(recorded).digest
    assert Cassette(recorded, digest=digest).digest == digest
    lines = recorded.read_text().splitlines(keepends=True)
    recorded.write_text("".join(lines[:-1]))  # a shorter one, whole in itself
    assert Cassette(recorded).digest != digest
    with pytest.raises(StoreError, match=f"with the digest {digest} but it has"):
        Cassette(recorded, digest=digest)


def test_a_server_that_answers_at_random_does_so_in_the_replay(server: Any, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)

    def random(path: str, headers: Any, body: Any) -> Any:
        scores = np.asarray(body["rows"]) @ WEIGHT + drawn.normal(size=(len(body["rows"]), 3))
        return 200, json.dumps({"scores": scores.tolist()}), {}

    server.answer = random
    found = []
    for record in (True, False):
        with pytest.raises(ModelError) as caught:
            measure_accuracy(
                plain(server, Cassette(tmp_path / "a.jsonl", record=record), delivery=Delivery(concurrency=1)),
                (X, Y),
                at_least=0.5,
            )
        found.append(str(caught.value))
        server.answer = None
    assert found[0] == found[1]


def test_failures_are_replayed_as_failures(server: Any, tmp_path: Path) -> None:
    def some(path: str, headers: Any, body: Any) -> Any:
        value = body["rows"][0][0]
        if value > 0.3:
            return 422, "too bright", {}
        return (503, "busy", {}) if value > 0.2 else (200, json.dumps({"scores": [[1, 2, 3]]}), {})

    server.answer = some
    results = []
    for record in (True, False):
        cassette = Cassette(tmp_path / "a.jsonl", record=record)
        calls = Calls(retries=1, backoff=0.0)
        results.append(measure_rate(ask(server, cassette), ITEMS, score=lambda *_: True, at_least=0.1, calls=calls))
        server.answer = None
    assert 0 < results[0].details["failed"] < 40
    assert facts(results[0]) == facts(results[1])
    server.answer, server.always = some, (422, "no", {})
    with pytest.raises(ModelError, match="status 422: no"):
        plain(server, Cassette(tmp_path / "b.jsonl", record=True))(X)
    server.always = None
    with pytest.raises(ModelError, match="status 422: no"):
        plain(server, Cassette(tmp_path / "b.jsonl"))(X)


def test_a_learned_batch_size_does_not_matter_to_the_replay(server: Any, tmp_path: Path) -> None:
    server.always = lambda body: (413, "too large", {}) if len(body["rows"]) > 3 else None
    found = plain(server, Cassette(tmp_path / "a.jsonl", record=True))(X)
    offline(server)
    assert torch.equal(plain(server, Cassette(tmp_path / "a.jsonl"))(X), found)


def test_too_few_rows_are_an_error_in_the_replay_too(server: Any, tmp_path: Path) -> None:
    server.always = (200, json.dumps({"scores": [[1, 2, 3]] * 7}), {})
    for record in (True, False):
        with pytest.raises(ModelError, match=r"got \(7, 3\)"):
            plain(server, Cassette(tmp_path / "a.jsonl", record=record))(X[:8])
        server.always = (500, "", {})


def test_forms_texts_and_chats_are_replayed(server: Any, tmp_path: Path) -> None:
    chat = {"choices": [{"message": {"content": "yes"}}]}
    server.answer = lambda path, *_: (200, json.dumps(chat if "chat" in path else {"scores": [[0.0, 1.0 / 3]]}), {})
    texts = ([f"text {k} \u00e9" for k in range(12)], [1] * 11 + [0])
    items = [{"item": str(k), "prompt": text} for k, text in enumerate(texts[0])]
    found = []
    for record in (True, False):
        cassette = Cassette(tmp_path / "a.jsonl", record=record)
        form = json_model(
            server.url,
            encode=lambda files: Multipart({"file": files[0]}, {"mode": "fast"}),
            decode=decode,
            delivery=Delivery(batch_size=1),
            cassette=cassette,
        )
        talk = chat_function(server.url, "m", cassette=cassette)
        found.append(
            [
                facts(measure_accuracy(form, texts, at_least=0.5)),
                facts(measure_rate(talk, items, score=lambda answer, _: answer == "yes", at_least=0.5)),
            ]
        )
        server.answer = None
    assert found[0] == found[1]


def test_the_cassette_holds_no_secret(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENDPOINT_TOKEN", SECRET)
    path, auth = tmp_path / "a.jsonl", HeaderFromEnv("ENDPOINT_TOKEN")
    cassette = Cassette(path, record=True)
    echo = {"scores": [[1, 2, 3]] * 8, "token": SECRET, SECRET: [f"Bearer {SECRET}"]}
    server.faults = [(200, json.dumps(echo), {}), (401, f"not {SECRET}", {}), (403, SECRET, {})]
    plain(server, cassette, auth=auth)(X[:8])
    with pytest.raises(ModelError, match="401"):
        plain(server, cassette, auth=auth)(X[8:9])
    with pytest.raises(ModelError, match="403"):
        json_function(server.url, encode=str, decode=str, cassette=cassette, auth=auth)("a")
    text = path.read_text()
    assert text.count("[secret]") == 5
    assert SECRET not in text
    assert "key=a" not in text  # the query of the address
    monkeypatch.delenv("ENDPOINT_TOKEN")  # a replay needs none
    plain(server, Cassette(path), auth=auth)(X[:8])


def test_a_recording_recalls_nothing_and_its_replays_are_remembered(server: Any, tmp_path: Path) -> None:
    path, store = tmp_path / "a.jsonl", str(tmp_path / "store")

    def claim(cassette: Cassette | None) -> Result:
        with context.running(Context(settings=Settings(store=store, recheck=0.0), test="a.py::a")):
            return measure_accuracy(plain(server, cassette, version="1"), (X, Y), at_least=0.9)

    live = claim(None)
    before = len(server.requests)
    recorded = claim(Cassette(path, record=True))  # although the model's results are stored
    assert len(server.requests) >= 2 * before
    offline(server)
    first, second = claim(Cassette(path)), claim(Cassette(path))
    assert [result.estimate for result in (live, recorded, first, second)] == [1.0] * 4
    assert second.cost == first.cost  # to the last digit of its seconds: it was recalled
    assert live.to_dict()["model"] != first.to_dict()["model"]


def record_in(cassette: Cassette, url: str, found: Any) -> None:
    try:
        json_model(url, encode=encode, decode=decode, cassette=cassette)(X[:4])
    except ConfigError as error:
        found.put(str(error))


def test_one_process_records_into_a_new_file(server: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    cassette = Cassette(path, record=True)
    plain(server, cassette)(X[:4])
    with pytest.raises(ConfigError, match="Remove it to record again"):
        plain(server, Cassette(path, record=True))(X[:4])
    fork = multiprocessing.get_context("fork")
    found = fork.Queue()
    process = fork.Process(target=record_in, args=(cassette, f"{server.url}/plain", found))
    process.start()
    assert "one process" in found.get(timeout=20)
    process.join()
    Cassette(path)  # whole all the same


def test_wrong_arguments(server: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Record it first"):
        Cassette(tmp_path / "none.jsonl")
    with pytest.raises(ConfigError, match="path of a file"):
        Cassette(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="digest"):
        Cassette(tmp_path / "a.jsonl", record=True, digest="a")
    with pytest.raises(ConfigError, match="record"):
        Cassette(tmp_path / "a.jsonl", record="yes")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cassette to be a Cassette"):
        plain(server, str(tmp_path / "a.jsonl"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="to write the cassette"):
        plain(server, Cassette(tmp_path / "no" / "folder.jsonl", record=True))(X[:4])
