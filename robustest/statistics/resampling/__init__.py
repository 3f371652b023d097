"""Draws of trainings, clustered answers and resampling: intervals that hold about, and pass no population."""
