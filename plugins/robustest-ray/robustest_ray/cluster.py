"""The cluster: connection, resources, and checks before any work starts."""

from __future__ import annotations

import logging
import platform
import socket
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import ray
from ray.exceptions import RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from robustest.errors import ConfigError, DeviceError

# Seconds in which every node has to report its versions.
_PATIENCE = 120.0
# Seconds in which a cluster has to take a connection.
_KNOCK = 10.0
_NEEDED = ("robustest", "robustest-ray", "torch")


def reached(address: str | None) -> bool:
    """Connect to a cluster, or start one on this machine if no address is known.

    Args:
        address: "auto", "host:port", "ray://host:port", or None for that of RAY_ADDRESS.

    Returns:
        True if this process connected, and so has to disconnect; False if it was connected before.

    Raises:
        ConfigError: Ray's client is needed, and not installed.
        DeviceError: the cluster cannot be reached.
    """
    if ray.is_initialized():
        return False
    if (address or "").startswith("ray://") and find_spec("grpc") is None:
        raise ConfigError(
            f"Expected Ray's client for {address!r} but it is not installed. Install it with "
            "pip install 'robustest-ray[client]', or give HOST:PORT from a node of the cluster."
        )
    try:
        _knock(address)
        ray.init(address=address, namespace="robustest", log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, RayError, OSError) as error:
        where = f"at {address!r}" if address else "on this machine"
        raise DeviceError(
            f"Expected a Ray cluster {where} but got: {error}. Start one with 'ray start --head', give "
            "--robust-address=auto, HOST:PORT or ray://HOST:PORT, and where it asks for a token, set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH."
        ) from error
    return True


def _knock(address: str | None) -> None:
    """Raise OSError quickly if nobody answers at the address: Ray itself tries for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK).close()


def accelerators() -> str:
    """Return the kinds of GPU of the cluster's nodes, in words; may be empty."""
    kinds = {
        name.removeprefix("accelerator_type:")
        for node in _alive()
        for name in node["Resources"]
        if name.startswith("accelerator_type:")
    }
    return ", ".join(sorted(kinds)) or ("GPU" if resources().get("GPU") else "")


def check_nodes() -> None:
    """Compare the versions of robustest, this plugin and torch on every node with those here.

    Raises:
        ConfigError: a node lacks them, or has others than this machine.
        DeviceError: a node does not answer.
    """
    wanted = {name: _plain(version(name)) for name in _NEEDED} | {"python": _python()}
    answers = {node["NodeID"]: _asked(node["NodeID"], wanted) for node in _alive()}
    found = {}
    for node, answer in answers.items():
        try:
            found[node] = ray.get(answer, timeout=_PATIENCE)
        except TaskUnschedulableError:  # the node has just gone; work that was sent there would be done elsewhere
            continue
        except RayError as error:
            raise DeviceError(
                f"Expected every node to say within {_PATIENCE:.0f} s what is installed on it but got: {error}"
            ) from error
    for node, has in found.items():
        for name, here in wanted.items():
            there = has.get(name)
            if there is None:
                raise ConfigError(
                    f"Expected {name} on every node of the cluster but node {node[:8]} lacks it. Install "
                    f"'{name}=={here}' there, or in the cluster's image."
                )
            if _plain(there) != here:
                raise ConfigError(
                    f"Expected {name} {here} on every node, as here, but node {node[:8]} has {there}: outcomes could "
                    "differ. Install the same version everywhere."
                )


def _asked(node: str, wanted: Mapping[str, str]) -> Any:
    names = [name for name in wanted if name != "python"]
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(_installed()).options(num_cpus=0, scheduling_strategy=strategy).remote(names)


def _installed() -> Callable[[list[str]], dict[str, str | None]]:
    """Return a function that is sent by value, and so runs without this plugin on the node."""

    def installed(names: list[str]) -> dict[str, str | None]:
        import platform
        from importlib.metadata import PackageNotFoundError, version

        found: dict[str, str | None] = {"python": ".".join(platform.python_version_tuple()[:2])}
        for name in names:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                found[name] = None
        return found

    return installed


def resources() -> dict[str, float]:
    """Return all resources of the cluster: CPUs, GPUs and others of its nodes."""
    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


def _alive() -> list[Any]:
    nodes: list[Any] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


def _plain(found: str) -> str:
    """Return a version without its build: a CPU build here may drive GPU builds there."""
    return found.split("+", maxsplit=1)[0]


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])
