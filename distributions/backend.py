"""Build backend of `robustest`: hatchling's, with metadata by what is built.

All code is in the distribution robustest-base, which needs no torch (`robustest-base` beside this file). The wheel of
robustest holds no file: it requires robustest-base of its own version, and torch. So no file belongs to two
distributions, and either may be installed or removed first.

An editable installation of the checkout is all of it at once: it has the commands and the plugin itself, and requires
what robustest-base requires, not robustest-base, which no index may have yet.
"""

from __future__ import annotations

import os
import runpy
import tomllib
from pathlib import Path
from typing import Any

from hatchling import build as hatchling
from hatchling.build import build_sdist as build_sdist
from hatchling.build import build_wheel as build_wheel
from hatchling.build import get_requires_for_build_editable as get_requires_for_build_editable
from hatchling.build import get_requires_for_build_sdist as get_requires_for_build_sdist
from hatchling.build import get_requires_for_build_wheel as get_requires_for_build_wheel
from hatchling.metadata.plugin.interface import MetadataHookInterface

_set_address = runpy.run_path(str(Path(__file__).with_name("address.py")))["set_address"]
# hatchling loads this file a second time, for the class below: only the environment is common to both.
_EDITABLE = "ROBUSTEST_BUILDS_EDITABLE"


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Any = None) -> str:
    """Write the metadata of the wheel; hatchling has this hook for some frontends alone."""
    return _metadata(metadata_directory)


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: Any = None) -> str:
    """Write the metadata of an editable installation."""
    os.environ[_EDITABLE] = "1"
    try:
        return _metadata(metadata_directory)
    finally:
        del os.environ[_EDITABLE]


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build the wheel of an editable installation."""
    os.environ[_EDITABLE] = "1"
    try:
        return str(hatchling.build_editable(wheel_directory, config_settings, metadata_directory))
    finally:
        del os.environ[_EDITABLE]


def _metadata(folder: str) -> str:
    from hatchling.builders.wheel import WheelBuilder

    builder = WheelBuilder(os.getcwd())
    about = Path(folder, f"{builder.artifact_project_id}.dist-info")
    about.mkdir()
    text = builder.config.core_metadata_constructor(builder.metadata)
    (about / "METADATA").write_text(text, encoding="utf-8")
    return about.name


class OfDistribution(MetadataHookInterface):
    """Sets requirements, commands and plugin; and what every distribution has, from `address.py`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the dynamic fields of the metadata in place."""
        _set_address(metadata, Path(self.root))
        base = tomllib.loads(Path(self.root, "distributions/robustest-base/pyproject.toml").read_text("utf-8"))[
            "project"
        ]
        if _EDITABLE not in os.environ:
            metadata["dependencies"] = [f"{base['name']}=={metadata['version']}", *self.config["beside-base"]]
            return
        metadata["dependencies"] = [*base["dependencies"], *self.config["beside-base"]]
        metadata["scripts"], metadata["entry-points"] = base["scripts"], base["entry-points"]
