"""Claims about groups."""
