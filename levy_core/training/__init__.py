"""The training loop, its batches, its share of several processes, and models on disk."""
