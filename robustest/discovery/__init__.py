"""Searches for cues that nobody named, and for directions in which a model fails."""

from robustest.discovery.proposals import Discovery as Discovery
from robustest.discovery.proposals import Proposal as Proposal
