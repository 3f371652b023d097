"""A cluster reached through Ray's client, `ray://HOST:PORT`, as from a machine that is no part of it."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import command, outcome
from robustest_ray import cluster as asked

from robustest import ConfigError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("grpc") is None,
    reason="Ray's client is not installed: pip install 'robustest-ray[client]'",
)


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = int(opened.getsockname()[1])
        assert port >= 20_000, "Ray's workers take those below"
        return port


@pytest.fixture
def server(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A cluster that asks for a token and has the project's modules; the address where it takes clients."""
    # Ray asks for a token wherever an earlier cluster has left one in the home folder, and a client with an explicit
    # address sends none unless its environment says so: without these two the test would depend on that file.
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)
    port, clients = free_port(), free_port()
    line = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"]
    line += [f"--port={port}", f"--ray-client-server-port={clients}", "--include-dashboard=false"]
    started = subprocess.Popen(  # noqa: S603 - our own command line
        line,
        env=os.environ | {"PYTHONPATH": str(project), "GRPC_POLL_STRATEGY": "poll", "GRPC_ENABLE_FORK_SUPPORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", clients), timeout=1).close()
            break
        except OSError:
            assert started.poll() is None, started.communicate()[0]
            assert time.monotonic() < deadline, "the cluster takes no clients"
            time.sleep(0.2)
    yield f"ray://127.0.0.1:{clients}"
    started.terminate()
    started.communicate(timeout=60)


def test_a_client_finds_the_same(server: str, project: Path) -> None:
    alone = command(project, "alone")
    told = alone.communicate(timeout=120)[0]
    assert alone.returncode == 0, told
    client = command(project, "ray", "--robust-engine=ray", f"--robust-address={server}", "--robust-workers=2")
    told = client.communicate(timeout=180)[0]
    assert client.returncode == 0, told
    assert outcome(project, "ray") == outcome(project, "alone")


def test_a_client_without_the_clusters_token_is_refused(
    server: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    for name in ("INITIAL_CONNECTION_TIMEOUT_S", "MAX_CONNECTION_TIMEOUT_S", "RECONNECT_GRACE_PERIOD"):
        monkeypatch.setenv(f"RAY_CLIENT_{name}", "1")
    client = command(project, "ray", "--robust-engine=ray", f"--robust-address={server}", "--robust-workers=2")
    told = client.communicate(timeout=120)[0]
    assert (client.returncode, "RAY_AUTH_MODE=token" in told) == (1, True), told


def test_a_client_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'robustest-ray\[client\]'"):
        asked.reached("ray://127.0.0.1:1")
