"""Claims about attacks and proofs inside a threat model."""
