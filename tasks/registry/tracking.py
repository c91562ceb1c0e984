"""The MLflow server: where it is, whether it answers, and who asks."""

import configparser
import logging
import os
import socket
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from levy_core.base.errors import LevyError
from levy_core.base.files import hash_json
from tasks.registry import database as database_files
from tasks.runtime import health

HOST = "levy.host"  # tag of a run: where it was begun, so that it is ended nowhere else
KIND = {
    "mlflow.experimentKind": "custom_model_development"
}  # what its pages are to show: runs, not traces, of which there are none


_making = threading.Lock()  # the migrations that make a database share variables of their module


def host() -> str:
    """This machine and checkout."""
    return f"{socket.gethostname()} {hash_json(str(Path.cwd()))[:16]}"


def address() -> str:
    """MLFLOW_TRACKING_URI, else a sqlite file in the root of the repository (MLflow's own default there, made absolute)."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').resolve()}"


def login() -> str | None:
    """NAME:PASSWORD for an MLflow server, where MLflow's client looks for them: its variables, then its file."""
    credentials = configparser.ConfigParser(interpolation=None)
    credentials.read(Path.home() / ".mlflow" / "credentials")
    variables = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    name, password = (os.environ.get(v, "") or credentials.get("mlflow", v.lower(), fallback="") for v in variables)
    return f"{name}:{password}" if name and password else None


def check_server(uri: str, writing: bool = False) -> None:
    """Refuses an MLflow server that does not answer within five seconds or knows no such account, and a damaged or lost sqlite file.

    Args:
        writing: also a sqlite file that cannot be written.

    Raises:
        LevyError: names the address.
    """
    if not uri.startswith(("http://", "https://")):
        if database := database_file():
            database_files.check(database, writing)
        return
    try:
        health.status(uri, 5)
        if "MLFLOW_TRACKING_TOKEN" not in os.environ:
            health.ask(f"{uri.rstrip('/')}/version", 5, login=login())
    except (OSError, ValueError) as error:
        if isinstance(error, health.StatusError) and error.code == 401:
            raise LevyError(
                f"the MLflow server {uri} asks for an account: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            ) from error
        raise LevyError(
            f"the MLflow server {uri} does not answer ({error}): start it, or unset MLFLOW_TRACKING_URI to use mlflow.db"
        ) from error


def connect() -> Any:
    """The mlflow module, pointed at the tracking server.

    Raises:
        LevyError: the record is a sqlite file, which is damaged or lost.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", str(sys.stderr.isatty()).lower())
    import mlflow

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # every error of sqlite with its traceback
    database = database_file()
    if database:
        with _making:
            database_files.check(database)
            if database.exists():
                database_files.back_up_before_migration(database)
            else:
                _make_database(database)
    mlflow.set_tracking_uri(address())
    return mlflow


def explain(error: BaseException) -> LevyError | None:
    """What an error of the record means where that is a sqlite file; None for any other error."""
    database = database_file()
    return database_files.explain(error, database) if database else None


def back_up() -> None:
    """Keeps a copy of the record where it is a sqlite file; a server's is the server's."""
    database = database_file()
    if database and database.exists():
        database_files.back_up(database)


def database_file() -> Path | None:
    """Where MLflow records in a sqlite file: its path, whether or not it is there yet."""
    if not address().startswith("sqlite:///"):
        return None
    name = address().removeprefix("sqlite:///").partition("?")[0]
    if not name or name == ":memory:" or name.startswith("file:"):  # the last is a URI, with options of its own
        return None
    return Path(name).resolve()


def _make_database(database: Path) -> None:
    """A new database, in one piece: MLflow's tables come by dozens of migrations, of which none can be repeated once cut off."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=database.parent, prefix=f"{database.name}.", ignore_cleanup_errors=True
    ) as folder:
        fresh = Path(folder) / database.name
        SqlAlchemyStore(f"sqlite:///{fresh}", _artifacts_of(database)).engine.dispose()
        with suppress(FileExistsError):  # another process was quicker; a rename would take what it has recorded
            os.link(fresh, database)


def _artifacts_of(database: Path) -> str:
    return (database.parent / "mlartifacts").as_uri()


def get_experiment(mlflow: Any, name: str) -> str:
    """The id of an experiment, made if missing; beside a database file, its artifacts lie beside it too."""
    existing = mlflow.get_experiment_by_name(name)
    if existing:
        if not existing.tags.keys() & KIND.keys():
            mlflow.MlflowClient().set_experiment_tag(existing.experiment_id, *next(iter(KIND.items())))
        return existing.experiment_id
    database = database_file()  # a server has its own place for artifacts
    place = {} if database is None else {"artifact_location": _artifacts_of(database)}
    try:
        return mlflow.create_experiment(name, tags=KIND, **place)
    except mlflow.exceptions.MlflowException:
        made = mlflow.get_experiment_by_name(name)
        if made is None:
            raise
        return made.experiment_id  # another training was quicker
