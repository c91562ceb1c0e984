"""Experiments on held-out samples: what is observed of them, ways to fill in the rest, and how these are judged."""
