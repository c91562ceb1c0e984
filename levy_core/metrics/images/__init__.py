"""Metrics of images: fidelity in a feature space, classes, manifolds."""
