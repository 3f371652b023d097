"""Claims on synthetic data: whether they teach what real data teach."""
