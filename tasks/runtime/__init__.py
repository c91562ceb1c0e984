"""What every stage runs in: its start, its paths, its processes."""
