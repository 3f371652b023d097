"""Identities as hashes (models, code, packages, values), and the keys of everything that is stored."""
