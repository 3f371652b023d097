"""robustest on a Ray cluster: `pytest --robust --robust-engine=ray`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustest_ray.engine import RayEngine as RayEngine


def __getattr__(name: str) -> object:
    if name == "RayEngine":  # every robust run finds this pack; only one with this engine waits for Ray
        from robustest_ray.engine import RayEngine

        return RayEngine
    raise AttributeError(f"module 'robustest_ray' has no attribute {name!r}")
