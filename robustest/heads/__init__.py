"""Sparse linear heads on a model's features."""
