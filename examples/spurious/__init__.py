"""A cue that a net learned by mistake: found, mended, and kept mended; see README.md."""
