"""The version, and the project's address: the only place that names it."""

VERSION = "0.1.0"
# PLACEHOLDER: the repository's address; what is built, the site and the reports take it from here
HOME = "https://example.org/robustest"
"""Address of the repository, without a slash at its end: `project.urls` and every absolute link are made from it."""
# PLACEHOLDER: the owners' names and an address that they read
AUTHORS = ("The robustest authors", "robustest@example.org")
"""Name and address in the distributions' metadata."""
