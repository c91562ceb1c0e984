"""Where a person looks at what is recorded: pages of MLflow."""

import os
import shlex
from pathlib import Path
from urllib.parse import urlsplit

from tasks.registry import tracking
from tasks.registry.lineage import without_credentials

LOCAL = "http://127.0.0.1:5000"  # of `mlflow ui`, which says so itself


def run_page(run_id: str) -> str:
    """Where a run is to be seen; no password is in it.

    The address on an MLflow server or in Databricks; the command that shows a database or a folder, and the address then; of a store that is
    neither, the run by its id.
    """
    uri = tracking.address()
    if uri.startswith(("http://", "https://")):
        return f"{without_credentials(uri).rstrip('/')}/#{_place(run_id)}"
    if command := _command(uri):
        return f"{command}, then {LOCAL}/#{_place(run_id)}"
    workspace = _find_workspace(uri)
    return (
        f"{workspace}/ml{_place(run_id)}" if workspace else f"run {run_id} in the store that MLFLOW_TRACKING_URI names"
    )


def _command(uri: str) -> str:
    """What shows a store without a server; "" where `mlflow ui` cannot."""
    from mlflow.store.db.db_types import DATABASE_ENGINES
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    engine = urlsplit(uri).scheme.partition("+")[0]  # of postgresql+psycopg2
    if engine in DATABASE_ENGINES:
        # The URI of a database server has a password.
        secret = tracking.database_file() is None and "MLFLOW_TRACKING_URI" in os.environ
        store = '"$MLFLOW_TRACKING_URI"' if secret else shlex.quote(uri)
        return f"mlflow ui --backend-store-uri {store}"
    if not is_local_uri(uri):
        return ""
    folder = Path(local_file_uri_to_path(uri)).resolve()
    return f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {shlex.quote(str(folder))}"


def _find_workspace(uri: str) -> str:
    """The address of a Databricks workspace; "" where the store is another, or nothing says who asks."""
    mlflow = tracking.connect()
    from mlflow.utils.databricks_utils import get_databricks_host_creds
    from mlflow.utils.uri import is_databricks_uri

    if not is_databricks_uri(uri):
        return ""
    try:
        return str(get_databricks_host_creds(uri).host).rstrip("/")
    except mlflow.exceptions.MlflowException:
        return ""


def _place(run_id: str) -> str:
    """Of a run on a server; of all experiments where it was deleted or the server was just lost, which is no reason to fail."""
    mlflow = tracking.connect()
    try:
        experiment = mlflow.MlflowClient().get_run(run_id).info.experiment_id
    except mlflow.exceptions.MlflowException:
        return "/experiments"
    return f"/experiments/{experiment}/runs/{run_id}"
