"""Where a person looks at what is recorded: pages of MLflow."""

import os
import shlex

from tasks.registry import tracking
from tasks.registry.lineage import without_credentials

LOCAL = "http://127.0.0.1:5000"  # of `mlflow ui`, which says so itself


def run_page(run_id: str) -> str:
    """The address of a run on an MLflow server, or the command that shows a store without a server, and the address then; no password is in it."""
    uri = tracking.address()
    served = uri.startswith(("http://", "https://"))
    page = f"{without_credentials(uri).rstrip('/') if served else LOCAL}/#{_place(run_id)}"
    if served:
        return page
    # The URI of a database server has a password.
    secret = tracking.database_file() is None and "MLFLOW_TRACKING_URI" in os.environ
    store = '"$MLFLOW_TRACKING_URI"' if secret else shlex.quote(uri)
    return f"mlflow ui --backend-store-uri {store}, then {page}"


def _place(run_id: str) -> str:
    """Of a run on a server; of all experiments where it was deleted or the server was just lost, which is no reason to fail."""
    mlflow = tracking.connect()
    try:
        experiment = mlflow.MlflowClient().get_run(run_id).info.experiment_id
    except mlflow.exceptions.MlflowException:
        return "/experiments"
    return f"/experiments/{experiment}/runs/{run_id}"
