"""Registered versions and the lineage that they carry."""

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.pipeline.workspace import git
from levy_core.base.errors import LevyError
from levy_core.base.manifest import sha256_of_files
from tasks.registry import integrity, lineage, tracking
from tasks.registry.download import VERSION, find_version
from tasks.registry.lineage import Lineage

COMMIT = re.compile(r"[0-9a-f]{40,64}")
IN_ARTIFACT = f"{integrity.INNER}/{lineage.FOLDER}"


@dataclass(frozen=True)
class Version:
    """A registered version and its lineage."""

    name: str
    number: str
    tags: dict[str, str]
    lineage: Lineage

    @property
    def dataset(self) -> str:
        """The data set that it was made from."""
        return self.tags["levy.dataset"]

    @property
    def identity(self) -> str:
        """Changes with anything that a rerun starts from."""
        origin = self.lineage
        return lineage.digest(
            [self.name, self.number, self.tags["git.commit"], origin.stages, origin.params, origin.data]
        )


def find_registered(uri: str) -> Any:
    """MLflow's version that a URI names.

    Raises:
        LevyError: the URI is none of a registered version; there is no such version.
    """
    if not VERSION.fullmatch(uri):
        raise LevyError(f"{uri!r} is no registered version: write models:/NAME/VERSION or models:/NAME@ALIAS")
    mlflow = tracking.connect()
    try:
        return find_version(mlflow.MlflowClient(), uri)
    except mlflow.exceptions.MlflowException as error:
        raise LevyError(
            f"{uri} is not in {tracking.address()} ({error.message}): `levy lookup` lists what is"
        ) from None


def find(uri: str) -> Version:
    """The version that a URI names, with its lineage.

    Raises:
        LevyError: as ``find_registered``; it carries no lineage, or a damaged one.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # for six small files
    mlflow, registered = tracking.connect(), find_registered(uri)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            source = f"{integrity.uri_of(registered)}/{IN_ARTIFACT}"
            folder = Path(mlflow.artifacts.download_artifacts(source, dst_path=scratch))
        except (mlflow.exceptions.MlflowException, OSError) as error:
            raise LevyError(
                f"{uri} carries no lineage ({error}): it was registered by an earlier levy, or its files are gone, which "
                f"`levy restore {uri}` brings back"
            ) from None
        found = {f"{IN_ARTIFACT}/{name}": content for name, content in sha256_of_files(folder).items()}
        integrity.check_files(registered, found, f"{IN_ARTIFACT}/")
        return Version(registered.name, str(registered.version), dict(registered.tags), Lineage.read(folder))


def check_commit(version: Version) -> None:
    """Refuses a version whose commit is not in the repository of the working directory.

    Raises:
        LevyError: says how to get it.
    """
    commit = version.tags.get("git.commit", "none")
    if not COMMIT.fullmatch(commit):
        raise LevyError(
            f"{version.name} version {version.number} names no git commit ({commit}): it cannot be reproduced"
        )
    try:
        git("cat-file", "-e", f"{commit}^{{commit}}", at=Path.cwd())
    except LevyError:
        remote = version.tags.get("git.remote")
        raise LevyError(
            f"commit {commit} of {version.name} version {version.number} is not in this repository: "
            f"`git fetch {remote or 'REMOTE'} {commit}` brings it, if it was ever pushed"
        ) from None


def describe(version: Any, aliases: list[str]) -> str:
    """A version of MLflow's registry for people, with all its tags."""
    tags = dict(version.tags)
    take = lambda key: tags.pop(key, "?")
    files = tags.pop(integrity.TAG, "").count("\n")
    lines = [f"{version.name} version {version.version}{''.join(f' @{alias}' for alias in aliases)}"]
    if "levy.metric" in tags:  # of versions with the whole lineage
        spread = f" ± {tags.pop('levy.spread')}" if "levy.spread" in tags else ""
        score = f"{take('levy.metric')} {take('levy.mean')}{spread} over {take('levy.seeds')} seeds"
        dirty = " with uncommitted changes" if take("git.dirty") == "true" else ""
        source = f" of {tags.pop('git.remote')}" if "git.remote" in tags else ""
        details = {
            "winner": take("levy.winner"),
            "score": score,
            "data": f"{take('levy.dataset')}, {take('levy.data_md5')}",
            "params": take("levy.params"),
            "outputs": take("levy.lock"),
            "commit": take("git.commit") + dirty + source,
            "environment": f"{take('levy.environment')}: {take('levy.machine')}",
            "files": f"{files}, with the SHA-256 of each" if files else "without their hashes: of an earlier levy",
            "reproduce": f"levy reproduce models:/{version.name}/{version.version}",
        }
        lines += [f"    {key:16s} {value}" for key, value in details.items()]
    return "\n".join([*lines, *(f"    {tag:16s} {value}" for tag, value in sorted(tags.items()))])
