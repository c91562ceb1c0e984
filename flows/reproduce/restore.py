"""`levy restore`: files of a registered version that are damaged or lost come back from wherever the same bytes are."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flows.pipeline.dvc import Dvc
from flows.pipeline.recovery import discard_damaged, find_store
from flows.pipeline.workspace import FOLDER
from flows.reproduce import rerun
from flows.reproduce.versions import Version, find, find_registered
from levy_core.base.errors import LevyError
from levy_core.base.manifest import MANIFEST, sha256_of
from levy_core.base.samples import CORRECTION
from levy_core.serving.requests import MEASURED_BY, SAMPLER
from tasks.registry import integrity, lineage, tracking
from tasks.runtime import paths

Files = Mapping[str, Path]  # by the path in the artifact of a model


def restore(uri: str, workers: int, say: Callable[[str], None] = print) -> None:
    """Writes what is damaged in the artifact of a registered version anew; nothing but the recorded bytes is written.

    They are looked for in the copies that the version's run keeps, the outputs of this checkout, DVC's cache and its remotes; what is
    in none of them is made again, as `levy reproduce` does.

    Args:
        uri: ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``. workers: stages at a time. say: takes lines for people.

    Raises:
        LevyError: there is no such version, nobody recorded what it consists of, its bytes are nowhere, or the registry cannot be
            written.
    """
    mlflow, version = tracking.connect(), find_registered(uri)
    recorded, store = integrity.read_hashes(version), integrity.open_store(version)
    if not recorded:
        raise LevyError(
            f"{uri} was registered by an earlier levy, without the hashes of its files, so nobody can tell which are damaged: "
            "`levy reproduce` makes it again and compares"
        )
    try:
        damaged = integrity.find_damaged(mlflow, version)
        if not damaged:
            say(f"{uri} is as it was registered: nothing to restore")
            return
        for name in sorted(set(damaged) - set(recorded)):
            store.delete_artifacts(name)
            say(f"removed {name}, which was not registered")
        wanted = {name: recorded[name] for name in damaged if name in recorded}
        with TemporaryDirectory() as scratch:
            for place, files in _sources(mlflow, version, Path(scratch), say) if wanted else ():
                _take(place, files, wanted, store, say)
                if not wanted:
                    break
            if wanted and all(map(_is_trained, wanted)):
                say(f"{', '.join(wanted)} {'is' if len(wanted) == 1 else 'are'} nowhere: {uri} is made again")
                rerun.reproduce(integrity.uri_of(version), workers, say)
                _take("what was made again", _files_in(_reproduced(find(uri))), wanted, store, say)
        left = integrity.find_damaged(mlflow, version)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise LevyError(f"{uri} cannot be restored in {tracking.address()}: {str(error)[:300]}") from error
    if left:
        raise LevyError(
            f"{', '.join(left)} of {uri} cannot be restored: the bytes that were registered are neither with its run, nor in outputs/, "
            "in DVC's cache, in a remote or in what `levy reproduce` makes. `levy rollback` gives the alias to the version before"
        )
    say(f"{uri} is as it was registered")


def _take(place: str, files: Files, wanted: dict[str, str], store: Any, say: Callable[[str], None]) -> None:
    """Writes those of the wanted files into the artifact that have the recorded bytes, and strikes them off."""
    for name in [name for name, content in wanted.items() if name in files and _is(files[name], content)]:
        with TemporaryDirectory() as folder:  # DVC's own files may not be written, nor may copies with their rights
            copy = shutil.copyfile(files[name], Path(folder) / Path(name).name)
            store.log_artifact(str(copy), name.rpartition("/")[0] or None)
        del wanted[name]
        say(f"restored {name} from {place}")


def _is(file: Path, content: str) -> bool:
    return file.is_file() and sha256_of(file) == content


def _is_trained(name: str) -> bool:
    """Whether a file of the artifact was made by a stage, so that DVC may have it; the others were added with the record."""
    inner = name.removeprefix(f"{integrity.INNER}/")
    added = inner in (SAMPLER, CORRECTION, MANIFEST) or inner.startswith((f"{lineage.FOLDER}/", f"{MEASURED_BY}/"))
    return inner != name and not added


def _sources(mlflow: Any, registered: Any, scratch: Path, say: Callable[[str], None]) -> Iterator[tuple[str, Files]]:
    """Places that may have the files, with what each has, the quick ones first."""
    run = registered.tags.get("levy.run", "")
    try:
        copies = mlflow.artifacts.download_artifacts(
            run_id=run, artifact_path=integrity.COPIES, dst_path=str(scratch / "copies")
        )
        yield "the copies that its run keeps", _files_in(Path(copies), "")
    except (mlflow.exceptions.MlflowException, OSError):
        say(f"its run {run} keeps no copies: it was deleted, or cannot be read")
    try:
        version = find(integrity.uri_of(registered))
    except LevyError:  # the copies did not bring its lineage back, so nobody knows what else to look for
        return
    model = _output_of(version)
    yield f"{paths.OUTPUTS}/", _files_in(model)
    if expected := _hash_of(version, model):
        store = find_store(Dvc())
        yield "DVC's cache", _cached(expected, store)
        for remote, files in _pull(expected, store):
            yield f"the remote {remote}", files
    yield "an earlier `levy reproduce`", _files_in(_reproduced(version))


def _output_of(version: Version) -> Path:
    """The output that holds the trained model of a version."""
    return paths.model(version.dataset, version.lineage.winner["design"])


def _reproduced(version: Version) -> Path:
    """Where `levy reproduce` makes it again."""
    return FOLDER / rerun.workspace_of(version) / _output_of(version)


def _files_in(folder: Path, inner: str = f"{integrity.INNER}/") -> Files:
    return {inner + file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}


def _hash_of(version: Version, model: Path) -> str | None:
    """What the recorded dvc.lock says of an output."""
    outputs = [output for entry in version.lineage.stages.values() for output in entry.get("outs", [])]
    return next((output.get("md5") for output in outputs if output["path"] == str(model)), None)


def _cached(expected: str, store: Path) -> Files:
    """The files of an output of DVC that its cache has; damaged ones leave it."""
    return {f"{integrity.INNER}/{name}": entry for name, entry in (discard_damaged(expected, store) or {}).items()}


def _pull(expected: str, store: Path) -> Iterator[tuple[str, Files]]:
    """Fetches an output of DVC from one remote after the other; the names of those that answer, and what DVC's cache then has."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo

    with Repo() as repo:
        for name in repo.config["remote"]:
            try:
                repo.cloud.pull([HashInfo("md5", expected)], remote=name)
                # Of a folder that its cache knows, DVC takes it that all files are there.
                entries = (discard_damaged(expected, store) or {}).values()
                repo.cloud.pull([HashInfo("md5", f"{e.parent.name}{e.name}") for e in entries], remote=name)
            except (DvcException, OSError):
                continue
            yield name, _cached(expected, store)
