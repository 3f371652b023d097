"""`python -m robustest.cli`, for environments without the command on the path."""

from __future__ import annotations

import sys

from robustest.cli.command import main

sys.exit(main())
