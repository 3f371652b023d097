"""Claims on outcomes that another tool recorded, or that a function gives live."""
