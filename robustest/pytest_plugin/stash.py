"""What the plugin keeps with a run, and with a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from robustest.account import Account
    from robustest.context import Context
    from robustest.ledger import Ledger
    from robustest.pytest_plugin.claims import Claimant
    from robustest.settings import Settings

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
LEDGER: pytest.StashKey[Ledger] = pytest.StashKey()
ACCOUNT: pytest.StashKey[Account] = pytest.StashKey()
SESSION: pytest.StashKey[pytest.Session] = pytest.StashKey()
CONTEXT: pytest.StashKey[Context] = pytest.StashKey()
MEASURING: pytest.StashKey[set[Claimant]] = pytest.StashKey()  # fixtures of several tests
COLLECTED: pytest.StashKey[list[str]] = pytest.StashKey()  # robustness tests of all shards
DESELECTED: pytest.StashKey[list[str]] = pytest.StashKey()  # robustness tests that were found and left out
FOUND: pytest.StashKey[dict[str, pytest.Item | pytest.Class]] = pytest.StashKey()  # what modules hold, chosen or not
WRONG: pytest.StashKey[pytest.UsageError] = pytest.StashKey()
