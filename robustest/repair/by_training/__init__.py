"""The repairs: one method a module."""
