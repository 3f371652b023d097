"""Sparse linear heads on a model's features: `sparse_head` fits and reads them, `elastic_net` solves one penalty."""
