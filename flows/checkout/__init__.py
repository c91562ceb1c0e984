"""One working directory: DVC in it, its graph, its recovery after crashes, and workspaces beside it."""
