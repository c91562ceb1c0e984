"""Metrics on samples. Nothing here knows of diffusion."""
