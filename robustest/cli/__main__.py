"""`python -m robustest.cli`, where the command is not on the path."""

from __future__ import annotations

import sys

from robustest.cli.command import main

sys.exit(main())
