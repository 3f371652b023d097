"""Rules of packs, on their way there."""
