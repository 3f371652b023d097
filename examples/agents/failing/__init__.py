"""A claim that is false."""
