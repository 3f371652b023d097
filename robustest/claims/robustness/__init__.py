"""Claims about what an attacker can reach."""
