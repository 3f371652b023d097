"""An attack written by a user; see attack.py and docs/attacks.md."""
