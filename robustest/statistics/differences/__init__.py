"""Differences and ratios: of pairs, of independent shares, of flips."""
