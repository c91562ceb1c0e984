"""Where a result comes from: git commit, data version, parameters, dvc.lock and environment, as tags and as files of a model."""

import json
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from levy_core.base.errors import LevyError
from levy_core.base.files import hash_json, write_json
from tasks.checksums import hash_of_output, hashes_of
from tasks.params import plain_yaml
from tasks.registry.environment import Environment
from tasks.runtime import paths
from tasks.runtime.paths import PARAMS

GRAPH = Path("dvc.yaml")
LOCK = Path("dvc.lock")
DATA = Path("data.dvc")
WINNER = "winner.json"
FOLDER = "lineage"  # in the artifact of a model
COMMAND = re.compile(r"exec python -m tasks\.\w+ --dataset (?P<dataset>\S+)(?: --design (?P<design>\S+))?")


def stages_of(dataset: str) -> dict[str, Any]:
    """The entries of dvc.lock that made a data set's result.

    DVC keeps the others: of stages that dvc.yaml no longer has, and of designs that are no longer compared.
    """
    stages, declared = read_stages(LOCK), read_stages(GRAPH)
    compared = stages.get(f"compare@{dataset}", {}).get("params", {}).get(str(PARAMS), {}).get("designs")

    def belongs(name: str, command: str) -> bool:
        # By the command: in stages' names, one data set's may begin with another's.
        asked = COMMAND.fullmatch(command)
        if asked is None or asked["dataset"] != dataset or name.split("@")[0] not in declared:
            return False
        return compared is None or asked["design"] is None or asked["design"] in compared

    return {name: entry for name, entry in stages.items() if belongs(name, entry["cmd"])}


def check_model(dataset: str, design: str) -> None:
    """Refuses model files that are not those that dvc.lock names: what is registered has to be what was measured.

    Raises:
        LevyError: says what differs.
    """
    path = paths.model(dataset, design)
    outputs = [output for entry in stages_of(dataset).values() for output in entry.get("outs", [])]
    expected = next((output.get("md5") for output in outputs if output["path"] == str(path)), None)
    found = hash_of_output(path, hashes_of(path)) if path.exists() else None
    if found is None or found != expected:
        raise LevyError(
            f"the model in {path} is not the one that {LOCK} names (its hash is {found}, expected was {expected}), so no "
            "alias was moved: `levy doctor --mend` brings it back from DVC's cache, or else lets `levy run` make it again"
        )


def read_stages(path: Path) -> dict[str, Any]:
    """The stages of a dvc.lock or dvc.yaml; none where there is no such file."""
    return (plain_yaml.read(path.read_text()) or {}).get("stages", {}) if path.exists() else {}


def data_md5(path: Path) -> str:
    """The version of data/ that a data.dvc names."""
    return str(plain_yaml.read(path.read_text())["outs"][0]["md5"])


def digest(value: Any) -> str:
    """What the tags ``levy.lock`` and ``levy.params`` hold."""
    return hash_json(value)[:16]


def tags(dataset: str) -> dict[str, str]:
    """Lineage tags, all strings. ``levy.lock`` names the result: equal tags, equal outputs."""
    stages = stages_of(dataset)
    params = {name: entry.get("params", {}) for name, entry in stages.items()}
    remote = _without_credentials(_git("ls-remote", "--get-url"))
    return {
        "levy.version": version("levy"),
        "levy.dataset": dataset,
        "levy.lock": digest(stages),
        "levy.params": digest(params),
        "levy.data_md5": data_md5(DATA),
        "git.commit": _git("rev-parse", "HEAD") or "none",
        "git.dirty": str(bool(_git("status", "--porcelain", "--", ".", ":!dvc.lock"))).lower(),
        **({"git.remote": remote} if remote else {}),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return done.stdout.strip() if done.returncode == 0 else ""


def _without_credentials(url: str) -> str:
    """A URL without user, password and query; what is no URL (``git@host:path``, a folder) can hold no password."""
    parts = urlsplit(url)
    if not (parts.scheme and parts.netloc):
        return url
    return urlunsplit((parts.scheme, parts.netloc.rsplit("@", 1)[-1], parts.path, "", ""))


@dataclass(frozen=True)
class Lineage:
    """What a registered model carries of its origin, so that it can be made again when all runs are deleted."""

    stages: dict[str, Any]
    params: str
    data: str
    winner: dict[str, Any]
    environment: Environment

    @classmethod
    def here(cls, dataset: str, environment: Environment) -> "Lineage":
        """Of the working directory."""
        winner = json.loads(paths.winner(dataset).read_text())
        return cls(stages_of(dataset), PARAMS.read_text(), DATA.read_text(), winner, environment)

    @classmethod
    def read(cls, folder: Path) -> "Lineage":
        """What ``write`` left in a folder.

        Raises:
            LevyError: a file is missing or damaged.
        """
        try:
            stages = read_stages(folder / LOCK)
            if not stages:
                raise ValueError(f"{LOCK} is missing or names no stages")
            params, data = (folder / PARAMS).read_text(), (folder / DATA).read_text()
            winner = json.loads((folder / WINNER).read_text())
            return cls(stages, params, data, winner, Environment.read(folder))
        except (OSError, ValueError, AttributeError) as error:
            raise LevyError(
                f"the lineage in {folder} is damaged ({error}): only a model with all of it can be reproduced"
            ) from error

    def write(self, folder: Path) -> None:
        """dvc.lock with this data set's stages alone, params.yaml, data.dvc, winner.json, environment.json, requirements.txt."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).write_text(plain_yaml.write({"schema": "2.0", "stages": self.stages}))
        (folder / PARAMS).write_text(self.params)
        (folder / DATA).write_text(self.data)
        write_json(folder / WINNER, self.winner)
        self.environment.write(folder)


def sort_lock() -> None:
    """Writes dvc.lock with its stages in alphabetical order, so that runs which finish in another order commit the same file."""
    if not LOCK.exists():
        return
    with plain_yaml.changing(LOCK) as lock:
        lock["stages"] = dict(sorted(lock.get("stages", {}).items()))
