"""What the tune stage works with: scores of samplers, and searches of one model."""
