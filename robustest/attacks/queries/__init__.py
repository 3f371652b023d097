"""Attacks without gradients: they ask for scores or labels alone, and draw."""
