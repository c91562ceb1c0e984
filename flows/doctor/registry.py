"""The check of `levy doctor` on the registry: what the aliases give people is whole."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.doctor.findings import Finding, ok, wrong
from levy_core.base.errors import LevyError
from levy_core.serving.requests import SAMPLER
from tasks.registry import lineage, promotions, tracking
from tasks.registry.download import LOADERS, fetch
from tasks.runtime.checksums import hash_of, hash_of_folder

LARGE = 256 * 2**20  # bytes of a registered model that is not read without --deep


def registry(deep: bool) -> Iterator[Finding]:
    """Every alias points at a version that is whole: it loads, and holds what its lineage says was trained."""
    database = tracking.database_file()
    if database and not database.exists():
        yield ok("empty")
        return
    mlflow = tracking.connect()
    client = mlflow.MlflowClient()
    models = [m for m in client.search_registered_models() if m.aliases]
    for model in models:
        for alias, number in model.aliases.items():
            name = f"{model.name}@{alias} (version {number})"
            try:
                said = _read(mlflow, client.get_model_version(model.name, number), deep)
            except Exception as error:  # MLflow's, the file system's, or of whatever reads the damaged file
                yield wrong(
                    f"{name} is not whole: {type(error).__name__}: {error}", _mend(client, model.name, alias, number)
                )
            else:
                yield ok(f"{name} {said}")
    if not models:
        yield ok("no aliases yet: `levy run` makes the first champion")


def _mend(client: Any, name: str, alias: str, number: str) -> str:
    """The command that gives an alias a version that is whole: an earlier one, or else what the checkout holds, recorded anew."""
    if promotions.earlier(client, name, alias):
        return f"levy rollback {name} --alias {alias}"
    delete = f'tracking.connect().MlflowClient().delete_model_version("{name}", "{number}")'
    return f"python -c 'from tasks.registry import tracking; {delete}' && levy run"


def _read(mlflow: Any, version: Any, deep: bool) -> str:
    """Loads a model version and says what was seen of it.

    Raises:
        Exception: it cannot be loaded, or it is not what was trained.
    """
    from mlflow.models import Model

    from levy_core.serving.registered import RegisteredModel

    uri = f"models:/{version.name}/{version.version}"
    with tempfile.TemporaryDirectory() as scratch:
        info = Model.load(mlflow.artifacts.download_artifacts(f"{uri}/MLmodel", dst_path=scratch))
        if info.flavors.get("python_function", {}).get("loader_module") not in LOADERS:
            return "is of another project: not loaded"
        if (info.model_size_bytes or 0) > LARGE and not deep:
            return "is there; --deep reads it"
        model = fetch(uri, Path(scratch) / "model")
        RegisteredModel(model)
        if not (model / lineage.FOLDER).exists():
            return "loads; it was registered without its lineage, so its files cannot be compared"
        stages = lineage.Lineage.read(model / lineage.FOLDER).stages.values()
        trained = {out["md5"] for stage in stages for out in stage.get("outs", []) if "/models/" in out["path"]}
        if _md5(model) not in trained:
            raise LevyError("its files differ from what was trained")
    return "is whole"


def _md5(model: Path) -> str:
    """The hash that DVC gives a folder of a trained model; sampler and lineage were added when it was registered."""
    added = {model / SAMPLER, *(model / lineage.FOLDER).rglob("*")}
    return hash_of_folder(model, {p: hash_of(p) for p in model.rglob("*") if p.is_file() and p not in added}) + ".dir"
