"""The hook of this pack: the engine `ray`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from robustest.extensions import hookimpl

if TYPE_CHECKING:
    from robustest import Settings
    from robustest.packs import Engine


@hookimpl
def robustest_engines() -> Mapping[str, Callable[[Settings], Engine]]:
    """Return the engine by its name."""

    def ray(settings: Settings) -> Engine:
        from robustest_ray.engine import RayEngine

        return RayEngine(settings)

    return {"ray": ray}
