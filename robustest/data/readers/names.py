"""Digests of inputs, by which items get names and changed inputs are noticed."""

from __future__ import annotations

import hashlib


def digest_of(text: str) -> str:
    """Return a short digest of an item's input."""
    # Texts from JSON may contain lone surrogates.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
