"""Statistics of packs, on their way there."""
