"""The very claims of ../test_quickstart.py: it is the net that differs."""

from ..test_quickstart import *  # noqa: F403, TID252 - to write the claims out again would let them drift apart
