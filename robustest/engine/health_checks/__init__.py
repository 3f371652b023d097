"""Signs that an attack could not do its work, or that answers are not of the sample alone."""
