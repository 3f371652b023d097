"""A small model of images and texts, and claims on its prompts, embeddings and features."""
