"""What a thing is, as a hash: models, code, packages, data."""
