"""The files of a registered model on this machine: `python -m tasks.registry.download URI FOLDER` for who imports torch meanwhile.

MLflow loads a model by whatever code the model names, and unpickles where that says so. Here only models of this package are
opened, by this package.
"""

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from levy_core.base.errors import LevyError
from tasks.params import plain_yaml
from tasks.registry import tracking

LOADERS = ("levy_core.serving.registered", "tasks.pyfunc")  # of models of this version and of before
VERSION = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")
WHERE = """
SELECT DISTINCT storage_location FROM model_versions AS v LEFT JOIN registered_model_aliases AS a USING (name, version)
WHERE v.name = :name AND (a.alias = :alias OR v.version = :version) AND v.status = 'READY' AND v.current_stage = 'None'
"""


def fetch(uri: str, folder: Path) -> Path:
    """Downloads a registered model into a new folder; returns the part that ``levy_core.serving.registered`` reads.

    Args:
        uri: models:/NAME/VERSION, models:/NAME@ALIAS, or any other that MLflow knows.

    Raises:
        LevyError: there is no such model, its files cannot be read or are damaged, or it is none of levy's.
    """
    mlflow = tracking.connect()
    folder.mkdir(parents=True)
    try:
        return _inner(uri, Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder))))
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise LevyError(
            f"{uri} cannot be read from {tracking.address()} ({str(error)[:300]}): `levy lookup` lists what is there"
        ) from error


def _inner(uri: str, model: Path) -> Path:
    """The part of a model's folder that ``levy_core.serving.registered`` reads."""
    try:
        flavor = plain_yaml.read((model / "MLmodel").read_text())["flavors"].get("python_function", {})
        loader, inner = flavor.get("loader_module"), model / flavor.get("data", "")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LevyError(
            f"{uri} is damaged (MLmodel: {str(error)[:300]}): `levy reproduce` makes a version again from its lineage"
        ) from error
    if loader not in LOADERS:
        raise LevyError(f"{uri} is no model of levy (its loader is {loader!r}): nothing of it was run")
    return inner


def find(uri: str) -> Path | None:
    """As ``fetch``, of a model that lies on this machine and stands in a sqlite record, in milliseconds; None to ask MLflow.

    MLflow takes five seconds to be imported and to open its record. Here two of its tables are read. Whatever is not as
    expected, a missing model too, is left to MLflow.

    Raises:
        LevyError: the model is none of levy's, or damaged.
    """
    named, database = VERSION.fullmatch(uri), tracking.database_file()
    if named is None or database is None:
        return None
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as record:
            rows = record.execute(WHERE, named.groupdict()).fetchall()
        (place,) = (urlsplit(location) for (location,) in rows)
        if place.scheme not in ("", "file"):
            return None
        return _inner(uri, Path(unquote(place.path)))
    except (sqlite3.Error, ValueError, OSError):
        return None


class Fetching:
    """``find``, else ``fetch`` in a process of its own, from now on."""

    def __init__(self, uri: str, folder: Path) -> None:
        self._found = find(uri)
        if self._found is None:
            command = [sys.executable, "-P", "-m", "tasks.registry.download", uri, str(folder)]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  (no shell)

    def result(self) -> Path:
        """Waits for it.

        Raises:
            LevyError: as ``fetch``, or that the process was killed.
        """
        if self._found is not None:
            return self._found
        said = self._process.communicate()[0].splitlines()
        if self._process.returncode or not said:
            raise LevyError(f"the look-up ended with status {self._process.returncode}: what it said stands above")
        answer = json.loads(said[-1])
        if "error" in answer:
            raise LevyError(answer["error"])
        return Path(answer["folder"])


if __name__ == "__main__":
    try:
        told = {"folder": os.fspath(fetch(sys.argv[1], Path(sys.argv[2])))}
    except LevyError as failure:
        told = {"error": str(failure)}
    print(json.dumps(told))
