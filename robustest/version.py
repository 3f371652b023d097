"""The version, and the project's home."""

VERSION = "0.1.0"
HOME = "https://github.com/robustest/robustest"
"""As `project.urls` has it."""
