"""Attacks run on chunks: one searcher, a cascade of them, the smallest perturbation, one for many samples."""
