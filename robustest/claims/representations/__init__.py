"""Claims about what a model has learned: its features and its gradients."""
