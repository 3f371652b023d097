"""Cues under the name that they had before: `robustest.cues` is their home."""

from robustest.cues import *  # noqa: F403
from robustest.discovery import Discovery as Discovery
from robustest.discovery import Proposal as Proposal
