"""The pipeline as a flow, and what it needs of a checkout: DVC, its graph, recovery after crashes, workspaces, a Prefect server."""
