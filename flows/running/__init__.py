"""What a run of the pipeline needs: a Prefect server, checks before it, words after it."""
