"""Claims about named distribution shifts."""
