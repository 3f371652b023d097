"""Claims about a model's features and gradients."""
