"""The check of `levy doctor` on the registry: what the aliases give people is whole."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.doctor.findings import Finding, ok, wrong
from levy_core.base.errors import LevyError
from levy_core.base.manifest import MANIFEST, format_manifest, sha256_of
from levy_core.base.samples import CORRECTION
from levy_core.serving.requests import MEASURED_BY, SAMPLER
from tasks.registry import integrity, lineage, promotions, tracking
from tasks.registry.download import LOADERS, fetch
from tasks.runtime.checksums import hash_of, hash_of_folder, hash_of_text

LARGE = 256 * 2**20  # bytes of a model that is not read without --deep


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
            version = client.get_model_version(model.name, number)
            try:
                said = _read(mlflow, version, deep)
            except Exception as error:  # MLflow's, the file system's, or of whatever reads the damaged file
                # Without hashes nobody knows which files are damaged.
                hashed = integrity.TAG in version.tags
                mend = (
                    f"levy restore {integrity.uri_of(version)}" if hashed else _mend(client, model.name, alias, number)
                )
                yield wrong(f"{name} is not whole: {type(error).__name__}: {error}", mend)
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

    uri = integrity.uri_of(version)
    with tempfile.TemporaryDirectory() as scratch:
        described = mlflow.artifacts.download_artifacts(f"{uri}/MLmodel", dst_path=scratch)
        integrity.check_files(version, {"MLmodel": sha256_of(Path(described))}, part="MLmodel")
        info = Model.load(described)
        if info.flavors.get("python_function", {}).get("loader_module") not in LOADERS:
            return "is of another project: not loaded"
        if (info.model_size_bytes or 0) > LARGE and not deep:
            return "is there; --deep reads it"
        model = fetch(uri, Path(scratch) / "model")  # compares its files
        RegisteredModel(model)
        if not (model / lineage.FOLDER).exists():
            return "loads; it was registered without its lineage, so its files cannot be compared"
        stages = lineage.Lineage.read(model / lineage.FOLDER).stages.values()
        trained = {out["md5"] for stage in stages for out in stage.get("outs", []) if "/models/" in out["path"]}
        if not _hashes(model) & trained:
            raise LevyError("its files differ from what was trained")
    return "is whole"


def _hashes(model: Path) -> set[str]:
    """The hashes that DVC gives a folder of this trained model, with its manifest and, as an earlier levy wrote it, without.

    Sampler, correction, lineage and what measured it were added when it was registered, and its manifest was written anew.
    """
    folders = (model / name for name in (lineage.FOLDER, MEASURED_BY))
    added = {
        *(model / name for name in (SAMPLER, CORRECTION, MANIFEST)),
        *(path for folder in folders for path in folder.rglob("*")),
    }
    trained = [path for path in model.rglob("*") if path.is_file() and path not in added]
    manifest = format_manifest({path.relative_to(model).as_posix(): sha256_of(path) for path in trained})
    hashes = {path: hash_of(path) for path in trained}
    named = hashes | {model / MANIFEST: hash_of_text(manifest)}
    return {f"{hash_of_folder(model, found)}.dir" for found in (hashes, named)}
