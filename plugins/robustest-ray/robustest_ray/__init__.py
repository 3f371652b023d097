"""robustest on a Ray cluster: `pytest --robust --robust-engine=ray`."""

from robustest_ray.engine import RayEngine as RayEngine
