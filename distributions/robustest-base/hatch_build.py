"""Metadata that all distributions share, from `distributions/address.py`; an sdist has them in PKG-INFO."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Address(MetadataHookInterface):
    """Sets urls, authors and the long description; a copy of this file is beside each project."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the dynamic fields of the metadata in place."""
        if "urls" not in metadata:
            shared = Path(__file__).parents[2] / "distributions" / "address.py"
            runpy.run_path(str(shared))["set_address"](metadata, Path(self.root))
