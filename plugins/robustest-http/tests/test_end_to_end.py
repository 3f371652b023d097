"""`pytest --robust` on real servers: found out, interrupted, restarted, and told no secrets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpcore  # noqa: F401 - loaded inside a test, pytester would forget it, and httpx not know its errors
import httpx
import pytest

SECRETS = {"DIGITS_TOKEN": "s3cr3t-token-value", "TENANT_TOKEN": "an0ther-secret-value"}

TRAIN = """
import joblib
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
x, y = load_digits(return_X_y=True)
joblib.dump(LogisticRegression(C=10, max_iter=300).fit(x[:1000] / 16, y[:1000]), "digits/model.joblib")
"""

SUITE = """
import pytest, torch
from sklearn.datasets import load_digits
from robustest import Linf, assert_robust_accuracy, assert_shift_accuracy
from robustest.attacks import Square
from robustest_http import Delivery, HeaderFromEnv, json_model, open_inference_model

torch.set_num_threads(1)
SERVER, KIND, RETRIES = {server!r}, {kind!r}, {retries}

@pytest.fixture(scope="session")
def robust_model():
    auth = [HeaderFromEnv("DIGITS_TOKEN", header="X-Api-Key", scheme=""), HeaderFromEnv("TENANT_TOKEN")]
    common = dict(version="1", auth=auth, headers={{"X-Tenant": "eu"}}, max_queries=100,
                  delivery=Delivery(batch_size=64, retries=RETRIES, backoff=0.2))
    if KIND == "plain":
        return json_model(SERVER, encode=lambda x: x.reshape(len(x), -1).tolist(), decode=lambda r: r, **common)
    return open_inference_model(SERVER, "digits", output="predict_proba", shape=(64,), gives="probabilities", **common)

@pytest.fixture(scope="session")
def robust_data():
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x[1000:1000 + {n}] / 16).float().view(-1, 1, 8, 8), torch.tensor(y[1000:1000 + {n}])

def test_square(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, Linf(0.2), at_least={at_least}, attack=Square(queries=90))
"""

SERVE = """
import json, sys, numpy as np
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
x, y = load_digits(return_X_y=True)
model = LogisticRegression(C=10, max_iter=300).fit(x[:1000] / 16, y[:1000])
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def do_POST(self):
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(model.decision_function(np.asarray(rows)).tolist()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

Start = Callable[[], subprocess.Popen[bytes]]


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def until(true: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait(20)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[tuple[str, Start]]:
    """The address of a plain JSON server, and what starts it (again)."""
    port, script, running = free_port(), tmp_path / "serve.py", []
    script.write_text(SERVE)

    def start() -> subprocess.Popen[bytes]:
        running.append(subprocess.Popen([sys.executable, str(script), str(port)]))  # noqa: S603
        until(lambda: listens(port), 60)
        return running[-1]

    yield f"http://127.0.0.1:{port}", start
    for process in running:
        end(process)


@pytest.fixture
def mlserver(tmp_path: Path) -> Iterator[tuple[str, Start]]:
    """The same of a real MLServer with a model of scikit-learn."""
    command = os.environ.get("ROBUSTEST_MLSERVER") or shutil.which("mlserver")
    if command is None or not Path(command).is_file():
        pytest.skip("MLServer is not here: put `mlserver` on PATH or its path into ROBUSTEST_MLSERVER")
    python = Path(command).with_name("python")
    (tmp_path / "digits").mkdir()
    subprocess.run([python, "-c", TRAIN], cwd=tmp_path, check=True, timeout=300)  # noqa: S603
    ports = [free_port() for _ in range(3)]
    names = ("http_port", "grpc_port", "metrics_port")
    settings = {"host": "127.0.0.1", "parallel_workers": 0, **dict(zip(names, ports, strict=True))}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    model = {"name": "digits", "implementation": "mlserver_sklearn.SKLearnModel"}
    (tmp_path / "digits/model-settings.json").write_text(json.dumps(model | {"parameters": {"uri": "./model.joblib"}}))
    url, running = f"http://127.0.0.1:{ports[0]}", []

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/v2/models/digits/ready").status_code == 200
        except httpx.TransportError:
            return False

    def start() -> subprocess.Popen[bytes]:
        log = (tmp_path / "server.log").open("ab")
        with log:
            running.append(subprocess.Popen([command, "start", "."], cwd=tmp_path, stdout=log, stderr=log))  # noqa: S603
        until(ready, 120)
        return running[-1]

    yield url, start
    for process in running:
        end(process)


class Project:
    """A folder with the suite, and runs of pytest in it."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = pytester.path
        for name, secret in SECRETS.items():
            monkeypatch.setenv(name, secret)
        for name in ("CI", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
            monkeypatch.delenv(name, raising=False)

    def write(self, server: str, kind: str, *, retries: int = 9, n: int = 128, at_least: float = 0.5) -> None:
        text = SUITE.format(server=server, kind=kind, retries=retries, n=n, at_least=at_least)
        (self.path / "test_suite.py").write_text(text)

    def begin(self, *more: str) -> subprocess.Popen[bytes]:
        options = ["--robust", "--robust-json=out.json", "--robust-junit=out.xml", "--showlocals", "-ra", "-W", "error"]
        options += ["--log-level=DEBUG", "--log-file=log.txt", "--robust-details", *more]
        with (self.path / "stdout.txt").open("ab") as out:
            return subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "pytest", *options], cwd=self.path, stdout=out, stderr=out
            )

    def run(self, *more: str) -> int:
        (self.path / "stdout.txt").unlink(missing_ok=True)
        return self.begin(*more).wait(300)

    @property
    def text(self) -> str:
        return (self.path / "stdout.txt").read_text()

    @property
    def row(self) -> dict[str, Any]:
        (row,) = json.loads((self.path / "out.json").read_text())["results"]
        return dict(row["result"])

    @property
    def chunks(self) -> int:
        return sum(1 for path in (self.path / ".robustest").rglob("*.safetensors"))

    def tells_nothing(self) -> None:
        files = [path for path in self.path.rglob("*") if path.is_file()]
        assert len(files) > 3
        found = [path for path in files if any(secret.encode() in path.read_bytes() for secret in SECRETS.values())]
        assert found == []


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(pytester, monkeypatch)


@pytest.mark.parametrize("kind", ["plain", "mlserver"])
def test_square_breaks_the_digits_within_its_budget(
    project: Project, request: pytest.FixtureRequest, kind: str
) -> None:
    url, start = request.getfixturevalue(kind)
    start()
    project.write(url, kind)
    assert project.run() == 1, project.text
    row = project.row
    assert row["verdict"] == "failed"
    assert row["cost"]["forward"] <= 100 * 128
    assert "ClaimFailed: " in project.text
    project.tells_nothing()


def test_a_server_that_is_killed_and_comes_back(project: Project, mlserver: tuple[str, Start]) -> None:
    url, start = mlserver
    first = start()
    project.write(url, "mlserver", retries=14, n=256, at_least=0.01)
    assert project.run("--robust-exact") in (0, 1), project.text
    whole = project.row
    shutil.rmtree(project.path / ".robustest")
    (project.path / "stdout.txt").unlink()
    process = project.begin("--robust-exact")
    until(lambda: project.chunks > 0, 200)
    end(first)
    threading.Timer(1, start).start()
    process.wait(300)
    assert "connect_tcp.failed" in (project.path / "log.txt").read_text()  # it was away while it was needed
    assert project.row["outcomes"] == whole["outcomes"], project.text
    assert project.row["estimate"] == whole["estimate"]
    project.tells_nothing()


def test_a_run_that_lost_its_server_goes_on_where_it_stopped(project: Project, plain: tuple[str, Start]) -> None:
    url, start = plain
    first = start()
    project.write(url, "plain", n=256, retries=1, at_least=0.01)
    project.run("--robust-exact")
    whole = project.row
    shutil.rmtree(project.path / ".robustest")
    (project.path / "stdout.txt").unlink()
    process = project.begin("--robust-exact")
    until(lambda: project.chunks > 0, 200)
    end(first)
    assert process.wait(120) == 1
    assert "1 error" in project.text
    assert "try 2 of 2" in project.text
    project.tells_nothing()
    done = project.chunks
    assert done >= 1
    start()
    project.run("--robust-exact")
    assert project.row["outcomes"] == whole["outcomes"]
    assert project.chunks > done
    project.tells_nothing()
