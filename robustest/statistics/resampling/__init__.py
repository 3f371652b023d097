"""Clusters, draws of the training, and resampling: where samples are not alone."""
