"""Models that a user's function trains, and what they are trained on."""
