"""Claims about distribution shifts."""
