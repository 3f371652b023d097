"""The very claim of ../test_spurious.py: it is the net that differs."""

from ..test_spurious import test_3_the_claim_guards_the_cure  # noqa: F401, TID252 - an example is no installed package
