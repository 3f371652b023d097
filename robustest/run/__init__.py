"""A run: samples in seeded order, chunk by chunk, stored or measured, until the claim is decided."""
