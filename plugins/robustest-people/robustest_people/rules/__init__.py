"""Rules on what people answer."""
