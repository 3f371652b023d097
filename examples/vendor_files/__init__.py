"""Suites of models that packages ship; each is skipped where its package is not installed."""
