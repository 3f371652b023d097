"""Claims about labels, and about what people say, foresee and notice."""
