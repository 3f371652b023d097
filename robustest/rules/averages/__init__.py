"""Rules on means of bounded values."""
