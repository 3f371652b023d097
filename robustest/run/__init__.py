"""A run: samples in seeded order, chunk by chunk, remembered or measured, until it is settled."""
