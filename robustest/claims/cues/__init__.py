"""Claims about cues that a model should not depend on."""
