"""The files of a registered model on this machine.

MLflow loads a model by whatever code the model names, and unpickles where that says so. Here only models of this package are
opened, by this package.
"""

import re
from pathlib import Path
from typing import Any

from levy_core.base.errors import LevyError
from tasks.params import plain_yaml
from tasks.registry import integrity, keys, provenance, tracking

LOADERS = ("levy_core.serving.registered", "tasks.pyfunc")  # of models of this version and of before
VERSION = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")


def find_version(client: Any, uri: str) -> Any:
    """MLflow's registered version that models:/NAME/VERSION or models:/NAME@ALIAS names; None for any other URI."""
    parts = VERSION.fullmatch(uri)
    if parts is None:
        return None
    if parts["alias"]:
        return client.get_model_version_by_alias(parts["name"], parts["alias"])
    return client.get_model_version(parts["name"], parts["version"])


def resolve(uri: str) -> str:
    """models:/NAME/VERSION of models:/NAME@ALIAS as it is now; any other URI, and an alias that there is not, as it was given."""
    mlflow = tracking.connect()
    try:
        version = find_version(mlflow.MlflowClient(), uri)
    except mlflow.exceptions.MlflowException:
        return uri  # whoever fetches it says what is wrong
    return f"models:/{version.name}/{version.version}" if version else uri


def fetch(uri: str, folder: Path, verified: bool = False) -> Path:
    """Downloads a registered model into a new folder; returns the part that ``levy_core.serving.registered`` reads.

    Arguments and errors: ``fetch_whole``.
    """
    return _inner(uri, fetch_whole(uri, folder, verified))


def fetch_whole(uri: str, folder: Path, verified: bool = False) -> Path:
    """Downloads a registered model into a new folder; returns what MLflow loads.

    Args:
        uri: models:/NAME/VERSION, models:/NAME@ALIAS, or any other that MLflow knows.
        verified: only what a trusted key has signed (``provenance.check``).

    Raises:
        LevyError: there is no such model, its files cannot be read or are not as they were registered, it is none of levy's, or not
            verified.
    """
    mlflow = tracking.connect()
    trusted = keys.read_trusted() if verified else {}
    folder.mkdir(parents=True)
    version = None
    try:
        version = find_version(mlflow.MlflowClient(), uri)
        source = integrity.uri_of(version) if version else uri  # of one moment: an alias may move
        model = Path(mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=str(folder)))
        if version:
            integrity.check_files(version, integrity.hashes_of(model))
            if verified:
                provenance.check(version, model, trusted)
        elif verified:
            raise LevyError(
                f"{uri} is no registered version, and only such are signed: write models:/NAME/VERSION or @ALIAS"
            )
        _inner(uri, model)
        return model
    except (mlflow.exceptions.MlflowException, OSError) as error:
        known = version and integrity.TAG in version.tags
        remedy = f"`levy restore {uri}` brings it back" if known else "`levy lookup` lists what is there"
        raise LevyError(f"{uri} cannot be read from {tracking.address()} ({str(error)[:300]}): {remedy}") from error


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
