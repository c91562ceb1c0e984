"""params.yaml: what may stand in it, what becomes of it, and its dialect of YAML."""
