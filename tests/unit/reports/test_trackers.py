"""A run in experiment trackers: what is sent, and what the clients' own readers find in their local stores.

`ROBUSTEST_TRACKERS=required` (tox -e trackers) makes a client that is not installed an error.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from robustest import Settings
from robustest.account import Account, Ending, Row, Session
from robustest.errors import ConfigError
from robustest.history import Origin
from robustest.reports import trackers
from robustest.reports.trackers import COLUMNS, TRACKERS, TrackedRun, send, targets_of

ORIGIN = Origin(time="2026-01-02T03:04:05.000Z", commit="a" * 40, versions="robustest 0.1.0")
HOSTILE = "t.py::test_x[Größe=8/255|<b>`*x*`\n::error::]"
SECRET = "s3cr3t-t0ken-value"  # noqa: S105 - of no service


def client(name: str) -> Any:
    """The client's module; a test that needs it is skipped where it is not installed."""
    module = TRACKERS[name][0]
    if os.environ.get("ROBUSTEST_TRACKERS") == "required":
        return importlib.import_module(module)
    there = pytest.importorskip(module, reason=f"the client of {name} is an extra: robustest[{name}]")
    if there.__file__ is None:
        pytest.skip(f"{module} is a folder of runs, not the client")
    return there


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("SOME_SERVICE_TOKEN", SECRET)
    yield
    if "wandb" in sys.modules:  # it reads its variables once in a process
        sys.modules["wandb"].teardown()


@pytest.fixture
def account(made: Any) -> Account:
    """A run with a row in each state that matters, and names and reasons from anywhere."""

    def row(test: str, verdict: str | None, outcome: str, problem: str = "", **changes: Any) -> Row:
        result = None if verdict is None else made(verdict, model="m" * 64, data="d" * 64, **changes)
        ending = Ending(test=test, phase="call", outcome=outcome, reason=problem, claimed=outcome != "passed")
        return Row(test, result, problem if result is None else "", "", ending)

    why = f"no answer from https://me:{SECRET}@host/x with {SECRET} | <script>"
    rows = (
        row("t.py::test_a", "passed", "passed", estimate=0.95, interval=(0.9, 1.0)),
        row("t.py::test_a", "passed", "passed", estimate=0.96, interval=(0.9, 1.0)),
        row(HOSTILE, "failed", "failed"),
        row("t.py::test_c", "inconclusive", "failed"),
        row("t.py::test_d", None, "error", why),
        row("t.py::test_e", "inconclusive", "passed", threshold=None, interval=(0.1, float("inf"))),
    )
    endings = tuple(dict.fromkeys(one.ending for one in rows if one.ending))
    return Account(results=rows, endings=endings, session=Session(exit=1, collected=5, ran=5))


def sent(account: Account, name: str, place: str = "") -> Sequence[trackers.Delivery]:
    return send([trackers.TrackerTarget(name, place)], account, Settings(seed=3), ORIGIN)


def run_of(account: Account) -> TrackedRun:
    return TrackedRun.of(account, {"seed": 3, "attack": "fast", "store": "/home/me"}, ORIGIN)


def test_every_row_is_sent_with_what_is_known_of_it(account: Account) -> None:
    run = run_of(account)
    states = ["passed", "passed", "failed", "inconclusive", "error", "measured"]
    assert [line["state"] for line in run.table] == states == [row.state for row in account.rows]
    assert all(tuple(line) == COLUMNS for line in run.table)
    failed, broken = run.table[2], run.table[4]
    wanted = {"verdict": "failed", "estimate": 0.25, "low": 0.0, "high": 0.375, "threshold": 0.9, "n": 8, "seed": 7}
    wanted |= {"attack": "fast", "setting": "Linf(eps=0.1)", "model": "m" * 64, "data": "d" * 64, "test": HOSTILE}
    assert {key: failed[key] for key in wanted if key != "low"} == {k: v for k, v in wanted.items() if k != "low"}
    assert (broken["verdict"], broken["estimate"], broken["n"]) == (None, None, None)
    assert str(broken["problem"]).startswith("no answer from https://***@host/x with *** |")
    assert SECRET not in repr(run)
    assert "/home/me" not in repr(run)
    assert run.failed
    assert run.about["robustest.summary"] == "1 of 5 failed"
    assert {state: run.numbers[f"robustest/{state}"] for state in (*states, "green")} == {
        **dict.fromkeys(states, 1.0),
        "passed": 2.0,
        "green": 0.0,
    }
    json.dumps([dict(line) for line in run.table], allow_nan=False)


def test_names_are_plain_stable_and_different(account: Account) -> None:
    names = [str(line["name"]) for line in run_of(account).table]
    assert len(set(names)) == len(names) == 6
    assert names == [line["name"] for line in run_of(account).table]
    assert all(re.fullmatch(r"[A-Za-z0-9_./-]{1,200}", name) and ".." not in name for name in names)
    assert re.fullmatch(r"t.py-test_a/robust_accuracy.*-[0-9a-f]{8}", names[0])
    numbers = run_of(account).numbers
    assert [numbers.get(f"{name}/passed") for name in names] == [1.0, 1.0, 0.0, 0.0, 0.0, None]
    assert f"{names[5]}/estimate" in numbers


def test_a_green_run_is_one_whose_rows_and_pytest_are_green(account: Account) -> None:
    rows = account.results[:2]
    green = Account(results=rows, endings=(rows[0].ending,), session=Session(exit=0, collected=1, ran=1))  # type: ignore[arg-type]
    assert not run_of(green).failed
    assert run_of(green).numbers["robustest/green"] == 1.0
    assert run_of(green.with_exit(3)).failed
    lost = run_of(green.with_lost([f"the page could not be written: {SECRET}"]))
    assert lost.failed
    assert [(line["test"], line["state"]) for line in lost.table[2:]] == [("pytest", "error")]
    assert lost.numbers["robustest/error"] == 1.0
    assert run_of(Account(results=(), endings=(), session=Session(exit=0))).failed, "nothing was measured"


def test_targets_are_read() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'mlflow'"):
        targets_of("mlfow")
    with pytest.raises(ConfigError, match="Unknown tracker ''"):
        targets_of("")


@pytest.mark.parametrize("name", TRACKERS)
def test_a_client_that_is_not_installed_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=rf"not installed: pip install 'robustest\[{name}\]'"):
        targets_of(name)


def test_a_folder_of_runs_is_no_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(ConfigError, match="wandb, but it is not installed"):
        targets_of("wandb")


@pytest.mark.parametrize(
    "error", [OSError(f"no route to https://me:{SECRET}@host\nat"), SystemExit(1), KeyboardInterrupt()]
)
def test_a_tracker_that_fails_keeps_no_other_from_the_run(
    account: Account, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: TrackedRun, place: str) -> str:
        raise error

    fine = ("json", lambda run, place: f"{len(run.table)} rows in {place}\x1b[31m")
    monkeypatch.setattr(trackers, "TRACKERS", {"bad": ("json", fail), "good": fine})
    bad, good = send(targets_of("bad,good:there"), account, Settings(), None)
    assert good == (True, r"tracked: good: 6 rows in there\x1b[31m")
    assert not bad.arrived
    assert bad.text.startswith("NOT TRACKED: bad: ")
    assert bad.text.endswith("; the verdicts stand")
    assert SECRET not in bad.text
    with pytest.raises(ConfigError, match="each tracker once"):
        targets_of("bad,bad:there")


# The clients themselves


def test_mlflow_has_the_run(account: Account) -> None:
    client("mlflow")
    from mlflow.tracking import MlflowClient

    (delivery,) = sent(account, "mlflow", "gates")
    assert delivery.arrived, delivery.text
    found = MlflowClient()
    experiment = found.get_experiment_by_name("gates")
    (run,) = found.search_runs([experiment.experiment_id])
    assert run.info.run_id in delivery.text
    assert run.info.status == "FAILED"
    wanted = run_of(account)
    assert run.data.metrics == pytest.approx(dict(wanted.numbers))
    assert (run.data.tags["robustest.seed"], run.data.tags["robustest.commit"]) == ("3", "a" * 40)
    path = found.download_artifacts(run.info.run_id, "robustest/claims.json")
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    assert content["columns"] == list(COLUMNS)
    assert [dict(zip(COLUMNS, line, strict=True)) for line in content["data"]] == list(wanted.table)
    assert no_secret_below(Path())


def test_mlflow_adds_to_the_run_that_is_active_and_leaves_it_open(account: Account) -> None:
    mlflow = client("mlflow")
    mlflow.set_experiment("training")
    with mlflow.start_run() as run:
        (delivery,) = sent(account, "mlflow")
        assert delivery.arrived, delivery.text
        assert mlflow.active_run().info.run_id == run.info.run_id
        assert mlflow.get_run(run.info.run_id).info.status == "RUNNING"
    metrics = mlflow.get_run(run.info.run_id).data.metrics
    assert metrics["robustest/failed"] == 1.0
    assert mlflow.tracking.MlflowClient().get_experiment_by_name("robustest") is None


def test_a_server_that_is_not_there_costs_seconds(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    client("mlflow")
    with socket.socket() as held:  # bound, and not listening: connections are refused
        held.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRET}@127.0.0.1:{held.getsockname()[1]}")
        (delivery,) = sent(account, "mlflow")
    assert not delivery.arrived
    assert delivery.text.startswith("NOT TRACKED: mlflow: ")
    assert SECRET not in delivery.text
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_wandb_has_the_run(account: Account) -> None:
    wandb = client("wandb")
    (delivery,) = sent(account, "wandb", "gates")
    assert delivery.arrived, delivery.text
    wandb.teardown()  # as at the end of a process: the file is whole
    assert "offline" in delivery.text
    (folder,) = Path("wandb").glob("offline-run-*")
    records = list(records_of(folder))
    started = next(one.run for one in records if one.WhichOneof("record_type") == "run")
    assert started.project == "gates"
    assert {one.key: json.loads(one.value_json) for one in started.config.update}["robustest.seed"] == 3
    (ended,) = [one.exit.exit_code for one in records if one.WhichOneof("record_type") == "exit"]
    assert ended == 1
    logged: dict[str, Any] = {}
    for one in records:
        if one.WhichOneof("record_type") == "history":
            logged |= {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in one.history.item}
    wanted = run_of(account)
    assert {key: logged[key] for key in wanted.numbers} == pytest.approx(dict(wanted.numbers))
    (table,) = folder.rglob("*.table.json")
    content = json.loads(table.read_text(encoding="utf-8"))
    assert content["columns"] == list(COLUMNS)
    assert [dict(zip(COLUMNS, line, strict=True)) for line in content["data"]] == list(wanted.table)
    assert no_secret_below(folder)
    extra = {path.name for path in folder.rglob("*") if path.name.endswith((".txt", "metadata.json", ".patch", ".py"))}
    assert not extra, "neither command line nor packages nor code are sent"


def records_of(folder: Path) -> Iterator[Any]:
    """The records of an offline run: protobuf messages in the log format of LevelDB, after a header of 7 bytes.

    The client has no reader for Python. Records are cut into parts (checksum, length, kind: all, first, middle, last)
    that do not cross blocks of 32 KiB.
    """
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("*.wandb")
    data, at, whole = file.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if 32_768 - at % 32_768 < 7:  # no room for another part
            at += 32_768 - at % 32_768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def test_wandb_that_is_disabled_is_no_success(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    client("wandb")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (delivery,) = sent(account, "wandb")
    assert not delivery.arrived
    assert "Expected Weights & Biases to be on but got 'disabled'" in delivery.text


def test_tensorboard_has_the_run(account: Account) -> None:
    client("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    wanted = run_of(account)
    for name in ("robustest-2026-01-02-03-04-05", "robustest-2026-01-02-03-04-05-2"):  # no run is added to another
        (delivery,) = sent(account, "tensorboard", "events")
        assert delivery == (True, f"tracked: tensorboard: {Path('events', name)}")
        found = EventAccumulator(str(Path("events", name)), size_guidance={"tensors": 0})
        found.Reload()
        assert {tag: found.Scalars(tag)[0].value for tag in found.Tags()["scalars"]} == pytest.approx(
            {key: min(value, 3.4e38) if value < 1e99 else float("inf") for key, value in wanted.numbers.items()}
        )
    (text,) = (one.tensor_proto.string_val[0].decode() for one in found.Tensors("robustest/claims/text_summary"))
    lines = text.splitlines()
    assert len(lines) == 2 + len(wanted.table)
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 1}, "no name breaks the table"
    assert "<" not in text
    assert no_secret_below(Path("events"))


def no_secret_below(folder: Path) -> bool:
    return not any(SECRET.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())
