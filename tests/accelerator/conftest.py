"""The device beside the host that these tests compare with it.

By default a far device that needs no hardware (`second_device`): outcomes must be those of the host to the bit.
With ROBUSTEST_SECOND_DEVICE=xla:0, or the name of any other device, that one, on which rounding may differ.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from second_device import FAR, Second, far_device

from robustest import devices

# The tables are those of other rooms.
for folder in ("contract", "unit/cues", "unit/threats"):
    sys.path.append(str(Path(__file__).resolve().parent.parent / folder))


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> Iterator[Second]:
    """The second device; "auto" chooses it while the test runs."""
    name = os.environ.get("ROBUSTEST_SECOND_DEVICE", "")
    if name:
        device = devices.resolve(name, None)
        if device.type == "xla":
            # Operation by operation: each graph that XLA would fuse otherwise takes seconds to compile.
            importlib.import_module("torch_xla.experimental").eager_mode(True)
        monkeypatch.setattr(devices, "default", lambda: device)
        yield Second(device)
        return
    monkeypatch.setattr(devices, "default", lambda: FAR)
    with far_device() as counter:
        yield Second(FAR, counter)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the operators that XLA does not have: each is a download, a wait, and an upload."""
    if "torch_xla" in sys.modules:
        metrics = importlib.import_module("torch_xla.debug.metrics")
        left = sorted(name for name in metrics.counter_names() if name.startswith("aten::"))
        terminalreporter.write_line(f"computed on the host: {', '.join(left) or 'nothing'}")
