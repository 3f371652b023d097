"""Each folder is an example of its own: `pytest --robust examples/<name>`."""
