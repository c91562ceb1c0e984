"""Whether the files of a registered version are those that were registered: a tag of the version has the SHA-256 of each.

The model's folder has a manifest of its own (``levy_core.base.manifest``), which MLflow's loader compares; the tag also covers what
MLflow wrote around that folder, and tells a damaged manifest from damaged files.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from levy_core.base.errors import LevyError
from levy_core.base.manifest import (
    MANIFEST,
    DamagedError,
    find_damage,
    find_different,
    format_manifest,
    parse_manifest,
    sha256_of,
    sha256_of_files,
)

TAG = "levy.files"
INNER = "data/model"  # in the artifact of a model: the folder that levy wrote
COPIES = "registered"  # in the artifacts of a run: the files of its registered model that DVC does not keep
OF_DOWNLOADS = "registered_model_meta"  # a file that MLflow adds to what it downloads
STATEMENT = "provenance.intoto.jsonl"  # added when the version has its number: tasks/registry/provenance.py


def seal(mlflow: Any, run_id: str, uri: str, trained: Path) -> str:
    """What the tag of a model that was just logged will say, from its files as the registry gives them back.

    Files that stand in no output of DVC are also kept with the run, so that each file of the model has a second copy.

    Args:
        run_id: of the run that keeps them. uri: of the logged model. trained: the output of DVC that it was made from.

    Raises:
        LevyError: the registry gives back something else than what was trained.
    """
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=scratch))
        (model / OF_DOWNLOADS).unlink(missing_ok=True)
        hashes = hashes_of(model)
        outputs = {f"{INNER}/{name}": content for name, content in sha256_of_files(trained).items()}
        if damage := find_damage(outputs, {name: hashes[name] for name in outputs if name in hashes}):
            raise LevyError(f"{uri} is not what was trained: {'; '.join(damage)}. Run the same command again")
        for name in outputs:
            (model / name).unlink()
        mlflow.MlflowClient().log_artifacts(run_id, str(model), COPIES)
    return format_manifest(hashes)


def read_hashes(version: Any) -> dict[str, str]:
    """SHA-256 of each file of a registered version, by its path in the artifact; none of a version of an earlier levy.

    Raises:
        DamagedError: the tag is damaged.
    """
    text = version.tags.get(TAG)
    try:
        return {} if text is None else parse_manifest(text)
    except ValueError as error:
        raise DamagedError(f"the tag {TAG} of {uri_of(version)} is damaged ({error}): register it anew") from error


def check_files(version: Any, found: Mapping[str, str], part: str = "") -> None:
    """Compares the files of a registered version; of one without the tag nothing is said.

    Args:
        found: SHA-256 by path in the artifact. part: only files whose paths begin so.

    Raises:
        DamagedError: names the files that are not as they were registered.
    """
    recorded = {name: content for name, content in read_hashes(version).items() if name.startswith(part)}
    if recorded and (damage := find_damage(recorded, found)):
        uri = uri_of(version)
        raise DamagedError(
            f"{uri} is not as it was registered: {'; '.join(damage)}. `levy restore {uri}` brings it back"
        )


def check_store(version: Any) -> None:
    """Compares the files of a registered version where they lie in a folder of this machine; nothing is downloaded.

    Raises:
        DamagedError: as ``check_files``.
    """
    if folder := _folder_of(version):
        check_files(version, hashes_of(folder))


def find_damaged(mlflow: Any, version: Any) -> list[str]:
    """Paths in the artifact of a registered version where its store and its tag differ.

    Raises:
        DamagedError: the tag is damaged.
    """
    with tempfile.TemporaryDirectory() as scratch:
        try:
            folder = _folder_of(version) or mlflow.artifacts.download_artifacts(uri_of(version), dst_path=scratch)
        except (mlflow.exceptions.MlflowException, OSError):  # all of it is gone
            folder = scratch
        found = hashes_of(Path(folder))
    return find_different(read_hashes(version), found)


def hashes_of(artifact: Path) -> dict[str, str]:
    """SHA-256 of each registered file in the folder of an artifact, or in a copy of it."""
    hashes = sha256_of_files(artifact)
    if (artifact / MANIFEST).is_file():  # that of the model lies deeper, and there is none of the artifact
        hashes[MANIFEST] = sha256_of(artifact / MANIFEST)
    return {name: content for name, content in hashes.items() if name not in (OF_DOWNLOADS, STATEMENT)}


def _folder_of(version: Any) -> Path | None:
    """The folder of the artifact of a registered version; None where it is not on this machine."""
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    store = open_store(version)
    return Path(store.artifact_dir) if isinstance(store, LocalArtifactRepository) else None


def open_store(version: Any) -> Any:
    """MLflow's repository of the artifact of a registered version, which can be written."""
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository

    return ModelsArtifactRepository(uri_of(version)).repo


def uri_of(version: Any) -> str:
    """models:/NAME/VERSION."""
    return f"models:/{version.name}/{version.version}"
