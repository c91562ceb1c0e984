"""MLflow: the record of a run, the registry of models, their lineage, and the gate."""
