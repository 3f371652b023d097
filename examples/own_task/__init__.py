"""A task of one's own, and claims on it."""
