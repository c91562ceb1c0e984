"""An empty mlflow.db: its tables are made once per process, as MLflow's migrations take a second, and copied."""

import shutil
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tasks.registry import tracking


@cache
def _template() -> TemporaryDirectory:
    """The folder of the database that is copied, which lives as long as this process."""
    folder = TemporaryDirectory(prefix="levy-mlflow-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder.name}/mlflow.db")
        tracking.connect()
    return folder


def put_database(folder: Path) -> str:
    """Makes an empty mlflow.db in a folder, whose artifacts lie beside it; returns its address for MLFLOW_TRACKING_URI."""
    path = Path(shutil.copy(Path(_template().name, "mlflow.db"), folder))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("update experiments set artifact_location = ?", [(folder / "mlartifacts").as_uri()])
    return f"sqlite:///{path}"
