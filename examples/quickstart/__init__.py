"""Robustness tests of two small nets on real digits; see README.md."""
