"""Whether confidence can be relied on: calibration, abstention, and samples of no class of the model's."""
