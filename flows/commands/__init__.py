"""Commands of `levy` beside the flows."""
