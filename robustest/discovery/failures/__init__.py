"""Directions of looks along which a model fails."""
