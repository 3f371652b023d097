"""A digits model in closed form of its weights, and a small JSON server that can be told to misbehave."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
import torch

pytest_plugins = ["pytester"]
torch.set_num_threads(1)

WEIGHT = np.random.default_rng(0).normal(size=(16, 3))


class Server(ThreadingHTTPServer):
    """Answers by `answer`, a linear model of sixteen values, unless `faults` or `always` holds what to do instead.

    A fault is (status, body, headers), or "hang" or "drop"; or a function from a request's JSON to one of them or None.
    """

    daemon_threads = True
    request_queue_size = 64
    scheme = "http"

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.faults: list[Any] = []
        self.always: Any = None
        self.answer: Callable[[str, dict[str, str], Any], tuple[int, str | bytes, dict[str, str]]] = linear
        self.requests: list[tuple[str, dict[str, str], Any, float]] = []
        self.busy = self.most = 0
        self.guard = threading.Lock()
        self.delay = 0.0

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Be quiet."""

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(json.loads(content) if self.headers["Content-Type"] == "application/json" else content)

    def _answer(self, body: Any) -> None:
        server = self.server
        with server.guard:
            server.requests.append((self.path, dict(self.headers), body, time.monotonic()))
            server.busy += 1
            server.most = max(server.most, server.busy)
            fault = server.faults.pop(0) if server.faults else server.always
        fault = fault(body) if callable(fault) else fault
        try:
            time.sleep(server.delay)
            if fault == "hang":
                time.sleep(1)
            if fault in ("hang", "drop"):
                self.close_connection = True
                return
            status, text, headers = fault or server.answer(self.path, dict(self.headers), body)
            content = text.encode() if isinstance(text, str) else text
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        finally:
            with server.guard:
                server.busy -= 1


def linear(path: str, headers: dict[str, str], body: Any) -> tuple[int, str, dict[str, str]]:
    return 200, json.dumps(reply(path, body)), {}


def reply(path: str, body: Any) -> Any:
    if body is None:
        return {"name": "m", "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [-1, 16]}]}
    if path.partition("?")[0] == "/plain":
        return {"scores": (np.asarray(body["rows"]) @ WEIGHT).tolist()}
    sent = body["inputs"][0]
    scores = np.asarray(sent["data"]).reshape(sent["shape"]).reshape(-1, 16) @ WEIGHT
    return {
        "outputs": [{"name": "s", "shape": list(scores.shape), "datatype": "FP64", "data": scores.ravel().tolist()}]
    }


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    held = Server()
    if tls is not None:
        held.socket, held.scheme = (
            tls.wrap_socket(held.socket, server_side=True, do_handshake_on_connect=False),
            "https",
        )
    thread = threading.Thread(target=held.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield held
    finally:
        held.shutdown()
        held.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    """The server, on a port of its own."""
    with running() as held:
        yield held


@pytest.fixture
def serve_tls() -> Callable[[ssl.SSLContext], AbstractContextManager[Server]]:
    """Runs a server with a certificate inside a block."""
    return running


@pytest.fixture
def other() -> Iterator[Server]:
    """A second server, another host to the first one."""
    with running() as held:
        yield held


@pytest.fixture(scope="session")
def truth() -> Callable[[Any], Any]:
    """What the server computes of (B, *S)."""
    return lambda x: np.asarray(x, np.float64).reshape(len(x), 16) @ WEIGHT
